/* Looking at a marking that goes on: where all markers stand still, and what is grey.
 *
 * A stop of the world stops the program, not those who mark without a P. They count themselves while they
 * mark, and look up now and then: in a pause all that is grey is in the pool, in the buffers of Ps, of the
 * roots, or of the marker that is stepped.
 *
 * Called by verify.c, graph.c, runtime/ (pausing), workers.c and step.c (counting).
 *
 * Concurrency: who pauses has stopped the world; markers look up holding nothing.
 * Go: no counterpart.
 */
#ifndef GOMEM_GC_GREYS_H
#define GOMEM_GC_GREYS_H

#include "gc/gc.h"

/* Around marking without a P: waits for the end of a pause. */
void markers_enter(struct gc *gc);
void markers_leave(struct gc *gc);
void markers_wait(struct gc *gc, struct marker *m);
/* pre: entered, and the marker's ring is empty. */
static inline void markers_look_up(struct gc *gc, struct marker *m)
{
    if (UNLIKELY(load_relaxed(&gc->pause)))
        markers_wait(gc, m);
}

/* Nobody marks from here to there. pre: the world is stopped, and stays so. */
void markers_pause(struct gc *gc);
void markers_resume(struct gc *gc);

/* Addresses; grows as it must. */
struct address_set {
    uintptr_t *slots; /* 0: empty */
    size_t n, capacity;
};

/* false: no memory. *added: it was not there. */
MUST_USE bool address_set_add(struct address_set *set, uintptr_t p, bool *added);
bool address_set_has(const struct address_set *set, uintptr_t p);
void address_set_free(struct address_set *set);

/* What is grey. Objects are known by the address of their slot. */
struct greys {
    struct address_set objects; /* marked, in some buffer of grey objects */
    struct address_set shaded;  /* in a P's barrier buffer, marked or not */
    bool overflowed;            /* any marked object may be grey (work.h) */
};

/* false: no memory. pre: markers are paused, or none are at work; the roots' lock is held. */
MUST_USE bool greys_collect_locked(struct gc *gc, struct greys *out);
void greys_free(struct greys *g);

/* The slot of the object that p points into; 0: into none. *s, *i: where it is. */
uintptr_t greys_object_at(struct mheap *h, uintptr_t p, struct mspan **s, unsigned *i);

#endif
