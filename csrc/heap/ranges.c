/* Sorted, joined address ranges.
 *
 * Called through ranges.h.
 *
 * Concurrency: see ranges.h.
 * Go: mranges.go.
 */
#include "heap/ranges.h"

#include <string.h>

#include "base/bits.h"

enum { RANGES_INITIAL = 16 };

struct range range_subtract(struct range a, struct range b)
{
    if (b.base <= a.base && a.limit <= b.limit)
        return (struct range){0, 0};
    ASSERT(!(a.base < b.base && b.limit < a.limit));
    if (b.limit < a.limit && a.base < b.limit)
        a.base = b.limit;
    else if (a.base < b.base && b.base < a.limit)
        a.limit = b.base;
    return a;
}

void ranges_init(struct ranges *rs, struct persistent *p, struct os_stat *stat)
{
    *rs = (struct ranges){.persistent = p, .stat = stat};
}

bool ranges_reserve(struct ranges *rs)
{
    if (rs->n < rs->capacity)
        return true;
    size_t capacity = MAX(RANGES_INITIAL, 2 * rs->capacity);
    struct range *grown =
        persistent_alloc(rs->persistent, capacity * sizeof *grown, sizeof(void *), rs->stat);
    if (grown == NULL)
        return false;
    if (rs->n > 0)
        memcpy(grown, rs->ranges, rs->n * sizeof *grown);
    rs->ranges = grown;
    rs->capacity = capacity;
    return true;
}

size_t ranges_successor(const struct ranges *rs, uintptr_t addr)
{
    size_t low = 0, high = rs->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (rs->ranges[mid].base > addr)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

bool ranges_find(const struct ranges *rs, uintptr_t addr, uintptr_t *found)
{
    size_t i = ranges_successor(rs, addr);
    if (i > 0 && addr < rs->ranges[i - 1].limit)
        *found = addr;
    else if (i < rs->n)
        *found = rs->ranges[i].base;
    else
        return false;
    return true;
}

void ranges_add(struct ranges *rs, struct range r)
{
    ASSERT(range_size(r) > 0 && rs->n < rs->capacity);
    size_t i = ranges_successor(rs, r.base);
    bool joins_below = i > 0 && rs->ranges[i - 1].limit == r.base;
    bool joins_above = i < rs->n && rs->ranges[i].base == r.limit;
    rs->total_bytes += range_size(r);
    if (joins_below && joins_above) {
        rs->ranges[i - 1].limit = rs->ranges[i].limit;
        memmove(&rs->ranges[i], &rs->ranges[i + 1], (rs->n - i - 1) * sizeof r);
        rs->n--;
    } else if (joins_below) {
        rs->ranges[i - 1].limit = r.limit;
    } else if (joins_above) {
        rs->ranges[i].base = r.base;
    } else {
        memmove(&rs->ranges[i + 1], &rs->ranges[i], (rs->n - i) * sizeof r);
        rs->ranges[i] = r;
        rs->n++;
    }
}

bool ranges_verify(const struct ranges *rs)
{
    size_t total = 0;
    for (size_t i = 0; i < rs->n; i++) {
        if (rs->ranges[i].base >= rs->ranges[i].limit ||
            (i > 0 && rs->ranges[i - 1].limit >= rs->ranges[i].base))
            return false;
        total += range_size(rs->ranges[i]);
    }
    return total == rs->total_bytes;
}
