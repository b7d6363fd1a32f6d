/* A sorted set of disjoint address ranges; neighbours that touch are joined.
 *
 * Called by the page allocator to know which addresses the heap has grown into.
 *
 * Invariant (ranges_verify): base < limit for each, ranges[i].limit < ranges[i + 1].base, and
 * total_bytes is the sum of their sizes.
 *
 * Concurrency: guarded by the page allocator's lock.
 * Go: mranges.go (addrRanges).
 */
#ifndef GOMEM_HEAP_RANGES_H
#define GOMEM_HEAP_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/persistent.h"

struct range {
    uintptr_t base, limit;
};

static inline size_t range_size(struct range r)
{
    return r.base < r.limit ? r.limit - r.base : 0;
}

/* The part of a outside b. pre: b does not lie strictly inside a. */
struct range range_subtract(struct range a, struct range b);

struct ranges {
    struct range *ranges;
    size_t n, capacity;
    size_t total_bytes;
    struct persistent *persistent; /* const */
    struct os_stat *stat;          /* const */
};

void ranges_init(struct ranges *rs, struct persistent *p, struct os_stat *stat);
/* Makes room for one more range; false if the OS refuses. After it ranges_add cannot fail. */
MUST_USE bool ranges_reserve(struct ranges *rs);
/* pre: r is not empty, overlaps none of rs, ranges_reserve succeeded. */
void ranges_add(struct ranges *rs, struct range r);
/* Index of the first range whose base is above addr; n if there is none. */
size_t ranges_successor(const struct ranges *rs, uintptr_t addr);
/* The smallest address >= addr inside a range; false if there is none. */
bool ranges_find(const struct ranges *rs, uintptr_t addr, uintptr_t *found);
bool ranges_verify(const struct ranges *rs);

#endif
