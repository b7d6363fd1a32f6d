/* What the heap counts, and runtime.MemStats (gomem.h) computed from it.
 *
 * Bytes by state are shared counters that mheap updates; objects are counted by each P in its mcache
 * and summed when somebody asks, with the world stopped. Of tiny objects only the blocks count as
 * objects, and the others as allocated and at once freed, as in Go.
 *
 * Invariants (memstats_verify): Sys is the sum of its parts; HeapSys = HeapInuse + HeapIdle;
 * HeapReleased <= HeapIdle; HeapObjects = Mallocs - Frees; mapped_ready = Sys - HeapReleased.
 *
 * Concurrency: struct byte_stats: atomic, and moved between states under the mheap lock where two
 * counters change together. struct large_stats: owner P only, read with the world stopped.
 * Go: mstats.go.
 */
#ifndef GOMEM_HEAP_MEMSTATS_H
#define GOMEM_HEAP_MEMSTATS_H

#include "heap/sizeclass.h"
#include "platform/os_mem.h"

struct mheap;

/* Bytes obtained from the OS, by what they are used for. */
struct byte_stats {
    struct os_stat heap_inuse;    /* spans of objects */
    struct os_stat heap_free;     /* backed by memory, in no span */
    struct os_stat heap_released; /* mapped, not backed */
    struct os_stat stacks_inuse;  /* spans of goroutine stacks */
    struct os_stat mspan_sys, mcache_sys, buckhash_sys, gc_sys, other_sys;
};

/* Large objects one P allocated and freed; small ones are counted in the slots of its mcache. */
struct large_stats {
    uint64_t allocs, alloc_bytes, frees, free_bytes;
};

/* pre: the world is stopped. */
void memstats_read(struct mheap *h, struct gomem_memstats *out);
bool memstats_verify(const struct gomem_memstats *m, char *why, size_t why_size);

#endif
