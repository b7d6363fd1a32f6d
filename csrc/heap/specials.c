/* Lists of specials, their way into the queue when objects die, and their verifier.
 *
 * Called through specials.h.
 *
 * Concurrency: see specials.h. A span's lock is taken before specials.lock.
 * Go: addspecial, removespecial, freeSpecial in mheap.go; sweep in mgcsweep.go; queuefinalizer in mfinal.go.
 */
#include "heap/specials.h"

#include "base/mutate.h"
#include "heap/malloc.h"
#include "heap/sweep.h"
#include "heap/verify.h"

void specials_init(struct mheap *h)
{
    struct specials *all = &h->specials;
    lock_init(&all->lock, RANK_SPECIALS);
    fixalloc_init(&all->alloc, &h->persistent, sizeof(struct special), 8, &h->bytes.other_sys);
    fixalloc_init(&all->weak_alloc, &h->persistent, sizeof(struct gomem_weak), 8,
                  &h->bytes.gc_sys);
}

/* --- Memory --- */

struct special *special_new(struct mheap *h, enum special_kind kind)
{
    struct specials *all = &h->specials;
    lock(&all->lock);
    struct special *sp = fixalloc_alloc(&all->alloc);
    if (sp != NULL)
        *sp = (struct special){.kind = kind, .id = ++all->last_id};
    unlock(&all->lock);
    return sp;
}

void special_delete(struct mheap *h, struct special *sp)
{
    lock(&h->specials.lock);
    fixalloc_free(&h->specials.alloc, sp);
    unlock(&h->specials.lock);
}

struct gomem_weak *weak_new(struct mheap *h)
{
    lock(&h->specials.lock);
    struct gomem_weak *w = fixalloc_alloc(&h->specials.weak_alloc);
    if (w != NULL)
        *w = (struct gomem_weak){.refs = 2};
    unlock(&h->specials.lock);
    return w;
}

static void weak_drop_locked(struct specials *all, struct gomem_weak *w)
{
    ASSERT_HELD(&all->lock);
    CHECK(w->refs > 0);
    if (--w->refs == 0)
        fixalloc_free(&all->weak_alloc, w);
}

void weak_retain(struct mheap *h, struct gomem_weak *w)
{
    lock(&h->specials.lock);
    w->refs++;
    unlock(&h->specials.lock);
}

void weak_drop(struct mheap *h, struct gomem_weak *w)
{
    lock(&h->specials.lock);
    weak_drop_locked(&h->specials, w);
    unlock(&h->specials.lock);
}

/* --- The list of a span --- */

bool specials_prepare(struct mheap *h, const struct mspan *s)
{
    struct heap_arena *a = arena_of(h, s->base);
    if (LIKELY(load_acquire(&a->specials) != NULL)) /* with the release below */
        return true;
    struct specials *all = &h->specials;
    lock(&all->lock);
    struct arena_specials *found = a->specials;
    if (found == NULL) {
        size_t words = div_round_up(h->page_mask_in_arena + 1, 64);
        found = persistent_alloc(&h->persistent, sizeof *found + words * sizeof(uint64_t), 8,
                                 &h->bytes.gc_sys);
    }
    if (found != NULL && a->specials == NULL) {
        found->base = align_down(s->base, ARENA_BYTES);
        found->next = all->arenas;
        all->arenas = found;
        store_release(&a->specials, found); /* with the acquire above */
    }
    unlock(&all->lock);
    return found != NULL;
}

struct mspan *specials_lock(struct mheap *h, uintptr_t p, struct heap_lookup *l)
{
    heap_lookup(h, p, l);
    if (l->place != GOMEM_PLACE_OBJECT)
        return NULL;
    struct mspan *s = l->span;
    spin_lock(&s->lock);
    /* What the caller has a pointer to does not die meanwhile, unless it is freed by hand. */
    if (load_acquire(&s->state) == SPAN_IN_USE && s->base == l->span_base &&
        slot_is_live_locked(h, s, l->index))
        return s;
    spin_unlock(&s->lock);
    l->place = GOMEM_PLACE_FREE_SLOT;
    return NULL;
}

/* Says in the arena's bitmap, and to who frees, whether s has specials. */
static void note_specials_locked(struct mheap *h, struct mspan *s, bool any)
{
    ASSERT_SPIN_HELD(&s->lock);
    struct arena_specials *a = arena_of(h, s->base)->specials;
    size_t page = s->base >> h->page_shift & h->page_mask_in_arena;
    uint64_t bit = (uint64_t)1 << (page % 64);
    uint32_t owner = load_relaxed(&s->owner);
    if (any)
        fetch_or_release(&a->pages[page / 64], bit); /* with scan_arena's acquire: the span is whole */
    else
        fetch_and_relaxed(&a->pages[page / 64], ~bit);
    if (owner != 0 && !MUTATED(SPECIALS_NO_OWNER_LOOK))
        store_relaxed(&s->owner,
                      any || s->tiny_live != NULL ? owner | OWNER_LOOK : owner & ~OWNER_LOOK);
}

/* The place in the list before the first special that comes after (offset, kind, id). */
static struct special **place_after(struct mspan *s, uintptr_t offset, enum special_kind kind,
                                    uint64_t id)
{
    struct special **link = &s->specials;
    for (; *link != NULL; link = &(*link)->next) {
        const struct special *at = *link;
        if (at->offset > offset || (at->offset == offset && (at->kind > kind ||
                                                             (at->kind == kind && at->id > id))))
            break;
    }
    return link;
}

struct special *special_find_locked(const struct mspan *s, uintptr_t p, enum special_kind kind,
                                    uint64_t id)
{
    ASSERT_SPIN_HELD(&s->lock);
    uintptr_t offset = p - s->base;
    for (struct special *sp = s->specials; sp != NULL && sp->offset <= offset; sp = sp->next)
        if (sp->offset == offset && sp->kind == kind && (id == 0 || sp->id == id))
            return sp;
    return NULL;
}

void special_insert_locked(struct mheap *h, struct mspan *s, uintptr_t p, struct special *sp)
{
    ASSERT_SPIN_HELD(&s->lock);
    sp->offset = p - s->base;
    struct special **link = place_after(s, sp->offset, sp->kind, sp->id);
    sp->next = *link;
    bool first = s->specials == NULL;
    store_relaxed(link, sp);
    if (first)
        note_specials_locked(h, s, true);
}

static void unlink_at_locked(struct mheap *h, struct mspan *s, struct special **link)
{
    store_relaxed(link, (*link)->next);
    if (s->specials == NULL)
        note_specials_locked(h, s, false);
}

void special_unlink_locked(struct mheap *h, struct mspan *s, struct special *sp)
{
    ASSERT_SPIN_HELD(&s->lock);
    struct special **link = &s->specials;
    while (*link != sp)
        link = &(*link)->next;
    unlink_at_locked(h, s, link);
}

/* --- Objects die --- */

/* At the end of the queue. While marking goes on its pointer is still to be marked. */
static void queue_push_locked(struct mheap *h, struct special *sp)
{
    struct specials *all = &h->specials;
    ASSERT_HELD(&all->lock);
    sp->next = NULL;
    if (all->queue == NULL)
        all->queue = sp;
    else
        all->queue_last->next = sp;
    all->queue_last = sp;
    if (load_relaxed(&h->gc.phase) != GC_OFF && all->unscanned == NULL &&
        !MUTATED(SPECIALS_NO_LATE_QUEUE))
        store_relaxed(&all->unscanned, sp);
    if (sp->dropped)
        return;
    if (sp->kind == SPECIAL_FINALIZER)
        all->stats.finalizers_queued++;
    else
        all->stats.cleanups_queued++;
}

/* Its object is dead, or (a finalizer's) about to be handed over; freed: by hand. */
static void dispose_locked(struct mheap *h, struct mspan *s, struct special *sp, bool freed)
{
    struct specials *all = &h->specials;
    ASSERT_SPIN_HELD(&s->lock);
    if (sp->kind == SPECIAL_WEAK) {
        if (!MUTATED(SPECIALS_KEEP_WEAK))
            store_release(&sp->weak->address, 0); /* with weak_value's acquire */
        weak_drop_locked(all, sp->weak);
        fixalloc_free(&all->alloc, sp);
        return;
    }
    if (sp->kind == SPECIAL_FINALIZER) {
        sp->dropped = freed;
        sp->pointer = freed ? 0 : s->base + sp->offset;
    }
    queue_push_locked(h, sp);
}

/* Disposes of the specials from *link to offset `end`, weak pointers first: who is called may rely on
 * their being nil. keep_cleanups: the object stays. */
static void dispose_range_locked(struct mheap *h, struct mspan *s, struct special **link,
                                 uintptr_t end, bool keep_cleanups, bool freed)
{
    struct specials *all = &h->specials;
    lock(&all->lock);
    for (unsigned weak = 2; weak-- > 0;) {
        struct special **at = link;
        while (*at != NULL && (*at)->offset < end) {
            struct special *sp = *at;
            if ((sp->kind == SPECIAL_WEAK) != weak || (keep_cleanups && sp->kind == SPECIAL_CLEANUP)) {
                at = &sp->next;
                continue;
            }
            unlink_at_locked(h, s, at);
            dispose_locked(h, s, sp, freed);
        }
    }
    if (all->notify != NULL && all->queue != NULL)
        all->notify(all->notify_arg);
    unlock(&all->lock);
}

void specials_sweep_locked(struct mheap *h, struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    struct special **link = &s->specials;
    while (*link != NULL) {
        unsigned i = special_index(s, (*link)->offset);
        uintptr_t end = (i + 1) * s->elem_size;
        uint64_t bit = (uint64_t)1 << (i % 64);
        if (!(load_relaxed(&s->mark_bits[i / 64]) & bit)) {
            bool stays = false;
            for (struct special *sp = *link; sp != NULL && sp->offset < end; sp = sp->next)
                stays |= sp->kind == SPECIAL_FINALIZER;
            if (stays && !MUTATED(SPECIALS_NO_RESURRECTION))
                fetch_or_relaxed(&s->mark_bits[i / 64], bit);
            dispose_range_locked(h, s, link, end, stays, false);
        }
        while (*link != NULL && (*link)->offset < end)
            link = &(*link)->next;
    }
}

void specials_free_locked(struct mheap *h, struct mspan *s, uintptr_t begin, uintptr_t end)
{
    ASSERT_SPIN_HELD(&s->lock);
    struct special **link = &s->specials;
    while (*link != NULL && (*link)->offset < begin - s->base)
        link = &(*link)->next;
    if (*link != NULL && (*link)->offset < end - s->base)
        dispose_range_locked(h, s, link, end - s->base, false, true);
}

struct special *specials_pop(struct mheap *h)
{
    struct specials *all = &h->specials;
    lock(&all->lock);
    struct special *sp = all->queue;
    if (sp != NULL) {
        all->queue = sp->next;
        if (all->unscanned == sp)
            store_relaxed(&all->unscanned, sp->next);
        if (!sp->dropped && sp->kind == SPECIAL_FINALIZER)
            all->stats.finalizers_executed++;
        else if (!sp->dropped)
            all->stats.cleanups_executed++;
    }
    unlock(&all->lock);
    return sp;
}

/* --- Verifying --- */

#define BROKEN(...) return error_set(err, GOMEM_CORRUPT, __VA_ARGS__)

static enum gomem_status verify_special(struct mheap *h, struct mspan *s, const struct special *sp,
                                        struct gomem_error *err)
{
    uintptr_t p = s->base + sp->offset;
    const struct special *next = sp->next;
    unsigned i = special_index(s, sp->offset);
    if (p < s->first_object || p >= s->limit)
        BROKEN("span 0x%zx: a special at offset %zu, where no object is", (size_t)s->base,
               (size_t)sp->offset);
    spin_lock(&s->lock);
    bool swept = span_is_swept(h, s), live = slot_is_live_locked(h, s, i);
    bool part = !live || !span_has_tiny(s, i) ||
                (tiny_live_parts(h, s, i) & ((2u << (p - span_object(s, i))) - 1)) != 0;
    spin_unlock(&s->lock);
    if ((swept && !live) || !part)
        BROKEN("object 0x%zx is free, but has a special of kind %d", (size_t)p, sp->kind);
    if (sp->kind == SPECIAL_WEAK &&
        (load_relaxed(&sp->weak->address) != p || sp->weak->refs == 0))
        BROKEN("object 0x%zx: its weak pointer says 0x%zx, with %llu references", (size_t)p,
               (size_t)sp->weak->address, (unsigned long long)sp->weak->refs);
    if (next == NULL || next->offset > sp->offset)
        return GOMEM_OK;
    if (next->offset < sp->offset || next->kind < sp->kind ||
        (next->kind == sp->kind && (next->id <= sp->id || sp->kind != SPECIAL_CLEANUP)))
        BROKEN("object 0x%zx: specials of kinds %d and %d in the wrong order", (size_t)p, sp->kind,
               next->kind);
    return GOMEM_OK;
}

static enum gomem_status verify_list(struct mheap *h, struct mspan *s, size_t *n,
                                     struct gomem_error *err)
{
    struct arena_specials *a = arena_of(h, s->base)->specials;
    bool bit = a != NULL && bitmap_get(a->pages, s->base >> h->page_shift & h->page_mask_in_arena);
    if (bit != (s->specials != NULL))
        BROKEN("span 0x%zx: it has %s specials, the bitmap of its arena says otherwise",
               (size_t)s->base, bit ? "no" : "some");
    if (s->specials != NULL && s->owner != 0 && !(s->owner & OWNER_LOOK))
        BROKEN("span 0x%zx: it has specials that its owner does not know of", (size_t)s->base);
    for (const struct special *sp = s->specials; sp != NULL; sp = sp->next, ++*n) {
        enum gomem_status status = verify_special(h, s, sp, err);
        if (status != GOMEM_OK)
            return status;
    }
    return GOMEM_OK;
}

enum gomem_status specials_verify(struct mheap *h, struct gomem_error *err)
{
    size_t n = 0;
    struct mspan *s = heap_next_span(h, 0);
    for (; s != NULL; s = heap_next_span(h, span_end(s, h->page_shift))) {
        if (s->state != SPAN_IN_USE)
            continue;
        enum gomem_status status = verify_list(h, s, &n, err);
        if (status != GOMEM_OK)
            return status;
    }
    for (const struct special *sp = h->specials.queue; sp != NULL; sp = sp->next, n++) {
        struct heap_lookup l;
        heap_lookup(h, sp->pointer, &l);
        if (!sp->dropped && sp->kind == SPECIAL_FINALIZER && l.place != GOMEM_PLACE_OBJECT)
            BROKEN("object 0x%zx is free, but its finalizer is still to run", (size_t)sp->pointer);
    }
    size_t used = h->specials.alloc.inuse / h->specials.alloc.size;
    if (n != used)
        BROKEN("%zu specials are in use, but spans and the queue have %zu", used, n);
    return GOMEM_OK;
}
