/* Interfaces without methods: a word for the type, a word for the value.
 *
 * Pointers and maps are their own second word; anything else is an object of its own that the word
 * points to, but for zero-sized values, small integers and empty strings and slices, which are outside of
 * the heap. The word for a type is the address of a struct type, whose lowest bit says "pointer to it".
 *
 * Called by runtime/, the code of maps and pools.
 *
 * Concurrency: the caller holds p; types are immutable, and outlive the heap.
 * Go: eface in runtime/runtime2.go, convT and its like in runtime/iface.go.
 */
#ifndef GOMEM_OBJECT_INTERFACE_H
#define GOMEM_OBJECT_INTERFACE_H

#include "object/panic.h"
#include "object/typed_memory.h"

enum { INTERFACE_POINTER_TO = 1 };

static inline const struct type *interface_type(const struct gomem_interface *i)
{
    return (const struct type *)(i->type & ~(uintptr_t)INTERFACE_POINTER_TO);
}

static inline bool interface_is_pointer(const struct gomem_interface *i)
{
    return i->type & INTERFACE_POINTER_TO;
}

/* Is a value of type t the word itself? */
static inline bool type_is_direct(const struct type *t)
{
    return t->kind == GOMEM_POINTER || t->kind == GOMEM_MAP;
}

/* The interface of a value of type t; an object is made if it takes one. */
MUST_USE enum gomem_status interface_of(struct p *p, const struct type *t, const void *value,
                                        struct gomem_interface *out, struct gomem_error *err);
/* Where the value is. */
static inline const void *interface_value(const struct gomem_interface *i)
{
    bool direct = interface_is_pointer(i) || type_is_direct(interface_type(i));
    return direct ? (const void *)&i->value : i->value;
}

#endif
