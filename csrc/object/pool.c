/* Pools.
 *
 * Called through pool.h.
 *
 * Concurrency: see pool.h.
 * Go: sync/pool.go, sync/poolqueue.go.
 */
#include "object/pool.h"

enum { FIRST_RING = 8, LARGEST_RING = 1 << 30 };

#define WORD(type, field) ((uint64_t)1 << offsetof(struct type, field) / PTR_SIZE)
#define STRUCT_TYPE(name_, type_, mask_, last_)                                                     \
    static const uint64_t type_##_mask = mask_;                                                    \
    static const struct type type_##_type = {                                                      \
        .size = sizeof(struct type_),                                                              \
        .ptr_bytes = offsetof(struct type_, last_) + PTR_SIZE,                                     \
        .gcmask = (uint64_t *)&type_##_mask,                                                       \
        .kind = GOMEM_STRUCT,                                                                      \
        .align = PTR_SIZE,                                                                         \
        .name = (char *)name_,                                                                     \
        .references = 1,                                                                           \
    }

STRUCT_TYPE("sync.Pool", pool, WORD(pool, local) | WORD(pool, victim) | WORD(pool, new), new);
STRUCT_TYPE("sync.poolLocal", pool_local,
            WORD(pool_local, private) | WORD(pool_local, private.value) | WORD(pool_local, head) |
                WORD(pool_local, tail),
            tail);
STRUCT_TYPE("sync.poolChainElt", pool_ring,
            WORD(pool_ring, vals) | WORD(pool_ring, next) | WORD(pool_ring, prev), prev);
STRUCT_TYPE("interface {}", gomem_interface, 3, value);

_Static_assert(sizeof(struct pool_local) == 128 && sizeof(struct pool_ring) == 48 &&
                   sizeof(struct pool) == 40, "as in Go");

struct pool *pool_new(struct p *p)
{
    return object_alloc(p, &pool_type, 1);
}

static struct pool *pool_of(const struct gomem_pool *pool)
{
    return pointer_load(&pool->slot);
}

/* *slot = x, in an object. */
static void store(struct p *p, struct gomem_interface *slot, const struct gomem_interface *x)
{
    typed_copy(p, &gomem_interface_type, slot, x, 1);
}

/* Takes what is in a slot: false if that is nothing. */
static bool take(struct p *p, struct gomem_interface *slot, struct gomem_interface *out)
{
    *out = *slot;
    if (out->type == 0)
        return false;
    typed_clear(p, &gomem_interface_type, slot, 1);
    return true;
}

/* --- Queues, under the lock --- */

static struct gomem_interface *ring_slot(const struct pool_ring *r, uint32_t i)
{
    return (struct gomem_interface *)r->vals.array + (i & (uint32_t)(r->vals.len - 1));
}

static struct pool_ring *ring_new(struct p *p, int64_t n)
{
    struct pool_ring *r = object_alloc(p, &pool_ring_type, 1);
    void *vals = r == NULL ? NULL : object_alloc(p, &gomem_interface_type, (size_t)n);
    if (vals == NULL)
        return NULL;
    pointer_store(p, &r->vals.array, vals);
    r->vals.len = r->vals.cap = n;
    return r;
}

/* false: memory is out. */
static bool push_head(struct p *p, struct pool_local *l, const struct gomem_interface *x)
{
    struct pool_ring *r = pointer_load(&l->head);
    if (r == NULL || r->head - r->tail == (uint32_t)r->vals.len) {
        int64_t n = r == NULL ? FIRST_RING : MIN(2 * r->vals.len, LARGEST_RING);
        struct pool_ring *new = ring_new(p, n);
        if (new == NULL)
            return false;
        if (r == NULL) {
            pointer_store(p, &l->tail, new);
        } else {
            pointer_store(p, &new->prev, r);
            pointer_store(p, &r->next, new);
        }
        pointer_store(p, &l->head, new);
        r = new;
    }
    store(p, ring_slot(r, r->head), x);
    r->head++;
    return true;
}

static bool pop_head(struct p *p, struct pool_local *l, struct gomem_interface *out)
{
    for (struct pool_ring *r = pointer_load(&l->head); r != NULL; r = pointer_load(&r->prev))
        if (r->head != r->tail)
            return take(p, ring_slot(r, --r->head), out);
    return false;
}

static bool pop_tail(struct p *p, struct pool_local *l, struct gomem_interface *out)
{
    for (struct pool_ring *r = pointer_load(&l->tail); r != NULL;) {
        if (r->head != r->tail)
            return take(p, ring_slot(r, r->tail++), out);
        /* It stays empty: things are only added to the last. */
        struct pool_ring *next = pointer_load(&r->next);
        if (next != NULL) {
            pointer_store(p, &l->tail, next);
            pointer_store(p, &next->prev, NULL);
        }
        r = next;
    }
    return false;
}

/* --- The pool --- */

/* The P's part of the pool, which is made if need be; NULL: out of memory. */
static struct pool_local *pin(struct p *p, struct gomem_pool *gp)
{
    struct pool *pool = pool_of(gp);
    if (pointer_load(&pool->local) == NULL) {
        struct pool_local *local = object_alloc(p, &pool_local_type, p->sched->nusers);
        if (local == NULL)
            return NULL;
        pointer_store(p, &pool->local, local);
        pool->local_size = p->sched->nusers;
    }
    return (struct pool_local *)pointer_load(&pool->local) + p->id;
}

/* What other Ps have, and what was there before the last cycle. */
static bool get_slow(struct p *p, struct pool *pool, struct gomem_interface *out)
{
    struct pool_local *locals = pointer_load(&pool->local), *victims = pointer_load(&pool->victim);
    for (uint64_t i = 0; i < pool->local_size; i++)
        if (pop_tail(p, &locals[(p->id + i + 1) % pool->local_size], out))
            return true;
    if (p->id >= pool->victim_size)
        return false;
    if (take(p, &victims[p->id].private, out))
        return true;
    for (uint64_t i = 0; i < pool->victim_size; i++)
        if (pop_tail(p, &victims[(p->id + i) % pool->victim_size], out))
            return true;
    pool->victim_size = 0; /* nobody need look again */
    return false;
}

enum gomem_status pool_get(struct p *p, struct gomem_pool *gp, struct gomem_interface *out,
                           struct gomem_error *err)
{
    lock(&gp->lock);
    struct pool_local *l = pin(p, gp);
    if (l != NULL && !take(p, &l->private, out) && !pop_head(p, l, out) &&
        !get_slow(p, pool_of(gp), out))
        *out = (struct gomem_interface){0};
    unlock(&gp->lock);
    return l != NULL ? GOMEM_OK : no_memory(err, p->sched->nusers * sizeof *l);
}

enum gomem_status pool_put(struct p *p, struct gomem_pool *gp, const struct gomem_interface *x,
                           struct gomem_error *err)
{
    if (x->type == 0)
        return GOMEM_OK;
    lock(&gp->lock);
    struct pool_local *l = pin(p, gp);
    bool ok = l != NULL;
    if (ok && l->private.type == 0)
        store(p, &l->private, x);
    else if (ok)
        ok = push_head(p, l, x);
    unlock(&gp->lock);
    return ok ? GOMEM_OK : no_memory(err, sizeof *l);
}

void pool_cleanup(void *arg)
{
    struct pool *pool = pool_of(arg);
    /* Before marking: no barrier is needed, and nobody has the lock. */
    store_relaxed(&pool->victim, pool->local);
    pool->victim_size = pool->local_size;
    store_relaxed(&pool->local, NULL);
    pool->local_size = 0;
}
