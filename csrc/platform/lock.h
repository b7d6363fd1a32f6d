/* A mutual exclusion lock of one word, and the rank that says in which order locks may be taken.
 *
 * Three states, as Drepper's "Futexes are tricky": free, held, held with sleepers. A contended lock
 * spins briefly, then sleeps in the kernel. Ranks come from lock_rank.def; with GOMEM_CHECK_LEVEL
 * >= 1 each thread remembers what it holds and a violation of the order ends the process.
 *
 * Concurrency: this is the thing itself.
 * Go: lock_futex.go, lockrank_on.go.
 */
#ifndef GOMEM_PLATFORM_LOCK_H
#define GOMEM_PLATFORM_LOCK_H

#include <stdint.h>

#include "base/atomic.h"
#include "base/check.h"

enum lock_rank {
#define LOCK_RANK(name, sentence) RANK_##name,
#include "platform/lock_rank.def"
#undef LOCK_RANK
    RANK_COUNT
};

enum { LOCK_FREE, LOCK_HELD, LOCK_SLEEPERS };

struct lock {
    uint32_t state; /* atomic: LOCK_FREE, LOCK_HELD, LOCK_SLEEPERS */
#if GOMEM_CHECK_LEVEL >= 1
    uint32_t rank; /* const after lock_init */
#endif
};

const char *lock_rank_name(enum lock_rank rank);
void lock_slow(struct lock *l);
void unlock_slow(struct lock *l);

#if GOMEM_CHECK_LEVEL >= 1
void lock_rank_acquire(struct lock *l);
void lock_rank_release(struct lock *l);
bool lock_rank_holds(const struct lock *l);
#define ASSERT_HELD(l) CHECK(lock_rank_holds(l))
#else
#define ASSERT_HELD(l) ((void)0)
#endif

/* A lock for sections of a few dozen instructions: its release is a plain store, which matters where
 * a lock is taken for every object. A waiter spins, then yields. */
struct spin {
    struct lock l; /* never in state LOCK_SLEEPERS */
};

void spin_slow(struct spin *s);

static inline void lock_init(struct lock *l, enum lock_rank rank)
{
    store_relaxed(&l->state, LOCK_FREE);
#if GOMEM_CHECK_LEVEL >= 1
    l->rank = rank;
#else
    (void)rank;
#endif
}

static inline void lock(struct lock *l)
{
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_acquire(l);
#endif
    uint32_t expected = LOCK_FREE;
    if (UNLIKELY(!cas_acquire(&l->state, &expected, LOCK_HELD))) /* with unlock's release */
        lock_slow(l);
}

static inline bool lock_try(struct lock *l)
{
    uint32_t expected = LOCK_FREE;
    if (!cas_acquire(&l->state, &expected, LOCK_HELD)) /* with unlock's release */
        return false;
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_acquire(l);
#endif
    return true;
}

static inline void unlock(struct lock *l)
{
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_release(l);
#endif
    if (UNLIKELY(exchange_release(&l->state, LOCK_FREE) == LOCK_SLEEPERS)) /* with lock's acquire */
        unlock_slow(l);
}

/* Takes a lock that is held out of this thread's held set, and back into it, before it is unlocked. For
 * a fork, which holds the locks of many heaps at once: ranks order those of one. */
static inline void lock_set_aside(struct lock *l)
{
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_release(l);
#else
    (void)l;
#endif
}

static inline void lock_take_up(struct lock *l)
{
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_acquire(l);
#else
    (void)l;
#endif
}

static inline void spin_init(struct spin *s, enum lock_rank rank)
{
    lock_init(&s->l, rank);
}

static inline void spin_lock(struct spin *s)
{
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_acquire(&s->l);
#endif
    uint32_t expected = LOCK_FREE;
    if (UNLIKELY(!cas_acquire(&s->l.state, &expected, LOCK_HELD))) /* with spin_unlock's release */
        spin_slow(s);
}

static inline void spin_unlock(struct spin *s)
{
#if GOMEM_CHECK_LEVEL >= 1
    lock_rank_release(&s->l);
#endif
    store_release(&s->l.state, LOCK_FREE); /* with spin_lock's acquire */
}

#define ASSERT_SPIN_HELD(s) ASSERT_HELD(&(s)->l)

#endif
