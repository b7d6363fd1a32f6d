/* Binary trees of 16-byte nodes, two pointers each.
 *
 *   tree DEPTH            one tree of DEPTH lives; for d = 4, 8, ... DEPTH, 2^(DEPTH - d + 4) trees of
 *                         depth d are built, their nodes counted, and dropped. Figures: nodes, wall and
 *                         cpu (seconds, all threads), rss (MiB, the peak), collections, and pauses
 *   tree-plain DEPTH      the same with plain stores instead of the write barrier. (They are sound: a
 *                         fresh node that marking began before holds only what a frame held then.)
 *   tree-off DEPTH PAIRS  the collector works only when it is asked to, with the clock stopped: trees of
 *                         DEPTH are built and counted in turns with barrier and with plain stores, PAIRS
 *                         times. Figures: barrier, plain (ns a node), ratio of the two: medians
 *   tree-marking DEPTH WORKERS
 *                         six collections of a tree with nothing else going on: figure mark, ms between
 *                         the two stops, the median
 *
 * Called by collected_main.c.
 *
 * Concurrency: one thread, beside the collector's.
 */
#include <stdlib.h>

#include "collected.h"

enum {
    FIRST_DEPTH = 4,
    DEPTH_STEP = 4,
    SAFEPOINT_DEPTH = 7, /* a subtree of 255 nodes */
    OFF_NODES = 4 << 20, /* in each part of a pair: 64 MiB */
    MAX_PAIRS = 99,
};

struct node {
    struct node *left, *right;
};

static struct shape node_shape = {.words = 2, .pointers = 3};

static inline void set(heap_handle h, void *slot, void *value, bool plain)
{
    if (plain)
        *(void **)slot = value;
    else
        heap_write(h, slot, value);
}

static inline __attribute__((always_inline)) struct node *
node_new(heap_handle h, void *left, void *right, bool plain)
{
    struct node *n = heap_new(h, &node_shape);
    set(h, &n->left, left, plain);
    set(h, &n->right, right, plain);
    return n;
}

static struct node *make(heap_handle h, int depth)
{
    if (depth == 0)
        return node_new(h, NULL, NULL, false);
    if (depth == SAFEPOINT_DEPTH)
        heap_safepoint(h);
    struct frame f;
    frame_push(&f);
    f.slots[0] = make(h, depth - 1);
    f.slots[1] = make(h, depth - 1);
    struct node *n = node_new(h, f.slots[0], f.slots[1], false);
    frame_pop(&f);
    return n;
}

/* A function of its own, so that neither makes the other slower. */
static struct node *make_plain(heap_handle h, int depth)
{
    if (depth == 0)
        return node_new(h, NULL, NULL, true);
    if (depth == SAFEPOINT_DEPTH)
        heap_safepoint(h);
    struct frame f;
    frame_push(&f);
    f.slots[0] = make_plain(h, depth - 1);
    f.slots[1] = make_plain(h, depth - 1);
    struct node *n = node_new(h, f.slots[0], f.slots[1], true);
    frame_pop(&f);
    return n;
}

/* pre: a root leads to the tree. */
static uint64_t count(heap_handle h, const struct node *n, int depth)
{
    if (n->left == NULL)
        return 1;
    if (depth == SAFEPOINT_DEPTH)
        heap_safepoint(h);
    return 1 + count(h, n->left, depth - 1) + count(h, n->right, depth - 1);
}

/* Where there is no collector. */
static void drop(struct node *n)
{
#if !defined PEER_GOMEM && !defined PEER_BOEHM
    if (n->left != NULL) {
        drop(n->left);
        drop(n->right);
    }
    heap_drop(n);
#else
    (void)n;
#endif
}

typedef struct node *make_function(heap_handle h, int depth);

static uint64_t all_trees(heap_handle h, make_function *maker, int depth)
{
    struct frame f;
    frame_push(&f);
    f.slots[0] = maker(h, depth);
    uint64_t nodes = count(h, f.slots[0], depth);
    for (int d = FIRST_DEPTH; d <= depth; d += DEPTH_STEP)
        for (long i = 0; i < 1L << (depth - d + FIRST_DEPTH); i++) {
            f.slots[1] = maker(h, d);
            nodes += count(h, f.slots[1], d);
            drop(f.slots[1]);
            f.slots[1] = NULL;
            heap_safepoint(h);
        }
    if (count(h, f.slots[0], depth) != (2UL << depth) - 1)
        die("the long-lived tree is not what it was");
    frame_pop(&f);
    return nodes;
}

static void run_with(make_function *maker, char **arguments)
{
    double start = now(), cpu = process_cpu_now();
    heap_start(true, 0);
    shape_prepare(&node_shape);
    heap_handle h = heap_enter();
    figure("nodes", (double)all_trees(h, maker, atoi(arguments[0])));
    heap_leave(h);
    figure("wall", now() - start);
    figure("cpu", process_cpu_now() - cpu);
    figure("rss", peak_rss_mib());
    figure("collections", (double)heap_collections());
    figures_of_pauses();
}

static void run_tree(char **arguments)
{
    run_with(make, arguments);
}

static void run_tree_plain(char **arguments)
{
    run_with(make_plain, arguments);
}

/* --- With the collector off --- */

/* Nanoseconds of CPU a node. */
static double part(make_function *maker, int depth)
{
    heap_handle h = heap_enter();
    struct frame f;
    frame_push(&f);
    double start = cpu_now();
    uint64_t nodes = 0;
    while (nodes < OFF_NODES) {
        f.slots[0] = maker(h, depth);
        nodes += count(h, f.slots[0], depth);
    }
    double took = cpu_now() - start;
    frame_pop(&f);
    heap_leave(h);
    heap_collect();
    return 1e9 * took / (double)nodes;
}

static void run_tree_off(char **arguments)
{
    int depth = atoi(arguments[0]), pairs = arguments[1] != NULL ? atoi(arguments[1]) : 1;
    double barrier[MAX_PAIRS], plain[MAX_PAIRS], ratio[MAX_PAIRS];
    if (pairs < 1 || pairs > MAX_PAIRS)
        die("no such number of pairs");
    heap_start(false, 0);
    shape_prepare(&node_shape);
    (void)part(make, depth); /* its memory is there */
    for (int i = 0; i < pairs; i++) {
        if (i % 2 == 0)
            barrier[i] = part(make, depth);
        plain[i] = part(make_plain, depth);
        if (i % 2 != 0)
            barrier[i] = part(make, depth);
        ratio[i] = barrier[i] / plain[i];
    }
    figure("barrier", median(barrier, (size_t)pairs));
    figure("plain", median(plain, (size_t)pairs));
    figure("ratio", median(ratio, (size_t)pairs));
}

static void run_tree_marking(char **arguments)
{
    heap_start(false, arguments[1] != NULL ? (unsigned)atoi(arguments[1]) : 0);
    shape_prepare(&node_shape);
    heap_handle h = heap_enter();
    struct frame f;
    frame_push(&f);
    f.slots[0] = make(h, atoi(arguments[0]));
    heap_leave(h);
    figure_mark_time();
}

const struct workload tree_workloads[] = {
    {"tree", run_tree},
    {"tree-plain", run_tree_plain},
    {"tree-off", run_tree_off},
    {"tree-marking", run_tree_marking},
    {NULL, NULL},
};
