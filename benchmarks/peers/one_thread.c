/* Workloads of one thread.
 *
 *   pair          one object, freed at once
 *   fifo, lifo    1000 objects of one size, freed in the order of allocation, or in the reverse
 *   fifo100k ...  the same with 100,000 objects
 *   alloc-only    as fifo, without the time of the frees
 *   churn         10,000 live objects of mixed sizes, one after the other replaced at random
 *   churn-large   1000 live objects, one in 20 of them from 32 KiB to 1 MiB
 *   ...-zeroed    the same with calloc
 *   live          1000 objects of mixed sizes, FIFO, beside SIZE MiB of others that live
 *   live-holes    the same, after one in 8 of those others, here and there, was freed
 *
 * Called through harness.h.
 *
 * Concurrency: one thread.
 */
#include "harness.h"

enum {
    BATCH = 1000,
    LONG_BATCH = 100000,
    CHURN_LIVE = 10000,
    CHURN_LARGE_LIVE = 1000,
    CHURN_STEPS = 10000,
    HOLE_EVERY = 8,
};

static void prepare_table(struct run *r)
{
    r->objects = own_memory(LONG_BATCH * sizeof *r->objects);
}

static size_t run_pair(struct run *r)
{
    size_t size = r->size;
    for (unsigned i = 0; i < BATCH; i++) {
        void *object = api_alloc(r->h, size);
        touch(object);
        drop(r->h, object);
    }
    return BATCH;
}

static inline void alloc_n(struct run *r, size_t n)
{
    void **objects = r->objects;
    size_t size = r->size;
    for (size_t i = 0; i < n; i++) {
        objects[i] = api_alloc(r->h, size);
        touch(objects[i]);
    }
}

static inline size_t fifo(struct run *r, size_t n)
{
    alloc_n(r, n);
    for (size_t i = 0; i < n; i++)
        drop(r->h, r->objects[i]);
    return n;
}

static inline size_t lifo(struct run *r, size_t n)
{
    alloc_n(r, n);
    for (size_t i = n; i-- > 0;)
        drop(r->h, r->objects[i]);
    return n;
}

static size_t run_fifo(struct run *r)
{
    return fifo(r, BATCH);
}

static size_t run_alloc_only(struct run *r)
{
    double start = now();
    alloc_n(r, BATCH);
    r->seconds += now() - start;
    for (size_t i = 0; i < BATCH; i++)
        drop(r->h, r->objects[i]);
    return BATCH;
}

static size_t run_lifo(struct run *r)
{
    return lifo(r, BATCH);
}

static size_t run_fifo_long(struct run *r)
{
    return fifo(r, LONG_BATCH);
}

static size_t run_lifo_long(struct run *r)
{
    return lifo(r, LONG_BATCH);
}

/* --- Churn --- */

static void fill(struct run *r, size_t n, bool large)
{
    prepare_table(r);
    draw_sizes(r, large);
    for (size_t i = 0; i < n; i++) {
        r->objects[i] = api_alloc(r->h, r->sizes[i % SIZE_TABLE]);
        touch(r->objects[i]);
    }
}

static void prepare_churn(struct run *r)
{
    fill(r, CHURN_LIVE, false);
}

static void prepare_churn_large(struct run *r)
{
    fill(r, CHURN_LARGE_LIVE, true);
}

static inline size_t churn(struct run *r, uint32_t live, bool zeroed)
{
    for (unsigned i = 0; i < CHURN_STEPS; i++) {
        uint64_t random = random_next(&r->rng);
        void **object = &r->objects[(random >> 32) * live >> 32];
        size_t size = r->sizes[random % SIZE_TABLE];
        drop(r->h, *object);
        *object = zeroed ? api_alloc_zeroed(r->h, size) : api_alloc(r->h, size);
        touch(*object);
    }
    return CHURN_STEPS;
}

static size_t run_churn(struct run *r)
{
    return churn(r, CHURN_LIVE, false);
}

static size_t run_churn_zeroed(struct run *r)
{
    return churn(r, CHURN_LIVE, true);
}

static size_t run_churn_large(struct run *r)
{
    return churn(r, CHURN_LARGE_LIVE, false);
}

static size_t run_churn_large_zeroed(struct run *r)
{
    return churn(r, CHURN_LARGE_LIVE, true);
}

/* --- Beside a live heap --- */

static void fill_live(struct run *r, bool holes)
{
    void *recent[HOLE_EVERY];
    size_t bytes = r->size << 20;
    prepare_table(r);
    draw_sizes(r, false);
    for (size_t done = 0, i = 0; done < bytes; i++) {
        size_t size = r->sizes[random_next(&r->rng) % SIZE_TABLE];
        void *object = api_alloc(r->h, size);
        if (object == NULL)
            die("no memory for the live heap");
        touch(object);
        recent[i % HOLE_EVERY] = object;
        done += size;
        if (holes && i % HOLE_EVERY == HOLE_EVERY - 1)
            drop(r->h, recent[random_next(&r->rng) % HOLE_EVERY]);
    }
}

static void prepare_live(struct run *r)
{
    fill_live(r, false);
}

static void prepare_live_holes(struct run *r)
{
    fill_live(r, true);
}

static size_t run_mixed(struct run *r)
{
    for (size_t i = 0; i < BATCH; i++) {
        r->objects[i] = api_alloc(r->h, r->sizes[random_next(&r->rng) % SIZE_TABLE]);
        touch(r->objects[i]);
    }
    for (size_t i = 0; i < BATCH; i++)
        drop(r->h, r->objects[i]);
    return BATCH;
}

const struct workload one_thread_workloads[] = {
    {"pair", NULL, run_pair},
    {"fifo", prepare_table, run_fifo},
    {"lifo", prepare_table, run_lifo},
    {"fifo100k", prepare_table, run_fifo_long},
    {"lifo100k", prepare_table, run_lifo_long},
    {"alloc-only", prepare_table, run_alloc_only},
    {"churn", prepare_churn, run_churn},
    {"churn-zeroed", prepare_churn, run_churn_zeroed},
    {"churn-large", prepare_churn_large, run_churn_large},
    {"churn-large-zeroed", prepare_churn_large, run_churn_large_zeroed},
    {"live", prepare_live, run_mixed},
    {"live-holes", prepare_live_holes, run_mixed},
    {NULL, NULL, NULL},
};
