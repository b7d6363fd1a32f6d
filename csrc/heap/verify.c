/* The verifiers of everything that spans more than one structure, and lookups by address.
 *
 * Called through verify.h.
 *
 * Concurrency: see verify.h.
 * Go: findObject in mbitmap.go; no counterpart for the verifiers.
 */
#include "heap/verify.h"

#include <stdlib.h>

#include "heap/heapbits.h"
#include "heap/malloc.h"
#include "heap/sweep.h"
#include "heap/tiny.h"

/* --- Walking --- */

static int compare_index(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The first span with base >= from in one arena. */
static struct mspan *next_in_arena(struct mheap *h, uintptr_t arena, uintptr_t from)
{
    uintptr_t p = MAX(arena, align_up(from, (size_t)1 << h->page_shift));
    while (p < arena + ARENA_BYTES) {
        struct mspan *s = span_of(h, p);
        if (s != NULL && (s->state == SPAN_IN_USE || s->state == SPAN_MANUAL) && s->base == p)
            return s;
        p += (size_t)1 << h->page_shift;
    }
    return NULL;
}

struct mspan *heap_next_span(struct mheap *h, uintptr_t from)
{
    /* Arenas grow upwards but for the odd hint: sort once in a while, nearly always a no-op. */
    lock(&h->lock);
    for (size_t i = 1; i < h->narenas; i++)
        if (h->arena_indexes[i] < h->arena_indexes[i - 1]) {
            qsort(h->arena_indexes, h->narenas, sizeof h->arena_indexes[0], compare_index);
            break;
        }
    unlock(&h->lock);
    for (size_t i = 0; i < h->narenas; i++) {
        uintptr_t arena = (uintptr_t)h->arena_indexes[i] << LOG_ARENA_BYTES;
        if (arena + ARENA_BYTES <= from)
            continue;
        struct mspan *s = next_in_arena(h, arena, from);
        if (s != NULL)
            return s;
    }
    return NULL;
}

/* The valid owner of a span, with the world stopped. */
static const struct mcache *owner_of(const struct mheap *h, const struct mspan *s)
{
    uint32_t token = load_relaxed(&s->owner) & ~OWNER_LOOK;
    const struct mcache *c = token == 0 ? NULL : h->mcaches[token % MAX_PROCS];
    return c != NULL && c->token == token ? c : NULL;
}

/* The slot whose current span is s, if there is one. */
static const struct alloc_slot *slot_of(const struct mheap *h, const struct mspan *s)
{
    const struct mcache *owner = owner_of(h, s);
    const struct alloc_slot *slot = owner == NULL ? NULL : &owner->slots[s->span_class];
    return slot != NULL && slot->span == s ? slot : NULL;
}

unsigned span_live(const struct mheap *h, const struct mspan *s)
{
    const struct alloc_slot *slot = s->state == SPAN_IN_USE ? slot_of(h, s) : NULL;
    return s->live - s->remote_frees - (slot == NULL ? 0 : ones_count64(window_free(slot->window)));
}

/* --- Lookups --- */

/* Narrows an answer about a block to the tiny object at p, if the block has any. */
static void lookup_tiny(const struct mheap *h, const struct mspan *s, uintptr_t p,
                        struct heap_lookup *out)
{
    if (load_relaxed(&s->tiny_live[out->index]) == 0)
        return;
    unsigned starts = tiny_live_parts(h, s, out->index);
    unsigned at = (unsigned)(p - out->object), below = starts & ((2u << at) - 1);
    if (below == 0) {
        out->place = GOMEM_PLACE_FREE_SLOT;
        return;
    }
    unsigned start = 31 - (unsigned)__builtin_clz(below), above = starts & ~((2u << at) - 1);
    unsigned end = above == 0 ? TINY_SIZE : (unsigned)__builtin_ctz(above);
    out->tiny = true;
    out->object += start;
    out->size = end - start;
}

static void lookup_in_span(const struct mheap *h, const struct mspan *s, uintptr_t p, struct heap_lookup *out)
{
    out->span_base = s->base;
    out->span_pages = s->npages;
    out->span_class = s->span_class;
    if (p >= s->limit) {
        out->place = GOMEM_PLACE_SPAN_TAIL;
        return;
    }
    out->index = span_is_large(s) ? 0 : span_index(s, p);
    out->object = span_object(s, out->index);
    out->size = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
    bool free = !slot_is_live_locked(h, s, out->index) || p < out->object;
    out->place = free ? GOMEM_PLACE_FREE_SLOT : GOMEM_PLACE_OBJECT;
    if (!free && s->tiny_live != NULL)
        lookup_tiny(h, s, p, out);
}

void heap_lookup(struct mheap *h, uintptr_t p, struct heap_lookup *out)
{
    *out = (struct heap_lookup){.place = GOMEM_PLACE_OUTSIDE};
    if (arena_of(h, p) == NULL)
        return;
    out->place = GOMEM_PLACE_FREE_PAGE;
    out->arena_base = align_down(p, ARENA_BYTES);
    struct mspan *s = span_of(h, p);
    if (s == NULL)
        return;
    spin_lock(&s->lock);
    unsigned state = load_acquire(&s->state); /* with mheap_alloc_span's release */
    if (p >= s->base && p < span_end(s, h->page_shift)) {
        if (state == SPAN_IN_USE) {
            out->span = s;
            lookup_in_span(h, s, p, out);
        } else if (state == SPAN_MANUAL) {
            out->span = s;
            out->place = GOMEM_PLACE_STACK;
            out->span_base = s->base;
            out->span_pages = s->npages;
            out->size = s->elem_size;
            out->index = (unsigned)((p - s->base) / s->elem_size);
            out->object = s->base + out->index * s->elem_size;
        }
    }
    spin_unlock(&s->lock);
}

/* --- Verifying --- */

#define BROKEN(...) return error_set(err, GOMEM_CORRUPT, __VA_ARGS__)

/* The free objects of a window are as malloc will hand them out. */
static enum gomem_status verify_window(const struct mheap *h, const struct alloc_slot *slot,
                                       struct gomem_error *err)
{
    const struct mspan *s = slot->span;
    size_t words = slot->elem_size <= WINDOW_CLEAR_MAX ? slot->elem_size / PTR_SIZE : 0;
    for (uint32_t free = window_free(slot->window); free != 0; free &= free - 1) {
        unsigned i = window_index(slot->window) * WINDOW_OBJECTS + (unsigned)__builtin_ctz(free);
        const uint64_t *object = (const uint64_t *)span_object(s, i);
        for (size_t w = 0; w < words; w++)
            if (object[w] != 0)
                BROKEN("object 0x%zx is free, but somebody wrote to it", (size_t)object);
        const struct type *t = slot->type;
        for (size_t w = 0; t != NULL && w < slot->type_size / PTR_SIZE; w++) {
            size_t at = w * PTR_SIZE % t->size;
            bool pointer = at < t->ptr_bytes && bitmap_get(t->gcmask, at / PTR_SIZE);
            if (pointer != object_word_is_pointer(h, s, i, w * PTR_SIZE))
                BROKEN("free object 0x%zx: word %zu is not as its window's type says", (size_t)object, w);
        }
    }
    return GOMEM_OK;
}

static enum gomem_status verify_owned(const struct mheap *h, const struct mspan *s,
                                      const struct mcache *owner, struct gomem_error *err)
{
    const struct alloc_slot *slot = &owner->slots[s->span_class];
    bool current = slot->span == s, listed = false;
    for (const struct list_node *n = slot->partial.next; n != &slot->partial; n = n->next)
        listed |= LIST_ENTRY(n, struct mspan, node) == s;
    if (current && listed)
        BROKEN("span 0x%zx: current and listed at once", (size_t)s->base);
    if (listed && s->live == s->nelems)
        BROKEN("span 0x%zx: full, but on its owner's list of partial spans", (size_t)s->base);
    if ((current || listed) != (s->slow_from == SLOW_FROM_LISTED))
        BROKEN("span 0x%zx: slow_from %u, current %d, listed %d", (size_t)s->base, s->slow_from,
               current, listed);
    if (!current && !listed && s->live != s->nelems)
        BROKEN("span 0x%zx: owned by P %u with %u of %u live, but nothing leads to it",
               (size_t)s->base, owner->id, s->live, s->nelems);
    if (!current && !listed && !s->in_set[SET_FULL])
        BROKEN("span 0x%zx: full, but not in its mcentral's set", (size_t)s->base);
    if (s->remote_frees > 0 && !s->in_set[SET_REMOTE])
        BROKEN("span 0x%zx: remote frees, but not in its owner's set", (size_t)s->base);
    for (unsigned w = 0; current && w < s->nwords; w++) {
        uint64_t window = w == window_index(slot->window) / 2 ? window_in_word(slot->window) : 0;
        if (window & (s->free_bits[w] | s->remote_bits[w]))
            BROKEN("span 0x%zx: an object is free twice, once in the window", (size_t)s->base);
    }
    return current ? verify_window(h, slot, err) : GOMEM_OK;
}

static enum gomem_status verify_place(const struct mheap *h, const struct mspan *s,
                                      struct gomem_error *err)
{
    const struct mcache *owner = owner_of(h, s);
    const struct alloc_slot *slot = slot_of(h, s);
    size_t free = bitmap_count(s->free_bits, s->nwords);
    size_t remote = bitmap_count(s->remote_bits, s->nwords);
    if (s->live != s->nelems - free)
        BROKEN("span 0x%zx: live %u, but %zu of %u slots are free", (size_t)s->base, s->live, free,
               s->nelems);
    for (unsigned w = 0; w < s->nwords; w++)
        if (s->free_bits[w] & s->remote_bits[w])
            BROKEN("span 0x%zx: an object was freed twice", (size_t)s->base);
    if (s->remote_frees != remote)
        BROKEN("span 0x%zx: remote_frees %u, but %zu remote bits", (size_t)s->base,
               s->remote_frees, remote);
    if (span_is_large(s))
        return s->live == 1 && s->place == PLACE_NONE
                   ? GOMEM_OK
                   : error_set(err, GOMEM_CORRUPT, "large span 0x%zx: live %u, place %d",
                               (size_t)s->base, s->live, s->place);
    if (s->place == PLACE_OWNED && owner != NULL)
        return verify_owned(h, s, owner, err);
    bool full = s->live == s->nelems;
    if (s->place == PLACE_OWNED && !(full && s->in_set[SET_FULL]))
        BROKEN("span 0x%zx: dropped by its P with %u of %u live", (size_t)s->base, s->live,
               s->nelems);
    if (s->place == PLACE_OWNED)
        return GOMEM_OK;
    if (owner != NULL || slot != NULL || remote != 0)
        BROKEN("span 0x%zx: place %d, but owner token %u and %zu remote frees", (size_t)s->base,
               s->place, s->owner, remote);
    if ((s->live == 0 && !s->kept) || s->place != (full ? PLACE_FULL : PLACE_PARTIAL))
        BROKEN("span 0x%zx: place %d with %u of %u live", (size_t)s->base, s->place, s->live,
               s->nelems);
    if (!s->in_set[full ? SET_FULL : SET_PARTIAL])
        BROKEN("span 0x%zx: in no set of its mcentral", (size_t)s->base);
    return GOMEM_OK;
}

/* With the world stopped: is slot i allocated? */
static bool is_live(const struct mheap *h, struct mspan *s, unsigned i)
{
    spin_lock(&s->lock);
    bool live = slot_is_live_locked(h, s, i);
    spin_unlock(&s->lock);
    return live;
}

static enum gomem_status verify_tiny(struct mheap *h, struct mspan *s, struct gomem_error *err)
{
    /* Garbage that waits to be swept has its parts still. */
    for (unsigned i = 0; span_is_swept(h, s) && i < s->nelems; i++)
        if (s->tiny_live[i] != 0 && !is_live(h, s, i))
            BROKEN("tiny block 0x%zx: its slot is free, but parts 0x%x are entered",
                   (size_t)span_object(s, i), s->tiny_live[i]);
    return GOMEM_OK;
}

/* Pointer bitmaps: a free slot's bits do not matter; the tail beyond the objects must be clear. */
static enum gomem_status verify_types(struct mheap *h, struct mspan *s, struct gomem_error *err)
{
    if (span_noscan(s) || span_has_heap_bits(h, s))
        return GOMEM_OK;
    for (unsigned i = 0; i < s->nelems; i++) {
        if (!is_live(h, s, i))
            continue;
        const struct type *t = span_is_large(s)
                                   ? s->large_type
                                   : *(const struct type **)(span_object(s, i) - MALLOC_HEADER_SIZE);
        if (t == NULL || t->ptr_bytes == 0 || t->size > span_usable_size(s))
            BROKEN("object 0x%zx: its malloc header names no type that fits",
                   (size_t)span_object(s, i));
    }
    return GOMEM_OK;
}

static enum gomem_status verify_span(struct mheap *h, struct mspan *s, struct gomem_error *err)
{
    for (size_t i = 0; i < s->npages; i++)
        if (span_of(h, s->base + (i << h->page_shift)) != s)
            BROKEN("span 0x%zx: page %zu of it maps to another span", (size_t)s->base, i);
    if (s->state == SPAN_MANUAL)
        return GOMEM_OK;
    if (s->span_class >= 2 * h->size_classes.nclasses)
        BROKEN("span 0x%zx: span class %d", (size_t)s->base, s->span_class);
    if (!span_is_large(s)) {
        const struct size_class *c = &h->size_classes.classes[span_size_class(s)];
        size_t room = (s->npages << h->page_shift) - mheap_span_reserve(h, s->span_class);
        if (s->elem_size != c->size || s->npages != c->npages || s->nelems != room / c->size)
            BROKEN("span 0x%zx: %u objects of %zu bytes in %zu pages do not fit class %u",
                   (size_t)s->base, s->nelems, s->elem_size, s->npages, span_size_class(s));
    }
    if (s->free_bits[s->nwords - 1] & ~low_mask64((s->nelems - 1) % 64 + 1))
        BROKEN("span 0x%zx: free bits beyond its %u objects", (size_t)s->base, s->nelems);
    enum gomem_status status = verify_place(h, s, err);
    if (status == GOMEM_OK && s->tiny_live != NULL)
        status = verify_tiny(h, s, err);
    if (status == GOMEM_OK)
        status = verify_types(h, s, err);
    return status;
}

/* Pages in use must be those of spans and page caches, each once. */
static enum gomem_status verify_pages(struct mheap *h, size_t span_pages, struct gomem_error *err)
{
    char why[256];
    size_t used = 0, cached = 0, free = 0, released = 0;
    lock(&h->lock);
    bool ok = pagealloc_verify(&h->pages, why, sizeof why);
    for (size_t r = 0; r < h->pages.in_use.n; r++) {
        struct range range = h->pages.in_use.ranges[r];
        for (size_t c = chunk_index(&h->pages, range.base); c < chunk_index(&h->pages, range.limit);
             c++) {
            const struct chunk_data *d = chunk_of(&h->pages, c);
            used += page_bits_count_range(&d->alloc, 0, CHUNK_PAGES);
            released += page_bits_count_range(&d->scavenged, 0, CHUNK_PAGES);
        }
    }
    size_t total = h->pages.in_use.total_bytes >> h->page_shift;
    unlock(&h->lock);
    if (!ok)
        BROKEN("page allocator: %s", why);
    for (unsigned i = 0; i < h->nmcaches; i++) {
        cached += ones_count64(h->mcaches[i]->pages.free);
        released += ones_count64(h->mcaches[i]->pages.scavenged);
        if (h->mcaches[i]->pages.scavenged & ~h->mcaches[i]->pages.free)
            BROKEN("P %u: a page in its cache is scavenged but not free", i);
    }
    if (used != span_pages + cached)
        BROKEN("%zu pages in use, but spans have %zu and page caches %zu", used, span_pages, cached);
    free = total - used + cached - released;
    if (released << h->page_shift != h->bytes.heap_released.bytes)
        BROKEN("%zu pages are released, but heap_released counts %llu bytes", released,
               (unsigned long long)h->bytes.heap_released.bytes);
    if (free << h->page_shift != h->bytes.heap_free.bytes)
        BROKEN("%zu pages are free and backed, but heap_free counts %llu bytes", free,
               (unsigned long long)h->bytes.heap_free.bytes);
    return GOMEM_OK;
}

enum gomem_status heap_verify(struct mheap *h, struct gomem_error *err)
{
    size_t span_pages = 0, heap_bytes = 0, stack_bytes = 0;
    size_t live_bytes = 0, live_objects = 0;
    if (!size_class_table_verify(&h->size_classes))
        return error_set(err, GOMEM_CORRUPT, "the table of size classes contradicts itself");
    struct mspan *s = heap_next_span(h, 0);
    while (s != NULL) {
        enum gomem_status status = verify_span(h, s, err);
        if (status != GOMEM_OK)
            return status;
        size_t bytes = s->npages << h->page_shift;
        span_pages += s->npages;
        *(s->state == SPAN_MANUAL ? &stack_bytes : &heap_bytes) += bytes;
        if (s->state == SPAN_IN_USE) {
            live_objects += span_live(h, s);
            live_bytes += span_live(h, s) * s->elem_size;
        }
        s = heap_next_span(h, s->base + bytes);
    }
    /* Freed while marking goes on: neither spans nor free pages. */
    for (s = h->deferred; s != NULL; s = (struct mspan *)s->node.next) {
        span_pages += s->npages;
        heap_bytes += s->npages << h->page_shift;
    }
    if (heap_bytes != h->bytes.heap_inuse.bytes || stack_bytes != h->bytes.stacks_inuse.bytes)
        BROKEN("spans have %zu heap and %zu stack bytes, counters say %llu and %llu", heap_bytes,
               stack_bytes, (unsigned long long)h->bytes.heap_inuse.bytes,
               (unsigned long long)h->bytes.stacks_inuse.bytes);
    enum gomem_status status = verify_pages(h, span_pages, err);
    if (status == GOMEM_OK)
        status = specials_verify(h, err);
    if (status != GOMEM_OK)
        return status;
    struct gomem_memstats m;
    char why[256];
    memstats_read(h, &m);
    if (!memstats_verify(&m, why, sizeof why) || !stack_verify(h, why, sizeof why))
        BROKEN("%s", why);
    if (live_bytes != m.heap_alloc || live_objects != m.heap_objects)
        BROKEN("%zu objects of %zu bytes are live, MemStats says %llu of %llu", live_objects,
               live_bytes, (unsigned long long)m.heap_objects, (unsigned long long)m.heap_alloc);
    if (!os_mem_verify(&h->om))
        BROKEN("memory from the OS: regions overlap, or more is ready than max_memory allows");
    return GOMEM_OK;
}
