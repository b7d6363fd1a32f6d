/* A hash map from 64-bit numbers (addresses, ids) to 32-bit ones (indices).
 *
 * Used by the reader for what a trace names by numbers of its own choosing: chunks of address
 * space, stacks, goroutines, types. The hash has a random multiplier, so that no file can be made
 * to collide.
 *
 * Invariant: at most three quarters of the cells are taken; an entry lies between its home cell and
 * the next free one.
 *
 * Concurrency: none; owned by the reader.
 * Go: no counterpart; a Go program would use a map.
 */
#ifndef GOMEM_GOTRACE_MAP_H
#define GOMEM_GOTRACE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct map_cell {
    uint64_t key;
    uint32_t value;
    uint32_t used;
};

struct map {
    struct map_cell *cells; /* 2^(64 - shift), NULL before the first entry */
    uint64_t multiplier;    /* odd, random */
    size_t n;
    unsigned shift;
};

void map_init(struct map *m);
void map_free(struct map *m);
/* The value of key, made 0 if there was none; NULL: out of memory. Valid until the next change. */
uint32_t *map_put(struct map *m, uint64_t key);
void map_remove(struct map *m, uint64_t key);

static inline size_t map_home(const struct map *m, uint64_t key)
{
    return (size_t)(key * m->multiplier >> m->shift);
}

static inline size_t map_mask(const struct map *m)
{
    return ((size_t)1 << (64 - m->shift)) - 1;
}

/* NULL if there is none. */
static inline uint32_t *map_get(const struct map *m, uint64_t key)
{
    if (UNLIKELY(m->n == 0))
        return NULL;
    size_t mask = map_mask(m);
    for (size_t i = map_home(m, key); m->cells[i].used; i = (i + 1) & mask)
        if (LIKELY(m->cells[i].key == key))
            return &m->cells[i].value;
    return NULL;
}

#endif
