/* Who marks beside the program: the collector's own thread, and helpers on threads of their own.
 *
 * A quarter of all Ps is for marking: as many threads as there are dedicated workers, and one that takes the
 * place of the fractional ones, at least one. Their time is counted in Go's classes: the first threads'
 * as dedicated, the others' as fractional as far as the share goes, and as idle beyond it. More helpers, up
 * to the number of Ps and CPUs, mark while Ps are idle.
 *
 * Called by cycle.c and gc.c.
 *
 * Concurrency: end is for when the collector's thread has ended. A helper works between helping + 1 and helping
 * - 1, and only while `marking` is set: who clears it and then finds helping 0 knows that nobody marks.
 * Go: gcBgMarkStartWorkers, gcController.startCycle.
 */
#ifndef GOMEM_GC_WORKERS_H
#define GOMEM_GC_WORKERS_H

#include "gc/gc.h"

/* Starts the helpers that are missing; fewer, if there can be no more threads. pre: under gc->lock. */
void workers_start_locked(struct gc *gc);
void workers_end(struct gc *gc);
/* Lets helpers mark, or forbids it; wakes them. */
void workers_wake(struct gc *gc, bool marking);
/* Marks until nothing is in sight. */
void workers_mark(struct gc *gc, struct marker *m);

#endif
