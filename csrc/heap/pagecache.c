/* Cutting small page runs from a P's own block of 64 pages.
 *
 * Called through pagecache.h.
 *
 * Concurrency: see pagecache.h.
 * Go: mpagecache.go.
 */
#include "heap/pagecache.h"

uintptr_t pagecache_alloc(struct pagecache *c, unsigned page_shift, unsigned npages,
                          size_t *scavenged)
{
    unsigned i = find_bit_range64(c->free, npages);
    if (i == 64)
        return 0;
    uint64_t mask = low_mask64(npages) << i;
    *scavenged = (size_t)ones_count64(c->scavenged & mask) << page_shift;
    c->free &= ~mask;
    c->scavenged &= ~mask;
    return c->base + ((uintptr_t)i << page_shift);
}

void pagecache_fill(struct pagecache *c, struct pagealloc *pa)
{
    ASSERT_HELD(pa->lock);
    ASSERT(c->free == 0);
    if (chunk_index(pa, pa->search_addr) >= pa->end)
        return;
    uintptr_t addr, search;
    size_t chunk = chunk_index(pa, pa->search_addr);
    if (pa->summary[SUMMARY_LEVELS - 1][chunk] != 0) {
        unsigned first;
        unsigned page = page_bits_find(&chunk_of(pa, chunk)->alloc, 1,
                                       chunk_page(pa, pa->search_addr), &first);
        CHECK(page != NO_PAGE);
        addr = chunk_base(pa, chunk) + ((uintptr_t)page << pa->page_shift);
    } else {
        addr = pagealloc_find(pa, 1, &search);
        if (addr == 0) {
            pa->search_addr = MAX_SEARCH_ADDR;
            return;
        }
        chunk = chunk_index(pa, addr);
    }
    struct chunk_data *d = chunk_of(pa, chunk);
    unsigned word = chunk_page(pa, addr) / 64;
    c->base = chunk_base(pa, chunk) + ((uintptr_t)word * 64 << pa->page_shift);
    c->free = ~d->alloc.w[word];
    c->scavenged = d->scavenged.w[word] & c->free;
    d->alloc.w[word] = ~(uint64_t)0;
    d->scavenged.w[word] &= ~c->free;
    pagealloc_update(pa, c->base, PAGE_CACHE_PAGES, false, true);
    scav_index_alloc(&pa->scav, chunk, ones_count64(c->free));
    /* The block's last page: everything below it is in use now. */
    pa->search_addr = c->base + ((uintptr_t)(PAGE_CACHE_PAGES - 1) << pa->page_shift);
}

void pagecache_flush(struct pagecache *c, struct pagealloc *pa)
{
    ASSERT_HELD(pa->lock);
    if (c->free == 0)
        return;
    size_t chunk = chunk_index(pa, c->base);
    unsigned first = chunk_page(pa, c->base);
    struct chunk_data *d = chunk_of(pa, chunk);
    d->alloc.w[first / 64] &= ~c->free;
    d->scavenged.w[first / 64] |= c->scavenged;
    scav_index_free(&pa->scav, chunk, ones_count64(c->free));
    pa->search_addr = MIN(pa->search_addr, c->base);
    pagealloc_update(pa, c->base, PAGE_CACHE_PAGES, false, false);
    *c = (struct pagecache){0};
}
