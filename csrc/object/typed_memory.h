/* Copying and clearing memory that holds values of a Go type, while the collector may be marking.
 *
 * Every pointer that changes in an object goes through the write barrier: what was there and what comes
 * is told to the collector, for all pointers of a type at once. Words are stored whole, because a marker
 * may be reading them.
 *
 * Called by everything in this room, and by runtime/.
 *
 * Concurrency: the caller holds p. Whether marking goes on does not change until p's next safepoint.
 * Go: typedmemmove, typedslicecopy, typedmemclr, bulkBarrierPreWrite in mbarrier.go and mbitmap.go.
 */
#ifndef GOMEM_OBJECT_TYPED_MEMORY_H
#define GOMEM_OBJECT_TYPED_MEMORY_H

#include <string.h>

#include "heap/malloc.h"
#include "sched/p.h"

/* Does marking go on, so that stores of pointers must be told? */
static inline bool p_marks(const struct p *p)
{
    return UNLIKELY(load_relaxed(&p->barrier) != 0);
}

void pointer_store_slow(struct p *p, void **slot, void *value);

/* *slot = value, for a pointer in an object. */
static inline void pointer_store(struct p *p, void *slot, const void *value)
{
    if (p_marks(p))
        pointer_store_slow(p, slot, (void *)value);
    else
        store_release((void **)slot, (void *)value); /* with the marker's loads, in a later cycle */
}

static inline void *pointer_load(const void *slot)
{
    return load_relaxed((void *const *)slot);
}

/* Copies n values of type t; the two may overlap. */
void typed_copy(struct p *p, const struct type *t, void *to, const void *from, size_t n);
/* The same to memory of a new object that nobody else knows and that holds no pointers yet. */
void typed_init(struct p *p, const struct type *t, void *to, const void *from, size_t n);
/* Makes n values of type t zero. */
void typed_clear(struct p *p, const struct type *t, void *at, size_t n);

/* n zeroed values of type t as an object; NULL: out of memory, now. */
static inline void *object_alloc(struct p *p, const struct type *t, size_t n)
{
    size_t size;
    if (__builtin_mul_overflow(t->size, n, &size))
        return NULL;
    return malloc_typed(p->mcache, size, t);
}

#endif
