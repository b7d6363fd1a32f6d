/* The page allocator: first fit by address over the whole address space.
 *
 * The heap is cut into chunks of 512 pages, each with a bitmap of pages in use and one of pages whose
 * physical memory was given back (scavenged). A radix tree of five levels summarises them: an entry
 * holds the free pages at its start, at most in a row, and at its end, so that a search descends
 * straight to the first run that is long enough. Everything is indexed by address; the arrays are
 * reserved for the whole address space and mapped where the heap is.
 *
 * Called by mheap, pagecache and scavenge.
 *
 * Invariants (pagealloc_verify): each summary is the merge of what it covers; a scavenged page is
 * free; no free page lies below search_addr; the scavenge index counts the bitmaps.
 *
 * Concurrency: guarded by *lock (mheap's), except init.
 * Go: mpagealloc.go, mpagealloc_64bit.go.
 */
#ifndef GOMEM_HEAP_PAGEALLOC_H
#define GOMEM_HEAP_PAGEALLOC_H

#include "heap/pagebits.h"
#include "heap/ranges.h"
#include "heap/scavindex.h"

enum {
    HEAP_ADDR_BITS = 48,
    CHUNKS_L1_BITS = 13,
    CHUNKS_L1 = 1 << CHUNKS_L1_BITS,
};

#define MAX_SEARCH_ADDR (((uintptr_t)1 << HEAP_ADDR_BITS) - 1)

struct chunk_data {
    struct page_bits alloc;     /* set: in use (or in a P's page cache) */
    struct page_bits scavenged; /* set: given back to the OS; only free pages are */
};

struct pagealloc {
    unsigned page_shift;  /* const */
    unsigned chunk_shift; /* const: page_shift + 9 */
    struct lock *lock;    /* const: who guards all this */
    struct os_mem *om;    /* const */
    struct persistent *persistent; /* const */
    struct os_stat *stat;          /* const: where the structures' own memory counts */

    page_summary *summary[SUMMARY_LEVELS]; /* const pointers; mapped for the chunks in in_use */
    unsigned level_shift[SUMMARY_LEVELS];  /* const: address bits below an entry of the level */
    unsigned level_bits[SUMMARY_LEVELS];   /* const: log2 of the entries under one parent */

    struct chunk_data *chunks[CHUNKS_L1]; /* second level, allocated when first needed */
    unsigned chunks_l2_bits;              /* const */

    uintptr_t search_addr; /* no free page below; MAX_SEARCH_ADDR when there is none at all */
    size_t start, end;     /* chunks the heap has grown into lie in [start, end) */
    struct ranges in_use;  /* what the heap has grown into, whole chunks */
    struct scav_index scav;
};

MUST_USE bool pagealloc_init(struct pagealloc *pa, unsigned page_shift, struct lock *lock,
                             struct os_mem *om, struct persistent *p, struct os_stat *stat);

/* Adds [base, base + size) as free, scavenged memory; false (and nothing changed) if the OS refuses
 * memory for bitmaps. pre: whole chunks, not grown into before. */
MUST_USE bool pagealloc_grow(struct pagealloc *pa, uintptr_t base, size_t size);

/* Allocating is done in steps, so that a caller can turn back when the pages it would get cannot be
 * made Ready: peek (0 if there is no such run), count what is scavenged in it, take it, and move the
 * search address to what peek returned. */
uintptr_t pagealloc_peek(struct pagealloc *pa, size_t npages, uintptr_t *new_search_addr);
size_t pagealloc_scavenged(const struct pagealloc *pa, uintptr_t base, size_t npages); /* bytes */
void pagealloc_alloc_range(struct pagealloc *pa, uintptr_t base, size_t npages);
static inline void pagealloc_searched(struct pagealloc *pa, uintptr_t new_search_addr)
{
    if (new_search_addr > pa->search_addr)
        pa->search_addr = new_search_addr;
}

void pagealloc_free(struct pagealloc *pa, uintptr_t base, size_t npages);

/* The whole-tree search below peek, for the page cache. */
uintptr_t pagealloc_find(struct pagealloc *pa, size_t npages, uintptr_t *new_search_addr);
/* Recomputes the summaries above [base, base + npages pages). contiguous: all of them changed to the
 * same state (allocated or free). */
void pagealloc_update(struct pagealloc *pa, uintptr_t base, size_t npages, bool contiguous,
                      bool allocated);

bool pagealloc_verify(struct pagealloc *pa, char *why, size_t why_size);

static inline size_t chunk_index(const struct pagealloc *pa, uintptr_t addr)
{
    return addr >> pa->chunk_shift;
}

static inline uintptr_t chunk_base(const struct pagealloc *pa, size_t chunk)
{
    return chunk << pa->chunk_shift;
}

static inline unsigned chunk_page(const struct pagealloc *pa, uintptr_t addr)
{
    return (addr >> pa->page_shift) & (CHUNK_PAGES - 1);
}

/* pre: the heap has grown into this chunk. */
static inline struct chunk_data *chunk_of(const struct pagealloc *pa, size_t chunk)
{
    return &pa->chunks[chunk >> pa->chunks_l2_bits][chunk & low_mask64(pa->chunks_l2_bits)];
}

#endif
