/* Queues of goroutines that can run.
 *
 * A runq is one runner's: a ring of 256 and, before it, one that runs next. Its owner puts and gets; others
 * take half of it. What does not fit goes to the global queue, half of the ring at a time. A gqueue is a
 * list through g->schedlink: the global queue, and what travels between queues.
 *
 * Invariants (runq_verify, gqueue_verify): head <= tail <= head + 256, counted for ever; each g is in one
 * queue, once, and is G_RUNNABLE.
 *
 * Called by scheduler.c.
 *
 * Concurrency: runq: lock-free; fields say who writes them. gqueue: whoever guards it.
 * Go: p.runqhead and so on, runqput, runqget, runqgrab, runqsteal, gQueue in proc.go.
 */
#ifndef GOMEM_SCHED_RUNQ_H
#define GOMEM_SCHED_RUNQ_H

#include "sched/g.h"

enum { RUNQ_SIZE = 256 };

struct gqueue {
    struct g *head, *tail;
    uint32_t n; /* atomic, so that one can look before one takes the lock */
};

struct runq {
    struct g *next;  /* atomic: set by the owner, taken by anybody */
    uint32_t head;   /* atomic: moved on by who takes */
    uint32_t tail;   /* atomic: moved on by the owner */
    struct g *ring[RUNQ_SIZE]; /* atomic: from head to tail */
};

void gqueue_push(struct gqueue *q, struct g *g);
void gqueue_push_all(struct gqueue *q, struct gqueue *from);
/* NULL: empty. */
struct g *gqueue_pop(struct gqueue *q);

/* Puts a g in; as the next one to run, for which another may move to the tail. Half of a full ring goes into
 * *overflow, with what did not fit. By the owner. */
void runq_put(struct runq *q, struct g *g, bool next, struct gqueue *overflow);
/* The one that runs next; NULL: there is none. By the owner. */
struct g *runq_take_next(struct runq *q);
/* The first of the ring; NULL: empty. By the owner. */
struct g *runq_get(struct runq *q);
/* Takes half of the other's, or else the one it would run next: one to run, the others are in q; NULL:
 * nothing to take. By the owner of q, which is empty. */
struct g *runq_steal(struct runq *q, struct runq *from, bool take_next);
/* How many there are: a guess, unless by the owner with nobody stealing. */
uint32_t runq_length(const struct runq *q);

/* pre: nobody touches it meanwhile. */
void runq_verify(const struct runq *q);
void gqueue_verify(const struct gqueue *q);

#endif
