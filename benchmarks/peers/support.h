/* What all programs of peers/ share: clocks, memory that is not the allocator's, random numbers.
 *
 * Called by the workloads, through harness.h or collected.h.
 *
 * Concurrency: functions may be called by any thread; a random state is its thread's.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Seconds since some moment. */
double now(void);

/* Seconds of CPU this thread has had: for repetitions so long that others get a turn meanwhile. */
double cpu_now(void);

/* The same of all the program's threads: for work that the collector's threads have a part in. */
double process_cpu_now(void);

/* Nanoseconds since some moment. */
uint64_t nanoseconds(void);

/* The most memory the process ever had, as the kernel counts it: MiB. */
double peak_rss_mib(void);

/* Zeroed memory from the OS, touched. */
void *own_memory(size_t bytes);

/* A program that cannot go on. */
_Noreturn void die(const char *what);

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#endif
