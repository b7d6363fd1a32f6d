/* Windows, refills, and what happens to a P's own spans.
 *
 * Called through mcache.h.
 *
 * Concurrency: see mcache.h.
 * Go: mcache.go (refill, releaseAll), nextFree in malloc.go.
 */
#include "heap/mcache.h"

#include <string.h>

#include "base/mutate.h"
#include "heap/heapbits.h"
#include "heap/malloc.h"

/* Tokens: the P's index, and a number that changes when the P drops what it owns. 20 bits of it: a
 * full span that nobody touched while it came round would be the P's again, as if never dropped. */
static uint32_t token_next(uint32_t token)
{
    uint32_t next = (token + MAX_PROCS) & ~OWNER_LOOK;
    return next < MAX_PROCS ? next + MAX_PROCS : next;
}

bool mcache_init(struct mheap *h, unsigned id, unsigned procs, struct mcache **out)
{
    lock(&h->lock);
    struct mcache *c = fixalloc_alloc(&h->mcache_alloc);
    unlock(&h->lock);
    uint64_t *overflow = persistent_alloc(&h->persistent, procs * sizeof *overflow,
                                          sizeof *overflow, &h->bytes.mcache_sys);
    if (c == NULL || overflow == NULL)
        return false;
    memset(c, 0, sizeof *c);
    c->heap = h;
    c->arenas = h->arenas;
    c->page_shift = h->page_shift;
    c->page_offset_mask = ((uint32_t)1 << h->page_shift) - 1;
    c->page_mask_in_arena = h->page_mask_in_arena;
    c->id = id;
    c->token = MAX_PROCS + id;
    c->tiny_overflow = overflow;
    c->tiny_offset = TINY_SIZE;
    c->tiny_entry = &c->tiny_nowhere;
    c->size_classes = h->size_classes;
    c->tiny_span_class = make_span_class(h->size_classes.tiny_class, true);
    for (unsigned i = 0; i < TYPE_SLOTS; i++)
        c->type_slots[i] = &c->slots[0]; /* which never has a window */
    for (unsigned sc = 2; sc < 2 * h->size_classes.nclasses; sc++) {
        struct alloc_slot *slot = &c->slots[sc];
        slot->elem_size = h->size_classes.classes[sc >> 1].size;
        if (!(sc & 1) && slot->elem_size <= h->size_classes.max_bitmap_size)
            slot->bits_offset = (uint32_t)heap_bits_offset(h, (span_class)sc);
        list_init(&slot->partial);
    }
    *out = c;
    return true;
}

struct mcache *span_owner_locked(const struct mheap *h, const struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    uint32_t token = load_relaxed(&s->owner) & ~OWNER_LOOK;
    struct mcache *c = token == 0 ? NULL : h->mcaches[token % MAX_PROCS];
    return c != NULL && load_acquire(&c->token) == token ? c : NULL; /* with mcache_flush's release */
}

/* --- Windows --- */

/* While marking goes on objects are allocated black: those of a new window are scanned, and marked: in
 * this order, as a marker scans what is marked and not scanned. Where objects have headers these are
 * cleared, as a marker may be led to such an object by a pointer to what was there before. */
static void mark_window(const struct mheap *h, const struct mspan *s, uint64_t window)
{
    uint64_t bits = window_in_word(window);
    uint64_t *marks = &s->mark_bits[window_index(window) / 2];
    if (!MUTATED(NO_SCANNED_WINDOWS) && !span_noscan(s) && class_has_page_marks(h, s->span_class))
        fetch_or_relaxed(page_scan_bits(h, marks), bits);
    fetch_or_release(marks, bits); /* with scan_span's acquire */
    if (s->first_object == s->base)
        return;
    for (uint32_t free = window_free(window); free != 0; free &= free - 1) {
        unsigned i = window_index(window) * WINDOW_OBJECTS + (unsigned)__builtin_ctz(free);
        store_relaxed((uint64_t *)(span_object(s, i) - MALLOC_HEADER_SIZE), 0);
    }
}

void mcache_mark_windows(struct mcache *c)
{
    for (unsigned sc = 2; sc < 2 * c->heap->size_classes.nclasses; sc++)
        if (c->slots[sc].span != NULL)
            mark_window(c->heap, c->slots[sc].span, c->slots[sc].window);
}

/* Clears the free objects of a window. */
static void clear_window(const struct alloc_slot *slot, uint64_t window)
{
    size_t size = slot->elem_size;
    char *base = (char *)slot->window_base;
    uint32_t free = window_free(window);
    if (free == ~(uint32_t)0)
        for (size_t at = 0; at < WINDOW_OBJECTS * size; at += CACHE_LINE)
            memset(base + at, 0, CACHE_LINE); /* as stores, not as one instruction that is slow to begin */
    else
        for (; free != 0; free &= free - 1)
            memset(base + (size_t)__builtin_ctz(free) * size, 0, size);
}

/* Writes into the bitmap what pointers the free objects of a window have. */
static void describe_window(const struct mcache *c, const struct alloc_slot *slot, uint64_t window)
{
    size_t first = (slot->window_base & c->page_offset_mask) / PTR_SIZE;
    size_t words = slot->elem_size / PTR_SIZE;
    uint64_t mask = heap_bits_mask(slot->type, slot->type_size);
    uint32_t free = window_free(window);
    if (free == ~(uint32_t)0)
        heap_bits_fill(slot->bits, first, words, WINDOW_OBJECTS, mask);
    else
        for (; free != 0; free &= free - 1)
            heap_bits_write(slot->bits, first + (size_t)__builtin_ctz(free) * words,
                            slot->elem_size, mask);
}

/* Takes window w of the slot's span; false if it has no free object. */
static bool take_window(struct mcache *c, struct alloc_slot *slot, unsigned w)
{
    struct mspan *s = slot->span;
    uint64_t word = load_relaxed(&s->free_bits[w / 2]);
    uint64_t window = (uint64_t)w << 32 | (uint32_t)(word >> (w % 2 * WINDOW_OBJECTS));
    if (window_free(window) == 0)
        return false;
    unsigned n = ones_count64(window_free(window));
    slot->allocs += n;
    slot->window_base = s->first_object + (uintptr_t)w * WINDOW_OBJECTS * s->elem_size;
    slot->needzero = s->needzero || w < s->fresh_window;
    s->fresh_window = MAX(s->fresh_window, (uint16_t)(w + 1));
    if (slot->elem_size <= WINDOW_CLEAR_MAX && slot->needzero) {
        clear_window(slot, window);
        slot->needzero = false;
    }
    if (slot->type != NULL && slot->elem_size > PTR_SIZE)
        describe_window(c, slot, window);
    if (UNLIKELY(load_relaxed(&c->heap->gc.phase) != GC_OFF) && !MUTATED(NO_BLACK_WINDOWS))
        mark_window(c->heap, s, window);
    store_relaxed(&s->live, (uint16_t)(s->live + n));
    store_relaxed(&slot->window, window);
    /* With slot_is_live_locked's acquire: who misses an object here finds it in the window. */
    store_release(&s->free_bits[w / 2], word & ~window_in_word(window));
    return true;
}

/* The next window with a free object after the current one, going round once. */
static bool next_window(struct mcache *c, struct alloc_slot *slot)
{
    struct mspan *s = slot->span;
    if (s->live == s->nelems)
        return false;
    unsigned n = (unsigned)div_round_up(s->nelems, WINDOW_OBJECTS);
    unsigned w = window_index(slot->window);
    for (unsigned i = 1; i <= n; i++)
        if (take_window(c, slot, w + i < n ? w + i : w + i - n))
            return true;
    return false;
}

/* Puts the rest of the window back into the span's free_bits. */
static void return_window(struct alloc_slot *slot)
{
    struct mspan *s = slot->span;
    ASSERT_SPIN_HELD(&s->lock);
    uint64_t *word = &s->free_bits[window_index(slot->window) / 2];
    unsigned n = ones_count64(window_free(slot->window));
    ASSERT((load_relaxed(word) & window_in_word(slot->window)) == 0);
    store_relaxed(word, load_relaxed(word) | window_in_word(slot->window));
    store_relaxed(&s->live, (uint16_t)(s->live - n));
    slot->allocs -= n;
    store_relaxed(&slot->window, 0);
}

/* Makes s current (or none, if NULL), with an empty window. */
static void set_span(struct alloc_slot *slot, struct mspan *s)
{
    /* As if the last window had been used up, so that the search begins at window 0. */
    uint64_t last = s == NULL ? 0 : div_round_up(s->nelems, WINDOW_OBJECTS) - 1;
    store_relaxed(&slot->version, slot->version + 1);
    if (s != NULL && slot->bits_offset != 0)
        slot->bits = (uint64_t *)(s->base + slot->bits_offset);
    store_release(&slot->span, s); /* all with mcache_window_has's acquires */
    store_release(&slot->window, last << 32);
    store_release(&slot->version, slot->version + 1);
}

bool mcache_window_has(const struct mcache *c, const struct mspan *s, unsigned i)
{
    const struct alloc_slot *slot = &c->slots[s->span_class];
    for (;;) {
        uint32_t version = load_acquire(&slot->version); /* with set_span's releases */
        const struct mspan *current = load_acquire(&slot->span);
        uint64_t window = load_acquire(&slot->window);
        if (version % 2 == 0 && load_relaxed(&slot->version) == version)
            return current == s && window_has(window, i);
        cpu_pause();
    }
}

static size_t span_bytes(const struct mcache *c, const struct mspan *s)
{
    return s->npages << c->page_shift;
}

static void list_partial(struct alloc_slot *slot, struct mspan *s)
{
    list_insert(&slot->partial, &s->node);
    s->slow_from = SLOW_FROM_LISTED;
    store_relaxed(&slot->npartial, slot->npartial + 1);
}

static void unlist_partial(struct mcache *c, struct alloc_slot *slot, struct mspan *s)
{
    list_remove(&s->node);
    if (s->kept) {
        s->kept = false;
        c->kept_bytes -= span_bytes(c, s);
    }
    store_relaxed(&slot->npartial, slot->npartial - 1);
}

/* Keeps an empty span, at the end of the list: those with objects are used first. */
static void keep_empty(struct mcache *c, struct alloc_slot *slot, struct mspan *s)
{
    if (s->slow_from == SLOW_FROM_UNLISTED)
        list_partial(slot, s);
    list_remove(&s->node);
    list_insert(slot->partial.prev, &s->node);
    s->kept = true;
    c->kept_bytes += span_bytes(c, s);
}

/* --- Own spans --- */

void span_merge_remote_locked(struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    if (load_relaxed(&s->remote_frees) == 0)
        return;
    unsigned n = 0;
    for (unsigned w = 0; w < s->nwords; w++) {
        n += ones_count64(s->remote_bits[w]);
        store_relaxed(&s->free_bits[w], load_relaxed(&s->free_bits[w]) | s->remote_bits[w]);
        s->remote_bits[w] = 0;
    }
    ASSERT_OP(n, ==, s->remote_frees);
    store_relaxed(&s->live, (uint16_t)(s->live - n));
    store_relaxed(&s->remote_frees, 0);
}

/* may_keep: an empty span need not go back to the heap. */
static void freed_in_span(struct mcache *c, struct mspan *s, bool may_keep)
{
    struct alloc_slot *slot = &c->slots[s->span_class];
    /* The current span needs no list; a full one may be here for a free that was merged long ago. */
    if (slot->span == s || s->live == s->nelems || s->kept)
        return;
    if (s->live > 0) {
        if (s->slow_from == SLOW_FROM_UNLISTED)
            list_partial(slot, s);
        return;
    }
    if (may_keep && c->kept_bytes + span_bytes(c, s) <= KEPT_BYTES_MAX) {
        keep_empty(c, slot, s);
        return;
    }
    if (s->slow_from == SLOW_FROM_LISTED)
        unlist_partial(c, slot, s);
    spin_lock(&s->lock);
    mcentral_unown_and_unlock(c->heap, c, s);
}

void mcache_freed_slow(struct mcache *c, struct mspan *s)
{
    freed_in_span(c, s, true);
}

void mcache_collect_remote(struct mcache *c)
{
    if (load_relaxed(&c->remote.count) == 0)
        return;
    struct mspan *s = span_set_take_all(&c->remote, SET_REMOTE), *next;
    for (; s != NULL; s = next) {
        next = load_relaxed(&s->set_next[SET_REMOTE]);
        spin_lock(&s->lock);
        bool recycle = span_entry_popped_locked(s, SET_REMOTE);
        bool ours = span_is_owned(s, c);
        if (!ours && s->place == PLACE_OWNED && load_relaxed(&s->remote_frees) > 0) {
            /* It was ours, or another's after us: whose token is worthless now cannot collect. */
            if (span_owner_locked(c->heap, s) == NULL) {
                mcentral_unown_and_unlock(c->heap, c, s);
                continue;
            }
        }
        if (ours)
            span_merge_remote_locked(s);
        spin_unlock(&s->lock);
        if (ours)
            freed_in_span(c, s, false);
        if (recycle)
            mheap_recycle_span(c->heap, c, s);
    }
}

/* The current span is full: it stays ours, but only a free will lead to it again. */
static void retire_span(struct mcache *c, struct alloc_slot *slot)
{
    struct mspan *s = slot->span;
    set_span(slot, NULL);
    s->slow_from = SLOW_FROM_UNLISTED;
    mcentral_note_full(c->heap, s);
}

static bool refill(struct mcache *c, span_class sc)
{
    struct alloc_slot *slot = &c->slots[sc];
    struct mspan *s = slot->span, *next = NULL;
    ASSERT(window_free(slot->window) == 0);
    if (s != NULL && next_window(c, slot))
        return true;
    /* Frees of others may have put something back, here or elsewhere. */
    mcache_collect_remote(c);
    if (s != NULL && next_window(c, slot))
        return true;
    if (!list_is_empty(&slot->partial)) {
        next = LIST_ENTRY(slot->partial.next, struct mspan, node);
        unlist_partial(c, slot, next);
    } else {
        next = mcentral_cache_span(c->heap, c, sc);
    }
    if (next == NULL)
        return false;
    if (s != NULL)
        retire_span(c, slot);
    next->slow_from = SLOW_FROM_LISTED;
    set_span(slot, next);
    CHECK(next_window(c, slot));
    return true;
}

/* How many bytes a P takes before it tells the heap. */
enum { REPORT_BYTES = 8 << 10 };

uint64_t mcache_freed_bytes(const struct mcache *c)
{
    uint64_t bytes = c->large.free_bytes;
    for (unsigned sc = 2; sc < 2 * c->heap->size_classes.nclasses; sc++)
        bytes += c->slots[sc].frees * c->slots[sc].elem_size;
    return bytes;
}

/* Takes off heap_live what this P has freed by hand; what is left. Other Ps do so themselves. */
static uint64_t without_frees(struct mcache *c, uint64_t live)
{
    uint64_t freed = mcache_freed_bytes(c) - c->reported_frees;
    c->reported_frees += freed;
    /* An estimate, but never below nothing. */
    while (!cas_relaxed(&c->heap->gc.heap_live, &live, live - MIN(freed, live)))
        ;
    return live - MIN(freed, live);
}

/* heap_live after it. */
static uint64_t add_unreported(struct mcache *c)
{
    struct heap_gc *gc = &c->heap->gc;
    uint64_t live = fetch_add_relaxed(&gc->heap_live, c->unreported) + c->unreported;
    if (load_relaxed(&gc->phase) == GC_OFF)
        fetch_add_relaxed(&gc->heap_scan, c->unreported_scan);
    c->unreported = c->unreported_scan = 0;
    return live;
}

void mcache_report_all(struct mcache *c)
{
    (void)add_unreported(c);
}

static NOINLINE void report(struct mcache *c)
{
    struct heap_gc *gc = &c->heap->gc;
    size_t bytes = c->unreported;
    uint64_t live = add_unreported(c);
    if (live >= load_relaxed(&gc->trigger) && load_relaxed(&gc->phase) == GC_OFF)
        live = without_frees(c, live);
    if (gc->on_slow_path != NULL &&
        (live >= load_relaxed(&gc->trigger) || load_relaxed(&gc->limited) != 0 ||
         load_relaxed(&gc->phase) == GC_MARK))
        gc->on_slow_path(gc->gc, c, bytes);
}

void mcache_account(struct mcache *c, span_class sc, size_t bytes)
{
    c->unreported += bytes;
    c->unreported_scan += sc & 1 ? 0 : bytes;
    if (UNLIKELY(c->unreported >= REPORT_BYTES))
        report(c);
}

bool mcache_refill(struct mcache *c, span_class sc)
{
    if (!refill(c, sc))
        return false;
    const struct alloc_slot *slot = &c->slots[sc];
    mcache_account(c, sc, ones_count64(window_free(slot->window)) * slot->elem_size);
    return true;
}

void mcache_share(struct mcache *c, span_class sc)
{
    struct alloc_slot *slot = &c->slots[sc];
    while (!list_is_empty(&slot->partial)) {
        struct mspan *s = LIST_ENTRY(slot->partial.next, struct mspan, node);
        unlist_partial(c, slot, s);
        spin_lock(&s->lock);
        mcentral_unown_and_unlock(c->heap, c, s);
    }
}

void mcache_release(struct mcache *c)
{
    for (;;) {
        mcache_collect_remote(c);
        /* A P that adds to the remote set and then finds c busy relies on us to look again. */
        store_seq_cst(&c->busy, 0); /* with mcache_try_acquire's acquire */
        if (LIKELY(load_seq_cst(&c->remote.count) == 0) || !mcache_try_acquire(c))
            return;
    }
}

static void flush_pages(struct mcache *c)
{
    struct mheap *h = c->heap;
    lock(&h->lock);
    pagecache_flush(&c->pages, &h->pages);
    while (c->nspan_structs > 0) {
        struct mspan *s = c->span_structs[--c->nspan_structs];
        s->node.next = (struct list_node *)h->free_spans;
        h->free_spans = s;
        h->nfree_spans++;
    }
    unlock(&h->lock);
}

void mcache_flush(struct mcache *c)
{
    tiny_flush(c);
    mcache_collect_remote(c);
    for (unsigned sc = 2; sc < 2 * c->heap->size_classes.nclasses; sc++) {
        struct alloc_slot *slot = &c->slots[sc];
        struct mspan *s = slot->span;
        mcache_share(c, (span_class)sc);
        if (s == NULL)
            continue;
        spin_lock(&s->lock);
        return_window(slot);
        set_span(slot, NULL);
        mcentral_unown_and_unlock(c->heap, c, s);
    }
    /* What is left is full. With span_owner_locked's acquire: our last writes are seen by who finds
     * the old token worthless. */
    store_release(&c->token, token_next(c->token));
    mcache_collect_remote(c); /* freed in them by who still believed in it */
    stack_cache_clear(c->heap, c);
    flush_pages(c);
}
