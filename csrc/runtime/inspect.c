/* What people look at: statistics, spans, arenas, free runs, verification.
 *
 * Called through gomem.h.
 *
 * Concurrency: everything here stops the world, and the background scavenger.
 * Go: ReadMemStats, and what runtime tests see through export_test.go.
 */
#include <string.h>

#include "base/time_histogram.h"
#include "heap/malloc.h"
#include "runtime/runtime.h"

static void add_gc(struct gc *gc, struct gomem_memstats *out)
{
    lock(&gc->lock);
    const struct gc_stats *s = &gc->stats;
    out->next_gc = pacer_heap_goal(&gc->pacer);
    out->num_gc = s->num_gc;
    out->num_forced_gc = s->num_forced;
    out->pause_total_ns = s->pause_total;
    out->last_gc = (uint64_t)s->last_gc_unix;
    memcpy(out->pause_ns, s->pause_ns, sizeof out->pause_ns);
    memcpy(out->pause_end, s->pause_end, sizeof out->pause_end);
    out->gc_cpu_fraction = s->cpu_fraction;
    out->enable_gc = true;
    unlock(&gc->lock);
}

enum gomem_status gomem_read_memstats(struct gomem_runtime *rt, struct gomem_memstats *out)
{
    if (!stop_everything(rt))
        return GOMEM_CLOSED;
    memstats_read(rt->heap, out);
    start_everything(rt);
    add_gc(rt->gc, out);
    return GOMEM_OK;
}

enum gomem_status gomem_read_gc_stats(struct gomem_runtime *rt, struct gomem_gc_stats *out)
{
    struct gc *gc = rt->gc;
    struct p *p = p_acquire(&rt->sched); /* the heap stays open */
    if (p == NULL)
        return GOMEM_CLOSED;
    struct mheap *h = rt->heap;
    lock(&gc->lock);
    const struct gc_stats *s = &gc->stats;
    *out = (struct gomem_gc_stats){
        .assist_ns = s->assist,
        .dedicated_ns = s->dedicated,
        .idle_ns = s->idle,
        .pause_ns = s->pause,
        .gc_total_ns = s->total,
        .scavenge_assist_ns = load_relaxed(&h->scav.assist_ns),
        .scavenge_background_ns = load_relaxed(&h->scav.background_ns),
        .total_ns = s->all,
        .cycles = s->num_gc,
        .forced = s->num_forced,
        .heap_live = s->num_gc == 0 ? 0 : gc->pacer.heap_marked,
        .heap_scan = load_relaxed(&h->gc.heap_scan),
        .stack_scan = gc->pacer.last_scan.stacks,
        .globals_scan = load_relaxed(&gc->roots.slots) * sizeof(uint64_t),
        .limiter_last_enabled = load_relaxed(&gc->limiter.last_enabled),
        .pauses = s->pauses,
        .stopping = s->stopping,
        .marking = s->marking,
        .threads = gc->running ? 1 + gc->nhelpers : 0,
    };
    unlock(&gc->lock);
    lock(&rt->scavenger_lock);
    out->threads += rt->scavenger_running;
    unlock(&rt->scavenger_lock);
    time_histogram_read(&rt->sched.stopped_ns, &out->other_pauses);
    time_histogram_read(&rt->sched.stopping_ns, &out->other_stopping);
    p_release(p);
    return GOMEM_OK;
}

enum gomem_status gomem_verify(struct gomem_runtime *rt, struct gomem_error *err)
{
    if (!stop_world(&rt->sched))
        return error_set(err, GOMEM_CLOSED, "the heap is closed");
    enum gomem_status status = gc_verify(rt->gc, err);
    if (status == GOMEM_OK) {
        stop_background(rt);
        status = heap_verify(rt->heap, err);
        start_background(rt);
    }
    start_world(&rt->sched);
    return status;
}

/* With the world stopped. */
static struct gomem_span describe_span(const struct mheap *h, struct mspan *s)
{
    bool objects = s->state == SPAN_IN_USE;
    struct mcache *owner = NULL;
    if (objects) {
        spin_lock(&s->lock);
        owner = span_owner_locked(h, s);
        spin_unlock(&s->lock);
    }
    return (struct gomem_span){
        .base = s->base,
        .npages = s->npages,
        .elem_size = s->elem_size,
        .nelems = s->nelems,
        .live = span_live(h, s),
        .size_class = span_size_class(s),
        .proc = owner == NULL ? -1 : (int32_t)owner->id,
        .noscan = objects && span_noscan(s),
        .state = s->state,
        .needzero = s->needzero,
        .large = objects && span_is_large(s),
    };
}

size_t gomem_spans(struct gomem_runtime *rt, struct gomem_span *out, size_t capacity)
{
    if (!stop_everything(rt))
        return 0;
    struct mheap *h = rt->heap;
    size_t n = 0;
    struct mspan *s = heap_next_span(h, 0);
    for (; s != NULL; n++, s = heap_next_span(h, span_end(s, h->page_shift)))
        if (n < capacity)
            out[n] = describe_span(h, s);
    start_everything(rt);
    return n;
}

static uint8_t slot_state(const struct mheap *h, const struct mspan *s, unsigned i)
{
    if (span_is_large(s) || slot_is_live_locked(h, s, i))
        return 1;
    const struct mcache *owner = span_owner_locked(h, s);
    return owner != NULL && mcache_window_has(owner, s, i) ? 2 : 0;
}

enum gomem_status gomem_span_at(struct gomem_runtime *rt, uint64_t address, struct gomem_span *out,
                                uint8_t *slots, size_t capacity, struct gomem_error *err)
{
    if (!stop_everything(rt))
        return error_set(err, GOMEM_CLOSED, "the heap is closed");
    struct heap_lookup l;
    heap_lookup(rt->heap, address, &l);
    struct mspan *s = l.span;
    if (s != NULL)
        *out = describe_span(rt->heap, s);
    if (s != NULL && s->state == SPAN_IN_USE) {
        spin_lock(&s->lock);
        for (unsigned i = 0; i < MIN(s->nelems, capacity); i++)
            slots[i] = slot_state(rt->heap, s, i);
        spin_unlock(&s->lock);
    }
    start_everything(rt);
    if (s != NULL)
        return GOMEM_OK;
    return error_set(err, GOMEM_INVALID_POINTER, "no span covers 0x%llx: %s",
                     (unsigned long long)address,
                     l.place == GOMEM_PLACE_OUTSIDE ? "it is not in this heap" : "its page is free");
}

/* Is the page free in some P's cache, and released? */
static const struct pagecache *cache_with(const struct mheap *h, uintptr_t page, unsigned *bit)
{
    for (unsigned i = 0; i < h->nmcaches; i++) {
        const struct pagecache *c = &h->mcaches[i]->pages;
        uintptr_t index = (page - c->base) >> h->page_shift;
        if (page >= c->base && index < PAGE_CACHE_PAGES && c->free >> index & 1) {
            *bit = (unsigned)index;
            return c;
        }
    }
    return NULL;
}

enum { PAGE_UNMAPPED, PAGE_FREE, PAGE_RELEASED, PAGE_USED };

static uint8_t page_state(const struct mheap *h, uintptr_t page)
{
    uintptr_t found;
    unsigned bit;
    if (!ranges_find(&h->pages.in_use, page, &found) || found != page)
        return PAGE_UNMAPPED;
    const struct chunk_data *d = chunk_of(&h->pages, chunk_index(&h->pages, page));
    unsigned i = chunk_page(&h->pages, page);
    if (!bitmap_get(d->alloc.w, i))
        return bitmap_get(d->scavenged.w, i) ? PAGE_RELEASED : PAGE_FREE;
    const struct pagecache *c = cache_with(h, page, &bit);
    if (c == NULL)
        return PAGE_USED;
    return c->scavenged >> bit & 1 ? PAGE_RELEASED : PAGE_FREE;
}

void gomem_page_states(struct gomem_runtime *rt, uint64_t base, size_t npages, uint8_t *out)
{
    memset(out, PAGE_UNMAPPED, npages);
    if (!stop_everything(rt))
        return;
    lock(&rt->heap->lock);
    for (size_t i = 0; i < npages; i++)
        out[i] = page_state(rt->heap, base + (i << rt->heap->page_shift));
    unlock(&rt->heap->lock);
    start_everything(rt);
}

size_t gomem_arenas(struct gomem_runtime *rt, struct gomem_arena *out, size_t capacity)
{
    if (!stop_everything(rt))
        return 0;
    struct mheap *h = rt->heap;
    (void)heap_next_span(h, 0); /* sorts the arenas by address */
    lock(&h->lock);
    size_t n = h->narenas;
    for (size_t i = 0; i < MIN(n, capacity); i++) {
        uintptr_t base = (uintptr_t)h->arena_indexes[i] << LOG_ARENA_BYTES;
        uint64_t count[4] = {0};
        for (size_t k = 0; k < ARENA_BYTES >> h->page_shift; k++)
            count[page_state(h, base + (k << h->page_shift))]++;
        out[i] = (struct gomem_arena){
            .base = base,
            .size = ARENA_BYTES,
            .used_pages = count[PAGE_USED],
            .free_pages = count[PAGE_FREE],
            .released_pages = count[PAGE_RELEASED],
            .unmapped_pages = count[PAGE_UNMAPPED],
        };
    }
    unlock(&h->lock);
    start_everything(rt);
    return n;
}

static void add_run(struct gomem_free_runs *out, uint64_t run)
{
    if (run == 0)
        return;
    out->runs++;
    out->pages += run;
    out->largest_run = MAX(out->largest_run, run);
    out->by_log2[MIN(len64(run) - 1, ARRAY_LEN(out->by_log2) - 1)]++;
}

enum gomem_status gomem_free_runs(struct gomem_runtime *rt, struct gomem_free_runs *out)
{
    memset(out, 0, sizeof *out);
    if (!stop_everything(rt))
        return GOMEM_CLOSED;
    struct mheap *h = rt->heap;
    lock(&h->lock);
    for (size_t r = 0; r < h->pages.in_use.n; r++) {
        struct range range = h->pages.in_use.ranges[r];
        uint64_t run = 0;
        for (size_t c = chunk_index(&h->pages, range.base); c < chunk_index(&h->pages, range.limit);
             c++) {
            const struct chunk_data *d = chunk_of(&h->pages, c);
            for (unsigned i = 0; i < CHUNK_PAGES; i++) {
                if (!bitmap_get(d->alloc.w, i)) {
                    run++;
                    continue;
                }
                add_run(out, run);
                run = 0;
            }
        }
        add_run(out, run);
    }
    unlock(&h->lock);
    for (unsigned i = 0; i < h->nmcaches; i++)
        out->cached_pages += ones_count64(h->mcaches[i]->pages.free);
    start_everything(rt);
    return GOMEM_OK;
}

uint64_t gomem_resident(struct gomem_runtime *rt)
{
    if (!stop_everything(rt))
        return 0;
    uint64_t resident = 0;
    struct mheap *h = rt->heap;
    for (size_t r = 0; r < h->pages.in_use.n; r++) {
        struct range range = h->pages.in_use.ranges[r];
        resident += os_resident(&h->om, (void *)range.base, range_size(range));
    }
    start_everything(rt);
    return resident;
}
