/* Marking by spans: a span waits in a queue while more of its objects are marked, then all of these are
 * scanned together.
 *
 * A page has a line of mark bits and one of scan bits. An object is grey if it is marked and not scanned.
 * Who marks one in a span that is not queued queues it; the last byte of the marks says so, and whether one
 * object was marked since or several: if one, the queue's entry is all there is to scan.
 *
 * What an object points to in its own span is scanned at once, in rounds over the span, which is in the cache
 * by then, and marked together in the end.
 *
 * Called by mark.c through mark_find.h.
 *
 * Invariant (gc_verify_marks): a span that has grey objects is queued, or being scanned by somebody who has
 * not looked at these marks yet, or the pool has overflowed. At the end of marking none is grey.
 *
 * Concurrency: a mark is set before the span is looked at, and the span is taken off the queue before its
 * marks are: one of the two sees what the other did. Of several that scan one span each object is scanned
 * by the one who sets its scan bit.
 * Go: mgcmark_greenteagc.go.
 */
#include "base/mutate.h"
#include "gc/mark_find.h"
#include "gc/span_queue.h"

/* The thread sanitizer takes the vector loads for races: words of the program that it writes meanwhile. Each
 * of the aligned words of a vector is read whole. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#include <immintrin.h>
#define HAVE_VECTORS 1
#else
#define HAVE_VECTORS 0
#endif

enum {
    LOOKAHEAD = 12,                            /* pointers whose marks are on their way */
    MAX_POINTERS = MARK_PAGE_BYTES / PTR_SIZE, /* in a span */
    PREFETCH_LINES = 4,   /* so many spans ahead, what describes the span is asked for */
    PREFETCH_GREY = 1,    /* so many ahead, its grey objects, with two cache lines each */
    PREFETCH_QUEUE = 16,  /* and the queue itself */
};

/* --- Marking --- */

/* Sees to it that a span is queued. one: a single object was marked. */
static ALWAYS_INLINE void queue_span(struct marker *m, uint64_t *marks, uintptr_t object, bool one)
{
    uint64_t *state = &marks[PAGE_MARK_WORDS - 1], old = load_seq_cst(state) & SPAN_QUEUED;
    if (old == 0 && one) {
        old = fetch_or_seq_cst(state, SPAN_QUEUED_ONE) & SPAN_QUEUED;
        if (old == 0) {
            span_queue_put(&m->work, object);
            return;
        }
    }
    if (old & SPAN_QUEUED_MANY || MUTATED(NO_SECOND_MARK))
        return;
    /* It may have been taken off meanwhile. */
    if ((fetch_or_seq_cst(state, SPAN_QUEUED_MANY) & SPAN_QUEUED) == 0)
        span_queue_put(&m->work, object);
}

/* Sets marks; the bits that were not set. */
static ALWAYS_INLINE uint64_t set_marks(struct marker *m, uint64_t *word, uint64_t bits,
                                        const struct mark_class *c)
{
    uint64_t fresh = bits & ~load_relaxed(word);
    if (fresh == 0)
        return 0;
    fresh &= ~fetch_or_seq_cst(word, fresh);
    m->marked_objects += ones_count64(fresh);
    m->marked_bytes += (uint64_t)ones_count64(fresh) * c->size;
    return fresh;
}

static ALWAYS_INLINE void grey_bits(struct marker *m, uintptr_t base, uint64_t *marks, unsigned w,
                                    uint64_t bits, span_class sc)
{
    const struct mark_class *c = &m->work.pool->classes[sc];
    uint64_t fresh = set_marks(m, &marks[w], bits, c);
    if (fresh == 0 || sc & 1)
        return;
    uintptr_t object = base + (w * 64 + (unsigned)__builtin_ctzll(fresh)) * (uintptr_t)c->size;
    queue_span(m, marks, object, (fresh & (fresh - 1)) == 0);
}

static ALWAYS_INLINE void prefetch_mark(const struct mheap *h, uintptr_t p)
{
    if (UNLIKELY(p >> HEAP_ADDR_BITS != 0))
        return;
    const struct heap_arena *a = load_relaxed(&h->arenas[p >> LOG_ARENA_BYTES]);
    if (LIKELY(a != NULL))
        __builtin_prefetch(&a->marks[mark_page(p) * PAGE_MARK_WORDS], 1);
}

/* Marks of one word that are still to be set: neighbours are often pointed to one after the other. */
struct pending {
    uintptr_t base;
    uint64_t *marks;
    unsigned w;
    span_class sc;
    uint64_t bits;
};

static ALWAYS_INLINE void grey_pending(struct marker *m, const struct pending *g)
{
    if (g->bits != 0)
        grey_bits(m, g->base, g->marks, g->w, g->bits, g->sc);
}

static ALWAYS_INLINE void grey_pointer(struct marker *m, struct pending *g, uintptr_t p)
{
    if (UNLIKELY(p >> HEAP_ADDR_BITS != 0))
        return;
    const struct heap_arena *a = load_relaxed(&m->h->arenas[p >> LOG_ARENA_BYTES]);
    if (UNLIKELY(a == NULL))
        return;
    size_t page = mark_page(p);
    span_class sc = load_acquire(&a->page_class[page]); /* with set_page_class's release */
    if (UNLIKELY(sc == 0)) {
        mark_grey_slow(m, a, p);
        return;
    }
    const struct mark_class *c = &m->work.pool->classes[sc];
    uint32_t i = mark_index(c, p % MARK_PAGE_BYTES);
    if (UNLIKELY(i >= c->nelems))
        return;
    uint64_t *marks = &a->marks[page * PAGE_MARK_WORDS], bit = (uint64_t)1 << (i % 64);
    if (marks == g->marks && i / 64 == g->w) {
        g->bits |= bit;
        return;
    }
    grey_pending(m, g);
    *g = (struct pending){align_down(p, MARK_PAGE_BYTES), marks, i / 64, sc, bit};
}

void mark_span_pointers(struct marker *m, const uintptr_t *pointers, size_t n)
{
    struct pending g = {0};
    for (size_t i = 0; i < MIN(n, LOOKAHEAD); i++)
        prefetch_mark(m->h, pointers[i]);
    for (size_t i = 0; i < n; i++) {
        if (i + LOOKAHEAD < n)
            prefetch_mark(m->h, pointers[i + LOOKAHEAD]);
        grey_pointer(m, &g, pointers[i]);
    }
    grey_pending(m, &g);
}

/* --- Scanning --- */

/* A span that is being scanned. */
struct scan {
    uintptr_t base;
    uint64_t *marks;
    const struct mark_class *c;
};

static ALWAYS_INLINE struct scan scan_of(const struct marker *m, uintptr_t object)
{
    const struct heap_arena *a = load_relaxed(&m->h->arenas[object >> LOG_ARENA_BYTES]);
    size_t page = mark_page(object);
    return (struct scan){
        .base = align_down(object, MARK_PAGE_BYTES),
        .marks = &a->marks[page * PAGE_MARK_WORDS],
        .c = &m->work.pool->classes[load_relaxed(&a->page_class[page])],
    };
}

/* Adds what object i of the span points to. */
static ALWAYS_INLINE unsigned gather_object(const struct scan *s, unsigned i, uintptr_t *pointers,
                                            unsigned n)
{
    ASSERT_OP(i, <, s->c->nelems);
    size_t size = s->c->size;
    uintptr_t object = s->base + i * size;
    uint64_t mask = page_pointer_mask(s->base, i * size / PTR_SIZE, (unsigned)(size / PTR_SIZE));
    for (; mask != 0; mask &= mask - 1) {
        uintptr_t p = load_relaxed((uintptr_t *)object + __builtin_ctzll(mask));
        pointers[n] = p;
        n += p != 0;
    }
    return n;
}

/* The grey objects of a word of marks. */
static ALWAYS_INLINE uint64_t grey_word_of(const uint64_t *marks, const uint64_t *scans, unsigned w)
{
    /* seq_cst: after the span was taken off the queue, and with mark_window's release. */
    uint64_t grey = load_seq_cst(&marks[w]);
    grey &= ~load_relaxed(&scans[w]);
    return w == PAGE_MARK_WORDS - 1 ? grey & ~SPAN_QUEUED : grey;
}

/* Adds what objects 64 w + i point to, for all bits i. Room for 8 more pointers than there are. */
typedef unsigned gather_word(const struct scan *s, unsigned w, uint64_t grey, uintptr_t *pointers,
                             unsigned n);

static ALWAYS_INLINE unsigned gather_portable(const struct scan *s, unsigned w, uint64_t grey,
                                              uintptr_t *pointers, unsigned n)
{
    for (; grey != 0; grey &= grey - 1)
        n = gather_object(s, w * 64 + (unsigned)__builtin_ctzll(grey), pointers, n);
    return n;
}

/* Turns all grey objects of the span black; what they point to. */
static ALWAYS_INLINE unsigned gather_grey(struct marker *m, const struct scan *s,
                                          gather_word *gather, uintptr_t *pointers)
{
    uint64_t *scans = page_scan_bits(m->h, s->marks);
    unsigned n = 0;
    for (unsigned w = 0; w * 64 < s->c->nelems; w++) {
        uint64_t grey = grey_word_of(s->marks, scans, w);
        if (grey == 0)
            continue;
        grey &= ~fetch_or_relaxed(&scans[w], grey);
        m->scanned_bytes += (uint64_t)ones_count64(grey) * s->c->size;
        n = gather(s, w, grey, pointers, n);
    }
    return n;
}

/* Objects of a span as bits, in two parts: bits of one word come one after the other, and each waits for the
 * store of the one before. */
struct own {
    uint64_t part[2][PAGE_MARK_WORDS];
};

/* Parts pointers into objects of the span and others, which are added to those there are. */
static ALWAYS_INLINE unsigned part_own(const struct scan *s, const uintptr_t *pointers, unsigned n,
                                       struct own *own, uintptr_t *others, unsigned nothers)
{
    struct mark_class c = *s->c;
    for (unsigned k = 0; k < n; k++) {
        uintptr_t p = pointers[k];
        if (p - s->base >= MARK_PAGE_BYTES) {
            others[nothers++] = p;
            continue;
        }
        uint32_t i = mark_index(&c, (uint32_t)(p - s->base));
        if (LIKELY(i < c.nelems))
            own->part[k % 2][i / 64] |= (uint64_t)1 << (i % 64);
    }
    return nothers;
}

/* Takes what is marked, and what was found before, off `own`; adds the rest to `found`. Is there any? */
static ALWAYS_INLINE bool keep_unmarked(const struct scan *s, const struct own *own, uint64_t *found,
                                        uint64_t *fresh)
{
    uint64_t any = 0;
    for (unsigned w = 0; w * 64 < s->c->nelems; w++) {
        fresh[w] = (own->part[0][w] | own->part[1][w]) & ~found[w];
        if (fresh[w] == 0)
            continue;
        fresh[w] &= ~load_acquire(&s->marks[w]); /* with mark_window's release */
        found[w] |= fresh[w];
        any |= fresh[w];
    }
    return any != 0;
}

/* Objects of the span lead to others in it, and those probably to many: asks for the ones that come next, then
 * for all. Downwards, whatever the order of the objects: the CPU prefetches upwards by itself, and beyond. */
static ALWAYS_INLINE void prefetch_span(const struct scan *s, const uint64_t *next)
{
    const char *base = (const char *)s->base;
    size_t size = s->c->size;
    for (unsigned w = 0; w * 64 < s->c->nelems; w++)
        for (uint64_t bits = next[w]; bits != 0; bits &= bits - 1)
            __builtin_prefetch(base + (w * 64 + (unsigned)__builtin_ctzll(bits)) * size);
    for (size_t at = s->c->nelems * size; at > 0; at -= MIN(at, (size_t)CACHE_LINE))
        __builtin_prefetch(base + at - 1);
}

/* Scans what the n pointers lead to within the span, whatever it takes, before anybody hears of it: those
 * marks are set together in the end. Somebody else may mark the same object meanwhile, and have it scanned
 * twice. */
static ALWAYS_INLINE void scan_within(struct marker *m, const struct scan *s, gather_word *gather,
                                      uintptr_t *pointers, unsigned n)
{
    uintptr_t others[MAX_POINTERS];
    uint64_t found[PAGE_MARK_WORDS] = {0};
    unsigned nothers = 0;
    for (bool first = true;; first = false) {
        struct own own = {0};
        uint64_t fresh[PAGE_MARK_WORDS];
        nothers = part_own(s, pointers, n, &own, others, nothers);
        if (!keep_unmarked(s, &own, found, fresh) || MUTATED(NO_OWN_ROUND))
            break;
        if (first)
            prefetch_span(s, fresh);
        n = 0;
        for (unsigned w = 0; w * 64 < s->c->nelems; w++)
            if (fresh[w] != 0)
                n = gather(s, w, fresh[w], pointers, n);
    }
    uint64_t *scans = page_scan_bits(m->h, s->marks);
    for (unsigned w = 0; w * 64 < s->c->nelems; w++) {
        if (found[w] == 0)
            continue;
        uint64_t fresh = found[w] & ~fetch_or_relaxed(&scans[w], found[w]);
        m->scanned_bytes += (uint64_t)ones_count64(fresh) * s->c->size;
        set_marks(m, &s->marks[w], found[w], s->c);
    }
    mark_span_pointers(m, others, nothers);
}

/* The span of an entry of the queue. */
static ALWAYS_INLINE void scan_span(struct marker *m, uintptr_t object, gather_word *gather)
{
    struct scan s = scan_of(m, object);
    uintptr_t pointers[MAX_POINTERS + 8];
    unsigned n;
    if (!(fetch_and_seq_cst(&s.marks[PAGE_MARK_WORDS - 1], ~SPAN_QUEUED) & SPAN_QUEUED_MANY)) {
        unsigned i = mark_index(s.c, object % MARK_PAGE_BYTES);
        uint64_t bit = (uint64_t)1 << (i % 64), *scans = &page_scan_bits(m->h, s.marks)[i / 64];
        if (load_relaxed(scans) & bit || fetch_or_relaxed(scans, bit) & bit)
            return;
        m->scanned_bytes += s.c->size;
        n = gather_object(&s, i, pointers, 0);
    } else {
        n = gather_grey(m, &s, gather, pointers);
    }
    scan_within(m, &s, gather, pointers, n);
}

static void scan_portable(struct marker *m, uintptr_t object)
{
    scan_span(m, object, gather_portable);
}

#if HAVE_VECTORS
/* The same code, with instructions for counting and taking off bits. */
__attribute__((target("popcnt,bmi,bmi2,avx2"))) static void scan_avx2(struct marker *m,
                                                                       uintptr_t object)
{
    scan_span(m, object, gather_portable);
}

#define AVX512 __attribute__((target("popcnt,bmi,bmi2,avx2,avx512f,avx512bw,avx512vl")))

/* So many grey objects in a word of marks are worth looking at all their lines. */
enum { LINES_FROM = 6 };

/* Objects of 16 and 32 bytes by cache lines. */
AVX512 static unsigned gather_lines(const struct scan *s, unsigned w, uint64_t grey,
                                    uintptr_t *pointers, unsigned n)
{
    const uint8_t *bits = (const uint8_t *)page_pointer_bits(s->base);
    unsigned per_line = s->c->size == 16 ? 4 : 2, line = s->c->size == 16 ? w * 16 : w * 32;
    for (; grey != 0; grey >>= per_line, line++) {
        unsigned mask = per_line == 4 ? (unsigned)_pdep_u64(grey, 0x55) * 3
                                      : (unsigned)_pdep_u64(grey, 0x11) * 15;
        mask &= load_relaxed(&bits[line]);
        if (mask == 0)
            continue;
        __m512i words = _mm512_load_si512((const void *)(s->base + (size_t)line * CACHE_LINE));
        __mmask8 some = _mm512_mask_test_epi64_mask((__mmask8)mask, words, words);
        _mm512_storeu_si512(&pointers[n], _mm512_maskz_compress_epi64(some, words));
        n += (unsigned)__builtin_popcount(some);
    }
    return n;
}

AVX512 static unsigned gather_avx512(const struct scan *s, unsigned w, uint64_t grey,
                                     uintptr_t *pointers, unsigned n)
{
    if ((s->c->size == 16 || s->c->size == 32) && ones_count64(grey) >= LINES_FROM)
        return gather_lines(s, w, grey, pointers, n);
    return gather_portable(s, w, grey, pointers, n);
}

AVX512 static void scan_avx512(struct marker *m, uintptr_t object)
{
    scan_span(m, object, gather_avx512);
}
#endif

mark_kernel mark_span_kernel(enum mark_instructions most)
{
#if HAVE_VECTORS
    bool avx2 = __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi") &&
                __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx2");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl");
    if (avx512 && most >= MARK_AVX512)
        return scan_avx512;
    if (avx2 && most >= MARK_AVX2)
        return scan_avx2;
#endif
    (void)most;
    return scan_portable;
}

/* --- The queue --- */

/* What it takes to know which objects of a span are grey, and what is in them. */
static void prefetch_lines(struct marker *m, uintptr_t object)
{
    if (object == 0)
        return;
    struct scan s = scan_of(m, object);
    const char *bits = (const char *)page_pointer_bits(s.base);
    __builtin_prefetch(s.marks, 1);
    __builtin_prefetch(page_scan_bits(m->h, s.marks), 1);
    __builtin_prefetch(bits);
    __builtin_prefetch(bits + CACHE_LINE);
    __builtin_prefetch((const void *)object);
}

static void prefetch_grey(struct marker *m, uintptr_t object)
{
    if (object == 0)
        return;
    struct scan s = scan_of(m, object);
    uint64_t *scans = page_scan_bits(m->h, s.marks);
    if (!(load_relaxed(&s.marks[PAGE_MARK_WORDS - 1]) & SPAN_QUEUED_MANY))
        return; /* the object itself is on its way */
    for (unsigned w = 0; w * 64 < s.c->nelems; w++) {
        uint64_t grey = grey_word_of(s.marks, scans, w);
        for (; grey != 0; grey &= grey - 1) {
            unsigned i = w * 64 + (unsigned)__builtin_ctzll(grey);
            const char *at = (const char *)s.base + (size_t)i * s.c->size;
            __builtin_prefetch(at);
            if (s.c->size > CACHE_LINE)
                __builtin_prefetch(at + CACHE_LINE);
        }
    }
}

bool mark_span_next(struct marker *m)
{
    uintptr_t object = span_queue_get(&m->work);
    if (object == 0)
        return false;
    prefetch_lines(m, span_queue_peek(&m->work, PREFETCH_LINES));
    prefetch_grey(m, span_queue_peek(&m->work, PREFETCH_GREY));
    __builtin_prefetch(&m->work.spans.get->objects[m->work.spans.at + PREFETCH_QUEUE]);
    m->work.pool->scan_span(m, object);
    return true;
}

/* Of those that are grey in a span the one that comes first, 0 if none is; *more: there are others. */
static uintptr_t take_grey(struct marker *m, const struct scan *s, unsigned *index, bool *more)
{
    uint64_t *scans = page_scan_bits(m->h, s->marks);
    uintptr_t object = 0;
    *more = false;
    for (unsigned w = 0; w * 64 < s->c->nelems; w++) {
        uint64_t grey = grey_word_of(s->marks, scans, w), bit = grey & -grey;
        if (grey == 0)
            continue;
        if (object == 0 && !(fetch_or_relaxed(&scans[w], bit) & bit)) {
            *index = w * 64 + (unsigned)__builtin_ctzll(bit);
            object = s->base + (uintptr_t)*index * s->c->size;
            grey ^= bit;
        }
        *more |= grey != 0;
    }
    return object;
}

uintptr_t mark_span_one(struct marker *m)
{
    uintptr_t queued, object = 0;
    while (object == 0 && (queued = span_queue_get(&m->work)) != 0) {
        struct scan s = scan_of(m, queued);
        uintptr_t pointers[64];
        unsigned i;
        bool more;
        fetch_and_seq_cst(&s.marks[PAGE_MARK_WORDS - 1], ~SPAN_QUEUED);
        object = take_grey(m, &s, &i, &more);
        if (object == 0)
            continue;
        if (more)
            queue_span(m, s.marks, object, false);
        m->scanned_bytes += s.c->size;
        mark_span_pointers(m, pointers, gather_object(&s, i, pointers, 0));
    }
    return object;
}

void mark_span_rescan(struct marker *m, uintptr_t base)
{
    struct scan s = scan_of(m, base);
    fetch_and_seq_cst(&s.marks[PAGE_MARK_WORDS - 1], ~SPAN_QUEUED); /* its entry was lost */
    uintptr_t pointers[MAX_POINTERS + 8];
    scan_within(m, &s, gather_portable, pointers, gather_grey(m, &s, gather_portable, pointers));
}
