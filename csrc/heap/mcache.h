/* A P's private stock: the spans it allocates from, pages, stacks, counters.
 *
 * The hot part of the current span of a class lives in its slot: a window of 32 objects as a bitmap,
 * taken out of the span's free_bits in one go, so that an allocation is a bit scan. Small objects are
 * cleared and described together with their window. When it is used up the next one with free objects is
 * taken, wrapping round; then another span: one of the P's own, one from mcentral, a new one.
 *
 * A span that is full stays the P's (span.h). The first object the P frees in it puts the span on the
 * slot's list of partial ones; the last one gives it back to the heap, unless the P has kept less than
 * KEPT_BYTES_MAX of such spans. Those in which other Ps have freed objects are in the P's remote set. A P
 * that is not busy can be taken over for a moment, to collect these or to take spans it has no use for.
 *
 * Called by malloc; handed down, never looked up.
 *
 * Invariant (heap_verify): the window and its part of free_bits are disjoint; its objects are zero if their
 * class is cleared so, and have the pointers of slot.type; the list holds exactly the listed spans of the
 * class but the current one.
 *
 * Concurrency: whoever has set busy is the owner; all is the owner's, except that window and the tiny
 * notes may be peeked at, and that anyone adds to the remote set. An object on its way from free_bits
 * into the window is in both for a moment, never in neither, so that who looks first at the one and
 * then at the other cannot miss it.
 * Go: mcache.go; allocCache and nextFreeFast in mbitmap.go and malloc.go.
 */
#ifndef GOMEM_HEAP_MCACHE_H
#define GOMEM_HEAP_MCACHE_H

#include "heap/mheap.h"

enum {
    WINDOW_OBJECTS = 32,
    SPAN_STRUCT_CACHE = 16,
    TINY_PENDING = 32,
    TYPE_SLOTS = 16,
    MAX_USER_PROCS = 1024,
    MAX_PROCS = 2048, /* with the collector's; a power of two */
    KEPT_BYTES_MAX = 512 << 10,
    WINDOW_CLEAR_MAX = 64, /* bytes: objects up to this size are cleared with their window */
};

struct alloc_slot {
    /* atomic. Low half: bit j set = object index * 32 + j is ours to give out; high half: index. In
     * one word, so that others see both as they were at one moment. */
    uint64_t window;
    uintptr_t window_base; /* address of object index * 32 */
    struct mspan *span;    /* atomic: current; NULL before the first allocation of the class */
    uint32_t elem_size;    /* const */
    bool needzero;         /* objects of this window may hold old data; never those of small classes */
    uint64_t frees;        /* objects of the class this P has freed */
    uint64_t allocs;       /* objects in the windows taken so far, the current one's rest included */
    uint64_t *bits;        /* pointer bitmap of the current span, if its class has one */
    /* What the window was taken for: the bitmap says already that its free objects are type_size bytes of
     * these. NULL: nothing of the kind. */
    const struct type *type;
    size_t type_size;
    uint32_t bits_offset;  /* const: where in a span it is */
    uint32_t version;      /* atomic: odd while span changes, for others to read span and window as one */
    uint32_t npartial;     /* atomic: spans in partial */
    struct list_node partial; /* own spans with free objects, but the current one */
} CACHE_ALIGNED;

struct mcache {
    uint32_t token;             /* atomic: span.owner of the spans that are this P's; never 0 */
    uint32_t page_mask_in_arena; /* const: mheap's, for locality; so are the next three */
    uint32_t page_offset_mask;   /* page size - 1 */
    uint32_t page_shift;
    struct heap_arena **arenas;
    uint64_t tiny;              /* atomic: current tiny block and its starts (tiny.h), 0 if none */
    uint16_t *tiny_entry;       /* of the current block, in its span's tiny_live; or tiny_nowhere */
    uint64_t tiny_allocs;
    uint8_t tiny_offset;        /* first unused byte of it; 16 if there is none */
    uint16_t tiny_nowhere;      /* takes the entry of no block */
    span_class tiny_span_class; /* const: of blocks; 1 if the heap has no class for them */
    struct mheap *heap;         /* const */
    uint32_t busy CACHE_ALIGNED; /* atomic: somebody uses this cache */
    uint32_t id;                /* const: index of the P */
    unsigned nspan_structs;
    uint32_t ntiny_overflow;    /* atomic */
    uint64_t *tiny_overflow;    /* const pointer, atomic entries: room for one per P */
    uint64_t tiny_pending[TINY_PENDING]; /* atomic: freed parts of blocks, not yet in tiny_live */
    uint64_t unreported;        /* bytes taken for objects, not yet in the heap's heap_live */
    uint64_t unreported_scan;   /* of these, for objects with pointers */
    uint64_t reported_frees;    /* of the bytes freed ever: swept, or off heap_live */
    size_t kept_bytes;          /* of own spans that are empty and yet on a list */
    struct pagecache pages;
    struct mspan *span_structs[SPAN_STRUCT_CACHE]; /* dead span structures, ready for use */
    struct stack_cache stacks[STACK_ORDERS];
    struct large_stats large;
    struct size_class_table size_classes; /* const: a copy, for locality */
    struct alloc_slot *type_slots[TYPE_SLOTS]; /* a type's slot, if it is the last that came by there */
    struct span_set remote CACHE_ALIGNED; /* anyone: spans with remote frees */
    struct alloc_slot slots[2 * MAX_SIZE_CLASSES];
} CACHE_ALIGNED;

/* procs: how many Ps the heap has in all. */
MUST_USE bool mcache_init(struct mheap *h, unsigned id, unsigned procs, struct mcache **out);

/* Makes the caller the owner of c, if nobody is. */
static inline bool mcache_try_acquire(struct mcache *c)
{
    uint32_t idle = 0;
    return load_relaxed(&c->busy) == 0 && cas_acquire(&c->busy, &idle, 1); /* with release */
}
/* Ends ownership; what others have freed meanwhile is collected first. */
void mcache_release(struct mcache *c);

/* Takes the next window with free objects into the slot of sc, from this span or another; false if
 * the heap cannot grow. After it the window has a free object. */
MUST_USE bool mcache_refill(struct mcache *c, span_class sc);
/* What may be left to do after frees in an own span: it was not listed, or is empty. */
void mcache_freed_slow(struct mcache *c, struct mspan *s);
/* Marks the objects of all windows: marking begins. */
void mcache_mark_windows(struct mcache *c);
/* Bytes of objects that this P has freed, ever, by sweeping too. */
uint64_t mcache_freed_bytes(const struct mcache *c);
/* Counts bytes taken for objects of the class, and calls the collector when it is time. */
void mcache_account(struct mcache *c, span_class sc, size_t bytes);
/* Tells the heap what the P has taken, without calling anybody. pre: the world is stopped. */
void mcache_report_all(struct mcache *c);
/* Merges what others have freed in own spans. */
void mcache_collect_remote(struct mcache *c);
/* Gives all spans, pages, stacks and structures back, and drops the full spans. */
void mcache_flush(struct mcache *c);
/* Puts own partial spans of a class at everyone's disposal. */
void mcache_share(struct mcache *c, span_class sc);
/* Takes what others freed in an owned span into free_bits. pre: owner P, under the lock. */
void span_merge_remote_locked(struct mspan *s);

/* Does c own s? pre: c's owner asks. */
static inline bool span_is_owned(const struct mspan *s, const struct mcache *c)
{
    return (load_relaxed(&s->owner) & ~OWNER_LOOK) == c->token;
}

/* Is slot i of s in the current window of a P that may be at work? */
bool mcache_window_has(const struct mcache *c, const struct mspan *s, unsigned i);
/* May c have spans of the class that it does not use? A guess. */
static inline bool mcache_may_spare(const struct mcache *c, span_class sc)
{
    return load_relaxed(&c->slots[sc].npartial) > 0 || load_relaxed(&c->remote.count) > 0;
}

/* As span_of, from nearer. */
static inline struct mspan *mcache_span_of(const struct mcache *c, uintptr_t p)
{
    const size_t mask = ((size_t)1 << ARENA_L2_BITS) - 1;
    struct heap_arena *a = load_relaxed(&c->arenas[p >> LOG_ARENA_BYTES & mask]);
    if (UNLIKELY(a == NULL))
        return NULL;
    return load_relaxed(&a->spans[p >> c->page_shift & c->page_mask_in_arena]);
}

/* The P that owns s, NULL if none does: a token that is no P's any more is worth nothing. pre: under
 * the span's lock, so that it stays so for others than the owner. */
struct mcache *span_owner_locked(const struct mheap *h, const struct mspan *s);

static inline uint32_t window_free(uint64_t window)
{
    return (uint32_t)window;
}

static inline unsigned window_index(uint64_t window)
{
    return (unsigned)(window >> 32);
}

/* Where c notes the slot of a type. */
static inline struct alloc_slot **mcache_type_slot(struct mcache *c, const struct type *t)
{
    return &c->type_slots[(uintptr_t)t / CACHE_LINE % TYPE_SLOTS];
}

/* Is object i in the window, that is, free? */
static inline bool window_has(uint64_t window, unsigned i)
{
    return window_index(window) == i / WINDOW_OBJECTS &&
           (window_free(window) >> (i % WINDOW_OBJECTS) & 1) != 0;
}

/* The window as part of the word of free_bits that it came from. */
static inline uint64_t window_in_word(uint64_t window)
{
    return (uint64_t)window_free(window) << (window_index(window) % 2 * WINDOW_OBJECTS);
}

#endif
