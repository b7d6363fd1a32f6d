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

/* --- What specials keep alive --- */

enum {
    BATCH = 32,             /* pointers read under a lock, to be marked without it */
    LOOK_BYTES = 32 << 10,  /* of an object that are looked at under a lock */
};

#define ALL_READ SIZE_MAX

struct batch {
    uintptr_t pointers[BATCH];
    unsigned n;
};

static void mark_batch(struct marker *m, const struct batch *b)
{
    for (unsigned i = 0; i < b->n; i++)
        mark_grey(m, b->pointers[i]);
}

/* Reads pointers of an object from offset `at` on, but those to itself, which do not count; how far it
 * came. Under the span's lock, so that it is not freed and used again meanwhile. */
static size_t read_children_locked(struct marker *m, const struct mspan *s, unsigned i, size_t at,
                                   struct batch *b)
{
    ASSERT_SPIN_HELD(&s->lock);
    uintptr_t object = span_object(s, i);
    size_t size = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
    size_t begin = at, end = MIN(size, at + LOOK_BYTES);
    for (; at + PTR_SIZE <= end && b->n < BATCH; at += PTR_SIZE) {
        if (!object_word_is_pointer(m->h, s, i, at))
            continue;
        uintptr_t p = load_relaxed((uintptr_t *)(object + at));
        if (p != 0 && p - object >= size)
            b->pointers[b->n++] = p;
    }
    m->scanned_bytes += at - begin;
    return at + PTR_SIZE <= size ? at : ALL_READ;
}

/* The same for whatever a special keeps. pre: the batch has room. */
static size_t read_kept_locked(struct marker *m, const struct mspan *s, const struct special *sp,
                               size_t at, struct batch *b)
{
    if (sp->kind == SPECIAL_FINALIZER && !span_noscan(s))
        return read_children_locked(m, s, special_index(s, sp->offset), at, b);
    if (sp->kind == SPECIAL_CLEANUP && sp->pointer != 0 && !MUTATED(SPECIALS_NO_ARGUMENT_MARKING))
        b->pointers[b->n++] = sp->pointer;
    return ALL_READ;
}

/* Where a look at a list goes on: at byte `at` of this special's object, or at the next special. */
struct place {
    uintptr_t offset;
    enum special_kind kind;
    uint64_t id;
    size_t at;
};

/* Is sp before (-1), at (0) or behind (1) the place, in the order of lists? */
static int compare_place(const struct special *sp, const struct place *place)
{
    if (sp->offset != place->offset)
        return sp->offset < place->offset ? -1 : 1;
    if (sp->kind != place->kind)
        return sp->kind < place->kind ? -1 : 1;
    return sp->id == place->id ? 0 : sp->id < place->id ? -1 : 1;
}

/* Marks what the specials of a span keep alive; only: of the one with this id, if it is not 0. */
static void scan_span(struct marker *m, struct mspan *s, uint64_t only)
{
    struct place place = {.at = ALL_READ};
    bool more = true;
    while (more) {
        struct batch b = {.n = 0};
        more = false;
        spin_lock(&s->lock);
        const struct special *sp = load_relaxed(&s->state) == SPAN_IN_USE ? s->specials : NULL;
        for (; sp != NULL && !more; sp = sp->next) {
            int order = compare_place(sp, &place);
            if (order < 0 || (order == 0 && place.at == ALL_READ) || (only != 0 && sp->id != only))
                continue;
            size_t at = order == 0 ? place.at : 0;
            place = (struct place){sp->offset, sp->kind, sp->id, 0};
            place.at = read_kept_locked(m, s, sp, at, &b);
            more = place.at != ALL_READ || b.n == BATCH;
        }
        spin_unlock(&s->lock);
        mark_batch(m, &b);
    }
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
    uint64_t id = sp->id;
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
        scan_span(&gc->procs[p->id].marker, s, id);
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

static void scan_arena(struct marker *m, const struct arena_specials *a)
{
    size_t words = div_round_up(m->h->page_mask_in_arena + 1, 64);
    for (size_t w = 0; w < words; w++)
        for (uint64_t bits = load_acquire(&a->pages[w]); bits != 0; bits &= bits - 1) {
            size_t page = w * 64 + trailing_zeros64(bits);
            scan_span(m, span_of(m->h, a->base + (page << m->h->page_shift)), 0);
        }
}

bool finalizers_scan_some(struct marker *m)
{
    struct specials *all = &m->h->specials;
    struct batch b = {.n = 0};
    const struct arena_specials *a = NULL;
    if (!finalizers_have_work(m->h))
        return false;
    lock(&all->lock);
    bool found = finalizers_have_work(m->h);
    struct special *sp = all->unscanned;
    bool queued = sp != NULL;
    for (; sp != NULL && b.n < BATCH; sp = sp->next)
        if (!sp->dropped && sp->pointer != 0)
            b.pointers[b.n++] = sp->pointer;
    store_relaxed(&all->unscanned, sp);
    if (!queued && all->next_arena != NULL) {
        a = all->next_arena;
        store_relaxed(&all->next_arena, a->next);
    }
    unlock(&all->lock);
    mark_batch(m, &b);
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
