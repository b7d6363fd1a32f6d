/* Finalizers and cleanups.
 *
 * Called through finalizer.h.
 *
 * Concurrency: see finalizer.h.
 * Go: mfinal.go, mcleanup.go, markrootSpans and gcScanFinalizer in mgcmark.go.
 */
#include "gc/finalizer.h"

#include "base/mutate.h"
#include "heap/heapbits.h"
#include "heap/verify.h"

enum { BATCH = 32 }; /* specials looked at under a lock, before they are marked without it */

/* Marks what an object leads to, but not the object: its pointers to itself do not count. Not by way of
 * mark_drain, which would put off pieces of a large object, to be lost when no buffer can be had. */
static void mark_children(struct marker *m, const struct mspan *s, unsigned i)
{
    uintptr_t object = span_object(s, i);
    size_t size = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
    for (size_t offset = 0; offset + PTR_SIZE <= size; offset += PTR_SIZE) {
        if (!object_word_is_pointer(m->h, s, i, offset))
            continue;
        uintptr_t p = load_relaxed((uintptr_t *)(object + offset));
        if (p != 0 && p - object >= size)
            mark_grey(m, p);
    }
    m->scanned_bytes += size;
}

/* --- Attaching --- */

/* Where p may have a finalizer or cleanup, with its span locked; NULL with err, which begins with `who`. */
static struct mspan *lock_target(struct mheap *h, uintptr_t p, struct heap_lookup *l,
                                 const char *who, struct gomem_error *err)
{
    struct mspan *s = specials_lock(h, p, l);
    if (s == NULL)
        error_set(err, GOMEM_INVALID_POINTER, "%s not in allocated block", who);
    return s;
}

/* A special for p that is not attached yet; NULL with err. */
static struct special *new_call(struct mheap *h, const struct mspan *s, enum special_kind kind,
                                const struct gomem_callback *callback, uintptr_t pointer,
                                struct gomem_error *err)
{
    struct special *sp = specials_prepare(h, s) ? special_new(h, kind) : NULL;
    if (sp == NULL) {
        error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a %s",
                  kind == SPECIAL_FINALIZER ? "finalizer" : "cleanup");
        return NULL;
    }
    sp->callback = *callback;
    sp->pointer = pointer;
    return sp;
}

enum gomem_status finalizer_set(struct gc *gc, struct p *p, uintptr_t object,
                                const struct gomem_callback *callback, struct gomem_error *err)
{
    struct mheap *h = gc->h;
    struct heap_lookup l;
    if (object == 0)
        return error_set(err, GOMEM_INVALID_POINTER, "runtime.SetFinalizer: first argument is nil");
    if (object == h->zerobase)
        return GOMEM_OK; /* as Go: it never dies */
    struct mspan *s = lock_target(h, object, &l, "runtime.SetFinalizer: pointer", err);
    if (s == NULL)
        return GOMEM_INVALID_POINTER;
    spin_unlock(&s->lock);
    if (l.object != object)
        return error_set(err, GOMEM_INVALID_POINTER,
                         "runtime.SetFinalizer: pointer not at beginning of allocated block");
    struct special *sp = new_call(h, s, SPECIAL_FINALIZER, callback, 0, err);
    if (sp == NULL)
        return GOMEM_OUT_OF_MEMORY;
    s = lock_target(h, object, &l, "runtime.SetFinalizer: pointer", err);
    bool there = s != NULL && special_find_locked(s, object, SPECIAL_FINALIZER, 0) != NULL;
    if (s != NULL && !there)
        special_insert_locked(h, s, object, sp);
    if (s != NULL)
        spin_unlock(&s->lock);
    if (s == NULL || there)
        special_delete(h, sp);
    if (s == NULL)
        return GOMEM_INVALID_POINTER;
    if (there)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "runtime.SetFinalizer: finalizer already set");
    if (load_relaxed(&h->gc.phase) == GC_MARK && !span_noscan(s) && !MUTATED(SPECIALS_NO_LATE_FINALIZER))
        mark_children(&gc->procs[p->id].marker, s, special_index(s, object - s->base));
    return GOMEM_OK;
}

/* Takes what is attached to p off; false: there is nothing. */
static bool detach(struct mheap *h, uintptr_t p, enum special_kind kind, uint64_t id,
                   struct gomem_callback *callback)
{
    struct mspan *s = span_of(h, p);
    if (s == NULL)
        return false;
    struct special *sp = NULL;
    spin_lock(&s->lock);
    if (load_acquire(&s->state) == SPAN_IN_USE && p >= s->base && p < s->limit)
        sp = special_find_locked(s, p, kind, id);
    if (sp != NULL)
        special_unlink_locked(h, s, sp);
    spin_unlock(&s->lock);
    if (sp == NULL)
        return false;
    *callback = sp->callback;
    special_delete(h, sp);
    return true;
}

bool finalizer_clear(struct mheap *h, uintptr_t object, struct gomem_callback *callback)
{
    return detach(h, object, SPECIAL_FINALIZER, 0, callback);
}

/* Would the argument keep the object alive that p points into? */
static enum gomem_status check_argument(const struct heap_lookup *l, uintptr_t p,
                                        uintptr_t argument, struct gomem_error *err)
{
    if (argument == p)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "runtime.AddCleanup: ptr is equal to arg, cleanup will never run");
    if (argument >= l->object && argument < l->object + l->size)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "runtime.AddCleanup: ptr is within arg, cleanup will never run");
    return GOMEM_OK;
}

enum gomem_status cleanup_add(struct gc *gc, struct p *p, uintptr_t pointer,
                              const struct gomem_callback *callback, uintptr_t argument,
                              uint64_t *id, struct gomem_error *err)
{
    struct mheap *h = gc->h;
    struct heap_lookup l;
    *id = 0;
    if (pointer == 0)
        return error_set(err, GOMEM_INVALID_POINTER, "runtime.AddCleanup: ptr is nil");
    if (pointer == h->zerobase)
        return GOMEM_OK;
    struct mspan *s = lock_target(h, pointer, &l, "runtime.AddCleanup: ptr", err);
    if (s == NULL)
        return GOMEM_INVALID_POINTER;
    spin_unlock(&s->lock);
    enum gomem_status status = check_argument(&l, pointer, argument, err);
    if (status != GOMEM_OK)
        return status;
    struct special *sp = new_call(h, s, SPECIAL_CLEANUP, callback, argument, err);
    if (sp == NULL)
        return GOMEM_OUT_OF_MEMORY;
    *id = sp->id;
    s = lock_target(h, pointer, &l, "runtime.AddCleanup: ptr", err);
    if (s == NULL) {
        special_delete(h, sp);
        return GOMEM_INVALID_POINTER;
    }
    special_insert_locked(h, s, pointer, sp);
    spin_unlock(&s->lock);
    if (load_relaxed(&h->gc.phase) == GC_MARK && argument != 0 && !MUTATED(SPECIALS_NO_LATE_CLEANUP))
        mark_grey(&gc->procs[p->id].marker, argument);
    return GOMEM_OK;
}

bool cleanup_stop(struct mheap *h, uintptr_t pointer, uint64_t id, struct gomem_callback *callback)
{
    return id != 0 && detach(h, pointer, SPECIAL_CLEANUP, id, callback);
}

/* --- Marking --- */

void finalizers_start(struct mheap *h)
{
    struct specials *all = &h->specials;
    lock(&all->lock);
    store_relaxed(&all->unscanned, MUTATED(SPECIALS_NO_QUEUE_MARKING) ? NULL : all->queue);
    store_relaxed(&all->next_arena, MUTATED(SPECIALS_NO_MARKING) ? NULL : all->arenas);
    unlock(&all->lock);
}

bool finalizers_have_work(struct mheap *h)
{
    struct specials *all = &h->specials;
    return load_relaxed(&all->unscanned) != NULL || load_relaxed(&all->next_arena) != NULL;
}

/* What a special keeps alive: an object, or all that another leads to. */
struct kept {
    uintptr_t p;              /* 0: nothing */
    const struct mspan *span; /* NULL: p itself */
    unsigned index;
};

static struct kept kept_by(const struct mspan *s, const struct special *sp)
{
    if (sp->kind == SPECIAL_CLEANUP)
        return (struct kept){.p = MUTATED(SPECIALS_NO_ARGUMENT_MARKING) ? 0 : sp->pointer};
    if (sp->kind == SPECIAL_WEAK || span_noscan(s))
        return (struct kept){0};
    return (struct kept){.span = s, .index = special_index(s, sp->offset)};
}

/* Does sp come after the place (offset, id) where the last look at its list ended? */
static bool comes_after(const struct special *sp, uintptr_t offset, enum special_kind kind,
                        uint64_t id)
{
    if (sp->offset != offset)
        return sp->offset > offset;
    return sp->kind != kind ? sp->kind > kind : sp->id > id;
}

static void mark_kept(struct marker *m, const struct kept *kept, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (kept[i].span != NULL)
            mark_children(m, kept[i].span, kept[i].index);
        else if (kept[i].p != 0)
            mark_grey(m, kept[i].p);
    }
}

static void scan_span(struct marker *m, struct mspan *s)
{
    struct kept kept[BATCH];
    uintptr_t offset = 0;
    enum special_kind kind = SPECIAL_FINALIZER;
    uint64_t id = 0;
    unsigned n;
    do {
        n = 0;
        spin_lock(&s->lock);
        const struct special *sp = load_relaxed(&s->state) == SPAN_IN_USE ? s->specials : NULL;
        for (; sp != NULL && n < BATCH; sp = sp->next)
            if (comes_after(sp, offset, kind, id)) {
                kept[n++] = kept_by(s, sp);
                offset = sp->offset;
                kind = sp->kind;
                id = sp->id;
            }
        spin_unlock(&s->lock);
        mark_kept(m, kept, n);
    } while (n == BATCH);
}

static void scan_arena(struct marker *m, const struct arena_specials *a)
{
    size_t words = div_round_up(m->h->page_mask_in_arena + 1, 64);
    for (size_t w = 0; w < words; w++)
        for (uint64_t bits = load_acquire(&a->pages[w]); bits != 0; bits &= bits - 1) {
            size_t page = w * 64 + trailing_zeros64(bits);
            scan_span(m, span_of(m->h, a->base + (page << m->h->page_shift)));
        }
}

bool finalizers_scan_some(struct marker *m)
{
    struct specials *all = &m->h->specials;
    struct kept kept[BATCH];
    unsigned n = 0;
    const struct arena_specials *a = NULL;
    if (!finalizers_have_work(m->h))
        return false;
    lock(&all->lock);
    bool found = finalizers_have_work(m->h);
    struct special *sp = all->unscanned;
    for (; sp != NULL && n < BATCH; sp = sp->next)
        kept[n++] = (struct kept){.p = sp->dropped ? 0 : sp->pointer};
    store_relaxed(&all->unscanned, sp);
    if (n == 0 && all->next_arena != NULL) {
        a = all->next_arena;
        store_relaxed(&all->next_arena, a->next);
    }
    unlock(&all->lock);
    mark_kept(m, kept, n);
    if (a != NULL)
        scan_arena(m, a);
    return found;
}

/* --- Closing --- */

static void release_all(const struct special *sp)
{
    for (; sp != NULL; sp = sp->next)
        if (sp->kind != SPECIAL_WEAK && sp->callback.release != NULL)
            sp->callback.release(sp->callback.data);
}

void finalizers_end(struct mheap *h)
{
    struct specials *all = &h->specials;
    release_all(all->queue);
    for (const struct arena_specials *a = all->arenas; a != NULL; a = a->next)
        for (size_t page = 0; page <= h->page_mask_in_arena; page++)
            if (bitmap_get(a->pages, page))
                release_all(span_of(h, a->base + (page << h->page_shift))->specials);
}
