/* Writing and reading pointer bitmaps.
 *
 * Called through heapbits.h.
 *
 * Concurrency: see heapbits.h.
 * Go: mbitmap.go.
 */
#include "heap/heapbits.h"

#include <string.h>

size_t heap_bits_offset(const struct mheap *h, span_class sc)
{
    const struct size_class *c = &h->size_classes.classes[sc >> 1];
    return ((size_t)c->npages << h->page_shift) - mheap_span_reserve(h, sc);
}

uint64_t *span_heap_bits(const struct mheap *h, const struct mspan *s)
{
    return (uint64_t *)(s->base + heap_bits_offset(h, s->span_class));
}

void heap_bits_init(const struct mheap *h, struct mspan *s)
{
    int fill = s->elem_size == PTR_SIZE ? 0xff : 0;
    memset(span_heap_bits(h, s), fill, heap_bits_bytes(s->npages << h->page_shift));
}

void heap_bits_fill(uint64_t *bits, size_t first, size_t words, size_t n, uint64_t mask)
{
    /* The mask again and again, in one word: `period` bits of it are whole masks. */
    uint64_t repeated = mask;
    for (size_t filled = words; filled < 64; filled *= 2)
        repeated |= repeated << filled;
    size_t period = 64 / words * words;
    size_t end = first + words * n;
    for (size_t at = first; at < end;) {
        size_t shift = at % 64, stop = MIN(end, at - shift + 64);
        size_t phase = (at - first) % words; /* bit of the mask to begin with */
        uint64_t pattern = repeated >> phase;
        if (phase != 0)
            pattern |= repeated << (period - phase);
        uint64_t ones = low_mask64((unsigned)(stop - at)) << shift, *word = &bits[at / 64];
        store_relaxed(word, (*word & ~ones) | (pattern << shift & ones));
        at = stop;
    }
}

bool object_word_is_pointer(const struct mheap *h, const struct mspan *s, unsigned i, size_t offset)
{
    if (span_noscan(s) || offset >= span_usable_size(s))
        return false;
    if (span_has_heap_bits(h, s))
        return bitmap_get_relaxed(span_heap_bits(h, s),
                                  (span_object(s, i) - s->base + offset) / PTR_SIZE);
    const struct type *t = span_is_large(s)
                               ? load_acquire(&s->large_type) /* with malloc_large's release */
                               : load_relaxed((const struct type **)(span_object(s, i) - MALLOC_HEADER_SIZE));
    if (t == NULL)
        return false;
    offset %= t->size;
    return offset < t->ptr_bytes && bitmap_get(t->gcmask, offset / PTR_SIZE);
}
