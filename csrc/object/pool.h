/* sync.Pool: objects that may be used again, until two collections have passed.
 *
 * Each P has one object of its own and a queue, of which it uses one end and other Ps the other. When a cycle
 * of the collector begins what a pool has becomes its victims, and what the victims were is garbage. The
 * memory is Go's, object by object: the pool, an array of 128 bytes a P, and queues, whose rings double.
 *
 * A struct gomem_pool is what C has of it: a root, and a place in the collector's list of who wants to know
 * when a cycle begins.
 *
 * Called by runtime/.
 *
 * Concurrency: the caller holds p. A P's own object is that P's; queues and victims are under the lock,
 * which only holders of Ps take: in a stopped world nobody has it.
 * Go: sync/pool.go, sync/poolqueue.go.
 */
#ifndef GOMEM_OBJECT_POOL_H
#define GOMEM_OBJECT_POOL_H

#include "object/panic.h"
#include "object/typed_memory.h"
#include "platform/lock.h"

/* One element of a queue: a ring of interfaces. tail <= head; both count for ever. */
struct pool_ring {
    uint32_t tail, head; /* Go's headTail, one word */
    struct gomem_slice vals; /* a power of two */
    struct pool_ring *next, *prev; /* towards the head, the tail */
};

struct pool_local {
    struct gomem_interface private;
    struct pool_ring *head, *tail; /* of the queue */
    uint8_t pad[96];
};

/* sync.Pool */
struct pool {
    struct pool_local *local; /* an array; NULL until it is needed */
    uint64_t local_size;
    struct pool_local *victim;
    uint64_t victim_size;
    void *new; /* in Go, the function that makes objects; here the caller's business */
};

struct gomem_pool {
    struct gomem_runtime *rt; /* const; runtime/ knows what it is */
    struct lock lock;  /* rank POOL */
    uint64_t slot;     /* root: the struct pool */
    struct gomem_root_table table;
    struct gomem_gc_hook hook;
};

/* NULL: out of memory. */
struct pool *pool_new(struct p *p);
MUST_USE enum gomem_status pool_get(struct p *p, struct gomem_pool *pool,
                                    struct gomem_interface *out, struct gomem_error *err);
MUST_USE enum gomem_status pool_put(struct p *p, struct gomem_pool *pool,
                                    const struct gomem_interface *x, struct gomem_error *err);
/* The hook: a cycle begins. pre: the world is stopped. */
void pool_cleanup(void *pool);

#endif
