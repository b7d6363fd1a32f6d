/* One cycle: finish sweeping, begin marking in a stopped world, mark, end marking in a stopped world, sweep.
 *
 * Called by gc.c.
 *
 * Concurrency: the collector's thread, with cycle_lock held.
 * Go: gcStart, gcMarkDone, gcMarkTermination in mgc.go.
 */
#ifndef GOMEM_GC_CYCLE_H
#define GOMEM_GC_CYCLE_H

#include "gc/gc.h"

/* false: the runtime was closed on the way. */
MUST_USE bool cycle_run(struct gc *gc, bool forced);
/* Markers and debts of all Ps as they are before a cycle. pre: the world is stopped. */
void cycle_reset(struct gc *gc);
/* Tells the heap from which size on it should call. pre: under gc->lock. */
void cycle_set_trigger(struct gc *gc);

#endif
