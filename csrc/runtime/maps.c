/* Maps, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h: every call here says first that it reads or writes the map.
 * Go: runtime/map.go.
 */
#include "object/map.h"
#include "runtime/values.h"

static const char *const read_text = "concurrent map read and map write";
static const char *const iteration_text = "concurrent map iteration and map write";

static inline const struct map_layout *layout_of(const struct gomem_type *t)
{
    return &((const struct type *)t)->map;
}

static inline struct map *map_of(const struct gomem_map *m)
{
    return (struct map *)m;
}

enum gomem_status gomem_make_map(struct gomem_proc *proc, const struct gomem_type *t, int64_t hint,
                                 struct gomem_map **out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, maps_make(p, layout_of(t), hint, (struct map **)out, err));
}

uint64_t gomem_map_len(const struct gomem_map *m)
{
    return m == NULL ? 0 : load_relaxed(&map_of(m)->used);
}

/* Begins to read or to write; the nil map needs no such thing. */
static enum gomem_status begin(struct map *m, const char *text, struct gomem_error *err)
{
    if (m == NULL)
        return GOMEM_OK;
    return text == NULL ? maps_begin_write(m, err) : maps_begin_read(m, text, err);
}

/* Ends it. If the heap was closed on the way the map is gone. */
static enum gomem_status end(struct map *m, const char *text, enum gomem_status status)
{
    if (m == NULL || status == GOMEM_CLOSED)
        return status;
    if (text == NULL)
        maps_end_write(m);
    else
        maps_end_read(m);
    return status;
}

/* --- One entry --- */

static enum gomem_status get(struct p *p, const struct map_layout *t, struct map *m,
                             const void *key, void *elem, bool *found, struct gomem_error *err)
{
    const void *at;
    enum gomem_status status = maps_get(p, t, m, key, &at, err);
    if (status != GOMEM_OK)
        return status;
    *found = at != NULL;
    if (elem != NULL && at != NULL)
        memcpy(elem, at, t->elem->size);
    else if (elem != NULL)
        memset(elem, 0, t->elem->size);
    return GOMEM_OK;
}

enum gomem_status gomem_map_get(struct gomem_proc *p, const struct gomem_type *t,
                                struct gomem_map *gm, const void *key, void *elem, bool *found,
                                struct gomem_error *err)
{
    struct map *m = map_of(gm);
    enum gomem_status status = begin(m, read_text, err);
    if (status != GOMEM_OK)
        return status;
    return end(m, read_text, get(proc_p(p), layout_of(t), m, key, elem, found, err));
}

enum gomem_status gomem_map_set(struct gomem_proc *proc, const struct gomem_type *t,
                                struct gomem_map *gm, const void *key, const void *elem,
                                struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    struct map *m = map_of(gm);
    enum gomem_status status = begin(m, NULL, err);
    if (status != GOMEM_OK)
        return status;
    return end(m, NULL, WITH_MEMORY(p, err, maps_put(p, layout_of(t), m, key, elem, err)));
}

enum gomem_status gomem_map_delete(struct gomem_proc *p, const struct gomem_type *t,
                                   struct gomem_map *gm, const void *key, struct gomem_error *err)
{
    struct map *m = map_of(gm);
    enum gomem_status status = begin(m, NULL, err);
    if (status != GOMEM_OK)
        return status;
    return end(m, NULL, maps_delete(proc_p(p), layout_of(t), m, key, err));
}

enum gomem_status gomem_map_clear(struct gomem_proc *p, const struct gomem_type *t,
                                  struct gomem_map *gm, struct gomem_error *err)
{
    struct map *m = map_of(gm);
    enum gomem_status status = begin(m, NULL, err);
    if (status != GOMEM_OK)
        return status;
    maps_clear(proc_p(p), layout_of(t), m);
    return end(m, NULL, GOMEM_OK);
}

/* --- Many --- */

static enum gomem_status set_many(struct p *p, const struct map_layout *t, struct map *m,
                                  const char *keys, size_t key_stride, const char *elems,
                                  size_t elem_stride, size_t n, struct gomem_error *err)
{
    enum gomem_status status = GOMEM_OK;
    for (size_t i = 0; i < n && status == GOMEM_OK; i++) {
        const void *key = keys + i * key_stride, *elem = elems + i * elem_stride;
        status = WITH_MEMORY(p, err, maps_put(p, t, m, key, elem, err));
        if (status == GOMEM_OK && i % VALUES_A_SAFEPOINT == VALUES_A_SAFEPOINT - 1)
            status = values_safepoint(p, err);
    }
    return status;
}

enum gomem_status gomem_map_set_many(struct gomem_proc *p, const struct gomem_type *t,
                                     struct gomem_map *gm, const void *keys, size_t key_stride,
                                     const void *elems, size_t elem_stride, size_t n,
                                     struct gomem_error *err)
{
    struct map *m = map_of(gm);
    enum gomem_status status = begin(m, NULL, err);
    if (status != GOMEM_OK)
        return status;
    return end(m, NULL, set_many(proc_p(p), layout_of(t), m, keys, key_stride, elems, elem_stride,
                                 n, err));
}

enum gomem_status gomem_map_get_many(struct gomem_proc *proc, const struct gomem_type *t,
                                     struct gomem_map *gm, const void *keys, size_t key_stride,
                                     void *elems, uint8_t *found, size_t n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    struct map *m = map_of(gm);
    const struct map_layout *layout = layout_of(t);
    enum gomem_status status = begin(m, read_text, err);
    if (status != GOMEM_OK)
        return status;
    for (size_t i = 0; i < n && status == GOMEM_OK; i++) {
        bool is_found = false;
        status = get(p, layout, m, (const char *)keys + i * key_stride,
                     (char *)elems + i * layout->elem->size, &is_found, err);
        found[i] = is_found;
        if (status == GOMEM_OK && i % VALUES_A_SAFEPOINT == VALUES_A_SAFEPOINT - 1)
            status = values_safepoint(p, err);
    }
    return end(m, read_text, status);
}

/* --- Iterations --- */

_Static_assert(sizeof(struct map_iter) <= sizeof(struct gomem_map_iter), "an iteration has room");

void gomem_map_iter_init(struct gomem_proc *p, struct gomem_map *m, struct gomem_map_iter *it,
                         uint64_t *const roots[3])
{
    maps_iter_init(proc_p(p), map_of(m), (struct map_iter *)it, roots);
}

enum gomem_status gomem_map_iter_next(struct gomem_proc *p, const struct gomem_type *t,
                                      struct gomem_map_iter *it, uint64_t *const roots[3], const void **key,
                                      const void **elem, struct gomem_error *err)
{
    struct map *m = pointer_load(roots[0]);
    enum gomem_status status = begin(m, iteration_text, err);
    if (status != GOMEM_OK)
        return status;
    maps_iter_next(proc_p(p), layout_of(t), (struct map_iter *)it, roots, key, elem);
    return end(m, iteration_text, GOMEM_OK);
}

enum gomem_status gomem_map_entries(struct gomem_proc *proc, const struct gomem_type *t,
                                    struct gomem_map *gm, uint64_t *const roots[3], void *keys, void *elems,
                                    size_t *n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    struct map *m = map_of(gm);
    const struct map_layout *layout = layout_of(t);
    struct map_iter it;
    size_t most = *n, i = 0;
    enum gomem_status status = begin(m, iteration_text, err);
    if (status != GOMEM_OK)
        return status;
    maps_iter_init(p, m, &it, roots);
    for (; i < most && status == GOMEM_OK; i++) {
        const void *key, *elem;
        maps_iter_next(p, layout, &it, roots, &key, &elem);
        if (key == NULL)
            break;
        memcpy((char *)keys + i * layout->key->size, key, layout->key->size);
        memcpy((char *)elems + i * layout->elem->size, elem, layout->elem->size);
        if (i % VALUES_A_SAFEPOINT == VALUES_A_SAFEPOINT - 1)
            status = values_safepoint(p, err);
    }
    *n = i;
    return end(m, iteration_text, status);
}

/* --- Whole maps --- */

enum gomem_status gomem_map_clone(struct gomem_proc *proc, const struct gomem_type *t,
                                  struct gomem_map *gm, struct gomem_map **out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    struct map *m = map_of(gm);
    enum gomem_status status = begin(m, "concurrent map clone and map write", err);
    if (status != GOMEM_OK)
        return status;
    return end(m, iteration_text,
               WITH_MEMORY(p, err, maps_clone(p, layout_of(t), m, (struct map **)out, err)));
}

static enum gomem_status copy_entries(struct p *p, const struct map_layout *t, struct map *to,
                                      struct map *from, uint64_t *const roots[3], struct gomem_error *err)
{
    struct map_iter it;
    enum gomem_status status = GOMEM_OK;
    maps_iter_init(p, from, &it, roots);
    for (size_t i = 1; status == GOMEM_OK; i++) {
        const void *key, *elem;
        maps_iter_next(p, t, &it, roots, &key, &elem);
        if (key == NULL)
            break;
        status = WITH_MEMORY(p, err, maps_put(p, t, to, key, elem, err));
        if (status == GOMEM_OK && i % VALUES_A_SAFEPOINT == 0)
            status = values_safepoint(p, err);
    }
    return status;
}

enum gomem_status gomem_map_copy(struct gomem_proc *p, const struct gomem_type *t, struct gomem_map *gto,
                                 struct gomem_map *gfrom, uint64_t *const roots[3], struct gomem_error *err)
{
    struct map *to = map_of(gto), *from = map_of(gfrom);
    if (to == from)
        return GOMEM_OK;
    enum gomem_status status = begin(from, iteration_text, err);
    if (status != GOMEM_OK)
        return status;
    status = begin(to, NULL, err);
    if (status == GOMEM_OK)
        status = end(to, NULL, copy_entries(proc_p(p), layout_of(t), to, from, roots, err));
    return end(from, iteration_text, status);
}

enum gomem_status gomem_map_verify(struct gomem_proc *p, const struct gomem_type *t,
                                   struct gomem_map *gm, struct gomem_error *err)
{
    struct map *m = map_of(gm);
    char why[100];
    enum gomem_status status = begin(m, read_text, err);
    if (status != GOMEM_OK || m == NULL)
        return status;
    if (!maps_verify(proc_p(p), layout_of(t), m, why, sizeof why))
        status = error_set(err, GOMEM_CORRUPT, "%s", why);
    return end(m, read_text, status);
}
