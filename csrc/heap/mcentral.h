/* The central list of one span class: spans with free objects, spans without, that belong to no P.
 *
 * A P takes a span with room from here; it comes back when the P is flushed or its spare spans are
 * shared out. Full spans are entered here while they still belong to the P that filled them, so that
 * a sweeper finds every span. There are two sets of each kind: the collector swaps their roles each
 * cycle (swept, unswept), as Go does.
 *
 * Invariant (heap_verify): every span with place PARTIAL or FULL has an entry in its set, and so has
 * every owned span that its P's slot and list do not lead to.
 *
 * Concurrency: lock-free sets; a span's own state is under its lock. No lock of its own.
 * Go: mcentral.go.
 */
#ifndef GOMEM_HEAP_MCENTRAL_H
#define GOMEM_HEAP_MCENTRAL_H

#include "heap/spanset.h"

struct mheap;
struct mcache;

struct mcentral {
    struct span_set sets[2][2]; /* SET_PARTIAL, SET_FULL; by sweepgen / 2 % 2 */
    uint64_t nspans;            /* atomic: spans of this class in use */
} CACHE_ALIGNED;

/* A span with at least one free object, owned by c from now on; NULL if the heap cannot grow. */
struct mspan *mcentral_cache_span(struct mheap *h, struct mcache *c, span_class sc);
/* Ends the ownership of a span, under its lock, which this releases: the span goes where its number of
 * live objects says. pre: c owns it, or its owner's token is worthless. */
void mcentral_unown_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s);
/* Takes a span that nobody owns, under its lock, which this releases, where its number of live objects
 * says: into a set, or back to the heap. keep: into a set though it is empty. */
void mcentral_place_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s, bool keep);
/* An owned span is full. */
void mcentral_note_full(struct mheap *h, struct mspan *s);
/* The same for a span that perhaps is, under its lock, which this releases: a hint too many does no harm. */
void mcentral_note_full_and_unlock(struct mheap *h, struct mspan *s);

/* Frees slot i of a span that is not c's, under its lock, which this releases. pre: the object is
 * live. */
void mcentral_free_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s, unsigned i);

/* A span of sc died that still has entries in the given sets; cleans up when there are many. */
void mcentral_note_dead(struct mheap *h, struct mcache *c, span_class sc, bool partial, bool full);
/* Notes under the span's lock that an entry of it was popped; true if that was the last reference to
 * a dead span, whose structure the caller must then return (mheap_recycle_span). */
bool span_entry_popped_locked(struct mspan *s, enum set_kind kind);

#endif
