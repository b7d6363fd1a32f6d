/* Taking and giving Ps, and stopping the world.
 *
 * Called through p.h.
 *
 * Concurrency: a thread that wants a P first counts itself as a waiter and then looks for one; a
 * thread that gives one up first gives it up and then looks for waiters: one of them sees the other.
 * The hint is one of the two mutable variables outside a runtime (the other is lock.c's held set).
 * Go: proc.go.
 */
#include "sched/p.h"

#include "base/time_histogram.h"
#include "heap/tiny.h"
#include "platform/clock.h"
#include "platform/park.h"
#include "platform/thread.h"

enum {
    TAKEN_OVER_NS = 1000000,
    MOST_BEHIND = 5, /* times that long the collector may let others wait before it begins */
};

/* The P this thread had last, in whichever runtime: a place to start looking. */
static _Thread_local uint32_t hint INITIAL_EXEC;

void sched_init(struct sched *s, struct mheap *h, struct p *ps)
{
    *s = (struct sched){.nps = h->nmcaches, .nusers = h->nmcaches - 1, .ps = ps};
    lock_init(&s->stop_lock, RANK_SCHED);
    for (uint32_t i = 0; i < s->nps; i++)
        ps[i] = (struct p){.mcache = h->mcaches[i], .sched = s, .id = i, .random = {i}};
}

/* Between these nobody unmaps a P: who gets one leaves when he has given it up, as the last look at it comes
 * after that. false: there is none to be had. */
static bool enter(struct sched *s, bool collector)
{
    fetch_add_seq_cst(&s->entering, 1); /* with sched_close's: it sees us, or we see it */
    uint32_t reasons = collector ? SCHED_STOPPING : SCHED_STOPPING | SCHED_BEHIND;
    return LIKELY(!(load_acquire(&s->stopping) & reasons)) && LIKELY(!load_seq_cst(&s->closed));
}

static void leave(struct sched *s)
{
    fetch_sub_acq_rel(&s->entering, 1);
}

struct p *p_try_acquire(struct sched *s)
{
    uint32_t first = hint % s->nusers, n = enter(s, false) ? s->nusers : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = first + i < n ? first + i : first + i - n;
        if (LIKELY(mcache_try_acquire(s->ps[id].mcache))) {
            hint = id;
            return &s->ps[id];
        }
    }
    leave(s);
    return NULL;
}

/* Waits until try answers something, or the runtime is closed. */
static struct p *acquire_wait(struct sched *s, struct p *(*try)(struct sched *, uint32_t),
                              uint32_t id)
{
    struct p *p = NULL;
    unsigned behind = 0;
    fetch_add_seq_cst(&s->waiters, 1);
    for (;;) {
        uint32_t event = load_acquire(&s->idle_event);
        p = try(s, id);
        if (p != NULL || load_acquire(&s->closed))
            break;
        if (load_relaxed(&s->stopping) == SCHED_BEHIND && behind++ == MOST_BEHIND)
            fetch_and_relaxed(&s->stopping, ~(uint32_t)SCHED_BEHIND);
        /* A P that was only taken over for a moment (mcentral.c) comes back without an event. */
        park_wait(&s->idle_event, event, TAKEN_OVER_NS);
    }
    fetch_sub_relaxed(&s->waiters, 1);
    return p;
}

static struct p *try_any(struct sched *s, uint32_t id)
{
    (void)id;
    return p_try_acquire(s);
}

static struct p *try_one(struct sched *s, uint32_t id)
{
    if (enter(s, id == s->nusers) && mcache_try_acquire(s->ps[id].mcache))
        return &s->ps[id];
    leave(s);
    return NULL;
}

/* For stop_world, which does not mind that the world is stopping. */
static struct p *try_one_stopping(struct sched *s, uint32_t id)
{
    return mcache_try_acquire(s->ps[id].mcache) ? &s->ps[id] : NULL;
}

struct p *p_acquire(struct sched *s)
{
    struct p *p = p_try_acquire(s);
    return LIKELY(p != NULL) ? p : acquire_wait(s, try_any, 0);
}

struct p *p_acquire_id(struct sched *s, uint32_t id)
{
    return acquire_wait(s, try_one, id);
}

static void wake_waiters(struct sched *s)
{
    if (UNLIKELY(load_seq_cst(&s->waiters) != 0)) {
        fetch_add_seq_cst(&s->idle_event, 1);
        park_wake(&s->idle_event, PARK_WAKE_ALL);
    }
}

void p_release(struct p *p)
{
    /* Closing takes all Ps: who still thinks to have one lost it at a safepoint. */
    if (UNLIKELY(load_acquire(&p->sched->closed)))
        return;
    struct sched *s = p->sched;
    mcache_release(p->mcache);
    leave(s);
    wake_waiters(s);
}

void sched_fall_behind(struct sched *s)
{
    fetch_or_relaxed(&s->stopping, SCHED_BEHIND);
}

uint32_t sched_idle(const struct sched *s)
{
    uint32_t n = 0, waiting = load_relaxed(&s->waiters);
    for (uint32_t i = 0; i < s->nusers; i++)
        n += load_relaxed(&s->ps[i].mcache->busy) == 0;
    return n > waiting ? n - waiting : 0;
}

bool p_safepoint_slow(struct p *p)
{
    p_release(p);
    return acquire_wait(p->sched, try_one, p->id) != NULL;
}

static bool stop(struct sched *s, bool counted)
{
    lock(&s->stop_lock);
    int64_t begin = counted ? clock_nanotime() : 0;
    if (load_acquire(&s->closed)) {
        unlock(&s->stop_lock);
        return false;
    }
    fetch_or_seq_cst(&s->stopping, SCHED_STOPPING);
    for (uint32_t i = 0; i < s->nps; i++)
        (void)acquire_wait(s, try_one_stopping, i);
    s->stop_begin = begin;
    if (counted)
        time_histogram_record(&s->stopping_ns, clock_nanotime() - begin);
    return true;
}

bool stop_world(struct sched *s)
{
    return stop(s, true);
}

bool stop_world_to_collect(struct sched *s)
{
    return stop(s, false);
}

void start_world(struct sched *s)
{
    if (s->stop_begin != 0)
        time_histogram_record(&s->stopped_ns, clock_nanotime() - s->stop_begin);
    store_release(&s->stopping, 0);
    for (uint32_t i = 0; i < s->nps; i++)
        mcache_release(s->ps[i].mcache);
    unlock(&s->stop_lock);
    wake_waiters(s);
}

void sched_flush(struct sched *s)
{
    /* First the blocks being filled, so that no P's frees wait for another's. */
    for (uint32_t i = 0; i < s->nps; i++)
        tiny_retire(s->ps[i].mcache);
    for (uint32_t i = 0; i < s->nps; i++)
        mcache_flush(s->ps[i].mcache);
}

void sched_close(struct sched *s)
{
    store_seq_cst(&s->closed, 1);
    while (load_seq_cst(&s->entering) != 0)
        thread_yield();
}

void sched_closed_unlock(struct sched *s)
{
    unlock(&s->stop_lock);
    wake_waiters(s);
}
