/* The collector's numbers, on their way to the pacer and back: sizes, times and limits go in; the trigger,
 * the assist ratio and the scavenger's goals come out.
 *
 * Called by cycle.c, gc.c, assist.c and workers.c.
 *
 * Concurrency: functions named *_locked are under the collector's lock, which the others take (or leave it:
 * pace_revise is for whoever gets it). Sums are atomic.
 * Go: gcControllerCommit, gcControllerState.update in mgcpacer.go; gcPaceScavenger in mgcscavenge.go.
 */
#ifndef GOMEM_GC_PACE_H
#define GOMEM_GC_PACE_H

#include "gc/gc.h"

/* Settings have changed, or marking is done. heap_live: for the pacer (pacer_commit). */
void pace_commit_locked(struct gc *gc, uint64_t heap_live);
/* All Ps tell what they have taken. pre: the world is stopped. */
void pace_report_all(struct gc *gc);
/* What is mapped and what is not in use has changed, and with it what a memory limit leaves for the heap: a new
 * trigger, unless another makes it right now. */
void pace_follow_limit(struct gc *gc);
/* Marking begins. pre: the world is stopped; roots are known. */
void pace_start_cycle(struct gc *gc);
/* New estimates during marking, unless another makes them right now. */
void pace_revise(struct gc *gc);
/* Marking took so long (ns), and is done. pre: the world is stopped; the cycle's record has all else. */
void pace_end_cycle(struct gc *gc, int64_t duration);
/* Sweeping is done. */
void pace_swept(struct gc *gc);

/* Scanned so far in this cycle. */
struct pacer_scan pace_scan_work(struct gc *gc);
/* Counts what the marker has scanned since it was last asked; how many bytes that is, roots included. */
uint64_t pace_count_scanned(struct gc *gc, struct marker *m);
/* A worker has marked without a pause from `begin` to `now`: whose time that was. */
void pace_count_worker(struct gc *gc, unsigned worker, int64_t begin, int64_t now);
/* Somebody who allocates has marked for so long. */
void pace_count_assist(struct gc *gc, int64_t begin, int64_t now);

/* The bucket of CPU time (limiter.h) at the begin and the end of a stop of the world. */
void pace_stopping(struct gc *gc, bool marking, int64_t now);
void pace_starting(struct gc *gc, int64_t now);

#endif
