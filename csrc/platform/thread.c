/* POSIX threads behind thread.h.
 *
 * Concurrency: see thread.h.
 * Go: newm, clone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/thread.h"

#include <signal.h>

bool thread_start(struct thread *t, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0)
        return false;
    int failed = pthread_create(&t->handle, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed == 0)
        pthread_setname_np(t->handle, name);
    return failed == 0;
}

void thread_join(struct thread *t)
{
    CHECK(pthread_join(t->handle, NULL) == 0);
}
