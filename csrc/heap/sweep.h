/* Sweeping: after marking, what has no mark is freed, span by span, by whoever needs memory and by a
 * thread in the background.
 *
 * The collector begins it with the world stopped and all caches flushed, so that no span is owned: the
 * sets of all mcentrals turn from swept to unswept. A span is swept when it is popped from an unswept
 * set, or when somebody takes it before. What has no mark is freed, and the marks are cleared; objects
 * that Ps took into their windows while marking went on have marks.
 *
 * Called by mcentral (allocation sweeps before it takes new memory) and gc/.
 *
 * A program that goes on as before needs as many spans of a class after a cycle as before it. So a span
 * that a cycle empties stays where it is until the next one, if there are not too many of them; one that is
 * still empty then goes back to the heap.
 *
 * Invariants: until the next cycle begins every span is swept (sweepgen); a swept span has no marks.
 *
 * Concurrency: a span is swept under its lock, once a cycle.
 * Go: mgcsweep.go.
 */
#ifndef GOMEM_HEAP_SWEEP_H
#define GOMEM_HEAP_SWEEP_H

#include "heap/mheap.h"

/* keep_bytes: of spans that may stay though they are empty. pre: the world is stopped, all caches are
 * flushed, and everything is swept. */
void sweep_begin(struct mheap *h, size_t keep_bytes);
/* Sweeps the next span; false if there was none left to begin with (others may still be at theirs). */
MUST_USE bool sweep_one(struct mheap *h, struct mcache *c);
/* Is everything swept? */
bool sweep_done(struct mheap *h);
/* Frees what has no mark in a span that is not swept yet. pre: under its lock, unowned. */
void sweep_span_locked(struct mheap *h, struct mcache *c, struct mspan *s);
/* A span of sc with free objects that was unswept until now, under its lock; NULL if a few tries found
 * none. */
struct mspan *sweep_for_allocation(struct mheap *h, struct mcache *c, span_class sc);

static inline bool span_is_swept(const struct mheap *h, const struct mspan *s)
{
    return load_relaxed(&s->sweepgen) == h->sweepgen;
}

#endif
