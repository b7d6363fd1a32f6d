/* Pausing markers, and collecting what is grey from where it is kept.
 *
 * Called through greys.h.
 *
 * Concurrency: see greys.h.
 * Go: no counterpart.
 */
#include "gc/greys.h"

#include <stdlib.h>

#include "heap/malloc.h"
#include "heap/verify.h"
#include "platform/park.h"

enum { PAUSE_POLL_NS = 1000000 };

/* --- Pausing --- */

void markers_enter(struct gc *gc)
{
    for (;;) {
        fetch_add_seq_cst(&gc->markers, 1); /* with markers_pause: it sees us, or we see it */
        if (LIKELY(!load_seq_cst(&gc->pause)))
            return;
        markers_leave(gc);
        park_wait(&gc->pause, 1, PAUSE_POLL_NS);
    }
}

void markers_leave(struct gc *gc)
{
    if (fetch_sub_seq_cst(&gc->markers, 1) == 1 && load_seq_cst(&gc->pause))
        park_wake(&gc->markers, PARK_WAKE_ALL);
}

void markers_wait(struct gc *gc, struct marker *m)
{
    work_flush(&m->work);
    markers_leave(gc);
    markers_enter(gc);
}

void markers_pause(struct gc *gc)
{
    store_seq_cst(&gc->pause, 1);
    uint32_t n;
    while ((n = load_seq_cst(&gc->markers)) != 0)
        park_wait(&gc->markers, n, PAUSE_POLL_NS);
}

void markers_resume(struct gc *gc)
{
    store_seq_cst(&gc->pause, 0);
    park_wake(&gc->pause, PARK_WAKE_ALL);
}

/* --- Sets of addresses --- */

enum { SET_INITIAL = 256 };

/* Where p is, or would be. pre: there is an empty slot. */
static uintptr_t *find(const struct address_set *set, uintptr_t p)
{
    size_t at = (size_t)((p * 0x9e3779b97f4a7c15u) >> 20);
    for (;; at++) {
        uintptr_t *slot = &set->slots[at & (set->capacity - 1)];
        if (*slot == 0 || *slot == p)
            return slot;
    }
}

static bool grow(struct address_set *set)
{
    struct address_set wider = {.capacity = MAX(2 * set->capacity, (size_t)SET_INITIAL)};
    wider.slots = calloc(wider.capacity, sizeof *wider.slots);
    if (wider.slots == NULL)
        return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->slots[i] != 0)
            *find(&wider, set->slots[i]) = set->slots[i];
    wider.n = set->n;
    free(set->slots);
    *set = wider;
    return true;
}

bool address_set_add(struct address_set *set, uintptr_t p, bool *added)
{
    if (set->n * 2 >= set->capacity && !grow(set))
        return false;
    uintptr_t *slot = find(set, p);
    *added = *slot == 0;
    *slot = p;
    set->n += *added;
    return true;
}

bool address_set_has(const struct address_set *set, uintptr_t p)
{
    return set->n > 0 && *find(set, p) == p;
}

void address_set_free(struct address_set *set)
{
    free(set->slots);
    *set = (struct address_set){0};
}

/* --- What is grey --- */

uintptr_t greys_object_at(struct mheap *h, uintptr_t p, struct mspan **out, unsigned *i)
{
    struct mspan *s = *out = span_of(h, p);
    if (s == NULL || load_acquire(&s->state) != SPAN_IN_USE || p < s->first_object || p >= s->limit)
        return 0;
    *i = span_is_large(s) ? 0 : span_index(s, p);
    spin_lock(&s->lock);
    bool live = slot_is_live_locked(h, s, *i);
    spin_unlock(&s->lock);
    return live ? span_object(s, *i) : 0;
}

/* p: an object, a piece of a large one, or what a barrier has seen. */
static bool add(struct gc *gc, struct address_set *set, uintptr_t p)
{
    struct mspan *s;
    unsigned i;
    bool added;
    uintptr_t object = greys_object_at(gc->h, p, &s, &i);
    return object == 0 || address_set_add(set, object, &added);
}

static bool add_buffer(struct gc *gc, struct address_set *set, const struct workbuf *b)
{
    bool ok = true;
    for (uint64_t i = 0; b != NULL && ok && i < b->n; i++)
        ok = add(gc, set, b->objects[i]);
    return ok;
}

/* What a marker has in its hands. A marker that keeps grey objects elsewhere says so here. */
static bool add_marker(struct gc *gc, struct address_set *set, const struct marker *m)
{
    bool ok = add_buffer(gc, set, m->work.a) && add_buffer(gc, set, m->work.b);
    for (unsigned i = 0; ok && i < PREFETCH_OBJECTS; i++)
        ok = m->coming[i] == 0 || add(gc, set, m->coming[i]);
    return ok;
}

/* With marking by span: what is marked in a span and not scanned. */
static bool add_spans(struct gc *gc, struct address_set *set)
{
    struct mheap *h = gc->h;
    struct mspan *s;
    bool ok = true;
    for (uintptr_t from = 0; ok && (s = heap_next_span(h, from)) != NULL;
         from = span_end(s, h->page_shift)) {
        if (s->state != SPAN_IN_USE || span_noscan(s) || !class_has_page_marks(h, s->span_class))
            continue;
        const uint64_t *scans = page_scan_bits(h, s->mark_bits);
        for (unsigned i = 0; ok && i < s->nelems; i++)
            if (object_is_marked(s, i) && !bitmap_get_relaxed(scans, i))
                ok = add(gc, set, span_object(s, i));
    }
    return ok;
}

bool greys_collect_locked(struct gc *gc, struct greys *out)
{
    ASSERT_HELD(&gc->roots.lock);
    *out = (struct greys){.overflowed = load_acquire(&gc->pool.overflowed)};
    bool ok = add_marker(gc, &out->objects, &gc->marker) &&
              add_marker(gc, &out->objects, &gc->roots.marker);
    for (uint32_t p = 0; ok && p < gc->sched->nps; p++) {
        const struct gc_proc *gp = &gc->procs[p];
        ok = add_marker(gc, &out->objects, &gp->marker);
        for (unsigned i = 0; ok && i < gp->nbarrier; i++)
            ok = add(gc, &out->shaded, gp->barrier[i]);
    }
    lock(&gc->pool.lock);
    for (const struct workbuf *b = gc->pool.full; ok && b != NULL; b = b->next)
        ok = add_buffer(gc, &out->objects, b);
    unlock(&gc->pool.lock);
    ok = ok && (gc->pool.scan_span == NULL || add_spans(gc, &out->objects));
    if (!ok)
        greys_free(out);
    return ok;
}

void greys_free(struct greys *g)
{
    address_set_free(&g->objects);
    address_set_free(&g->shaded);
}
