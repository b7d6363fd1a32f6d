/* What something newer was put upon before its own free was seen.
 *
 * Go's tracer gives two events of a thread never the same time, but the later one the next tick (64
 * ns). A thread that sweeps writes its frees faster than that, so that its clock gets ahead, by up
 * to 100 us; another one allocates what it has swept, and seems to do so before. No event tells
 * that it did not: memory goes from one thread to another without a trace, so that order.h is of no
 * help. What still lives in the slot then waits here, under its address, for its free; frees look
 * here first, and take the oldest.
 *
 * Used by track.c.
 *
 * Invariant: the map leads from a key to the oldest entry of that key, which leads to the newest
 * and, like every other, to the next one.
 *
 * Concurrency: none; owned by the reader.
 * Go: runtime/tracebuf.go is where clocks get ahead.
 */
#ifndef GOMEM_GOTRACE_WAITING_H
#define GOMEM_GOTRACE_WAITING_H

#include "gotrace/map.h"

struct waiting_entry {
    uint32_t number; /* what waits */
    uint32_t next;   /* of the same key, or free; 0 none */
    uint32_t last;   /* of the same key; valid in the first */
};

struct waiting {
    struct map map;                /* key to index in entries */
    struct waiting_entry *entries; /* 0 is none */
    size_t nentries, capacity;
    uint32_t free;
    size_t n; /* that wait */
};

void waiting_init(struct waiting *w);
void waiting_free(struct waiting *w);
/* false: out of memory. */
MUST_USE bool waiting_add(struct waiting *w, uint64_t key, uint32_t number);
/* The oldest number under the key, which waits no longer; 0 if there is none. */
uint32_t waiting_take(struct waiting *w, uint64_t key);

#endif
