/* One cycle: finish sweeping, begin marking in a stopped world, mark, end marking in a stopped world, sweep.
 *
 * Called by gc.c, which runs it as a whole, and by step.c, which runs the parts.
 *
 * Concurrency: the collector's thread or a stepper, with cycle_lock held.
 * Go: gcStart, gcMarkDone, gcMarkTermination in mgc.go.
 */
#ifndef GOMEM_GC_CYCLE_H
#define GOMEM_GC_CYCLE_H

#include "gc/gc.h"

/* false: the runtime was closed on the way. */
MUST_USE bool cycle_run(struct gc *gc, bool forced);

/* Its parts, in their order; false as above. */
void cycle_prepare(struct gc *gc, bool forced);
/* Sweeps what the last cycle has left, or this one. */
MUST_USE bool cycle_sweep(struct gc *gc);
/* The stop that begins marking. */
MUST_USE bool cycle_begin_marking(struct gc *gc);
/* The stop that ends it. *more: it turned out not to be the end, and the world runs again. */
MUST_USE bool cycle_end_marking(struct gc *gc, bool *more);
/* After the sweep. */
void cycle_done(struct gc *gc);

/* Hands all that Ps have to the pool. pre: the world is stopped. */
void cycle_collect_work(struct gc *gc);
/* Markers and debts of all Ps as they are before a cycle. pre: the world is stopped. */
void cycle_reset(struct gc *gc);

#endif
