/* The allocator under test, as the workloads see it: four functions and a handle for each thread.
 *
 * Compiled with PEER_GOMEM it is gomem through its public header, linked statically; without it
 * malloc and free of whatever library the program is linked with. A thread's handle is its P in
 * gomem and nothing in malloc, which finds its thread's cache by itself.
 *
 * Concurrency: a handle belongs to one thread; an object may be freed by any.
 */
#ifndef ALLOC_API_H
#define ALLOC_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef PEER_GOMEM

#include "gomem.h"

typedef struct gomem_proc *alloc_handle;

/* NULL or the reason why it failed. */
const char *api_start(unsigned threads);
alloc_handle api_enter(unsigned thread);

static inline void api_leave(alloc_handle h)
{
    gomem_proc_release(h);
}

/* Called now and then by every thread that holds a handle. */
static inline void api_safepoint(alloc_handle h)
{
    if (!gomem_safepoint(h))
        abort();
}

static inline void *api_alloc(alloc_handle h, size_t size)
{
    return gomem_alloc(h, size);
}

static inline void *api_alloc_zeroed(alloc_handle h, size_t size)
{
    return gomem_alloc(h, size);
}

static inline void api_free(alloc_handle h, void *object)
{
    if (__builtin_expect(gomem_free(h, object) != GOMEM_OK, 0))
        abort();
}

#else

typedef char alloc_handle;

static inline const char *api_start(unsigned threads)
{
    (void)threads;
    return NULL;
}

static inline alloc_handle api_enter(unsigned thread)
{
    (void)thread;
    return 0;
}

static inline void api_leave(alloc_handle h)
{
    (void)h;
}

static inline void api_safepoint(alloc_handle h)
{
    (void)h;
}

static inline void *api_alloc(alloc_handle h, size_t size)
{
    (void)h;
    return malloc(size);
}

static inline void *api_alloc_zeroed(alloc_handle h, size_t size)
{
    (void)h;
    return calloc(1, size);
}

static inline void api_free(alloc_handle h, void *object)
{
    (void)h;
    free(object);
}

#endif

/* What an object's first byte is, while it lives. */
static inline unsigned char mark_of(const void *object)
{
    return (unsigned char)((uintptr_t)object >> 3 | 1);
}

/* What every workload does with a new object, the same for each allocator: its first byte is
 * written. (NULL, which no workload expects, ends the program here.) */
static inline void touch(void *object)
{
    *(volatile unsigned char *)object = mark_of(object);
}

/* Frees an object after a look whether its first byte is still what was written. */
static inline void drop(alloc_handle h, void *object)
{
    if (__builtin_expect(*(volatile unsigned char *)object != mark_of(object), 0))
        abort();
    api_free(h, object);
}

#endif
