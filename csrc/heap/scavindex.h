/* Which chunks have free pages that are still backed by memory, densest chunks left alone.
 *
 * Each chunk has eight bytes: how many pages are in use, how many were at the end of the last
 * generation (collection cycle), and whether anything may be left to release. Two cursors remember
 * at which chunk the search from the top of the heap stopped: one for the background scavenger, which sees
 * freed memory only from the next generation on, and one for forced scavenging, which sees it at
 * once. Called by pagealloc (alloc, free, grow) and scavenge (find).
 *
 * Invariant (pagealloc_verify): in_use equals the set bits of the chunk's bitmap, and a chunk with a
 * free page that is not scavenged has has_free set.
 *
 * Concurrency: guarded by the page allocator's lock.
 * Go: scavengeIndex in mgcscavenge.go (lock-free there; here a search is a few loads per chunk and is
 * followed by taking the lock anyway).
 */
#ifndef GOMEM_HEAP_SCAVINDEX_H
#define GOMEM_HEAP_SCAVINDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/pagebits.h"

/* A chunk at or above this occupancy is not scavenged in the background: 96.875 %. */
enum { SCAV_CHUNK_HIGH_OCCUPANCY = CHUNK_PAGES * 31 / 32 };

struct scav_chunk {
    uint16_t in_use;
    uint16_t last_in_use;
    uint32_t gen : 31;
    uint32_t has_free : 1;
};

struct scav_index {
    struct scav_chunk *chunks; /* const; indexed by chunk; mapped for [mapped_min, mapped_max) */
    size_t mapped_min, mapped_max;
    size_t min_chunk; /* lowest chunk of the heap */
    size_t background, force; /* cursors: search downwards from this chunk; 0: nothing to find */
    size_t free_high; /* highest chunk with a page freed in this generation */
    uint32_t gen;
};

void scav_index_alloc(struct scav_index *s, size_t chunk, unsigned npages);
void scav_index_free(struct scav_index *s, size_t chunk, unsigned npages);
/* Highest chunk worth scavenging; 0 if there is none. */
size_t scav_index_find(struct scav_index *s, bool force);
/* Nothing is left to release in this chunk. */
void scav_index_set_empty(struct scav_index *s, size_t chunk);
/* A new generation: what was freed in the last one becomes visible to the background scavenger. */
void scav_index_next_gen(struct scav_index *s);

#endif
