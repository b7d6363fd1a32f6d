/* Stack memory: pools of small stacks, spans for large ones, growing and shrinking by copy.
 *
 * Called through stack.h.
 *
 * Concurrency: see stack.h.
 * Go: stack.go.
 */
#include "heap/stack.h"

#include <string.h>

#include "heap/mcache.h"

void stack_pools_init(struct stack_pools *p)
{
    for (unsigned order = 0; order < STACK_ORDERS; order++) {
        lock_init(&p->small[order].lock, RANK_STACKPOOL);
        list_init(&p->small[order].spans);
    }
}

static void *pop(void **list)
{
    void *stack = *list;
    *list = *(void **)stack;
    return stack;
}

static void push(void **list, void *stack)
{
    *(void **)stack = *list;
    *list = stack;
}

static bool is_small(size_t size)
{
    return size < (size_t)STACK_MIN << STACK_ORDERS;
}

static unsigned order_of(size_t size)
{
    return len64(size / STACK_MIN) - 1;
}

static size_t pool_span_pages(const struct mheap *h)
{
    return div_round_up(STACK_CACHE_SIZE, (size_t)1 << h->page_shift);
}

/* A new span of stacks of the order, all free, in the pool's list. */
static struct mspan *pool_grow_locked(struct mheap *h, struct mcache *c, unsigned order)
{
    ASSERT_HELD(&h->stacks.small[order].lock);
    struct mspan *s = mheap_alloc_span(h, c, pool_span_pages(h), SPAN_TYPE_STACK, 0);
    if (s == NULL)
        return NULL;
    s->elem_size = (size_t)STACK_MIN << order;
    s->nelems = (uint16_t)((s->npages << h->page_shift) / s->elem_size);
    for (unsigned i = s->nelems; i-- > 0;)
        push(&s->manual_free_list, (void *)(s->base + i * s->elem_size));
    list_insert(&h->stacks.small[order].spans, &s->node);
    return s;
}

static void *pool_alloc_locked(struct mheap *h, struct mcache *c, unsigned order)
{
    struct stack_pool *pool = &h->stacks.small[order];
    ASSERT_HELD(&pool->lock);
    struct mspan *s = list_is_empty(&pool->spans)
                          ? pool_grow_locked(h, c, order)
                          : LIST_ENTRY(pool->spans.next, struct mspan, node);
    if (s == NULL)
        return NULL;
    void *stack = pop(&s->manual_free_list);
    s->live++;
    if (s->manual_free_list == NULL)
        list_remove(&s->node);
    return stack;
}

static void free_manual_span(struct mheap *h, struct mcache *c, struct mspan *s)
{
    spin_lock(&s->lock);
    store_relaxed(&s->state, SPAN_FREEING);
    spin_unlock(&s->lock);
    mheap_free_span(h, c, s, SPAN_TYPE_STACK);
}

static void pool_free_locked(struct mheap *h, struct mcache *c, unsigned order, void *stack)
{
    struct stack_pool *pool = &h->stacks.small[order];
    ASSERT_HELD(&pool->lock);
    struct mspan *s = span_of(h, (uintptr_t)stack);
    CHECK(s != NULL && s->state == SPAN_MANUAL && s->elem_size == (size_t)STACK_MIN << order);
    if (s->manual_free_list == NULL)
        list_insert(&pool->spans, &s->node);
    push(&s->manual_free_list, stack);
    s->live--;
    if (s->live == 0) {
        list_remove(&s->node);
        free_manual_span(h, c, s);
    }
}

/* Fills half a cache; what the OS would not give is simply missing. */
static void cache_refill(struct mheap *h, struct mcache *c, unsigned order)
{
    struct stack_cache *cache = &c->stacks[order];
    lock(&h->stacks.small[order].lock);
    while (cache->size < STACK_CACHE_SIZE / 2) {
        void *stack = pool_alloc_locked(h, c, order);
        if (stack == NULL)
            break;
        push(&cache->list, stack);
        cache->size += (size_t)STACK_MIN << order;
    }
    unlock(&h->stacks.small[order].lock);
}

static void cache_release(struct mheap *h, struct mcache *c, unsigned order, size_t keep)
{
    struct stack_cache *cache = &c->stacks[order];
    lock(&h->stacks.small[order].lock);
    while (cache->size > keep) {
        pool_free_locked(h, c, order, pop(&cache->list));
        cache->size -= (size_t)STACK_MIN << order;
    }
    unlock(&h->stacks.small[order].lock);
}

void stack_cache_clear(struct mheap *h, struct mcache *c)
{
    for (unsigned order = 0; order < STACK_ORDERS; order++)
        cache_release(h, c, order, 0);
}

enum gomem_status stack_alloc(struct mheap *h, struct mcache *c, size_t size, struct stack *out)
{
    if (!is_power_of_two(size) || size < STACK_MIN || size > STACK_MAX)
        return GOMEM_INVALID_VALUE;
    uintptr_t lo;
    if (is_small(size)) {
        struct stack_cache *cache = &c->stacks[order_of(size)];
        if (cache->list == NULL)
            cache_refill(h, c, order_of(size));
        if (cache->list == NULL)
            return GOMEM_OUT_OF_MEMORY;
        lo = (uintptr_t)pop(&cache->list);
        cache->size -= size;
    } else {
        size_t npages = div_round_up(size, (size_t)1 << h->page_shift);
        struct mspan *s = mheap_alloc_span(h, c, npages, SPAN_TYPE_STACK, 0);
        if (s == NULL)
            return GOMEM_OUT_OF_MEMORY;
        s->elem_size = size;
        s->nelems = 1;
        s->live = 1;
        lo = s->base;
    }
    *out = (struct stack){lo, lo + size};
    return GOMEM_OK;
}

void stack_free(struct mheap *h, struct mcache *c, struct stack s)
{
    size_t size = s.hi - s.lo;
    if (is_small(size)) {
        unsigned order = order_of(size);
        struct stack_cache *cache = &c->stacks[order];
        if (cache->size >= STACK_CACHE_SIZE)
            cache_release(h, c, order, STACK_CACHE_SIZE / 2);
        push(&cache->list, (void *)s.lo);
        cache->size += size;
    } else {
        struct mspan *span = span_of(h, s.lo);
        CHECK(span != NULL && span->state == SPAN_MANUAL && span->base == s.lo);
        free_manual_span(h, c, span);
    }
}

static enum gomem_status copy_stack(struct mheap *h, struct mcache *c, struct stack *s,
                                    uintptr_t *sp, size_t size)
{
    struct stack fresh;
    enum gomem_status status = stack_alloc(h, c, size, &fresh);
    if (status != GOMEM_OK)
        return status;
    size_t used = s->hi - *sp;
    memcpy((void *)(fresh.hi - used), (void *)*sp, used);
    stack_free(h, c, *s);
    *s = fresh;
    *sp = fresh.hi - used;
    return GOMEM_OK;
}

enum gomem_status stack_grow(struct mheap *h, struct mcache *c, struct stack *s, uintptr_t *sp)
{
    return copy_stack(h, c, s, sp, 2 * (s->hi - s->lo));
}

bool stack_shrink(struct mheap *h, struct mcache *c, struct stack *s, uintptr_t *sp)
{
    size_t size = s->hi - s->lo, used = s->hi - *sp + STACK_NOSPLIT;
    if (size / 2 < STACK_MIN || used >= size / 4)
        return false;
    return copy_stack(h, c, s, sp, size / 2) == GOMEM_OK;
}

bool stack_verify(struct mheap *h, char *why, size_t why_size)
{
    bool ok = true;
    for (unsigned order = 0; ok && order < STACK_ORDERS; order++) {
        struct stack_pool *pool = &h->stacks.small[order];
        lock(&pool->lock);
        ok = list_verify(&pool->spans);
        for (struct list_node *n = pool->spans.next; ok && n != &pool->spans; n = n->next) {
            const struct mspan *s = LIST_ENTRY(n, struct mspan, node);
            unsigned free = 0;
            for (void *p = s->manual_free_list; p != NULL && free <= s->nelems; p = *(void **)p)
                free++;
            ok = s->state == SPAN_MANUAL && free > 0 && free + s->live == s->nelems;
            if (!ok)
                snprintf(why, why_size, "stack span 0x%zx of order %u: %u free, %u live, %u in all",
                         (size_t)s->base, order, free, s->live, s->nelems);
        }
        unlock(&pool->lock);
    }
    return ok;
}
