/* A P's cache of pages: one aligned block of 64 pages, taken from the page allocator in one go, from
 * which small spans are cut without a lock.
 *
 * Called by mheap for spans of fewer than 16 pages.
 *
 * Invariant (mheap_verify): every page in the cache is marked in use in the page allocator, and a
 * page marked scavenged here is in the cache.
 *
 * Concurrency: owner P only; fill and flush also need the page allocator's lock.
 * Go: mpagecache.go.
 */
#ifndef GOMEM_HEAP_PAGECACHE_H
#define GOMEM_HEAP_PAGECACHE_H

#include "heap/pagealloc.h"

enum { PAGE_CACHE_PAGES = 64 };

struct pagecache {
    uintptr_t base;     /* of the block */
    uint64_t free;      /* set: ours to give out */
    uint64_t scavenged; /* set: free and not backed by memory */
};

/* Takes npages in a row; 0 if the cache has no such run. *scavenged: bytes that must become Ready. */
uintptr_t pagecache_alloc(struct pagecache *c, unsigned page_shift, unsigned npages,
                          size_t *scavenged);
/* Fills an empty cache with what is free in the first block that has anything; stays empty if the
 * heap has no free page. */
void pagecache_fill(struct pagecache *c, struct pagealloc *pa);
/* Gives everything back. */
void pagecache_flush(struct pagecache *c, struct pagealloc *pa);

#endif
