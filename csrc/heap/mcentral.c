/* Spans on their way between a P's cache and the heap, and frees in spans of other Ps.
 *
 * Called through mcentral.h.
 *
 * Concurrency: see mcentral.h. Lock order: a span's lock is taken with no other lock held and is
 * released before the heap or another P's cache is asked for anything.
 * Go: mcentral.go.
 */
#include "heap/mcentral.h"

#include "heap/mcache.h"
#include "heap/mheap.h"
#include "heap/sweep.h"

/* Clean a set of dead entries when they are more than this and more than half of all. */
enum { DEAD_ENTRIES_MAX = 64 };

static struct span_set *swept_set(struct mheap *h, span_class sc, enum set_kind kind)
{
    return &h->central[sc].sets[kind][h->sweepgen / 2 % 2];
}

/* An estimate: spans that die while sweeping goes on are not counted. */
static void one_dead_less(struct span_set *set)
{
    uint32_t dead = load_relaxed(&set->dead);
    while (dead > 0 && !cas_relaxed(&set->dead, &dead, dead - 1))
        ;
}

bool span_entry_popped_locked(struct mspan *s, enum set_kind kind)
{
    ASSERT_SPIN_HELD(&s->lock);
    s->in_set[kind] = false;
    return load_relaxed(&s->state) == SPAN_DEAD && !span_is_referenced_locked(s);
}

/* Notes under the span's lock that it should have an entry; true if the caller must push one. */
static bool entry_wanted_locked(struct mspan *s, enum set_kind kind)
{
    ASSERT_SPIN_HELD(&s->lock);
    bool push = !s->in_set[kind];
    s->in_set[kind] = true;
    return push;
}

static void own_locked(struct mspan *s, struct mcache *c)
{
    ASSERT_SPIN_HELD(&s->lock);
    s->place = PLACE_OWNED;
    s->slow_from = SLOW_FROM_LISTED;
    s->kept = false;
    s->slot = &c->slots[s->span_class];
    store_relaxed(&s->owner, c->token | (s->tiny_live != NULL || s->specials != NULL ? OWNER_LOOK : 0));
}

/* A span from the partial set; NULL if it has none. */
static struct mspan *take_partial(struct mheap *h, struct mcache *c, span_class sc)
{
    struct span_set *set = swept_set(h, sc, SET_PARTIAL);
    struct mspan *s;
    while ((s = span_set_pop(set, SET_PARTIAL)) != NULL) {
        spin_lock(&s->lock);
        bool dead = load_relaxed(&s->state) == SPAN_DEAD;
        bool recycle = span_entry_popped_locked(s, SET_PARTIAL);
        bool found = s->place == PLACE_PARTIAL && s->span_class == sc;
        if (found) {
            if (UNLIKELY(!span_is_swept(h, s)))
                sweep_span_locked(h, c, s);
            own_locked(s, c);
        }
        spin_unlock(&s->lock);
        if (found)
            return s;
        if (dead)
            one_dead_less(set);
        if (recycle)
            mheap_recycle_span(h, c, s);
    }
    return NULL;
}

/* Shares out the spare spans of a P that is not at work; false if there is none. */
static bool share_from_idle(struct mheap *h, const struct mcache *c, span_class sc)
{
    for (unsigned i = 1; i < h->nmcaches; i++) {
        struct mcache *other = h->mcaches[(c->id + i) % h->nmcaches];
        /* Peeked at: a wrong answer costs a span, nothing more. */
        if (!mcache_may_spare(other, sc) || !mcache_try_acquire(other))
            continue;
        mcache_collect_remote(other);
        bool any = other->slots[sc].npartial > 0;
        mcache_share(other, sc);
        mcache_release(other);
        if (any)
            return true;
    }
    return false;
}

struct mspan *mcentral_cache_span(struct mheap *h, struct mcache *c, span_class sc)
{
    struct mspan *s;
    do {
        s = take_partial(h, c, sc);
        if (s != NULL)
            return s;
        s = sweep_for_allocation(h, c, sc);
        if (s != NULL) {
            own_locked(s, c);
            spin_unlock(&s->lock);
            return s;
        }
    } while (share_from_idle(h, c, sc));
    s = mheap_alloc_span(h, c, h->size_classes.classes[sc >> 1].npages, SPAN_TYPE_HEAP, sc);
    if (s != NULL) {
        spin_lock(&s->lock);
        own_locked(s, c);
        spin_unlock(&s->lock);
    }
    return s;
}

void mcentral_place_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s, bool keep)
{
    ASSERT_SPIN_HELD(&s->lock);
    span_class sc = s->span_class;
    store_relaxed(&s->owner, 0);
    if (span_is_large(s) && s->live > 0) {
        bool wanted = entry_wanted_locked(s, SET_FULL);
        spin_unlock(&s->lock);
        if (wanted)
            span_set_push(swept_set(h, sc, SET_FULL), SET_FULL, s);
        return;
    }
    if (s->live == 0 && !keep) {
        s->place = PLACE_NONE;
        store_relaxed(&s->state, SPAN_FREEING);
        spin_unlock(&s->lock);
        mheap_free_span(h, c, s, SPAN_TYPE_HEAP);
        return;
    }
    s->kept = keep;
    enum set_kind kind = s->live == s->nelems ? SET_FULL : SET_PARTIAL;
    s->place = kind == SET_FULL ? PLACE_FULL : PLACE_PARTIAL;
    bool push = entry_wanted_locked(s, kind);
    spin_unlock(&s->lock);
    if (push)
        span_set_push(swept_set(h, sc, kind), kind, s);
}

void mcentral_unown_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    ASSERT(s->place == PLACE_OWNED);
    span_merge_remote_locked(s);
    mcentral_place_and_unlock(h, c, s, false);
}

void mcentral_note_full_and_unlock(struct mheap *h, struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    span_class sc = s->span_class;
    bool push = entry_wanted_locked(s, SET_FULL); /* from here on its structure stays */
    spin_unlock(&s->lock);
    if (push)
        span_set_push(swept_set(h, sc, SET_FULL), SET_FULL, s);
}

void mcentral_note_full(struct mheap *h, struct mspan *s)
{
    spin_lock(&s->lock);
    mcentral_note_full_and_unlock(h, s);
}

/* A free in another P's span: left for the owner to collect. If the span has nothing else in it, or
 * the owner has nothing else to do, we see to that. */
static void free_remote_and_unlock(struct mspan *s, struct mcache *owner, unsigned i)
{
    ASSERT_SPIN_HELD(&s->lock);
    ASSERT(!bitmap_get(s->remote_bits, i));
    bitmap_set(s->remote_bits, i);
    uint32_t n = load_relaxed(&s->remote_frees) + 1;
    store_relaxed(&s->remote_frees, n);
    bool push = entry_wanted_locked(s, SET_REMOTE);
    bool all = n == load_relaxed(&s->live);
    spin_unlock(&s->lock);
    if (push)
        span_set_push(&owner->remote, SET_REMOTE, s);
    if (all && mcache_try_acquire(owner))
        mcache_release(owner);
}

void mcentral_free_and_unlock(struct mheap *h, struct mcache *c, struct mspan *s, unsigned i)
{
    ASSERT_SPIN_HELD(&s->lock);
    c->slots[s->span_class].frees++;
    struct mcache *owner = span_owner_locked(h, s);
    if (owner != NULL) {
        ASSERT(owner != c);
        free_remote_and_unlock(s, owner, i);
        return;
    }
    span_merge_remote_locked(s); /* what its last owner did not collect */
    ASSERT(!bitmap_get(s->free_bits, i));
    bitmap_set(s->free_bits, i);
    s->live--;
    if (s->place == PLACE_PARTIAL && s->live > 0)
        spin_unlock(&s->lock);
    else
        mcentral_place_and_unlock(h, c, s, false);
}

/* Drops the dead entries of a set and keeps the others. */
static void set_compact(struct mheap *h, struct mcache *c, struct span_set *set, enum set_kind kind)
{
    struct mspan *s = span_set_take_all(set, kind), *next;
    for (; s != NULL; s = next) {
        next = load_relaxed(&s->set_next[kind]);
        spin_lock(&s->lock);
        bool dead = load_relaxed(&s->state) == SPAN_DEAD;
        bool recycle = dead && span_entry_popped_locked(s, kind);
        spin_unlock(&s->lock);
        if (dead)
            one_dead_less(set);
        else
            span_set_push(set, kind, s);
        if (recycle)
            mheap_recycle_span(h, c, s);
    }
}

void mcentral_note_dead(struct mheap *h, struct mcache *c, span_class sc, bool partial, bool full)
{
    bool in[] = {[SET_PARTIAL] = partial, [SET_FULL] = full};
    if (!sweep_done(h))
        return; /* the entry may be in an unswept set, which will soon be empty */
    for (enum set_kind kind = SET_PARTIAL; kind <= SET_FULL; kind++) {
        if (!in[kind])
            continue;
        struct span_set *set = swept_set(h, sc, kind);
        uint32_t dead = fetch_add_relaxed(&set->dead, 1) + 1;
        if (dead > DEAD_ENTRIES_MAX && dead > load_relaxed(&set->count) / 2)
            set_compact(h, c, set, kind);
    }
}
