/* What the allocator knows of the collector: a word that says what it is doing, a size at which to call
 * it, and how far sweeping has got.
 *
 * The collector (gc/) fills this in; the allocator reads it where it takes memory for many objects at
 * once, never for a single one. A heap without a collector has phase OFF and no hook.
 *
 * Concurrency: phase changes with the world stopped; the rest is atomic or const.
 * Go: gcphase, gcController.heapLive, .heapScan and .trigger, gcCPULimiter.limiting, mheap_.sweep*.
 */
#ifndef GOMEM_HEAP_HOOKS_H
#define GOMEM_HEAP_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "platform/cpu.h"

struct mcache;

enum gc_phase { GC_OFF, GC_MARK };

struct heap_gc {
    uint32_t phase;     /* atomic, enum gc_phase */
    uint64_t trigger;   /* atomic: heap_live from which on the hook is called; UINT64_MAX: never */
    uint64_t heap_live; /* atomic: bytes that were marked last time, and taken by Ps since */
    uint64_t heap_scan; /* atomic: of these, bytes that may have to be scanned; not counted while marking */
    int64_t garbage;    /* atomic: bytes that the last cycle found dead, not swept yet; a guess */
    uint32_t limited;   /* atomic: there is a memory limit: the trigger changes with all memory, the hook looks */
    uint32_t cpu_limited; /* atomic: the collector uses too much CPU: nobody scavenges for an allocation */
    void (*on_slow_path)(void *gc, struct mcache *c, size_t bytes); /* const once Ps run; or NULL */
    void *gc;
};

/* Sweeping goes through the unswept sets of all mcentrals, one after the other. */
struct sweep_state {
    uint32_t cursor CACHE_ALIGNED; /* atomic: set to look into next; beyond the last: all are done */
    uint32_t active;               /* atomic: those who look into an unswept set or sweep */
    int64_t keep_bytes;            /* atomic: of empty spans that may stay in their classes */
};

#endif
