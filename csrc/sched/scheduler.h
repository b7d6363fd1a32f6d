/* Which goroutine runs next.
 *
 * A scheduler is the goroutines of one program. A runner is the right to run them, with what goes with it: a
 * run queue, dead goroutines to use again, random numbers. (In Go both this and the memory cache are in the
 * P; here a P (p.h) is only held while somebody works on the heap, a runner for as long as he runs
 * goroutines.) An M is a thread that has a runner: it asks for the next goroutine, runs it in whatever way
 * its driver has until it parks, yields or ends, and asks again. Python has one M with one runner, because
 * there is one GIL, and because a greenlet cannot leave its thread.
 *
 * Invariants (scheduler_verify): every g that is not dead is in `all`; a runnable one is in one queue.
 *
 * Called by runtime/, and by g_ready.
 *
 * Concurrency: a runner belongs to one thread; it reads others' queues to steal. The global queue is under
 * the scheduler's lock.
 * Go: schedt, p, schedule, findRunnable, execute, goready, goschedImpl, newproc1 in proc.go.
 */
#ifndef GOMEM_SCHED_SCHEDULER_H
#define GOMEM_SCHED_SCHEDULER_H

#include "base/rng.h"
#include "platform/lock.h"
#include "sched/runq.h"

enum {
    GLOBAL_EVERY = 61, /* ticks after which the global queue is looked at first */
    MAX_RUNNERS = 1024,
};

struct runner {
    struct runq runq;
    struct scheduler *scheduler; /* const */
    uint32_t id;                 /* const */
    uint32_t tick;               /* own: time slices begun */
    uint32_t inherited;          /* own: goroutines that ran on in the time slice of another */
    int64_t slice_start;         /* own: ns, when the time slice began; 0: not asked yet */
    struct rng random;           /* own */
    struct g *dead;              /* own: list by schedlink, to be used again */
    uint64_t next_id, end_id;    /* own: ids of goroutines to come */
    uint64_t started, finished;  /* atomic, written by the owner */
};

struct scheduler {
    struct lock lock;
    struct gqueue global;  /* under lock; its n is atomic */
    struct list_node all;  /* under lock: every g there ever was; the dead are used again */
    uint64_t next_id;      /* atomic */
    uint32_t idle;         /* atomic: runners that sleep, or are about to */
    uint32_t event;        /* atomic: changes to wake them */
    struct hb *hb;         /* const; NULL: nobody listens */
    uint32_t nrunners;     /* const */
    struct runner runners[];
};

/* NULL: out of memory. seed: of random numbers. */
struct scheduler *scheduler_new(uint32_t nrunners, uint64_t seed, struct hb *hb);
/* pre: nobody runs, and nobody will ready a g of it. */
void scheduler_delete(struct scheduler *s);

/* A new goroutine, which runs next unless another is made before. by: who says `go`; NULL: nobody. NULL: out of
 * memory. */
struct g *scheduler_go(struct runner *r, const struct g *by, struct gomem_site site, void *data);
/* It has ended; it is the caller's last look at it. */
void scheduler_finish(struct runner *r, struct g *g);
/* It goes behind all others. */
void scheduler_yield(struct g *g);
/* Puts a g that was parked onto a queue. r: of who calls; NULL: a thread that has none. */
void scheduler_ready(struct g *g, struct runner *r);
/* The next to run, which is G_RUNNING now; NULL: there is none. */
struct g *scheduler_next(struct runner *r);
/* Sleeps until there may be one, at most timeout_ns. */
void scheduler_wait(struct runner *r, int64_t timeout_ns);
/* Is anything in a queue? */
bool scheduler_has_work(const struct scheduler *s);
/* Wakes who sleeps, for a reason of the caller's. */
void scheduler_wake(struct scheduler *s);
/* How many goroutines there are: exact if nobody else runs. */
uint64_t scheduler_count(const struct scheduler *s);
/* The first of those that are not dead, or the next; NULL: there is none. */
struct g *scheduler_each(struct scheduler *s, struct g *last);
/* pre: nobody runs. */
void scheduler_verify(struct scheduler *s);

#endif
