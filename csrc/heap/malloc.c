/* The allocation and free paths.
 *
 * Called through malloc.h.
 *
 * Concurrency: see malloc.h. The fast path of free rests on this: a span's owner is this P's token
 * only if this P made it so, hence if it reads its token there, nobody can change the span under it.
 * Go: malloc.go.
 */
#include "heap/malloc.h"

#include "base/mutate.h"

/* The slow paths below refill and start over: the fast ones end in a jump to them and need no stack. */
static NOINLINE void *refill_noscan(struct mcache *c, size_t size, span_class sc)
{
    return mcache_refill(c, sc) ? malloc_noscan(c, size) : NULL;
}

static NOINLINE void *refill_typed(struct mcache *c, size_t size, const struct type *type,
                                   span_class sc)
{
    struct alloc_slot *slot = &c->slots[sc];
    slot->type = slot->bits_offset != 0 ? type : NULL;
    slot->type_size = size;
    return mcache_refill(c, sc) ? malloc_typed(c, size, type) : NULL;
}

static struct mspan *take_large(struct mcache *c, size_t size, bool noscan, bool zeroed)
{
    struct mheap *h = c->heap;
    if (size > MAX_ALLOC)
        return NULL;
    size_t npages = div_round_up(size, (size_t)1 << h->page_shift);
    struct mspan *s =
        mheap_alloc_span(h, c, npages, SPAN_TYPE_HEAP, make_span_class(0, noscan));
    if (s == NULL)
        return NULL;
    store_relaxed(&s->free_bits[0], 0);
    store_relaxed(&s->live, 1);
    store_relaxed(&s->limit, s->base + size);
    c->large.allocs++;
    c->large.alloc_bytes += s->elem_size;
    mcache_account(c, s->span_class, s->elem_size);
    if (load_relaxed(&h->gc.phase) != GC_OFF && !MUTATED(NO_BLACK_LARGE))
        fetch_or_relaxed(&s->mark_bits[0], 1);
    spin_lock(&s->lock);
    mcentral_place_and_unlock(h, c, s, false); /* where the sweeper finds it */
    if (s->needzero && zeroed)
        memset((void *)s->base, 0, size);
    return s;
}

static NOINLINE void *malloc_large_noscan(struct mcache *c, size_t size, bool zeroed)
{
    struct mspan *s = take_large(c, size, true, zeroed);
    return s == NULL ? NULL : (void *)s->base;
}

static bool size_is_large(const struct mcache *c, size_t size)
{
    return size > c->size_classes.max_small_size - MALLOC_HEADER_SIZE;
}

void *malloc_unzeroed(struct mcache *c, size_t size)
{
    return size_is_large(c, size) ? malloc_large_noscan(c, size, false) : malloc_noscan(c, size);
}

/* Sizes other than 16 to 1016 bytes. */
static NOINLINE void *malloc_noscan_other(struct mcache *c, size_t size)
{
    if (UNLIKELY(size_is_large(c, size)))
        return malloc_large_noscan(c, size, true);
    if (UNLIKELY(size == 0))
        return (void *)c->heap->zerobase;
    span_class sc = make_span_class(size_to_class(&c->size_classes, size), true);
    void *object = malloc_noscan_class(c, sc);
    return LIKELY(object != NULL) ? object : refill_noscan(c, size, sc);
}

void *malloc_noscan(struct mcache *c, size_t size)
{
    if (LIKELY(size_is_common(size))) {
        unsigned sc = common_span_class(c, size);
        void *object = malloc_noscan_class(c, sc);
        return LIKELY(object != NULL) ? object : refill_noscan(c, size, (span_class)sc);
    }
    if (size < TINY_SIZE && LIKELY(c->size_classes.tiny_class != 0))
        return malloc_tiny(c, size);
    return malloc_noscan_other(c, size);
}

/* An object of pointers with a bitmap in its span, from the window of the class; NULL if that is used up. */
static void *malloc_typed_class(struct mcache *c, size_t size, const struct type *type, span_class sc)
{
    struct alloc_slot *slot = &c->slots[sc];
    uint64_t window = load_relaxed(&slot->window);
    if (UNLIKELY(window_free(window) == 0))
        return NULL;
    size_t elem_size = slot->elem_size;
    bool described = window_is_for(slot, type, size);
    char *p = take_zeroed(slot, window, elem_size);
    if (!described && elem_size > PTR_SIZE) {
        /* Such a span is one page. */
        size_t word = ((uintptr_t)p & c->page_offset_mask) / PTR_SIZE;
        heap_bits_write(slot->bits, word, elem_size, heap_bits_mask(type, size));
    }
    return p;
}

static void *malloc_with_header(struct mcache *c, size_t size, const struct type *type)
{
    span_class sc =
        make_span_class(size_to_class(&c->size_classes, size + MALLOC_HEADER_SIZE), false);
    struct alloc_slot *slot = &c->slots[sc];
    uint64_t window = load_relaxed(&slot->window);
    if (UNLIKELY(window_free(window) == 0))
        return refill_typed(c, size, type, sc);
    char *p = take_zeroed(slot, window, slot->elem_size - MALLOC_HEADER_SIZE);
    *(const struct type **)(p - MALLOC_HEADER_SIZE) = type; /* windows begin behind the header */
    return p;
}

static void *malloc_large_typed(struct mcache *c, size_t size, const struct type *type)
{
    struct mspan *s = take_large(c, size, false, true);
    if (s == NULL)
        return NULL;
    store_release(&s->large_type, type); /* with object_word_is_pointer's acquire */
    return (void *)s->base;
}

void *malloc_typed(struct mcache *c, size_t size, const struct type *type)
{
    if (!type_has_pointers(type) || size == 0)
        return malloc_noscan(c, size);
    if (size <= c->size_classes.max_bitmap_size) {
        span_class sc = make_span_class(size_to_class(&c->size_classes, size), false);
        *mcache_type_slot(c, type) = &c->slots[sc];
        void *object = malloc_typed_class(c, size, type, sc);
        return LIKELY(object != NULL) ? object : refill_typed(c, size, type, sc);
    }
    return size_is_large(c, size) ? malloc_large_typed(c, size, type)
                                  : malloc_with_header(c, size, type);
}

/* --- Freeing --- */

bool slot_is_live_locked(const struct mheap *h, const struct mspan *s, unsigned i)
{
    ASSERT_SPIN_HELD(&s->lock);
    const struct mcache *owner = span_owner_locked(h, s);
    /* Garbage that only waits to be swept. */
    if (UNLIKELY(load_relaxed(&s->sweepgen) != h->sweepgen) &&
        !(load_relaxed(&s->mark_bits[i / 64]) >> (i % 64) & 1))
        return false;
    /* In this order: see take_window. */
    if (load_acquire(&s->free_bits[i / 64]) >> (i % 64) & 1)
        return false;
    if (owner != NULL && mcache_window_has(owner, s, i))
        return false;
    return !bitmap_get(s->remote_bits, i);
}

/* Frees slot i of s, under its lock, which is released. pre: it is allocated. */
static void free_slot_and_unlock(struct mcache *c, struct mspan *s, unsigned i)
{
    ASSERT_SPIN_HELD(&s->lock);
    if (!span_is_owned(s, c)) {
        mcentral_free_and_unlock(c->heap, c, s, i);
        return;
    }
    span_merge_remote_locked(s);
    spin_unlock(&s->lock);
    CHECK(free_owned(c, s, i));
}

void free_slot(struct mcache *c, struct mspan *s, unsigned i)
{
    if (LIKELY((load_relaxed(&s->owner_and_remote) & ~(uint64_t)OWNER_LOOK) == c->token)) {
        CHECK(free_owned(c, s, i));
        return;
    }
    spin_lock(&s->lock);
    free_slot_and_unlock(c, s, i);
}

static enum gomem_status free_large_and_unlock(struct mcache *c, struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    c->large.frees++;
    c->large.free_bytes += s->elem_size;
    store_relaxed(&s->state, SPAN_FREEING);
    spin_unlock(&s->lock);
    mheap_free_span(c->heap, c, s, SPAN_TYPE_HEAP);
    return GOMEM_OK;
}

/* What is attached to an object goes before it does. */
static void free_specials_locked(struct mcache *c, struct mspan *s, unsigned i, uintptr_t p)
{
    if (LIKELY(!span_has_specials(s)) || MUTATED(SPECIALS_NO_FREE))
        return;
    uintptr_t end = span_is_large(s) ? s->limit : s->base + (i + 1) * s->elem_size;
    if (span_has_tiny(s, i)) {
        unsigned above = tiny_live_parts(c->heap, s, i) & ~((2u << (p - span_object(s, i))) - 1);
        if (above != 0)
            end = span_object(s, i) + trailing_zeros64(above);
    }
    specials_free_locked(c->heap, s, p, end);
}

/* Everything but an object in an own span; this one looks before it believes anything. */
static NOINLINE enum gomem_status free_slow(struct mcache *c, struct mspan *s, uintptr_t p)
{
    spin_lock(&s->lock);
    if (load_acquire(&s->state) != SPAN_IN_USE || p < s->first_object || p >= s->limit)
        goto invalid;
    if (span_is_large(s)) {
        if (p != s->base || !slot_is_live_locked(c->heap, s, 0))
            goto invalid;
        free_specials_locked(c, s, 0, p);
        return free_large_and_unlock(c, s);
    }
    unsigned i = span_index(s, p);
    if (span_has_tiny(s, i)) {
        if (!slot_is_live_locked(c->heap, s, i) ||
            !(tiny_live_parts(c->heap, s, i) >> (p - span_object(s, i)) & 1))
            goto invalid;
        free_specials_locked(c, s, i, p);
        spin_unlock(&s->lock); /* the object lives: so does its span */
        return tiny_free(c, s, i, p) ? GOMEM_OK : GOMEM_INVALID_POINTER;
    }
    if (p != span_object(s, i) || !slot_is_live_locked(c->heap, s, i))
        goto invalid;
    free_specials_locked(c, s, i, p);
    free_slot_and_unlock(c, s, i);
    return GOMEM_OK;
invalid:
    spin_unlock(&s->lock);
    return GOMEM_INVALID_POINTER;
}

static NOINLINE enum gomem_status freed_slow(struct mcache *c, struct mspan *s)
{
    mcache_freed_slow(c, s);
    return GOMEM_OK;
}

/* A free in an own span with tiny blocks or specials, without remote frees. */
static NOINLINE enum gomem_status free_looking(struct mcache *c, struct mspan *s, uintptr_t p)
{
    if (p < s->base || p >= s->limit)
        return GOMEM_INVALID_POINTER;
    unsigned i = span_index(s, p);
    if (UNLIKELY(load_relaxed(&s->tiny_foreign) != 0) || span_has_specials(s))
        return free_slow(c, s, p);
    if (span_has_tiny(s, i))
        return tiny_free(c, s, i, p) ? GOMEM_OK : GOMEM_INVALID_POINTER;
    return p == span_object(s, i) && free_owned(c, s, i) ? GOMEM_OK : GOMEM_INVALID_POINTER;
}

enum gomem_status free_object(struct mcache *c, uintptr_t p)
{
    struct mspan *s = mcache_span_of(c, p);
    if (UNLIKELY(s == NULL)) /* zerobase is in no arena */
        return p == c->heap->zerobase ? GOMEM_OK : GOMEM_INVALID_POINTER;
    uint64_t owner = load_relaxed(&s->owner_and_remote);
    if (UNLIKELY(owner != c->token)) {
        if (owner == (c->token | OWNER_LOOK))
            return free_looking(c, s, p);
        return free_slow(c, s, p);
    }
    uint64_t offset = p - s->first_object;
    unsigned i = (unsigned)((offset * s->div_magic) >> 32);
    bool slow;
    if (UNLIKELY(i >= s->nelems || i * s->elem_size != offset || !free_owned_fast(s, i, &slow)))
        return GOMEM_INVALID_POINTER;
    return UNLIKELY(slow) ? freed_slow(c, s) : GOMEM_OK;
}
