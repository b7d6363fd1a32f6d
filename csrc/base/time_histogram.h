/* Counting durations in runtime/metrics' buckets.
 *
 * The first bucket is for negative durations, the last for those beyond all others. Between them each power
 * of two is four buckets; those below the first have four in common.
 *
 * Called by sched/ and gc/, which have such histograms; gomem_time_bucket (gc/stats.c) is the way back.
 *
 * Concurrency: one writer at a time; who only reads may do so meanwhile, and sees each count whole.
 * Go: histogram.go.
 */
#ifndef GOMEM_BASE_TIME_HISTOGRAM_H
#define GOMEM_BASE_TIME_HISTOGRAM_H

#include "base/atomic.h"
#include "base/bits.h"
#include "gomem.h"

enum {
    MIN_BUCKET_BITS = 9,  /* durations of fewer bits share the first power */
    MAX_BUCKET_BITS = 48, /* those of more are beyond the last */
    SUB_BUCKET_BITS = 2,
    SUB_BUCKETS = 1 << SUB_BUCKET_BITS,
};

_Static_assert((MAX_BUCKET_BITS - MIN_BUCKET_BITS + 1) * SUB_BUCKETS + 2 == GOMEM_TIME_BUCKETS,
               "a bucket for each highest bit, in parts, and two for what is outside");

static inline unsigned time_bucket_of(int64_t ns)
{
    if (ns < 0)
        return 0;
    unsigned bits = MAX((unsigned)len64((uint64_t)ns), MIN_BUCKET_BITS - 1u);
    if (bits >= MAX_BUCKET_BITS)
        return GOMEM_TIME_BUCKETS - 1;
    unsigned shift = MAX(bits, MIN_BUCKET_BITS) - 1 - SUB_BUCKET_BITS;
    unsigned part = (unsigned)(ns >> shift) % SUB_BUCKETS;
    return 1 + (bits - (MIN_BUCKET_BITS - 1)) * SUB_BUCKETS + part;
}

static inline void time_histogram_record(struct gomem_time_histogram *h, int64_t ns)
{
    owner_add_relaxed(&h->counts[time_bucket_of(ns)], 1);
}

static inline void time_histogram_read(const struct gomem_time_histogram *h,
                                       struct gomem_time_histogram *out)
{
    for (unsigned i = 0; i < GOMEM_TIME_BUCKETS; i++)
        out->counts[i] = load_relaxed(&h->counts[i]);
}

#endif
