/* From an address to the mark of its object, and from an object to its pointers: the parts that both
 * markers have.
 *
 * An object of 16 to 512 bytes is found without looking at its span: a byte a page has the class, from
 * which the object's index follows, and its mark is in the page's line of marks.
 *
 * Called by mark.c and mark_span.c.
 *
 * Concurrency: see mark.h.
 * Go: tryDeferToSpanScan in mgcmark_greenteagc.go, spanHeapBitsRange in mbitmap.go.
 */
#ifndef GOMEM_GC_MARK_FIND_H
#define GOMEM_GC_MARK_FIND_H

#include "gc/mark.h"
#include "heap/heapbits.h"

/* Heaps with page marks have pages of this size. */
enum { MARK_PAGE_SHIFT = 13, MARK_PAGE_BYTES = 1 << MARK_PAGE_SHIFT };

/* What the last byte of a page's marks says of its span: it is queued, for one object that was marked or
 * for several. */
#define SPAN_QUEUED_ONE  ((uint64_t)1 << 56)
#define SPAN_QUEUED_MANY ((uint64_t)2 << 56)
#define SPAN_QUEUED      (SPAN_QUEUED_ONE | SPAN_QUEUED_MANY)

/* Greys what p points into, on a page without page marks. */
void mark_grey_slow(struct marker *m, const struct heap_arena *a, uintptr_t p);
/* Greys what these point into. pre: marking by spans; so for the next three. */
void mark_span_pointers(struct marker *m, const uintptr_t *pointers, size_t n);
/* Scans the next span of the queue; false: there is none. */
bool mark_span_next(struct marker *m);
/* Scans one object of it; its address, 0 if there is none. */
uintptr_t mark_span_one(struct marker *m);
/* Scans what is grey in a span with page marks. pre: no queue has it, though it may look as if one had. */
void mark_span_rescan(struct marker *m, uintptr_t base);

static ALWAYS_INLINE size_t mark_page(uintptr_t p)
{
    return p >> MARK_PAGE_SHIFT & ((ARENA_BYTES >> MARK_PAGE_SHIFT) - 1);
}

/* The index of the object that the offset of a page falls into; nelems or more: none. */
static ALWAYS_INLINE uint32_t mark_index(const struct mark_class *c, uint32_t offset)
{
    uint32_t i = (uint32_t)((uint64_t)offset * c->div_magic >> 32);
    return i - (i * c->size > offset);
}

static ALWAYS_INLINE const uint64_t *page_pointer_bits(uintptr_t base)
{
    return (const uint64_t *)(base + MARK_PAGE_BYTES - SPAN_INLINE_MARK_BYTES -
                              MARK_PAGE_BYTES / PTR_SIZE / 8);
}

/* Which words of the n that begin at the given one of a page hold pointers. */
static ALWAYS_INLINE uint64_t page_pointer_mask(uintptr_t base, size_t word, unsigned n)
{
    const uint64_t *bits = page_pointer_bits(base);
    unsigned shift = word % 64;
    uint64_t mask = load_relaxed(&bits[word / 64]) >> shift;
    if (shift + n > 64)
        mask |= load_relaxed(&bits[word / 64 + 1]) << (64 - shift);
    return mask & ~(uint64_t)0 >> (64 - n); /* 1 <= n <= 64 */
}

#endif
