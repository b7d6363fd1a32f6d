/* The heap: pages, arenas, spans and central lists under one roof, one per runtime.
 *
 * Allocation comes down from malloc through mcache and mcentral to mheap_alloc_span, which takes
 * pages from the P's page cache or the page allocator, growing the heap by arenas of 64 MB when
 * there are none. Freed spans come back through mheap_free_span.
 *
 * Called by mcentral, malloc (large objects), stack, and the runtime (making and closing).
 *
 * Invariants (mheap_verify): every page in use in the page allocator belongs to exactly one span or
 * one page cache; arena_of(p)->spans leads from every address of a span in use to it; heap_inuse,
 * stacks_inuse, heap_free and heap_released add up to what the page allocator has grown into.
 *
 * Concurrency: fields say who may touch them. lock is rank MHEAP.
 * Go: mheap.go, and sysAlloc in malloc.go.
 */
#ifndef GOMEM_HEAP_MHEAP_H
#define GOMEM_HEAP_MHEAP_H

#include "heap/mcentral.h"
#include "heap/hooks.h"
#include "heap/memstats.h"
#include "heap/pagealloc.h"
#include "heap/pagecache.h"
#include "heap/persistent.h"
#include "heap/sizeclass.h"
#include "heap/span.h"
#include "heap/specials.h"
#include "heap/stack.h"

enum {
    LOG_ARENA_BYTES = 26,
    ARENA_L2_BITS = HEAP_ADDR_BITS - LOG_ARENA_BYTES,
    MAX_BITMAP_POOLS = 16, /* bitmaps and tables of 2^k words, k below this */
    /* Of mark bits a page, and of scan bits: a cache line for up to 504 objects; the last byte is the
     * collector's (mark_span.c). */
    PAGE_MARK_WORDS = 8,
};

#define ARENA_BYTES ((size_t)1 << LOG_ARENA_BYTES)
#define MAX_ALLOC   ((size_t)1 << 47)

/* Metadata of 64 MB of address space. Go's second-level array entry: heapArena. */
struct heap_arena {
    uint64_t zeroed_base; /* atomic: offset from which on memory has never been used */
    uint8_t *page_class;  /* const pointer, atomic entries by page: span class of a span with page marks */
    uint64_t *marks;      /* const pointer, atomic words: PAGE_MARK_WORDS a page, then as many of scan bits */
    struct arena_specials *specials; /* atomic, set once; NULL while no object here has had any */
    struct mspan *spans[]; /* atomic; by page. Stale for pages that belong to no span. */
};

/* Where to ask the OS for the next arena. */
struct arena_hint {
    uintptr_t addr;
    bool down; /* the arena ends at addr instead of starting there */
    struct arena_hint *next;
};

enum huge_page_policy {
    HUGE_PAGES_DEFAULT, /* as the system is configured: what Go does */
    HUGE_PAGES_ALWAYS,  /* MADV_HUGEPAGE on heap memory */
    HUGE_PAGES_NEVER,   /* MADV_NOHUGEPAGE (GODEBUG=disablethp=1) */
};

struct mheap_options {
    const struct size_class_table *size_classes;
    unsigned procs;            /* how many mcaches */
    uint64_t max_memory;       /* bytes in state Ready; UINT64_MAX: unlimited */
    uint64_t memory_limit;     /* GOMEMLIMIT */
    bool dontneed;             /* GODEBUG=madvdontneed */
    enum huge_page_policy huge_pages;
};

struct mheap {
    /* Read by every free: kept together. All const. */
    struct heap_arena **arenas; /* ARENA_L2_BITS; Go's L1 has one entry on 48-bit machines */
    unsigned page_shift;
    uint32_t page_mask_in_arena; /* pages per arena - 1 */
    uintptr_t zerobase;          /* address of every object of size 0 */

    struct lock lock CACHE_ALIGNED;
    struct pagealloc pages;         /* under lock */
    uintptr_t arena_base, arena_end; /* under lock: the part of the newest arena not yet grown into */
    struct arena_hint *hints;        /* under lock */
    struct fixalloc hint_alloc;      /* under lock */
    struct fixalloc span_alloc;      /* under lock */
    struct mspan *free_spans;        /* under lock: dead span structures, linked by node.next */
    size_t nfree_spans;              /* under lock */
    struct mspan *deferred;          /* under lock: freed while marking, linked by node.next */
    struct fixalloc mcache_alloc;    /* under lock */
    struct fixalloc bitmap_alloc[MAX_BITMAP_POOLS]; /* under lock */
    uint32_t *arena_indexes;         /* under lock: every arena, in order of growth */
    size_t narenas, arenas_capacity; /* under lock */
    bool metadata_huge_pages;        /* under lock */

    struct mcentral central[2 * MAX_SIZE_CLASSES]; /* by span class */
    uint32_t sweepgen;                             /* written with the world stopped */
    struct sweep_state sweep;
    struct heap_gc gc;
    struct specials specials;

    struct stack_pools stacks;
    struct size_class_table size_classes; /* const */
    uint16_t nelems[2 * MAX_SIZE_CLASSES]; /* const: slots of a span, by span class */
    bool page_marks;                      /* const: arenas have mark bits by page */
    enum huge_page_policy huge_pages;     /* const */

    struct os_mem om;
    struct persistent persistent;
    struct byte_stats bytes;
    uint64_t memory_limit; /* atomic */
    struct {
        uint64_t gc_percent_goal;   /* atomic: bytes to retain; UINT64_MAX: no goal */
        uint64_t memory_limit_goal; /* atomic: bytes to stay mapped; UINT64_MAX: no goal */
        uint64_t released_background, released_eager, released_forced; /* atomic: bytes, ever */
        int64_t assist_ns, background_ns;                              /* atomic */
    } scav;

    struct mcache **mcaches; /* const: one a P */
    unsigned nmcaches;       /* const */
    size_t struct_bytes;     /* const: what mheap_new mapped for this structure */
};

/* NULL with err filled if the OS refuses. */
struct mheap *mheap_new(const struct mheap_options *options, struct gomem_error *err);
/* Gives everything back to the OS. pre: nobody uses h any more. */
void mheap_destroy(struct mheap *h);

enum span_type { SPAN_TYPE_HEAP, SPAN_TYPE_STACK };

/* A span of npages; NULL if the OS or a limit refuses, with nothing lost. c: the calling P's cache.
 * The caller makes it reachable by others. */
struct mspan *mheap_alloc_span(struct mheap *h, struct mcache *c, size_t npages,
                               enum span_type type, span_class sc);
/* pre: the caller has taken the span out of circulation: state SPAN_FREEING, set under its lock. While
 * marking goes on spans of objects are set aside: a marker may be about to mark something there. */
void mheap_free_span(struct mheap *h, struct mcache *c, struct mspan *s, enum span_type type);
/* Frees the spans that were set aside. pre: nobody marks. */
void mheap_free_deferred(struct mheap *h, struct mcache *c);
/* Returns the structure of a dead span that no set refers to any more. */
void mheap_recycle_span(struct mheap *h, struct mcache *c, struct mspan *s);

/* Uninitialised words for bitmaps and tables; NULL if the OS refuses. */
uint64_t *mheap_alloc_words(struct mheap *h, size_t nwords);
void mheap_free_words(struct mheap *h, uint64_t *words, size_t nwords);
/* Words of a table with a uint16_t for each tiny block of s. */
static inline size_t tiny_table_words(const struct mspan *s)
{
    return div_round_up(s->nelems, sizeof(uint64_t) / sizeof(uint16_t));
}
/* Bytes at the end of a span of sc that are not for objects. */
size_t mheap_span_reserve(const struct mheap *h, span_class sc);

/* Are the mark bits of spans of sc with their arena, by page? Of objects of 16 to 512 bytes, in Go's table. */
static inline bool class_has_page_marks(const struct mheap *h, span_class sc)
{
    const struct size_class *c = &h->size_classes.classes[sc >> 1];
    return h->page_marks && c->npages == 1 && c->size >= TINY_SIZE &&
           c->size <= h->size_classes.max_bitmap_size;
}

/* The scan bits that belong to the mark bits of a page. */
static inline uint64_t *page_scan_bits(const struct mheap *h, uint64_t *marks)
{
    return marks + ((size_t)h->page_mask_in_arena + 1) * PAGE_MARK_WORDS;
}

static inline void page_marks_clear(const struct mheap *h, uint64_t *marks)
{
    uint64_t *scans = page_scan_bits(h, marks);
    for (unsigned w = 0; w < PAGE_MARK_WORDS; w++) {
        store_relaxed(&marks[w], 0);
        store_relaxed(&scans[w], 0);
    }
}

/* The arena metadata for address p, NULL if the heap has none there. */
static inline struct heap_arena *arena_of(const struct mheap *h, uintptr_t p)
{
    if (UNLIKELY(p >> HEAP_ADDR_BITS != 0))
        return NULL;
    return load_relaxed(&h->arenas[p >> LOG_ARENA_BYTES]);
}

/* The span that covers, or once covered, address p; NULL if there never was one. Whether it is in
 * use and contains p is for the caller to find out, under the span's lock or as its owner. */
static inline struct mspan *span_of(const struct mheap *h, uintptr_t p)
{
    struct heap_arena *a = arena_of(h, p);
    if (UNLIKELY(a == NULL))
        return NULL;
    return load_acquire(&a->spans[(p >> h->page_shift) & h->page_mask_in_arena]); /* with set_spans */
}

static inline uint64_t heap_retained(struct mheap *h)
{
    return load_relaxed(&h->bytes.heap_inuse.bytes) + load_relaxed(&h->bytes.heap_free.bytes);
}

#endif
