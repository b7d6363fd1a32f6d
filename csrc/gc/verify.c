/* Checking the collector: a second, plain traversal beside the marks.
 *
 * Called by cycle.c in check builds, and through the runtime by tests.
 *
 * Concurrency: the world is stopped.
 * Go: mcheckmark.go.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gc/gc.h"
#include "heap/heapbits.h"
#include "heap/malloc.h"
#include "heap/verify.h"

/* Is what p points to, if it is an object, marked? */
static bool target_is_marked(struct mheap *h, uintptr_t p)
{
    struct heap_lookup l;
    heap_lookup(h, p, &l);
    return l.place != GOMEM_PLACE_OBJECT || object_is_marked(l.span, l.index);
}

static bool check_object(struct mheap *h, const struct mspan *s, unsigned i, char *why, size_t size)
{
    uintptr_t object = span_object(s, i);
    size_t end = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
    for (size_t offset = 0; offset + PTR_SIZE <= end; offset += PTR_SIZE) {
        if (!object_word_is_pointer(h, s, i, offset))
            continue;
        uintptr_t p = *(uintptr_t *)(object + offset);
        if (p == 0 || target_is_marked(h, p))
            continue;
        snprintf(why, size, "object 0x%zx is black, and its word at %zu points to 0x%zx, white",
                 (size_t)object, offset, (size_t)p);
        return false;
    }
    return true;
}

/* Tables that were added when all others had been scanned hold what another did (roots.c). */
static bool check_tables(struct gc *gc, char *why, size_t why_size)
{
    bool good = true;
    lock(&gc->roots.lock);
    for (struct gomem_root_table *t = gc->roots.tables; good && t != NULL; t = t->next)
        for (size_t i = 0; good && i < t->n; i++) {
            good = t->slots[i] == 0 || target_is_marked(gc->h, t->slots[i]);
            if (!good)
                snprintf(why, why_size, "root %zu of a table points to 0x%zx, white", i,
                         (size_t)t->slots[i]);
        }
    unlock(&gc->roots.lock);
    return good;
}

/* Every object that is marked and allocated leads to marked ones only: with the roots marked, that is all
 * that can be reached. */
bool gc_verify_marks(struct gc *gc, char *why, size_t why_size)
{
    struct mheap *h = gc->h;
    struct mspan *s;
    for (uintptr_t from = 0; (s = heap_next_span(h, from)) != NULL;
         from = span_end(s, h->page_shift)) {
        if (s->state != SPAN_IN_USE || span_noscan(s))
            continue;
        for (unsigned i = 0; i < s->nelems; i++) {
            spin_lock(&s->lock);
            bool live = span_is_large(s) || slot_is_live_locked(h, s, i);
            spin_unlock(&s->lock);
            if (live && object_is_marked(s, i) && !check_object(h, s, i, why, why_size))
                return false;
        }
    }
    return check_tables(gc, why, why_size);
}
