/* Ps: the right to run, and what goes with it.
 *
 * A runtime has a fixed number of Ps, each with an mcache. A thread takes one for the length of a
 * call, preferably the one it had last; when all are taken it sleeps. To stop the world is to take
 * all of them. Called by runtime/ and everything above it.
 *
 * Invariant: mcache.busy is set while, and only while, somebody has the P: a thread, a stop of the
 * world, or for a moment another P that takes over its spare spans.
 *
 * Concurrency: sched fields are atomic, or under lock; a struct p is its holder's.
 * Go: p and acquirep, releasep, stopTheWorld in proc.go.
 */
#ifndef GOMEM_SCHED_P_H
#define GOMEM_SCHED_P_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "heap/mcache.h"

struct sched;

struct p {
    uint32_t barrier;      /* atomic: stores of pointers must tell the collector; first: see gomem.h */
    struct mcache *mcache; /* const */
    struct sched *sched;   /* const */
    uint32_t id;           /* const */
    struct rng random;     /* owner P: seeds of hashes, where an iteration begins */
};

enum sched_stop {
    SCHED_STOPPING = 1, /* the world is stopped, or somebody waits to stop it */
    SCHED_BEHIND = 2,   /* the collector should have stopped it to begin a cycle, and has had no CPU yet */
};

struct sched {
    struct lock stop_lock; /* one stop of the world at a time; held while it lasts */
    int64_t stop_begin;    /* under stop_lock: of this stop; 0: it is the collector's, who measures it himself */
    struct gomem_time_histogram stopping_ns, stopped_ns; /* atomic, written under stop_lock: other stops */
    uint32_t stopping;     /* atomic, enum sched_stop: why no P is given out */
    uint32_t closed;       /* atomic: no P is given out any more */
    uint32_t entering;     /* atomic: threads that look for a P, or have one */
    uint32_t waiters;      /* atomic: threads that wait for a P */
    uint32_t idle_event;   /* atomic: changes when a P becomes idle while there are waiters */
    uint32_t nps;          /* const: all Ps, the collector's included, which is the last */
    uint32_t nusers;       /* const: those that programs have */
    struct p *ps;          /* const */
};

/* ps: room for one P per mcache of h. The last is the collector's: it sweeps with it while programs have
 * all others, and is stopped with them. */
void sched_init(struct sched *s, struct mheap *h, struct p *ps);

/* An idle P; waits for one. NULL: closed. */
struct p *p_acquire(struct sched *s);
/* NULL if none is idle, too. */
struct p *p_try_acquire(struct sched *s);
/* The given P, perhaps the collector's; waits for it. NULL: closed. */
struct p *p_acquire_id(struct sched *s, uint32_t id);
/* Harmless if the runtime was closed at a safepoint of p. */
void p_release(struct p *p);
MUST_USE bool p_safepoint_slow(struct p *p);

/* Gives the P away for as long as the world is to stop; false if the runtime was closed meanwhile:
 * then the P is gone. */
MUST_USE static inline bool p_safepoint(struct p *p)
{
    return LIKELY(!load_relaxed(&p->sched->stopping)) || p_safepoint_slow(p);
}

/* Takes all Ps; false if the runtime is closed. pre: the caller has none. The second is for the two stops of
 * a cycle, which are counted by themselves. */
MUST_USE bool stop_world(struct sched *s);
MUST_USE bool stop_world_to_collect(struct sched *s);
void start_world(struct sched *s);
/* Who wants a P or comes to a safepoint waits until the world was stopped once, or a few milliseconds. */
void sched_fall_behind(struct sched *s);
/* How many of the programs' Ps nobody has or waits for: a guess. */
uint32_t sched_idle(const struct sched *s);
/* Empties the caches of all Ps. pre: the world is stopped. */
void sched_flush(struct sched *s);
/* From now on no P is given out, and nobody looks at one. pre: the world is stopped; it stays so. */
void sched_close(struct sched *s);
/* After it, when what the Ps were is gone: lets go who waits. */
void sched_closed_unlock(struct sched *s);

#endif
