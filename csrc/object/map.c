/* Maps as a whole.
 *
 * Called through map.h.
 *
 * Concurrency: see map.h.
 * Go: internal/runtime/maps/map.go, runtime/map.go.
 */
#include "object/map.h"

#include "object/hash.h"

static const uint64_t map_mask = 1u << offsetof(struct map, dir) / PTR_SIZE;
static const uint64_t pointer_mask = 1;

static const struct type map_type = {
    .size = sizeof(struct map),
    .ptr_bytes = offsetof(struct map, dir) + PTR_SIZE,
    .gcmask = (uint64_t *)&map_mask,
    .kind = GOMEM_STRUCT,
    .align = PTR_SIZE,
    .name = (char *)"maps.Map",
    .references = 1,
};

static const struct type table_pointer_type = {
    .size = PTR_SIZE,
    .ptr_bytes = PTR_SIZE,
    .gcmask = (uint64_t *)&pointer_mask,
    .kind = GOMEM_POINTER,
    .align = PTR_SIZE,
    .name = (char *)"*maps.table",
    .references = 1,
};

void **maps_directory_new(struct p *p, uint64_t n)
{
    return object_alloc(p, &table_pointer_type, n);
}

/* --- One at a time --- */

enum gomem_status maps_begin_read(struct map *m, const char *text, struct gomem_error *err)
{
    if (fetch_add_acq_rel(&m->readers, 1) < MAP_WRITER)
        return GOMEM_OK;
    fetch_sub_relaxed(&m->readers, 1);
    return error_set(err, GOMEM_FATAL, "%s", text);
}

void maps_end_read(struct map *m)
{
    fetch_sub_acq_rel(&m->readers, 1); /* with maps_begin_write's */
}

enum gomem_status maps_begin_write(struct map *m, struct gomem_error *err)
{
    uint32_t none = 0;
    if (cas_acq_rel(&m->readers, &none, MAP_WRITER)) { /* with whoever was there before */
        m->writing = 1;
        return GOMEM_OK;
    }
    return error_set(err, GOMEM_FATAL,
                     none >= MAP_WRITER ? "concurrent map writes" : "concurrent map read and map write");
}

void maps_end_write(struct map *m)
{
    m->writing = 0;
    fetch_sub_acq_rel(&m->readers, MAP_WRITER); /* with the next maps_begin_* */
}

/* --- Making --- */

/* A directory with tables for so many entries; false: memory is out. */
static bool make_tables(struct p *p, const struct map_layout *t, struct map *m, uint64_t capacity)
{
    uint64_t size = div_round_up(capacity, MAX_TABLE_CAPACITY);
    size = (uint64_t)1 << len64(size - 1);
    void **dir = maps_directory_new(p, size);
    if (dir == NULL)
        return false;
    m->global_depth = (uint8_t)trailing_zeros64(size);
    m->global_shift = 64 - m->global_depth;
    for (uint64_t i = 0; i < size; i++) {
        dir[i] = maps_table_new(p, t, capacity / size, (int64_t)i, m->global_depth);
        if (dir[i] == NULL)
            return false;
    }
    pointer_store(p, &m->dir, dir);
    m->dir_len = (int64_t)size;
    return true;
}

enum gomem_status maps_make(struct p *p, const struct map_layout *t, int64_t hint, struct map **out,
                           struct gomem_error *err)
{
    struct map *m = object_alloc(p, &map_type, 1);
    if (m == NULL)
        return no_memory(err, sizeof *m);
    m->seed = rng_next(&p->random);
    *out = m;
    /* A group is made when it is needed. A hint that no memory could be enough for counts as none. */
    if (hint <= MAP_GROUP_SLOTS || hint > (int64_t)(MAX_ALLOC / MAP_GROUP_SLOTS))
        return GOMEM_OK;
    uint64_t capacity = (uint64_t)hint * MAP_GROUP_SLOTS / MAX_GROUP_LOAD;
    uint64_t tables = (uint64_t)1 << len64(div_round_up(capacity, MAX_TABLE_CAPACITY) - 1);
    if (tables > MAX_ALLOC / MAX_TABLE_CAPACITY / t->group->size)
        return GOMEM_OK;
    return make_tables(p, t, m, capacity) ? GOMEM_OK : no_memory(err, capacity * t->slot_size);
}

/* The only group, made now; false: memory is out. */
static bool grow_to_small(struct p *p, const struct map_layout *t, struct map *m)
{
    char *group = maps_groups_new(p, t, 1);
    if (group == NULL)
        return false;
    pointer_store(p, &m->dir, group);
    return true;
}

/* From one group, which is full, to a table of two. */
static bool grow_to_table(struct p *p, const struct map_layout *t, struct map *m)
{
    struct map_table *table = maps_table_new(p, t, 2 * MAP_GROUP_SLOTS, 0, 0);
    void **dir = table == NULL ? NULL : maps_directory_new(p, 1);
    if (dir == NULL)
        return false;
    for (uint64_t full = match_full(group_ctrls(m->dir)); full != 0; full &= full - 1) {
        const char *key = slot_key(t, m->dir, match_first(full));
        maps_table_put_new(p, t, table, value_hash(p, t->key, key, m->seed), key,
                          slot_elem(t, m->dir, match_first(full)));
    }
    pointer_store(p, &dir[0], table);
    pointer_store(p, &m->dir, dir);
    m->dir_len = 1;
    m->global_depth = 0;
    m->global_shift = 64;
    return true;
}

/* --- Using --- */

static int find_small(const struct map_layout *t, struct map *m, uint64_t hash, const void *key)
{
    for (uint64_t match = match_h2(group_ctrls(m->dir), maps_h2(hash)); match != 0; match &= match - 1)
        if (value_equal(t->key, key, slot_key(t, m->dir, match_first(match))))
            return (int)match_first(match);
    return -1;
}

enum gomem_status maps_get(struct p *p, const struct map_layout *t, struct map *m, const void *key,
                          const void **at, struct gomem_error *err)
{
    bool in_use = m != NULL && m->used > 0;
    char *group;
    *at = NULL;
    enum gomem_status status = value_check_hashable(t->key, key, in_use, err);
    if (status != GOMEM_OK || !in_use)
        return status;
    uint64_t hash = value_hash(p, t->key, key, m->seed);
    int slot;
    if (m->dir_len == 0) {
        group = m->dir;
        slot = find_small(t, m, hash, key);
    } else {
        slot = maps_table_find(t, maps_table_of(m, hash), hash, key, &group);
    }
    if (slot >= 0)
        *at = slot_elem(t, group, (unsigned)slot);
    return GOMEM_OK;
}

static enum gomem_status put_small(struct p *p, const struct map_layout *t, struct map *m,
                                   uint64_t hash, const void *key, const void *elem,
                                   struct gomem_error *err)
{
    uint64_t match = match_empty_or_deleted(group_ctrls(m->dir));
    if (match == 0)
        return error_set(err, GOMEM_CORRUPT, "a small map has no empty slot");
    if (!maps_slot_fill(p, t, m->dir, match_first(match), key, elem, maps_h2(hash)))
        return no_memory(err, t->key->size + t->elem->size);
    m->used++;
    return GOMEM_OK;
}

enum gomem_status maps_put(struct p *p, const struct map_layout *t, struct map *m, const void *key,
                          const void *elem, struct gomem_error *err)
{
    if (m == NULL)
        return error_set(err, GOMEM_PANIC, "assignment to entry in nil map");
    enum gomem_status status = value_check_hashable(t->key, key, true, err);
    if (status != GOMEM_OK)
        return status;
    uint64_t hash = value_hash(p, t->key, key, m->seed);
    if (m->dir == NULL && !grow_to_small(p, t, m))
        return no_memory(err, t->group->size);
    if (m->dir_len == 0) {
        int slot = find_small(t, m, hash, key);
        if (slot >= 0) {
            maps_slot_update(p, t, m->dir, (unsigned)slot, key, elem);
            return GOMEM_OK;
        }
        if (m->used < MAP_GROUP_SLOTS)
            return put_small(p, t, m, hash, key, elem, err);
        if (!grow_to_table(p, t, m))
            return no_memory(err, 2 * t->group->size);
    }
    bool again;
    do {
        again = false;
        status = maps_table_put(p, t, m, maps_table_of(m, hash), hash, key, elem, &again, err);
    } while (again);
    return status;
}

enum gomem_status maps_delete(struct p *p, const struct map_layout *t, struct map *m,
                             const void *key, struct gomem_error *err)
{
    bool in_use = m != NULL && m->used > 0;
    enum gomem_status status = value_check_hashable(t->key, key, in_use, err);
    if (status != GOMEM_OK || !in_use)
        return status;
    uint64_t hash = value_hash(p, t->key, key, m->seed);
    if (m->dir_len == 0) {
        int slot = find_small(t, m, hash, key);
        if (slot >= 0) {
            m->used--;
            maps_slot_clear(p, t, m->dir, (unsigned)slot);
            group_set_ctrl(m->dir, (unsigned)slot, CTRL_EMPTY);
        }
    } else {
        char *group;
        struct map_table *table = maps_table_of(m, hash);
        int slot = maps_table_find(t, table, hash, key, &group);
        if (slot >= 0 && maps_table_forget(p, t, m, table, group, (unsigned)slot))
            m->tombstone_possible = true;
    }
    if (m->used == 0)
        m->seed = rng_next(&p->random); /* whoever found keys that collide begins again */
    return GOMEM_OK;
}

void maps_clear(struct p *p, const struct map_layout *t, struct map *m)
{
    if (m == NULL || (m->used == 0 && !m->tombstone_possible))
        return;
    if (m->dir_len == 0) {
        typed_clear(p, t->group, m->dir, 1);
        group_set_empty(m->dir);
    }
    struct map_table *last = NULL;
    for (int64_t i = 0; i < m->dir_len; i++) {
        struct map_table *table = maps_table_at(m, (uint64_t)i);
        if (table != last)
            maps_table_clear(p, t, table);
        last = table;
    }
    m->used = 0;
    m->tombstone_possible = false;
    m->clear_seq++;
    m->seed = rng_next(&p->random);
}

/* --- Verifying --- */

static bool verify_group(struct p *p, const struct map_layout *t, struct map *m, char *group,
                         uint64_t *used, uint64_t *deleted)
{
    uint64_t ctrls = group_ctrls(group), full = match_full(ctrls);
    *used += ones_count64(full);
    *deleted += ones_count64(match_empty_or_deleted(ctrls)) - ones_count64(match_empty(ctrls));
    for (; full != 0; full &= full - 1) {
        const char *key = slot_key(t, group, match_first(full));
        const void *at = NULL;
        if (value_equal(t->key, key, key) &&
            (maps_get(p, t, m, key, &at, NULL) != GOMEM_OK ||
             at != slot_elem(t, group, match_first(full))))
            return false;
    }
    return true;
}

static const char *verify_table(struct p *p, const struct map_layout *t, struct map *m,
                                struct map_table *table, uint64_t *total)
{
    uint64_t used = 0, deleted = 0;
    for (uint64_t i = 0; i <= table->length_mask; i++)
        if (!verify_group(p, t, m, table_group(t, table, i), &used, &deleted))
            return "a key is not found";
    *total += used;
    uint64_t capacity = (table->length_mask + 1) * MAP_GROUP_SLOTS;
    uint64_t most = capacity <= MAP_GROUP_SLOTS ? capacity - 1
                                                : capacity * MAX_GROUP_LOAD / MAP_GROUP_SLOTS;
    if (table->capacity != capacity || capacity > MAX_TABLE_CAPACITY)
        return "a table's capacity is wrong";
    if (table->used != used || used + deleted + table->growth_left != most)
        return "a table's counts are wrong";
    return NULL;
}

bool maps_verify(struct p *p, const struct map_layout *t, struct map *m, char *why, size_t why_size)
{
    const char *wrong = NULL;
    uint64_t used = 0, deleted = 0;
    if (m->dir_len == 0 && m->dir != NULL) {
        if (!verify_group(p, t, m, m->dir, &used, &deleted) || deleted > 0)
            wrong = "the group is wrong";
    } else if (m->dir_len > 0 && m->dir_len != (int64_t)1 << m->global_depth) {
        wrong = "the directory's size is wrong";
    }
    for (int64_t i = 0; wrong == NULL && i < m->dir_len; i++) {
        struct map_table *table = maps_table_at(m, (uint64_t)i);
        int64_t entries = (int64_t)1 << (m->global_depth - table->local_depth);
        if (i < table->index || i >= table->index + entries || table->index % entries != 0)
            wrong = "a table is in the wrong place";
        else if (i == table->index)
            wrong = verify_table(p, t, m, table, &used);
    }
    if (wrong == NULL && used != m->used)
        wrong = "the number of entries is wrong";
    if (wrong != NULL)
        snprintf(why, why_size, "map: %s", wrong);
    return wrong == NULL;
}
