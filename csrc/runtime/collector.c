/* The collector, for callers outside: roots, barrier, cycles.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h.
 * Go: runtime.GC, the write barrier, debug.ReadGCStats.
 */
#include "gc/assist.h"
#include "runtime/runtime.h"

#define MOST_AHEAD_NS ((int64_t)1 << 60)

enum gomem_status gomem_gc(struct gomem_runtime *rt)
{
    return gomem_runtime_is_closed(rt) ? GOMEM_CLOSED : gc_collect(rt->gc);
}

void gomem_add_gc_hook(struct gomem_runtime *rt, struct gomem_gc_hook *hook)
{
    gc_add_hook(rt->gc, hook);
}

void gomem_remove_gc_hook(struct gomem_runtime *rt, struct gomem_gc_hook *hook)
{
    gc_remove_hook(rt->gc, hook);
}

void gomem_add_roots(struct gomem_runtime *rt, struct gomem_root_table *t)
{
    roots_add_table(&rt->gc->roots, t);
}

void gomem_remove_roots(struct gomem_runtime *rt, struct gomem_root_table *t)
{
    roots_remove_table(&rt->gc->roots, t);
}

void gomem_add_shadow_stack(struct gomem_runtime *rt, struct gomem_shadow_stack *s)
{
    roots_add_stack(&rt->gc->roots, s);
}

void gomem_remove_shadow_stack(struct gomem_runtime *rt, struct gomem_shadow_stack *s)
{
    roots_remove_stack(&rt->gc->roots, s);
}

void gomem_write_pointer_slow(struct gomem_proc *proc, void **slot, void *value)
{
    struct p *p = proc_p(proc);
    gc_barrier(p_runtime(p)->gc, p->id, (uintptr_t)slot, (uintptr_t)load_relaxed(slot),
               (uintptr_t)value);
    store_release(slot, value);
}

size_t gomem_gc_cycles(struct gomem_runtime *rt, struct gomem_gc_cycle *out, size_t capacity)
{
    struct gc *gc = rt->gc;
    lock(&gc->lock);
    size_t n = MIN(gc->stats.num_gc, CYCLE_RECORDS);
    for (size_t i = 0; i < MIN(n, capacity); i++)
        out[i] = gc->records[(gc->stats.num_gc - n + i) % CYCLE_RECORDS];
    unlock(&gc->lock);
    return n;
}

void gomem_advance_clock(struct gomem_runtime *rt, int64_t ns)
{
    if (ns < 0 || ns > MOST_AHEAD_NS)
        return;
    gc_advance_clock(rt->gc, ns);
}
