/* Growing the heap: address space in arenas of 64 MB, next to the last one where possible.
 *
 * Called by mheap when the page allocator has no room.
 *
 * Concurrency: under the mheap lock, except init.
 * Go: sysAlloc and mallocinit in malloc.go, grow in mheap.go.
 */
#ifndef GOMEM_HEAP_ARENA_H
#define GOMEM_HEAP_ARENA_H

#include "heap/mheap.h"

/* Reserves the arena map and notes where to ask for arenas. */
MUST_USE bool arena_init(struct mheap *h);
/* Gives at least npages more (whole chunks) to the page allocator, scavenged; false, with nothing
 * changed, if the OS refuses. *growth: how many bytes were added. */
MUST_USE bool arena_grow_locked(struct mheap *h, size_t npages, size_t *growth);

#endif
