/* What the heap counts, and runtime.MemStats computed from it.
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

enum { MEMSTATS_BY_SIZE = 61 };

/* runtime.MemStats, Go's fields in Go's meaning; bytes unless said otherwise. */
struct memstats {
    uint64_t alloc, total_alloc, sys, lookups, mallocs, frees;
    uint64_t heap_alloc, heap_sys, heap_idle, heap_inuse, heap_released, heap_objects;
    uint64_t stack_inuse, stack_sys, mspan_inuse, mspan_sys, mcache_inuse, mcache_sys;
    uint64_t buck_hash_sys, gc_sys, other_sys;
    uint64_t next_gc;
    struct {
        uint32_t size;
        uint64_t mallocs, frees;
    } by_size[MEMSTATS_BY_SIZE]; /* classes 0 to 60 of the heap's table; zeros beyond its end */
    /* Beyond Go's struct (runtime/metrics has them): */
    uint64_t tiny_allocs;
    uint64_t mapped_ready, peak_mapped_ready;
    uint64_t large_allocs, large_frees;
    uint64_t scavenged_background, scavenged_eager, scavenged_forced;
};

/* pre: the world is stopped. */
void memstats_read(struct mheap *h, struct memstats *out);
bool memstats_verify(const struct memstats *m, char *why, size_t why_size);

#endif
