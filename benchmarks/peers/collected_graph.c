/* A live graph of maps and lists, and churn in it.
 *
 * A map is a table of 256 pointers to chains of entries (key, value, next), 256 entries at first; a list
 * has 256 nodes (next, previous, value) at first. Values are bytes without pointers, 16 to 128. A
 * directory leads to a map and a list for each 39 KiB of the graph. A step of churn replaces a random
 * map's or list's entry, and its value, by new ones; a round is as many steps as replace a tenth of all.
 *
 *   graph MIB ROUNDS   builds a graph, churns, drops nothing else. Then the graph is collected six times
 *                      while nothing else happens. Figures: live (MiB), wall and cpu of the churn
 *                      (seconds), rss (MiB), collections and pauses of the churn, latency_p50, p9999, max
 *                      (microseconds an allocation, a safepoint included), marked (MiB of live
 *                      graph a second of CPU, median of the six)
 *   pauses MIB CYCLES  churn while another thread asks for CYCLES collections. Figures of the pauses
 *   marking MIB WORKERS  six collections of the graph with nothing else going on: figure mark, ms between
 *                      the two stops, the median
 *   barrier MIB CYCLES as pauses, but the program stores pointers in a table of 4096. Figures: off and
 *                      on, ns a store when the barrier is off and when it is on
 *
 * Called by collected_main.c.
 *
 * Concurrency: one thread churns; in "pauses" and "barrier" another collects.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "collected.h"

enum {
    BUCKETS = 256,
    ENTRIES = 256, /* of a map, of a list */
    VALUE_SIZES = 8,
    VALUE_BYTES = 464, /* of the eight sizes together */
    UNIT_BYTES = BUCKETS * WORD_BYTES + 2 * ENTRIES * (24 + VALUE_BYTES / VALUE_SIZES) + 16,
    CHURN_SHARE = 10, /* one in ten */
    SLOTS = 4096,
    BATCH = 1024,
};

struct entry {
    uint64_t key;
    void *value;
    struct entry *next;
};

struct list_node {
    struct list_node *next, *previous;
    void *value;
};

struct list {
    struct list_node *first, *last;
};

static struct shape entry_shape = {.words = 3, .pointers = 6};
static struct shape list_node_shape = {.words = 3, .pointers = 7};
static struct shape list_shape = {.words = 2, .pointers = 3};
static struct shape pointer_shape = {.words = 1, .pointers = 1};

static const uint16_t value_sizes[VALUE_SIZES] = {16, 16, 32, 48, 64, 64, 96, 128};

struct graph {
    heap_handle h;
    size_t units;
    uint64_t rng, next_key;
    bool timed;
};

static struct entry ***maps(void)
{
    return roots[0];
}

static struct list **lists(void)
{
    return roots[1];
}

/* --- Latencies: buckets of an eighth of a power of two --- */

enum { SUB_BITS = 3, BUCKET_COUNT = 64 << SUB_BITS };

static uint64_t latencies[BUCKET_COUNT];
static uint64_t nlatencies;

static void note_latency(uint64_t ns)
{
    unsigned log = 63 - (unsigned)__builtin_clzll(ns | 1 << SUB_BITS);
    latencies[(log << SUB_BITS) + (ns >> (log - SUB_BITS) & ((1 << SUB_BITS) - 1))]++;
    nlatencies++;
}

/* The middle of the bucket in which the quantile is, in microseconds. */
static double latency_quantile(double share)
{
    uint64_t left = (uint64_t)(share * (double)(nlatencies - 1)) + 1;
    unsigned i = 0;
    while (latencies[i] < left)
        left -= latencies[i++];
    double step = (double)(1ull << (i >> SUB_BITS)) / (1 << SUB_BITS);
    return 1e-3 * step * ((double)((1 << SUB_BITS) + (i & ((1 << SUB_BITS) - 1))) + 0.5);
}

/* --- The graph --- */

/* Two objects: a value, and what leads to it. A safepoint comes first, while nothing hangs in the air. */
struct pair {
    void *value, *holder;
};

static struct pair new_pair(struct graph *g, const struct shape *shape)
{
    size_t size = value_sizes[random_next(&g->rng) >> 40 & (VALUE_SIZES - 1)];
    uint64_t start = g->timed ? nanoseconds() : 0;
    heap_safepoint(g->h);
    void *value = heap_new_bytes(g->h, size);
    uint64_t middle = g->timed ? nanoseconds() : 0;
    void *holder = heap_new(g->h, shape);
    if (g->timed) {
        note_latency(middle - start);
        note_latency(nanoseconds() - middle);
    }
    memset(value, 1, WORD_BYTES);
    return (struct pair){value, holder};
}

static void put_entry(struct graph *g, struct entry **table)
{
    struct pair fresh = new_pair(g, &entry_shape);
    struct entry *e = fresh.holder;
    struct entry **bucket = &table[random_next(&g->rng) >> 30 & (BUCKETS - 1)];
    e->key = g->next_key++;
    heap_write(g->h, &e->value, fresh.value);
    heap_write(g->h, &e->next, *bucket);
    heap_write(g->h, bucket, e);
}

static void append(struct graph *g, struct list *l)
{
    struct pair fresh = new_pair(g, &list_node_shape);
    struct list_node *n = fresh.holder;
    heap_write(g->h, &n->value, fresh.value);
    heap_write(g->h, &n->next, NULL);
    heap_write(g->h, &n->previous, l->last);
    if (l->last != NULL)
        heap_write(g->h, &l->last->next, n);
    else
        heap_write(g->h, &l->first, n);
    heap_write(g->h, &l->last, n);
}

static void replace_entry(struct graph *g, struct entry **table)
{
    unsigned bucket = random_next(&g->rng) >> 30 & (BUCKETS - 1);
    while (table[bucket] == NULL)
        bucket = (bucket + 1) % BUCKETS;
    struct entry *e = table[bucket];
    heap_write(g->h, &table[bucket], e->next);
    heap_drop(e->value);
    heap_drop(e);
    put_entry(g, table);
}

static void replace_node(struct graph *g, struct list *l)
{
    struct list_node *n = l->first;
    heap_write(g->h, &l->first, n->next);
    heap_write(g->h, &n->next->previous, NULL);
    heap_drop(n->value);
    heap_drop(n);
    append(g, l);
}

static void churn(struct graph *g, uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        size_t unit = (random_next(&g->rng) >> 32) * g->units >> 32;
        if (i % 2 == 0)
            replace_entry(g, maps()[unit]);
        else
            replace_node(g, lists()[unit]);
    }
}

static uint64_t round_steps(const struct graph *g)
{
    return g->units * 2 * ENTRIES / CHURN_SHARE;
}

static void build(struct graph *g, size_t mib)
{
    g->units = (mib << 20) / UNIT_BYTES + 1;
    g->rng = 88172645463325252u;
    shape_prepare(&entry_shape);
    shape_prepare(&list_node_shape);
    shape_prepare(&list_shape);
    shape_prepare(&pointer_shape);
    heap_write(g->h, &roots[0], heap_new_array(g->h, &pointer_shape, g->units));
    heap_write(g->h, &roots[1], heap_new_array(g->h, &pointer_shape, g->units));
    for (size_t i = 0; i < g->units; i++) {
        struct entry **table = heap_new_array(g->h, &pointer_shape, BUCKETS);
        heap_write(g->h, &maps()[i], table);
        for (unsigned j = 0; j < ENTRIES; j++)
            put_entry(g, table);
        struct list *l = heap_new(g->h, &list_shape);
        l->first = l->last = NULL;
        heap_write(g->h, &lists()[i], l);
        for (unsigned j = 0; j < ENTRIES; j++)
            append(g, l);
    }
}

/* As many entries and nodes as there were at first? */
static void check(const struct graph *g)
{
    uint64_t n = 0;
    for (size_t i = 0; i < g->units; i++) {
        for (unsigned j = 0; j < BUCKETS; j++)
            for (struct entry *e = maps()[i][j]; e != NULL; e = e->next)
                n += *(char *)e->value == 1;
        for (struct list_node *l = lists()[i]->first; l != NULL; l = l->next)
            n += *(char *)l->value == 1;
    }
    if (n != g->units * 2 * ENTRIES)
        die("the graph is not what it should be");
}

static double live_mib(const struct graph *g)
{
    return (double)g->units * UNIT_BYTES / (1 << 20);
}

/* --- The workloads --- */

static void figure_marked(const struct graph *g)
{
    double rates[COLLECTIONS];
    for (unsigned i = 0; i < COLLECTIONS; i++) {
        double start = process_cpu_now();
        heap_collect();
        rates[i] = live_mib(g) / (process_cpu_now() - start);
    }
    if (heap_collections() > 0)
        figure("marked", median(rates, COLLECTIONS));
}

static void run_graph(char **arguments)
{
    heap_start(true, 0);
    struct graph g = {.h = heap_enter()};
    build(&g, strtoull(arguments[0], NULL, 10));
    unsigned rounds = arguments[1] != NULL ? (unsigned)atoi(arguments[1]) : 1;
    double start = now(), cpu = process_cpu_now();
    g.timed = true;
    for (unsigned i = 0; i < rounds; i++)
        churn(&g, round_steps(&g));
    figure("wall", now() - start);
    figure("cpu", process_cpu_now() - cpu);
    figure("rss", peak_rss_mib());
    figure("live", live_mib(&g));
    figure("collections", (double)heap_collections());
    figures_of_pauses();
    figure("latency_p50", latency_quantile(0.5));
    figure("latency_p9999", latency_quantile(0.9999));
    figure("latency_max", latency_quantile(1));
    check(&g);
    heap_leave(g.h);
    figure_marked(&g);
}

static void run_marking(char **arguments)
{
    heap_start(false, arguments[1] != NULL ? (unsigned)atoi(arguments[1]) : 0);
    struct graph g = {.h = heap_enter()};
    build(&g, strtoull(arguments[0], NULL, 10));
    heap_leave(g.h);
    figure_mark_time();
}

/* --- Beside a thread that collects --- */

struct collector {
    unsigned cycles;
    unsigned idle_us; /* between two of them */
    uint32_t done; /* atomic */
};

static void *collect(void *arg)
{
    struct collector *c = arg;
    for (unsigned i = 0; i < c->cycles; i++) {
        heap_collect();
        usleep(c->idle_us);
    }
    __atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static pthread_t start_collecting(struct collector *c, const char *cycles)
{
    pthread_t thread;
    c->cycles = cycles != NULL ? (unsigned)atoi(cycles) : 1;
    if (pthread_create(&thread, NULL, collect, c) != 0)
        die("no thread");
    return thread;
}

static bool collecting(const struct collector *c)
{
    return !__atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

static void run_pauses(char **arguments)
{
    heap_start(false, 0);
    struct graph g = {.h = heap_enter()};
    build(&g, strtoull(arguments[0], NULL, 10));
    struct collector c = {0};
    pthread_t thread = start_collecting(&c, arguments[1]);
    while (collecting(&c))
        churn(&g, BATCH);
    pthread_join(thread, NULL);
    check(&g);
    heap_leave(g.h);
    figures_of_pauses();
}

/* Copies pointers within a table, from place to place. */
static void store_batch(struct graph *g, void **table)
{
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t random = random_next(&g->rng);
        heap_write(g->h, &table[random & (SLOTS - 1)], table[random >> 20 & (SLOTS - 1)]);
    }
}

static void run_barrier(char **arguments)
{
    heap_start(false, 0);
    struct graph g = {.h = heap_enter()};
    build(&g, strtoull(arguments[0], NULL, 10));
    struct frame f;
    frame_push(&f);
    void **table = f.slots[0] = heap_new_array(g.h, &pointer_shape, SLOTS);
    for (unsigned i = 0; i < SLOTS; i++)
        heap_write(g.h, &table[i], lists()[i % g.units]);
    uint64_t ns[2] = {0}, batches[2] = {0};
    struct collector c = {.idle_us = 1000}; /* some batches without */
    pthread_t thread = start_collecting(&c, arguments[1]);
    while (collecting(&c)) {
        bool on = heap_barrier_is_on(g.h); /* it changes at safepoints only */
        uint64_t start = nanoseconds();
        store_batch(&g, table);
        ns[on] += nanoseconds() - start;
        batches[on]++;
        heap_safepoint(g.h);
    }
    pthread_join(thread, NULL);
    frame_pop(&f);
    heap_leave(g.h);
    for (unsigned on = 0; on < 2; on++)
        if (batches[on] > 0)
            figure(on ? "on" : "off", (double)ns[on] / (double)batches[on] / BATCH);
}

const struct workload graph_workloads[] = {
    {"graph", run_graph},     {"pauses", run_pauses}, {"marking", run_marking},
    {"barrier", run_barrier}, {NULL, NULL},
};
