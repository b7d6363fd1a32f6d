/* A lock-free set of spans: where mcentral keeps those it may hand out and those that are full, and
 * where a P is told which of its spans others have freed objects in.
 *
 * A stack of spans linked through the spans themselves, so that no operation can fail. Membership is
 * a hint: a span leaves its place (span.h) the moment somebody frees an object of it or takes it, and
 * its entry here goes stale; whoever pops an entry locks the span and looks. A span has at most one
 * entry per kind of set (in_set, under its lock), and its structure is not reused while it has one.
 *
 * Called by mcentral and mcache.
 *
 * Concurrency: lock-free. The head is a pointer with a tag that changes with every push, so that a
 * pop cannot mistake a head that was popped and pushed again for the one it read.
 * Go: mspanset.go (there an array of blocks, exact, because only sweeping takes spans out).
 */
#ifndef GOMEM_HEAP_SPANSET_H
#define GOMEM_HEAP_SPANSET_H

#include "heap/span.h"

struct span_set {
    uint64_t head;  /* atomic: address of the first span (48 bits, 64-byte aligned) and a 22-bit tag */
    uint32_t count; /* atomic: entries, stale ones included */
    uint32_t dead;  /* atomic: entries whose span has been freed */
};

void span_set_push(struct span_set *set, enum set_kind kind, struct mspan *s);
/* An entry, stale or not; NULL if there is none. The caller must clear in_set under the span's lock. */
struct mspan *span_set_pop(struct span_set *set, enum set_kind kind);
/* Takes all entries at once, linked by set_next[kind]. */
struct mspan *span_set_take_all(struct span_set *set, enum set_kind kind);

#endif
