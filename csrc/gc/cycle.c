/* The cycle.
 *
 * Called through cycle.h.
 *
 * Concurrency: see cycle.h.
 * Go: mgc.go (gcStart, gcMarkDone, gcMarkTermination), mgcsweep.go (bgsweep).
 */
#include "gc/cycle.h"

#include "base/mutate.h"
#include "gc/assist.h"
#include "gc/pace.h"
#include "gc/workers.h"
#include "heap/mcache.h"
#include "heap/scavenge.h"
#include "heap/sweep.h"
#include "heap/tiny.h"
#include "platform/clock.h"
#include "platform/park.h"

enum {
    MAX_RESTARTS = 8,        /* of marking, when its end turns out not to be one */
    /* Who allocates sweeps first: on his own CPU, and for memory that he uses at once. */
    SWEEP_DELAY_NS = 5000000,
    KEPT_LEAST = 4 << 20,    /* the least heap goal: with it a heap in which nothing lives keeps its spans */
};

/* --- The stops --- */

/* Bytes that markers have marked since the cycle began; counts what they have scanned. pre: the world is
 * stopped. */
static uint64_t sum_marked(struct gc *gc)
{
    uint64_t marked = gc->marker.marked_bytes + gc->roots.marker.marked_bytes +
                      load_relaxed(&gc->helper_marked);
    pace_count_scanned(gc, &gc->marker);
    pace_count_scanned(gc, &gc->roots.marker);
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        marked += gc->procs[i].marker.marked_bytes;
        pace_count_scanned(gc, &gc->procs[i].marker);
    }
    return marked;
}

void cycle_reset(struct gc *gc)
{
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        struct gc_proc *gp = &gc->procs[i];
        marker_init(&gp->marker, &gc->pool);
        gp->nbarrier = 0;
        gp->barrier_writes = gp->barrier_shaded = 0;
        gp->credit_taken = 0;
        gp->assist_bytes = 0;
    }
    marker_init(&gc->marker, &gc->pool);
    gc->helper_marked = 0;
    store_relaxed(&gc->bg_credit, 0);
    store_relaxed(&gc->credit_given, 0);
}

static void set_phase(struct gc *gc, enum gc_phase phase)
{
    store_release(&gc->h->gc.phase, phase);
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        store_relaxed(&gc->sched->ps[i].barrier, phase == GC_MARK);
}

/* pre: the world is stopped, everything is swept. */
static void begin_marking(struct gc *gc)
{
    gc_run_hooks(gc);
    for (uint32_t i = 0; i < gc->sched->nps && !MUTATED(NO_TINY_RETIRE); i++)
        tiny_retire(gc->sched->ps[i].mcache);
    pace_report_all(gc);
    cycle_reset(gc);
    set_phase(gc, GC_MARK);
    for (uint32_t i = 0; i < gc->sched->nps && !MUTATED(NO_BLACK_OLD_WINDOWS); i++)
        mcache_mark_windows(gc->sched->ps[i].mcache);
    roots_start(&gc->roots, &gc->marker);
    work_flush(&gc->marker.work);
    pace_start_cycle(gc);
}

void cycle_collect_work(struct gc *gc)
{
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        if (!MUTATED(NO_BARRIER_FLUSH))
            gc_flush_barrier(&gc->procs[i]);
        if (!MUTATED(NO_WORK_FLUSH))
            work_flush(&gc->procs[i].marker.work);
    }
}

/* Frames have no barrier: where only what is written is greyed they may hide what was cut off elsewhere. */
static void rescan_frames(struct gc *gc)
{
    int64_t begin = clock_nanotime();
    gc->cycle.rescan_slots = roots_scan_frames(&gc->roots, &gc->marker);
    workers_mark(gc, &gc->marker);
    gc->cycle.rescan_ns = clock_nanotime() - begin;
}

static void drain_all(struct gc *gc)
{
    workers_mark(gc, &gc->marker);
    if (gc->barrier == GOMEM_BARRIER_DIJKSTRA && !MUTATED(NO_FRAME_RESCAN))
        rescan_frames(gc);
    if (!MUTATED(NO_OVERFLOW_RESCAN))
        mark_rescan(&gc->marker);
    work_flush(&gc->marker.work);
}

/* How much of empty spans may stay in their classes until the next cycle: not when somebody asked for the
 * cycle, as he may want the memory for something else, nor when there is a limit. */
static size_t keep_bytes(const struct gc *gc)
{
    bool limited = gc->pacer.memory.limit != UINT64_MAX || gc->h->om.max_ready != UINT64_MAX;
    return gc->cycle.forced || limited ? 0 : MAX(KEPT_LEAST, gc->pacer.heap_marked / 16);
}

/* pre: the world is stopped, everything reachable is marked. */
static void end_marking(struct gc *gc)
{
    struct mheap *h = gc->h;
    roots_finish(&gc->roots);
    uint64_t marked = sum_marked(gc);
    pace_report_all(gc);
    set_phase(gc, GC_OFF);
    sched_flush(gc->sched);
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        gc->sched->ps[i].mcache->reported_frees = mcache_freed_bytes(gc->sched->ps[i].mcache);
    mheap_free_deferred(h, gc->sched->ps[0].mcache);
    sweep_begin(h, keep_bytes(gc));
    uint64_t live = load_relaxed(&h->gc.heap_live);
    gc->cycle.heap_end = live;
    gc->cycle.heap_marked = marked + (live > gc->cycle.heap_start ? live - gc->cycle.heap_start : 0);
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        gc->cycle.barrier_writes += gc->procs[i].barrier_writes;
        gc->cycle.barrier_shaded += gc->procs[i].barrier_shaded;
    }
    store_relaxed(&h->gc.heap_live, gc->cycle.heap_marked);
    store_relaxed(&h->gc.garbage, (int64_t)(live - MIN(live, gc->cycle.heap_marked)));
}

/* --- The cycle --- */

bool cycle_sweep(struct gc *gc)
{
    struct p *p = p_acquire_id(gc->sched, gc->sched->nusers); /* a P of its own */
    if (p == NULL)
        return false;
    while (sweep_one(gc->h, p->mcache))
        if (!p_safepoint(p))
            return false;
    p_release(p);
    return true;
}

/* pre: the world is stopped. What others were sweeping is swept. */
static void finish_sweeping_stopped(struct gc *gc)
{
    while (sweep_one(gc->h, gc->sched->ps[0].mcache))
        ;
    CHECK(sweep_done(gc->h));
}

void cycle_prepare(struct gc *gc, bool forced)
{
    gc->cycle = (struct gomem_gc_cycle){
        .number = gc->stats.num_gc + 1,
        .forced = forced,
        .periodic = gc->periodic,
    };
    work_pool_prepare(&gc->pool);
}

bool cycle_begin_marking(struct gc *gc)
{
    int64_t begin = clock_nanotime();
    if (!stop_world_to_collect(gc->sched))
        return false;
    gc->cycle.stop_ns[0] = clock_nanotime() - begin;
    finish_sweeping_stopped(gc);
    pace_stopping(gc, true, begin);
    begin_marking(gc);
    pace_starting(gc, clock_nanotime());
    start_world(gc->sched);
    gc->cycle.start_ns = begin - gc->start_time;
    gc->cycle.pause_begin[0] = begin;
    gc->cycle.pause_ns[0] = clock_nanotime() - begin;
    return true;
}

/* Marks with all helpers until nothing is in sight. */
static void mark_all(struct gc *gc)
{
    workers_wake(gc, true);
    workers_mark(gc, &gc->marker);
    while (load_acquire(&gc->helping) > 0) {
        workers_mark(gc, &gc->marker);
        park_wait(&gc->helping, load_relaxed(&gc->helping), 20000);
    }
}

static void record(struct gc *gc)
{
    struct gomem_gc_cycle *c = &gc->cycle;
    lock(&gc->lock);
    stats_record(&gc->stats, c, clock_nanotime() - gc->start_time);
    gc->records[(gc->stats.num_gc - 1) % CYCLE_RECORDS] = *c;
    store_release(&gc->marked, gc->marked + 1);
    unlock(&gc->lock);
    store_relaxed(&gc->last_gc, gc_clock(gc));
    gc_print_trace(gc);
    fetch_add_seq_cst(&gc->finished, 1);
    park_wake(&gc->finished, PARK_WAKE_ALL);
}

bool cycle_end_marking(struct gc *gc, bool *more)
{
    int64_t begin = clock_nanotime();
    if (!stop_world_to_collect(gc->sched))
        return false;
    gc->cycle.stop_ns[1] = clock_nanotime() - begin;
    /* Helpers that began meanwhile. */
    store_seq_cst(&gc->marking, false);
    while (load_seq_cst(&gc->helping) > 0)
        park_wait(&gc->helping, load_relaxed(&gc->helping), 20000);
    cycle_collect_work(gc);
    *more = work_pool_has_work(&gc->pool) && gc->cycle.restarts < MAX_RESTARTS;
    if (*more) {
        start_world(gc->sched);
        gc->cycle.restarts++;
        return true;
    }
    drain_all(gc);
#if GOMEM_CHECK_LEVEL >= 2
    char why[200];
    if (!gc_verify_marks(gc, why, sizeof why))
        check_fail(__FILE__, __LINE__, why);
#endif
    gc->cycle.pause_begin[1] = begin;
    gc->cycle.mark_ns = begin - gc->cycle.pause_begin[0] - gc->cycle.pause_ns[0];
    pace_stopping(gc, false, begin);
    end_marking(gc);
    pace_end_cycle(gc, gc->cycle.mark_ns);
    pace_starting(gc, clock_nanotime());
    start_world(gc->sched);
    gc->cycle.pause_ns[1] = clock_nanotime() - begin;
    gc->cycle.end_unix_ns = clock_unix();
    record(gc);
    return true;
}

void cycle_done(struct gc *gc)
{
    scavenge_next_generation(gc->h);
    pace_swept(gc);
    if (gc->on_swept != NULL)
        gc->on_swept(gc->hooks_arg);
}

bool cycle_run(struct gc *gc, bool forced)
{
    bool more = true;
    cycle_prepare(gc, forced);
    if (!cycle_sweep(gc) || !cycle_begin_marking(gc))
        return false;
    while (more) {
        mark_all(gc);
        if (!cycle_end_marking(gc, &more))
            return false;
    }
    uint32_t event = load_acquire(&gc->wake);
    if (!forced)
        park_wait(&gc->wake, event, SWEEP_DELAY_NS);
    if (!cycle_sweep(gc))
        return false;
    cycle_done(gc);
    return true;
}
