/* Who marks beside the program: the collector's own thread, and helpers on threads of their own, so that
 * a quarter of all Ps is for marking.
 *
 * Called by cycle.c and gc.c.
 *
 * Concurrency: start and end are the collector's thread's. A helper works between helping + 1 and helping
 * - 1, and only while `marking` is set: who clears it and then finds helping 0 knows that nobody marks.
 * Go: gcBgMarkStartWorkers, gcController.startCycle.
 */
#ifndef GOMEM_GC_WORKERS_H
#define GOMEM_GC_WORKERS_H

#include "gc/gc.h"

/* Starts the helpers that are missing; fewer, if there can be no more threads. */
void workers_start(struct gc *gc);
void workers_end(struct gc *gc);
/* Lets helpers mark, or forbids it; wakes them. */
void workers_wake(struct gc *gc, bool marking);
/* Marks until nothing is in sight. */
void workers_mark(struct gc *gc, struct marker *m);

#endif
