/* Tables and groups of maps.
 *
 * Called through map.h.
 *
 * Concurrency: see map.h.
 * Go: internal/runtime/maps/table.go, group.go.
 */
#include "object/hash.h"
#include "object/map.h"

static const uint64_t table_mask = 1u << offsetof(struct map_table, groups) / PTR_SIZE;

static const struct type table_type = {
    .size = sizeof(struct map_table),
    .ptr_bytes = offsetof(struct map_table, groups) + PTR_SIZE,
    .gcmask = (uint64_t *)&table_mask,
    .kind = GOMEM_STRUCT,
    .align = PTR_SIZE,
    .name = (char *)"maps.table",
    .references = 1,
};

/* --- Slots --- */

char *maps_groups_new(struct p *p, const struct map_layout *t, uint64_t n)
{
    char *groups = object_alloc(p, t->group, n);
    for (uint64_t i = 0; groups != NULL && i < n; i++)
        group_set_empty(groups + i * t->group->size);
    return groups;
}

bool maps_slot_fill(struct p *p, const struct map_layout *t, char *group, unsigned slot,
                   const void *key, const void *elem, uint8_t h2)
{
    char *key_at = group_key(t, group, slot), *elem_at = group_elem(t, group, slot);
    char *key_object = t->indirect_key ? object_alloc(p, t->key, 1) : NULL;
    char *elem_object = t->indirect_elem ? object_alloc(p, t->elem, 1) : NULL;
    if ((t->indirect_key && key_object == NULL) || (t->indirect_elem && elem_object == NULL))
        return false;
    if (t->indirect_key) {
        typed_init(p, t->key, key_object, key, 1);
        pointer_store(p, key_at, key_object);
    } else {
        typed_copy(p, t->key, key_at, key, 1);
    }
    if (t->indirect_elem) {
        typed_init(p, t->elem, elem_object, elem, 1);
        pointer_store(p, elem_at, elem_object);
    } else {
        typed_copy(p, t->elem, elem_at, elem, 1);
    }
    group_set_ctrl(group, slot, h2);
    return true;
}

void maps_slot_update(struct p *p, const struct map_layout *t, char *group, unsigned slot,
                     const void *key, const void *elem)
{
    if (t->update_key)
        typed_copy(p, t->key, slot_key(t, group, slot), key, 1);
    typed_copy(p, t->elem, slot_elem(t, group, slot), elem, 1);
}

void maps_slot_clear(struct p *p, const struct map_layout *t, char *group, unsigned slot)
{
    char *key = group_key(t, group, slot), *elem = group_elem(t, group, slot);
    if (t->indirect_key)
        pointer_store(p, key, NULL);
    else if (type_has_pointers(t->key))
        typed_clear(p, t->key, key, 1);
    if (t->indirect_elem)
        pointer_store(p, elem, NULL);
    else
        typed_clear(p, t->elem, elem, 1);
}

/* --- Tables --- */

static uint16_t max_growth_left(uint64_t capacity)
{
    return (uint16_t)(capacity <= MAP_GROUP_SLOTS ? capacity - 1
                                                  : capacity * MAX_GROUP_LOAD / MAP_GROUP_SLOTS);
}

static uint16_t tombstones(const struct map_table *table)
{
    return (uint16_t)(table->capacity * MAX_GROUP_LOAD / MAP_GROUP_SLOTS - table->used -
                      table->growth_left);
}

struct map_table *maps_table_alloc(struct p *p)
{
    return object_alloc(p, &table_type, 1);
}

struct map_table *maps_table_new(struct p *p, const struct map_layout *t, uint64_t capacity,
                                int64_t index, uint8_t local_depth)
{
    capacity = MAX(capacity, MAP_GROUP_SLOTS);
    capacity = (uint64_t)1 << len64(capacity - 1);
    ASSERT(capacity <= MAX_TABLE_CAPACITY);
    struct map_table *table = maps_table_alloc(p);
    char *groups = table == NULL ? NULL : maps_groups_new(p, t, capacity / MAP_GROUP_SLOTS);
    if (groups == NULL)
        return NULL;
    table->capacity = (uint16_t)capacity;
    table->growth_left = max_growth_left(capacity);
    table->local_depth = local_depth;
    table->index = index;
    pointer_store(p, &table->groups, groups);
    table->length_mask = capacity / MAP_GROUP_SLOTS - 1;
    return table;
}

int maps_table_find(const struct map_layout *t, const struct map_table *table, uint64_t hash,
                   const void *key, char **group)
{
    struct probe s = probe_start(hash, table->length_mask);
    do {
        *group = table_group(t, table, s.offset);
        uint64_t ctrls = group_ctrls(*group);
        for (uint64_t m = match_h2(ctrls, maps_h2(hash)); m != 0; m &= m - 1)
            if (value_equal(t->key, key, slot_key(t, *group, match_first(m))))
                return (int)match_first(m);
        if (match_empty(ctrls) != 0)
            return -1;
    } while (probe_next(&s));
    return -1;
}

/* The first slot for a new entry: empty, or deleted. -1: the table is full, which it never is. */
static int find_room(const struct map_layout *t, const struct map_table *table, uint64_t hash,
                     char **group)
{
    struct probe s = probe_start(hash, table->length_mask);
    do {
        *group = table_group(t, table, s.offset);
        uint64_t match = match_empty_or_deleted(group_ctrls(*group));
        if (match != 0)
            return (int)match_first(match);
    } while (probe_next(&s));
    return -1;
}

void maps_table_put_new(struct p *p, const struct map_layout *t, struct map_table *table,
                       uint64_t hash, const char *key, const char *elem)
{
    char *group;
    int slot = find_room(t, table, hash, &group);
    if (slot < 0 || table->growth_left == 0)
        return; /* somebody wrote over control words */
    char *key_at = group_key(t, group, (unsigned)slot);
    char *elem_at = group_elem(t, group, (unsigned)slot);
    if (t->indirect_key)
        pointer_store(p, key_at, key);
    else
        typed_copy(p, t->key, key_at, key, 1);
    if (t->indirect_elem)
        pointer_store(p, elem_at, elem);
    else
        typed_copy(p, t->elem, elem_at, elem, 1);
    table->growth_left--;
    table->used++;
    group_set_ctrl(group, (unsigned)slot, maps_h2(hash));
}

bool maps_table_forget(struct p *p, const struct map_layout *t, struct map *m,
                      struct map_table *table, char *group, unsigned slot)
{
    table->used--;
    m->used--;
    maps_slot_clear(p, t, group, slot);
    /* Nobody has looked further than a group with an empty slot. */
    bool tombstone = match_empty(group_ctrls(group)) == 0;
    group_set_ctrl(group, slot, tombstone ? CTRL_DELETED : CTRL_EMPTY);
    table->growth_left += !tombstone;
    return tombstone;
}

void maps_table_clear(struct p *p, const struct map_layout *t, struct map_table *table)
{
    if (table->used == 0 && table->growth_left == max_growth_left(table->capacity))
        return;
    /* Most groups of a sparse table need not be touched but for their control words. */
    bool look = t->slot_size > 32 || (uint64_t)table->used * 4 <= table->length_mask;
    for (uint64_t i = 0; i <= table->length_mask; i++) {
        char *group = table_group(t, table, i);
        if (!look || match_full(group_ctrls(group)) != 0)
            typed_clear(p, t->group, group, 1);
        group_set_empty(group);
    }
    table->used = 0;
    table->growth_left = max_growth_left(table->capacity);
}

/* --- Making room --- */

/* Which groups' tombstones somebody needs who looks for a key behind them. */
static void mark_needed(struct p *p, const struct map_layout *t, const struct map *m,
                        const struct map_table *table, uint64_t *needed)
{
    for (uint64_t i = 0; i <= table->length_mask; i++) {
        char *group = table_group(t, table, i);
        for (uint64_t full = match_full(group_ctrls(group)); full != 0; full &= full - 1) {
            const char *key = slot_key(t, group, match_first(full));
            if (!value_equal(t->key, key, key))
                continue; /* nobody finds it */
            struct probe s = probe_start(value_hash(p, t->key, key, m->seed), table->length_mask);
            while (s.offset != i) {
                if (match_empty_or_deleted(group_ctrls(table_group(t, table, s.offset))) != 0)
                    bitmap_set(needed, s.offset);
                if (!probe_next(&s))
                    break;
            }
        }
        if (match_empty(group_ctrls(group)) != 0)
            bitmap_set(needed, i);
    }
}

static void prune_tombstones(struct p *p, const struct map_layout *t, const struct map *m,
                             struct map_table *table)
{
    uint64_t needed[MAX_TABLE_CAPACITY / MAP_GROUP_SLOTS / 64] = {0};
    unsigned n = 0;
    if (tombstones(table) * 10u < table->capacity)
        return;
    mark_needed(p, t, m, table, needed);
    for (uint64_t i = 0; i <= table->length_mask; i++)
        if (!bitmap_get(needed, i))
            n += ones_count64(match_empty_or_deleted(group_ctrls(table_group(t, table, i))));
    if (n * 10 < table->capacity)
        return;
    for (uint64_t i = 0; i <= table->length_mask; i++) {
        char *group = table_group(t, table, i);
        if (bitmap_get(needed, i))
            continue;
        for (uint64_t d = match_empty_or_deleted(group_ctrls(group)); d != 0; d &= d - 1) {
            group_set_ctrl(group, match_first(d), CTRL_EMPTY);
            table->growth_left++;
        }
    }
}

/* Moves all entries of a table: to right if the hash has the bit, else to left. */
static void move_entries(struct p *p, const struct map_layout *t, const struct map *m,
                         struct map_table *from, struct map_table *left, struct map_table *right,
                         uint64_t bit)
{
    for (uint64_t i = 0; i <= from->length_mask; i++) {
        char *group = table_group(t, from, i);
        for (uint64_t full = match_full(group_ctrls(group)); full != 0; full &= full - 1) {
            unsigned slot = match_first(full);
            const char *key = slot_key(t, group, slot);
            uint64_t hash = value_hash(p, t->key, key, m->seed);
            maps_table_put_new(p, t, hash & bit ? right : left, hash, key, slot_elem(t, group, slot));
        }
    }
}

/* The table takes its place in the directory. */
static void replace_table(struct p *p, struct map *m, struct map_table *table)
{
    int64_t entries = (int64_t)1 << (m->global_depth - table->local_depth);
    for (int64_t i = 0; i < entries; i++)
        pointer_store(p, (void **)m->dir + table->index + i, table);
}

static bool grow(struct p *p, const struct map_layout *t, struct map *m, struct map_table *table)
{
    struct map_table *new =
        maps_table_new(p, t, 2u * table->capacity, table->index, table->local_depth);
    if (new == NULL)
        return false;
    move_entries(p, t, m, table, new, new, 0);
    replace_table(p, m, new);
    table->index = -1;
    return true;
}

/* Twice the directory, in which each table is twice as often. */
static void double_directory(struct p *p, struct map *m, void **dir)
{
    for (int64_t i = 0; i < m->dir_len; i++) {
        struct map_table *table = maps_table_at(m, (uint64_t)i);
        pointer_store(p, &dir[2 * i], table);
        pointer_store(p, &dir[2 * i + 1], table);
        if (table->index == i)
            table->index = 2 * i;
    }
    pointer_store(p, &m->dir, dir);
    m->dir_len *= 2;
    m->global_depth++;
    m->global_shift--;
}

static bool split(struct p *p, const struct map_layout *t, struct map *m, struct map_table *table)
{
    uint8_t depth = table->local_depth + 1;
    struct map_table *left = maps_table_new(p, t, MAX_TABLE_CAPACITY, -1, depth);
    struct map_table *right = left == NULL ? NULL : maps_table_new(p, t, MAX_TABLE_CAPACITY, -1, depth);
    void **dir = NULL;
    if (right == NULL)
        return false;
    if (table->local_depth == m->global_depth) {
        dir = maps_directory_new(p, 2 * (uint64_t)m->dir_len);
        if (dir == NULL)
            return false;
    }
    move_entries(p, t, m, table, left, right, (uint64_t)1 << (64 - depth));
    if (dir != NULL)
        double_directory(p, m, dir);
    left->index = table->index;
    replace_table(p, m, left);
    right->index = left->index + ((int64_t)1 << (m->global_depth - depth));
    replace_table(p, m, right);
    table->index = -1;
    return true;
}

enum gomem_status maps_table_put(struct p *p, const struct map_layout *t, struct map *m,
                                struct map_table *table, uint64_t hash, const void *key,
                                const void *elem, bool *again, struct gomem_error *err)
{
    char *group;
    int slot = maps_table_find(t, table, hash, key, &group);
    if (slot >= 0) {
        maps_slot_update(p, t, group, (unsigned)slot, key, elem);
        return GOMEM_OK;
    }
    slot = find_room(t, table, hash, &group);
    if (slot < 0)
        return error_set(err, GOMEM_CORRUPT, "a map's table has no empty slot");
    bool deleted = (uint8_t)group[slot] == CTRL_DELETED;
    if (!deleted && table->growth_left == 0)
        prune_tombstones(p, t, m, table);
    if (!deleted && table->growth_left == 0) {
        bool small = 2u * table->capacity <= MAX_TABLE_CAPACITY;
        *again = small ? grow(p, t, m, table) : split(p, t, m, table);
        return *again ? GOMEM_OK : no_memory(err, t->group->size * MAX_TABLE_CAPACITY / 8);
    }
    if (!maps_slot_fill(p, t, group, (unsigned)slot, key, elem, maps_h2(hash)))
        return no_memory(err, t->key->size + t->elem->size);
    table->growth_left -= !deleted;
    table->used++;
    m->used++;
    return GOMEM_OK;
}
