/* Starting and joining the library's own threads (the scavenger's, later the collector's).
 *
 * The threads block all signals: signals belong to the program that embeds the library.
 *
 * Concurrency: a struct thread belongs to whoever started it.
 * Go: newm.
 */
#ifndef GOMEM_PLATFORM_THREAD_H
#define GOMEM_PLATFORM_THREAD_H

#include <pthread.h>
#include <stdbool.h>

#include "base/check.h"

struct thread {
    pthread_t handle;
};

/* false when the system refuses another thread. name: at most 15 characters. */
MUST_USE bool thread_start(struct thread *t, const char *name, void *(*run)(void *), void *arg);
void thread_join(struct thread *t);
/* Lets another thread run. */
void thread_yield(void);

#endif
