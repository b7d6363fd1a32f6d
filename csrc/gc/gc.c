/* The collector's thread, asking it for cycles, settings, and its life.
 *
 * Called through gc.h.
 *
 * Concurrency: see gc.h.
 * Go: gcenable, GC, gcTrigger in mgc.go; debug.SetGCPercent, SetMemoryLimit.
 */
#include "gc/gc.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gc/assist.h"
#include "gc/cycle.h"
#include "gc/pace.h"
#include "gc/workers.h"
#include "heap/sweep.h"
#include "platform/clock.h"
#include "platform/park.h"

/* --- The thread --- */

static void wake(struct gc *gc)
{
    fetch_add_seq_cst(&gc->wake, 1);
    park_wake(&gc->wake, 1);
}

/* A program that allocates little has a cycle all the same, once in two minutes. */
#define FORCE_PERIOD_NS (120 * INT64_C(1000000000))

int64_t gc_clock(const struct gc *gc)
{
    return clock_nanotime() + load_relaxed(&gc->clock_ahead);
}

void gc_advance_clock(struct gc *gc, int64_t ns)
{
    /* Never so far that sums of times overflow. */
    int64_t ahead = load_relaxed(&gc->clock_ahead);
    while (!cas_relaxed(&gc->clock_ahead, &ahead, MIN(ahead + ns, INT64_MAX / 4)))
        ;
    wake(gc);
}

/* Settings may have changed since the heap asked for a cycle. */
static bool heap_is_at_trigger(const struct gc *gc)
{
    return load_relaxed(&gc->h->gc.heap_live) >= load_relaxed(&gc->h->gc.trigger);
}

/* How long until a cycle is due for its own sake: 0: it is; PARK_FOREVER: never. */
static int64_t until_forced(const struct gc *gc)
{
    int64_t last = load_relaxed(&gc->last_gc);
    if (last == 0 || load_relaxed(&gc->pacer.gc_percent) < 0)
        return PARK_FOREVER;
    return MAX(last + FORCE_PERIOD_NS - gc_clock(gc), 0);
}

void gc_print_trace(const struct gc *gc)
{
    if (gc->trace <= 0)
        return;
    char line[GCTRACE_LINE];
    size_t n = gctrace_line(&gc->cycle, gc->cpus, line);
    ssize_t ignored = write(STDERR_FILENO, line, n); /* as good as it gets */
    (void)ignored;
}

static void *gc_run(void *arg)
{
    struct gc *gc = arg;
    for (;;) {
        uint32_t event = load_acquire(&gc->wake); /* first: a wake after it is not missed */
        if (load_acquire(&gc->stop))
            break;
        lock(&gc->cycle_lock); /* first: who takes it to step a cycle finds none begun */
        lock(&gc->lock);
        gc->periodic = gc->wanted == gc->started && !gc->step.active && until_forced(gc) == 0;
        gc->wanted += gc->periodic;
        bool due = gc->wanted != gc->started && !gc->step.active, forced = gc->forced != 0;
        uint32_t target = gc->wanted;
        if (due) {
            gc->forced = 0;
            gc->started = target;
        }
        int64_t sleep = gc->step.active ? PARK_FOREVER : until_forced(gc);
        unlock(&gc->lock);
        if (!due) {
            unlock(&gc->cycle_lock);
            park_wait(&gc->wake, event, sleep);
            continue;
        }
        bool wanted = forced || gc->periodic || heap_is_at_trigger(gc);
        bool ran = !wanted || cycle_run(gc, forced);
        gc->periodic = false;
        unlock(&gc->cycle_lock);
        lock(&gc->lock);
        if (!ran)
            store_release(&gc->stop, 1);
        if (!wanted)
            store_release(&gc->marked, gc->marked + 1);
        store_release(&gc->done, target);
        unlock(&gc->lock);
        fetch_add_seq_cst(&gc->finished, 1);
        park_wake(&gc->finished, PARK_WAKE_ALL);
    }
    return NULL;
}

/* Sees to it that there is a thread, and that it has something to do. */
static bool start_thread_locked(struct gc *gc)
{
    ASSERT_HELD(&gc->lock);
    if (gc->running || load_relaxed(&gc->stop))
        return gc->running;
    gc->running = thread_start(&gc->thread, "gomem-gc", gc_run, gc);
    /* By this thread, not the collector's: who makes threads needs memory from malloc. */
    if (gc->running)
        workers_start_locked(gc);
    if (gc->running && gc->on_start != NULL)
        gc->on_start(gc->hooks_arg);
    return gc->running;
}

bool gc_trigger(struct gc *gc)
{
    if (!lock_try(&gc->lock))
        return false; /* the next allocation will see to it */
    /* The last cycle may still be sweeping. */
    bool idle = gc->wanted == gc->started && gc->started == gc->marked;
    if (idle && start_thread_locked(gc)) {
        gc->wanted++;
        unlock(&gc->lock);
        wake(gc);
        return true;
    }
    bool asked = gc->wanted != gc->started && !gc->step.active;
    unlock(&gc->lock);
    return asked;
}

enum gomem_status gc_collect(struct gc *gc)
{
    lock(&gc->lock);
    if (gc->step.active && !load_relaxed(&gc->stop)) {
        unlock(&gc->lock);
        return GOMEM_BUSY;
    }
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
    pace_commit_locked(gc, load_relaxed(&gc->h->gc.heap_live));
    unlock(&gc->lock);
    wake(gc); /* a cycle for its own sake may be due now, or not any more */
    return old;
}

void gc_set_memory_limit(struct gc *gc, uint64_t limit)
{
    lock(&gc->lock);
    if (limit != gc->pacer.memory.limit) { /* to commit the same again would put the next cycle off */
        store_relaxed(&gc->pacer.memory.limit, limit);
        pace_commit_locked(gc, load_relaxed(&gc->h->gc.heap_live));
    }
    unlock(&gc->lock);
}

void gc_wait_on_mark(struct gc *gc)
{
    uint32_t target = load_acquire(&gc->started);
    for (;;) {
        uint32_t event = load_acquire(&gc->finished);
        lock(&gc->lock);
        bool stepped = gc->step.active; /* it marks until its user goes on */
        unlock(&gc->lock);
        if ((int32_t)(load_acquire(&gc->marked) - target) >= 0 || load_acquire(&gc->stop) || stepped)
            return;
        park_wait(&gc->finished, event, 100000000);
    }
}

/* --- Making, ending, fork --- */

struct gc *gc_new(struct mheap *h, struct sched *sched, const struct gomem_options *o)
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
    lock_init(&gc->step.lock, RANK_GC_SHADES);
    bool by_span = o->marker == GOMEM_MARKER_SPAN && h->page_marks;
    work_pool_init(&gc->pool, h, by_span ? mark_span_kernel(MARK_AVX512) : NULL);
    roots_init(&gc->roots, &gc->pool);
    cycle_reset(gc);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    gc->cpus = cpus < 1 ? 1 : (unsigned)cpus;
    gc->workers = o->gc_workers;
    gc->trace = o->gctrace;
    limiter_init(&gc->limiter, gc->start_time, sched->nusers);
    pacer_init(&gc->pacer, o->gogc, o->memory_limit);
    lock(&gc->lock);
    pace_commit_locked(gc, 0);
    unlock(&gc->lock);
    h->gc.gc = gc;
    h->gc.on_slow_path = assist_on_slow_path;
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
    if (running) {
        thread_join(&gc->thread);
        workers_end(gc);
    }
    fetch_add_seq_cst(&gc->finished, 1);
    park_wake(&gc->finished, PARK_WAKE_ALL);
}

void gc_add_hook(struct gc *gc, struct gomem_gc_hook *hook)
{
    lock(&gc->lock);
    hook->prev = NULL;
    hook->next = gc->hooks;
    if (gc->hooks != NULL)
        gc->hooks->prev = hook;
    gc->hooks = hook;
    unlock(&gc->lock);
}

void gc_remove_hook(struct gc *gc, struct gomem_gc_hook *hook)
{
    lock(&gc->lock);
    if (hook->prev != NULL)
        hook->prev->next = hook->next;
    else
        gc->hooks = hook->next;
    if (hook->next != NULL)
        hook->next->prev = hook->prev;
    unlock(&gc->lock);
}

void gc_run_hooks(struct gc *gc)
{
    lock(&gc->lock);
    for (struct gomem_gc_hook *hook = gc->hooks; hook != NULL; hook = hook->next)
        hook->f(hook->arg);
    unlock(&gc->lock);
}

void gc_delete(struct gc *gc)
{
    free(gc->step.buffer);
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
    gc->helping = gc->idle_helping = gc->waiting = gc->marking = gc->markers = 0;
    gc->limiter.busy = 0;
    if (gc->step.active)
        gc->wanted = gc->started; /* the child goes on with its own */
    else
        gc->wanted = gc->started = gc->marked = gc->done;
    gc->forced = 0;
    unlock(&gc->cycle_lock);
}
