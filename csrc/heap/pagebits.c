/* Searching and summarising the bitmap of a chunk.
 *
 * Called through pagebits.h.
 *
 * Concurrency: see pagebits.h.
 * Go: mpallocbits.go.
 */
#include "heap/pagebits.h"

#include "base/check.h"

/* Calls `op` on each word the range [i, i + n) touches, with the mask of the range in that word. */
#define FOR_RANGE_WORDS(i, n, word, mask, op)                                                      \
    do {                                                                                           \
        unsigned first_ = (i), end_ = (i) + (n);                                                   \
        ASSERT((n) > 0 && end_ <= CHUNK_PAGES);                                                    \
        while (first_ < end_) {                                                                    \
            unsigned word = first_ / 64, bit_ = first_ % 64, len_ = MIN(64 - bit_, end_ - first_); \
            uint64_t mask = low_mask64(len_) << bit_;                                              \
            op;                                                                                    \
            first_ += len_;                                                                        \
        }                                                                                          \
    } while (0)

void page_bits_set_range(struct page_bits *b, unsigned i, unsigned n)
{
    FOR_RANGE_WORDS(i, n, word, mask, b->w[word] |= mask);
}

void page_bits_clear_range(struct page_bits *b, unsigned i, unsigned n)
{
    FOR_RANGE_WORDS(i, n, word, mask, b->w[word] &= ~mask);
}

unsigned page_bits_count_range(const struct page_bits *b, unsigned i, unsigned n)
{
    unsigned count = 0;
    FOR_RANGE_WORDS(i, n, word, mask, count += ones_count64(b->w[word] & mask));
    return count;
}

unsigned find_bit_range64(uint64_t c, unsigned n)
{
    ASSERT(n >= 1 && n <= 64);
    /* After removing r ones from the top of every run, a run of n ones has n - r left. Each round
     * doubles the number that one shift can remove. */
    unsigned left = n - 1, step = 1;
    while (left > 0 && c != 0) {
        unsigned shift = MIN(left, step);
        c &= c >> shift;
        left -= shift;
        step *= 2;
    }
    return trailing_zeros64(c);
}

unsigned page_bits_find(const struct page_bits *b, unsigned n, unsigned from, unsigned *first_free)
{
    unsigned run = 0; /* free pages that end where the current word begins */
    *first_free = NO_PAGE;
    for (unsigned i = from / 64; i < CHUNK_WORDS; i++) {
        uint64_t used = b->w[i];
        if (~used == 0) {
            run = 0;
            continue;
        }
        if (*first_free == NO_PAGE)
            *first_free = i * 64 + trailing_zeros64(~used);
        unsigned start = trailing_zeros64(used);
        if (run + start >= n)
            return i * 64 - run;
        if (used == 0) {
            run += 64;
            continue;
        }
        if (n <= 64) {
            unsigned j = find_bit_range64(~used, n);
            if (j < 64)
                return i * 64 + j;
        }
        run = leading_zeros64(used);
    }
    return NO_PAGE;
}

/* The longest run of zeros strictly inside x (touching neither end), if longer than `most`. */
static unsigned longest_inner_run(uint64_t x, unsigned most)
{
    uint64_t zeros = ~x;
    if (x == 0)
        return most;
    zeros &= ~low_mask64(trailing_zeros64(x));
    zeros &= low_mask64(64 - leading_zeros64(x));
    while (zeros != 0 && find_bit_range64(zeros, most + 1) < 64) {
        /* A longer run exists: grow by the run's true length. */
        unsigned at = find_bit_range64(zeros, most + 1);
        unsigned length = trailing_zeros64(~(zeros >> at));
        most = length;
        zeros &= ~(low_mask64(length) << at);
    }
    return most;
}

page_summary page_bits_summarize(const struct page_bits *b)
{
    unsigned start = NO_PAGE, most = 0, run = 0;
    for (unsigned i = 0; i < CHUNK_WORDS; i++) {
        uint64_t used = b->w[i];
        if (used == 0) {
            run += 64;
            continue;
        }
        run += trailing_zeros64(used);
        if (start == NO_PAGE)
            start = run;
        most = MAX(most, run);
        run = leading_zeros64(used);
    }
    if (start == NO_PAGE)
        return summary_free_chunk();
    most = MAX(most, run);
    /* Runs that cross words are counted; inside a word none is longer than 62. */
    for (unsigned i = 0; i < CHUNK_WORDS && most < 62; i++)
        most = longest_inner_run(b->w[i], most);
    return summary_pack(start, most, run);
}

page_summary summary_merge(const page_summary *sums, unsigned n, unsigned log_pages)
{
    uint64_t whole = (uint64_t)1 << log_pages;
    uint64_t start = summary_start(sums[0]), most = summary_max(sums[0]), end = summary_end(sums[0]);
    for (unsigned i = 1; i < n; i++) {
        uint64_t si = summary_start(sums[i]), mi = summary_max(sums[i]), ei = summary_end(sums[i]);
        if (start == i * whole)
            start += si;
        most = MAX(most, MAX(end + si, mi));
        end = ei == whole ? end + whole : ei;
    }
    return summary_pack(start, most, end);
}
