/* Pools, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h.
 * Go: sync.Pool.
 */
#include <stdlib.h>

#include "object/pool.h"
#include "runtime/values.h"

enum gomem_status gomem_pool_new(struct gomem_runtime *rt, struct gomem_pool **out,
                                 struct gomem_error *err)
{
    struct gomem_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return no_memory(err, sizeof *pool);
    pool->rt = rt;
    lock_init(&pool->lock, RANK_POOL);
    pool->table = (struct gomem_root_table){.slots = &pool->slot, .n = 1};
    pool->hook = (struct gomem_gc_hook){.f = pool_cleanup, .arg = pool};
    gomem_add_roots(rt, &pool->table);
    enum gomem_status status = error_set(err, GOMEM_CLOSED, "the heap is closed");
    struct p *p = p_acquire(&rt->sched);
    if (p != NULL) {
        struct pool *object = pool_new(p);
        if (object == NULL && reclaim_memory(p))
            object = pool_new(p);
        gomem_init_root(&pool->slot, object);
        status = object != NULL ? GOMEM_OK : no_memory(err, sizeof *object);
        p_release(p);
    }
    if (status != GOMEM_OK) {
        gomem_remove_roots(rt, &pool->table);
        free(pool);
        return status;
    }
    gomem_add_gc_hook(rt, &pool->hook);
    *out = pool;
    return GOMEM_OK;
}

void gomem_pool_delete(struct gomem_pool *pool)
{
    if (pool == NULL)
        return;
    gomem_remove_gc_hook(pool->rt, &pool->hook);
    gomem_remove_roots(pool->rt, &pool->table);
    free(pool);
}

enum gomem_status gomem_pool_get(struct gomem_proc *proc, struct gomem_pool *pool,
                                 struct gomem_interface *out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, pool_get(p, pool, out, err));
}

enum gomem_status gomem_pool_put(struct gomem_proc *proc, struct gomem_pool *pool,
                                 const struct gomem_interface *x, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, pool_put(p, pool, x, err));
}
