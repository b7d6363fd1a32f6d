/* Sweeping spans.
 *
 * Called through sweep.h.
 *
 * Concurrency: see sweep.h.
 * Go: mgcsweep.go.
 */
#include "heap/sweep.h"

#include "base/mutate.h"
#include "heap/mcache.h"
#include "heap/mcentral.h"
#include "heap/tiny.h"

/* How many full spans allocation sweeps in the hope for a free object before it takes a new span. */
enum { SPAN_BUDGET = 100 };

static struct span_set *unswept_set(struct mheap *h, span_class sc, enum set_kind kind)
{
    return &h->central[sc].sets[kind][1 - h->sweepgen / 2 % 2];
}

/* The sets in the order in which they are swept: full and partial ones of each class in turn. */
static uint32_t nsets(const struct mheap *h)
{
    return 4 * h->size_classes.nclasses;
}

void sweep_begin(struct mheap *h, size_t keep_bytes)
{
    ASSERT(sweep_done(h));
    h->sweepgen += 2;
    store_relaxed(&h->sweep.keep_bytes, (int64_t)keep_bytes);
    store_relaxed(&h->sweep.cursor, 0);
}

bool sweep_done(struct mheap *h)
{
    return load_acquire(&h->sweep.cursor) >= nsets(h) && load_acquire(&h->sweep.active) == 0;
}

/* --- One span --- */

/* Slots become free: the tiny objects in them are gone. */
static void clear_tiny(struct mspan *s, unsigned w, uint64_t freed)
{
    if (freed == ~(uint64_t)0) { /* four entries at a time */
        uint64_t *words = (uint64_t *)&s->tiny_live[w * 64];
        for (unsigned i = 0; i < 16; i++)
            store_relaxed(&words[i], 0);
        return;
    }
    for (; freed != 0; freed &= freed - 1)
        store_relaxed(&s->tiny_live[w * 64 + trailing_zeros64(freed)], 0);
}

void sweep_span_locked(struct mheap *h, struct mcache *c, struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    ASSERT(!span_is_swept(h, s));
    span_merge_remote_locked(s);
    if (UNLIKELY(span_has_specials(s)))
        specials_sweep_locked(h, s);
    unsigned n = 0, last = s->nwords - 1u;
    for (unsigned w = 0; w <= last; w++) {
        uint64_t free = load_relaxed(&s->free_bits[w]), marks = load_relaxed(&s->mark_bits[w]);
        uint64_t all = w == last ? low_mask64((s->nelems - 1) % 64 + 1) : ~(uint64_t)0;
        uint64_t freed = ~(free | marks) & all;
        if (s->tiny_live != NULL)
            clear_tiny(s, w, freed);
        n += ones_count64(freed);
        store_relaxed(&s->free_bits[w], free | freed);
        if (!MUTATED(NO_MARKS_CLEARED))
            store_relaxed(&s->mark_bits[w], 0);
    }
    if (class_has_page_marks(h, s->span_class) && !MUTATED(NO_MARKS_CLEARED))
        page_marks_clear(h, s->mark_bits);
    store_relaxed(&s->live, (uint16_t)(s->live - n));
    if (!MUTATED(NO_SWEEPGEN))
        store_relaxed(&s->sweepgen, h->sweepgen);
    size_t bytes = n * s->elem_size;
    if (span_is_large(s)) {
        c->large.frees += n;
        c->large.free_bytes += bytes;
    } else {
        c->slots[s->span_class].frees += n;
    }
    c->reported_frees += bytes;
    fetch_sub_relaxed(&h->gc.garbage, (int64_t)bytes);
}

/* Has the span no owner, so that whoever has its lock may sweep it? */
static bool is_unowned_locked(const struct mheap *h, const struct mspan *s)
{
    return load_relaxed(&s->state) == SPAN_IN_USE &&
           (s->place != PLACE_OWNED || span_owner_locked(h, s) == NULL);
}

/* --- One entry of a set --- */

/* The next entry of an unswept set of this kind; its span's lock is held, its entry noted as popped. NULL
 * if there is none. *recycle: the span is dead, and this was the last that led to it. */
static struct mspan *pop_unswept(struct span_set *set, enum set_kind kind, bool *recycle)
{
    struct mspan *s = span_set_pop(set, kind);
    if (s == NULL)
        return NULL;
    spin_lock(&s->lock);
    *recycle = span_entry_popped_locked(s, kind);
    return s;
}

/* May a span that this cycle has emptied stay in its class? */
static bool may_keep(struct mheap *h, const struct mspan *s)
{
    int64_t bytes = (int64_t)(s->npages << h->page_shift);
    if (span_is_large(s) || load_relaxed(&h->sweep.keep_bytes) < bytes)
        return false;
    fetch_sub_relaxed(&h->sweep.keep_bytes, bytes); /* a little too much, if several do so at once */
    return true;
}

/* Sweeps the span of an entry if it needs it, and sees to it that it has an entry again if it needs one.
 * pre: its lock is held; released. */
static void sweep_entry_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s, bool recycle)
{
    if (is_unowned_locked(h, s)) {
        bool had_objects = s->live > 0, keep = s->kept;
        if (!span_is_swept(h, s)) {
            sweep_span_locked(h, c, s);
            keep = had_objects && s->live == 0 && may_keep(h, s);
        }
        mcentral_place_and_unlock(h, c, s, keep);
        return;
    }
    if (load_relaxed(&s->state) == SPAN_IN_USE) {
        mcentral_note_full_and_unlock(h, s);
        return;
    }
    spin_unlock(&s->lock);
    if (recycle)
        mheap_recycle_span(h, c, s);
}

bool sweep_one(struct mheap *h, struct mcache *c)
{
    fetch_add_seq_cst(&h->sweep.active, 1);
    bool found = false;
    for (;;) {
        uint32_t at = load_acquire(&h->sweep.cursor);
        if (at >= nsets(h))
            break;
        enum set_kind kind = at % 2 ? SET_PARTIAL : SET_FULL;
        struct span_set *set = unswept_set(h, (span_class)(at / 2), kind);
        bool recycle;
        struct mspan *s = pop_unswept(set, kind, &recycle);
        if (s != NULL) {
            sweep_entry_and_unlock(h, c, s, recycle);
            found = true;
            break;
        }
        store_relaxed(&set->dead, 0);
        cas_acq_rel(&h->sweep.cursor, &at, at + 1);
    }
    fetch_sub_acq_rel(&h->sweep.active, 1);
    return found;
}

struct mspan *sweep_for_allocation(struct mheap *h, struct mcache *c, span_class sc)
{
    if (LIKELY(load_acquire(&h->sweep.cursor) >= nsets(h)))
        return NULL;
    fetch_add_seq_cst(&h->sweep.active, 1);
    struct mspan *found = NULL;
    for (unsigned tries = 0; found == NULL && tries < SPAN_BUDGET; tries++) {
        bool recycle;
        struct mspan *s = pop_unswept(unswept_set(h, sc, SET_PARTIAL), SET_PARTIAL, &recycle);
        if (s == NULL)
            s = pop_unswept(unswept_set(h, sc, SET_FULL), SET_FULL, &recycle);
        if (s == NULL)
            break;
        if (is_unowned_locked(h, s) && s->span_class == sc) {
            if (!span_is_swept(h, s))
                sweep_span_locked(h, c, s);
            if (s->live < s->nelems) {
                found = s;
                break;
            }
        }
        sweep_entry_and_unlock(h, c, s, recycle);
    }
    fetch_sub_acq_rel(&h->sweep.active, 1);
    return found;
}
