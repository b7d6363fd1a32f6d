/* A P's part of marking: the barrier's buffer, and paying for what is allocated.
 *
 * Called through assist.h.
 *
 * Concurrency: see assist.h.
 * Go: mwbbuf.go, gcAssistAlloc in mgcmark.go.
 */
#include "gc/assist.h"

#include "base/mutate.h"
#include "gc/pace.h"
#include "heap/mcache.h"
#include "heap/sweep.h"
#include "platform/clock.h"
#include "platform/park.h"
#include "platform/thread.h"

enum {
    OVER_ASSIST = 64 << 10, /* bytes scanned at least */
    WAIT_NS = 50000,        /* asleep at most, before it looks whether the world is to stop */
    MOST_WAIT_NS = 2000000, /* for credit, in all; then it allocates on, in debt */
    BEHIND_SHARE = 8,       /* 1 / this of the trigger beyond it the collector is late */
    SWEEP_SPANS = 16,       /* swept for 8 KB allocated, when it is */
};

void gc_flush_barrier(struct gc_proc *gp)
{
    uint64_t marked = gp->marker.marked_objects;
    mark_grey_many(&gp->marker, gp->barrier, gp->nbarrier);
    gp->barrier_shaded += gp->marker.marked_objects - marked;
    gp->nbarrier = 0;
}

/* --- Assists --- */

/* Takes bytes of credit from the background; how much it got. */
static int64_t take_credit(struct gc *gc, int64_t bytes)
{
    int64_t have = load_relaxed(&gc->bg_credit);
    do {
        if (have <= 0)
            return 0;
    } while (!cas_relaxed(&gc->bg_credit, &have, have - MIN(have, bytes)));
    return MIN(have, bytes);
}

/* Scans so many bytes of objects, if there are, else some roots; how many bytes it did. */
static int64_t scan(struct gc *gc, struct gc_proc *gp, int64_t bytes)
{
    int64_t begin = clock_nanotime();
    gc_flush_barrier(gp);
    bool more = mark_drain(&gp->marker, (uint64_t)bytes);
    if (!more && roots_scan_some(&gc->roots, &gp->marker))
        (void)mark_drain(&gp->marker, (uint64_t)bytes);
    work_flush(&gp->marker.work);
    int64_t done = (int64_t)pace_count_scanned(gc, &gp->marker);
    pace_count_assist(gc, begin, clock_nanotime());
    return done;
}

/* There is nothing to scan, though the workers are at it: waits until they have given credit; false if it
 * need not wait any more. With a P no one may sleep for long, as who stops the world waits for it. */
static bool wait_for_credit(struct gc *gc, int64_t until)
{
    fetch_add_seq_cst(&gc->waiting, 1); /* with gc_give_credit's load */
    uint32_t event = load_acquire(&gc->credit_event);
    bool wait = load_relaxed(&gc->markers) > 0 && !load_relaxed(&gc->sched->stopping) &&
                 clock_nanotime() < until;
    if (wait && load_seq_cst(&gc->bg_credit) <= 0)
        park_wait(&gc->credit_event, event, WAIT_NS);
    fetch_sub_seq_cst(&gc->waiting, 1);
    return wait;
}

void gc_give_credit(struct gc *gc, uint64_t bytes)
{
    fetch_add_relaxed(&gc->credit_given, (int64_t)bytes);
    fetch_add_seq_cst(&gc->bg_credit, (int64_t)bytes);
    gc_wake_assists(gc);
}

void gc_wake_assists(struct gc *gc)
{
    if (load_seq_cst(&gc->waiting) == 0)
        return;
    fetch_add_seq_cst(&gc->credit_event, 1);
    park_wake(&gc->credit_event, PARK_WAKE_ALL);
}

/* What a P may allocate for so many bytes scanned; with hardly a goal (GOGC=off) that is more than there is. */
static int64_t worth(const struct gc *gc, int64_t scanned)
{
    return (int64_t)MIN(pacer_assist_bytes(&gc->pacer) * (double)scanned, 0x1p50);
}

/* The P pays its debt: with the background's credit, by scanning, by waiting. */
static void assist(struct gc *gc, struct gc_proc *gp)
{
    int64_t until = 0;
    while (gp->assist_bytes < 0 && !limiter_is_limiting(&gc->limiter)) {
        int64_t debt = -gp->assist_bytes;
        int64_t work = (int64_t)((double)debt * pacer_assist_ratio(&gc->pacer));
        if (work < OVER_ASSIST) { /* more at once than is owed, so that it is not done for little */
            work = OVER_ASSIST;
            debt = worth(gc, OVER_ASSIST);
        }
        int64_t credit = take_credit(gc, work);
        gp->credit_taken += MUTATED(NO_CREDIT_TAKEN) ? 0 : credit;
        gp->assist_bytes += credit == work ? debt : 1 + worth(gc, credit);
        if (credit == work)
            return;
        int64_t done = scan(gc, gp, work - credit);
        gp->assist_bytes += 1 + worth(gc, done);
        if (gp->assist_bytes >= 0 || load_relaxed(&gc->h->gc.phase) != GC_MARK)
            return;
        if (until == 0)
            until = clock_nanotime() + MOST_WAIT_NS;
        if (done == 0 && credit == 0 && !wait_for_credit(gc, until)) {
            if (load_relaxed(&gc->h->gc.heap_live) > load_relaxed(&gc->cycle.goal))
                sched_fall_behind(gc->sched); /* nothing is left to mark but to say so */
            return;
        }
    }
}

void assist_on_slow_path(void *arg, struct mcache *c, size_t bytes)
{
    struct gc *gc = arg;
    if (load_relaxed(&gc->h->gc.phase) == GC_MARK) {
        struct gc_proc *gp = &gc->procs[c->id];
        gp->assist_bytes -= (int64_t)bytes;
        pace_revise(gc);
        assist(gc, gp);
        return;
    }
    if (load_relaxed(&gc->h->gc.limited))
        pace_follow_limit(gc);
    uint64_t at = load_relaxed(&gc->h->gc.trigger), live = load_relaxed(&gc->h->gc.heap_live);
    if (live < at)
        return;
    bool asked = gc_trigger(gc);
    if (live <= at + at / BEHIND_SHARE)
        return;
    /* Well beyond the trigger, and still nothing. What the last cycle has left to sweep comes first; else the
     * collector's thread waits for a CPU. */
    for (unsigned i = 0; i < SWEEP_SPANS && sweep_one(gc->h, c); i++)
        ;
    if (asked)
        sched_fall_behind(gc->sched);
    thread_yield();
}
