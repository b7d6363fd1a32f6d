/* Arena hints, reservation, and the step from reserved address space to free pages.
 *
 * Called through arena.h.
 *
 * Concurrency: see arena.h.
 * Go: sysAlloc and mallocinit in malloc.go, grow in mheap.go.
 */
#include "heap/arena.h"

#include "base/bits.h"

/* Go's hints on linux: 0x00c0'0000'0000 and the same offset in higher terabytes. Addresses that
 * begin with c0 are easy to recognise in a dump and unlikely to be anything else. */
enum { HINT_COUNT = 0x80 };
#if defined(__aarch64__)
#define HINT_LOW ((uintptr_t)0x0040 << 32)
#else
#define HINT_LOW ((uintptr_t)0x00c0 << 32)
#endif

/* Above this much heap, its metadata may use huge pages (Go: minHeapForMetadataHugePages). */
#define METADATA_HUGE_PAGES_FROM GIB

static bool hint_add(struct mheap *h, uintptr_t addr, bool down)
{
    struct arena_hint *hint = fixalloc_alloc(&h->hint_alloc);
    if (hint == NULL)
        return false;
    *hint = (struct arena_hint){.addr = addr, .down = down, .next = h->hints};
    h->hints = hint;
    return true;
}

bool arena_init(struct mheap *h)
{
    size_t bytes = sizeof(struct heap_arena *) << ARENA_L2_BITS;
    h->arenas = os_reserve(&h->om, NULL, bytes, "arena map");
    if (h->arenas == NULL || !os_map(&h->om, h->arenas, bytes, NULL, "arena map"))
        return false;
    for (int i = HINT_COUNT - 1; i >= 0; i--)
        if (!hint_add(h, (uintptr_t)i << 40 | HINT_LOW, false))
            return false;
    return true;
}

/* Reserves n bytes at one of the hints; the hints that are taken by others are dropped. */
static uintptr_t reserve_at_hint(struct mheap *h, size_t n)
{
    while (h->hints != NULL) {
        struct arena_hint *hint = h->hints;
        uintptr_t want = hint->down ? hint->addr - n : hint->addr;
        if (want + n >= want && (want + n - 1) >> HEAP_ADDR_BITS == 0) {
            void *got = os_reserve(&h->om, (void *)want, n, "heap");
            if (got == (void *)want) {
                hint->addr = hint->down ? want : want + n;
                return want;
            }
            if (got == NULL)
                return 0; /* refused, not elsewhere: the next hint would fare no better */
            os_unreserve(&h->om, got, n);
        }
        h->hints = hint->next;
        fixalloc_free(&h->hint_alloc, hint);
    }
    return 0;
}

static bool reserve_indexes(struct mheap *h, size_t n)
{
    if (h->narenas + n <= h->arenas_capacity)
        return true;
    size_t capacity = MAX(64, 2 * (h->narenas + n));
    uint32_t *grown = persistent_alloc(&h->persistent, capacity * sizeof *grown, sizeof *grown,
                                       &h->bytes.gc_sys);
    if (grown == NULL)
        return false;
    for (size_t i = 0; i < h->narenas; i++)
        grown[i] = h->arena_indexes[i];
    h->arena_indexes = grown;
    h->arenas_capacity = capacity;
    return true;
}

/* Where in an arena's metadata its mark bits are: behind the tables of spans and classes. */
static size_t arena_marks_offset(const struct mheap *h)
{
    size_t npages = ARENA_BYTES >> h->page_shift;
    return align_up(sizeof(struct heap_arena) + npages * sizeof(struct mspan *) + npages, CACHE_LINE);
}

static size_t arena_metadata_bytes(const struct mheap *h)
{
    size_t marks = (ARENA_BYTES >> h->page_shift) * 2 * PAGE_MARK_WORDS * sizeof(uint64_t);
    return arena_marks_offset(h) + (h->page_marks ? marks : 0);
}

static void arena_forget(struct mheap *h, uintptr_t base, size_t n)
{
    for (uintptr_t i = base >> LOG_ARENA_BYTES; i < (base + n) >> LOG_ARENA_BYTES; i++) {
        if (h->arenas[i] == NULL)
            continue;
        os_free(&h->om, h->arenas[i], arena_metadata_bytes(h), &h->bytes.gc_sys);
        store_relaxed(&h->arenas[i], NULL);
    }
}

/* Reserved address space for at least n bytes, with its arenas entered in the map; 0 if refused. */
static uintptr_t arena_reserve(struct mheap *h, size_t n)
{
    uintptr_t base = reserve_at_hint(h, n);
    if (base == 0) {
        base = (uintptr_t)os_reserve_aligned(&h->om, n, ARENA_BYTES, "heap");
        if (base == 0 || (base + n - 1) >> HEAP_ADDR_BITS != 0)
            return 0;
        /* From now on try below and above it; without room for hints the OS chooses again. */
        (void)(hint_add(h, base, true) && hint_add(h, base + n, false));
    }
    /* Much at once may be more than the machine has: that is found out before anything is written for it. */
    if ((n > ARENA_BYTES && !os_may_map(&h->om, (void *)base, n)) ||
        !reserve_indexes(h, n / ARENA_BYTES)) {
        os_unreserve(&h->om, (void *)base, n);
        return 0;
    }
    for (size_t i = base >> LOG_ARENA_BYTES; i < (base + n) >> LOG_ARENA_BYTES; i++) {
        struct heap_arena *a =
            os_alloc(&h->om, arena_metadata_bytes(h), &h->bytes.gc_sys, "heap metadata");
        if (a == NULL) {
            arena_forget(h, base, n);
            os_unreserve(&h->om, (void *)base, n);
            return 0;
        }
        CHECK(h->arenas[i] == NULL);
        a->page_class = (uint8_t *)&a->spans[ARENA_BYTES >> h->page_shift];
        a->marks = (uint64_t *)((char *)a + arena_marks_offset(h));
        store_release(&h->arenas[i], a); /* with markers, which find page_class through it */
    }
    return base;
}

/* Reserved -> free pages. */
static bool grow_into(struct mheap *h, uintptr_t base, size_t size)
{
    void *p = (void *)base;
    if (!os_map(&h->om, p, size, &h->bytes.heap_released, "heap"))
        return false;
    if (!pagealloc_grow(&h->pages, base, size)) {
        os_unmap(&h->om, p, size, 0, &h->bytes.heap_released);
        return false;
    }
    if (h->huge_pages == HUGE_PAGES_ALWAYS)
        os_huge_page(&h->om, p, size);
    else if (h->huge_pages == HUGE_PAGES_NEVER)
        os_no_huge_page(&h->om, p, size);
    return true;
}

/* Makes [arena_base, arena_end) at least `ask` bytes. What is left of the old arena becomes free
 * pages if the new one does not continue it. */
static bool next_arena(struct mheap *h, size_t ask, size_t *growth)
{
    size_t n = align_up(ask, ARENA_BYTES);
    uintptr_t base = arena_reserve(h, n);
    if (base == 0)
        return false;
    size_t rest = h->arena_end - h->arena_base;
    if (base == h->arena_end) {
        h->arena_end += n;
    } else if (rest == 0 || grow_into(h, h->arena_base, rest)) {
        *growth += rest;
        h->arena_base = base;
        h->arena_end = base + n;
    } else {
        arena_forget(h, base, n);
        os_unreserve(&h->om, (void *)base, n);
        return false;
    }
    for (size_t i = 0; i < n / ARENA_BYTES; i++)
        h->arena_indexes[h->narenas++] = (uint32_t)((base >> LOG_ARENA_BYTES) + i);
    return true;
}

static void maybe_metadata_huge_pages(struct mheap *h)
{
    if (h->metadata_huge_pages || h->pages.in_use.total_bytes < METADATA_HUGE_PAGES_FROM)
        return;
    h->metadata_huge_pages = true;
    size_t bytes = sizeof(struct chunk_data) << h->pages.chunks_l2_bits;
    for (size_t i = 0; i < CHUNKS_L1; i++)
        if (h->pages.chunks[i] != NULL)
            os_huge_page(&h->om, h->pages.chunks[i], bytes);
}

bool arena_grow_locked(struct mheap *h, size_t npages, size_t *growth)
{
    ASSERT_HELD(&h->lock);
    *growth = 0;
    size_t ask = align_up(npages, CHUNK_PAGES) << h->page_shift;
    if (ask > h->arena_end - h->arena_base && !next_arena(h, ask, growth))
        return false;
    if (!grow_into(h, h->arena_base, ask))
        return false;
    h->arena_base += ask;
    *growth += ask;
    maybe_metadata_huge_pages(h);
    return true;
}
