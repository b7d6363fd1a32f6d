/* Maps: Swiss tables, laid out as Go does.
 *
 * A map of up to eight entries is one group of eight slots; a larger one has a directory of tables, each an
 * array of groups. A group begins with a control word, a byte a slot: empty, deleted, or seven bits of the
 * key's hash (h2). The other bits choose the table (the highest, as many as the directory needs) and the
 * group in it where looking begins (h1). A table grows when 7/8 of its slots are taken, up to 1024 slots;
 * then it is split in two, and the directory doubled if that takes it. Keys and elements over 128 bytes are
 * objects of their own. All of it are objects of the heap with Go's sizes.
 *
 * Called by runtime/.
 *
 * Concurrency: the caller holds p. Two threads that use a map at the same time, one of them writing, are
 * told so and do no harm: whoever begins second fails (maps_begin_read, maps_begin_write).
 * Go: internal/runtime/maps.
 */
#ifndef GOMEM_OBJECT_MAP_H
#define GOMEM_OBJECT_MAP_H

#include "object/panic.h"
#include "object/typed_memory.h"

enum {
    MAX_TABLE_CAPACITY = 1024,
    MAX_GROUP_LOAD = 7, /* of eight slots */
    CTRL_EMPTY = 0x80,
    CTRL_DELETED = 0xfe,
};

/* Invariants (maps_verify): a table is in the directory 2^(global_depth - local_depth) times in a row, from
 * its index on; used is the sum of the tables'. */
struct map_table {
    uint16_t used, capacity, growth_left; /* slots */
    uint8_t local_depth; /* bits of the hash that all its keys share */
    int64_t index;       /* first entry in the directory; -1: it was replaced */
    char *groups;
    uint64_t length_mask; /* groups - 1 */
};

struct map {
    uint64_t used;
    uint64_t seed;
    void *dir; /* the only group, or the directory: an array of tables */
    int64_t dir_len; /* 0: there is only a group */
    uint8_t global_depth, global_shift; /* dir_len is 2^depth; shift is 64 - depth */
    uint8_t writing;
    bool tombstone_possible;
    uint32_t readers; /* atomic: those in longer calls; in Go's struct it is padding. WRITER: one writes */
    uint64_t clear_seq; /* times it was cleared */
};

enum { MAP_WRITER = 1u << 31 };

/* An iteration. m, table and group are in roots of its user: see gomem.h. */
struct map_iter {
    uint64_t entry_offset, dir_offset; /* random: where it begins */
    uint64_t clear_seq;
    int64_t dir_index;  /* -1: a map of one group */
    uint64_t entry_index;
    uint8_t global_depth;
};

/* make(map[K]E, hint) */
MUST_USE enum gomem_status maps_make(struct p *p, const struct map_layout *t, int64_t hint,
                                    struct map **out, struct gomem_error *err);
/* A copy with tables of its own, as they are: also what was deleted keeps its place. */
MUST_USE enum gomem_status maps_clone(struct p *p, const struct map_layout *t, const struct map *m,
                                      struct map **out, struct gomem_error *err);
/* Where the element of a key is; *at NULL: nowhere. m may be NULL. */
MUST_USE enum gomem_status maps_get(struct p *p, const struct map_layout *t, struct map *m,
                                   const void *key, const void **at, struct gomem_error *err);
/* m[key] = elem */
MUST_USE enum gomem_status maps_put(struct p *p, const struct map_layout *t, struct map *m,
                                   const void *key, const void *elem, struct gomem_error *err);
MUST_USE enum gomem_status maps_delete(struct p *p, const struct map_layout *t, struct map *m,
                                      const void *key, struct gomem_error *err);
void maps_clear(struct p *p, const struct map_layout *t, struct map *m);

/* Around everything that reads or writes; GOMEM_FATAL with the text: somebody else is at it. */
MUST_USE enum gomem_status maps_begin_read(struct map *m, const char *text, struct gomem_error *err);
void maps_end_read(struct map *m);
MUST_USE enum gomem_status maps_begin_write(struct map *m, struct gomem_error *err);
void maps_end_write(struct map *m);

/* Is everything in the map as it must be? */
MUST_USE bool maps_verify(struct p *p, const struct map_layout *t, struct map *m, char *why,
                         size_t why_size);

/* roots: three slots of registered tables, for the map, the table and the group. */
void maps_iter_init(struct p *p, struct map *m, struct map_iter *it, uint64_t *const roots[3]);
/* The next entry; *key NULL: there is none. */
void maps_iter_next(struct p *p, const struct map_layout *t, struct map_iter *it,
                    uint64_t *const roots[3], const void **key, const void **elem);

/* --- Between the files of maps --- */

static inline uint64_t maps_h1(uint64_t hash)
{
    return hash >> 7;
}

static inline uint8_t maps_h2(uint64_t hash)
{
    return hash & 0x7f;
}

/* A group's control word, in which slot i is byte i; matches are bits 7 of such bytes. */
static inline uint64_t group_ctrls(const char *group)
{
    uint64_t ctrls;
    memcpy(&ctrls, group, sizeof ctrls);
    return ctrls;
}

#define CTRL_ALL(byte) (0x0101010101010101u * (uint64_t)(byte))
#define CTRL_HIGH      CTRL_ALL(0x80)

static inline uint64_t match_h2(uint64_t ctrls, uint8_t h2)
{
    uint64_t v = ctrls ^ CTRL_ALL(h2);
    return ((v - CTRL_ALL(1)) & ~v) & CTRL_HIGH; /* may match where the byte below does, too */
}

static inline uint64_t match_empty(uint64_t ctrls)
{
    return (ctrls & ~(ctrls << 6)) & CTRL_HIGH;
}

static inline uint64_t match_empty_or_deleted(uint64_t ctrls)
{
    return ctrls & CTRL_HIGH;
}

static inline uint64_t match_full(uint64_t ctrls)
{
    return ~ctrls & CTRL_HIGH;
}

static inline unsigned match_first(uint64_t match)
{
    return trailing_zeros64(match) / 8;
}

static inline void group_set_ctrl(char *group, unsigned slot, uint8_t ctrl)
{
    group[slot] = (char)ctrl;
}

static inline void group_set_empty(char *group)
{
    uint64_t all = CTRL_ALL(CTRL_EMPTY);
    memcpy(group, &all, sizeof all);
}

/* Where a slot's key and element are, or the pointers to them. */
static inline char *group_key(const struct map_layout *t, char *group, unsigned slot)
{
    return group + sizeof(uint64_t) + (size_t)slot * t->slot_size;
}

static inline char *group_elem(const struct map_layout *t, char *group, unsigned slot)
{
    return group_key(t, group, slot) + t->elem_offset;
}

/* Where they are in truth. */
static inline char *slot_key(const struct map_layout *t, char *group, unsigned slot)
{
    char *at = group_key(t, group, slot);
    return t->indirect_key ? pointer_load(at) : at;
}

static inline char *slot_elem(const struct map_layout *t, char *group, unsigned slot)
{
    char *at = group_elem(t, group, slot);
    return t->indirect_elem ? pointer_load(at) : at;
}

static inline char *table_group(const struct map_layout *t, const struct map_table *table,
                                uint64_t i)
{
    return (char *)pointer_load(&table->groups) + i * t->group->size;
}

static inline struct map_table *maps_table_at(const struct map *m, uint64_t i)
{
    return pointer_load((void **)m->dir + i);
}

static inline struct map_table *maps_table_of(const struct map *m, uint64_t hash)
{
    return maps_table_at(m, m->dir_len == 1 ? 0 : hash >> (m->global_shift & 63));
}

/* Where to look next: every group of a table once. */
struct probe {
    uint64_t mask, offset, index;
};

static inline struct probe probe_start(uint64_t hash, uint64_t mask)
{
    return (struct probe){mask, maps_h1(hash) & mask, 0};
}

/* false: all groups were looked at. */
static inline bool probe_next(struct probe *s)
{
    s->index++;
    s->offset = (s->offset + s->index) & s->mask;
    return s->index <= s->mask;
}

/* n table pointers, NULL: out of memory. */
void **maps_directory_new(struct p *p, uint64_t n);
/* n groups, all empty; NULL: out of memory. */
char *maps_groups_new(struct p *p, const struct map_layout *t, uint64_t n);
/* A table without groups; NULL: out of memory. */
struct map_table *maps_table_alloc(struct p *p);
struct map_table *maps_table_new(struct p *p, const struct map_layout *t, uint64_t capacity,
                                int64_t index, uint8_t local_depth);
/* An entry that is not in the table, for which there is room, from the addresses of key and element. */
void maps_table_put_new(struct p *p, const struct map_layout *t, struct map_table *table,
                       uint64_t hash, const char *key, const char *elem);
/* The slot of the key in the table, -1: it has none. */
int maps_table_find(const struct map_layout *t, const struct map_table *table, uint64_t hash,
                   const void *key, char **group);
/* Puts, or makes room and answers *again. */
MUST_USE enum gomem_status maps_table_put(struct p *p, const struct map_layout *t, struct map *m,
                                         struct map_table *table, uint64_t hash, const void *key,
                                         const void *elem, bool *again, struct gomem_error *err);
/* Empties a slot of a group; the entry is counted out by the caller. */
void maps_slot_clear(struct p *p, const struct map_layout *t, char *group, unsigned slot);
/* Stores an entry in an empty slot: false if memory is out. */
MUST_USE bool maps_slot_fill(struct p *p, const struct map_layout *t, char *group, unsigned slot,
                            const void *key, const void *elem, uint8_t h2);
/* Stores the element of a key that is there, and the key again where that matters. */
void maps_slot_update(struct p *p, const struct map_layout *t, char *group, unsigned slot,
                     const void *key, const void *elem);
void maps_table_clear(struct p *p, const struct map_layout *t, struct map_table *table);
/* Forgets the slot of a table; true: it is a tombstone now. */
bool maps_table_forget(struct p *p, const struct map_layout *t, struct map *m,
                      struct map_table *table, char *group, unsigned slot);

#endif
