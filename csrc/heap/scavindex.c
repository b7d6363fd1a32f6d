/* The scavenger's index over chunks.
 *
 * Called through scavindex.h.
 *
 * Concurrency: see scavindex.h.
 * Go: scavengeIndex in mgcscavenge.go.
 */
#include "heap/scavindex.h"

#include "base/check.h"

static void enter_gen(struct scav_index *s, struct scav_chunk *c)
{
    if (c->gen != s->gen) {
        c->last_in_use = c->in_use;
        c->gen = s->gen & 0x7fffffff;
    }
}

void scav_index_alloc(struct scav_index *s, size_t chunk, unsigned npages)
{
    struct scav_chunk *c = &s->chunks[chunk];
    enter_gen(s, c);
    CHECK_OP(c->in_use + npages, <=, CHUNK_PAGES);
    c->in_use = (uint16_t)(c->in_use + npages);
    if (c->in_use == CHUNK_PAGES)
        c->has_free = 0;
}

void scav_index_free(struct scav_index *s, size_t chunk, unsigned npages)
{
    struct scav_chunk *c = &s->chunks[chunk];
    enter_gen(s, c);
    CHECK_OP(c->in_use, >=, npages);
    c->in_use = (uint16_t)(c->in_use - npages);
    c->has_free = 1;
    s->free_high = MAX(s->free_high, chunk);
    s->force = MAX(s->force, chunk);
}

static bool should_scavenge(const struct scav_index *s, const struct scav_chunk *c, bool force)
{
    if (!c->has_free)
        return false;
    if (force)
        return true;
    if (c->gen == (s->gen & 0x7fffffff) && c->last_in_use >= SCAV_CHUNK_HIGH_OCCUPANCY)
        return false;
    return c->in_use < SCAV_CHUNK_HIGH_OCCUPANCY;
}

size_t scav_index_find(struct scav_index *s, bool force)
{
    size_t *cursor = force ? &s->force : &s->background;
    size_t i = *cursor;
    while (i > 0 && i >= s->min_chunk && !should_scavenge(s, &s->chunks[i], force))
        i--;
    *cursor = i >= s->min_chunk ? i : 0;
    return *cursor;
}

void scav_index_set_empty(struct scav_index *s, size_t chunk)
{
    s->chunks[chunk].has_free = 0;
}

void scav_index_next_gen(struct scav_index *s)
{
    s->gen++;
    s->background = MAX(s->background, s->free_high);
    s->free_high = 0;
}
