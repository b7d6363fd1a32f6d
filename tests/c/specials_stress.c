/* Finalizers, cleanups and weak pointers under threads that link and unlink objects at random, while
 * collections run and another thread calls what is queued.
 *
 *   specials_stress [threads] [operations] [seed]
 *
 * Every object has a number and its complement, and a weak pointer's holder knows the number: what a weak
 * pointer leads to, or a finalizer is called with, is the object it was made for, and all that hangs on it
 * is whole. Each callback's data is called once at most and released exactly once.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/check.h"
#include "base/rng.h"
#include "gomem.h"

enum { ROOTS = 16, WEAK = 24, SHARED = 32, CHILDREN = 2 };

struct node {
    struct node *child[CHILDREN];
    uint64_t *data; /* the number, behind */
    uint64_t number, complement;
};

/* A weak pointer that threads share. */
struct shared {
    pthread_mutex_t lock;
    struct gomem_weak *weak; /* under lock */
    uint64_t number;         /* under lock: of what it was made for */
};

struct program {
    struct gomem_runtime *rt;
    struct gomem_type *node;
    struct shared shared[SHARED];
    uint64_t saved[8]; /* where finalizers put objects */
    struct gomem_root_table table;
    uint64_t numbers, finalized, cleaned, made, released, strong, nil; /* atomic */
    uint32_t done;                                                     /* atomic */
};

/* Data of a callback. */
struct record {
    struct program *program;
    uint64_t number;
    uint32_t calls; /* atomic */
    bool finalizer, again;
};

struct thread {
    pthread_t handle;
    struct program *program;
    struct rng rng;
    unsigned operations;
};

struct frame {
    struct gomem_frame f;
    struct node *roots[ROOTS];
};

static uint32_t below(struct thread *t, uint32_t n)
{
    return rng_below(&t->rng, n);
}

static void check_node(const struct node *n)
{
    CHECK_OP(n->number, ==, ~n->complement);
    const uint64_t *data = load_acquire(&n->data);
    if (data != NULL)
        CHECK_OP(data[1], ==, n->number);
}

/* All of it to some depth is whole. */
static void check_tree(const struct node *n, unsigned depth)
{
    if (n == NULL)
        return;
    check_node(n);
    for (unsigned i = 0; depth > 0 && i < CHILDREN; i++)
        check_tree(load_acquire(&n->child[i]), depth - 1);
}

/* --- Callbacks --- */

static struct record *new_record(struct program *g, uint64_t number, bool finalizer, bool again)
{
    struct record *r = malloc(sizeof *r);
    CHECK(r != NULL);
    *r = (struct record){.program = g, .number = number, .finalizer = finalizer, .again = again};
    fetch_add_relaxed(&g->made, 1);
    return r;
}

static void release(void *data)
{
    struct record *r = data;
    fetch_add_relaxed(&r->program->released, 1);
    free(r);
}

static void call(struct gomem_runtime *rt, void *pointer, void *data);

static void attach(struct program *g, struct gomem_proc *p, struct node *n, bool again)
{
    struct record *r = new_record(g, n->number, true, again);
    struct gomem_callback cb = {call, release, r};
    struct gomem_error err;
    if (gomem_set_finalizer(p, n, &cb, &err) != GOMEM_OK)
        release(r); /* it has one */
}

static void call(struct gomem_runtime *rt, void *pointer, void *data)
{
    struct record *r = data;
    struct program *g = r->program;
    struct node *n = pointer;
    CHECK_OP(fetch_add_relaxed(&r->calls, 1), ==, 0);
    fetch_add_relaxed(r->finalizer ? &g->finalized : &g->cleaned, 1);
    if (n == NULL)
        return;
    if (r->finalizer)
        CHECK_OP(n->number, ==, r->number);
    check_tree(n, 4);
    if (!r->again)
        return;
    struct gomem_proc *p = gomem_proc_acquire(rt);
    if (n->number % 3 == 0)
        gomem_write_pointer(p, (void **)&g->saved[n->number % 8], n);
    else if (r->finalizer)
        attach(g, p, n, false);
    gomem_proc_release(p);
}

static void *run_finalizers(void *arg)
{
    struct program *g = arg;
    while (!load_acquire(&g->done)) {
        if (gomem_run_finalizers(g->rt) == 0)
            (void)!gomem_run_finalizers(g->rt);
    }
    return NULL;
}

/* --- Threads --- */

static void link_to(struct gomem_proc *p, struct node **slot, struct node *value)
{
    gomem_write_pointer(p, (void **)slot, value);
}

/* Some of them in a span of objects with a header, or large. */
static struct node *new_node(struct thread *t, struct gomem_proc *p, struct frame *f)
{
    struct program *g = t->program;
    static const size_t counts[] = {1, 1, 1, 1, 1, 1, 14, 1000};
    struct node *n = gomem_alloc_typed(p, g->node, counts[below(t, 8)]);
    CHECK(n != NULL && n->number == 0);
    n->number = fetch_add_relaxed(&g->numbers, 1) + 1;
    n->complement = ~n->number;
    for (unsigned i = 0; i < CHILDREN; i++)
        if (below(t, 2))
            link_to(p, &n->child[i], f->roots[below(t, ROOTS)]);
    uint64_t *data = gomem_alloc(p, 16);
    CHECK(data != NULL);
    data[1] = n->number;
    gomem_write_pointer(p, (void **)&n->data, data);
    return n;
}

static void add_cleanup(struct thread *t, struct gomem_proc *p, struct node *n, struct node *other)
{
    struct record *r = new_record(t->program, n->number, false, below(t, 2));
    struct gomem_callback cb = {call, release, r}, out;
    struct gomem_error err;
    uint64_t id;
    if (gomem_add_cleanup(p, n, &cb, other, &id, &err) != GOMEM_OK) {
        release(r); /* n is other */
    } else if (below(t, 8) == 0) {
        CHECK(gomem_stop_cleanup(p, n, id, &out) && out.data == r);
        release(r);
    }
}

/* A shared weak pointer: what it leads to becomes a root, or it is made anew. */
static struct node *use_weak(struct thread *t, struct gomem_proc *p, struct node *n)
{
    struct program *g = t->program;
    struct shared *s = &g->shared[below(t, SHARED)];
    pthread_mutex_lock(&s->lock);
    struct node *found = gomem_weak_value(p, s->weak);
    if (found != NULL) {
        CHECK_OP(found->number, ==, s->number);
        check_node(found);
        fetch_add_relaxed(&g->strong, 1);
    } else {
        fetch_add_relaxed(&g->nil, s->weak != NULL);
    }
    if (n != NULL && (found == NULL || below(t, 8) == 0)) {
        struct gomem_error err;
        gomem_weak_release(p, s->weak);
        s->weak = gomem_weak_make(p, n, &err);
        CHECK(s->weak != NULL && gomem_weak_value(p, s->weak) == n);
        s->number = n->number;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* An object that nobody else knows is freed by hand. */
static void free_by_hand(struct thread *t, struct gomem_proc *p, struct frame *f)
{
    struct node *n = new_node(t, p, f);
    struct gomem_error err;
    struct gomem_weak *w = gomem_weak_make(p, n, &err);
    CHECK(w != NULL);
    attach(t->program, p, n, false);
    add_cleanup(t, p, n, f->roots[0]);
    CHECK(gomem_free(p, n) == GOMEM_OK && gomem_weak_value(p, w) == NULL);
    gomem_weak_release(p, w);
}

static void step(struct thread *t, struct gomem_proc *p, struct frame *f)
{
    struct program *g = t->program;
    struct node **root = &f->roots[below(t, ROOTS)];
    struct node *other = f->roots[below(t, ROOTS)];
    struct gomem_callback out;
    switch (below(t, 12)) {
    case 0:
    case 1:
    case 2:
        *root = new_node(t, p, f);
        break;
    case 3:
        if (*root != NULL)
            link_to(p, &(*root)->child[below(t, CHILDREN)], below(t, 3) ? other : NULL);
        break;
    case 4:
        if (*root != NULL)
            attach(g, p, *root, below(t, 4) == 0);
        break;
    case 5:
        if (*root != NULL)
            add_cleanup(t, p, *root, other);
        break;
    case 6:
        if (*root != NULL && below(t, 4) == 0 && gomem_clear_finalizer(p, *root, &out))
            release(out.data);
        break;
    case 7:
        free_by_hand(t, p, f);
        break;
    case 8:
        *root = (struct node *)load_acquire(&g->saved[below(t, 8)]);
        gomem_write_pointer(p, (void **)&g->saved[below(t, 8)], NULL);
        break;
    case 9:
        *root = NULL;
        break;
    default:
        *root = use_weak(t, p, other);
    }
    check_tree(*root, 2);
}

static void *run(void *arg)
{
    struct thread *t = arg;
    struct program *g = t->program;
    struct frame frame = {.f = {.n = ROOTS}};
    struct gomem_shadow_stack stack = {.top = &frame.f};
    struct gomem_proc *p = gomem_proc_acquire(g->rt);
    gomem_add_shadow_stack(g->rt, &stack);
    for (unsigned i = 0; i < t->operations; i++) {
        step(t, p, &frame);
        if (i % 256 == 0) {
            gomem_proc_release(p);
            if (below(t, 8) == 0)
                CHECK(gomem_gc(g->rt) == GOMEM_OK);
            p = gomem_proc_acquire(g->rt);
        } else if (i % 8 == 0) {
            CHECK(gomem_safepoint(p));
        }
    }
    gomem_proc_release(p);
    gomem_remove_shadow_stack(g->rt, &stack);
    return NULL;
}

/* --- The program --- */

static void make_type(struct program *g)
{
    struct gomem_error err;
    struct gomem_type *pointer = gomem_type_pointer("*node", &err);
    struct gomem_type *word = gomem_type_basic(GOMEM_UINT64, &err);
    const char *names[] = {"a", "b", "data", "number", "complement"};
    const struct gomem_type *types[] = {pointer, pointer, pointer, word, word};
    g->node = gomem_type_struct("node", names, types, 5, &err);
    CHECK(g->node != NULL && gomem_type_size(g->node) == sizeof(struct node));
    gomem_type_release(word);
    gomem_type_release(pointer);
}

static void open_program(struct program *g, unsigned nthreads, uint64_t seed)
{
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    o.procs = nthreads + 2;
    o.gogc = seed % 2 ? 30 : 100;
    o.marker = seed % 3 == 0 ? GOMEM_MARKER_OBJECT : GOMEM_MARKER_SPAN;
    make_type(g);
    CHECK(gomem_runtime_new(&o, &g->rt, &err) == GOMEM_OK);
    g->table = (struct gomem_root_table){.slots = g->saved, .n = 8};
    gomem_add_roots(g->rt, &g->table);
    for (int i = 0; i < SHARED; i++)
        pthread_mutex_init(&g->shared[i].lock, NULL);
}

static void close_program(struct program *g)
{
    struct gomem_error err;
    for (int i = 0; i < 8; i++)
        gomem_init_root(&g->saved[i], NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(gomem_gc(g->rt) == GOMEM_OK);
        if (gomem_verify(g->rt, &err) != GOMEM_OK) {
            fprintf(stderr, "%s\n", err.message);
            abort();
        }
        (void)gomem_run_finalizers(g->rt);
    }
    struct gomem_memstats m;
    CHECK(gomem_read_memstats(g->rt, &m) == GOMEM_OK);
    CHECK_OP(m.finalizers.finalizers_executed, ==, g->finalized);
    CHECK_OP(m.finalizers.cleanups_executed, ==, g->cleaned);
    CHECK_OP(m.finalizers.cleanups_queued, ==, g->cleaned);
    gomem_runtime_close(g->rt);
    CHECK_OP(g->released, ==, g->made);
    gomem_runtime_delete(g->rt);
    gomem_type_release(g->node);
}

int main(int argc, char **argv)
{
    unsigned nthreads = argc > 1 ? (unsigned)atoi(argv[1]) : 3;
    unsigned operations = argc > 2 ? (unsigned)atoi(argv[2]) : 20000;
    uint64_t seed = argc > 3 ? (uint64_t)atoll(argv[3]) : 1;
    static struct program g;
    open_program(&g, nthreads, seed);
    struct thread *threads = calloc(nthreads, sizeof *threads);
    pthread_t runner;
    CHECK(threads != NULL);
    for (unsigned i = 0; i < nthreads; i++) {
        threads[i] = (struct thread){
            .program = &g, .rng = {.state = seed * 1000 + i}, .operations = operations};
        CHECK(pthread_create(&threads[i].handle, NULL, run, &threads[i]) == 0);
    }
    CHECK(pthread_create(&runner, NULL, run_finalizers, &g) == 0);
    for (unsigned i = 0; i < nthreads; i++)
        pthread_join(threads[i].handle, NULL);
    store_release(&g.done, 1);
    pthread_join(runner, NULL);
    free(threads);
    close_program(&g);
    printf("specials_stress: %llu finalized, %llu cleaned, weak: %llu strong, %llu nil\n",
           (unsigned long long)g.finalized, (unsigned long long)g.cleaned,
           (unsigned long long)g.strong, (unsigned long long)g.nil);
    return 0;
}
