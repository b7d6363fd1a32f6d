/* Workloads of several threads.
 *
 *   larson           each thread has 4096 objects of mixed sizes and replaces them one by one; then
 *                    all pass their tables on: every object is freed by another thread
 *   xmalloc          half of the threads allocate batches of 256 objects of mixed sizes, the other
 *                    half frees them
 *   threads-fifo     each thread for itself: 1000 objects of SIZE bytes, freed in order
 *   threads-churn    each thread for itself: 10,000 live objects of mixed sizes, replaced at random
 *   scale-fifo, scale-churn   the speed-up of those: the work done in a second by all threads at
 *                    once, over that done by one of them alone, taken in turns
 *   scale-none       the same for a loop without any memory: what the machine itself can do
 *
 * An operation's nanoseconds are those of a thread that has a CPU to itself: with more threads than
 * CPUs the time is shared out. Called through harness.h.
 *
 * Concurrency: the threads meet at a spinning barrier; the first of them is the program's own, and
 * what it writes between two meetings the others only read after the next.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

enum {
    MAX_THREADS = 16,
    BATCH = 1000,
    CHURN_LIVE = 10000,
    LARSON_LIVE = 4096,
    LARSON_STEP = 1627, /* odd: visits all of them */
    QUEUE_BATCHES = 16,
    QUEUE_OBJECTS = 256,
    SPINS = 2000, /* before a waiting thread offers its CPU to others */
    CACHE_LINE = 128,
};

static const double REPETITION_SECONDS = 2e-3;
/* With more threads than CPUs a repetition must be longer than the system's time slices. */
static const double CROWDED_REPETITION_SECONDS = 20e-3;

/* Batches on their way from one thread to another. */
struct queue {
    _Alignas(CACHE_LINE) _Atomic size_t head; /* batches put in */
    _Alignas(CACHE_LINE) _Atomic size_t tail; /* batches taken out */
    void *objects[QUEUE_BATCHES][QUEUE_OBJECTS];
};

struct team;

struct member {
    struct run r;
    struct team *team;
    unsigned id;
    pthread_t thread;
    struct queue *queue; /* shared by a pair of members */
    _Alignas(CACHE_LINE) char end[1];
};

struct kind {
    const char *name;
    bool scale;
    void (*prepare)(struct member *m); /* or NULL */
    size_t (*run)(struct member *m);   /* the number of its operations */
};

struct team {
    const struct kind *kind;
    unsigned n;
    /* Written by the first member between two meetings. */
    size_t times;
    unsigned alone; /* the only member that works, or n: all do */
    bool stop;
    size_t epoch; /* larson: how often the tables were passed on */
    void **tables[MAX_THREADS];
    size_t operations[MAX_THREADS];
    _Alignas(CACHE_LINE) _Atomic unsigned arrived;
    _Alignas(CACHE_LINE) _Atomic unsigned meeting;
};

static void wait_a_little(unsigned *spins)
{
    if (++*spins < SPINS)
        __builtin_ia32_pause();
    else
        sched_yield();
}

static void meet(struct team *t)
{
    unsigned meeting = atomic_load_explicit(&t->meeting, memory_order_relaxed), spins = 0;
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&t->meeting, meeting + 1, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&t->meeting, memory_order_acquire) == meeting)
        wait_a_little(&spins);
}

/* --- Each for itself --- */

static void prepare_fifo(struct member *m)
{
    m->r.objects = own_memory(BATCH * sizeof(void *));
}

static size_t run_fifo(struct member *m)
{
    struct run *r = &m->r;
    for (unsigned i = 0; i < BATCH; i++) {
        r->objects[i] = api_alloc(r->h, r->size);
        touch(r->objects[i]);
    }
    for (unsigned i = 0; i < BATCH; i++)
        drop(r->h, r->objects[i]);
    return BATCH;
}

static void fill(struct member *m, size_t n)
{
    struct run *r = &m->r;
    r->objects = own_memory(n * sizeof(void *));
    draw_sizes(r, false);
    for (size_t i = 0; i < n; i++) {
        r->objects[i] = api_alloc(r->h, r->sizes[i % SIZE_TABLE]);
        touch(r->objects[i]);
    }
}

static void prepare_churn(struct member *m)
{
    fill(m, CHURN_LIVE);
}

/* Frees an object and puts a new one in its place. */
static inline void replace(struct run *r, void **object, size_t size)
{
    drop(r->h, *object);
    *object = api_alloc(r->h, size);
    touch(*object);
}

static size_t run_churn(struct member *m)
{
    struct run *r = &m->r;
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t random = random_next(&r->rng);
        replace(r, &r->objects[(random >> 32) * CHURN_LIVE >> 32], r->sizes[random % SIZE_TABLE]);
    }
    return BATCH;
}

static size_t run_none(struct member *m)
{
    for (unsigned i = 0; i < BATCH; i++)
        *(volatile uint64_t *)&m->r.rng = random_next(&m->r.rng);
    return BATCH;
}

/* --- From one to the other --- */

static void prepare_larson(struct member *m)
{
    fill(m, LARSON_LIVE);
    m->team->tables[m->id] = m->r.objects;
}

static size_t run_larson(struct member *m)
{
    struct run *r = &m->r;
    void **table = m->team->tables[(m->id + m->team->epoch) % m->team->n];
    for (size_t i = 0; i < LARSON_LIVE; i++)
        replace(r, &table[i * LARSON_STEP % LARSON_LIVE],
                r->sizes[random_next(&r->rng) % SIZE_TABLE]);
    meet(m->team);
    if (m->id == 0)
        m->team->epoch++;
    meet(m->team);
    return LARSON_LIVE;
}

static void prepare_xmalloc(struct member *m)
{
    static struct queue queues[MAX_THREADS / 2];
    m->queue = &queues[m->id / 2];
    draw_sizes(&m->r, false);
}

static void produce(struct run *r, struct queue *q)
{
    size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    unsigned spins = 0;
    while (head - atomic_load_explicit(&q->tail, memory_order_acquire) == QUEUE_BATCHES)
        wait_a_little(&spins);
    void **batch = q->objects[head % QUEUE_BATCHES];
    for (unsigned i = 0; i < QUEUE_OBJECTS; i++) {
        batch[i] = api_alloc(r->h, r->sizes[random_next(&r->rng) % SIZE_TABLE]);
        touch(batch[i]);
    }
    atomic_store_explicit(&q->head, head + 1, memory_order_release);
}

static void consume(struct run *r, struct queue *q)
{
    size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    unsigned spins = 0;
    while (atomic_load_explicit(&q->head, memory_order_acquire) == tail)
        wait_a_little(&spins);
    void **batch = q->objects[tail % QUEUE_BATCHES];
    for (unsigned i = 0; i < QUEUE_OBJECTS; i++)
        drop(r->h, batch[i]);
    atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
}

static size_t run_xmalloc(struct member *m)
{
    if (m->id % 2 == 0)
        produce(&m->r, m->queue);
    else
        consume(&m->r, m->queue);
    return QUEUE_OBJECTS;
}

static const struct kind kinds[] = {
    {"larson", false, prepare_larson, run_larson},
    {"xmalloc", false, prepare_xmalloc, run_xmalloc},
    {"threads-fifo", false, prepare_fifo, run_fifo},
    {"threads-churn", false, prepare_churn, run_churn},
    {"scale-fifo", true, prepare_fifo, run_fifo},
    {"scale-churn", true, prepare_churn, run_churn},
    {"scale-none", true, NULL, run_none},
};

/* --- The team at work --- */

static void work(struct member *m)
{
    struct team *t = m->team;
    size_t operations = 0;
    if (t->alone == t->n || t->alone == m->id)
        for (size_t i = 0; i < t->times; i++) {
            operations += t->kind->run(m);
            api_safepoint(m->r.h);
        }
    t->operations[m->id] = operations;
}

static void enter(struct member *m)
{
    m->r.h = api_enter(m->id);
    m->r.rng = 88172645463325252u + 1000003u * m->id;
    if (m->team->kind->prepare != NULL)
        m->team->kind->prepare(m);
    meet(m->team);
}

static void *run_member(void *arg)
{
    struct member *m = arg;
    enter(m);
    for (;;) {
        meet(m->team);
        if (m->team->stop)
            break;
        work(m);
        meet(m->team);
    }
    api_leave(m->r.h);
    return NULL;
}

/* All members, or one, do t->times runs: seconds. The others wait at the meeting by now; were the
 * time taken behind it, they could be under way. */
static double together(struct member *first, unsigned alone)
{
    struct team *t = first->team;
    double start = now();
    t->alone = alone;
    meet(t);
    work(first);
    meet(t);
    return now() - start;
}

static double cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static double per_operation(const struct team *t, double seconds)
{
    size_t operations = 0;
    for (unsigned i = 0; i < t->n; i++)
        operations += t->operations[i];
    return 1e9 * seconds * (t->n < cpus() ? t->n : cpus()) / (double)operations;
}

static void lead(struct member *first, double seconds)
{
    struct team *t = first->team;
    double least = t->n > cpus() ? CROWDED_REPETITION_SECONDS : REPETITION_SECONDS;
    while (together(first, t->n) < least)
        t->times *= 2;
    double end = now() + seconds;
    for (unsigned i = 0; i < 3 || now() < end; i++) {
        if (t->kind->scale) {
            double alone = together(first, i % t->n), all = together(first, t->n);
            report(alone * t->n / all);
        } else {
            report(per_operation(t, together(first, t->n)));
        }
    }
    t->stop = true;
    meet(t);
}

bool run_threads(const char *name, size_t size, unsigned threads, double seconds)
{
    static struct member members[MAX_THREADS];
    static struct team team = {.times = 1};
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].name, name) == 0)
            team.kind = &kinds[i];
    if (team.kind == NULL)
        return false;
    if (threads < 1 || threads > MAX_THREADS)
        die("too many threads");
    team.n = threads;
    for (unsigned i = 0; i < threads; i++) {
        members[i].team = &team;
        members[i].id = i;
        members[i].r.size = size;
        if (i > 0 && pthread_create(&members[i].thread, NULL, run_member, &members[i]) != 0)
            die("no thread");
    }
    enter(&members[0]);
    lead(&members[0], seconds);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(members[i].thread, NULL);
    api_leave(members[0].r.h);
    return true;
}
