/* Threads allocate and free at random, their own objects and each other's, and between rounds the
 * whole heap is verified. Every object is filled with its own address, so that two objects that
 * overlap, or memory that is not zeroed, show.
 *
 *     stress_heap [threads] [rounds] [operations a round] [seed] [max_memory in bytes]
 *
 * Concurrency: thread i uses mcache i; rounds are separated by barriers.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "heap/malloc.h"
#include "heap/scavenge.h"
#include "heap/verify.h"

enum { MAX_THREADS = 16, SLOTS = 4096 };

struct object {
    uintptr_t p;
    size_t size;
};

struct worker {
    pthread_t thread;
    struct mcache *c;
    struct rng rng;
    unsigned id;
    struct object mine[SLOTS];
    size_t refused;
};

static struct worker workers[MAX_THREADS];
static unsigned nthreads = 4, rounds = 20, operations = 50000;
static pthread_barrier_t barrier;
static struct object shared[SLOTS]; /* handed from thread to thread; p is atomic */
static struct type *types[3];

static void fail(const char *what, struct object o)
{
    fprintf(stderr, "stress_heap: %s: object 0x%zx of %zu bytes\n", what, (size_t)o.p, o.size);
    abort();
}

/* Sizes lean towards class edges and small objects; a few are large. */
static size_t random_size(struct rng *r)
{
    switch (rng_below(r, 16)) {
    case 0:
        return 1 + rng_below(r, 15);
    case 1:
        return 32760 - 4 + rng_below(r, 9);
    case 2:
        return 1 + rng_below(r, 200000);
    case 3:
    case 4:
        return 1 + rng_below(r, 32768);
    default:
        return 1 + rng_below(r, 600);
    }
}

static void fill(struct object o)
{
    for (size_t i = 0; i < o.size; i++)
        ((unsigned char *)o.p)[i] = (unsigned char)(o.p >> (i % 3 * 8));
}

static void check_filled(struct object o)
{
    for (size_t i = 0; i < o.size; i++)
        if (((unsigned char *)o.p)[i] != (unsigned char)(o.p >> (i % 3 * 8)))
            fail("overwritten", o);
}

static bool allocate(struct worker *w, struct object *out)
{
    struct object o = {.size = random_size(&w->rng)};
    unsigned kind = rng_below(&w->rng, 6);
    if (kind < ARRAY_LEN(types)) {
        o.size = (o.size + types[kind]->size - 1) / types[kind]->size * types[kind]->size;
        o.p = (uintptr_t)malloc_typed(w->c, o.size, types[kind]);
    } else {
        o.p = (uintptr_t)malloc_noscan(w->c, o.size);
    }
    if (o.p == 0) {
        w->refused++;
        return false;
    }
    for (size_t i = 0; i < o.size; i++)
        if (((unsigned char *)o.p)[i] != 0)
            fail("not zero", o);
    fill(o);
    *out = o;
    return true;
}

static void release(struct worker *w, struct object o)
{
    check_filled(o);
    if (free_object(w->c, o.p) != GOMEM_OK)
        fail("free refused", o);
}

static void step(struct worker *w)
{
    unsigned i = rng_below(&w->rng, SLOTS);
    switch (rng_below(&w->rng, 8)) {
    case 0: { /* give one to the others, take what was there */
        struct object *mine = &w->mine[i], *theirs = &shared[rng_below(&w->rng, SLOTS)];
        if (mine->p == 0)
            break;
        /* The object remembers its size for whoever gets it. */
        if (mine->size < 16)
            break;
        memcpy((void *)mine->p, &mine->size, sizeof mine->size);
        uintptr_t other = exchange_acq_rel(&theirs->p, mine->p);
        mine->p = 0;
        if (other == 0)
            break;
        struct object o = {.p = other};
        memcpy(&o.size, (void *)other, sizeof o.size);
        fill((struct object){.p = other, .size = sizeof o.size});
        release(w, o);
        break;
    }
    case 1:
        if (rng_below(&w->rng, 2000) == 0)
            scavenge(w->c->heap, 1 + rng_below(&w->rng, 1 << 22), true);
        break;
    case 2: { /* a bad address must change nothing */
        struct object o = w->mine[i];
        if (o.p != 0 && o.size > 16 && free_object(w->c, o.p + 1 + rng_below(&w->rng, 15)) == GOMEM_OK)
            fail("interior free accepted", o);
        break;
    }
    default:
        if (w->mine[i].p == 0) {
            (void)allocate(w, &w->mine[i]);
        } else {
            release(w, w->mine[i]);
            w->mine[i].p = 0;
        }
    }
}

static void verify(struct mheap *h, unsigned round)
{
    struct gomem_error err;
    if (heap_verify(h, &err) != GOMEM_OK) {
        fprintf(stderr, "stress_heap: round %u: %s\n", round, err.message);
        abort();
    }
}

static void *run(void *arg)
{
    struct worker *w = arg;
    while (!mcache_try_acquire(w->c)) /* another thread may be taking its spare spans */
        sched_yield();
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned i = 0; i < operations; i++)
            step(w);
        pthread_barrier_wait(&barrier);
        if (w->id == 0)
            verify(w->c->heap, r);
        pthread_barrier_wait(&barrier);
        if (r % 4 == 3 && rng_below(&w->rng, 2) == 0)
            mcache_flush(w->c);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        if (w->mine[i].p != 0)
            release(w, w->mine[i]);
    pthread_barrier_wait(&barrier);
    for (unsigned i = w->id; i < SLOTS; i += nthreads)
        if (shared[i].p != 0) {
            struct object o = {.p = shared[i].p};
            memcpy(&o.size, (void *)o.p, sizeof o.size);
            fill((struct object){.p = o.p, .size = sizeof o.size});
            release(w, o);
        }
    mcache_release(w->c);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, max_memory = UINT64_MAX;
    if (argc > 1)
        nthreads = (unsigned)atoi(argv[1]);
    if (argc > 2)
        rounds = (unsigned)atoi(argv[2]);
    if (argc > 3)
        operations = (unsigned)atoi(argv[3]);
    if (argc > 4)
        seed = strtoull(argv[4], NULL, 0);
    if (argc > 5)
        max_memory = strtoull(argv[5], NULL, 0);
    if (nthreads < 1 || nthreads > MAX_THREADS)
        return 2;

    struct size_class_table table;
    struct gomem_size_class_rules rules = size_class_rules_go();
    struct gomem_error err;
    if (size_class_table_make(&table, &rules, &err) != GOMEM_OK)
        abort();
    struct mheap *h = mheap_new(
        &(struct mheap_options){
            .size_classes = &table,
            .procs = nthreads,
            .max_memory = max_memory,
            .memory_limit = UINT64_MAX,
            .dontneed = true,
        },
        &err);
    if (h == NULL) {
        fprintf(stderr, "stress_heap: %s\n", err.message);
        return 1;
    }
    struct type *pointer = type_new_pointer("*T", &err), *word = type_new_basic(GOMEM_INT64, &err);
    types[0] = pointer;
    types[1] = type_new_struct("node", (const char *[]){"left", "value", "right"},
                               (const struct type *[]){pointer, word, pointer}, 3, &err);
    types[2] = type_new_array(types[1], 50, &err);

    pthread_barrier_init(&barrier, NULL, nthreads);
    for (unsigned i = 0; i < nthreads; i++) {
        workers[i].c = h->mcaches[i];
        workers[i].id = i;
        workers[i].rng.state = seed * 1000 + i;
        pthread_create(&workers[i].thread, NULL, run, &workers[i]);
    }
    size_t refused = 0;
    for (unsigned i = 0; i < nthreads; i++) {
        pthread_join(workers[i].thread, NULL);
        refused += workers[i].refused;
    }
    verify(h, rounds);
    for (unsigned i = 0; i < nthreads; i++)
        tiny_retire(workers[i].c); /* so that no P's frees wait for another's current block */
    for (unsigned i = 0; i < nthreads; i++)
        mcache_flush(workers[i].c);
    verify(h, rounds + 1);

    struct gomem_memstats m;
    memstats_read(h, &m);
    printf("stress_heap: %llu mallocs, %llu frees, peak %llu KiB, %zu refused\n",
           (unsigned long long)m.mallocs, (unsigned long long)m.frees,
           (unsigned long long)m.peak_mapped_ready / 1024, refused);
    if (m.heap_objects != 0 || m.heap_inuse != 0) {
        fprintf(stderr, "stress_heap: %llu objects, %llu bytes in use at the end\n",
                (unsigned long long)m.heap_objects, (unsigned long long)m.heap_inuse);
        return 1;
    }
    scavenge_all(h);
    verify(h, rounds + 2);
    mheap_destroy(h);
    type_release(types[2]);
    type_release(types[1]);
    type_release(word);
    type_release(pointer);
    return 0;
}
