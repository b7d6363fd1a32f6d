/* Making and closing a heap; spans from pages and back.
 *
 * Called through mheap.h.
 *
 * Concurrency: see mheap.h.
 * Go: mheap.go.
 */
#include "heap/mheap.h"

#include <string.h>

#include "heap/arena.h"
#include "heap/heapbits.h"
#include "heap/mcache.h"
#include "heap/scavenge.h"
#include "heap/type.h"

/* Spans of fewer pages than this come from the P's page cache. */
enum { PAGE_CACHE_MAX_SPAN = PAGE_CACHE_PAGES / 4 };

/* --- Making and closing --- */

/* Maps the structure itself; its own accounting moves into it. */
static struct mheap *map_struct(uint64_t max_memory)
{
    struct os_stat other = {0};
    struct os_mem om;
    if (!os_mem_init(&om, &other))
        return NULL;
    om.max_ready = max_memory;
    size_t bytes = align_up(sizeof(struct mheap), om.page_size);
    struct mheap *h = os_alloc(&om, bytes, &other, "heap structure");
    if (h == NULL) {
        os_mem_destroy(&om);
        return NULL;
    }
    h->struct_bytes = bytes;
    h->om = om;
    h->om.regions_stat = &h->bytes.other_sys;
    h->bytes.other_sys = other;
    return h;
}

static bool init_parts(struct mheap *h, unsigned procs)
{
    struct byte_stats *b = &h->bytes;
    lock_init(&h->lock, RANK_MHEAP);
    persistent_init(&h->persistent, &h->om, &b->other_sys);
    fixalloc_init(&h->hint_alloc, &h->persistent, sizeof(struct arena_hint), 8, &b->other_sys);
    fixalloc_init(&h->span_alloc, &h->persistent, sizeof(struct mspan), CACHE_LINE, &b->mspan_sys);
    fixalloc_init(&h->mcache_alloc, &h->persistent, sizeof(struct mcache), CACHE_LINE,
                  &b->mcache_sys);
    for (unsigned k = 0; k < MAX_BITMAP_POOLS; k++)
        fixalloc_init(&h->bitmap_alloc[k], &h->persistent, sizeof(uint64_t) << k, 8, &b->gc_sys);
    stack_pools_init(&h->stacks);
    specials_init(h);

    if (!pagealloc_init(&h->pages, h->page_shift, &h->lock, &h->om, &h->persistent, &b->gc_sys) ||
        !arena_init(h))
        return false;
    void *zero = persistent_alloc(&h->persistent, TINY_SIZE, TINY_SIZE, &b->other_sys);
    h->zerobase = (uintptr_t)zero;
    h->specials.zero = (struct gomem_weak){.address = h->zerobase, .refs = 1};
    h->mcaches = persistent_alloc(&h->persistent, procs * sizeof(struct mcache *),
                                  sizeof(struct mcache *), &b->other_sys);
    if (zero == NULL || h->mcaches == NULL)
        return false;
    for (unsigned i = 0; i < procs; i++, h->nmcaches++)
        if (!mcache_init(h, i, procs, &h->mcaches[i]))
            return false;
    return true;
}

struct mheap *mheap_new(const struct mheap_options *o, struct gomem_error *err)
{
    struct mheap *h = map_struct(o->max_memory);
    if (h == NULL)
        goto refused;
    h->size_classes = *o->size_classes;
    h->page_shift = h->size_classes.page_shift;
    h->page_mask_in_arena = (uint32_t)(ARENA_BYTES >> h->page_shift) - 1;
    /* They are laid out for pages of 8 KiB, as Go's are; other tables keep all marks with their spans. */
    h->page_marks = h->page_shift == 13;
    h->huge_pages = o->huge_pages;
    h->om.dontneed = o->dontneed;
    h->memory_limit = o->memory_limit;
    h->scav.gc_percent_goal = h->scav.memory_limit_goal = UINT64_MAX;
    h->nelems[0] = h->nelems[1] = 1;
    for (unsigned sc = 2; sc < 2 * h->size_classes.nclasses; sc++) {
        const struct size_class *c = &h->size_classes.classes[sc >> 1];
        size_t room = ((size_t)c->npages << h->page_shift) - mheap_span_reserve(h, (span_class)sc);
        h->nelems[sc] = (uint16_t)(room / c->size);
    }
    store_relaxed(&h->sweep.cursor, UINT32_MAX / 2); /* nothing is to be swept */
    if (init_parts(h, o->procs))
        return h;
    mheap_destroy(h);
refused:
    error_set(err, GOMEM_OUT_OF_MEMORY, "the system refused the memory for a heap's structures%s",
              o->max_memory == UINT64_MAX ? "" : " within max_memory");
    return NULL;
}

void mheap_destroy(struct mheap *h)
{
    struct os_mem om = h->om; /* h itself is one of its regions */
    os_mem_destroy(&om);
}

/* --- Span structures and bitmaps --- */

static struct mspan *span_struct_locked(struct mheap *h)
{
    ASSERT_HELD(&h->lock);
    struct mspan *s = h->free_spans;
    if (s != NULL) {
        h->free_spans = (struct mspan *)s->node.next;
        h->nfree_spans--;
        return s;
    }
    s = fixalloc_alloc(&h->span_alloc);
    if (s != NULL)
        spin_init(&s->lock, RANK_SPAN);
    return s;
}

/* A dead span structure for c; NULL if the OS refuses. */
static struct mspan *take_span_struct(struct mheap *h, struct mcache *c)
{
    if (c->nspan_structs == 0) {
        lock(&h->lock);
        while (c->nspan_structs < SPAN_STRUCT_CACHE / 2) {
            struct mspan *s = span_struct_locked(h);
            if (s == NULL)
                break;
            c->span_structs[c->nspan_structs++] = s;
        }
        unlock(&h->lock);
        if (c->nspan_structs == 0)
            return NULL;
    }
    return c->span_structs[--c->nspan_structs];
}

void mheap_recycle_span(struct mheap *h, struct mcache *c, struct mspan *s)
{
    ASSERT(load_relaxed(&s->state) == SPAN_DEAD);
    if (c->nspan_structs < SPAN_STRUCT_CACHE) {
        c->span_structs[c->nspan_structs++] = s;
        return;
    }
    lock(&h->lock);
    s->node.next = (struct list_node *)h->free_spans;
    h->free_spans = s;
    h->nfree_spans++;
    unlock(&h->lock);
}

static unsigned bitmap_pool(size_t nwords)
{
    return len64(nwords - 1);
}

uint64_t *mheap_alloc_words(struct mheap *h, size_t nwords)
{
    lock(&h->lock);
    uint64_t *words = fixalloc_alloc(&h->bitmap_alloc[bitmap_pool(nwords)]);
    unlock(&h->lock);
    return words;
}

static void free_words_locked(struct mheap *h, void *words, size_t nwords)
{
    ASSERT_HELD(&h->lock);
    fixalloc_free(&h->bitmap_alloc[bitmap_pool(nwords)], words);
}

void mheap_free_words(struct mheap *h, uint64_t *words, size_t nwords)
{
    lock(&h->lock);
    free_words_locked(h, words, nwords);
    unlock(&h->lock);
}

/* Words of the bitmaps that a span of sc has outside of itself. */
static size_t bitmap_words(const struct mheap *h, size_t nwords, span_class sc)
{
    return (class_has_page_marks(h, sc) ? 2 : 3) * nwords;
}

static void free_bitmaps_locked(struct mheap *h, struct mspan *s)
{
    if (s->free_bits != NULL && s->free_bits != s->inline_bits)
        free_words_locked(h, s->free_bits, bitmap_words(h, s->nwords, s->span_class));
    if (s->tiny_live != NULL)
        free_words_locked(h, s->tiny_live, tiny_table_words(s));
    s->free_bits = s->remote_bits = s->mark_bits = NULL;
    store_relaxed(&s->tiny_live, NULL);
}

/* --- Allocating --- */

/* Gives memory back before using more, when a limit or the goal of the background scavenger is passed
 * otherwise. The pages to be used are taken already, so they are not among what is given back. */
static void scavenge_before_use(struct mheap *h, size_t growth)
{
    uint64_t limit = load_relaxed(&h->memory_limit), ready = load_relaxed(&h->om.mapped_ready);
    uint64_t goal = load_relaxed(&h->scav.gc_percent_goal), todo = 0;
    bool force = ready > limit;
    if (force)
        todo = ready - limit;
    if (goal != UINT64_MAX && growth > 0) {
        uint64_t retained = heap_retained(h);
        if (retained + growth > goal)
            todo = MAX(todo, MIN(growth, retained + growth - goal));
    }
    if (todo > 0 && !load_relaxed(&h->gc.cpu_limited))
        scavenge_assist(h, todo, force);
}

/* A run from the P's page cache, made Ready; 0 if it has none or the budget is used up. */
static uintptr_t take_cached_pages(struct mheap *h, struct mcache *c, unsigned npages,
                                   size_t *scavenged)
{
    if (c->pages.free == 0) {
        lock(&h->lock);
        pagecache_fill(&c->pages, &h->pages);
        unlock(&h->lock);
    }
    struct pagecache before = c->pages;
    uintptr_t base = pagecache_alloc(&c->pages, h->page_shift, npages, scavenged);
    if (base == 0 || os_used(&h->om, *scavenged))
        return base;
    c->pages = before;
    return 0;
}

/* A run from the page allocator, made Ready. *refused: how many bytes over budget it would have been
 * if there is room for it in the heap, but not within max_memory. */
static uintptr_t take_heap_pages_locked(struct mheap *h, size_t npages, size_t *scavenged,
                                        size_t *growth, size_t *refused)
{
    ASSERT_HELD(&h->lock);
    uintptr_t search, base = pagealloc_peek(&h->pages, npages, &search);
    if (base == 0) {
        if (!arena_grow_locked(h, npages, growth))
            return 0;
        base = pagealloc_peek(&h->pages, npages, &search);
        CHECK(base != 0);
    }
    *scavenged = pagealloc_scavenged(&h->pages, base, npages);
    if (!os_used(&h->om, *scavenged)) {
        *refused = *scavenged;
        return 0;
    }
    pagealloc_alloc_range(&h->pages, base, npages);
    pagealloc_searched(&h->pages, search);
    return base;
}

/* Pages for a span, Ready; 0 if the OS or max_memory refuses. */
static uintptr_t take_pages(struct mheap *h, struct mcache *c, size_t npages, size_t *scavenged,
                            size_t *growth)
{
    uintptr_t base;
    *growth = 0;
    if (npages < PAGE_CACHE_MAX_SPAN) {
        base = take_cached_pages(h, c, (unsigned)npages, scavenged);
        if (base != 0)
            return base;
    }
    /* When the budget is used up, free memory that is still backed may make room for this. */
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t refused = 0, grown = 0;
        lock(&h->lock);
        base = take_heap_pages_locked(h, npages, scavenged, &grown, &refused);
        unlock(&h->lock);
        *growth += grown;
        if (base != 0 || refused == 0 || scavenge_assist(h, refused, true) == 0)
            break;
    }
    return base;
}

static void set_spans(struct mheap *h, struct mspan *s)
{
    size_t page = s->base >> h->page_shift;
    for (size_t i = 0; i < s->npages; i++) {
        struct heap_arena *a = arena_of(h, (page + i) << h->page_shift);
        store_release(&a->spans[(page + i) & h->page_mask_in_arena], s); /* its lock is there */
    }
}

/* Tells markers that the span, of one page, has page marks, and of which class it is; 0: it has not. */
static void set_page_class(struct mheap *h, const struct mspan *s, span_class sc)
{
    struct heap_arena *a = arena_of(h, s->base);
    /* With gc/mark_find.h's acquire: the span's marks and bitmap are there. */
    store_release(&a->page_class[s->base >> h->page_shift & h->page_mask_in_arena], sc);
}

static uint64_t *page_mark_bits(const struct mheap *h, uintptr_t base)
{
    return arena_of(h, base)->marks +
           (base >> h->page_shift & h->page_mask_in_arena) * PAGE_MARK_WORDS;
}

/* Was any of these pages used before? Moves the arenas' zeroed_base past them. */
static bool pages_need_zero(struct mheap *h, uintptr_t base, size_t bytes)
{
    bool need = false;
    while (bytes > 0) {
        struct heap_arena *a = arena_of(h, base);
        uint64_t offset = base % ARENA_BYTES, n = MIN(bytes, ARENA_BYTES - offset);
        uint64_t zeroed = load_relaxed(&a->zeroed_base);
        need |= offset < zeroed;
        while (offset + n > zeroed && !cas_relaxed(&a->zeroed_base, &zeroed, offset + n))
            ;
        base += n;
        bytes -= n;
    }
    return need;
}

/* Room at the end of a span of small objects that is not for objects. */
size_t mheap_span_reserve(const struct mheap *h, span_class sc)
{
    const struct size_class *c = &h->size_classes.classes[sc >> 1];
    size_t reserve = 0;
    if (c->size > h->size_classes.max_bitmap_size)
        return 0;
    if (class_has_page_marks(h, sc))
        reserve += SPAN_INLINE_MARK_BYTES;
    if (!(sc & 1))
        reserve += heap_bits_bytes((size_t)c->npages << h->page_shift);
    return reserve;
}

static void init_objects(struct mheap *h, struct mspan *s, span_class sc, size_t scavenged)
{
    size_t bytes = s->npages << h->page_shift;
    const struct size_class *c = &h->size_classes.classes[sc >> 1];
    s->span_class = sc;
    s->nelems = h->nelems[sc];
    s->nwords = (uint16_t)div_round_up(s->nelems, 64);
    s->elem_size = sc < 2 ? bytes : c->size;
    s->div_magic = sc < 2 ? 0 : c->div_magic;
    if (sc >= 2 && !(sc & 1) && c->size > h->size_classes.max_bitmap_size)
        s->first_object = s->base + MALLOC_HEADER_SIZE;
    s->limit = s->base + (size_t)s->nelems * s->elem_size;
    bool dirty = pages_need_zero(h, s->base, bytes);
    s->needzero = dirty && (scavenged != bytes || os_needs_zero_after_unused(&h->om));
    memset(s->free_bits, 0xff, s->nwords * sizeof(uint64_t));
    s->free_bits[s->nwords - 1] = low_mask64((s->nelems - 1) % 64 + 1);
    s->remote_bits = s->free_bits + s->nwords;
    memset(s->remote_bits, 0, s->nwords * sizeof(uint64_t));
    s->mark_bits = s->remote_bits + s->nwords;
    if (class_has_page_marks(h, sc)) {
        s->mark_bits = page_mark_bits(h, s->base);
        page_marks_clear(h, s->mark_bits);
    } else {
        for (unsigned w = 0; w < s->nwords; w++)
            store_relaxed(&s->mark_bits[w], 0);
    }
    if (sc >= 2 && !(sc & 1) && c->size <= h->size_classes.max_bitmap_size)
        heap_bits_init(h, s);
}

static void init_span(struct mheap *h, struct mspan *s, uintptr_t base, size_t npages)
{
    s->base = s->first_object = base;
    s->npages = npages;
    s->limit = base + (npages << h->page_shift);
    s->elem_size = 0;
    s->div_magic = 0;
    s->nelems = s->nwords = 0;
    store_relaxed(&s->owner_and_remote, 0);
    s->span_class = 0;
    s->needzero = true;
    s->live = 0;
    s->slow_from = SLOW_FROM_UNLISTED;
    s->kept = false;
    s->fresh_window = 0;
    s->tiny_foreign = 0;
    store_relaxed(&s->large_type, NULL);
    store_relaxed(&s->specials, NULL);
    s->manual_free_list = NULL;
    s->place = PLACE_NONE;
    store_relaxed(&s->sweepgen, h->sweepgen);
}

/* The bitmaps of a span of sc: within the structure if they fit. */
static bool alloc_bitmaps(struct mheap *h, struct mspan *s, span_class sc)
{
    size_t nwords = div_round_up(h->nelems[sc], 64);
    s->free_bits = nwords <= SPAN_INLINE_WORDS ? s->inline_bits
                                               : mheap_alloc_words(h, bitmap_words(h, nwords, sc));
    s->nwords = (uint16_t)nwords;
    return s->free_bits != NULL;
}

struct mspan *mheap_alloc_span(struct mheap *h, struct mcache *c, size_t npages,
                               enum span_type type, span_class sc)
{
    struct mspan *s = take_span_struct(h, c);
    if (s == NULL)
        return NULL;
    s->free_bits = NULL;
    if (type == SPAN_TYPE_HEAP && !alloc_bitmaps(h, s, sc))
        goto no_bitmaps;
    size_t scavenged = 0, growth, bytes = npages << h->page_shift;
    uintptr_t base = take_pages(h, c, npages, &scavenged, &growth);
    if (base == 0)
        goto no_pages;
    scavenge_before_use(h, growth);

    init_span(h, s, base, npages);
    if (type == SPAN_TYPE_HEAP)
        init_objects(h, s, sc, scavenged);
    else
        (void)pages_need_zero(h, base, bytes);
    set_spans(h, s);
    if (type == SPAN_TYPE_HEAP && class_has_page_marks(h, sc))
        set_page_class(h, s, sc);
    os_stat_add(&h->bytes.heap_released, -(int64_t)scavenged);
    os_stat_add(&h->bytes.heap_free, -(int64_t)(bytes - scavenged));
    os_stat_add(type == SPAN_TYPE_HEAP ? &h->bytes.heap_inuse : &h->bytes.stacks_inuse,
                (int64_t)bytes);
    if (type == SPAN_TYPE_HEAP)
        fetch_add_relaxed(&h->central[sc].nspans, 1);
    /* With lookups' acquire: whoever sees the span in use sees it whole. */
    store_release(&s->state, type == SPAN_TYPE_HEAP ? SPAN_IN_USE : SPAN_MANUAL);
    return s;

no_pages:
    lock(&h->lock);
    s->span_class = sc;
    free_bitmaps_locked(h, s);
    unlock(&h->lock);
no_bitmaps:
    mheap_recycle_span(h, c, s);
    return NULL;
}

/* --- Freeing --- */

static void defer_span(struct mheap *h, struct mspan *s)
{
    lock(&h->lock);
    s->node.next = (struct list_node *)h->deferred;
    h->deferred = s;
    unlock(&h->lock);
}

void mheap_free_deferred(struct mheap *h, struct mcache *c)
{
    ASSERT_OP(load_relaxed(&h->gc.phase), ==, GC_OFF);
    lock(&h->lock);
    struct mspan *s = h->deferred, *next;
    h->deferred = NULL;
    unlock(&h->lock);
    for (; s != NULL; s = next) {
        next = (struct mspan *)s->node.next;
        mheap_free_span(h, c, s, SPAN_TYPE_HEAP);
    }
}

void mheap_free_span(struct mheap *h, struct mcache *c, struct mspan *s, enum span_type type)
{
    ASSERT_OP(load_relaxed(&s->state), ==, SPAN_FREEING);
    ASSERT(!span_has_specials(s));
    if (UNLIKELY(load_relaxed(&h->gc.phase) != GC_OFF) && type == SPAN_TYPE_HEAP) {
        defer_span(h, s);
        return;
    }
    if (type == SPAN_TYPE_HEAP && class_has_page_marks(h, s->span_class))
        set_page_class(h, s, 0);
    size_t bytes = s->npages << h->page_shift;
    span_class sc = s->span_class;
    bool heap = type == SPAN_TYPE_HEAP;
    lock(&h->lock);
    os_stat_add(heap ? &h->bytes.heap_inuse : &h->bytes.stacks_inuse, -(int64_t)bytes);
    os_stat_add(&h->bytes.heap_free, (int64_t)bytes);
    free_bitmaps_locked(h, s);
    pagealloc_free(&h->pages, s->base, s->npages);
    unlock(&h->lock);
    if (heap)
        fetch_sub_relaxed(&h->central[sc].nspans, 1);

    /* Whoever finds the span dead and both memberships gone returns the structure: this thread, or
     * the one that pops its last entry (mcentral.c, mcache.c). */
    spin_lock(&s->lock);
    store_relaxed(&s->state, SPAN_DEAD);
    bool partial = s->in_set[SET_PARTIAL], full = s->in_set[SET_FULL];
    bool referenced = span_is_referenced_locked(s);
    spin_unlock(&s->lock);
    if (!referenced)
        mheap_recycle_span(h, c, s);
    else
        mcentral_note_dead(h, c, sc, partial, full);
}
