/* Growing and shrinking of maps.
 *
 * Called through map.h.
 *
 * Concurrency: see map.h.
 * Go: no counterpart.
 */
#include "gotrace/map.h"

#include <stdlib.h>

#include "base/rng.h"
#include "platform/clock.h"

enum { MAP_FIRST_SHIFT = 64 - 6 };

void map_init(struct map *m)
{
    /* Where things are in memory and what time it is are not in the file. */
    struct rng rng = {.state = (uint64_t)clock_nanotime() ^ (uint64_t)(uintptr_t)m};
    *m = (struct map){.multiplier = rng_next(&rng) | 1, .shift = MAP_FIRST_SHIFT + 1};
}

void map_free(struct map *m)
{
    free(m->cells);
    m->cells = NULL;
    m->n = 0;
}

/* The cell of key, or the free one where it belongs. pre: there are cells. */
static struct map_cell *find(const struct map *m, uint64_t key)
{
    size_t mask = map_mask(m), i = map_home(m, key);
    while (m->cells[i].used && m->cells[i].key != key)
        i = (i + 1) & mask;
    return &m->cells[i];
}

static bool grow(struct map *m)
{
    struct map bigger = *m;
    bigger.shift = m->shift - 1;
    bigger.cells = calloc(map_mask(&bigger) + 1, sizeof *bigger.cells);
    if (bigger.cells == NULL)
        return false;
    size_t ncells = m->cells == NULL ? 0 : map_mask(m) + 1;
    for (size_t i = 0; i < ncells; i++)
        if (m->cells[i].used)
            *find(&bigger, m->cells[i].key) = m->cells[i];
    free(m->cells);
    *m = bigger;
    return true;
}

uint32_t *map_put(struct map *m, uint64_t key)
{
    size_t ncells = m->cells == NULL ? 0 : map_mask(m) + 1;
    if (4 * (m->n + 1) > 3 * ncells && !grow(m))
        return NULL;
    struct map_cell *cell = find(m, key);
    if (!cell->used) {
        *cell = (struct map_cell){.key = key, .used = 1};
        m->n++;
    }
    return &cell->value;
}

void map_remove(struct map *m, uint64_t key)
{
    if (m->n == 0)
        return;
    struct map_cell *hole = find(m, key);
    if (!hole->used)
        return;
    m->n--;
    /* Entries behind the hole move up, unless they are at home between it and where they are. */
    size_t mask = map_mask(m), at = (size_t)(hole - m->cells);
    for (size_t i = (at + 1) & mask; m->cells[i].used; i = (i + 1) & mask) {
        size_t home = map_home(m, m->cells[i].key);
        if (((i - home) & mask) >= ((i - at) & mask)) {
            m->cells[at] = m->cells[i];
            at = i;
        }
    }
    m->cells[at].used = 0;
}
