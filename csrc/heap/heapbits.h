/* Which words of an object hold pointers, and where that is written down.
 *
 *   no pointers         nothing: the span class says noscan
 *   up to 512 bytes     a bitmap at the end of the span, a bit a word, written at allocation
 *   larger, small       an 8-byte header in front of the object: the address of its type
 *   large               span.large_type
 *
 * An array of n elements has the type of its element; the mask repeats.
 *
 * Called by malloc (writing), by verify and the marker (reading).
 *
 * Concurrency: an object's bits are written by the P that allocates it, before anyone else can see
 * the object, in words it shares with neighbours of the same span: the owner P is the only writer.
 * Go: mbitmap.go (heapSetType*, typePointers).
 */
#ifndef GOMEM_HEAP_HEAPBITS_H
#define GOMEM_HEAP_HEAPBITS_H

#include "heap/mheap.h"
#include "heap/type.h"

/* Room at the very end of spans of objects of 16 to 512 bytes. Go has its mark and scan bits there; here it
 * only makes a span hold as many objects as Go's: the bits are by page with the arena (heap_arena), where
 * those of many pages share a page of memory, and so an entry of the TLB. */
enum { SPAN_INLINE_MARK_BYTES = 128 };

/* Bytes of the bitmap of a span. */
static inline size_t heap_bits_bytes(size_t span_bytes)
{
    return span_bytes / PTR_SIZE / 8;
}

static inline bool span_has_heap_bits(const struct mheap *h, const struct mspan *s)
{
    return !span_noscan(s) && s->elem_size <= h->size_classes.max_bitmap_size;
}

/* Where in a span of sc the bitmap begins. pre: the class has one. */
size_t heap_bits_offset(const struct mheap *h, span_class sc);
/* pre: span_has_heap_bits. */
uint64_t *span_heap_bits(const struct mheap *h, const struct mspan *s);
/* Clears a new span's bitmap; spans of one-word objects have all bits set, for good. */
void heap_bits_init(const struct mheap *h, struct mspan *s);

/* The bitmap of an object of size bytes that is one t or an array of them. pre: size <= 512. */
static inline uint64_t heap_bits_mask(const struct type *t, size_t size)
{
    uint64_t one = t->gcmask[0], mask = one;
    if (LIKELY(t->size == size))
        return one;
    if (t->size == PTR_SIZE)
        return low_mask64((unsigned)(size / PTR_SIZE));
    for (size_t at = t->size; at < size; at += t->size)
        mask |= one << (at / PTR_SIZE);
    return mask;
}

/* Describes the object of elem_size bytes that begins at the given word of a span. pre: owner P. */
static inline void heap_bits_write(uint64_t *bits, size_t word, size_t elem_size, uint64_t mask)
{
    unsigned n = (unsigned)(elem_size / PTR_SIZE), shift = word % 64;
    uint64_t ones = ~(uint64_t)0 >> (64 - n); /* 1 <= n <= 64 */
    bits += word / 64;
    store_relaxed(&bits[0], (bits[0] & ~(ones << shift)) | mask << shift);
    if (shift + n > 64)
        store_relaxed(&bits[1], (bits[1] & ~(ones >> (64 - shift))) | mask >> (64 - shift));
}

/* As heap_bits_write for n objects of `words` words beside each other, the first at word `first`. pre: owner
 * P; nobody uses the objects. */
void heap_bits_fill(uint64_t *bits, size_t first, size_t words, size_t n, uint64_t mask);

/* Does the word at `offset` of the object with index i hold a pointer? For inspection: takes the
 * general way through all three forms. pre: the object is allocated, offset a multiple of 8. */
bool object_word_is_pointer(const struct mheap *h, const struct mspan *s, unsigned i,
                            size_t offset);

#endif
