/* Linux futexes: the only place the library sleeps.
 *
 * Called through park.h.
 *
 * Concurrency: see park.h; private futexes, so nothing is shared between processes.
 * Go: os_linux.go (futexsleep, futexwakeup).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/park.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void park_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    struct timespec timeout, *t = NULL;
    if (timeout_ns >= 0) {
        timeout.tv_sec = timeout_ns / 1000000000;
        timeout.tv_nsec = timeout_ns % 1000000000;
        t = &timeout;
    }
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, t, NULL, 0);
}

void park_wake(uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}
