/* Reading objects, colours and pointers.
 *
 * Called through graph.h.
 *
 * Concurrency: see graph.h.
 * Go: no counterpart.
 */
#include "gc/graph.h"

#include <stdlib.h>

#include "gc/greys.h"
#include "heap/heapbits.h"
#include "heap/malloc.h"
#include "heap/sweep.h"
#include "heap/verify.h"

enum slot_holds graph_slot(const struct mheap *h, struct mspan *s, unsigned i)
{
    enum slot_holds holds = HOLDS_NOTHING;
    spin_lock(&s->lock);
    if (slot_is_live_locked(h, s, i))
        holds = HOLDS_OBJECT;
    else if (!span_is_swept(h, s) && !object_is_marked(s, i) && !bitmap_get(s->remote_bits, i) &&
             !(load_relaxed(&s->free_bits[i / 64]) >> (i % 64) & 1))
        holds = HOLDS_GARBAGE;
    spin_unlock(&s->lock);
    return holds;
}

/* A growing array of either kind; NULL if there is no memory. */
static void *room(void **items, size_t n, size_t *capacity, size_t size)
{
    if (n == *capacity) {
        size_t wider = *capacity == 0 ? 256 : 2 * *capacity;
        void *more = realloc(*items, wider * size);
        if (more == NULL)
            return NULL;
        *items = more;
        *capacity = wider;
    }
    return (char *)*items + n * size;
}

static enum gomem_colour colour_of(const struct greys *greys, const struct mspan *s, unsigned i,
                                   enum slot_holds holds)
{
    if (holds == HOLDS_GARBAGE)
        return GOMEM_GARBAGE;
    uintptr_t object = span_object(s, i);
    if (!object_is_marked(s, i))
        return address_set_has(&greys->shaded, object) ? GOMEM_GREY : GOMEM_WHITE;
    if (span_noscan(s))
        return GOMEM_BLACK;
    return greys->overflowed || address_set_has(&greys->objects, object) ? GOMEM_GREY : GOMEM_BLACK;
}

struct reading {
    struct gc *gc;
    struct greys greys;
    struct gomem_graph *out;
    size_t objects_capacity, pointers_capacity;
};

static bool add_object(struct reading *r, const struct mspan *s, unsigned i, enum slot_holds holds)
{
    struct gomem_graph *g = r->out;
    void *items = g->objects;
    struct gomem_object *o = room(&items, g->nobjects, &r->objects_capacity, sizeof *o);
    g->objects = items;
    if (o == NULL)
        return false;
    *o = (struct gomem_object){
        .address = span_object(s, i),
        .size = span_is_large(s) ? s->limit - s->base : span_usable_size(s),
        .size_class = span_size_class(s),
        .colour = (uint8_t)colour_of(&r->greys, s, i, holds),
        .noscan = span_noscan(s),
        .shaded = address_set_has(&r->greys.shaded, span_object(s, i)),
    };
    g->nobjects++;
    return true;
}

static bool add_pointer(struct reading *r, uint64_t source, uintptr_t slot, uintptr_t p)
{
    struct gomem_graph *g = r->out;
    struct mspan *s = span_of(r->gc->h, p);
    if (s == NULL || load_acquire(&s->state) != SPAN_IN_USE || p < s->first_object || p >= s->limit)
        return true;
    unsigned i = span_is_large(s) ? 0 : span_index(s, p);
    if (graph_slot(r->gc->h, s, i) == HOLDS_NOTHING)
        return true;
    void *items = g->pointers;
    struct gomem_pointer *edge = room(&items, g->npointers, &r->pointers_capacity, sizeof *edge);
    g->pointers = items;
    if (edge == NULL)
        return false;
    *edge = (struct gomem_pointer){.source = source, .slot = slot, .target = span_object(s, i)};
    g->npointers++;
    return true;
}

static bool add_pointers_of(struct reading *r, const struct gomem_object *o)
{
    struct mspan *s = span_of(r->gc->h, o->address);
    unsigned i = span_is_large(s) ? 0 : span_index(s, o->address);
    bool ok = true;
    for (size_t offset = 0; ok && !o->noscan && offset + PTR_SIZE <= o->size; offset += PTR_SIZE) {
        uintptr_t at = o->address + offset;
        if (object_word_is_pointer(r->gc->h, s, i, offset))
            ok = add_pointer(r, o->address, at, load_relaxed((uintptr_t *)at));
    }
    return ok;
}

static bool add_roots_locked(struct reading *r)
{
    struct roots *roots = &r->gc->roots;
    bool ok = true;
    ASSERT_HELD(&roots->lock);
    for (struct gomem_root_table *t = roots->tables; t != NULL; t = t->next)
        for (size_t i = 0; ok && i < t->n; i++)
            ok = add_pointer(r, 0, (uintptr_t)&t->slots[i], load_relaxed(&t->slots[i]));
    for (struct gomem_shadow_stack *s = roots->stacks; s != NULL; s = s->next)
        for (struct gomem_frame *f = s->top; f != NULL; f = f->previous)
            for (uint32_t i = 0; ok && i < f->n; i++)
                ok = add_pointer(r, 0, (uintptr_t)&f->slots[i], (uintptr_t)f->slots[i]);
    return ok;
}

static bool read_locked(struct reading *r, size_t most_objects)
{
    struct mheap *h = r->gc->h;
    struct mspan *s;
    if (!greys_collect_locked(r->gc, &r->greys))
        return false;
    for (uintptr_t from = 0; (s = heap_next_span(h, from)) != NULL; from = span_end(s, h->page_shift))
        for (unsigned i = 0; s->state == SPAN_IN_USE && i < s->nelems; i++) {
            enum slot_holds holds = graph_slot(h, s, i);
            if (holds != HOLDS_NOTHING && !add_object(r, s, i, holds))
                return false;
        }
    if (r->out->nobjects > most_objects)
        return true;
    r->out->has_pointers = true;
    for (size_t i = 0; i < r->out->nobjects; i++)
        if (!add_pointers_of(r, &r->out->objects[i]))
            return false;
    return add_roots_locked(r);
}

enum gomem_status graph_read(struct gc *gc, size_t most_objects, struct gomem_graph *out)
{
    struct reading r = {.gc = gc, .out = out};
    lock(&gc->roots.lock);
    bool ok = read_locked(&r, most_objects);
    unlock(&gc->roots.lock);
    greys_free(&r.greys);
    if (!ok)
        graph_free(out);
    return ok ? GOMEM_OK : GOMEM_OUT_OF_MEMORY;
}

void graph_free(struct gomem_graph *g)
{
    free(g->objects);
    free(g->pointers);
    *g = (struct gomem_graph){0};
}
