/* Buffers of grey objects between markers and the pool.
 *
 * Called through work.h.
 *
 * Concurrency: see work.h.
 * Go: mgcwork.go.
 */
#include "gc/work.h"

#include <string.h>

#include "gc/span_queue.h"

enum { CHUNK_BYTES = 64 << 10, LITTLE = 4 };

void work_pool_init(struct work_pool *pool, struct mheap *h, mark_kernel scan_span)
{
    *pool = (struct work_pool){.h = h, .scan_span = scan_span};
    lock_init(&pool->lock, RANK_GC_WORK);
    for (unsigned sc = 2; sc < 2 * h->size_classes.nclasses; sc++) {
        const struct size_class *c = &h->size_classes.classes[sc >> 1];
        if (class_has_page_marks(h, (span_class)sc))
            pool->classes[sc] = (struct mark_class){
                .div_magic = c->div_magic, .size = (uint16_t)c->size, .nelems = h->nelems[sc]};
    }
}

/* More empty buffers, if the OS gives them. */
static void grow_locked(struct work_pool *pool)
{
    ASSERT_HELD(&pool->lock);
    char *chunk = os_alloc(&pool->h->om, CHUNK_BYTES, &pool->h->bytes.gc_sys, "mark buffers");
    if (chunk == NULL)
        return;
    ((struct work_chunk *)chunk)->next = pool->chunks;
    pool->chunks = (struct work_chunk *)chunk;
    /* The first is given up for the link. */
    for (size_t at = WORKBUF_BYTES; at < CHUNK_BYTES; at += WORKBUF_BYTES) {
        struct workbuf *b = (struct workbuf *)(chunk + at);
        b->next = pool->empty;
        pool->empty = b;
    }
}

void work_pool_prepare(struct work_pool *pool)
{
    lock(&pool->lock);
    if (pool->chunks == NULL)
        grow_locked(pool);
    unlock(&pool->lock);
}

void work_pool_use_reserve(struct work_pool *pool)
{
    lock(&pool->lock);
    for (unsigned i = 0; i < RESERVE_BUFFERS && !pool->reserve_used; i++) {
        pool->reserve[i].next = pool->empty;
        pool->empty = &pool->reserve[i];
    }
    pool->reserve_used = true;
    unlock(&pool->lock);
}

struct workbuf *work_take_empty(struct work_pool *pool)
{
    lock(&pool->lock);
    if (pool->empty == NULL)
        grow_locked(pool);
    struct workbuf *b = pool->empty;
    if (b != NULL) {
        pool->empty = b->next;
        b->n = 0;
    }
    unlock(&pool->lock);
    return b;
}

void work_give_empty(struct work_pool *pool, struct workbuf *b)
{
    lock(&pool->lock);
    b->next = pool->empty;
    pool->empty = b;
    unlock(&pool->lock);
}

static void give(struct work_pool *pool, struct workbuf *b)
{
    if (b->n == 0) {
        work_give_empty(pool, b);
        return;
    }
    lock(&pool->lock);
    b->next = pool->full;
    pool->full = b;
    store_release(&pool->nfull, pool->nfull + 1); /* with work_pool_has_work's acquire */
    unlock(&pool->lock);
}

static struct workbuf *take_full(struct work_pool *pool)
{
    if (load_acquire(&pool->nfull) == 0)
        return NULL;
    lock(&pool->lock);
    struct workbuf *b = pool->full;
    if (b != NULL) {
        pool->full = b->next;
        store_release(&pool->nfull, pool->nfull - 1);
    }
    unlock(&pool->lock);
    return b;
}

void work_put_slow(struct gc_work *w, uintptr_t object)
{
    struct workbuf *b = w->b;
    w->b = w->a;
    w->a = b;
    if (b == NULL || b->n == WORKBUF_OBJECTS) {
        struct workbuf *fresh = work_take_empty(w->pool);
        if (fresh == NULL) {
            store_release(&w->pool->overflowed, 1);
            return;
        }
        if (b != NULL)
            give(w->pool, b);
        w->a = fresh;
    }
    w->a->objects[w->a->n++] = object;
}

uintptr_t work_get_slow(struct gc_work *w)
{
    if (w->b != NULL && w->b->n > 0) {
        struct workbuf *b = w->b;
        w->b = w->a;
        w->a = b;
    } else {
        struct workbuf *b = take_full(w->pool);
        if (b == NULL)
            return 0;
        if (w->a != NULL)
            give(w->pool, w->a);
        w->a = b;
    }
    return w->a->objects[--w->a->n];
}

void work_share(struct gc_work *w)
{
    struct workbuf *a = w->a, *half;
    if (w->b != NULL && w->b->n > 0) {
        give(w->pool, w->b);
        w->b = NULL;
    } else if (a != NULL && a->n > LITTLE && (half = work_take_empty(w->pool)) != NULL) {
        half->n = a->n / 2;
        a->n -= half->n;
        memcpy(half->objects, &a->objects[a->n], half->n * sizeof half->objects[0]);
        give(w->pool, half);
    }
}

void work_flush(struct gc_work *w)
{
    if (w->a != NULL)
        give(w->pool, w->a);
    if (w->b != NULL)
        give(w->pool, w->b);
    w->a = w->b = NULL;
    span_queue_flush(w);
}
