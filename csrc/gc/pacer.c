/* The arithmetic of pacing.
 *
 * Called through pacer.h.
 *
 * Concurrency: see pacer.h.
 * Go: mgcpacer.go.
 */
#include "gc/pacer.h"

#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"

#define HEAP_MINIMUM         (4 * MIB) /* at GOGC=100 */
#define BACKGROUND_SHARE     0.25      /* of all Ps, for marking in the background */
#define SWEEP_MIN_DISTANCE   MIB       /* between the end of marking and the next trigger */
#define MIN_RUNWAY           (64 * KIB)
#define MAX_OVERSHOOT        1.1
#define LIMIT_HEADROOM_SHARE 3 /* per cent of the goal under a limit */
#define LIMIT_HEADROOM_MIN   MIB

/* Where between live heap and goal a trigger may be, in 64ths. */
enum { TRIGGER_LOWEST = 45, TRIGGER_HIGHEST = 61, TRIGGER_UNIT = 64 };
/* GOGC for assists while it is off, and a cycle was asked for. */
enum { PERCENT_WHEN_OFF = 100000 };

void pacer_init(struct pacer *p, int32_t gc_percent, uint64_t memory_limit)
{
    *p = (struct pacer){.triggered = UINT64_MAX, .memory = {.limit = memory_limit}};
    /* As if a cycle had left a heap that makes the first goal the smallest one. */
    p->heap_marked = (uint64_t)((double)HEAP_MINIMUM / (1 + 100 / 100.0));
    pacer_set_gc_percent(p, gc_percent);
    pacer_commit(p, true, 0);
}

void pacer_set_gc_percent(struct pacer *p, int32_t gc_percent)
{
    p->gc_percent = gc_percent < 0 ? -1 : gc_percent;
    p->heap_minimum = gc_percent < 0 ? 0 : HEAP_MINIMUM * (uint64_t)gc_percent / 100;
}

void pacer_commit(struct pacer *p, bool sweep_done, uint64_t heap_live)
{
    p->sweep_min_trigger = sweep_done ? 0 : heap_live + SWEEP_MIN_DISTANCE;
    p->percent_goal = UINT64_MAX;
    if (p->gc_percent >= 0) {
        double growth = (double)(p->heap_marked + p->root_bytes) * p->gc_percent / 100;
        p->percent_goal = growth < 0x1p62 ? p->heap_marked + (uint64_t)growth : UINT64_MAX;
        p->percent_goal = MAX(p->percent_goal, p->heap_minimum);
    }
    p->runway = (uint64_t)(p->cons_mark * (1 - BACKGROUND_SHARE) / BACKGROUND_SHARE *
                           (double)(p->last_scan_work + p->root_bytes));
}

/* The heap size that fits under the memory limit beside everything else; never below what is alive. */
static uint64_t limit_goal(const struct pacer *p)
{
    const struct pacer_memory *m = &p->memory;
    if (m->limit == UINT64_MAX)
        return UINT64_MAX;
    uint64_t heap = m->heap_free + m->heap_alloc;
    uint64_t other = m->mapped_ready > heap ? m->mapped_ready - heap : 0;
    uint64_t overage = m->mapped_ready > m->limit ? m->mapped_ready - m->limit : 0;
    if (other + overage >= m->limit)
        return p->heap_marked;
    uint64_t goal = m->limit - other - overage;
    uint64_t headroom = MAX(goal / 100 * LIMIT_HEADROOM_SHARE, LIMIT_HEADROOM_MIN);
    goal = goal < 2 * headroom ? headroom : goal - headroom;
    return MAX(goal, p->heap_marked);
}

/* *least: no trigger below this. */
static uint64_t heap_goal(const struct pacer *p, uint64_t *least)
{
    uint64_t goal = p->percent_goal, limited = limit_goal(p);
    *least = 0;
    if (limited < goal)
        return limited;
    *least = p->sweep_min_trigger;
    goal = MAX(goal, p->sweep_min_trigger);
    if (p->triggered != UINT64_MAX && goal < p->triggered + MIN_RUNWAY)
        goal = p->triggered + MIN_RUNWAY;
    return goal;
}

uint64_t pacer_heap_goal(const struct pacer *p)
{
    uint64_t least;
    return heap_goal(p, &least);
}

uint64_t pacer_trigger(const struct pacer *p)
{
    uint64_t least, goal = heap_goal(p, &least);
    if (p->heap_marked >= goal || goal == UINT64_MAX)
        return goal;
    uint64_t unit = (goal - p->heap_marked) / TRIGGER_UNIT;
    uint64_t lowest = MAX(MAX(least, p->heap_marked), p->heap_marked + unit * TRIGGER_LOWEST);
    uint64_t highest = p->heap_marked + unit * TRIGGER_HIGHEST;
    if (goal > HEAP_MINIMUM)
        highest = MAX(highest, goal - HEAP_MINIMUM);
    highest = MAX(highest, lowest);
    uint64_t trigger = p->runway > goal ? lowest : goal - p->runway;
    return MIN(MIN(MAX(trigger, lowest), highest), goal);
}

void pacer_start_cycle(struct pacer *p, uint64_t heap_live)
{
    p->triggered = heap_live;
    pacer_revise(p, heap_live, heap_live, 0);
}

double pacer_assist_ratio(const struct pacer *p)
{
    uint64_t bits = load_relaxed(&p->assist_work_per_byte);
    double ratio;
    memcpy(&ratio, &bits, sizeof ratio);
    return ratio;
}

void pacer_revise(struct pacer *p, uint64_t heap_live, uint64_t heap_scan, uint64_t scan_work)
{
    double percent = p->gc_percent < 0 ? PERCENT_WHEN_OFF : p->gc_percent;
    double goal = (double)MIN(pacer_heap_goal(p), (uint64_t)1 << 62), live = (double)heap_live;
    double expected = (double)(p->last_scan_work + p->root_bytes);
    double most = (double)(heap_scan + p->root_bytes), work = (double)scan_work;
    if (work > expected) {
        /* The heap has grown: put the goal off, but not beyond where the next one would be. */
        double triggered = (double)p->triggered;
        double later = (goal - triggered) / MAX(expected, 1.0) * most + triggered;
        goal = MIN(later, (1 + percent / 100) * goal);
        expected = most;
    }
    if (live > goal) {
        goal *= MAX_OVERSHOOT;
        expected = most;
    }
    double left = MAX(expected - work, 1000.0), room = MAX(goal - live, 1.0);
    double ratio = left / room;
    uint64_t bits;
    memcpy(&bits, &ratio, sizeof bits);
    store_relaxed(&p->assist_work_per_byte, bits);
}

void pacer_end_cycle(struct pacer *p, const struct pacer_cycle *c)
{
    double all = (double)c->duration * c->procs;
    double used = BACKGROUND_SHARE + (all > 0 ? (double)c->assist_time / all : 0);
    double idle = all > 0 ? (double)c->idle_time / all : 0;
    if (c->heap_live <= p->triggered || c->scan_work == 0 || used >= 1)
        return;
    double now = (double)(c->heap_live - p->triggered) * (used + idle) /
                 ((double)c->scan_work * (1 - used));
    /* The most of the last ones: rather a cycle too early than assists. */
    p->cons_mark = now;
    for (unsigned i = 0; i < CONS_MARK_HISTORY; i++)
        p->cons_mark = MAX(p->cons_mark, p->last_cons_mark[i]);
    memmove(&p->last_cons_mark[0], &p->last_cons_mark[1],
            (CONS_MARK_HISTORY - 1) * sizeof p->last_cons_mark[0]);
    p->last_cons_mark[CONS_MARK_HISTORY - 1] = now;
}

void pacer_reset_live(struct pacer *p, uint64_t marked, uint64_t scan_work)
{
    p->heap_marked = marked;
    p->last_scan_work = scan_work;
    p->triggered = UINT64_MAX;
}
