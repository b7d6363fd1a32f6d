/* Memory for goroutine stacks: powers of two from 2 KB, pooled by size, grown by copying.
 *
 * Four small orders (2, 4, 8, 16 KB) are cut from spans of 32 KB, through a cache in each P; larger
 * ones are spans of their own. Called by the VM's goroutines and by trace replay.
 *
 * Invariant (stack_verify): a pool's list holds exactly the stack spans of its order with a free
 * stack that is not in a P's cache; live + free + cached stacks of a span are its capacity.
 *
 * Concurrency: a pool has its lock; a P's cache is owner P only.
 * Go: stack.go (stackalloc, stackfree, stackpool, stackLarge, copystack, shrinkstack).
 */
#ifndef GOMEM_HEAP_STACK_H
#define GOMEM_HEAP_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/status.h"
#include "platform/cpu.h"
#include "platform/lock.h"

struct mheap;
struct mcache;

enum {
    STACK_MIN = 2048,
    STACK_ORDERS = 4,
    STACK_CACHE_SIZE = 32 << 10, /* of a span, and of a P's cache of one order */
    STACK_GUARD = 928,           /* kept free below: Go's stackGuard on linux/amd64 */
    STACK_NOSPLIT = 800,         /* what shrinking counts as used besides the frames */
    STACK_MAX = 1 << 30,         /* Go's limit on 64-bit machines (debug.SetMaxStack) */
};

struct stack {
    uintptr_t lo, hi;
};

struct stack_pool {
    struct lock lock;
    struct list_node spans; /* with at least one free stack */
} CACHE_ALIGNED;

struct stack_pools {
    struct stack_pool small[STACK_ORDERS];
};

/* A P's free stacks of one order. */
struct stack_cache {
    void *list;
    size_t size; /* bytes */
};

void stack_pools_init(struct stack_pools *p);
/* size: a power of two from STACK_MIN to STACK_MAX. Not zeroed. */
MUST_USE enum gomem_status stack_alloc(struct mheap *h, struct mcache *c, size_t size,
                                       struct stack *out);
void stack_free(struct mheap *h, struct mcache *c, struct stack s);
/* Moves the used part [sp, hi) to a stack of twice the size; *s and *sp are updated, the old stack is
 * freed. Adjusting pointers into the stack is the caller's business. */
MUST_USE enum gomem_status stack_grow(struct mheap *h, struct mcache *c, struct stack *s,
                                      uintptr_t *sp);
/* Halves a stack less than a quarter of which is used; false if it stays as it is. */
bool stack_shrink(struct mheap *h, struct mcache *c, struct stack *s, uintptr_t *sp);
/* Gives a P's cached stacks back to the pools. */
void stack_cache_clear(struct mheap *h, struct mcache *c);
bool stack_verify(struct mheap *h, char *why, size_t why_size);

#endif
