/* The limit on the collector's share of CPU time: a leaky bucket, which fills with its time and drains
 * with the program's. While it is full, whoever allocates need not assist: a program whose memory limit
 * is too small gets on slowly rather than not at all, at the price of the limit.
 *
 * Time given to the bucket is counted for all Ps. While marking, the background's quarter counts as the
 * collector's, and assists on top of it; time in which a P was idle counts for nobody.
 *
 * Arithmetic only: the clock is an argument, so that tests can simulate hours.
 *
 * Called by cycle.c (transitions), assist.c and workers.c.
 *
 * Invariant: fill <= capacity; limiting if fill == capacity and time has come in since.
 *
 * Concurrency: limiter_add_assist and limiter_is_limiting by anyone; limiter_update by anyone, who loses if
 * another is at it. A transition keeps updates out from its start to its end; resets and transitions are
 * for one thread at a time, in a stopped world.
 * Go: mgclimit.go.
 */
#ifndef GOMEM_GC_LIMITER_H
#define GOMEM_GC_LIMITER_H

#include "base/atomic.h"
#include "base/check.h"

#define LIMITER_CAPACITY_PER_P   1000000000 /* ns of CPU */
#define LIMITER_UPDATE_PERIOD_NS 10000000

struct limiter {
    uint32_t busy;         /* atomic: somebody updates, or a transition is under way */
    uint32_t enabled;      /* atomic: the bucket is full */
    bool marking;          /* busy: a cycle marks */
    bool transitioning;    /* busy */
    unsigned procs;        /* busy */
    uint64_t fill, capacity, overflow; /* busy; ns of CPU */
    uint64_t cycle;        /* busy: number of the current or next cycle */
    uint64_t last_enabled; /* atomic: cycle in which limiting last began; 0: never */
    int64_t assist_pool;   /* atomic: ns of CPU since the last update */
    int64_t last_update;   /* atomic */
};

void limiter_init(struct limiter *l, int64_t now, unsigned procs);
/* For another number of Ps. */
void limiter_reset(struct limiter *l, int64_t now, unsigned procs);
/* Marking of the cycle with this number begins, or ends; the world is being stopped. */
void limiter_start_transition(struct limiter *l, bool marking, uint64_t cycle, int64_t now);
/* The world starts again: the time since counts as the collector's, on all Ps. */
void limiter_finish_transition(struct limiter *l, int64_t now);
/* idle: as many Ps as nobody has now, and, so it is taken to be, had since the last update. */
void limiter_update(struct limiter *l, int64_t now, unsigned idle);

static inline bool limiter_needs_update(const struct limiter *l, int64_t now)
{
    return now - load_relaxed(&l->last_update) > LIMITER_UPDATE_PERIOD_NS;
}

static inline bool limiter_is_limiting(const struct limiter *l)
{
    return load_relaxed(&l->enabled) != 0;
}

/* CPU time (ns) of assists, of whatever kind, since the last update. */
static inline void limiter_add_assist(struct limiter *l, int64_t ns)
{
    fetch_add_relaxed(&l->assist_pool, ns);
}

#endif
