/* Marking in the background, by the collector's thread and its helpers.
 *
 * Called through workers.h.
 *
 * Concurrency: see workers.h.
 * Go: gcBgMarkWorker in mgc.go, gcDrain and gcFlushBgCredit in mgcmark.go.
 */
#include "gc/workers.h"

#include "gc/assist.h"
#include "gc/greys.h"
#include "gc/pace.h"
#include "platform/clock.h"
#include "platform/park.h"

enum {
    DRAIN_BYTES = 64 << 10, /* scanned before a marker looks up */
    LOOK_NS = 50000,        /* how often a helper looks for work during marking */
    LOOK_IDLE_NS = 1000000, /* one that is for idle Ps */
};

/* What marks in the background. */
struct worker {
    struct gc *gc;
    unsigned number; /* 0: the collector's thread; those beyond the background's share use idle Ps */
    struct marker *m;
    int64_t since;   /* its time is counted until then */
};

/* How many threads the background's share of the Ps is. */
static unsigned background_threads(const struct gc *gc)
{
    if (gc->workers != 0)
        return gc->workers;
    struct pacer_workers w = pacer_share_workers(gc->sched->nusers, false);
    return MIN(MAX(w.dedicated + (w.fractional > 0), 1), MAX_HELPERS + 1u);
}

/* And how many with those that use Ps nobody needs. */
static unsigned all_threads(const struct gc *gc)
{
    unsigned n = background_threads(gc);
    return gc->workers != 0 ? n : MAX(n, MIN(MIN(gc->sched->nusers, gc->cpus), MAX_HELPERS + 1u));
}

/* Is there an idle P and a CPU for one more, beside the background's own threads and the n that are at
 * work? */
static bool idle_is_needed(const struct gc *gc, unsigned n)
{
    unsigned taken = background_threads(gc) + n, idle = sched_idle(gc->sched);
    return n < gc->pacer.workers.max_idle && idle > taken &&
           gc->cpus > gc->sched->nusers - idle + taken;
}

/* Counts what was done since it was last called. */
static void look_up(struct worker *w)
{
    struct gc *gc = w->gc;
    int64_t now = clock_nanotime();
    pace_count_worker(gc, w->number, w->since, now);
    w->since = now;
    gc_give_credit(gc, pace_count_scanned(gc, w->m));
    /* Others wait for work, and this one has more than it needs at once. */
    if (load_relaxed(&gc->nhelpers) > 0 && !work_pool_has_work(&gc->pool))
        work_share(&w->m->work);
}

/* Marks until nothing is in sight, or while `needed` says so for a helper on an idle P. */
static void mark(struct worker *w, bool idle)
{
    struct gc *gc = w->gc;
    bool needed = true;
    w->since = clock_nanotime();
    markers_enter(gc);
    do {
        markers_look_up(gc, w->m);
        while (needed && mark_drain(w->m, DRAIN_BYTES)) {
            look_up(w);
            markers_look_up(gc, w->m);
            needed = !idle || idle_is_needed(gc, load_relaxed(&gc->idle_helping) - 1);
        }
    } while (needed && (roots_scan_some(&gc->roots, w->m) || work_pool_has_work(&gc->pool)));
    work_flush(&w->m->work);
    look_up(w);
    markers_leave(gc);
    gc_wake_assists(gc);
}

void workers_mark(struct gc *gc, struct marker *m)
{
    mark(&(struct worker){.gc = gc, .m = m}, false);
}

/* --- Helpers --- */

/* A helper's turn: marks if that is allowed, there is something to mark, and it is wanted; false: not. */
static bool help(struct gc *gc, unsigned number)
{
    bool idle = number >= background_threads(gc);
    if (!load_acquire(&gc->marking) ||
        (!work_pool_has_work(&gc->pool) && !roots_have_work(&gc->roots)) ||
        (idle && !idle_is_needed(gc, load_relaxed(&gc->idle_helping))))
        return false;
    fetch_add_seq_cst(&gc->helping, 1);
    if (load_seq_cst(&gc->marking)) {
        struct marker m;
        fetch_add_relaxed(&gc->idle_helping, idle);
        marker_init(&m, &gc->pool);
        mark(&(struct worker){.gc = gc, .number = number, .m = &m}, idle);
        fetch_add_relaxed(&gc->helper_marked, m.marked_bytes);
        fetch_sub_relaxed(&gc->idle_helping, idle);
    }
    fetch_sub_seq_cst(&gc->helping, 1);
    park_wake(&gc->helping, PARK_WAKE_ALL);
    return true;
}

static void *helper_run(void *arg)
{
    struct gc *gc = ((struct gc_helper *)arg)->gc;
    unsigned number = ((struct gc_helper *)arg)->number;
    for (;;) {
        uint32_t event = load_acquire(&gc->help_event); /* first: a wake after it is not missed */
        if (load_acquire(&gc->stop))
            break;
        if (help(gc, number))
            continue;
        int64_t look = number < background_threads(gc) ? LOOK_NS : LOOK_IDLE_NS;
        park_wait(&gc->help_event, event, load_relaxed(&gc->marking) ? look : PARK_FOREVER);
    }
    return NULL;
}

void workers_wake(struct gc *gc, bool marking)
{
    store_seq_cst(&gc->marking, marking);
    fetch_add_seq_cst(&gc->help_event, 1);
    park_wake(&gc->help_event, PARK_WAKE_ALL);
}

void workers_start_locked(struct gc *gc)
{
    ASSERT_HELD(&gc->lock);
    unsigned wanted = all_threads(gc) - 1;
    while (gc->nhelpers < wanted) {
        struct gc_helper *helper = &gc->helpers[gc->nhelpers];
        *helper = (struct gc_helper){.gc = gc, .number = gc->nhelpers + 1};
        if (!thread_start(&helper->thread, "gomem-mark", helper_run, helper))
            return;
        store_relaxed(&gc->nhelpers, gc->nhelpers + 1);
    }
}

void workers_end(struct gc *gc)
{
    workers_wake(gc, false);
    while (gc->nhelpers > 0) {
        unsigned last = gc->nhelpers - 1;
        thread_join(&gc->helpers[last].thread);
        store_relaxed(&gc->nhelpers, last);
    }
}
