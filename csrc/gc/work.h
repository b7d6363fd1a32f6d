/* Grey objects: buffers of addresses, a pair in the hand of each marker, the rest in a pool.
 *
 * A marker puts and gets at its own buffers; a full one goes to the pool, where a marker that has nothing
 * takes it. Memory for buffers may be refused: then the object stays marked but is not noted, the pool
 * says that it overflowed, and marking goes on by looking for such objects in the whole heap (mark.c).
 *
 * Called by mark.c and cycle.c.
 *
 * Invariant: an object that is in a buffer is marked.
 *
 * Concurrency: struct gc_work is its marker's; the pool has a lock.
 * Go: mgcwork.go.
 */
#ifndef GOMEM_GC_WORK_H
#define GOMEM_GC_WORK_H

#include "heap/mheap.h"

enum { WORKBUF_BYTES = 2048, WORKBUF_OBJECTS = WORKBUF_BYTES / 8 - 2 };

struct workbuf {
    struct workbuf *next; /* in the pool */
    uint64_t n;
    uintptr_t objects[WORKBUF_OBJECTS];
};

struct work_chunk {
    struct work_chunk *next;
};

struct work_pool {
    struct lock lock; /* rank GC_WORK */
    struct mheap *h;
    struct workbuf *full, *empty; /* under lock */
    struct work_chunk *chunks;    /* under lock */
    uint32_t nfull;               /* atomic, written under lock */
    uint32_t overflowed;          /* atomic: some marked object is in no buffer */
};

struct gc_work {
    struct work_pool *pool;
    struct workbuf *a, *b; /* a is put to and got from; NULL: none */
};

void work_pool_init(struct work_pool *pool, struct mheap *h);
/* Some buffers to begin with, if there are none. */
void work_pool_prepare(struct work_pool *pool);

void work_put_slow(struct gc_work *w, uintptr_t object);
uintptr_t work_get_slow(struct gc_work *w);
/* Gives everything to the pool. */
void work_flush(struct gc_work *w);

static inline bool work_pool_has_work(const struct work_pool *pool)
{
    return load_acquire(&pool->nfull) > 0;
}

static inline void work_put(struct gc_work *w, uintptr_t object)
{
    struct workbuf *a = w->a;
    if (UNLIKELY(a == NULL || a->n == WORKBUF_OBJECTS))
        work_put_slow(w, object);
    else
        a->objects[a->n++] = object;
}

/* 0: there is none, in the pool neither. */
static inline uintptr_t work_get(struct gc_work *w)
{
    struct workbuf *a = w->a;
    return LIKELY(a != NULL && a->n > 0) ? a->objects[--a->n] : work_get_slow(w);
}

#endif
