/* POSIX threads behind thread.h.
 *
 * Concurrency: see thread.h.
 * Go: newm, clone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/thread.h"

#include <sched.h>
#include <signal.h>

/* Our threads call little, and sanitizers make it more. */
enum { STACK_BYTES = 1 << 20 };

bool thread_start(struct thread *t, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0)
        return false;
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (failed == 0) {
        (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
        failed = pthread_create(&t->handle, &attr, run, arg);
        pthread_attr_destroy(&attr);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed == 0)
        pthread_setname_np(t->handle, name);
    return failed == 0;
}

void thread_yield(void)
{
    sched_yield();
}

void thread_join(struct thread *t)
{
    CHECK(pthread_join(t->handle, NULL) == 0);
}
