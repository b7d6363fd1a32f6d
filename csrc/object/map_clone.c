/* Copying whole maps.
 *
 * Called through map.h.
 *
 * Concurrency: the caller holds p, and reads the map.
 * Go: Clone in internal/runtime/maps.
 */
#include "object/map.h"

/* Objects of their own for what the slots of a copied group point to, at an offset in each; false: memory is
 * out. */
static bool own_objects(struct p *p, const struct type *t, const struct map_layout *layout, char *group,
                        size_t offset)
{
    for (unsigned slot = 0; slot < MAP_GROUP_SLOTS; slot++) {
        char *place = group_key(layout, group, slot) + offset, *old = pointer_load(place);
        if (old == NULL)
            continue;
        char *new = object_alloc(p, t, 1);
        if (new == NULL)
            return false;
        typed_init(p, t, new, old, 1);
        pointer_store(p, place, new);
    }
    return true;
}

/* A copy of n groups; NULL: memory is out. */
static char *clone_groups(struct p *p, const struct map_layout *t, const char *groups, uint64_t n)
{
    char *new = object_alloc(p, t->group, n);
    if (new == NULL)
        return NULL;
    typed_init(p, t->group, new, groups, n);
    for (uint64_t i = 0; i < n; i++) {
        char *group = new + i * t->group->size;
        if ((t->indirect_key && !own_objects(p, t->key, t, group, 0)) ||
            (t->indirect_elem && !own_objects(p, t->elem, t, group, t->elem_offset)))
            return NULL;
    }
    return new;
}

static struct map_table *clone_table(struct p *p, const struct map_layout *t, const struct map_table *old)
{
    struct map_table *table = maps_table_alloc(p);
    char *groups = table == NULL ? NULL : clone_groups(p, t, old->groups, old->length_mask + 1);
    if (groups == NULL)
        return NULL;
    table->used = old->used;
    table->capacity = old->capacity;
    table->growth_left = old->growth_left;
    table->local_depth = old->local_depth;
    table->index = old->index;
    table->length_mask = old->length_mask;
    pointer_store(p, &table->groups, groups);
    return table;
}

/* The directory with tables of their own; NULL: memory is out. */
static void **clone_tables(struct p *p, const struct map_layout *t, const struct map *m)
{
    void **dir = maps_directory_new(p, (uint64_t)m->dir_len);
    struct map_table *last = NULL;
    for (uint64_t i = 0; dir != NULL && i < (uint64_t)m->dir_len; i++) {
        const struct map_table *old = maps_table_at(m, i);
        if (i == 0 || old != maps_table_at(m, i - 1))
            last = clone_table(p, t, old);
        if (last == NULL)
            return NULL;
        pointer_store(p, &dir[i], last);
    }
    return dir;
}

enum gomem_status maps_clone(struct p *p, const struct map_layout *t, const struct map *m,
                             struct map **out, struct gomem_error *err)
{
    struct map *copy;
    enum gomem_status status = maps_make(p, t, 0, &copy, err);
    if (status != GOMEM_OK)
        return status;
    if (m->dir != NULL) {
        void *dir = m->dir_len == 0 ? (void *)clone_groups(p, t, m->dir, 1) : (void *)clone_tables(p, t, m);
        if (dir == NULL)
            return no_memory(err, m->used * t->slot_size);
        pointer_store(p, &copy->dir, dir);
    }
    copy->used = m->used;
    copy->seed = m->seed;
    copy->dir_len = m->dir_len;
    copy->global_depth = m->global_depth;
    copy->global_shift = m->global_shift;
    copy->tombstone_possible = m->tombstone_possible;
    copy->clear_seq = m->clear_seq;
    *out = copy;
    return GOMEM_OK;
}
