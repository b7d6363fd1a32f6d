/* The bucket.
 *
 * Called through limiter.h.
 *
 * Concurrency: see limiter.h.
 * Go: mgclimit.go.
 */
#include "gc/limiter.h"

#include "base/bits.h"
#include "gc/pacer.h"

static bool begin(struct limiter *l)
{
    uint32_t idle = 0;
    return cas_acquire(&l->busy, &idle, 1); /* with end's release */
}

static void begin_surely(struct limiter *l)
{
    while (!begin(l))
        ;
    CHECK(!l->transitioning);
}

static void end(struct limiter *l)
{
    store_release(&l->busy, 0);
}

static void enable(struct limiter *l, bool on)
{
    store_relaxed(&l->enabled, on);
    if (on)
        store_relaxed(&l->last_enabled, l->cycle);
}

static void accumulate(struct limiter *l, int64_t mutator_time, int64_t gc_time)
{
    uint64_t headroom = l->capacity - l->fill;
    bool enabled = headroom == 0;
    int64_t change = gc_time - mutator_time;
    if (change > 0 && headroom <= (uint64_t)change) {
        l->overflow += (uint64_t)change - headroom;
        l->fill = l->capacity;
        if (!enabled)
            enable(l, true);
        return;
    }
    if (change < 0 && l->fill <= (uint64_t)-change)
        l->fill = 0;
    else
        l->fill += (uint64_t)change;
    if (change != 0 && enabled)
        enable(l, false);
}

static void update(struct limiter *l, int64_t now, unsigned idle_procs)
{
    int64_t last = load_relaxed(&l->last_update);
    if (now < last)
        return;
    int64_t all = (now - last) * l->procs;
    store_relaxed(&l->last_update, now);
    int64_t gc = exchange_acq_rel(&l->assist_pool, 0), idle = (now - last) * idle_procs;
    if (l->marking)
        gc += (int64_t)((double)all * BACKGROUND_UTILIZATION);
    accumulate(l, all - idle - gc, gc);
}

void limiter_init(struct limiter *l, int64_t now, unsigned procs)
{
    *l = (struct limiter){.cycle = 1, .last_update = now};
    limiter_reset(l, now, procs);
}

void limiter_reset(struct limiter *l, int64_t now, unsigned procs)
{
    begin_surely(l);
    update(l, now, 0);
    l->procs = procs;
    l->capacity = (uint64_t)procs * LIMITER_CAPACITY_PER_P;
    if (l->fill > l->capacity) {
        l->fill = l->capacity;
        enable(l, true);
    } else if (l->fill < l->capacity) {
        enable(l, false);
    }
    end(l);
}

void limiter_start_transition(struct limiter *l, bool marking, uint64_t cycle, int64_t now)
{
    begin_surely(l);
    CHECK(l->marking != marking);
    l->cycle = cycle;
    update(l, now, 0);
    l->marking = marking;
    l->transitioning = true;
}

void limiter_finish_transition(struct limiter *l, int64_t now)
{
    CHECK(l->transitioning);
    int64_t last = load_relaxed(&l->last_update);
    if (now >= last)
        accumulate(l, 0, (now - last) * l->procs);
    store_relaxed(&l->last_update, now);
    l->transitioning = false;
    l->cycle += !l->marking;
    end(l);
}

void limiter_update(struct limiter *l, int64_t now, unsigned idle)
{
    if (!begin(l))
        return; /* whoever has it, or comes next, counts our time */
    CHECK(!l->transitioning);
    update(l, now, MIN(idle, l->procs));
    end(l);
}
