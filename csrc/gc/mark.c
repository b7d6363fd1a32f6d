/* Marking object by object, and what both markers have in common.
 *
 * Called through mark.h.
 *
 * Concurrency: see mark.h.
 * Go: mgcmark.go (greyobject, scanobject, gcDrain).
 */
#include "base/mutate.h"
#include "gc/mark_find.h"
#include "gc/span_queue.h"
#include "heap/verify.h"

enum {
    OBLET_BYTES = 128 << 10, /* larger objects are scanned in such pieces, which several markers share */
    FOUND_AT_A_TIME = 64,
};

void marker_init(struct marker *m, struct work_pool *pool)
{
    *m = (struct marker){.h = pool->h, .work = {.pool = pool}};
}

/* Sets a mark; false: it was there. */
static ALWAYS_INLINE bool set_mark(uint64_t *word, uint64_t bit)
{
    return !(load_relaxed(word) & bit) && !(fetch_or_relaxed(word, bit) & bit);
}

bool object_is_marked(const struct mspan *s, unsigned i)
{
    return load_relaxed(&s->mark_bits[i / 64]) >> (i % 64) & 1;
}

/* --- From pointer to object --- */

/* Objects of 8 bytes, of more than 512, in heaps with other pages. */
NOINLINE void mark_grey_slow(struct marker *m, const struct heap_arena *a, uintptr_t p)
{
    struct mspan *s = load_relaxed(&a->spans[p >> m->h->page_shift & m->h->page_mask_in_arena]);
    if (s == NULL || load_acquire(&s->state) != SPAN_IN_USE || p < s->base || p >= load_relaxed(&s->limit))
        return;
    unsigned i = span_is_large(s) ? 0 : span_index(s, p);
    uint64_t bit = (uint64_t)1 << (i % 64);
    /* Not an object: its header may be anything. */
    if (load_relaxed(&s->free_bits[i / 64]) & bit)
        return;
    if (!set_mark(&s->mark_bits[i / 64], bit))
        return;
    m->marked_bytes += s->elem_size;
    m->marked_objects++;
    if (!span_noscan(s))
        work_put(&m->work, span_object(s, i));
}

static ALWAYS_INLINE void grey_object(struct marker *m, uintptr_t p)
{
    struct mheap *h = m->h;
    if (UNLIKELY(p >> HEAP_ADDR_BITS != 0))
        return;
    struct heap_arena *a = load_relaxed(&h->arenas[p >> LOG_ARENA_BYTES]);
    if (UNLIKELY(a == NULL))
        return;
    size_t page = p >> h->page_shift & h->page_mask_in_arena;
    span_class sc = load_acquire(&a->page_class[page]); /* with set_page_class's release */
    if (UNLIKELY(sc == 0)) {
        mark_grey_slow(m, a, p);
        return;
    }
    const struct mark_class *c = &m->work.pool->classes[sc];
    uint32_t i = mark_index(c, p % MARK_PAGE_BYTES);
    if (UNLIKELY(i >= c->nelems) ||
        !set_mark(&a->marks[page * PAGE_MARK_WORDS + i / 64], (uint64_t)1 << (i % 64)))
        return;
    m->marked_bytes += c->size;
    m->marked_objects++;
    if (!(sc & 1))
        work_put(&m->work, align_down(p, MARK_PAGE_BYTES) + (uintptr_t)i * c->size);
}

void mark_grey_many(struct marker *m, const uintptr_t *pointers, size_t n)
{
    if (m->work.pool->scan_span != NULL) {
        mark_span_pointers(m, pointers, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        grey_object(m, pointers[i]);
}

void mark_grey(struct marker *m, uintptr_t p)
{
    mark_grey_many(m, &p, 1);
}

/* --- From object to pointers --- */

/* Pointers found, to be greyed together. */
struct found {
    unsigned n;
    uintptr_t pointers[FOUND_AT_A_TIME];
};

static void grey_found(struct marker *m, struct found *f)
{
    mark_grey_many(m, f->pointers, f->n);
    f->n = 0;
}

static ALWAYS_INLINE void find_word(struct marker *m, struct found *f, uintptr_t at)
{
    uintptr_t p = load_relaxed((uintptr_t *)at);
    if (p == 0)
        return;
    f->pointers[f->n++] = p;
    if (f->n == FOUND_AT_A_TIME)
        grey_found(m, f);
}

/* An object described by a type, or the words [from, to) of it. */
static void scan_typed(struct marker *m, uintptr_t object, size_t from, size_t to,
                       const struct type *t)
{
    struct found f;
    f.n = 0;
    for (size_t elem = from - from % t->size; elem < to; elem += t->size) {
        for (size_t offset = 0; offset < t->ptr_bytes; offset += PTR_SIZE) {
            size_t at = elem + offset;
            if (at >= from && at + PTR_SIZE <= to && bitmap_get(t->gcmask, offset / PTR_SIZE))
                find_word(m, &f, object + at);
        }
    }
    grey_found(m, &f);
}

static void scan_large(struct marker *m, const struct mspan *s, uintptr_t piece)
{
    const struct type *t = load_acquire(&s->large_type); /* with malloc_large_typed's release */
    if (t == NULL)
        return; /* it was allocated after marking began: black */
    size_t from = piece - s->base, size = s->limit - s->base;
    if (from == 0 && !m->rescanning && !MUTATED(NO_OBLETS))
        for (size_t at = OBLET_BYTES; at < size; at += OBLET_BYTES)
            work_put(&m->work, s->base + at);
    size_t to = m->rescanning ? size : MIN(size, from + OBLET_BYTES);
    scan_typed(m, s->base, from, to, t);
    m->scanned_bytes += to - from;
}

/* Objects that mark_grey_slow greyed. */
static NOINLINE void scan_slow(struct marker *m, const struct mspan *s, uintptr_t object)
{
    if (span_is_large(s)) {
        scan_large(m, s, object);
        return;
    }
    m->scanned_bytes += s->elem_size;
    if (!span_has_heap_bits(m->h, s)) {
        const struct type *t =
            (const struct type *)load_relaxed((uintptr_t *)(object - MALLOC_HEADER_SIZE));
        if (t != NULL)
            scan_typed(m, object, 0, s->elem_size - MALLOC_HEADER_SIZE, t);
        return;
    }
    const uint64_t *bits = span_heap_bits(m->h, s);
    struct found f;
    f.n = 0;
    for (size_t offset = 0; offset < s->elem_size; offset += PTR_SIZE)
        if (bitmap_get_relaxed(bits, (object - s->base + offset) / PTR_SIZE))
            find_word(m, &f, object + offset);
    grey_found(m, &f);
}

/* An object of up to 512 bytes on a page with page marks. */
static ALWAYS_INLINE void scan_small(struct marker *m, uintptr_t object, unsigned size)
{
    uintptr_t base = align_down(object, MARK_PAGE_BYTES);
    uint64_t mask = page_pointer_mask(base, (object - base) / PTR_SIZE, size / PTR_SIZE);
    m->scanned_bytes += size;
    for (; mask != 0; mask &= mask - 1) {
        uintptr_t p = load_relaxed((uintptr_t *)object + __builtin_ctzll(mask));
        if (p != 0)
            grey_object(m, p);
    }
}

static ALWAYS_INLINE void scan_object(struct marker *m, uintptr_t object)
{
    struct mheap *h = m->h;
    struct heap_arena *a = load_relaxed(&h->arenas[object >> LOG_ARENA_BYTES]);
    size_t page = object >> h->page_shift & h->page_mask_in_arena;
    span_class sc = load_relaxed(&a->page_class[page]);
    if (LIKELY(sc != 0))
        scan_small(m, object, m->work.pool->classes[sc].size);
    else
        scan_slow(m, load_relaxed(&a->spans[page]), object);
}

/* false: no object is left in sight. */
static bool drain_objects(struct marker *m, uint64_t end)
{
    unsigned empty = 0;
    while (m->scanned_bytes < end) {
        uintptr_t object = m->coming[m->at];
        uintptr_t next = work_get(&m->work);
        if (next != 0)
            __builtin_prefetch((void *)next);
        m->coming[m->at] = next;
        m->at = (m->at + 1) % PREFETCH_OBJECTS;
        empty = object == 0 && next == 0 ? empty + 1 : 0;
        if (object != 0)
            scan_object(m, object);
        else if (empty > PREFETCH_OBJECTS)
            return false;
    }
    for (unsigned i = 0; i < PREFETCH_OBJECTS; i++) {
        if (m->coming[i] != 0)
            work_put(&m->work, m->coming[i]);
        m->coming[i] = 0;
    }
    return true;
}

bool mark_drain(struct marker *m, uint64_t bytes)
{
    uint64_t end = bytes == UINT64_MAX ? UINT64_MAX : m->scanned_bytes + bytes;
    for (;;) {
        if (drain_objects(m, end))
            return true;
        if (m->work.pool->scan_span == NULL || !mark_span_next(m))
            return false;
    }
}

uintptr_t mark_one(struct marker *m)
{
    uintptr_t object = work_get(&m->work);
    if (object != 0)
        scan_object(m, object);
    else if (m->work.pool->scan_span != NULL)
        object = mark_span_one(m);
    return object;
}

/* --- After an overflow --- */

static void rescan_span(struct marker *m, const struct mspan *s)
{
    if (m->work.pool->scan_span != NULL && class_has_page_marks(m->h, s->span_class)) {
        mark_span_rescan(m, s->base);
        (void)mark_drain(m, UINT64_MAX);
        return;
    }
    for (unsigned i = 0; i < s->nelems; i++) {
        if (!object_is_marked(s, i) || (load_relaxed(&s->free_bits[i / 64]) >> (i % 64) & 1))
            continue;
        scan_object(m, span_object(s, i));
        (void)mark_drain(m, UINT64_MAX);
    }
}

void mark_rescan(struct marker *m)
{
    m->rescanning = true;
    if (load_relaxed(&m->work.pool->overflowed))
        work_pool_use_reserve(m->work.pool);
    while (exchange_acq_rel(&m->work.pool->overflowed, 0)) {
        uintptr_t from = 0;
        struct mspan *s;
        while ((s = heap_next_span(m->h, from)) != NULL) {
            if (s->state == SPAN_IN_USE && !span_noscan(s))
                rescan_span(m, s);
            from = span_end(s, m->h->page_shift);
        }
    }
    m->rescanning = false;
}
