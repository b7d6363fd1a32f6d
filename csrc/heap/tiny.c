/* Combining tiny objects into blocks, and taking the blocks apart again.
 *
 * Called through tiny.h.
 *
 * Concurrency: see tiny.h.
 * Go: mallocgcTiny in malloc.go.
 */
#include "heap/tiny.h"

#include "heap/malloc.h"

static uintptr_t block_of(uintptr_t p)
{
    return p & ~(uintptr_t)(TINY_SIZE - 1);
}

static unsigned part_at(uintptr_t p)
{
    return 1u << (p % TINY_SIZE);
}

static uint16_t *entry_of(const struct mspan *s, uintptr_t block)
{
    return &load_acquire(&s->tiny_live)[span_index(s, block)]; /* with make_table's release */
}

static uint64_t *pending_of(const struct mcache *c, uintptr_t block)
{
    return (uint64_t *)&c->tiny_pending[block / TINY_SIZE % TINY_PENDING];
}

static uint64_t current_of(const struct mcache *c)
{
    return load_acquire(&c->tiny); /* with tiny_retire's release */
}

/* Does some P still fill the block? *starts: what has been allocated in it. */
static bool is_current(const struct mheap *h, uintptr_t block, unsigned *starts)
{
    for (unsigned i = 0; i < h->nmcaches; i++) {
        uint64_t current = current_of(h->mcaches[i]);
        if (tiny_note_block(current) == block) {
            *starts = tiny_note_parts(current);
            return true;
        }
    }
    return false;
}

/* Parts of the block that some P has freed without taking them off the entry yet. */
static unsigned pending_parts(const struct mheap *h, uintptr_t block)
{
    unsigned parts = 0;
    for (unsigned i = 0; i < h->nmcaches; i++) {
        const struct mcache *c = h->mcaches[i];
        uint64_t note = load_relaxed(pending_of(c, block));
        if (tiny_note_block(note) == block)
            parts |= tiny_note_parts(note);
        for (unsigned k = 0; k < load_relaxed(&c->ntiny_overflow); k++) {
            note = load_relaxed(&c->tiny_overflow[k]);
            if (tiny_note_block(note) == block)
                parts |= tiny_note_parts(note);
        }
    }
    return parts;
}

unsigned tiny_live_parts(const struct mheap *h, const struct mspan *s, unsigned i)
{
    uintptr_t block = span_object(s, i);
    unsigned live = load_acquire(entry_of(s, block)), starts;
    if (live == TINY_CURRENT && is_current(h, block, &starts))
        live = starts; /* without those its P has freed */
    return live & ~pending_parts(h, block);
}

/* --- Allocating --- */

/* Block i of s is c's alone, and nothing lives in it: frees its slot. */
static void free_block(struct mcache *c, struct mspan *s, unsigned i)
{
    store_relaxed(&load_relaxed(&s->tiny_live)[i], 0);
    free_slot(c, s, i);
}

void tiny_retire(struct mcache *c)
{
    uint64_t current = c->tiny;
    uintptr_t block = tiny_note_block(current);
    if (block == 0)
        return;
    unsigned starts = tiny_note_parts(current);
    store_release(c->tiny_entry, (uint16_t)starts); /* with tiny_free */
    c->tiny_entry = &c->tiny_nowhere;
    c->tiny_offset = TINY_SIZE;
    store_release(&c->tiny, 0); /* with current_of: who no longer sees the block sees its entry */
    if (UNLIKELY(starts == 0)) {
        struct mspan *s = span_of(c->heap, block);
        free_block(c, s, span_index(s, block));
    }
}

/* Gives the span a table of tiny blocks; false if the OS refuses. */
static bool make_table(struct mcache *c, struct mspan *s)
{
    uint64_t *words = mheap_alloc_words(c->heap, tiny_table_words(s));
    if (words == NULL)
        return false;
    memset(words, 0, tiny_table_words(s) * sizeof *words);
    spin_lock(&s->lock);
    bool first = s->tiny_live == NULL;
    if (first) {
        store_release(&s->tiny_live, (uint16_t *)words); /* with entry_of's acquire */
        store_relaxed(&s->owner, load_relaxed(&s->owner) | OWNER_LOOK);
    }
    spin_unlock(&s->lock);
    if (!first)
        mheap_free_words(c->heap, words, tiny_table_words(s));
    return true;
}

/* Sees to it that a new block can be had at once; false if the heap cannot grow. If the OS refuses the
 * table of blocks: *alone is a slot of the object's own, which is correct, only not shared. */
static bool prepare_block(struct mcache *c, void **alone)
{
    struct alloc_slot *slot = &c->slots[c->tiny_span_class];
    if (window_free(load_relaxed(&slot->window)) == 0 && !mcache_refill(c, c->tiny_span_class))
        return false;
    if (load_relaxed(&slot->span->tiny_live) == NULL && !make_table(c, slot->span))
        *alone = window_take(slot, load_relaxed(&slot->window));
    return true;
}

void *malloc_tiny(struct mcache *c, size_t size)
{
    if (UNLIKELY(size == 0))
        return (void *)c->heap->zerobase;
    void *object = malloc_tiny_fast(c, size);
    if (object == NULL)
        object = malloc_tiny_block_fast(c, size);
    if (object == NULL && prepare_block(c, &object) && object == NULL)
        object = malloc_tiny_block_fast(c, size);
    return object;
}

/* --- Freeing --- */

/* The note is no more. */
static void note_dropped(struct mspan *s, uint64_t note)
{
    if (note & TINY_FOREIGN)
        fetch_sub_relaxed(&s->tiny_foreign, 1);
}

/* Takes noted parts off their block's entry; false if another P still fills the block. */
static bool settle(struct mcache *c, uint64_t note)
{
    uintptr_t block = tiny_note_block(note);
    struct mspan *s = span_of(c->heap, block);
    uint16_t *entry = entry_of(s, block);
    unsigned starts;
    if (load_acquire(entry) == TINY_CURRENT && is_current(c->heap, block, &starts))
        return false;
    spin_lock(&s->lock);
    unsigned live = load_relaxed(entry), left = live & ~tiny_note_parts(note);
    store_relaxed(entry, (uint16_t)left);
    spin_unlock(&s->lock);
    ASSERT((tiny_note_parts(note) & ~live) == 0);
    note_dropped(s, note);
    if (left == 0)
        free_block(c, s, span_index(s, block));
    return true;
}

/* Settles what it can of the overflow. */
static void settle_overflow(struct mcache *c)
{
    unsigned kept = 0, n = c->ntiny_overflow;
    for (unsigned i = 0; i < n; i++) {
        uint64_t note = c->tiny_overflow[i];
        if (!settle(c, note))
            store_relaxed(&c->tiny_overflow[kept++], note);
    }
    store_relaxed(&c->ntiny_overflow, kept);
}

/* Makes room for a note about another block. */
static NOINLINE void evict(struct mcache *c, uint64_t *note)
{
    uint64_t old = *note;
    store_relaxed(note, 0);
    if (old == 0 || settle(c, old))
        return;
    /* Other Ps fill at most one block each, so that not all of a full overflow can be current. */
    if (c->ntiny_overflow == c->heap->nmcaches)
        settle_overflow(c);
    CHECK(c->ntiny_overflow < c->heap->nmcaches);
    store_relaxed(&c->tiny_overflow[c->ntiny_overflow], old);
    store_relaxed(&c->ntiny_overflow, c->ntiny_overflow + 1);
}

/* Continues a note that had overflowed. */
static uint64_t take_overflow(struct mcache *c, uintptr_t block)
{
    for (unsigned i = 0; i < c->ntiny_overflow; i++) {
        uint64_t note = c->tiny_overflow[i];
        if (tiny_note_block(note) != block)
            continue;
        store_relaxed(&c->tiny_overflow[i], c->tiny_overflow[c->ntiny_overflow - 1]);
        store_relaxed(&c->ntiny_overflow, c->ntiny_overflow - 1);
        return note;
    }
    return 0;
}

/* A part of c's own current block. Its start is simply taken back; when none is left, the block
 * begins anew. */
static bool free_current(struct mcache *c, unsigned part)
{
    uint64_t current = c->tiny;
    if (!(current & part))
        return false;
    current &= ~(uint64_t)part;
    if (tiny_note_parts(current) == 0) {
        c->tiny_offset = 0;
        memset((char *)tiny_note_block(current), 0, TINY_SIZE);
    }
    store_release(&c->tiny, current); /* with current_of's acquire */
    return true;
}

/* The note on the block so far, or a new one; what its place in tiny_pending held before moves out of
 * the way. */
static uint64_t note_on(struct mcache *c, struct mspan *s, uint64_t *place, uintptr_t block)
{
    if (LIKELY(tiny_note_block(*place) == block))
        return *place;
    uint64_t note = 0;
    if (*place != 0 || c->ntiny_overflow != 0) {
        evict(c, place);
        note = take_overflow(c, block);
    }
    if (note == 0) {
        note = tiny_note(block, 0);
        if (!span_is_owned(s, c)) {
            note |= TINY_FOREIGN;
            fetch_add_relaxed(&s->tiny_foreign, 1);
        }
    }
    return note;
}

bool tiny_free(struct mcache *c, struct mspan *s, unsigned i, uintptr_t p)
{
    uintptr_t block = block_of(p);
    unsigned part = part_at(p), starts;
    unsigned live = load_acquire(&load_relaxed(&s->tiny_live)[i]); /* with tiny_retire's release */
    if (tiny_note_block(c->tiny) == block)
        return free_current(c, part);
    if (!(live & part))
        return false;
    uint64_t *place = pending_of(c, block), note = note_on(c, s, place, block);
    bool again = note & part;
    note |= part;
    bool all = !again && tiny_note_parts(note) == live &&
               !(live == TINY_CURRENT && is_current(c->heap, block, &starts));
    store_relaxed(place, all ? 0 : note);
    if (all) {
        note_dropped(s, note);
        free_block(c, s, i);
    }
    return !again;
}

void tiny_flush(struct mcache *c)
{
    tiny_retire(c);
    for (unsigned i = 0; i < TINY_PENDING; i++)
        evict(c, &c->tiny_pending[i]);
    settle_overflow(c);
}
