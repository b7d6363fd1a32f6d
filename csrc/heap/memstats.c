/* MemStats from the counters, and the equations between its fields.
 *
 * Called through memstats.h.
 *
 * Concurrency: see memstats.h.
 * Go: readmemstats_m in mstats.go.
 */
#include "heap/memstats.h"

#include <stdio.h>
#include <string.h>

#include "heap/mcache.h"

static void sum_small(const struct mheap *h, unsigned size_class, uint64_t *allocs,
                      uint64_t *frees)
{
    *allocs = *frees = 0;
    for (unsigned i = 0; i < h->nmcaches; i++)
        for (unsigned sc = 2 * size_class; sc < 2 * size_class + 2; sc++) {
            const struct alloc_slot *slot = &h->mcaches[i]->slots[sc];
            *allocs += slot->allocs - ones_count64(window_free(slot->window));
            *frees += slot->frees;
        }
}

static void sum_objects(struct mheap *h, struct gomem_memstats *m)
{
    uint64_t total_free = 0;
    for (unsigned i = 0; i < h->nmcaches; i++) {
        const struct mcache *c = h->mcaches[i];
        m->large_allocs += c->large.allocs;
        m->large_frees += c->large.frees;
        m->total_alloc += c->large.alloc_bytes;
        total_free += c->large.free_bytes;
        m->tiny_allocs += c->tiny_allocs;
    }
    m->mallocs = m->large_allocs + m->tiny_allocs;
    m->frees = m->large_frees + m->tiny_allocs;
    for (unsigned i = 1; i < h->size_classes.nclasses; i++) {
        uint64_t size = h->size_classes.classes[i].size, allocs, frees;
        sum_small(h, i, &allocs, &frees);
        m->total_alloc += size * allocs;
        total_free += size * frees;
        m->mallocs += allocs;
        m->frees += frees;
        m->classes[i].size = size;
        m->classes[i].mallocs = allocs;
        m->classes[i].frees = frees;
        if (i < GOMEM_BY_SIZE) {
            m->by_size[i].size = (uint32_t)size;
            m->by_size[i].mallocs = allocs;
            m->by_size[i].frees = frees;
        }
    }
    m->alloc = m->heap_alloc = m->total_alloc - total_free;
    m->heap_objects = m->mallocs - m->frees;
}

void memstats_read(struct mheap *h, struct gomem_memstats *m)
{
    memset(m, 0, sizeof *m);
    sum_objects(h, m);
    lock(&h->lock);
    const struct byte_stats *b = &h->bytes;
    uint64_t free = load_relaxed(&b->heap_free.bytes);
    m->heap_inuse = load_relaxed(&b->heap_inuse.bytes);
    m->heap_released = load_relaxed(&b->heap_released.bytes);
    m->heap_idle = free + m->heap_released;
    m->heap_sys = m->heap_inuse + m->heap_idle;
    m->stack_inuse = m->stack_sys = load_relaxed(&b->stacks_inuse.bytes);
    m->mspan_sys = load_relaxed(&b->mspan_sys.bytes);
    m->mspan_inuse = h->span_alloc.inuse - h->nfree_spans * h->span_alloc.size;
    m->mcache_sys = load_relaxed(&b->mcache_sys.bytes);
    m->mcache_inuse = h->mcache_alloc.inuse;
    m->buck_hash_sys = load_relaxed(&b->buckhash_sys.bytes);
    m->gc_sys = load_relaxed(&b->gc_sys.bytes);
    m->other_sys = load_relaxed(&b->other_sys.bytes);
    m->mapped_ready = load_relaxed(&h->om.mapped_ready);
    unlock(&h->lock);
    m->sys = m->heap_sys + m->stack_sys + m->mspan_sys + m->mcache_sys + m->buck_hash_sys +
             m->gc_sys + m->other_sys;
    m->peak_mapped_ready = load_relaxed(&h->om.peak_ready);
    m->finalizers = h->specials.stats;
    m->scavenged_background = load_relaxed(&h->scav.released_background);
    m->scavenged_eager = load_relaxed(&h->scav.released_eager);
    m->scavenged_forced = load_relaxed(&h->scav.released_forced);
}

bool memstats_verify(const struct gomem_memstats *m, char *why, size_t why_size)
{
    const char *equation = NULL;
    if (m->sys != m->heap_sys + m->stack_sys + m->mspan_sys + m->mcache_sys + m->buck_hash_sys +
                      m->gc_sys + m->other_sys)
        equation = "sys is not the sum of its parts";
    else if (m->heap_sys != m->heap_inuse + m->heap_idle)
        equation = "heap_sys != heap_inuse + heap_idle";
    else if (m->heap_released > m->heap_idle)
        equation = "heap_released > heap_idle";
    else if (m->mallocs < m->frees || m->heap_objects != m->mallocs - m->frees)
        equation = "heap_objects != mallocs - frees";
    else if (m->heap_alloc > m->heap_inuse)
        equation = "heap_alloc > heap_inuse";
    else if (m->total_alloc < m->alloc)
        equation = "total_alloc < alloc";
    else if (m->mapped_ready != m->sys - m->heap_released)
        equation = "mapped_ready != sys - heap_released";
    if (equation != NULL)
        snprintf(why, why_size, "memstats: %s", equation);
    return equation == NULL;
}
