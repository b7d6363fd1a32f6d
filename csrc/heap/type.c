/* Layout of Go types on a 64-bit machine.
 *
 * Called through type.h. Uses malloc: a type belongs to no heap.
 *
 * Concurrency: see type.h.
 * Go: cmd/compile/internal/types/size.go (CalcStructSize), reflect.StructOf.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "heap/type.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"

static const struct {
    const char *name;
    uint8_t size, align;
} basics[GOMEM_POINTER] = {
    [GOMEM_BOOL] = {"bool", 1, 1},           [GOMEM_INT8] = {"int8", 1, 1},
    [GOMEM_INT16] = {"int16", 2, 2},         [GOMEM_INT32] = {"int32", 4, 4},
    [GOMEM_INT64] = {"int64", 8, 8},         [GOMEM_UINT8] = {"uint8", 1, 1},
    [GOMEM_UINT16] = {"uint16", 2, 2},       [GOMEM_UINT32] = {"uint32", 4, 4},
    [GOMEM_UINT64] = {"uint64", 8, 8},       [GOMEM_UINTPTR] = {"uintptr", 8, 8},
    [GOMEM_FLOAT32] = {"float32", 4, 4},     [GOMEM_FLOAT64] = {"float64", 8, 8},
    [GOMEM_COMPLEX64] = {"complex64", 8, 4}, [GOMEM_COMPLEX128] = {"complex128", 16, 8},
};

static struct type *type_alloc(enum gomem_kind kind, const char *name, size_t size, uint32_t align,
                               size_t ptr_bytes, struct gomem_error *err)
{
    struct type *t = calloc(1, sizeof *t);
    char *copy = strdup(name);
    size_t nwords = div_round_up(ptr_bytes / PTR_SIZE, 64);
    uint64_t *mask = ptr_bytes > 0 ? calloc(nwords, sizeof *mask) : NULL;
    if (t == NULL || copy == NULL || (ptr_bytes > 0 && mask == NULL)) {
        free(t);
        free(copy);
        free(mask);
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory making type %s", name);
        return NULL;
    }
    *t = (struct type){.size = size,
                       .ptr_bytes = ptr_bytes,
                       .gcmask = mask,
                       .kind = kind,
                       .align = align,
                       .comparable = true,
                       .name = copy,
                       .references = 1};
    return t;
}

struct type *type_new_basic(enum gomem_kind kind, struct gomem_error *err)
{
    if ((unsigned)kind >= GOMEM_POINTER) {
        error_set(err, GOMEM_INVALID_VALUE, "kind %d is not a basic kind", (int)kind);
        return NULL;
    }
    struct type *t =
        type_alloc(kind, basics[kind].name, basics[kind].size, basics[kind].align, 0, err);
    if (t != NULL)
        t->regular = kind < GOMEM_FLOAT32; /* zeros have signs, and NaN is not NaN */
    return t;
}

struct type *type_new_pointer(const char *name, struct gomem_error *err)
{
    struct type *t = type_alloc(GOMEM_POINTER, name, PTR_SIZE, PTR_SIZE, PTR_SIZE, err);
    if (t != NULL) {
        bitmap_set(t->gcmask, 0);
        t->regular = true;
    }
    ASSERT_SLOW(t == NULL || type_verify(t));
    return t;
}

/* Sets dst's mask to src's, shifted to byte offset. */
static void mask_copy(struct type *dst, const struct type *src, size_t offset)
{
    for (size_t i = 0; i < src->ptr_bytes / PTR_SIZE; i++)
        if (bitmap_get(src->gcmask, i))
            bitmap_set(dst->gcmask, offset / PTR_SIZE + i);
}

struct type *type_new_array(const struct type *elem, size_t length, struct gomem_error *err)
{
    if (elem->size != 0 && length > MAX_TYPE_SIZE / elem->size) {
        error_set(err, GOMEM_INVALID_VALUE, "type [%zu]%s would be larger than %d bytes", length,
                  elem->name, MAX_TYPE_SIZE);
        return NULL;
    }
    char *name;
    if (asprintf(&name, "[%zu]%s", length, elem->name) < 0) {
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory making type [%zu]%s", length,
                  elem->name);
        return NULL;
    }
    bool pointers = type_has_pointers(elem) && length > 0;
    size_t ptr_bytes = pointers ? (length - 1) * elem->size + elem->ptr_bytes : 0;
    struct type *t =
        type_alloc(GOMEM_ARRAY, name, elem->size * length, elem->align, ptr_bytes, err);
    free(name);
    if (t == NULL)
        return NULL;
    for (size_t i = 0; pointers && i < length; i++)
        mask_copy(t, elem, i * elem->size);
    type_retain(elem);
    t->elem = elem;
    t->length = length;
    t->comparable = elem->comparable;
    t->regular = elem->regular;
    ASSERT_SLOW(type_verify(t));
    return t;
}

struct type *type_new_struct(const char *name, const char *const *field_names,
                             const struct type *const *field_types, size_t nfields,
                             struct gomem_error *err)
{
    size_t offset = 0, ptr_bytes = 0, align = 1;
    struct type_field *fields = calloc(MAX(nfields, 1), sizeof *fields);
    if (fields == NULL)
        goto no_memory;
    for (size_t i = 0; i < nfields; i++) {
        const struct type *ft = field_types[i];
        offset = align_up(offset, ft->align);
        align = MAX(align, ft->align);
        fields[i].offset = offset;
        fields[i].type = ft;
        fields[i].name = strdup(field_names[i]);
        if (fields[i].name == NULL)
            goto free_names;
        if (type_has_pointers(ft))
            ptr_bytes = offset + ft->ptr_bytes;
        offset += ft->size;
        if (offset > MAX_TYPE_SIZE) {
            error_set(err, GOMEM_INVALID_VALUE, "type %s would be larger than %d bytes", name,
                      MAX_TYPE_SIZE);
            goto free_fields;
        }
    }
    /* A final field of size zero gets a byte of its own: its address must lie inside the struct. */
    if (nfields > 0 && offset > 0 && field_types[nfields - 1]->size == 0)
        offset++;
    struct type *t = type_alloc(GOMEM_STRUCT, name, align_up(offset, align), (uint32_t)align,
                                ptr_bytes, err);
    if (t == NULL)
        goto free_fields;
    t->fields = fields;
    t->nfields = nfields;
    t->regular = true;
    size_t nbytes = 0;
    for (size_t i = 0; i < nfields; i++) {
        type_retain(field_types[i]);
        mask_copy(t, field_types[i], fields[i].offset);
        t->comparable &= field_types[i]->comparable;
        t->regular &= field_types[i]->regular;
        nbytes += field_types[i]->size;
    }
    t->regular &= nbytes == t->size; /* padding can be anything */
    ASSERT_SLOW(type_verify(t));
    return t;

free_names:
    error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory making type %s", name);
free_fields:
    for (size_t i = 0; i < nfields; i++)
        free(fields[i].name);
    free(fields);
    return NULL;
no_memory:
    error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory making type %s", name);
    return NULL;
}

/* --- Values of several words --- */

struct type *type_new_string(struct gomem_error *err)
{
    struct type *t =
        type_alloc(GOMEM_STRING, "string", 2 * PTR_SIZE, PTR_SIZE, PTR_SIZE, err);
    if (t != NULL)
        bitmap_set(t->gcmask, 0);
    return t;
}

struct type *type_new_any(struct gomem_error *err)
{
    struct type *t =
        type_alloc(GOMEM_INTERFACE, "interface {}", 2 * PTR_SIZE, PTR_SIZE, 2 * PTR_SIZE, err);
    if (t != NULL) {
        bitmap_set(t->gcmask, 0);
        bitmap_set(t->gcmask, 1);
    }
    return t;
}

struct type *type_new_slice(const struct type *elem, struct gomem_error *err)
{
    char *name;
    if (asprintf(&name, "[]%s", elem->name) < 0) {
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory making type []%s", elem->name);
        return NULL;
    }
    struct type *t = type_alloc(GOMEM_SLICE, name, 3 * PTR_SIZE, PTR_SIZE, PTR_SIZE, err);
    free(name);
    if (t == NULL)
        return NULL;
    bitmap_set(t->gcmask, 0);
    t->comparable = false;
    type_retain(elem);
    t->elem = elem;
    return t;
}

/* --- Maps --- */

static struct type *struct_of_two(const char *name, const char *const names[2],
                                  const struct type *first, const struct type *second,
                                  struct gomem_error *err)
{
    return type_new_struct(name, names, (const struct type *const[]){first, second}, 2, err);
}

/* The group of a map with such slots; takes over nothing. */
static struct type *map_group(const char *name, const struct type *slot, struct gomem_error *err)
{
    struct type *slots = type_new_array(slot, MAP_GROUP_SLOTS, err);
    struct type *ctrl = slots == NULL ? NULL : type_new_basic(GOMEM_UINT64, err);
    struct type *group =
        ctrl == NULL ? NULL
                     : struct_of_two(name, (const char *const[]){"ctrl", "slots"}, ctrl, slots, err);
    type_release(slots);
    type_release(ctrl);
    return group;
}

/* Can two keys be equal that are not the same in all bits? */
static bool needs_key_update(const struct type *t)
{
    if (t->kind == GOMEM_ARRAY)
        return needs_key_update(t->elem);
    for (size_t i = 0; i < t->nfields; i++)
        if (needs_key_update(t->fields[i].type))
            return true;
    return t->kind != GOMEM_STRUCT && !t->regular;
}

static bool map_layout_init(struct map_layout *m, const char *name, const struct type *key,
                            const struct type *elem, struct gomem_error *err)
{
    bool ok = false;
    struct type *slot = NULL, *pointer = type_new_pointer("unsafe.Pointer", err);
    if (pointer == NULL)
        return false;
    m->key = key;
    m->elem = elem;
    m->indirect_key = key->size > MAP_MAX_INLINE;
    m->indirect_elem = elem->size > MAP_MAX_INLINE;
    m->update_key = needs_key_update(key);
    slot = struct_of_two(name, (const char *const[]){"key", "elem"},
                         m->indirect_key ? pointer : key, m->indirect_elem ? pointer : elem, err);
    m->group = slot == NULL ? NULL : map_group(name, slot, err);
    if (m->group != NULL) {
        m->slot_size = (uint32_t)slot->size;
        m->elem_offset = (uint32_t)slot->fields[1].offset;
        ok = true;
    }
    type_release(pointer);
    type_release(slot);
    return ok;
}

struct type *type_new_map(const struct type *key, const struct type *elem, struct gomem_error *err)
{
    if (!key->comparable) {
        error_set(err, GOMEM_INVALID_VALUE, "invalid map key type %s", key->name);
        return NULL;
    }
    char *name;
    if (asprintf(&name, "map[%s]%s", key->name, elem->name) < 0) {
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory making type map[%s]%s", key->name,
                  elem->name);
        return NULL;
    }
    struct type *t = type_alloc(GOMEM_MAP, name, PTR_SIZE, PTR_SIZE, PTR_SIZE, err);
    if (t != NULL && !map_layout_init(&t->map, name, key, elem, err)) {
        type_release(t);
        t = NULL;
    }
    free(name);
    if (t == NULL)
        return NULL;
    bitmap_set(t->gcmask, 0);
    t->comparable = false;
    type_retain(key);
    type_retain(elem);
    t->key = key;
    t->elem = elem;
    return t;
}

void type_retain(const struct type *t)
{
    fetch_add_relaxed(&((struct type *)t)->references, 1);
}

void type_release(const struct type *constant)
{
    struct type *t = (struct type *)constant;
    if (t == NULL || fetch_sub_acq_rel(&t->references, 1) != 1) /* with every other release */
        return;
    type_release(t->elem);
    type_release(t->key);
    type_release(t->map.group);
    for (size_t i = 0; i < t->nfields; i++) {
        type_release(t->fields[i].type);
        free(t->fields[i].name);
    }
    free(t->fields);
    free(t->gcmask);
    free(t->name);
    free(t);
}

bool type_verify(const struct type *t)
{
    if (!is_power_of_two(t->align) || t->size % t->align != 0)
        return false;
    if (t->ptr_bytes % PTR_SIZE != 0 || t->ptr_bytes > t->size)
        return false;
    if ((t->ptr_bytes == 0) != (t->gcmask == NULL))
        return false;
    return t->ptr_bytes == 0 || bitmap_get(t->gcmask, t->ptr_bytes / PTR_SIZE - 1);
}

