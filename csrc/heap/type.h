/* Go types as the allocator sees them: size, alignment, and which words hold pointers.
 *
 * A type is built from others bottom up (a struct from its fields), laid out as Go lays it out on
 * this machine, and immutable afterwards. The heap keeps only its address: in malloc headers, in
 * spans of large objects, with the windows of Ps. So a type must outlive every heap it was allocated in.
 *
 * Maps are laid out here too, because the group of eight slots that their tables consist of is a type
 * like any other: the collector has to know its pointers.
 *
 * Concurrency: const once made; the reference count is atomic.
 * Go: internal/abi/type.go, internal/abi/map.go, cmd/compile/internal/types/size.go.
 */
#ifndef GOMEM_HEAP_TYPE_H
#define GOMEM_HEAP_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { PTR_SIZE = 8, MAX_TYPE_SIZE = 1 << 28 };

struct type_field {
    char *name;
    const struct type *type;
    size_t offset;
};

/* What the code of maps needs to know of a map type. */
struct map_layout {
    const struct type *group; /* struct { ctrl uint64; slots [8]struct { key K; elem E } } */
    const struct type *key, *elem;
    uint32_t slot_size, elem_offset; /* bytes; of the element in its slot */
    bool indirect_key, indirect_elem; /* larger than MAP_MAX_INLINE: the slot has a pointer to it */
    bool update_key;                  /* equal keys can differ in their bits */
};

enum { MAP_GROUP_SLOTS = 8, MAP_MAX_INLINE = 128 };

/* Invariants (type_verify): align divides size; ptr_bytes is a multiple of PTR_SIZE, at most size;
 * bit i of gcmask is set iff word i holds a pointer, and the last word below ptr_bytes does. */
struct type {
    size_t size;
    size_t ptr_bytes;  /* prefix that can hold pointers; 0: the type is noscan */
    uint64_t *gcmask;  /* ptr_bytes / 8 bits; NULL if there are none */
    enum gomem_kind kind;
    uint32_t align;
    char *name;
    bool comparable;   /* by ==: may be a map's key */
    bool regular;      /* equal means equal in all bytes */
    const struct type *elem; /* GOMEM_ARRAY, GOMEM_SLICE, GOMEM_MAP */
    const struct type *key;  /* GOMEM_MAP */
    struct map_layout map;   /* GOMEM_MAP */
    size_t length;           /* GOMEM_ARRAY: elements */
    struct type_field *fields; /* GOMEM_STRUCT */
    size_t nfields;
    uint32_t references; /* atomic */
};

/* Constructors return a new reference, or NULL with err filled: GOMEM_OUT_OF_MEMORY, or
 * GOMEM_INVALID_VALUE for a type over MAX_TYPE_SIZE. They take references to what they use. */
struct type *type_new_basic(enum gomem_kind kind, struct gomem_error *err);
struct type *type_new_pointer(const char *name, struct gomem_error *err);
struct type *type_new_array(const struct type *elem, size_t length, struct gomem_error *err);
struct type *type_new_struct(const char *name, const char *const *field_names,
                             const struct type *const *field_types, size_t nfields,
                             struct gomem_error *err);
struct type *type_new_string(struct gomem_error *err);
/* The interface without methods. */
struct type *type_new_any(struct gomem_error *err);
struct type *type_new_slice(const struct type *elem, struct gomem_error *err);
/* GOMEM_INVALID_VALUE, too, if keys cannot be compared. */
struct type *type_new_map(const struct type *key, const struct type *elem,
                          struct gomem_error *err);

void type_retain(const struct type *t);
void type_release(const struct type *t);
bool type_verify(const struct type *t);

static inline bool type_has_pointers(const struct type *t)
{
    return t->ptr_bytes != 0;
}

#endif
