/* Grey objects: buffers of addresses, a pair in the hand of each marker, the rest in a pool.
 *
 * A marker puts and gets at its own buffers; a full one goes to the pool, where a marker that has nothing
 * takes it. Memory for buffers may be refused: then the object stays marked but is not noted, the pool
 * says that it overflowed, and marking goes on by looking for such objects in the whole heap (mark.c). For
 * that there are some buffers in any case: with none at all each look would get one object further, along a
 * list that runs towards lower addresses.
 * Spans with grey objects are passed on in buffers of the same kind: span_queue.h.
 *
 * Called by mark.c, mark_span.c and cycle.c.
 *
 * Invariant: an object that is in a buffer is marked.
 *
 * Concurrency: struct gc_work is its marker's; the pool has a lock.
 * Go: mgcwork.go.
 */
#ifndef GOMEM_GC_WORK_H
#define GOMEM_GC_WORK_H

#include "heap/mheap.h"

enum { WORKBUF_BYTES = 2048, WORKBUF_OBJECTS = WORKBUF_BYTES / 8 - 2, RESERVE_BUFFERS = 8 };

struct workbuf {
    struct workbuf *next; /* in the pool */
    uint64_t n;
    uintptr_t objects[WORKBUF_OBJECTS];
};

struct work_chunk {
    struct work_chunk *next;
};

/* What marking needs to know of a span class, beside each other. */
struct mark_class {
    uint32_t div_magic;
    uint16_t size, nelems;
};

struct marker;
typedef void (*mark_kernel)(struct marker *m, uintptr_t object);

struct work_pool {
    struct lock lock; /* rank GC_WORK */
    struct mheap *h;
    mark_kernel scan_span; /* const: scans the span of a queued object; NULL: objects are marked one by one */
    struct workbuf *full, *empty; /* under lock */
    struct workbuf *spans, *last_span; /* under lock: buffers of spans, oldest first */
    struct work_chunk *chunks;    /* under lock */
    uint32_t nfull, nspans;       /* atomic, written under lock: buffers */
    uint32_t overflowed;          /* atomic: some marked object is in no buffer */
    bool reserve_used;            /* under lock: these are among the others */
    struct workbuf reserve[RESERVE_BUFFERS]; /* under lock: what there is after an overflow */
    struct mark_class classes[2 * MAX_SIZE_CLASSES]; /* const; by span class */
};

/* A marker's spans: it puts into one buffer and gets from another. NULL: none. */
struct span_queue {
    struct workbuf *put, *get;
    uint32_t at;   /* the next of get */
    uint32_t puts; /* since the last look at the pool */
};

struct gc_work {
    struct work_pool *pool;
    struct workbuf *a, *b; /* a is put to and got from; NULL: none */
    struct span_queue spans;
};

void work_pool_init(struct work_pool *pool, struct mheap *h, mark_kernel scan_span);
/* Some buffers to begin with, if there are none. */
void work_pool_prepare(struct work_pool *pool);

/* From now on the buffers of the reserve are like all others. */
void work_pool_use_reserve(struct work_pool *pool);

/* An empty buffer; NULL if the OS refuses. */
struct workbuf *work_take_empty(struct work_pool *pool);
/* Takes a buffer back that has nothing in it. */
void work_give_empty(struct work_pool *pool, struct workbuf *b);

void work_put_slow(struct gc_work *w, uintptr_t object);
uintptr_t work_get_slow(struct gc_work *w);
/* Gives some of the objects it has to the pool, if these are more than a few. */
void work_share(struct gc_work *w);
/* Gives everything to the pool, spans too. */
void work_flush(struct gc_work *w);

static inline bool work_pool_has_work(const struct work_pool *pool)
{
    return load_acquire(&pool->nfull) > 0 || load_acquire(&pool->nspans) > 0;
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
