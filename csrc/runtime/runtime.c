/* Opening and closing a runtime, its Ps, and fork.
 *
 * Called by everybody outside, through gomem.h.
 *
 * Concurrency: closing takes all Ps and never gives them back; functions that take a runtime take a P
 * or stop the world first, and so find out that it is closed.
 * Go: schedinit; no counterpart for closing.
 */
#include "runtime/runtime.h"

#include <stdlib.h>
#include <string.h>

#include "gc/finalizer.h"

struct gomem_options gomem_options_default(void)
{
    return (struct gomem_options){
        .procs = 1,
        .gogc = 100,
        .memory_limit = UINT64_MAX,
        .max_memory = UINT64_MAX,
        .madvdontneed = true,
        .huge_pages = GOMEM_HUGE_PAGES_DEFAULT,
        .marker = GOMEM_MARKER_SPAN,
    };
}

static struct mheap *open_heap(const struct gomem_options *o, struct gomem_error *err)
{
    struct size_class_table table;
    if (o->size_classes != NULL) {
        table = *(const struct size_class_table *)o->size_classes;
    } else {
        struct gomem_size_class_rules rules = size_class_rules_go();
        if (size_class_table_make(&table, &rules, err) != GOMEM_OK)
            return NULL;
    }
    return mheap_new(
        &(struct mheap_options){
            .size_classes = &table,
            .procs = o->procs + 1, /* one for the collector */
            .max_memory = o->max_memory,
            .memory_limit = o->memory_limit,
            .dontneed = o->madvdontneed,
            .huge_pages = (enum huge_page_policy)o->huge_pages,
        },
        err);
}

enum gomem_status gomem_runtime_new(const struct gomem_options *o, struct gomem_runtime **out,
                                    struct gomem_error *err)
{
    if (o->procs < 1 || o->procs > MAX_USER_PROCS)
        return error_set(err, GOMEM_INVALID_VALUE, "procs must be 1 to %d, not %u", MAX_USER_PROCS,
                         o->procs);
    if (o->marker != GOMEM_MARKER_SPAN && o->marker != GOMEM_MARKER_OBJECT)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "marker must be GOMEM_MARKER_SPAN or GOMEM_MARKER_OBJECT, not %d", o->marker);
    if (o->gc_workers > MAX_HELPERS + 1)
        return error_set(err, GOMEM_INVALID_VALUE, "gc_workers must be 0 to %d, not %u",
                         MAX_HELPERS + 1, o->gc_workers);
    struct gomem_runtime *rt = calloc(1, sizeof *rt);
    struct p *ps = calloc(o->procs + 1, sizeof *ps);
    struct mheap *h = NULL;
    if (rt == NULL || ps == NULL) {
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a runtime of %u Ps", o->procs);
        goto no_memory;
    }
    h = open_heap(o, err);
    if (h == NULL)
        goto no_memory;
    rt->heap = h;
    rt->ps = ps;
    lock_init(&rt->scavenger_lock, RANK_SCAVENGER);
    lock_init(&rt->scavenging, RANK_SCAVENGING);
    sched_init(&rt->sched, h, ps);
    rt->gc = gc_new(h, &rt->sched, o);
    if (rt->gc == NULL) {
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a collector");
        mheap_destroy(h);
        goto no_memory;
    }
    rt->gc->barrier = o->barrier;
    rt->gc->on_start = scavenger_start;
    rt->gc->on_swept = scavenger_wake;
    rt->gc->hooks_arg = rt;
    scavenger_ensure(rt);
    *out = rt;
    return GOMEM_OK;
no_memory:
    free(ps);
    free(rt);
    return err != NULL ? err->status : GOMEM_OUT_OF_MEMORY;
}

void gomem_runtime_close(struct gomem_runtime *rt)
{
    gc_end(rt->gc);
    /* If somebody else is closing as well, he may still be waiting for a cycle to end. */
    lock(&rt->gc->cycle_lock);
    if (!stop_world(&rt->sched)) {
        unlock(&rt->gc->cycle_lock);
        return;
    }
    scavenger_end(rt);
    finalizers_end(rt->heap);
    roots_close(&rt->gc->roots);
    sched_close(&rt->sched);
    mheap_destroy(rt->heap);
    rt->heap = NULL;
    sched_closed_unlock(&rt->sched);
    unlock(&rt->gc->cycle_lock);
}

void gomem_runtime_delete(struct gomem_runtime *rt)
{
    gomem_runtime_close(rt);
    gc_delete(rt->gc);
    free(rt->ps);
    free(rt);
}

bool gomem_runtime_is_closed(const struct gomem_runtime *rt)
{
    return load_acquire(&rt->sched.closed);
}

enum gomem_marker gomem_runtime_marker(const struct gomem_runtime *rt)
{
    return rt->gc->pool.scan_span != NULL ? GOMEM_MARKER_SPAN : GOMEM_MARKER_OBJECT;
}

uint32_t gomem_runtime_procs(const struct gomem_runtime *rt)
{
    return rt->sched.nusers;
}

/* --- Ps --- */

struct gomem_proc *gomem_proc_acquire(struct gomem_runtime *rt)
{
    return p_proc(p_acquire(&rt->sched));
}

struct gomem_proc *gomem_proc_try_acquire(struct gomem_runtime *rt)
{
    return p_proc(p_try_acquire(&rt->sched));
}

struct gomem_proc *gomem_proc_acquire_id(struct gomem_runtime *rt, uint32_t id)
{
    return id < rt->sched.nusers ? p_proc(p_acquire_id(&rt->sched, id)) : NULL;
}

void gomem_proc_release(struct gomem_proc *p)
{
    p_release(proc_p(p));
}

uint32_t gomem_proc_id(const struct gomem_proc *p)
{
    return ((const struct p *)p)->id;
}

bool gomem_safepoint(struct gomem_proc *p)
{
    return p_safepoint(proc_p(p));
}

/* --- Fork --- */

enum { FORK_LOCKS = 10 };

/* The locks that are held during a fork, in their order; how many. In a stopped world the
 * scavenger still works: with these it does not. (No cycle runs: its lock is held.) */
static unsigned fork_locks(struct gomem_runtime *rt, struct lock *locks[FORK_LOCKS])
{
    locks[0] = &rt->sched.stop_lock;
    if (load_relaxed(&rt->sched.closed))
        return 1;
    locks[1] = &rt->gc->lock;
    locks[2] = &rt->gc->roots.lock;
    locks[3] = &rt->gc->pool.lock;
    locks[4] = &rt->scavenger_lock;
    locks[5] = &rt->scavenging;
    locks[6] = &rt->heap->specials.lock;
    locks[7] = &rt->heap->lock;
    locks[8] = &rt->heap->persistent.lock;
    locks[9] = &rt->heap->om.regions_lock;
    return FORK_LOCKS;
}

void gomem_runtime_fork_prepare(struct gomem_runtime *rt)
{
    struct lock *locks[FORK_LOCKS];
    gc_fork_prepare(rt->gc);
    /* Closed: hold the lock all the same, so that the child finds it free. */
    if (!stop_world(&rt->sched))
        lock(&rt->sched.stop_lock);
    unsigned n = fork_locks(rt, locks);
    for (unsigned i = 1; i < n; i++)
        lock(locks[i]);
    for (unsigned i = 0; i < n; i++)
        lock_set_aside(locks[i]);
    lock_set_aside(&rt->gc->cycle_lock);
}

static void fork_end(struct gomem_runtime *rt)
{
    struct lock *locks[FORK_LOCKS];
    lock_take_up(&rt->gc->cycle_lock);
    unsigned n = fork_locks(rt, locks);
    for (unsigned i = 0; i < n; i++)
        lock_take_up(locks[i]);
    for (unsigned i = n - 1; i > 0; i--)
        unlock(locks[i]);
    if (n == 1)
        unlock(locks[0]);
    else
        start_world(&rt->sched);
}

void gomem_runtime_fork_parent(struct gomem_runtime *rt)
{
    fork_end(rt);
    gc_fork_parent(rt->gc);
}

void gomem_runtime_fork_child(struct gomem_runtime *rt)
{
    /* Only the forking thread is here: nobody waits, nobody scavenges. */
    rt->sched.waiters = rt->sched.entering = 0;
    rt->scavenger_running = false;
    fork_end(rt);
    gc_fork_child(rt->gc);
    if (!load_relaxed(&rt->sched.closed))
        scavenger_ensure(rt);
}

/* --- Control --- */

void gomem_flush(struct gomem_runtime *rt)
{
    if (!stop_world(&rt->sched))
        return;
    sched_flush(&rt->sched);
    start_world(&rt->sched);
}

uint64_t gomem_release_os_memory(struct gomem_runtime *rt)
{
    if (!stop_world(&rt->sched))
        return 0;
    sched_flush(&rt->sched);
    uint64_t released = scavenge_all(rt->heap);
    start_world(&rt->sched);
    return released;
}

enum gomem_status gomem_free_os_memory(struct gomem_runtime *rt, uint64_t *released)
{
    *released = 0;
    enum gomem_status status = gomem_gc(rt);
    if (status == GOMEM_OK)
        *released = gomem_release_os_memory(rt);
    return status;
}

uint64_t gomem_set_memory_limit(struct gomem_runtime *rt, uint64_t limit)
{
    if (!stop_world(&rt->sched))
        return UINT64_MAX;
    uint64_t old = load_relaxed(&rt->heap->memory_limit);
    store_relaxed(&rt->heap->memory_limit, limit);
    gc_set_memory_limit(rt->gc, limit);
    scavenger_ensure(rt);
    start_world(&rt->sched);
    return old;
}

uint64_t gomem_memory_limit(const struct gomem_runtime *rt)
{
    return load_relaxed(&rt->gc->pacer.memory.limit);
}

int32_t gomem_set_gogc(struct gomem_runtime *rt, int32_t percent)
{
    struct p *p = p_acquire(&rt->sched); /* the heap stays open */
    if (p == NULL)
        return gomem_gogc(rt);
    int32_t old = gc_set_percent(rt->gc, percent);
    p_release(p);
    if (percent < 0)
        gc_wait_on_mark(rt->gc);
    return old;
}

int32_t gomem_gogc(const struct gomem_runtime *rt)
{
    return load_relaxed(&rt->gc->pacer.gc_percent);
}

uint64_t gomem_fail_os_calls(struct gomem_runtime *rt, uint64_t first, uint64_t count)
{
    if (!stop_world(&rt->sched))
        return 0;
    uint64_t calls = load_relaxed(&rt->heap->om.calls);
    os_mem_fail(&rt->heap->om, first, count, OS_CALL_ALL);
    start_world(&rt->sched);
    return calls;
}

const char *gomem_build_profile(void)
{
#ifdef GOMEM_BUILD_PROFILE
    return GOMEM_BUILD_PROFILE;
#else
    return "unknown";
#endif
}

int gomem_build_check_level(void)
{
    return GOMEM_CHECK_LEVEL;
}
