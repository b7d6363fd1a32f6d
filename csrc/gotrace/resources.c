/* Making and forgetting goroutines and Ps.
 *
 * Called through resources.h.
 *
 * Concurrency: see resources.h.
 * Go: see resources.h.
 */
#include "gotrace/resources.h"

#include <stdlib.h>
#include <string.h>

#include "gotrace/grow.h"

bool resources_init(struct resources *r, struct thread *threads, size_t nthreads)
{
    *r = (struct resources){.threads = threads, .nthreads = nthreads};
    map_init(&r->slots);
    r->goroutines = array_grow(NULL, &r->goroutines_capacity, 0, 1, sizeof *r->goroutines);
    r->procs = array_grow(NULL, &r->procs_capacity, 0, 1, sizeof *r->procs);
    if (r->goroutines == NULL || r->procs == NULL)
        return false;
    r->ngoroutines = r->nprocs = 1;
    r->goroutines[0] = r->procs[0] = (struct resource){.id = 0};
    return true;
}

void resources_free(struct resources *r)
{
    map_free(&r->slots);
    free(r->goroutines);
    free(r->procs);
}

struct resource *goroutine_make(struct resources *r, uint64_t id)
{
    uint32_t made = r->free_goroutines;
    if (made == 0) {
        if (r->ngoroutines == UINT32_MAX)
            return NULL;
        struct resource *grown =
            array_grow(r->goroutines, &r->goroutines_capacity, r->ngoroutines, 1, sizeof *grown);
        if (grown == NULL)
            return NULL;
        r->goroutines = grown;
        made = (uint32_t)r->ngoroutines;
        r->goroutines[made].version = 0;
    }
    uint32_t *slot = map_put(&r->slots, id);
    if (slot == NULL)
        return NULL;
    if (r->free_goroutines == 0)
        r->ngoroutines++;
    else
        r->free_goroutines = (uint32_t)r->goroutines[made].sequence;
    *slot = made;
    r->goroutines[0].version++;
    struct resource *g = &r->goroutines[made];
    *g = (struct resource){.id = id, .version = g->version};
    return g;
}

void goroutine_end(struct resources *r, struct resource *g)
{
    uint32_t slot = (uint32_t)(g - r->goroutines), *cached = &r->cache[g->id % GOROUTINE_CACHE];
    if (*cached == slot)
        *cached = 0;
    map_remove(&r->slots, g->id);
    *g = (struct resource){
        .id = UINT64_MAX,
        .sequence = r->free_goroutines,
        .version = g->version + 1,
    };
    r->free_goroutines = slot;
}

struct resource *proc_make(struct resources *r, uint64_t id)
{
    size_t n = r->nprocs;
    if (id + 1 >= n) {
        size_t more = id + 2 - n;
        struct resource *grown = array_grow(r->procs, &r->procs_capacity, n, more, sizeof *grown);
        if (grown == NULL)
            return NULL;
        r->procs = grown;
        memset(&r->procs[n], 0, more * sizeof *grown);
        r->nprocs += more;
    }
    r->procs[0].version++;
    return &r->procs[id + 1];
}

struct thread *thread_find(const struct resources *r, uint64_t m)
{
    size_t low = 0, high = r->nthreads;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->threads[middle].m < m)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->nthreads && r->threads[low].m == m ? &r->threads[low] : NULL;
}
