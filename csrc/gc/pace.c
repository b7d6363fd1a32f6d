/* Between collector and pacer.
 *
 * Called through pace.h.
 *
 * Concurrency: see pace.h.
 * Go: mgcpacer.go, mgclimit.go.
 */
#include "gc/pace.h"

#include "base/mutate.h"
#include "heap/scavenge.h"
#include "heap/sweep.h"
#include "platform/clock.h"

/* --- Sizes --- */

static void update_memory_locked(struct gc *gc)
{
    ASSERT_HELD(&gc->lock);
    struct mheap *h = gc->h;
    int64_t garbage = load_relaxed(&h->gc.garbage);
    gc->pacer.memory.mapped_ready = load_relaxed(&h->om.mapped_ready);
    gc->pacer.memory.heap_free = load_relaxed(&h->bytes.heap_free.bytes);
    gc->pacer.memory.heap_alloc =
        load_relaxed(&h->gc.heap_live) + (uint64_t)MAX(garbage, 0);
}

struct pacer_scan pace_scan_work(struct gc *gc)
{
    return (struct pacer_scan){
        .heap = load_relaxed(&gc->heap_scanned),
        .stacks = load_relaxed(&gc->roots.scanned_frames),
        .globals = load_relaxed(&gc->roots.scanned_tables),
    };
}

uint64_t pace_count_scanned(struct gc *gc, struct marker *m)
{
    uint64_t bytes = m->scanned_bytes - m->counted_bytes;
    m->counted_bytes = m->scanned_bytes;
    if (bytes > 0)
        fetch_add_relaxed(&gc->heap_scanned, bytes);
    bytes += m->root_bytes;
    m->root_bytes = 0;
    return bytes;
}

void pace_report_all(struct gc *gc)
{
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        mcache_report_all(gc->sched->ps[i].mcache);
}

static void set_trigger_locked(struct gc *gc)
{
    update_memory_locked(gc);
    uint64_t trigger = pacer_trigger(&gc->pacer);
    if (!MUTATED(NO_NEW_TRIGGER) || gc->stats.num_gc == 0)
        store_relaxed(&gc->h->gc.trigger, trigger);
}

static void revise_locked(struct gc *gc)
{
    struct mheap *h = gc->h;
    uint64_t live = load_relaxed(&h->gc.heap_live), scan = load_relaxed(&h->gc.heap_scan);
    struct pacer_scan work = pace_scan_work(gc);
    update_memory_locked(gc);
    pacer_revise(&gc->pacer, live, MIN(scan, live), &work);
}

void pace_commit_locked(struct gc *gc, uint64_t heap_live)
{
    struct mheap *h = gc->h;
    store_relaxed(&h->gc.limited, gc->pacer.memory.limit != UINT64_MAX);
    pacer_commit(&gc->pacer, sweep_done(h), heap_live);
    set_trigger_locked(gc);
    if (load_relaxed(&h->gc.phase) == GC_MARK) {
        revise_locked(gc);
        store_relaxed(&gc->cycle.goal, pacer_heap_goal(&gc->pacer));
    }
    scavenge_pace(h, gc->pacer.memory.limit, pacer_heap_goal(&gc->pacer), gc->pacer.last_heap_goal,
                  gc->last_heap_inuse);
}

void pace_follow_limit(struct gc *gc)
{
    if (!lock_try(&gc->lock))
        return;
    set_trigger_locked(gc);
    unlock(&gc->lock);
}

void pace_start_cycle(struct gc *gc)
{
    struct mheap *h = gc->h;
    struct gomem_gc_cycle *c = &gc->cycle;
    c->heap_start = load_relaxed(&h->gc.heap_live);
    c->trigger = load_relaxed(&h->gc.trigger);
    c->procs = gc->sched->nusers;
    store_relaxed(&gc->heap_scanned, 0);
    gc->times = (struct gc_times){0};
    store_relaxed(&gc->mark_start, clock_nanotime());
    lock(&gc->lock);
    update_memory_locked(gc);
    pacer_start_cycle(&gc->pacer,
                      &(struct pacer_start){
                          .heap_live = c->heap_start,
                          .heap_scan = MIN(load_relaxed(&h->gc.heap_scan), c->heap_start),
                          .stacks = load_relaxed(&gc->roots.scanned_frames),
                          .globals = load_relaxed(&gc->roots.slots) * sizeof(uint64_t),
                          .procs = c->procs,
                          .periodic = c->periodic != 0,
                      });
    c->goal = pacer_heap_goal(&gc->pacer);
    c->assist_ratio = pacer_assist_ratio(&gc->pacer);
    unlock(&gc->lock);
}

void pace_revise(struct gc *gc)
{
    if (!lock_try(&gc->lock))
        return;
    if (load_relaxed(&gc->h->gc.phase) == GC_MARK)
        revise_locked(gc);
    unlock(&gc->lock);
}

void pace_end_cycle(struct gc *gc, int64_t duration)
{
    struct mheap *h = gc->h;
    struct gomem_gc_cycle *c = &gc->cycle;
    struct pacer_scan work = pace_scan_work(gc);
    c->heap_scan = work.heap;
    c->stack_scan = work.stacks;
    c->globals_scan = work.globals;
    c->scan_work = pacer_scan_sum(&work);
    c->assist_ns = load_relaxed(&gc->times.assist);
    c->dedicated_ns = load_relaxed(&gc->times.dedicated);
    c->fractional_ns = load_relaxed(&gc->times.fractional);
    c->idle_ns = load_relaxed(&gc->times.idle);
    lock(&gc->lock);
    pacer_end_cycle(&gc->pacer, &(struct pacer_cycle){
                                    .duration = duration,
                                    .assist_time = c->assist_ns,
                                    .idle_time = c->idle_ns,
                                    .heap_live = c->heap_end,
                                    .work = work,
                                    .procs = c->procs,
                                });
    c->goal = gc->pacer.last_heap_goal;
    pacer_reset_live(&gc->pacer, c->heap_marked, &work);
    store_relaxed(&h->gc.heap_scan, work.heap);
    gc->last_heap_inuse = load_relaxed(&h->bytes.heap_inuse.bytes);
    pace_commit_locked(gc, c->heap_marked);
    unlock(&gc->lock);
}

void pace_swept(struct gc *gc)
{
    store_relaxed(&gc->h->gc.garbage, 0);
    lock(&gc->lock);
    pace_commit_locked(gc, load_relaxed(&gc->h->gc.heap_live));
    unlock(&gc->lock);
}

/* --- CPU time --- */

static void publish_limit(struct gc *gc)
{
    store_relaxed(&gc->h->gc.cpu_limited, limiter_is_limiting(&gc->limiter));
}

/* Scavenging for an allocation counts as an assist. */
static void count_scavenging(struct gc *gc)
{
    int64_t scavenged = load_relaxed(&gc->h->scav.assist_ns);
    limiter_add_assist(&gc->limiter, scavenged - exchange_acq_rel(&gc->scavenged_ns, scavenged));
}

static void update_limiter(struct gc *gc, int64_t now)
{
    if (!limiter_needs_update(&gc->limiter, now))
        return;
    count_scavenging(gc);
    limiter_update(&gc->limiter, now, sched_idle(gc->sched));
    publish_limit(gc);
}

void pace_stopping(struct gc *gc, bool marking, int64_t now)
{
    count_scavenging(gc);
    limiter_start_transition(&gc->limiter, marking, gc->cycle.number, now);
}

void pace_starting(struct gc *gc, int64_t now)
{
    limiter_finish_transition(&gc->limiter, now);
    publish_limit(gc);
}

void pace_count_assist(struct gc *gc, int64_t begin, int64_t now)
{
    fetch_add_relaxed(&gc->times.assist, now - begin);
    limiter_add_assist(&gc->limiter, now - begin);
    update_limiter(gc, now);
}

/* Adds up to `ns` to the fractional workers' time, as far as their share of all Ps goes; what is left. */
static int64_t count_fractional(struct gc *gc, int64_t ns, int64_t now)
{
    double elapsed = (double)(now - load_relaxed(&gc->mark_start));
    int64_t share = (int64_t)(gc->pacer.workers.fractional * gc->cycle.procs * elapsed);
    int64_t had = load_relaxed(&gc->times.fractional), taken;
    do {
        taken = MIN(MAX(share - had, 0), ns);
    } while (taken > 0 && !cas_relaxed(&gc->times.fractional, &had, had + taken));
    return ns - taken;
}

void pace_count_worker(struct gc *gc, unsigned worker, int64_t begin, int64_t now)
{
    int64_t ns = now - begin;
    if (worker < gc->pacer.workers.dedicated)
        fetch_add_relaxed(&gc->times.dedicated, ns);
    else
        fetch_add_relaxed(&gc->times.idle, count_fractional(gc, ns, now));
    update_limiter(gc, now);
}
