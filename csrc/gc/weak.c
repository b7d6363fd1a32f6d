/* Weak pointers.
 *
 * Called through weak.h.
 *
 * Concurrency: see weak.h. A handle becomes nil under the lock of its object's span, before the slot can
 * be given out again.
 * Go: mheap.go.
 */
#include "gc/weak.h"

#include "base/mutate.h"
#include "gc/assist.h"
#include "heap/sweep.h"
#include "heap/verify.h"

/* The handle that p has already; NULL: none, or (l->place says so) there is no object. */
static struct gomem_weak *find_handle(struct mheap *h, uintptr_t p, struct heap_lookup *l)
{
    struct mspan *s = specials_lock(h, p, l);
    if (s == NULL)
        return NULL;
    const struct special *sp = special_find_locked(s, p, SPECIAL_WEAK, 0);
    struct gomem_weak *w = sp == NULL ? NULL : sp->weak;
    if (w != NULL)
        weak_retain(h, w);
    spin_unlock(&s->lock);
    return w;
}

/* Gives p the handle, unless it has got one meanwhile; false: it has, or there is no object. */
static bool insert_handle(struct mheap *h, uintptr_t p, struct special *sp, struct heap_lookup *l)
{
    struct mspan *s = specials_lock(h, p, l);
    if (s == NULL)
        return false;
    bool there = special_find_locked(s, p, SPECIAL_WEAK, 0) != NULL;
    if (!there)
        special_insert_locked(h, s, p, sp);
    spin_unlock(&s->lock);
    return !there;
}

struct gomem_weak *weak_make(struct mheap *h, uintptr_t p, struct gomem_error *err)
{
    struct heap_lookup l;
    if (p == h->zerobase) {
        weak_retain(h, &h->specials.zero);
        return &h->specials.zero;
    }
    for (;;) {
        struct gomem_weak *w = find_handle(h, p, &l);
        if (w != NULL)
            return w;
        if (l.place != GOMEM_PLACE_OBJECT) {
            error_set(err, GOMEM_INVALID_POINTER, "weak.Make: pointer not in allocated block");
            return NULL;
        }
        struct special *sp = specials_prepare(h, l.span) ? special_new(h, SPECIAL_WEAK) : NULL;
        w = sp == NULL ? NULL : weak_new(h);
        if (w == NULL) {
            if (sp != NULL)
                special_delete(h, sp);
            error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a weak pointer");
            return NULL;
        }
        w->address = p;
        sp->weak = w;
        if (insert_handle(h, p, sp, &l))
            return w;
        weak_drop(h, w);
        weak_drop(h, w);
        special_delete(h, sp);
    }
}

uintptr_t weak_value(struct gc *gc, struct p *p, const struct gomem_weak *w)
{
    struct mheap *h = gc->h;
    uintptr_t at = load_acquire(&w->address); /* with dispose_locked's release */
    if (at == 0 || at == h->zerobase)
        return at;
    /* The object may have died since, and its memory be another's: then the handle is nil by the time
     * its span's lock is had. */
    struct mspan *s = span_of(h, at);
    spin_lock(&s->lock);
    bool in_use = load_acquire(&s->state) == SPAN_IN_USE; /* with mheap_alloc_span's release */
    at = load_relaxed(&w->address);
    /* Garbage that waits to be swept is as good as dead. */
    bool alive = in_use && at != 0 &&
                 (span_is_swept(h, s) || MUTATED(SPECIALS_WEAK_TO_GARBAGE) ||
                  object_is_marked(s, special_index(s, at - s->base)));
    spin_unlock(&s->lock);
    if (!alive)
        return 0;
    /* It may be white, and the caller the only one to have it. */
    if (load_relaxed(&h->gc.phase) == GC_MARK && !MUTATED(SPECIALS_NO_WEAK_SHADE))
        gc_barrier(gc, p->id, 0, 0, at);
    return at;
}

void weak_release(struct mheap *h, struct gomem_weak *w)
{
    weak_drop(h, w);
}
