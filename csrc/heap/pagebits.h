/* Bitmaps of one chunk of 512 pages, and what a chunk's bitmap looks like from outside: how many
 * free pages it starts with, ends with, and has at most in a row.
 *
 * Called by pagealloc (bit set = page in use), pagecache and scavenge (bit set = scavenged).
 *
 * Concurrency: guarded by the page allocator's lock.
 * Go: mpallocbits.go, and pallocSum in mpagealloc.go.
 */
#ifndef GOMEM_HEAP_PAGEBITS_H
#define GOMEM_HEAP_PAGEBITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"

enum {
    LOG_CHUNK_PAGES = 9,
    CHUNK_PAGES = 1 << LOG_CHUNK_PAGES,
    CHUNK_WORDS = CHUNK_PAGES / 64,
    SUMMARY_LEVELS = 5,
    SUMMARY_LEVEL_BITS = 3,
    LOG_MAX_PACKED = LOG_CHUNK_PAGES + (SUMMARY_LEVELS - 1) * SUMMARY_LEVEL_BITS,
};

#define NO_PAGE UINT32_MAX

struct page_bits {
    uint64_t w[CHUNK_WORDS];
};

/* pre for all ranges: n > 0, i + n <= CHUNK_PAGES. */
void page_bits_set_range(struct page_bits *b, unsigned i, unsigned n);
void page_bits_clear_range(struct page_bits *b, unsigned i, unsigned n);
unsigned page_bits_count_range(const struct page_bits *b, unsigned i, unsigned n);

/* First run of n clear bits at or after bit `from` rounded down to a word; NO_PAGE if there is none.
 * *first_free receives the first clear bit met, NO_PAGE if none: no search for fewer pages need
 * start before it. */
unsigned page_bits_find(const struct page_bits *b, unsigned n, unsigned from, unsigned *first_free);

/* Index of the first run of n ones in c, 64 if there is none. pre: 1 <= n <= 64. */
unsigned find_bit_range64(uint64_t c, unsigned n);

/* Three numbers of 21 bits in a word: free pages at the start, in the longest run, at the end.
 * 2^21 needs a bit more; as only a wholly free region has it, bit 63 alone says so. */
typedef uint64_t page_summary;

#define MAX_PACKED   ((uint64_t)1 << LOG_MAX_PACKED)
#define SUMMARY_FULL ((page_summary)1 << 63)

static inline page_summary summary_pack(uint64_t start, uint64_t max, uint64_t end)
{
    if (max == MAX_PACKED)
        return SUMMARY_FULL;
    return start | max << LOG_MAX_PACKED | end << (2 * LOG_MAX_PACKED);
}

static inline uint64_t summary_start(page_summary s)
{
    return s & SUMMARY_FULL ? MAX_PACKED : s & (MAX_PACKED - 1);
}

static inline uint64_t summary_max(page_summary s)
{
    return s & SUMMARY_FULL ? MAX_PACKED : s >> LOG_MAX_PACKED & (MAX_PACKED - 1);
}

static inline uint64_t summary_end(page_summary s)
{
    return s & SUMMARY_FULL ? MAX_PACKED : s >> (2 * LOG_MAX_PACKED) & (MAX_PACKED - 1);
}

/* The summary of one chunk whose set bits are pages in use. */
page_summary page_bits_summarize(const struct page_bits *b);
/* The summary of n neighbours, each of 2^log_pages pages. */
page_summary summary_merge(const page_summary *sums, unsigned n, unsigned log_pages);

static inline page_summary summary_free_chunk(void)
{
    return summary_pack(CHUNK_PAGES, CHUNK_PAGES, CHUNK_PAGES);
}

#endif
