/* The radix tree over page bitmaps: growing, searching, allocating, freeing.
 *
 * Called through pagealloc.h.
 *
 * Concurrency: see pagealloc.h.
 * Go: mpagealloc.go, mpagealloc_64bit.go.
 */
#include "heap/pagealloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Pages covered by one entry of a level, as a power of two. */
static unsigned level_log_pages(unsigned level)
{
    return LOG_CHUNK_PAGES + (SUMMARY_LEVELS - 1 - level) * SUMMARY_LEVEL_BITS;
}

bool pagealloc_init(struct pagealloc *pa, unsigned page_shift, struct lock *lock,
                    struct os_mem *om, struct persistent *p, struct os_stat *stat)
{
    memset(pa, 0, sizeof *pa);
    pa->page_shift = page_shift;
    pa->chunk_shift = page_shift + LOG_CHUNK_PAGES;
    pa->lock = lock;
    pa->om = om;
    pa->persistent = p;
    pa->stat = stat;
    pa->search_addr = MAX_SEARCH_ADDR;
    ranges_init(&pa->in_use, p, stat);

    unsigned chunk_bits = HEAP_ADDR_BITS - pa->chunk_shift;
    pa->chunks_l2_bits = chunk_bits - CHUNKS_L1_BITS;
    unsigned bits = chunk_bits - (SUMMARY_LEVELS - 1) * SUMMARY_LEVEL_BITS;
    pa->level_bits[0] = bits;
    for (unsigned l = 0; l < SUMMARY_LEVELS; l++, bits += SUMMARY_LEVEL_BITS) {
        if (l > 0)
            pa->level_bits[l] = SUMMARY_LEVEL_BITS;
        pa->level_shift[l] = HEAP_ADDR_BITS - bits;
        size_t bytes = align_up(sizeof(page_summary) << bits, om->page_size);
        pa->summary[l] = os_reserve(om, NULL, bytes, "page summary");
        if (pa->summary[l] == NULL)
            return false;
    }
    size_t bytes = align_up(sizeof(struct scav_chunk) << chunk_bits, om->page_size);
    pa->scav.chunks = os_reserve(om, NULL, bytes, "scavenge index");
    return pa->scav.chunks != NULL;
}

/* --- Growing --- */

/* The bytes of level l's array that summarise [base, limit), siblings included, in whole pages. */
static struct range summary_bytes(const struct pagealloc *pa, unsigned l, uintptr_t base,
                                  uintptr_t limit)
{
    size_t block = (size_t)1 << pa->level_bits[l];
    size_t low = align_down(base >> pa->level_shift[l], block);
    size_t high = align_up(((limit - 1) >> pa->level_shift[l]) + 1, block);
    uintptr_t array = (uintptr_t)pa->summary[l];
    return (struct range){
        array + align_down(low * sizeof(page_summary), pa->om->page_size),
        array + align_up(high * sizeof(page_summary), pa->om->page_size),
    };
}

/* What of it is not mapped yet: the neighbours in in_use have mapped the rest. */
static struct range summary_needed(const struct pagealloc *pa, unsigned l, uintptr_t base,
                                   uintptr_t limit)
{
    struct range need = summary_bytes(pa, l, base, limit);
    size_t next = ranges_successor(&pa->in_use, base);
    if (next > 0) {
        struct range r = pa->in_use.ranges[next - 1];
        need = range_subtract(need, summary_bytes(pa, l, r.base, r.limit));
    }
    if (next < pa->in_use.n) {
        struct range r = pa->in_use.ranges[next];
        need = range_subtract(need, summary_bytes(pa, l, r.base, r.limit));
    }
    return need;
}

/* The same for the scavenge index, which is mapped as one range of chunks. */
static struct range scav_needed(const struct pagealloc *pa, uintptr_t base, uintptr_t limit,
                                size_t *new_min, size_t *new_max)
{
    const struct scav_index *s = &pa->scav;
    size_t per_page = pa->om->page_size / sizeof(struct scav_chunk);
    size_t min = align_down(chunk_index(pa, base), per_page);
    size_t max = align_up(chunk_index(pa, limit), per_page);
    struct range have = {0, 0};
    if (s->mapped_max != 0) {
        /* Keep it one range: fill a gap to what is mapped already. */
        max = MAX(max, s->mapped_min);
        min = MIN(min, s->mapped_max);
        have = (struct range){(uintptr_t)&s->chunks[s->mapped_min],
                              (uintptr_t)&s->chunks[s->mapped_max]};
    }
    *new_min = s->mapped_max == 0 ? min : MIN(min, s->mapped_min);
    *new_max = MAX(max, s->mapped_max);
    struct range need = {(uintptr_t)&s->chunks[min], (uintptr_t)&s->chunks[max]};
    return s->mapped_max == 0 ? need : range_subtract(need, have);
}

static bool map_range(struct pagealloc *pa, struct range r, const char *name)
{
    if (range_size(r) == 0)
        return true;
    if (!os_map(pa->om, (void *)r.base, range_size(r), pa->stat, name))
        return false;
    if (os_used(pa->om, range_size(r)))
        return true;
    os_unmap(pa->om, (void *)r.base, range_size(r), 0, pa->stat);
    return false;
}

static void unmap_range(struct pagealloc *pa, struct range r)
{
    if (range_size(r) > 0)
        os_unmap(pa->om, (void *)r.base, range_size(r), range_size(r), pa->stat);
}

/* Maps summaries and index for [base, limit), all or nothing. */
static bool map_metadata(struct pagealloc *pa, uintptr_t base, uintptr_t limit)
{
    struct range need[SUMMARY_LEVELS];
    unsigned l;
    for (l = 0; l < SUMMARY_LEVELS; l++) {
        need[l] = summary_needed(pa, l, base, limit);
        if (!map_range(pa, need[l], "page summary"))
            goto undo;
    }
    size_t min, max;
    if (!map_range(pa, scav_needed(pa, base, limit, &min, &max), "scavenge index"))
        goto undo;
    pa->scav.mapped_min = min;
    pa->scav.mapped_max = max;
    return true;
undo:
    while (l-- > 0)
        unmap_range(pa, need[l]);
    return false;
}

/* Allocates the second level of the chunk bitmaps where it is missing. What a failure leaves behind
 * is found and used by the next attempt. */
static bool ensure_chunks(struct pagealloc *pa, size_t first, size_t end)
{
    size_t bytes = sizeof(struct chunk_data) << pa->chunks_l2_bits;
    for (size_t i = first >> pa->chunks_l2_bits; i <= (end - 1) >> pa->chunks_l2_bits; i++) {
        if (pa->chunks[i] != NULL)
            continue;
        pa->chunks[i] = os_alloc(pa->om, bytes, pa->stat, "page bitmaps");
        if (pa->chunks[i] == NULL)
            return false;
        os_no_huge_page(pa->om, pa->chunks[i], bytes);
    }
    return true;
}

bool pagealloc_grow(struct pagealloc *pa, uintptr_t base, size_t size)
{
    ASSERT_HELD(pa->lock);
    uintptr_t limit = base + size;
    ASSERT(size > 0 && chunk_base(pa, chunk_index(pa, base)) == base &&
           chunk_base(pa, chunk_index(pa, limit)) == limit);
    size_t first = chunk_index(pa, base), end = chunk_index(pa, limit);
    if (!ensure_chunks(pa, first, end) || !ranges_reserve(&pa->in_use) ||
        !map_metadata(pa, base, limit))
        return false;

    if (pa->start == 0 || first < pa->start)
        pa->start = first;
    pa->end = MAX(pa->end, end);
    if (pa->scav.min_chunk == 0 || first < pa->scav.min_chunk)
        pa->scav.min_chunk = first;
    ranges_add(&pa->in_use, (struct range){base, limit});
    pa->search_addr = MIN(pa->search_addr, base);
    for (size_t c = first; c < end; c++)
        page_bits_set_range(&chunk_of(pa, c)->scavenged, 0, CHUNK_PAGES);
    pagealloc_update(pa, base, size >> pa->page_shift, true, false);
    return true;
}

/* --- Summaries --- */

void pagealloc_update(struct pagealloc *pa, uintptr_t base, size_t npages, bool contiguous,
                      bool allocated)
{
    ASSERT_HELD(pa->lock);
    uintptr_t last = base + (npages << pa->page_shift) - 1;
    size_t first_chunk = chunk_index(pa, base), last_chunk = chunk_index(pa, last);
    page_summary *leaves = pa->summary[SUMMARY_LEVELS - 1];

    if (first_chunk == last_chunk) {
        page_summary sum = page_bits_summarize(&chunk_of(pa, first_chunk)->alloc);
        if (sum == leaves[first_chunk])
            return;
        leaves[first_chunk] = sum;
    } else {
        for (size_t c = first_chunk; c <= last_chunk; c++) {
            bool inner = c > first_chunk && c < last_chunk;
            if (contiguous && inner)
                leaves[c] = allocated ? 0 : summary_free_chunk();
            else
                leaves[c] = page_bits_summarize(&chunk_of(pa, c)->alloc);
        }
    }
    bool changed = true;
    for (unsigned l = SUMMARY_LEVELS - 1; l-- > 0 && changed;) {
        changed = false;
        unsigned child_bits = pa->level_bits[l + 1];
        for (size_t i = base >> pa->level_shift[l]; i <= last >> pa->level_shift[l]; i++) {
            page_summary sum = summary_merge(&pa->summary[l + 1][i << child_bits], 1u << child_bits,
                                             level_log_pages(l + 1));
            changed |= sum != pa->summary[l][i];
            pa->summary[l][i] = sum;
        }
    }
}

/* --- Searching --- */

/* The first address range a search met that contains free pages: it narrows while the search
 * descends, and its base becomes the new search address. */
struct first_free {
    uintptr_t base, last;
};

static void first_free_met(struct first_free *f, uintptr_t addr, size_t size)
{
    if (f->base <= addr && addr + size - 1 <= f->last)
        *f = (struct first_free){addr, addr + size - 1};
}

static uintptr_t mapped_search_addr(struct pagealloc *pa, uintptr_t addr)
{
    uintptr_t found;
    return ranges_find(&pa->in_use, addr, &found) ? found : MAX_SEARCH_ADDR;
}

_Noreturn static void bad_summary(const struct pagealloc *pa, unsigned level, size_t npages)
{
    fprintf(stderr, "gomem: bad page summary at level %u looking for %zu pages from 0x%zx\n", level,
            npages, (size_t)pa->search_addr);
    abort();
}

uintptr_t pagealloc_find(struct pagealloc *pa, size_t npages, uintptr_t *new_search_addr)
{
    ASSERT_HELD(pa->lock);
    struct first_free first = {0, MAX_SEARCH_ADDR};
    size_t index = 0; /* of the entry descended into, then of the first entry of its children */
    for (unsigned l = 0; l < SUMMARY_LEVELS; l++) {
        size_t nentries = (size_t)1 << pa->level_bits[l];
        unsigned log_pages = level_log_pages(l);
        index <<= pa->level_bits[l];
        const page_summary *entries = &pa->summary[l][index];
        /* Skip what lies below search_addr, if it is in this block at all. */
        size_t skip = pa->search_addr >> pa->level_shift[l];
        size_t j = (skip & ~(nentries - 1)) == index ? skip & (nentries - 1) : 0;

        uint64_t run = 0, run_base = 0; /* free pages ending at entry j, and where they begin */
        bool descend = false;
        for (; j < nentries; j++) {
            page_summary sum = entries[j];
            if (sum == 0) {
                run = 0;
                continue;
            }
            first_free_met(&first, (index + j) << pa->level_shift[l],
                           (size_t)1 << pa->level_shift[l]);
            uint64_t start = summary_start(sum), whole = (uint64_t)1 << log_pages;
            if (run + start >= npages) {
                if (run == 0)
                    run_base = (uint64_t)j << log_pages;
                run += start;
                break;
            }
            if (summary_max(sum) >= npages) {
                index += j;
                descend = true;
                break;
            }
            if (run == 0 || start < whole) {
                run = summary_end(sum);
                run_base = ((uint64_t)(j + 1) << log_pages) - run;
            } else {
                run += whole;
            }
        }
        if (descend)
            continue;
        if (run >= npages) {
            *new_search_addr = mapped_search_addr(pa, first.base);
            return (index << pa->level_shift[l]) + (run_base << pa->page_shift);
        }
        if (l > 0)
            bad_summary(pa, l, npages);
        *new_search_addr = MAX_SEARCH_ADDR;
        return 0;
    }
    unsigned first_page;
    unsigned page = page_bits_find(&chunk_of(pa, index)->alloc, (unsigned)npages, 0, &first_page);
    if (page == NO_PAGE)
        bad_summary(pa, SUMMARY_LEVELS, npages);
    uintptr_t base = chunk_base(pa, index), free_base = base + ((uintptr_t)first_page << pa->page_shift);
    first_free_met(&first, free_base, chunk_base(pa, index + 1) - free_base);
    *new_search_addr = mapped_search_addr(pa, first.base);
    return base + ((uintptr_t)page << pa->page_shift);
}

/* --- Allocating and freeing --- */

/* Splits [base, base + npages) at chunk boundaries: body sees chunk, page, n. */
#define FOR_CHUNKS(pa, base, npages, chunk, page, n, body)                                         \
    do {                                                                                           \
        size_t left_ = (npages), chunk = chunk_index(pa, base);                                    \
        unsigned page = chunk_page(pa, base);                                                      \
        while (left_ > 0) {                                                                        \
            unsigned n = (unsigned)MIN(left_, CHUNK_PAGES - page);                                 \
            body;                                                                                  \
            left_ -= n;                                                                            \
            page = 0;                                                                              \
            chunk++;                                                                               \
        }                                                                                          \
    } while (0)

size_t pagealloc_scavenged(const struct pagealloc *pa, uintptr_t base, size_t npages)
{
    ASSERT_HELD(pa->lock);
    size_t scavenged = 0;
    FOR_CHUNKS(pa, base, npages, chunk, page, n,
               scavenged += page_bits_count_range(&chunk_of(pa, chunk)->scavenged, page, n));
    return scavenged << pa->page_shift;
}

void pagealloc_alloc_range(struct pagealloc *pa, uintptr_t base, size_t npages)
{
    ASSERT_HELD(pa->lock);
    FOR_CHUNKS(pa, base, npages, chunk, page, n, {
        struct chunk_data *c = chunk_of(pa, chunk);
        ASSERT_SLOW(page_bits_count_range(&c->alloc, page, n) == 0);
        page_bits_set_range(&c->alloc, page, n);
        page_bits_clear_range(&c->scavenged, page, n);
        scav_index_alloc(&pa->scav, chunk, n);
    });
    pagealloc_update(pa, base, npages, true, true);
}

uintptr_t pagealloc_peek(struct pagealloc *pa, size_t npages, uintptr_t *new_search_addr)
{
    ASSERT_HELD(pa->lock);
    if (chunk_index(pa, pa->search_addr) >= pa->end)
        return 0;
    /* Most often the chunk of search_addr has room: no need to start at the root. */
    size_t chunk = chunk_index(pa, pa->search_addr);
    unsigned page = chunk_page(pa, pa->search_addr);
    if (CHUNK_PAGES - page >= npages &&
        summary_max(pa->summary[SUMMARY_LEVELS - 1][chunk]) >= npages) {
        unsigned first;
        unsigned found = page_bits_find(&chunk_of(pa, chunk)->alloc, (unsigned)npages, page, &first);
        if (found == NO_PAGE)
            bad_summary(pa, SUMMARY_LEVELS, npages);
        *new_search_addr = chunk_base(pa, chunk) + ((uintptr_t)first << pa->page_shift);
        return chunk_base(pa, chunk) + ((uintptr_t)found << pa->page_shift);
    }
    uintptr_t addr = pagealloc_find(pa, npages, new_search_addr);
    if (addr == 0 && npages == 1)
        pa->search_addr = MAX_SEARCH_ADDR;
    return addr;
}

void pagealloc_free(struct pagealloc *pa, uintptr_t base, size_t npages)
{
    ASSERT_HELD(pa->lock);
    pa->search_addr = MIN(pa->search_addr, base);
    FOR_CHUNKS(pa, base, npages, chunk, page, n, {
        struct chunk_data *c = chunk_of(pa, chunk);
        CHECK_OP(page_bits_count_range(&c->alloc, page, n), ==, n);
        page_bits_clear_range(&c->alloc, page, n);
        scav_index_free(&pa->scav, chunk, n);
    });
    pagealloc_update(pa, base, npages, true, false);
}

/* --- Checking --- */

__attribute__((format(printf, 3, 4))) static bool broken(char *why, size_t size,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

static bool verify_chunk(struct pagealloc *pa, size_t c, char *why, size_t why_size)
{
    const struct chunk_data *d = chunk_of(pa, c);
    const struct scav_chunk *s = &pa->scav.chunks[c];
    bool free_backed = false;
    for (unsigned i = 0; i < CHUNK_WORDS; i++) {
        if (d->alloc.w[i] & d->scavenged.w[i])
            return broken(why, why_size, "chunk %zu word %u: a page is in use and scavenged", c, i);
        free_backed |= ~(d->alloc.w[i] | d->scavenged.w[i]) != 0;
    }
    if (s->in_use != page_bits_count_range(&d->alloc, 0, CHUNK_PAGES))
        return broken(why, why_size, "chunk %zu: scavenge index counts %u pages in use, not %u", c,
                      s->in_use, page_bits_count_range(&d->alloc, 0, CHUNK_PAGES));
    if (free_backed && !s->has_free && pa->om->page_size <= (size_t)1 << pa->page_shift)
        return broken(why, why_size, "chunk %zu: scavenge index misses a free page", c);
    if (pa->summary[SUMMARY_LEVELS - 1][c] != page_bits_summarize(&d->alloc))
        return broken(why, why_size, "chunk %zu: stale leaf summary", c);
    unsigned first;
    page_bits_find(&d->alloc, 1, 0, &first);
    if (first != NO_PAGE &&
        chunk_base(pa, c) + ((uintptr_t)first << pa->page_shift) < pa->search_addr)
        return broken(why, why_size, "chunk %zu page %u is free but below the search address", c,
                      first);
    return true;
}

bool pagealloc_verify(struct pagealloc *pa, char *why, size_t why_size)
{
    ASSERT_HELD(pa->lock);
    if (!ranges_verify(&pa->in_use))
        return broken(why, why_size, "the grown address ranges are not sorted and disjoint");
    for (size_t r = 0; r < pa->in_use.n; r++) {
        struct range range = pa->in_use.ranges[r];
        for (size_t c = chunk_index(pa, range.base); c < chunk_index(pa, range.limit); c++)
            if (!verify_chunk(pa, c, why, why_size))
                return false;
        for (unsigned l = 0; l + 1 < SUMMARY_LEVELS; l++)
            for (size_t i = range.base >> pa->level_shift[l];
                 i <= (range.limit - 1) >> pa->level_shift[l]; i++) {
                unsigned bits = pa->level_bits[l + 1];
                if (pa->summary[l][i] != summary_merge(&pa->summary[l + 1][i << bits], 1u << bits,
                                                       level_log_pages(l + 1)))
                    return broken(why, why_size, "level %u entry %zu: stale summary", l, i);
            }
    }
    return true;
}
