/* Walking the whole heap: is everything where it says it is? And: what is at an address?
 *
 * Called by the runtime (verify, lookup, span listing) and by tests after every step.
 *
 * Concurrency: heap_verify, heap_next_span: the world is stopped. heap_lookup: any thread; its answer
 * for an object that another thread is allocating or freeing right now may be either.
 * Go: the checks scattered through mheap.go and mgcsweep.go; findObject in mbitmap.go.
 */
#ifndef GOMEM_HEAP_VERIFY_H
#define GOMEM_HEAP_VERIFY_H

#include "heap/mcache.h"

/* GOMEM_CORRUPT with the first broken invariant and where it is. */
MUST_USE enum gomem_status heap_verify(struct mheap *h, struct gomem_error *err);

struct heap_lookup {
    enum gomem_place place;
    uintptr_t arena_base;
    struct mspan *span;     /* of FREE_SLOT, OBJECT, SPAN_TAIL, STACK */
    uintptr_t span_base;
    size_t span_pages;
    span_class span_class;
    unsigned index;         /* of the slot */
    uintptr_t object;       /* first byte its user may use; of a tiny object: its own */
    size_t size;            /* usable bytes; of a tiny object: up to the next one or the block's end */
    bool tiny;
};

void heap_lookup(struct mheap *h, uintptr_t p, struct heap_lookup *out);

/* The span in use (or stack span) with the lowest base >= from; NULL if there is none. */
struct mspan *heap_next_span(struct mheap *h, uintptr_t from);
/* Live objects of a span, the window and remote frees taken into account. */
unsigned span_live(const struct mheap *h, const struct mspan *s);

#endif
