/* The slow paths of struct lock, and the held-set check of debug builds.
 *
 * Called by lock.h's inline functions when a lock is contended.
 *
 * Concurrency: the held set is thread-local; one of the two mutable variables outside a runtime
 * (the other is sched/p.c's hint).
 * Go: lock_futex.go, lockrank_on.go.
 */
#include "platform/lock.h"

#include <sched.h>

#include "base/bits.h"
#include "platform/cpu.h"
#include "platform/park.h"

/* How long to spin before sleeping: about a microsecond, the length of a page allocation. */
enum { SPIN_ROUNDS = 40, SPIN_PAUSES = 10 };

static const char *const rank_names[] = {
#define LOCK_RANK(name, sentence) #name,
#include "platform/lock_rank.def"
#undef LOCK_RANK
};

const char *lock_rank_name(enum lock_rank rank)
{
    return (unsigned)rank < ARRAY_LEN(rank_names) ? rank_names[rank] : "?";
}

NOINLINE void lock_slow(struct lock *l)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        uint32_t expected = LOCK_FREE;
        if (load_relaxed(&l->state) == LOCK_FREE && cas_acquire(&l->state, &expected, LOCK_HELD))
            return;
        for (int j = 0; j < SPIN_PAUSES; j++)
            cpu_pause();
    }
    /* From here on whoever gets the lock marks it as having sleepers: it cannot know there are none. */
    while (exchange_acquire(&l->state, LOCK_SLEEPERS) != LOCK_FREE) /* with unlock's release */
        park_wait(&l->state, LOCK_SLEEPERS, PARK_FOREVER);
}

NOINLINE void unlock_slow(struct lock *l)
{
    park_wake(&l->state, 1);
}

NOINLINE void spin_slow(struct spin *s)
{
    for (unsigned i = 0;; i++) {
        uint32_t expected = LOCK_FREE;
        if (load_relaxed(&s->l.state) == LOCK_FREE &&
            cas_acquire(&s->l.state, &expected, LOCK_HELD)) /* with spin_unlock's release */
            return;
        if (i < SPIN_ROUNDS)
            cpu_pause();
        else
            sched_yield();
    }
}

#if GOMEM_CHECK_LEVEL >= 1

enum { MAX_HELD = 16 };

static _Thread_local const struct lock *held[MAX_HELD] INITIAL_EXEC;
static _Thread_local unsigned nheld INITIAL_EXEC;

void lock_rank_acquire(struct lock *l)
{
    for (unsigned i = 0; i < nheld; i++) {
        if (held[i]->rank >= l->rank) {
            fprintf(stderr, "gomem: lock order violated: taking %s while holding %s\n",
                    lock_rank_name(l->rank), lock_rank_name(held[i]->rank));
            abort();
        }
    }
    CHECK_OP(nheld, <, MAX_HELD);
    held[nheld++] = l;
}

void lock_rank_release(struct lock *l)
{
    for (unsigned i = nheld; i-- > 0;) {
        if (held[i] == l) {
            held[i] = held[--nheld];
            return;
        }
    }
    fprintf(stderr, "gomem: releasing %s, which this thread does not hold\n",
            lock_rank_name(l->rank));
    abort();
}

bool lock_rank_holds(const struct lock *l)
{
    for (unsigned i = 0; i < nheld; i++)
        if (held[i] == l)
            return true;
    return false;
}

#endif
