/* Run queues, the scheduler, channels and selects, with goroutines that are functions called step by step.
 *
 *     goroutine_test [threads] [rounds]
 *
 * Concurrency: threads that run goroutines of one scheduler, plain threads, and both on one channel.
 * Go: proc_test.go, chan_test.go.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "platform/clock.h"
#include "platform/thread.h"
#include "sched/scheduler.h"
#include "sync/operation.h"
#include "sync/select.h"

static uint32_t nthreads = 4, rounds = 20000;

/* --- Run queues --- */

static struct g *make_gs(uint32_t n)
{
    struct g *gs = calloc(n, sizeof *gs);
    CHECK(gs != NULL);
    for (uint32_t i = 0; i < n; i++) {
        gs[i].state = GOMEM_G_RUNNABLE;
        gs[i].id = i;
    }
    return gs;
}

static void runq_alone(void)
{
    struct runq q = {0}, thief = {0};
    struct gqueue overflow = {0};
    struct g *gs = make_gs(400);
    for (uint32_t i = 0; i < 10; i++)
        runq_put(&q, &gs[i], true, &overflow); /* each kicks the one before to the tail */
    runq_verify(&q);
    CHECK(runq_take_next(&q) == &gs[9] && runq_take_next(&q) == NULL);
    for (uint32_t i = 0; i < 9; i++)
        CHECK(runq_get(&q) == &gs[i]);
    CHECK(runq_get(&q) == NULL && runq_length(&q) == 0);

    /* 256 fit; the next takes half of them along. */
    for (uint32_t i = 0; i < 257; i++)
        runq_put(&q, &gs[i], false, &overflow);
    runq_verify(&q);
    gqueue_verify(&overflow);
    CHECK_OP(overflow.n, ==, RUNQ_SIZE / 2 + 1);
    CHECK_OP(runq_length(&q), ==, RUNQ_SIZE / 2);
    for (uint32_t i = 0; i < RUNQ_SIZE / 2; i++)
        CHECK(gqueue_pop(&overflow) == &gs[i]);
    CHECK(gqueue_pop(&overflow) == &gs[256] && gqueue_pop(&overflow) == NULL);

    /* The larger half is stolen, and the last of it runs. */
    while (runq_length(&q) > 5)
        (void)runq_get(&q);
    CHECK(runq_steal(&thief, &q, false) == &gs[253]);
    CHECK_OP(runq_length(&q), ==, 2);
    CHECK_OP(runq_length(&thief), ==, 2);
    runq_verify(&thief);
    CHECK(runq_get(&thief) == &gs[251] && runq_get(&thief) == &gs[252]);
    CHECK(runq_get(&q) == &gs[254] && runq_get(&q) == &gs[255]);

    /* What runs next is only taken if asked for. */
    runq_put(&q, &gs[0], true, &overflow);
    CHECK(runq_steal(&thief, &q, false) == NULL);
    CHECK(runq_steal(&thief, &q, true) == &gs[0] && runq_length(&q) == 0);
    free(gs);
}

struct thieves {
    struct runq q;
    struct g *gs;
    uint32_t *taken; /* atomic: times that each was */
    uint32_t n, left; /* atomic */
};

static void note(struct thieves *t, struct g *g)
{
    fetch_add_relaxed(&t->taken[g->id], 1);
    fetch_sub_relaxed(&t->left, 1);
}

static void *steal_until_done(void *arg)
{
    struct thieves *t = arg;
    struct runq own = {0};
    while (load_relaxed(&t->left) != 0) {
        struct g *g = runq_steal(&own, &t->q, true);
        if (g == NULL) {
            thread_yield();
            continue;
        }
        do
            note(t, g);
        while ((g = runq_get(&own)) != NULL);
    }
    return NULL;
}

static void runq_with_thieves(void)
{
    struct thieves t = {.n = rounds, .left = rounds};
    struct thread threads[8];
    struct gqueue overflow = {0};
    t.gs = make_gs(t.n);
    t.taken = calloc(t.n, sizeof *t.taken);
    for (uint32_t i = 1; i < nthreads; i++)
        CHECK(thread_start(&threads[i], "thief", steal_until_done, &t));
    for (uint32_t i = 0; i < t.n; i++) {
        runq_put(&t.q, &t.gs[i], i % 3 == 0, &overflow);
        struct g *g = i % 2 == 0 ? runq_get(&t.q) : i % 5 == 0 ? runq_take_next(&t.q) : NULL;
        if (g != NULL)
            note(&t, g);
        while ((g = gqueue_pop(&overflow)) != NULL)
            note(&t, g);
    }
    (void)steal_until_done(&t);
    for (uint32_t i = 1; i < nthreads; i++)
        thread_join(&threads[i]);
    for (uint32_t i = 0; i < t.n; i++)
        CHECK_OP(t.taken[i], ==, 1);
    free(t.gs);
    free(t.taken);
}

/* --- Goroutines of steps --- */

/* A goroutine is called until it says DEAD. After PARKED its task is somebody else's, so that it notes before
 * an operation that it may be parked. */
enum next { GO_ON, PARKED, DEAD };

struct task {
    enum next (*step)(struct task *t, struct g *g);
    struct hchan *in, *out;
    uint64_t slot, count, sum;
    bool may_be_parked, ok, sends;
    uint32_t index;
};

#define DO(t, operation)                                                                           \
    do {                                                                                           \
        (t)->may_be_parked = true;                                                                 \
        enum gomem_outcome o_ = (operation);                                                       \
        if (o_ == GOMEM_PARK)                                                                      \
            return PARKED;                                                                         \
        CHECK_OP(o_, ==, GOMEM_DONE);                                                              \
        (t)->may_be_parked = false;                                                                \
    } while (0)

static struct hchan *make_chan(int64_t cap)
{
    struct gomem_error err;
    struct gomem_chan *c;
    CHECK(gomem_chan_new(sizeof(uint64_t), cap, &c, &err) == GOMEM_OK);
    return (struct hchan *)c;
}

static void delete_chan(struct hchan *c)
{
    chan_verify(c);
    gomem_chan_delete((struct gomem_chan *)c);
}

static struct g *start(struct runner *r, struct task *t)
{
    struct g *g = scheduler_go(r, NULL, (struct gomem_site){0}, t);
    CHECK(g != NULL);
    return g;
}

/* Runs it until it parks or ends; true: it has ended. */
static bool run(struct runner *r, struct g *g)
{
    struct task *t = g->data;
    if (t->may_be_parked) {
        if (g->waiting != NULL)
            CHECK_OP(sync_finish(g, &t->index, &t->ok), ==, GOMEM_DONE);
        t->may_be_parked = false;
    }
    enum next next;
    while ((next = t->step(t, g)) == GO_ON)
        ;
    if (next == DEAD)
        scheduler_finish(r, g);
    return next == DEAD;
}

struct m {
    struct thread thread;
    struct runner *runner;
    uint64_t *left; /* atomic: goroutines that have not ended */
};

static void *run_m(void *arg)
{
    struct m *m = arg;
    while (load_acquire(m->left) != 0) {
        struct g *g = scheduler_next(m->runner);
        if (g == NULL)
            scheduler_wait(m->runner, 1000000);
        else if (run(m->runner, g) && fetch_sub_acq_rel(m->left, 1) == 1)
            scheduler_wake(m->runner->scheduler);
    }
    return NULL;
}

/* Several Ms until all goroutines have ended. */
static void run_all(struct scheduler *s, uint64_t alive)
{
    struct m ms[8];
    for (uint32_t i = 0; i < s->nrunners; i++) {
        ms[i] = (struct m){.runner = &s->runners[i], .left = &alive};
        if (i > 0)
            CHECK(thread_start(&ms[i].thread, "m", run_m, &ms[i]));
    }
    (void)run_m(&ms[0]);
    for (uint32_t i = 1; i < s->nrunners; i++)
        thread_join(&ms[i].thread);
    scheduler_verify(s);
    CHECK_OP(scheduler_count(s), ==, 0);
}

/* Sends count, count - 1, ... 1. */
static enum next send_all(struct task *t, struct g *g)
{
    if (t->count == 0)
        return DEAD;
    t->slot = t->count--;
    DO(t, chan_send(g, t->out, &t->slot, true));
    return GO_ON;
}

/* Receives until the channel is closed. */
static enum next receive_all(struct task *t, struct g *g)
{
    if (t->count++ > 0) {
        if (!t->ok)
            return DEAD;
        t->sum += t->slot;
    }
    bool ok;
    DO(t, chan_recv(g, t->in, &t->slot, true, &ok));
    t->ok = ok;
    return GO_ON;
}

/* Sends and receives by turns, count times in all. */
static enum next by_turns(struct task *t, struct g *g)
{
    bool ok;
    if (t->count == 0)
        return DEAD;
    t->count--;
    bool sends = t->sends;
    t->sends = !sends;
    if (sends)
        DO(t, chan_send(g, t->out, &t->slot, true));
    else
        DO(t, chan_recv(g, t->in, &t->slot, true, &ok));
    return GO_ON;
}

static enum next yield_often(struct task *t, struct g *g)
{
    if (t->count-- == 0)
        return DEAD;
    scheduler_yield(g);
    return PARKED;
}

/* Sends to out or receives from in, whichever can be done, count times in all. */
static enum next select_both(struct task *t, struct g *g)
{
    struct gomem_case cases[2] = {
        {(struct gomem_chan *)t->out, &t->slot, true},
        {(struct gomem_chan *)t->in, &t->sum, false},
    };
    uint32_t index;
    bool ok;
    if (t->count == 0)
        return DEAD;
    t->count--;
    CHECK(g_reserve(g, 2));
    DO(t, select_go(g, cases, 2, true, &g->runner->random, &index, &ok));
    return GO_ON;
}

enum { PAIRS = 40 };

/* Pairs that talk over a channel, pairs that select between two, and others that only yield. */
static void many_ms(void)
{
    struct scheduler *s = scheduler_new(nthreads, 1, NULL);
    struct task *tasks = calloc(5 * PAIRS, sizeof *tasks), *t = tasks;
    struct hchan *chans[4 * PAIRS], **c = chans;
    uint64_t each = rounds / PAIRS;
    CHECK(s != NULL && tasks != NULL);
    for (uint32_t i = 0; i < PAIRS; i++, c += 4, t += 5) {
        struct hchan *a = c[0] = make_chan(0), *b = c[1] = make_chan(0);
        struct hchan *to = c[2] = make_chan(i % 3), *back = c[3] = make_chan(0);
        t[0] = (struct task){.step = by_turns, .in = back, .out = to, .count = each, .sends = true};
        t[1] = (struct task){.step = by_turns, .in = to, .out = back, .count = each};
        t[2] = (struct task){.step = select_both, .in = a, .out = b, .count = each};
        t[3] = (struct task){.step = select_both, .in = b, .out = a, .count = each};
        t[4] = (struct task){.step = yield_often, .count = each};
        for (int j = 0; j < 5; j++)
            start(&s->runners[i % nthreads], &t[j]);
    }
    run_all(s, 5 * PAIRS);
    while (c-- > chans)
        delete_chan(*c);
    free(tasks);
    scheduler_delete(s);
}

/* --- Who runs next --- */

/* Two that wake each other for ever do not keep a third from running. */
static void a_pair_does_not_starve_others(void)
{
    struct scheduler *s = scheduler_new(1, 1, NULL);
    struct hchan *c = make_chan(0);
    struct task pair[2] = {
        {.step = by_turns, .in = c, .out = c, .count = UINT64_MAX, .sends = true},
        {.step = by_turns, .in = c, .out = c, .count = UINT64_MAX},
    };
    struct task third = {.step = yield_often, .count = 2};
    struct runner *r = &s->runners[0];
    start(r, &third);
    start(r, &pair[0]);
    start(r, &pair[1]);
    int64_t start_ns = clock_nanotime();
    while (third.count != UINT64_MAX) {
        (void)run(r, scheduler_next(r));
        CHECK_OP(clock_nanotime() - start_ns, <, 10000000000);
    }
    /* What is left is in queues of a channel that goes away with them. */
    while (scheduler_next(r) != NULL)
        ;
    for (struct g *g = NULL; (g = scheduler_each(s, g)) != NULL;)
        if (load_relaxed(&g->state) == GOMEM_G_WAITING)
            CHECK(sync_cancel(g));
    delete_chan(c);
    scheduler_delete(s);
}

/* The global queue comes first at every 61st tick, though the local one is never empty. */
static void every_61st_tick(void)
{
    struct scheduler *s = scheduler_new(1, 1, NULL);
    struct runner *r = &s->runners[0];
    struct task waiter = {.step = yield_often}, busy[3] = {{0}};
    struct g *g = start(r, &waiter);
    CHECK(scheduler_next(r) == g);
    scheduler_yield(g); /* it is in the global queue now */
    for (int i = 0; i < 3; i++)
        start(r, &busy[i]);
    struct gqueue overflow = {0};
    for (uint32_t i = 0; r->tick % GLOBAL_EVERY != 0; i++) { /* it begins with 1 */
        struct g *other = scheduler_next(r);
        CHECK(other != g && other != NULL);
        store_relaxed(&other->state, GOMEM_G_RUNNABLE);
        runq_put(&r->runq, other, false, &overflow);
        CHECK_OP(i, <=, GLOBAL_EVERY);
    }
    CHECK(scheduler_next(r) == g);
    store_relaxed(&g->state, GOMEM_G_RUNNABLE);
    runq_put(&r->runq, g, false, &overflow);
    scheduler_verify(s);
    scheduler_delete(s);
}

/* --- Plain threads --- */

struct plain {
    struct thread thread;
    struct hchan *in, *out;
    uint64_t count, sum;
    bool select;
};

/* As a driver: sleeps when an operation has parked. */
static enum gomem_outcome wait_for(struct g *g, enum gomem_outcome outcome, uint32_t *index, bool *ok)
{
    if (outcome != GOMEM_PARK)
        return outcome;
    while (!g_sleep(g, -1))
        ;
    return sync_finish(g, index, ok);
}

static void *produce(void *arg)
{
    struct plain *p = arg;
    struct g g;
    uint32_t index;
    bool ok;
    g_init_thread(&g, 1);
    for (uint64_t i = 1; i <= p->count; i++)
        CHECK_OP(wait_for(&g, chan_send(&g, p->out, &i, true), &index, &ok), ==, GOMEM_DONE);
    g_end(&g);
    return NULL;
}

static void *consume(void *arg)
{
    struct plain *p = arg;
    struct g g;
    uint32_t index;
    bool ok = true;
    g_init_thread(&g, 2);
    CHECK(g_reserve(&g, 2));
    while (ok) {
        uint64_t slot = 0;
        struct gomem_case cases[2] = {{.chan = (struct gomem_chan *)p->in, .elem = &slot},
                                      {.chan = (struct gomem_chan *)p->in, .elem = &slot}};
        enum gomem_outcome o = p->select
                                   ? select_go(&g, cases, 2, true, &g.random, &index, &ok)
                                   : chan_recv(&g, p->in, &slot, true, &ok);
        CHECK_OP(wait_for(&g, o, &index, &ok), ==, GOMEM_DONE);
        p->sum += slot;
        if (ok)
            p->count++;
    }
    g_end(&g);
    return NULL;
}

/* Threads send, others receive until the channel is closed: nothing is lost, nothing comes twice. */
static void plain_threads(int64_t cap, bool select)
{
    enum { EACH = 2 };
    struct hchan *c = make_chan(cap);
    struct plain from[EACH], to[EACH];
    uint64_t n = rounds / 4, sum = 0, count = 0;
    for (int i = 0; i < EACH; i++) {
        from[i] = (struct plain){.out = c, .count = n};
        to[i] = (struct plain){.in = c, .select = select};
        CHECK(thread_start(&from[i].thread, "produce", produce, &from[i]));
        CHECK(thread_start(&to[i].thread, "consume", consume, &to[i]));
    }
    for (int i = 0; i < EACH; i++)
        thread_join(&from[i].thread);
    struct g g;
    g_init_thread(&g, 1);
    CHECK_OP(chan_close(&g, c), ==, GOMEM_DONE);
    CHECK_OP(chan_close(&g, c), ==, GOMEM_PANICS);
    for (int i = 0; i < EACH; i++) {
        thread_join(&to[i].thread);
        sum += to[i].sum;
        count += to[i].count;
    }
    CHECK_OP(count, ==, EACH * n);
    CHECK_OP(sum, ==, EACH * n * (n + 1) / 2);
    delete_chan(c);
}

/* A thread whose operation is taken back while others finish it: either it happened, or it did not. */
static void *give_up_often(void *arg)
{
    struct plain *p = arg;
    struct g g;
    g_init_thread(&g, 3);
    CHECK(g_reserve(&g, 2));
    for (uint32_t i = 0; i < rounds / 4; i++) {
        uint64_t one = 1;
        uint32_t index;
        bool ok;
        struct gomem_case cases[2] = {{(struct gomem_chan *)p->out, &one, true},
                                      {(struct gomem_chan *)p->in, &one, true}};
        enum gomem_outcome o = i % 2 == 0 ? chan_send(&g, p->out, &one, true)
                                          : select_go(&g, cases, 2, true, &g.random, &index, &ok);
        if (o == GOMEM_PARK && sync_cancel(&g))
            continue;
        CHECK_OP(wait_for(&g, o, &index, &ok), ==, GOMEM_DONE);
        p->sum++;
    }
    g_end(&g);
    return NULL;
}

static void giving_up(void)
{
    struct hchan *a = make_chan(0), *b = make_chan(1);
    struct plain from[2], to[2] = {{.in = a}, {.in = b}};
    for (int i = 0; i < 2; i++) {
        from[i] = (struct plain){.out = a, .in = b};
        CHECK(thread_start(&from[i].thread, "give up", give_up_often, &from[i]));
        CHECK(thread_start(&to[i].thread, "consume", consume, &to[i]));
    }
    for (int i = 0; i < 2; i++)
        thread_join(&from[i].thread);
    struct g g;
    g_init_thread(&g, 1);
    CHECK_OP(chan_close(&g, a), ==, GOMEM_DONE);
    CHECK_OP(chan_close(&g, b), ==, GOMEM_DONE);
    for (int i = 0; i < 2; i++)
        thread_join(&to[i].thread);
    CHECK_OP(to[0].sum + to[1].sum, ==, from[0].sum + from[1].sum);
    delete_chan(a);
    delete_chan(b);
}

/* Goroutines of a scheduler with several Ms send to a plain thread. */
static void both(void)
{
    enum { SENDERS = 20 };
    struct scheduler *s = scheduler_new(nthreads, 1, NULL);
    struct hchan *c = make_chan(3);
    struct task tasks[SENDERS];
    struct plain to = {.in = c};
    uint64_t n = rounds / SENDERS;
    for (uint32_t i = 0; i < SENDERS; i++) {
        tasks[i] = (struct task){.step = send_all, .out = c, .count = n};
        start(&s->runners[0], &tasks[i]);
    }
    CHECK(thread_start(&to.thread, "consume", consume, &to));
    run_all(s, SENDERS);
    struct g g;
    g_init_thread(&g, 1);
    CHECK_OP(chan_close(&g, c), ==, GOMEM_DONE);
    thread_join(&to.thread);
    CHECK_OP(to.sum, ==, SENDERS * n * (n + 1) / 2);
    delete_chan(c);
    scheduler_delete(s);
}

/* --- Closing wakes all, and what senders get is a panic --- */

static void closing(void)
{
    struct scheduler *s = scheduler_new(1, 1, NULL);
    struct runner *r = &s->runners[0];
    struct hchan *c = make_chan(0), *full = make_chan(1);
    struct task receivers[3], sender = {.step = send_all, .out = full, .count = 2};
    struct g self;
    uint32_t index;
    bool ok;
    g_init_thread(&self, 1);
    for (int i = 0; i < 3; i++) {
        receivers[i] = (struct task){.step = receive_all, .in = c, .slot = 7};
        start(r, &receivers[i]);
        CHECK(!run(r, scheduler_next(r)));
    }
    struct g *g = start(r, &sender);
    CHECK(!run(r, scheduler_next(r)));
    chan_verify(c);
    chan_verify(full);
    CHECK(strcmp(g_status_name(g->state, g->reason), "chan send") == 0);
    CHECK_OP(chan_close(&self, c), ==, GOMEM_DONE);
    for (int i = 0; i < 3; i++) {
        struct g *receiver = scheduler_next(r);
        CHECK(run(r, receiver));
    }
    for (int i = 0; i < 3; i++)
        CHECK(receivers[i].slot == 0 && !receivers[i].ok);
    CHECK_OP(chan_close(&self, full), ==, GOMEM_DONE);
    CHECK(scheduler_next(r) == g);
    CHECK_OP(sync_finish(g, &index, &ok), ==, GOMEM_PANICS);
    CHECK(strcmp(g->panic, PANIC_SEND_CLOSED) == 0);
    scheduler_finish(r, g);
    uint64_t value;
    CHECK(chan_drain(full, &value) && value == 2 && !chan_drain(full, &value));
    scheduler_verify(s);
    delete_chan(c);
    delete_chan(full);
    scheduler_delete(s);
}

/* --- What listeners hear --- */

struct listener {
    struct hb hb;
    uint32_t counts[HB_CHAN_CLOSED + 1];
};

static void heard(struct hb *hb, const struct hb_event *e)
{
    ((struct listener *)hb)->counts[e->kind]++;
}

static void events(void)
{
    struct listener l = {.hb = {heard}};
    struct scheduler *s = scheduler_new(1, 1, &l.hb);
    struct hchan *c = make_chan(0), *buffered = make_chan(2);
    struct task tasks[4] = {
        {.step = send_all, .out = c, .count = 5},
        {.step = receive_all, .in = c},
        {.step = send_all, .out = buffered, .count = 5},
        {.step = receive_all, .in = buffered},
    };
    struct runner *r = &s->runners[0];
    for (int i = 0; i < 4; i++)
        start(r, &tasks[i]);
    struct g *g;
    while ((g = scheduler_next(r)) != NULL)
        (void)run(r, g);
    struct g self;
    g_init_thread(&self, 1);
    self.hb = &l.hb;
    CHECK_OP(chan_close(&self, c), ==, GOMEM_DONE);
    CHECK_OP(chan_close(&self, buffered), ==, GOMEM_DONE);
    while ((g = scheduler_next(r)) != NULL)
        (void)run(r, g);
    CHECK_OP(l.counts[HB_GO], ==, 4);
    CHECK_OP(l.counts[HB_CHAN_MEET], ==, 5);
    CHECK_OP(l.counts[HB_CHAN_SLOT], ==, 10); /* each element goes into a slot and out of it */
    CHECK_OP(l.counts[HB_CHAN_CLOSE], ==, 2);
    CHECK_OP(l.counts[HB_CHAN_CLOSED], ==, 2);
    CHECK_OP(tasks[1].sum, ==, 15);
    CHECK_OP(tasks[3].sum, ==, 15);
    delete_chan(c);
    delete_chan(buffered);
    scheduler_delete(s);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        nthreads = (uint32_t)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        rounds = (uint32_t)strtoul(argv[2], NULL, 10);
    CHECK(nthreads >= 1 && nthreads <= 8 && rounds >= 400);
    runq_alone();
    runq_with_thieves();
    every_61st_tick();
    a_pair_does_not_starve_others();
    closing();
    events();
    many_ms();
    plain_threads(0, false);
    plain_threads(10, false);
    plain_threads(0, true);
    plain_threads(3, true);
    giving_up();
    both();
    printf("goroutine_test: ok\n");
    return 0;
}
