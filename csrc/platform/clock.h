/* The monotonic clock and the wall clock, in nanoseconds.
 *
 * Concurrency: callable from any thread.
 * Go: nanotime, walltime.
 */
#ifndef GOMEM_PLATFORM_CLOCK_H
#define GOMEM_PLATFORM_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_nanotime(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Ns since 1970. */
static inline int64_t clock_unix(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif
