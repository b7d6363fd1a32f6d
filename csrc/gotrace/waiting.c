/* Queues under keys.
 *
 * Called through waiting.h.
 *
 * Concurrency: see waiting.h.
 * Go: no counterpart.
 */
#include "gotrace/waiting.h"

#include "gotrace/grow.h"

void waiting_init(struct waiting *w)
{
    *w = (struct waiting){.nentries = 1};
    map_init(&w->map);
}

void waiting_free(struct waiting *w)
{
    map_free(&w->map);
    free(w->entries);
    w->entries = NULL;
}

static uint32_t take_entry(struct waiting *w)
{
    uint32_t entry = w->free;
    if (entry != 0) {
        w->free = w->entries[entry].next;
        return entry;
    }
    if (w->nentries == UINT32_MAX)
        return 0;
    struct waiting_entry *grown =
        array_grow(w->entries, &w->capacity, w->nentries, 1, sizeof *grown);
    if (grown == NULL)
        return 0;
    w->entries = grown;
    return (uint32_t)w->nentries++;
}

COLD bool waiting_add(struct waiting *w, uint64_t key, uint32_t number)
{
    uint32_t entry = take_entry(w);
    if (entry == 0)
        return false;
    uint32_t *first = map_put(&w->map, key);
    if (first == NULL)
        return false; /* and the reader gives up: the entry is not missed */
    w->entries[entry] = (struct waiting_entry){.number = number};
    if (*first == 0)
        *first = entry;
    else
        w->entries[w->entries[*first].last].next = entry;
    w->entries[*first].last = entry;
    w->n++;
    return true;
}

COLD uint32_t waiting_take(struct waiting *w, uint64_t key)
{
    uint32_t *first = map_get(&w->map, key);
    if (first == NULL)
        return 0;
    uint32_t entry = *first, next = w->entries[entry].next;
    if (next == 0) {
        map_remove(&w->map, key);
    } else {
        w->entries[next].last = w->entries[entry].last;
        *first = next;
    }
    w->entries[entry].next = w->free;
    w->free = entry;
    w->n--;
    return w->entries[entry].number;
}
