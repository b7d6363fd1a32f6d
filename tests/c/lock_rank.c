/* The lock order checker, one case a run: those that are wrong must end the process with a
 * sentence, those that are right must not. Without a case it runs the right ones and lists the
 * others.
 *
 *     lock_rank [case]
 *
 * Concurrency: one thread, but for `threads`, in which two contend for one lock.
 * Go: lockrank_test.go.
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "platform/lock.h"
#include "platform/thread.h"

static struct lock runtime, mheap, other_mheap, regions;
static struct spin span, other_span;

static void init(void)
{
    lock_init(&runtime, RANK_RUNTIME);
    lock_init(&mheap, RANK_MHEAP);
    lock_init(&other_mheap, RANK_MHEAP);
    lock_init(&regions, RANK_REGIONS);
    spin_init(&span, RANK_SPAN);
    spin_init(&other_span, RANK_SPAN);
}

/* --- Right --- */

static void in_order(void)
{
    lock(&runtime);
    spin_lock(&span);
    lock(&mheap);
    lock(&regions);
    unlock(&regions);
    unlock(&mheap);
    spin_unlock(&span);
    unlock(&runtime);
}

/* What counts is what is held at the moment of taking, not the order of giving back. */
static void released_in_any_order(void)
{
    lock(&runtime);
    lock(&mheap);
    unlock(&runtime);
    lock(&regions);
    unlock(&mheap);
    unlock(&regions);
    lock(&runtime);
    unlock(&runtime);
}

static void try_of_a_free_lock(void)
{
    CHECK(lock_try(&mheap));
    unlock(&mheap);
    lock(&mheap);
    CHECK(!lock_try(&mheap)); /* held: no order is asked about */
    unlock(&mheap);
}

static void asserting_held(void)
{
    lock(&mheap);
    ASSERT_HELD(&mheap);
    unlock(&mheap);
    spin_lock(&span);
    ASSERT_SPIN_HELD(&span);
    spin_unlock(&span);
}

enum { THREADS = 4, ROUNDS = 20000 };

static unsigned counter, spun; /* under mheap, span */

static void *count(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        lock(&mheap);
        counter++;
        unlock(&mheap);
        spin_lock(&span);
        spun++;
        spin_unlock(&span);
    }
    return arg;
}

/* The held set is each thread's own, and the locks exclude. */
static void threads(void)
{
    struct thread t[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(thread_start(&t[i], "count", count, NULL));
    for (int i = 0; i < THREADS; i++)
        thread_join(&t[i]);
    CHECK_OP(counter, ==, THREADS * ROUNDS);
    CHECK_OP(spun, ==, THREADS * ROUNDS);
}

static void names(void)
{
    CHECK(strcmp(lock_rank_name(RANK_MHEAP), "MHEAP") == 0);
    CHECK(strcmp(lock_rank_name(RANK_RUNTIME), "RUNTIME") == 0);
    CHECK(strcmp(lock_rank_name(RANK_COUNT), "?") == 0);
}

/* --- Wrong --- */

static void out_of_order(void)
{
    lock(&mheap);
    lock(&runtime);
}

static void spin_after_lock(void)
{
    lock(&mheap);
    spin_lock(&span);
}

static void same_rank(void)
{
    lock(&mheap);
    lock(&other_mheap);
}

static void same_rank_spin(void)
{
    spin_lock(&span);
    spin_lock(&other_span);
}

static void twice(void)
{
    lock(&mheap);
    lock(&mheap);
}

static void try_out_of_order(void)
{
    lock(&regions);
    (void)lock_try(&mheap);
}

static void not_held(void)
{
    lock(&mheap);
    unlock(&runtime);
}

static void released_twice(void)
{
    lock(&mheap);
    unlock(&mheap);
    unlock(&mheap);
}

static void asserting_not_held(void)
{
    lock(&runtime);
    ASSERT_HELD(&mheap);
}

static const struct {
    const char *name;
    void (*run)(void);
    bool right;
} cases[] = {
    {"in_order", in_order, true},
    {"released_in_any_order", released_in_any_order, true},
    {"try_of_a_free_lock", try_of_a_free_lock, true},
    {"asserting_held", asserting_held, true},
    {"threads", threads, true},
    {"names", names, true},
    {"out_of_order", out_of_order, false},
    {"spin_after_lock", spin_after_lock, false},
    {"same_rank", same_rank, false},
    {"same_rank_spin", same_rank_spin, false},
    {"twice", twice, false},
    {"try_out_of_order", try_out_of_order, false},
    {"not_held", not_held, false},
    {"released_twice", released_twice, false},
    {"asserting_not_held", asserting_not_held, false},
};

int main(int argc, char **argv)
{
    init();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (argc < 2 && !cases[i].right) {
            printf("%s\n", cases[i].name);
        } else if (argc < 2 || strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            if (argc >= 2)
                return 0;
        }
    }
    return argc < 2 ? 0 : 2;
}
