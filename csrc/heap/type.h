/* Go types as the allocator sees them: size, alignment, and which words hold pointers.
 *
 * A type is built from others bottom up (a struct from its fields), laid out as Go lays it out on
 * this machine, and immutable afterwards. The heap keeps only its address, in malloc headers and in
 * spans of large objects, so a type must outlive every heap it was allocated in.
 *
 * Concurrency: const once made; the reference count is atomic.
 * Go: internal/abi/type.go, cmd/compile/internal/types/size.go.
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

/* Invariants (type_verify): align divides size; ptr_bytes is a multiple of PTR_SIZE, at most size;
 * bit i of gcmask is set iff word i holds a pointer, and the last word below ptr_bytes does. */
struct type {
    size_t size;
    size_t ptr_bytes;  /* prefix that can hold pointers; 0: the type is noscan */
    uint64_t *gcmask;  /* ptr_bytes / 8 bits; NULL if there are none */
    enum gomem_kind kind;
    uint32_t align;
    char *name;
    const struct type *elem; /* GOMEM_ARRAY */
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

void type_retain(const struct type *t);
void type_release(const struct type *t);
bool type_verify(const struct type *t);

static inline bool type_has_pointers(const struct type *t)
{
    return t->ptr_bytes != 0;
}

#endif
