/* Queues of spans.
 *
 * Called through span_queue.h.
 *
 * Concurrency: see span_queue.h.
 * Go: spanQueue in mgcmark_greenteagc.go.
 */
#include "gc/span_queue.h"

/* With fewer than this a marker keeps its spans to itself. */
enum { SHARE_LEAST = 8 };

static void give_spans(struct work_pool *pool, struct workbuf *b)
{
    lock(&pool->lock);
    b->next = NULL;
    if (pool->spans == NULL)
        pool->spans = b;
    else
        pool->last_span->next = b;
    pool->last_span = b;
    store_release(&pool->nspans, pool->nspans + 1); /* with work_pool_has_work's acquire */
    unlock(&pool->lock);
}

static struct workbuf *take_spans(struct work_pool *pool)
{
    if (load_acquire(&pool->nspans) == 0)
        return NULL;
    lock(&pool->lock);
    struct workbuf *b = pool->spans;
    if (b != NULL) {
        pool->spans = b->next;
        store_release(&pool->nspans, pool->nspans - 1);
    }
    unlock(&pool->lock);
    return b;
}

void span_queue_put_slow(struct gc_work *w, uintptr_t object)
{
    struct span_queue *q = &w->spans;
    struct workbuf *b = q->put;
    bool share = q->puts >= SHARE_PERIOD && load_relaxed(&w->pool->nspans) == 0;
    q->puts = 0;
    if (b == NULL || b->n == WORKBUF_OBJECTS || (share && b->n >= SHARE_LEAST)) {
        struct workbuf *fresh = work_take_empty(w->pool);
        if (fresh == NULL && (b == NULL || b->n == WORKBUF_OBJECTS)) {
            store_release(&w->pool->overflowed, 1);
            return;
        }
        if (fresh != NULL) {
            if (b != NULL)
                give_spans(w->pool, b);
            q->put = b = fresh;
        }
    }
    b->objects[b->n++] = object;
}

uintptr_t span_queue_get_slow(struct gc_work *w)
{
    struct span_queue *q = &w->spans;
    struct workbuf *b = take_spans(w->pool), *old = q->get;
    if (b != NULL) {
        if (old != NULL)
            work_give_empty(w->pool, old);
    } else {
        b = q->put;
        if (b == NULL || b->n == 0)
            return 0;
        if (old != NULL)
            old->n = 0;
        q->put = old;
    }
    q->get = b;
    q->at = 1;
    return b->objects[0];
}

/* Moves what is left of a buffer to its beginning. */
static void drop_taken(struct workbuf *b, uint32_t at)
{
    for (uint32_t i = at; i < b->n; i++)
        b->objects[i - at] = b->objects[i];
    b->n -= at;
}

void span_queue_flush(struct gc_work *w)
{
    struct span_queue *q = &w->spans;
    if (q->get != NULL)
        drop_taken(q->get, q->at);
    struct workbuf *both[] = {q->get, q->put};
    for (unsigned i = 0; i < 2; i++) {
        if (both[i] != NULL && both[i]->n > 0)
            give_spans(w->pool, both[i]);
        else if (both[i] != NULL)
            work_give_empty(w->pool, both[i]);
    }
    *q = (struct span_queue){0};
}
