/* Size-class tables and types, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: tables and types are immutable.
 * Go: internal/runtime/gc, internal/abi.
 */
#include <stdlib.h>

#include "gomem.h"
#include "heap/sizeclass.h"
#include "heap/type.h"

static const struct size_class_table *table_of(const struct gomem_size_classes *t)
{
    return (const struct size_class_table *)t;
}

struct gomem_size_class_rules gomem_size_class_rules_go(void)
{
    return size_class_rules_go();
}

struct gomem_size_class_rules gomem_size_class_rules_tcmalloc(void)
{
    return size_class_rules_tcmalloc();
}

/* Ends a constructor: t, or NULL if its table could not be made. */
static struct gomem_size_classes *finish(struct size_class_table *t, enum gomem_status status)
{
    if (status == GOMEM_OK)
        return (struct gomem_size_classes *)t;
    free(t);
    return NULL;
}

static struct size_class_table *table_alloc(struct gomem_error *err)
{
    struct size_class_table *t = malloc(sizeof *t);
    if (t == NULL)
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a table of size classes");
    return t;
}

struct gomem_size_classes *gomem_size_classes_make(const struct gomem_size_class_rules *rules,
                                                   struct gomem_error *err)
{
    struct size_class_table *t = table_alloc(err);
    return t == NULL ? NULL : finish(t, size_class_table_make(t, rules, err));
}

struct gomem_size_classes *gomem_size_classes_from(uint32_t page_size, const uint32_t *sizes,
                                                   const uint32_t *npages, size_t n,
                                                   struct gomem_error *err)
{
    struct size_class_table *t = table_alloc(err);
    return t == NULL ? NULL
                     : finish(t, size_class_table_from(t, page_size, sizes, npages, n, err));
}

void gomem_size_classes_delete(struct gomem_size_classes *t)
{
    free(t);
}

uint32_t gomem_size_classes_count(const struct gomem_size_classes *t)
{
    return table_of(t)->nclasses;
}

uint32_t gomem_size_classes_page_size(const struct gomem_size_classes *t)
{
    return (uint32_t)1 << table_of(t)->page_shift;
}

struct gomem_size_class gomem_size_classes_get(const struct gomem_size_classes *t,
                                               uint32_t size_class)
{
    return size_class_info(table_of(t), size_class);
}

uint32_t gomem_size_classes_lookup(const struct gomem_size_classes *t, size_t size, bool noscan)
{
    const struct size_class_table *table = table_of(t);
    if (size > table->max_small_size - MALLOC_HEADER_SIZE)
        return 0;
    if (!noscan && size > table->max_bitmap_size)
        size += MALLOC_HEADER_SIZE;
    return size_to_class(table, size);
}

size_t gomem_size_classes_round_up(const struct gomem_size_classes *t, size_t size, bool noscan)
{
    return round_up_size(table_of(t), size, noscan);
}

const uint8_t *gomem_size_classes_to_class8(const struct gomem_size_classes *t, size_t *n)
{
    *n = ARRAY_LEN(table_of(t)->size_to_class8);
    return table_of(t)->size_to_class8;
}

const uint8_t *gomem_size_classes_to_class128(const struct gomem_size_classes *t, size_t *n)
{
    *n = (table_of(t)->max_small_size - SMALL_SIZE_MAX) / LARGE_SIZE_DIV + 1;
    return table_of(t)->size_to_class128;
}

uint32_t gomem_size_classes_div_magic(const struct gomem_size_classes *t, uint32_t size_class)
{
    return table_of(t)->classes[size_class].div_magic;
}

/* --- Types --- */

static const struct type *type_of(const struct gomem_type *t)
{
    return (const struct type *)t;
}

struct gomem_type *gomem_type_basic(enum gomem_kind kind, struct gomem_error *err)
{
    return (struct gomem_type *)type_new_basic(kind, err);
}

struct gomem_type *gomem_type_pointer(const char *name, struct gomem_error *err)
{
    return (struct gomem_type *)type_new_pointer(name, err);
}

struct gomem_type *gomem_type_array(const struct gomem_type *elem, size_t length,
                                    struct gomem_error *err)
{
    return (struct gomem_type *)type_new_array(type_of(elem), length, err);
}

struct gomem_type *gomem_type_struct(const char *name, const char *const *field_names,
                                     const struct gomem_type *const *field_types, size_t nfields,
                                     struct gomem_error *err)
{
    return (struct gomem_type *)type_new_struct(
        name, field_names, (const struct type *const *)field_types, nfields, err);
}

struct gomem_type *gomem_type_string(struct gomem_error *err)
{
    return (struct gomem_type *)type_new_string(err);
}

struct gomem_type *gomem_type_any(struct gomem_error *err)
{
    return (struct gomem_type *)type_new_any(err);
}

struct gomem_type *gomem_type_slice(const struct gomem_type *elem, struct gomem_error *err)
{
    return (struct gomem_type *)type_new_slice(type_of(elem), err);
}

struct gomem_type *gomem_type_map(const struct gomem_type *key, const struct gomem_type *elem,
                                  struct gomem_error *err)
{
    return (struct gomem_type *)type_new_map(type_of(key), type_of(elem), err);
}

void gomem_type_retain(const struct gomem_type *t)
{
    type_retain(type_of(t));
}

void gomem_type_release(const struct gomem_type *t)
{
    type_release(type_of(t));
}

const char *gomem_type_name(const struct gomem_type *t)
{
    return type_of(t)->name;
}

enum gomem_kind gomem_type_kind(const struct gomem_type *t)
{
    return type_of(t)->kind;
}

size_t gomem_type_size(const struct gomem_type *t)
{
    return type_of(t)->size;
}

size_t gomem_type_align(const struct gomem_type *t)
{
    return type_of(t)->align;
}

size_t gomem_type_pointer_bytes(const struct gomem_type *t)
{
    return type_of(t)->ptr_bytes;
}

bool gomem_type_is_pointer_word(const struct gomem_type *t, size_t word)
{
    return word < type_of(t)->ptr_bytes / PTR_SIZE && bitmap_get(type_of(t)->gcmask, word);
}

size_t gomem_type_nfields(const struct gomem_type *t)
{
    return type_of(t)->nfields;
}

size_t gomem_type_field_offset(const struct gomem_type *t, size_t field)
{
    return type_of(t)->fields[field].offset;
}
