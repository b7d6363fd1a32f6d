/* Iterating over a map that may change meanwhile.
 *
 * An iteration begins at a random entry of a random table. It goes on through the tables as they were: when
 * a table was replaced by a larger one, or by two, its old groups say which keys are to come, and the map
 * whether they are still there and what they lead to now. So no entry comes twice, and every one that was
 * there from the beginning to the end comes once.
 *
 * Called through map.h.
 *
 * Concurrency: see map.h. The roots are the iterator's; what they hold may be garbage of the map.
 * Go: Iter in internal/runtime/maps/table.go.
 */
#include "object/hash.h"
#include "object/map.h"

enum { ROOT_MAP, ROOT_TABLE, ROOT_GROUP };

static struct map *map_of(uint64_t *const roots[3])
{
    return pointer_load(roots[ROOT_MAP]);
}

void maps_iter_init(struct p *p, struct map *m, struct map_iter *it, uint64_t *const roots[3])
{
    *it = (struct map_iter){.dir_index = 0};
    bool empty = m == NULL || m->used == 0;
    pointer_store(p, roots[ROOT_MAP], empty ? NULL : m);
    pointer_store(p, roots[ROOT_TABLE], NULL);
    pointer_store(p, roots[ROOT_GROUP], NULL);
    if (empty)
        return;
    it->entry_offset = rng_next(&p->random);
    it->dir_offset = rng_next(&p->random);
    it->global_depth = m->global_depth;
    it->clear_seq = m->clear_seq;
    if (m->dir_len == 0) {
        it->dir_index = -1;
        pointer_store(p, roots[ROOT_GROUP], m->dir);
    }
}

/* What the entry in a slot is now. replaced: the slot is one of former times. false: it is no more. */
static bool look_up(struct p *p, const struct map_layout *t, const struct map_iter *it,
                    struct map *m, char *group, unsigned slot, bool replaced, const void **key,
                    const void **elem)
{
    *key = slot_key(t, group, slot);
    *elem = slot_elem(t, group, slot);
    if (!replaced)
        return true;
    if (!value_equal(t->key, *key, *key)) /* nobody can have deleted it */
        return it->clear_seq == m->clear_seq;
    if (m->used == 0)
        return false;
    uint64_t hash = value_hash(p, t->key, *key, m->seed);
    char *now;
    int at = maps_table_find(t, maps_table_of(m, hash), hash, *key, &now);
    if (at < 0)
        return false;
    *key = slot_key(t, now, (unsigned)at);
    *elem = slot_elem(t, now, (unsigned)at);
    return true;
}

static void next_small(struct p *p, const struct map_layout *t, struct map_iter *it,
                       uint64_t *const roots[3], const void **key, const void **elem)
{
    struct map *m = map_of(roots);
    char *group = pointer_load(roots[ROOT_GROUP]);
    *key = NULL;
    while (it->entry_index < MAP_GROUP_SLOTS) {
        unsigned slot = (it->entry_index++ + it->entry_offset) % MAP_GROUP_SLOTS;
        if (group[slot] & CTRL_EMPTY)
            continue;
        if (look_up(p, t, it, m, group, slot, m->dir_len > 0, key, elem))
            return;
        *key = NULL;
    }
}

/* The table at the iteration's place in the directory. */
static struct map_table *enter_table(struct p *p, struct map_iter *it, uint64_t *const roots[3])
{
    struct map *m = map_of(roots);
    int64_t i = (int64_t)(((uint64_t)it->dir_index + it->dir_offset) & (uint64_t)(m->dir_len - 1));
    struct map_table *table = maps_table_at(m, (uint64_t)i);
    /* In the middle of a table that is there several times: go back to the first. */
    it->dir_offset -= (uint64_t)(i - table->index);
    pointer_store(p, roots[ROOT_TABLE], table);
    pointer_store(p, roots[ROOT_GROUP], pointer_load(&table->groups));
    return table;
}

/* The next entry of the table; false: there is none. The groups are those the table had when it was
 * entered: a table never gets others. */
static bool next_in_table(struct p *p, const struct map_layout *t, struct map_iter *it,
                          uint64_t *const roots[3], struct map_table *table, const void **key,
                          const void **elem)
{
    uint64_t mask = (uint64_t)table->capacity - 1;
    while (it->entry_index <= mask) {
        uint64_t at = (it->entry_index++ + it->entry_offset) & mask;
        char *group = table_group(t, table, at / MAP_GROUP_SLOTS);
        unsigned slot = at % MAP_GROUP_SLOTS;
        if (!(group[slot] & CTRL_EMPTY) &&
            look_up(p, t, it, map_of(roots), group, slot, table->index == -1, key, elem))
            return true;
    }
    return false;
}

void maps_iter_next(struct p *p, const struct map_layout *t, struct map_iter *it, uint64_t *const roots[3],
                   const void **key, const void **elem)
{
    struct map *m = map_of(roots);
    *key = NULL;
    if (m == NULL)
        return;
    if (it->dir_index < 0) {
        next_small(p, t, it, roots, key, elem);
        return;
    }
    /* The directory has grown: places in it count for more. */
    unsigned orders = (unsigned)(m->global_depth - it->global_depth);
    it->dir_index <<= orders;
    it->dir_offset <<= orders;
    it->global_depth = m->global_depth;
    while (it->dir_index < m->dir_len) {
        struct map_table *table = pointer_load(roots[ROOT_TABLE]);
        if (table == NULL)
            table = enter_table(p, it, roots);
        if (next_in_table(p, t, it, roots, table, key, elem))
            return;
        it->dir_index += (int64_t)1 << (m->global_depth - table->local_depth);
        it->entry_index = 0;
        pointer_store(p, roots[ROOT_TABLE], NULL);
    }
    *key = NULL;
}
