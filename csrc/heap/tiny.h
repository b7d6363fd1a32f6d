/* Objects below 16 bytes without pointers share blocks of 16 bytes.
 *
 * A P fills its current block from the front, aligning each object by its size; a block that cannot
 * take the next object is retired (or kept, if more is left in it than in the new one). Go frees a
 * block when the collector finds none of its parts reachable; with immediate frees we must know which
 * parts live. tiny_live of the span has 16 bits for each block: the offsets at which live objects
 * start. 0 says that the slot is no tiny block; CURRENT (all ones) that a P still fills it, or, which
 * is possible too, that it has sixteen parts of one byte.
 *
 * A P that frees parts of a block notes them in its tiny_pending first. When it has freed all parts
 * that live, the block is its own and is reused without further ado; otherwise the parts are taken
 * off tiny_live when the note must make room for another. Parts of a block that another P still fills
 * stay noted until it is retired (in tiny_overflow; a P fills one block at a time).
 *
 * Called by malloc and mcache.
 *
 * A part of its own current block it takes back at once; when none is left, the block starts over.
 *
 * Concurrency: an entry of tiny_live changes by a plain store of the P that has the block for itself,
 * because it fills it or because it has freed all its parts, and under the span's lock by any P while
 * the block is retired and shared. A P's current block with its starts, and each note, is one atomic
 * word (block << 16 | parts), written by the P and read by others. A span counts the notes of Ps that
 * do not own it, so that its owner knows when it must look at them.
 * Go: mallocgcTiny in malloc.go.
 */
#ifndef GOMEM_HEAP_TINY_H
#define GOMEM_HEAP_TINY_H

#include <string.h>

#include "heap/mcache.h"

#define TINY_CURRENT UINT16_MAX

/* In a note, where a block's address has zeros: the P that made it did not own the span. */
#define TINY_FOREIGN ((uint64_t)1 << 16)

static inline uint64_t tiny_note(uintptr_t block, unsigned parts)
{
    return (uint64_t)block << 16 | parts;
}

static inline uintptr_t tiny_note_block(uint64_t note)
{
    return note >> 20 << 4;
}

static inline unsigned tiny_note_parts(uint64_t note)
{
    return (uint16_t)note;
}

/* pre: size < 16, and the heap has a class for blocks. Zeroed; NULL if the heap cannot grow. */
void *malloc_tiny(struct mcache *c, size_t size);

static inline uint64_t tiny_part(unsigned offset)
{
    return (uint64_t)1 << offset;
}

/* An object in the current block; NULL if it does not fit, or there is none. pre: 0 < size < 16. */
static ALWAYS_INLINE void *malloc_tiny_fast(struct mcache *c, size_t size)
{
    unsigned align = (unsigned)(size & -size); /* 8, 4, 2 if size is a multiple: Go's rule */
    unsigned offset = (c->tiny_offset + align - 1) & -align;
    if (offset + size > TINY_SIZE) /* also when there is no block: then tiny_offset is 16 */
        return NULL;
    uint64_t current = load_relaxed(&c->tiny);
    c->tiny_allocs++;
    c->tiny_offset = (uint8_t)(offset + size);
    store_release(&c->tiny, current | tiny_part(offset)); /* with current_of's acquire */
    return (void *)(tiny_note_block(current) + offset);
}

/* A new block begins with an object of this size: the block with more room left is the current one. */
static ALWAYS_INLINE void tiny_begin_block(struct mcache *c, uintptr_t block, uint16_t *entry,
                                           size_t size)
{
    if (size >= c->tiny_offset) {
        store_relaxed(entry, (uint16_t)tiny_part(0));
        return;
    }
    store_release(c->tiny_entry, (uint16_t)tiny_note_parts(c->tiny)); /* with tiny_free */
    c->tiny_entry = entry;
    store_relaxed(entry, TINY_CURRENT);
    c->tiny_offset = (uint8_t)size;
    store_release(&c->tiny, tiny_note(block, (unsigned)tiny_part(0))); /* with current_of's acquire */
}

/* An object at the beginning of a new block, when all that this needs is at hand; else NULL. pre: 0 < size
 * < 16, and it does not fit into the current block. */
static ALWAYS_INLINE void *malloc_tiny_block_fast(struct mcache *c, size_t size)
{
    struct alloc_slot *slot = &c->slots[c->tiny_span_class];
    uint64_t window = load_relaxed(&slot->window);
    if (UNLIKELY(window_free(window) == 0))
        return NULL;
    uint16_t *table = load_relaxed(&slot->span->tiny_live);
    if (UNLIKELY(table == NULL))
        return NULL;
    unsigned i = (unsigned)__builtin_ctzll(window);
    uintptr_t block = slot->window_base + (uintptr_t)i * TINY_SIZE;
    store_relaxed(&slot->window, window & (window - 1));
    tiny_begin_block(c, block, &table[window_index(window) * WINDOW_OBJECTS + i], size);
    return (void *)block;
}

/* Frees the tiny object at p; false if none starts there. pre: p lies in slot i of s, for which
 * span_has_tiny. What other Ps are filling, or have noted as freed, is not looked at: unless c owns
 * the span and tiny_foreign is 0, the caller has asked tiny_live_parts before. */
MUST_USE bool tiny_free(struct mcache *c, struct mspan *s, unsigned i, uintptr_t p);
/* Retires c's current block. */
void tiny_retire(struct mcache *c);
/* Takes off what c has freed, as far as other Ps' current blocks allow. */
void tiny_flush(struct mcache *c);
/* Is slot i of s a block of tiny objects? */
static inline bool span_has_tiny(const struct mspan *s, unsigned i)
{
    const uint16_t *entries = load_acquire(&s->tiny_live); /* with make_table's release */
    return entries != NULL && load_relaxed(&entries[i]) != 0;
}

/* The offsets at which objects live in block i of s, as bits. */
unsigned tiny_live_parts(const struct mheap *h, const struct mspan *s, unsigned i);

#endif
