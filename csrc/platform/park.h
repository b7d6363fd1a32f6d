/* Sleeping until a word changes: the kernel's futex behind two functions.
 *
 * Called by lock.c, sched/ and the scavenger's thread.
 *
 * Concurrency: the word is accessed atomically by everyone; the kernel compares and sleeps in one
 * step, so a wake between the caller's check and its sleep is not lost.
 * Go: futexsleep, futexwakeup.
 */
#ifndef GOMEM_PLATFORM_PARK_H
#define GOMEM_PLATFORM_PARK_H

#include <limits.h>
#include <stdint.h>

#define PARK_FOREVER  (-1)
#define PARK_WAKE_ALL INT_MAX

/* Sleeps while *word == expected, at most timeout_ns. May return early for no reason: re-check. */
void park_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns);
/* Wakes up to n sleepers on word. */
void park_wake(uint32_t *word, int n);

#endif
