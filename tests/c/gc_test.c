/* The collector under programs that link and unlink objects at random: nothing that can be reached is
 * lost, everything that cannot is gone after two cycles.
 *
 *   gc_test [threads] [rounds] [operations] [seed] [span|avx2|portable|object]
 *
 * Each thread keeps some roots in a frame of its shadow stack; threads pass objects on through a root
 * table. Every object carries a number and its complement, so that memory that was freed and given out
 * again is recognised.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/rng.h"
#include "gc/gc.h"
#include "gomem.h"
#include "runtime/runtime.h"

enum { ROOTS = 32, SHARED = 64, CHILDREN = 3, BIG_WORDS = 5000 };

/* The smallest objects with pointers that are marked by span. */
struct pair {
    struct node *to;
    uint64_t number; /* of the node that has the pair */
};

struct node {
    struct node *child[CHILDREN];
    uint64_t *data; /* without pointers: the number, repeated */
    struct pair *pair;
    uint64_t number, complement;
};

struct program {
    struct gomem_runtime *rt;
    struct gomem_type *node, *pair, *pointer;
    uint64_t shared[SHARED];
    struct gomem_root_table table;
    uint64_t numbers;
};

struct program_thread {
    pthread_t handle;
    struct program *program;
    struct rng rng;
    unsigned operations;
};

enum marking { SPAN, AVX2, PORTABLE, OBJECT }; /* by span with all instructions there are, and with fewer */

struct frame {
    struct gomem_frame f;
    struct node *roots[ROOTS];
};

static void check_node(const struct node *n)
{
    CHECK_OP(n->number, ==, ~n->complement);
    if (n->data != NULL)
        CHECK_OP(n->data[0], ==, n->number);
    if (n->pair != NULL) {
        CHECK_OP(n->pair->number, ==, n->number);
        if (n->pair->to != NULL)
            CHECK_OP(n->pair->to->number, ==, ~n->pair->to->complement);
    }
}

static uint32_t below(struct program_thread *t, uint32_t n)
{
    return (uint32_t)(rng_next(&t->rng) % n);
}

static void write_pointer(struct gomem_proc *p, void *slot, void *value)
{
    gomem_write_pointer(p, (void **)slot, value);
}

static struct node *new_node(struct program_thread *t, struct gomem_proc *p, struct frame *f)
{
    struct program *g = t->program;
    /* Sometimes at the beginning of a large array of nodes, or one with a header. */
    static const size_t counts[] = {1, 1, 1, 1, 1, 1, 12, 1000};
    struct node *n = gomem_alloc_typed(p, g->node, counts[below(t, 8)]);
    if (n == NULL)
        return NULL;
    CHECK(n->number == 0 && n->data == NULL && n->child[0] == NULL);
    n->number = __atomic_fetch_add(&g->numbers, 1, __ATOMIC_RELAXED) + 1;
    n->complement = ~n->number;
    for (unsigned i = 0; i < CHILDREN; i++)
        if (below(t, 2))
            write_pointer(p, &n->child[i], f->roots[below(t, ROOTS)]);
    if (below(t, 2)) {
        struct pair *pair = gomem_alloc_typed(p, g->pair, 1);
        if (pair != NULL) {
            pair->number = n->number;
            write_pointer(p, &pair->to, f->roots[below(t, ROOTS)]);
            write_pointer(p, &n->pair, pair);
        }
    }
    if (below(t, 4) == 0) {
        uint64_t *data = gomem_alloc(p, 8 * (1 + below(t, 40)));
        if (data != NULL) {
            data[0] = n->number;
            write_pointer(p, &n->data, data);
        }
    }
    return n;
}

/* Some steps from a root along children, looking at all on the way. */
static struct node *walk(struct program_thread *t, struct node *n)
{
    for (unsigned steps = below(t, 20); n != NULL && steps > 0; steps--) {
        check_node(n);
        struct node *next = __atomic_load_n(&n->child[below(t, CHILDREN)], __ATOMIC_ACQUIRE);
        if (next == NULL)
            break;
        n = next;
    }
    if (n != NULL)
        check_node(n);
    return n;
}

static void step(struct program_thread *t, struct gomem_proc *p, struct frame *f)
{
    struct program *g = t->program;
    struct node **root = &f->roots[below(t, ROOTS)];
    struct node *other = f->roots[below(t, ROOTS)], *n;
    uint64_t *shared = &g->shared[below(t, SHARED)];
    switch (below(t, 10)) {
    case 0:
    case 1:
    case 2:
        *root = new_node(t, p, f);
        break;
    case 3: /* link */
        n = walk(t, *root);
        if (n != NULL)
            write_pointer(p, &n->child[below(t, CHILDREN)], other);
        break;
    case 4: /* unlink */
        n = walk(t, *root);
        if (n != NULL)
            write_pointer(p, &n->child[below(t, CHILDREN)], NULL);
        break;
    case 5: /* move what hangs somewhere into a root, and cut it off there */
        n = walk(t, *root);
        if (n != NULL) {
            unsigned i = below(t, CHILDREN);
            struct node *child = __atomic_load_n(&n->child[i], __ATOMIC_ACQUIRE);
            f->roots[below(t, ROOTS)] = child;
            write_pointer(p, &n->child[i], NULL);
        }
        break;
    case 6:
        *root = NULL;
        break;
    case 7:
        write_pointer(p, shared, walk(t, *root));
        break;
    case 8:
        *root = (struct node *)__atomic_load_n(shared, __ATOMIC_ACQUIRE);
        break;
    default:
        walk(t, *root);
    }
}

static void verify(struct gomem_runtime *rt)
{
    struct gomem_error err;
    if (gomem_verify(rt, &err) != GOMEM_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
}

static void *run(void *arg)
{
    struct program_thread *t = arg;
    struct program *g = t->program;
    struct frame frame = {.f = {.n = ROOTS}};
    struct gomem_shadow_stack stack = {.top = &frame.f};
    struct gomem_proc *p = gomem_proc_acquire(g->rt);
    gomem_add_shadow_stack(g->rt, &stack);
    for (unsigned i = 0; i < t->operations; i++) {
        step(t, p, &frame);
        if (i % 64 == 0 && below(t, 4) == 0) {
            gomem_proc_release(p);
            if (below(t, 400) == 0)
                CHECK(gomem_gc(g->rt) == GOMEM_OK);
            if (below(t, 200) == 0)
                verify(g->rt); /* in whatever phase the collector is */
            p = gomem_proc_acquire(g->rt);
        } else if (i % 8 == 0) {
            CHECK(gomem_safepoint(p));
        }
    }
    gomem_proc_release(p);
    gomem_remove_shadow_stack(g->rt, &stack);
    return NULL;
}

static void make_types(struct program *g)
{
    struct gomem_error err;
    g->pointer = gomem_type_pointer("*node", &err);
    struct gomem_type *word = gomem_type_basic(GOMEM_UINT64, &err);
    const char *names[] = {"a", "b", "c", "data", "pair", "number", "complement"};
    const struct gomem_type *types[] = {g->pointer, g->pointer, g->pointer, g->pointer,
                                        g->pointer, word,       word};
    g->node = gomem_type_struct("node", names, types, 7, &err);
    g->pair = gomem_type_struct("pair", names + 4, types + 4, 2, &err);
    CHECK(g->pair != NULL && gomem_type_size(g->pair) == sizeof(struct pair));
    CHECK(g->node != NULL && gomem_type_size(g->node) == sizeof(struct node));
    gomem_type_release(word);
}

static void round_of(unsigned nthreads, unsigned operations, uint64_t seed, enum marking marker)
{
    struct program g = {.table = {.n = SHARED}};
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    o.procs = nthreads + 1;
    o.gogc = seed % 3 == 0 ? 20 : 100;
    o.marker = marker == OBJECT ? GOMEM_MARKER_OBJECT : GOMEM_MARKER_SPAN;
    CHECK(gomem_runtime_new(&o, &g.rt, &err) == GOMEM_OK);
    if (marker == AVX2 || marker == PORTABLE)
        g.rt->gc->pool.scan_span = mark_span_kernel(marker == AVX2 ? MARK_AVX2 : MARK_PORTABLE);
    make_types(&g);
    g.table.slots = g.shared;
    gomem_add_roots(g.rt, &g.table);
    struct program_thread threads[16];
    for (unsigned i = 0; i < nthreads; i++) {
        threads[i] = (struct program_thread){
            .program = &g, .rng = {.state = seed * 1000 + i}, .operations = operations};
        CHECK(pthread_create(&threads[i].handle, NULL, run, &threads[i]) == 0);
    }
    for (unsigned i = 0; i < nthreads; i++)
        pthread_join(threads[i].handle, NULL);
    verify(g.rt);
    struct gomem_memstats m, after;
    CHECK(gomem_read_memstats(g.rt, &m) == GOMEM_OK);
    memset(g.shared, 0, sizeof g.shared);
    for (unsigned i = 0; i < 2; i++)
        CHECK(gomem_gc(g.rt) == GOMEM_OK);
    verify(g.rt);
    CHECK(gomem_read_memstats(g.rt, &after) == GOMEM_OK);
    CHECK_OP(after.heap_objects, ==, 0);
    CHECK_OP(after.heap_inuse, ==, 0);
    printf("gc_test: %llu cycles, %llu mallocs, %llu objects at the end, pauses %llu us\n",
           (unsigned long long)after.num_gc, (unsigned long long)after.mallocs,
           (unsigned long long)m.heap_objects, (unsigned long long)after.pause_total_ns / 1000);
    gomem_remove_roots(g.rt, &g.table);
    gomem_runtime_delete(g.rt);
    gomem_type_release(g.node);
    gomem_type_release(g.pair);
    gomem_type_release(g.pointer);
}

int main(int argc, char **argv)
{
    unsigned nthreads = argc > 1 ? (unsigned)atoi(argv[1]) : 3;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 4;
    unsigned operations = argc > 3 ? (unsigned)atoi(argv[3]) : 200000;
    uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 0) : 1;
    enum marking marker = SPAN;
    if (argc > 5)
        marker = argv[5][0] == 'o'   ? OBJECT
                 : argv[5][0] == 'p' ? PORTABLE
                 : argv[5][0] == 'a' ? AVX2
                                     : SPAN;
    CHECK(nthreads >= 1 && nthreads <= 16);
    for (unsigned i = 0; i < rounds; i++)
        round_of(nthreads, operations, seed + i, marker);
    return 0;
}
