/* The cycle, and the thread that runs it.
 *
 * Called through gc.h.
 *
 * Concurrency: see gc.h.
 * Go: mgc.go (gcStart, gcMarkDone, gcMarkTermination), mgcsweep.go (bgsweep).
 */
#include <stdlib.h>
#include <string.h>

#include "gc/gc.h"
#include "heap/mcache.h"
#include "heap/scavenge.h"
#include "heap/sweep.h"
#include "heap/tiny.h"
#include "platform/clock.h"
#include "platform/park.h"

enum {
    DRAIN_BYTES = 256 << 10, /* scanned before a marker looks up */
    MAX_RESTARTS = 8,        /* of marking, when its end turns out not to be one */
    FORCED_PERIOD_MS = 120000,
    /* Who allocates sweeps first: on his own CPU, and for memory that he uses at once. */
    SWEEP_DELAY_NS = 5000000,
    KEPT_LEAST = 4 << 20,    /* the least heap goal: with it a heap in which nothing lives keeps its spans */
};

/* --- Marking in the background --- */

static void credit(struct gc *gc, struct marker *m, uint64_t *last)
{
    fetch_add_relaxed(&gc->bg_credit, (int64_t)(m->scanned_bytes - *last));
    *last = m->scanned_bytes;
}

/* Marks until nothing is in sight. */
static void mark_in_background(struct gc *gc, struct marker *m)
{
    uint64_t last = m->scanned_bytes;
    do {
        while (mark_drain(m, DRAIN_BYTES))
            credit(gc, m, &last);
    } while (roots_scan_some(&gc->roots, m) || work_pool_has_work(&gc->pool));
    work_flush(&m->work);
    credit(gc, m, &last);
}

static void *helper_run(void *arg)
{
    struct gc *gc = arg;
    for (;;) {
        uint32_t event = load_acquire(&gc->help_event); /* first: a wake after it is not missed */
        if (load_acquire(&gc->stop))
            break;
        if (!load_acquire(&gc->marking) ||
            (!work_pool_has_work(&gc->pool) && !roots_have_work(&gc->roots))) {
            park_wait(&gc->help_event, event, load_relaxed(&gc->marking) ? 50000 : PARK_FOREVER);
            continue;
        }
        fetch_add_seq_cst(&gc->helping, 1);
        if (load_seq_cst(&gc->marking)) {
            struct marker m;
            marker_init(&m, &gc->pool);
            mark_in_background(gc, &m);
            fetch_add_relaxed(&gc->helper_marked, m.marked_bytes);
            fetch_add_relaxed(&gc->helper_scanned, m.scanned_bytes);
        }
        fetch_sub_seq_cst(&gc->helping, 1);
    }
    return NULL;
}

static void wake_helpers(struct gc *gc, bool marking)
{
    store_seq_cst(&gc->marking, marking);
    fetch_add_seq_cst(&gc->help_event, 1);
    park_wake(&gc->help_event, PARK_WAKE_ALL);
}

/* Threads that mark beside ours: a quarter of all Ps is for marking, and those nobody uses. */
static void start_helpers(struct gc *gc)
{
    unsigned wanted = MIN((gc->sched->nusers + 3) / 4 - 1, MAX_HELPERS);
    while (gc->nhelpers < wanted) {
        if (!thread_start(&gc->helpers[gc->nhelpers], "gomem-mark", helper_run, gc))
            return;
        gc->nhelpers++;
    }
}

static void end_helpers(struct gc *gc)
{
    wake_helpers(gc, false);
    while (gc->nhelpers > 0)
        thread_join(&gc->helpers[--gc->nhelpers]);
}

/* --- The P's part --- */

static void flush_barrier(struct gc_proc *gp)
{
    for (unsigned i = 0; i < gp->nbarrier; i++)
        mark_grey(&gp->marker, gp->barrier[i]);
    gp->nbarrier = 0;
}

void gc_barrier(struct gc *gc, uint32_t p, uintptr_t old, uintptr_t new)
{
    struct gc_proc *gp = &gc->procs[p];
    if (gp->nbarrier + 2 > BARRIER_OBJECTS)
        flush_barrier(gp);
    if (old != 0)
        gp->barrier[gp->nbarrier++] = old;
    if (new != 0)
        gp->barrier[gp->nbarrier++] = new;
}

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

/* The P pays for what it has allocated, by credit or by scanning. */
static void assist(struct gc *gc, struct gc_proc *gp, uint64_t allocated)
{
    gp->debt += (double)allocated * pacer_assist_ratio(&gc->pacer);
    if (gp->debt <= 0)
        return;
    gp->debt -= (double)take_credit(gc, (int64_t)gp->debt + 1);
    if (gp->debt <= 0)
        return;
    int64_t begin = clock_nanotime();
    flush_barrier(gp);
    uint64_t before = gp->marker.scanned_bytes;
    if (mark_drain(&gp->marker, (uint64_t)gp->debt + (64 << 10))) {
        gp->debt -= (double)(gp->marker.scanned_bytes - before);
    } else if (!roots_scan_some(&gc->roots, &gp->marker)) {
        gp->debt = 0; /* nothing is left that anybody could do */
    }
    work_flush(&gp->marker.work);
    gp->assist_time += clock_nanotime() - begin;
}

/* Asks the thread for a cycle. */
static void trigger(struct gc *gc);

void gc_on_slow_path(void *arg, struct mcache *c)
{
    struct gc *gc = arg;
    if (load_relaxed(&gc->h->gc.phase) == GC_MARK)
        assist(gc, &gc->procs[c->id], 8 << 10);
    else if (load_relaxed(&gc->h->gc.phase) == GC_OFF)
        trigger(gc);
    /* Well beyond the trigger, and still nothing: the collector's thread waits for a CPU. */
    uint64_t at = load_relaxed(&gc->h->gc.trigger);
    if (load_relaxed(&gc->h->gc.heap_live) > at + at / 8)
        thread_yield();
}

/* --- The stops --- */

/* All sums of markers since the cycle began. pre: the world is stopped. */
static void sum_work(struct gc *gc, uint64_t *marked, uint64_t *scanned, int64_t *assist_time)
{
    *marked = gc->marker.marked_bytes + gc->roots.marker.marked_bytes +
              load_relaxed(&gc->helper_marked);
    *scanned = gc->marker.scanned_bytes + load_relaxed(&gc->helper_scanned);
    *assist_time = 0;
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        *marked += gc->procs[i].marker.marked_bytes;
        *scanned += gc->procs[i].marker.scanned_bytes;
        *assist_time += gc->procs[i].assist_time;
    }
}

static void reset_procs(struct gc *gc)
{
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        struct gc_proc *gp = &gc->procs[i];
        marker_init(&gp->marker, &gc->pool);
        gp->nbarrier = 0;
        gp->debt = 0;
        gp->assist_time = 0;
    }
    marker_init(&gc->marker, &gc->pool);
    gc->helper_marked = gc->helper_scanned = 0;
    store_relaxed(&gc->bg_credit, 0);
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
    struct mheap *h = gc->h;
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        tiny_retire(gc->sched->ps[i].mcache);
    reset_procs(gc);
    set_phase(gc, GC_MARK);
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        mcache_mark_windows(gc->sched->ps[i].mcache);
    roots_start(&gc->roots, &gc->marker);
    work_flush(&gc->marker.work);
    gc->cycle.heap_start = load_relaxed(&h->gc.heap_live);
    lock(&gc->lock);
    gc->pacer.root_bytes = load_relaxed(&gc->roots.slots) * sizeof(uint64_t);
    pacer_start_cycle(&gc->pacer, gc->cycle.heap_start);
    gc->cycle.goal = pacer_heap_goal(&gc->pacer);
    unlock(&gc->lock);
}

/* Hands all that Ps have to the pool. pre: the world is stopped. */
static void collect_work(struct gc *gc)
{
    for (uint32_t i = 0; i < gc->sched->nps; i++) {
        flush_barrier(&gc->procs[i]);
        work_flush(&gc->procs[i].marker.work);
    }
}

static void drain_all(struct gc *gc)
{
    do {
        mark_in_background(gc, &gc->marker);
    } while (work_pool_has_work(&gc->pool));
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
    uint64_t scanned, marked;
    int64_t assist_time;
    roots_finish(&gc->roots);
    sum_work(gc, &marked, &scanned, &assist_time);
    set_phase(gc, GC_OFF);
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        tiny_retire(gc->sched->ps[i].mcache);
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        mcache_flush(gc->sched->ps[i].mcache);
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        gc->sched->ps[i].mcache->reported_frees = mcache_freed_bytes(gc->sched->ps[i].mcache);
    mheap_free_deferred(h, gc->sched->ps[0].mcache);
    sweep_begin(h, keep_bytes(gc));
    uint64_t live = load_relaxed(&h->gc.heap_live);
    gc->cycle.heap_end = live;
    gc->cycle.heap_marked = marked + (live > gc->cycle.heap_start ? live - gc->cycle.heap_start : 0);
    gc->cycle.scan_work = scanned;
    gc->cycle.assist_ns = assist_time;
    store_relaxed(&h->gc.heap_live, gc->cycle.heap_marked);
}

static void update_memory(struct gc *gc)
{
    struct mheap *h = gc->h;
    gc->pacer.memory.mapped_ready = load_relaxed(&h->om.mapped_ready);
    gc->pacer.memory.heap_free = load_relaxed(&h->bytes.heap_free.bytes);
    gc->pacer.memory.heap_alloc = load_relaxed(&h->gc.heap_live);
}

static void set_trigger(struct gc *gc)
{
    update_memory(gc);
    uint64_t t = pacer_trigger(&gc->pacer);
    store_relaxed(&gc->h->gc.trigger, t);
}

static void pace_next(struct gc *gc, int64_t duration)
{
    lock(&gc->lock);
    struct pacer_cycle c = {
        .duration = duration,
        .assist_time = gc->cycle.assist_ns,
        .idle_time = duration, /* our thread marks on a core that nobody may need */
        .heap_live = gc->cycle.heap_end,
        .scan_work = gc->cycle.scan_work,
        .procs = gc->sched->nusers,
    };
    pacer_end_cycle(&gc->pacer, &c);
    pacer_reset_live(&gc->pacer, gc->cycle.heap_marked, gc->cycle.scan_work);
    pacer_commit(&gc->pacer, false, gc->cycle.heap_marked);
    set_trigger(gc);
    unlock(&gc->lock);
}

/* --- The cycle --- */

/* Sweeps what is left, with the P of our own; false: closed. */
static bool finish_sweeping(struct gc *gc)
{
    struct p *p = p_acquire_id(gc->sched, gc->sched->nusers);
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

static bool mark_phase(struct gc *gc)
{
    for (unsigned restarts = 0;; restarts++) {
        wake_helpers(gc, true);
        mark_in_background(gc, &gc->marker);
        while (load_acquire(&gc->helping) > 0) {
            mark_in_background(gc, &gc->marker);
            park_wait(&gc->helping, load_relaxed(&gc->helping), 20000);
        }
        int64_t begin = clock_nanotime();
        if (!stop_world(gc->sched))
            return false;
        gc->cycle.stop_ns[1] = clock_nanotime() - begin;
        /* Helpers that began meanwhile. */
        store_seq_cst(&gc->marking, false);
        while (load_seq_cst(&gc->helping) > 0)
            park_wait(&gc->helping, load_relaxed(&gc->helping), 20000);
        collect_work(gc);
        if (!work_pool_has_work(&gc->pool) || restarts >= MAX_RESTARTS) {
            drain_all(gc);
            gc->cycle.pause_begin[1] = begin;
            return true;
        }
        start_world(gc->sched);
        gc->cycle.restarts++;
    }
}

static void record(struct gc *gc)
{
    struct gomem_gc_cycle *c = &gc->cycle;
    lock(&gc->lock);
    gc->num_gc++;
    gc->num_forced += c->forced;
    gc->pause_total += (uint64_t)(c->pause_ns[0] + c->pause_ns[1]);
    gc->records[(gc->num_gc - 1) % CYCLE_RECORDS] = *c;
    store_release(&gc->marked, gc->marked + 1);
    unlock(&gc->lock);
}

/* false: the runtime was closed on the way. */
static bool run_cycle(struct gc *gc, bool forced)
{
    struct mheap *h = gc->h;
    gc->cycle = (struct gomem_gc_cycle){.number = gc->num_gc + 1, .forced = forced};
    work_pool_prepare(&gc->pool);
    start_helpers(gc);
    if (!finish_sweeping(gc))
        return false;
    int64_t begin = clock_nanotime();
    if (!stop_world(gc->sched))
        return false;
    gc->cycle.stop_ns[0] = clock_nanotime() - begin;
    finish_sweeping_stopped(gc);
    begin_marking(gc);
    start_world(gc->sched);
    int64_t marking = clock_nanotime();
    gc->cycle.start_ns = begin - gc->start_time;
    gc->cycle.pause_begin[0] = begin;
    gc->cycle.pause_ns[0] = marking - begin;

    if (!mark_phase(gc))
        return false;
    int64_t marked = gc->cycle.pause_begin[1];
#if GOMEM_CHECK_LEVEL >= 2
    char why[200];
    if (!gc_verify_marks(gc, why, sizeof why))
        check_fail(__FILE__, __LINE__, why);
#endif
    end_marking(gc);
    pace_next(gc, marked - marking);
    start_world(gc->sched);
    int64_t end = clock_nanotime();
    gc->cycle.pause_ns[1] = end - marked;
    gc->cycle.mark_ns = marked - marking;
    uint32_t event = load_acquire(&gc->wake);
    record(gc);

    if (!forced)
        park_wait(&gc->wake, event, SWEEP_DELAY_NS);
    if (!finish_sweeping(gc))
        return false;
    lock(&gc->lock);
    pacer_commit(&gc->pacer, true, 0);
    set_trigger(gc);
    unlock(&gc->lock);
    scavenge_next_generation(h);
    return true;
}

/* --- The thread --- */

static void *gc_run(void *arg)
{
    struct gc *gc = arg;
    for (;;) {
        uint32_t event = load_acquire(&gc->wake); /* first: a wake after it is not missed */
        if (load_acquire(&gc->stop))
            break;
        lock(&gc->lock);
        bool due = gc->wanted != gc->started, forced = gc->forced != 0;
        uint32_t target = gc->wanted;
        gc->forced = 0;
        if (due)
            gc->started = target;
        unlock(&gc->lock);
        if (!due) {
            park_wait(&gc->wake, event, (int64_t)FORCED_PERIOD_MS * 1000000);
            continue;
        }
        lock(&gc->cycle_lock);
        bool ran = run_cycle(gc, forced);
        unlock(&gc->cycle_lock);
        lock(&gc->lock);
        if (!ran)
            store_release(&gc->stop, 1);
        store_release(&gc->done, target);
        unlock(&gc->lock);
        fetch_add_seq_cst(&gc->finished, 1);
        park_wake(&gc->finished, PARK_WAKE_ALL);
    }
    end_helpers(gc);
    return NULL;
}

/* Sees to it that there is a thread, and that it has something to do. */
static bool start_thread_locked(struct gc *gc)
{
    ASSERT_HELD(&gc->lock);
    if (!gc->running && !load_relaxed(&gc->stop))
        gc->running = thread_start(&gc->thread, "gomem-gc", gc_run, gc);
    return gc->running;
}

static void wake(struct gc *gc)
{
    fetch_add_seq_cst(&gc->wake, 1);
    park_wake(&gc->wake, 1);
}

static void trigger(struct gc *gc)
{
    if (!lock_try(&gc->lock))
        return; /* the next allocation will see to it */
    /* The last cycle may still be sweeping. */
    bool idle = gc->wanted == gc->started && gc->started == gc->marked;
    if (idle && start_thread_locked(gc)) {
        gc->wanted++;
        unlock(&gc->lock);
        wake(gc);
        return;
    }
    unlock(&gc->lock);
}

enum gomem_status gc_collect(struct gc *gc)
{
    lock(&gc->lock);
    if (!start_thread_locked(gc)) {
        bool stop = load_relaxed(&gc->stop);
        unlock(&gc->lock);
        return stop ? GOMEM_CLOSED : GOMEM_OUT_OF_MEMORY;
    }
    /* One that has begun already does not see what died since. */
    if (gc->wanted == gc->started)
        gc->wanted++;
    uint32_t target = gc->wanted;
    gc->forced = 1;
    unlock(&gc->lock);
    wake(gc);
    while ((int32_t)(load_acquire(&gc->done) - target) < 0) {
        uint32_t event = load_acquire(&gc->finished);
        if (load_acquire(&gc->stop))
            return GOMEM_CLOSED;
        if ((int32_t)(load_acquire(&gc->done) - target) < 0)
            park_wait(&gc->finished, event, 100000000);
    }
    return load_acquire(&gc->stop) ? GOMEM_CLOSED : GOMEM_OK;
}

int32_t gc_set_percent(struct gc *gc, int32_t percent)
{
    lock(&gc->lock);
    int32_t old = gc->pacer.gc_percent;
    pacer_set_gc_percent(&gc->pacer, percent);
    pacer_commit(&gc->pacer, sweep_done(gc->h), load_relaxed(&gc->h->gc.heap_live));
    set_trigger(gc);
    unlock(&gc->lock);
    return old;
}

void gc_set_memory_limit(struct gc *gc, uint64_t limit)
{
    lock(&gc->lock);
    store_relaxed(&gc->pacer.memory.limit, limit);
    pacer_commit(&gc->pacer, sweep_done(gc->h), load_relaxed(&gc->h->gc.heap_live));
    set_trigger(gc);
    unlock(&gc->lock);
}

/* --- Making, ending, fork --- */

struct gc *gc_new(struct mheap *h, struct sched *sched, int32_t gc_percent, uint64_t memory_limit)
{
    struct gc *gc = calloc(1, sizeof *gc);
    struct gc_proc *procs = aligned_alloc(CACHE_LINE, sched->nps * sizeof *procs);
    if (gc == NULL || procs == NULL) {
        free(gc);
        free(procs);
        return NULL;
    }
    memset(procs, 0, sched->nps * sizeof *procs);
    gc->h = h;
    gc->sched = sched;
    gc->procs = procs;
    gc->start_time = clock_nanotime();
    lock_init(&gc->lock, RANK_GC);
    lock_init(&gc->cycle_lock, RANK_GC_CYCLE);
    work_pool_init(&gc->pool, h);
    roots_init(&gc->roots, &gc->pool);
    reset_procs(gc);
    pacer_init(&gc->pacer, gc_percent, memory_limit);
    set_trigger(gc);
    h->gc.gc = gc;
    h->gc.on_slow_path = gc_on_slow_path;
    return gc;
}

void gc_end(struct gc *gc)
{
    store_release(&gc->stop, 1);
    wake(gc);
    lock(&gc->lock);
    bool running = gc->running;
    gc->running = false;
    unlock(&gc->lock);
    if (running)
        thread_join(&gc->thread);
    fetch_add_seq_cst(&gc->finished, 1);
    park_wake(&gc->finished, PARK_WAKE_ALL);
}

void gc_delete(struct gc *gc)
{
    free(gc->procs);
    free(gc);
}

void gc_fork_prepare(struct gc *gc)
{
    lock(&gc->cycle_lock);
}

void gc_fork_parent(struct gc *gc)
{
    unlock(&gc->cycle_lock);
}

void gc_fork_child(struct gc *gc)
{
    /* No thread is here but the one that forked; no cycle was running. */
    gc->running = false;
    gc->nhelpers = 0;
    gc->helping = gc->marking = 0;
    gc->wanted = gc->started = gc->marked = gc->done;
    gc->forced = 0;
    unlock(&gc->cycle_lock);
}
