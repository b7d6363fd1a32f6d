/* A goroutine, as far as the core knows it, and its places in queues of those who wait.
 *
 * Primitives take a g and answer an outcome; none of them switches a stack. A g that has parked is waited
 * for by nobody in particular: who finishes its operation calls ready, and what that means is its driver's
 * business. Goroutines of a scheduler (scheduler.h) go onto a run queue; a plain thread, whose g is its
 * own for the length of a call, is woken where it sleeps.
 *
 * Invariants (g_verify): g->waiting lists the sudogs of the operation that is parked, in the order of their
 * channels' addresses, each with s->g == g; it is empty unless the g waits, or has been readied and has not
 * finished its operation yet. A g is on at most one run queue, and then it is G_RUNNABLE.
 *
 * Concurrency: fields say who may touch them. "Own": whoever runs it; while it is parked, nobody. What its
 * waker writes (param, a sudog's success) is written before ready, and read after it.
 * Go: g, sudog in runtime2.go.
 */
#ifndef GOMEM_SCHED_G_H
#define GOMEM_SCHED_G_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/list.h"
#include "base/rng.h"
#include "gomem.h"
#include "hb/gate.h"

struct hchan;
struct runner;
struct scheduler;

/* What g->select says of the operation it parks for: a select has several wakers, and one must win. */
enum { SELECT_OPEN, SELECT_WON };

/* A g that waits in a queue. */
struct sudog {
    struct sudog *next, *prev; /* under the queue's lock */
    struct g *g;
    struct hchan *c;           /* own */
    void *elem;                /* what is sent, or where to; under the queue's lock */
    struct sudog *waitlink;    /* own: the next of g->waiting */
    uint32_t index;            /* own: of the case, in a select */
    bool is_select, is_send;   /* own */
    bool queued;               /* under the queue's lock */
    bool success;              /* by the waker: something was handed over; false: closed */
};

/* Memory for a select of up to `capacity` cases; a g keeps it for the next. */
struct select_room {
    struct sudog *sudogs;
    uint16_t *order; /* 2 * capacity */
    uint32_t capacity;
};

struct g {
    uint32_t state;       /* atomic: enum gomem_g_state */
    uint32_t select;      /* atomic: SELECT_WON by the waker that finishes it */
    uint32_t event;       /* atomic: of a thread, changes when it is readied */
    uint32_t reason;      /* own: enum gomem_wait_reason */
    struct sudog *waiting; /* own */
    struct sudog *param;  /* by the waker: which sudog it finished */
    struct g *schedlink;  /* of who has it in a list of runnable ones */
    struct runner *runner; /* own: who runs it; NULL: a thread */
    struct scheduler *scheduler; /* const; NULL: a thread */
    struct hb *hb;        /* const */
    const char *panic;    /* own: the text, after PANIC */
    struct sudog sudog;   /* own: for operations that wait in one queue; they need no memory */
    struct select_room select_room; /* own */
    struct list_node all; /* under the scheduler's lock */
    uint64_t id, parent_id; /* const */
    struct gomem_site site; /* const: where it was created */
    struct rng random;    /* own: a thread's; goroutines use their runner's */
    void *data;           /* the driver's */
};

/* A g for a thread that blocks by sleeping. It holds no memory but what a select needs. */
void g_init_thread(struct g *g, uint64_t seed);
/* Gives up memory that a select needed. */
void g_end(struct g *g);

/* Room for a select of n cases: false if there is no memory. */
MUST_USE bool g_reserve(struct g *g, uint32_t n);

/* From here on others may ready it: called with the queues' locks held that its sudogs are in. */
static inline enum gomem_outcome g_park(struct g *g, enum gomem_wait_reason reason)
{
    g->reason = reason;
    store_release(&g->state, GOMEM_G_WAITING); /* with who lists goroutines */
    return GOMEM_PARK;
}

static inline enum gomem_outcome g_panic(struct g *g, const char *text)
{
    g->panic = text;
    return GOMEM_PANICS;
}

/* Lets a g go on that was parked, and that the caller has taken out of its queue. by: who runs here. */
void g_ready(struct g *g, struct g *by);

/* Sleeps until the thread's g is readied, at most timeout_ns; was it? It may return early. */
MUST_USE bool g_sleep(struct g *g, int64_t timeout_ns);

/* Names of states and reasons, as Go prints them. */
const char *g_status_name(enum gomem_g_state state, enum gomem_wait_reason reason);

/* Aborts if an invariant does not hold. pre: nobody else touches it. */
void g_verify(const struct g *g);

#endif
