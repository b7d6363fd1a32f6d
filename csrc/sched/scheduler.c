/* Which goroutine runs next.
 *
 * Called through scheduler.h.
 *
 * Concurrency: a runner that found nothing counts itself as idle and then looks once more before it sleeps;
 * who makes a goroutine runnable puts it into a queue and then looks for idle runners: one sees the other.
 * Go: proc.go.
 */
#include "sched/scheduler.h"

#include <stdlib.h>

#include "base/bits.h"
#include "platform/clock.h"
#include "platform/park.h"

enum {
    ID_BATCH = 16,
    SLICE_NS = 10000000, /* a time slice: what sysmon allows before it asks for preemption */
    ASK_EVERY = 64,      /* goroutines that inherit a time slice, from one look at the clock to the next */
    STEAL_ROUNDS = 4,    /* only in the last is what another runs next taken, too */
};

struct scheduler *scheduler_new(uint32_t nrunners, uint64_t seed, struct hb *hb)
{
    struct scheduler *s = calloc(1, sizeof *s + nrunners * sizeof s->runners[0]);
    if (s == NULL)
        return NULL;
    lock_init(&s->lock, RANK_SCHEDULER);
    list_init(&s->all);
    s->next_id = 1;
    s->hb = hb;
    s->nrunners = nrunners;
    struct rng seeds = {seed};
    for (uint32_t i = 0; i < nrunners; i++) {
        struct runner *r = &s->runners[i];
        r->scheduler = s;
        r->id = i;
        r->tick = 1; /* not at the beginning, when whoever yields would be his own successor */
        r->random.state = rng_next(&seeds);
    }
    return s;
}

void scheduler_delete(struct scheduler *s)
{
    struct list_node *node = s->all.next;
    while (node != &s->all) {
        struct g *g = LIST_ENTRY(node, struct g, all);
        node = node->next;
        g_end(g);
        free(g);
    }
    free(s);
}

static void wake_idle(struct scheduler *s, bool all)
{
    fetch_add_seq_cst(&s->event, 1);
    park_wake(&s->event, all ? PARK_WAKE_ALL : 1);
}

void scheduler_wake(struct scheduler *s)
{
    wake_idle(s, true);
}

static void put_global(struct scheduler *s, struct gqueue *batch)
{
    lock(&s->lock);
    gqueue_push_all(&s->global, batch);
    unlock(&s->lock);
}

static void put_local(struct runner *r, struct g *g, bool next)
{
    struct gqueue overflow = {0};
    struct scheduler *s = r->scheduler;
    runq_put(&r->runq, g, next, &overflow);
    if (UNLIKELY(overflow.head != NULL))
        put_global(s, &overflow);
    if (s->nrunners > 1 && UNLIKELY(fetch_add_seq_cst(&s->idle, 0) != 0))
        wake_idle(s, false);
}

static void inject(struct g *g)
{
    struct scheduler *s = g->scheduler;
    struct gqueue one = {0};
    gqueue_push(&one, g);
    put_global(s, &one);
    if (load_seq_cst(&s->idle) != 0)
        wake_idle(s, false);
}

void scheduler_ready(struct g *g, struct runner *r)
{
    store_release(&g->state, GOMEM_G_RUNNABLE);
    if (LIKELY(r != NULL && r->scheduler == g->scheduler))
        put_local(r, g, true);
    else
        inject(g);
}

void scheduler_yield(struct g *g)
{
    store_release(&g->state, GOMEM_G_RUNNABLE);
    inject(g);
}

/* --- Goroutines begin and end --- */

static struct g *take_dead(struct runner *r)
{
    struct g *g = r->dead;
    if (g != NULL) {
        r->dead = g->schedlink;
        g->schedlink = NULL;
        return g;
    }
    struct scheduler *s = r->scheduler;
    g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->scheduler = s;
    g->hb = s->hb;
    lock(&s->lock);
    list_insert(s->all.prev, &g->all); /* at the end: in the order of their making */
    unlock(&s->lock);
    return g;
}

static uint64_t take_id(struct runner *r)
{
    if (r->next_id == r->end_id) {
        r->next_id = fetch_add_relaxed(&r->scheduler->next_id, ID_BATCH);
        r->end_id = r->next_id + ID_BATCH;
    }
    return r->next_id++;
}

struct g *scheduler_go(struct runner *r, const struct g *by, struct gomem_site site, void *data)
{
    struct g *g = take_dead(r);
    if (g == NULL)
        return NULL;
    g->id = take_id(r);
    g->parent_id = by != NULL ? by->id : 0;
    g->site = site;
    g->data = data;
    g->reason = GOMEM_WAIT_NONE;
    owner_add_relaxed(&r->started, 1);
    HB_EVENT(g->hb, .kind = HB_GO, .g = (struct g *)by, .other = g); /* happens before */
    store_release(&g->state, GOMEM_G_RUNNABLE);
    put_local(r, g, true);
    return g;
}

void scheduler_finish(struct runner *r, struct g *g)
{
    ASSERT(g->waiting == NULL);
    store_release(&g->state, GOMEM_G_DEAD);
    owner_add_relaxed(&r->finished, 1);
    g->data = NULL;
    g->schedlink = r->dead;
    r->dead = g;
}

uint64_t scheduler_count(const struct scheduler *s)
{
    uint64_t started = 0, finished = 0;
    for (uint32_t i = 0; i < s->nrunners; i++) {
        finished += load_acquire(&s->runners[i].finished);
        started += load_acquire(&s->runners[i].started);
    }
    return started - finished;
}

/* --- The next one --- */

/* A share of the global queue, of which one is to run. */
static struct g *take_global(struct runner *r, bool one)
{
    struct scheduler *s = r->scheduler;
    if (load_relaxed(&s->global.n) == 0)
        return NULL;
    struct gqueue overflow = {0};
    lock(&s->lock);
    uint32_t n = s->global.n / s->nrunners + 1;
    if (one)
        n = 1;
    else if (n > RUNQ_SIZE / 2)
        n = RUNQ_SIZE / 2;
    struct g *g = gqueue_pop(&s->global);
    while (--n > 0) {
        struct g *other = gqueue_pop(&s->global);
        if (other == NULL)
            break;
        runq_put(&r->runq, other, false, &overflow);
    }
    ASSERT(overflow.head == NULL); /* the ring was empty */
    unlock(&s->lock);
    return g;
}

static struct g *steal(struct runner *r)
{
    struct scheduler *s = r->scheduler;
    uint32_t first = rng_below(&r->random, s->nrunners);
    for (int round = 0; round < STEAL_ROUNDS; round++) {
        for (uint32_t i = 0; i < s->nrunners; i++) {
            struct runner *from = &s->runners[(first + i) % s->nrunners];
            struct g *g = from == r ? NULL : runq_steal(&r->runq, &from->runq,
                                                        round == STEAL_ROUNDS - 1);
            if (g != NULL)
                return g;
        }
    }
    return NULL;
}

/* Has a pair of goroutines that wake each other had its time? Go's sysmon sees to that. */
static bool slice_is_over(struct runner *r)
{
    if (LIKELY(++r->inherited % ASK_EVERY != 0))
        return false;
    int64_t now = clock_nanotime();
    if (r->slice_start == 0)
        r->slice_start = now;
    return now - r->slice_start > SLICE_NS;
}

/* The one that was readied last runs on in the time slice of who readied it. */
static struct g *take_next(struct runner *r)
{
    struct g *g = runq_take_next(&r->runq);
    if (g == NULL || !slice_is_over(r))
        return g;
    struct gqueue one = {0};
    gqueue_push(&one, g);
    put_global(r->scheduler, &one);
    return NULL;
}

static struct g *find(struct runner *r)
{
    struct g *g = NULL;
    if (r->tick % GLOBAL_EVERY == 0)
        g = take_global(r, true);
    if (g == NULL && (g = take_next(r)) != NULL)
        return g;
    if (g == NULL)
        g = runq_get(&r->runq);
    if (g == NULL)
        g = take_global(r, false);
    if (g == NULL && r->scheduler->nrunners > 1)
        g = steal(r);
    if (g != NULL) {
        r->tick++;
        r->inherited = 0;
        r->slice_start = 0;
    }
    return g;
}

struct g *scheduler_next(struct runner *r)
{
    struct g *g = find(r);
    if (g != NULL) {
        ASSERT_OP(load_relaxed(&g->state), ==, GOMEM_G_RUNNABLE);
        store_release(&g->state, GOMEM_G_RUNNING);
        g->runner = r;
    }
    return g;
}

bool scheduler_has_work(const struct scheduler *s)
{
    if (load_seq_cst(&s->global.n) != 0)
        return true;
    for (uint32_t i = 0; i < s->nrunners; i++)
        if (runq_length(&s->runners[i].runq) != 0)
            return true;
    return false;
}

void scheduler_wait(struct runner *r, int64_t timeout_ns)
{
    struct scheduler *s = r->scheduler;
    uint32_t event = load_acquire(&s->event);
    fetch_add_seq_cst(&s->idle, 1); /* with put_local's and inject's */
    if (!scheduler_has_work(s))
        park_wait(&s->event, event, timeout_ns);
    fetch_sub_seq_cst(&s->idle, 1);
}

struct g *scheduler_each(struct scheduler *s, struct g *last)
{
    struct g *found = NULL;
    lock(&s->lock);
    struct list_node *node = last != NULL ? last->all.next : s->all.next;
    for (; node != &s->all && found == NULL; node = node->next) {
        struct g *g = LIST_ENTRY(node, struct g, all);
        if (load_acquire(&g->state) != GOMEM_G_DEAD)
            found = g;
    }
    unlock(&s->lock);
    return found;
}

void scheduler_verify(struct scheduler *s)
{
    uint64_t alive = 0, runnable = 0, queued = 0;
    lock(&s->lock);
    CHECK(list_verify(&s->all));
    gqueue_verify(&s->global);
    queued += s->global.n;
    for (uint32_t i = 0; i < s->nrunners; i++) {
        runq_verify(&s->runners[i].runq);
        queued += runq_length(&s->runners[i].runq);
    }
    for (struct list_node *n = s->all.next; n != &s->all; n = n->next) {
        const struct g *g = LIST_ENTRY(n, struct g, all);
        g_verify(g);
        alive += g->state != GOMEM_G_DEAD;
        runnable += g->state == GOMEM_G_RUNNABLE;
    }
    unlock(&s->lock);
    CHECK_OP(queued, ==, runnable);
    CHECK_OP(alive, ==, scheduler_count(s));
}
