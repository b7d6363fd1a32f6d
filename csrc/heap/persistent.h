/* Metadata memory that is never given back while the heap lives: bump allocation from 256 KiB
 * chunks, and fixed-size allocators with free lists on top of it.
 *
 * Called by everything in heap/ that needs structures of its own.
 *
 * Invariant: a fixalloc's inuse is size times the number of its objects handed out.
 *
 * Concurrency: struct persistent has its own lock; a struct fixalloc is guarded by its owner (the
 * mheap lock unless its declaration says otherwise).
 * Go: persistentalloc in malloc.go, mfixalloc.go.
 */
#ifndef GOMEM_HEAP_PERSISTENT_H
#define GOMEM_HEAP_PERSISTENT_H

#include <stddef.h>
#include <stdint.h>

#include "platform/lock.h"
#include "platform/os_mem.h"

enum { PERSISTENT_CHUNK = 256 << 10, FIXALLOC_CHUNK = 16 << 10 };

struct persistent {
    struct lock lock;
    struct os_mem *om;         /* const */
    struct os_stat *other_sys; /* const: chunks count here until their parts get a purpose */
    char *next, *end;          /* under lock: the rest of the current chunk */
};

void persistent_init(struct persistent *p, struct os_mem *om, struct os_stat *other_sys);
/* Zeroed memory, counted in stat; NULL if the OS refuses. align: a power of two up to 4096. */
void *persistent_alloc(struct persistent *p, size_t size, size_t align, struct os_stat *stat);

struct fixalloc {
    struct persistent *persistent; /* const */
    struct os_stat *stat;          /* const */
    size_t size;                   /* const */
    size_t align;                  /* const */
    void *free_list;
    char *chunk;       /* rest of the current chunk */
    size_t chunk_left; /* bytes */
    size_t inuse;      /* bytes handed out; atomic writes, so that statistics can read it */
};

void fixalloc_init(struct fixalloc *f, struct persistent *p, size_t size, size_t align,
                   struct os_stat *stat);
/* Not zeroed when reused. NULL if the OS refuses. */
void *fixalloc_alloc(struct fixalloc *f);
void fixalloc_free(struct fixalloc *f, void *object);

#endif
