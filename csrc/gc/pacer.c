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
#define SWEEP_MIN_DISTANCE   MIB       /* between the end of marking and the next trigger */
#define MIN_RUNWAY           (64 * KIB)
#define MAX_OVERSHOOT        1.1
#define MAX_ROUNDING         0.3 /* by which whole workers may miss their share */
#define LIMIT_HEADROOM_SHARE 3   /* per cent of the goal under a limit */
#define LIMIT_HEADROOM_MIN   MIB

/* Where between live heap and goal a trigger may be, in 64ths. */
enum { TRIGGER_LOWEST = 45, TRIGGER_HIGHEST = 61, TRIGGER_UNIT = 64 };
/* GOGC for assists while it is off, and a cycle was asked for. */
enum { PERCENT_WHEN_OFF = 100000 };
enum { MIN_WORK_LEFT = 1000 };

/* What of a double fits. */
static uint64_t to_bytes(double x)
{
    return x >= 0x1p62 ? (uint64_t)1 << 62 : x > 0 ? (uint64_t)x : 0;
}

void pacer_init(struct pacer *p, int32_t gc_percent, uint64_t memory_limit)
{
    *p = (struct pacer){.triggered = UINT64_MAX, .memory = {.limit = memory_limit}};
    pacer_set_gc_percent(p, gc_percent);
    pacer_commit(p, true, 0);
}

void pacer_set_gc_percent(struct pacer *p, int32_t gc_percent)
{
    store_relaxed(&p->gc_percent, gc_percent < 0 ? -1 : gc_percent);
    p->heap_minimum = gc_percent < 0 ? 0 : HEAP_MINIMUM * (uint64_t)gc_percent / 100;
}

/* Where the heap should end by GOGC; UINT64_MAX: nowhere. */
static uint64_t percent_goal(const struct pacer *p)
{
    if (p->gc_percent < 0)
        return UINT64_MAX;
    uint64_t growth, goal;
    if (__builtin_mul_overflow(p->heap_marked + p->last_scan.stacks + p->last_scan.globals,
                               (uint64_t)p->gc_percent, &growth) ||
        __builtin_add_overflow(p->heap_marked, growth / 100, &goal))
        return UINT64_MAX;
    return MAX(goal, p->heap_minimum);
}

void pacer_commit(struct pacer *p, bool sweep_done, uint64_t heap_live)
{
    p->sweep_min_trigger = sweep_done ? 0 : heap_live + SWEEP_MIN_DISTANCE;
    p->percent_goal = percent_goal(p);
    p->runway =
        to_bytes(p->cons_mark * (1 - BACKGROUND_UTILIZATION) / BACKGROUND_UTILIZATION *
                 (double)pacer_scan_sum(&p->last_scan));
}

/* The heap size that fits under the memory limit beside everything else; never below what is alive. No limit
 * is Go's largest: with GOGC=off, too, there is a goal, which is never reached. */
static uint64_t limit_goal(const struct pacer *p)
{
    const struct pacer_memory *m = &p->memory;
    uint64_t limit = MIN(m->limit, (uint64_t)INT64_MAX);
    uint64_t heap = m->heap_free + m->heap_alloc;
    uint64_t other = m->mapped_ready > heap ? m->mapped_ready - heap : 0;
    uint64_t overage = m->mapped_ready > limit ? m->mapped_ready - limit : 0;
    if (other + overage >= limit)
        return p->heap_marked;
    uint64_t goal = limit - other - overage;
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
    if (p->heap_marked >= goal)
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

/* --- A cycle --- */

struct pacer_workers pacer_share_workers(unsigned procs, bool periodic)
{
    double wanted = procs * BACKGROUND_UTILIZATION;
    unsigned dedicated = (unsigned)(wanted + 0.5);
    double error = dedicated / wanted - 1, fractional = 0;
    if (error < -MAX_ROUNDING || error > MAX_ROUNDING) {
        if (dedicated > wanted)
            dedicated--;
        fractional = (wanted - dedicated) / procs;
    }
    unsigned idle = periodic ? dedicated == 0 : procs - dedicated;
    return (struct pacer_workers){dedicated, fractional, idle};
}

void pacer_start_cycle(struct pacer *p, const struct pacer_start *s)
{
    p->triggered = s->heap_live;
    p->max_stack_scan = s->stacks;
    p->last_scan.globals = s->globals;
    p->workers = pacer_share_workers(s->procs, s->periodic);
    pacer_revise(p, s->heap_live, s->heap_scan, &(struct pacer_scan){0});
}

static void store_double(uint64_t *at, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    store_relaxed(at, bits);
}

static double load_double(const uint64_t *at)
{
    uint64_t bits = load_relaxed(at);
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

double pacer_assist_ratio(const struct pacer *p)
{
    return load_double(&p->assist_work_per_byte);
}

double pacer_assist_bytes(const struct pacer *p)
{
    return load_double(&p->assist_bytes_per_work);
}

/* The heap has grown: the goal is put off, but not beyond where the next one would be. */
static int64_t extended_goal(const struct pacer *p, int64_t goal, int64_t expected, int64_t most)
{
    double percent = p->gc_percent < 0 ? PERCENT_WHEN_OFF : p->gc_percent;
    double hard = (1 + percent / 100) * (double)goal;
    double later = (double)(goal - (int64_t)p->triggered) / MAX((double)expected, 1.0) *
                   (double)most;
    /* Whole bytes before they are added, as doubles have no room for both. */
    int64_t extended = (int64_t)MIN(later, 0x1p61) + (int64_t)p->triggered;
    return MIN(extended, (int64_t)to_bytes(hard));
}

void pacer_revise(struct pacer *p, uint64_t heap_live, uint64_t heap_scan,
                  const struct pacer_scan *work)
{
    int64_t goal = (int64_t)MIN(pacer_heap_goal(p), (uint64_t)1 << 61), live = (int64_t)heap_live;
    int64_t done = (int64_t)pacer_scan_sum(work);
    int64_t expected = (int64_t)pacer_scan_sum(&p->last_scan);
    int64_t most = (int64_t)(heap_scan + p->max_stack_scan + p->last_scan.globals);
    if (done > expected) {
        goal = extended_goal(p, goal, expected, most);
        expected = most;
    }
    if (live > goal) {
        goal = (int64_t)((double)goal * MAX_OVERSHOOT);
        expected = most;
    }
    double left = (double)MAX(expected - done, MIN_WORK_LEFT);
    double room = (double)MAX(goal - live, 1);
    store_double(&p->assist_work_per_byte, left / room);
    store_double(&p->assist_bytes_per_work, room / left);
}

void pacer_end_cycle(struct pacer *p, const struct pacer_cycle *c)
{
    p->last_heap_goal = pacer_heap_goal(p);
    double all = (double)(c->duration * c->procs);
    double used = BACKGROUND_UTILIZATION + (all > 0 ? (double)c->assist_time / all : 0);
    double idle = all > 0 ? (double)c->idle_time / all : 0;
    uint64_t work = pacer_scan_sum(&c->work);
    if (c->heap_live <= p->triggered || work == 0)
        return;
    double now = (double)(c->heap_live - p->triggered) * (used + idle) /
                 ((double)work * MAX(1 - used, 0x1p-60));
    /* The most of the last ones: rather a cycle too early than assists. */
    p->cons_mark = now;
    for (unsigned i = 0; i < CONS_MARK_HISTORY; i++)
        p->cons_mark = MAX(p->cons_mark, p->last_cons_mark[i]);
    memmove(&p->last_cons_mark[0], &p->last_cons_mark[1],
            (CONS_MARK_HISTORY - 1) * sizeof p->last_cons_mark[0]);
    p->last_cons_mark[CONS_MARK_HISTORY - 1] = now;
}

void pacer_reset_live(struct pacer *p, uint64_t marked, const struct pacer_scan *work)
{
    p->heap_marked = marked;
    p->last_scan.heap = work->heap;
    p->last_scan.stacks = work->stacks;
    p->triggered = UINT64_MAX;
}
