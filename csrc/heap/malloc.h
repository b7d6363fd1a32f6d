/* mallocgc and freegc: objects from a P's cache, and back.
 *
 *   size 0                      the heap's zerobase, never counted, never freed
 *   < 16 bytes, no pointers     tiny.h: several in a block of 16
 *   up to 32,760 bytes          a slot of the smallest class that fits
 *   larger                      a span of its own
 *
 * An object handed out is zero. Freeing sets a bit in the object's span. Called by runtime/
 * and C programs, with the cache of the P they hold.
 *
 * Concurrency: owner P only, for objects of any P.
 * Go: mallocgc, freegc in malloc.go.
 */
#ifndef GOMEM_HEAP_MALLOC_H
#define GOMEM_HEAP_MALLOC_H

#include <string.h>

#include "heap/heapbits.h"
#include "heap/mcache.h"
#include "heap/tiny.h"
#include "heap/type.h"

/* A zeroed object without pointers; NULL if the heap cannot grow or size exceeds MAX_ALLOC. */
void *malloc_noscan(struct mcache *c, size_t size);
/* The same for who writes all of it, or keeps account of how far: if it is large, its contents are undefined. */
void *malloc_unzeroed(struct mcache *c, size_t size);
/* A zeroed object of size bytes: one t, or an array of them. pre: size is a multiple of t->size. */
void *malloc_typed(struct mcache *c, size_t size, const struct type *t);

/* Frees the object whose address is p: GOMEM_INVALID_POINTER, with nothing changed, if p is not the
 * address malloc returned for an object that is still allocated. (Two threads that free the same
 * object at the same time may both be told so or may both succeed: as with any allocator, that is
 * for the caller to exclude.) */
MUST_USE enum gomem_status free_object(struct mcache *c, uintptr_t p);

/* Is slot i allocated? pre: s is in use, under its lock. */
bool slot_is_live_locked(const struct mheap *h, const struct mspan *s, unsigned i);
/* Frees slot i of s. pre: it is allocated, and the caller's to free. */
void free_slot(struct mcache *c, struct mspan *s, unsigned i);

/* The next slot of the slot's window, which is `window` and has one. Not zeroed. */
static inline char *window_take(struct alloc_slot *slot, uint64_t window)
{
    ASSERT(window_free(window) != 0);
    char *p = (char *)slot->window_base + (size_t)__builtin_ctzll(window) * slot->elem_size;
    store_relaxed(&slot->window, window & (window - 1));
    return p;
}

/* The next slot of a window that has one, with its first n bytes zeroed. */
static inline char *take_zeroed(struct alloc_slot *slot, uint64_t window, size_t n)
{
    char *p = window_take(slot, window);
    if (UNLIKELY(slot->needzero))
        memset(p, 0, n);
    return p;
}

/* The sizes that have a class of their own in the table of small steps, and are not tiny. */
static inline bool size_is_common(size_t size)
{
    return size - TINY_SIZE <= SMALL_SIZE_MAX - 8 - TINY_SIZE;
}

/* The span class, without pointers, of such a size. */
static inline unsigned common_span_class(const struct mcache *c, size_t size)
{
    return 2u * c->size_classes.size_to_class8[(size + SMALL_SIZE_DIV - 1) / SMALL_SIZE_DIV] + 1;
}

/* An object from the window of the class; NULL if that is used up. */
static ALWAYS_INLINE void *malloc_noscan_class(struct mcache *c, unsigned sc)
{
    struct alloc_slot *slot = &c->slots[sc];
    uint64_t window = load_relaxed(&slot->window);
    if (UNLIKELY(window_free(window) == 0))
        return NULL;
    return take_zeroed(slot, window, slot->elem_size);
}

/* What malloc_noscan does for most objects, for inlining: NULL means that it must be called. */
static ALWAYS_INLINE void *malloc_noscan_fast(struct mcache *c, size_t size)
{
    if (LIKELY(size_is_common(size)))
        return malloc_noscan_class(c, common_span_class(c, size));
    if (size - 1 >= TINY_SIZE - 1)
        return NULL;
    void *object = malloc_tiny_fast(c, size);
    return object != NULL ? object : malloc_tiny_block_fast(c, size);
}

/* Is the window such that malloc_typed_window may be called? */
static ALWAYS_INLINE bool window_is_for(const struct alloc_slot *slot, const struct type *type,
                                        size_t size)
{
    return window_free(load_relaxed(&slot->window)) != 0 && slot->type == type &&
           slot->type_size == size;
}

/* What malloc_typed does for most objects, for inlining: one like those for which the window was taken. */
static ALWAYS_INLINE void *malloc_typed_window(struct alloc_slot *slot)
{
    return take_zeroed(slot, load_relaxed(&slot->window), slot->elem_size);
}

/* Frees slot i of an own span without remote frees; false if it is free already. *slow: the caller
 * must call mcache_freed_slow. */
static inline bool free_owned_fast(struct mspan *s, unsigned i, bool *slow)
{
    struct alloc_slot *slot = s->slot;
    uint64_t bit = (uint64_t)1 << (i % 64), *word = &s->free_bits[i / 64];
    uint64_t free = load_relaxed(word);
    if (UNLIKELY(free & bit))
        return false;
    if (slot->span == s && UNLIKELY(window_has(load_relaxed(&slot->window), i)))
        return false;
    store_relaxed(word, free | bit);
    slot->frees++;
    uint16_t live = (uint16_t)(load_relaxed(&s->live) - 1);
    store_relaxed(&s->live, live);
    *slow = (uint16_t)(live - 1) >= s->slow_from;
    return true;
}

/* The same, whole. */
static inline bool free_owned(struct mcache *c, struct mspan *s, unsigned i)
{
    bool slow;
    if (!free_owned_fast(s, i, &slow))
        return false;
    if (UNLIKELY(slow))
        mcache_freed_slow(c, s);
    return true;
}

#endif
