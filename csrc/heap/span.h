/* mspan: a run of pages cut into objects of one size, or one large object, or stack memory.
 *
 * Every page of the heap in use belongs to a span; the arena map (mheap.h) leads from any address to
 * it. Spans are made by mheap, filled by mcache and malloc, kept by mcentral in between.
 *
 * An object's state is exact at all times: it is free if its bit is set in free_bits, in remote_bits,
 * or in the window of 32 objects that the owning P has taken out of free_bits into its slot. (Go's
 * allocBits and freeindex are exact after a sweep only.)
 *
 * mark_bits are the collector's (mark.h, sweep.h).
 * A span belongs to the P that allocates from it, also when it is full: that P frees objects in it by
 * setting a bit, without lock or atomic operation. Any other P frees under the lock, into remote_bits,
 * which the owner collects. Who owns it is a token; a P drops all it owns by taking a new one.
 *
 * Invariants (heap_verify):
 *   owned:   live == nelems - |free_bits| (the window counts as live); the owner's list, its slot, or
 *            nothing (then live == nelems) leads to it
 *   unowned: live == nelems - |free_bits|, 0 < live unless kept, no remote_bits; PARTIAL (live < nelems) or FULL
 *   |remote_bits| == remote_frees;  an entry in the mcentral set of its place
 *
 * Concurrency: base .. span_class are const while the span is in use. free_bits, live, slow_from: owner P
 * while owned, under lock while not. owner: written under lock, read by anyone. The structure is never
 * unmapped before the heap closes: a stale pointer to it can be followed and then found wanting.
 * Go: mspan in mheap.go.
 */
#ifndef GOMEM_HEAP_SPAN_H
#define GOMEM_HEAP_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/list.h"
#include "platform/cpu.h"
#include "platform/lock.h"

struct type;
struct alloc_slot;
struct special;

enum span_state {
    SPAN_DEAD,
    SPAN_IN_USE,  /* objects */
    SPAN_MANUAL,  /* goroutine stacks */
    SPAN_FREEING, /* its last object is gone; its pages are on their way back */
};

/* Where a span of small objects is, between mheap giving it out and taking it back. */
enum span_place {
    PLACE_NONE,    /* large, manual, dead, or being freed */
    PLACE_OWNED,   /* some P's; or was, if the P has another token now */
    PLACE_PARTIAL, /* known to its mcentral as having free objects */
    PLACE_FULL,
};

/* The lock-free sets a span can have an entry in (spanset.h). */
enum set_kind {
    SET_PARTIAL, /* of its mcentral */
    SET_FULL,    /* of its mcentral */
    SET_REMOTE,  /* of its owner: others have freed objects in it */
    SET_KINDS
};

enum { SPAN_INLINE_WORDS = 2 };

typedef uint8_t span_class; /* size class << 1 | noscan */

static inline span_class make_span_class(unsigned size_class, bool noscan)
{
    return (span_class)(size_class << 1 | noscan);
}

/* In span.owner beside the token: the span has tiny blocks or specials, so that a free must look twice. */
#define OWNER_LOOK ((uint32_t)1 << 31)

/* What span.live - 1 is compared with after a free by the owner: with LISTED only 0 - 1 reaches it. */
enum { SLOW_FROM_UNLISTED = 0, SLOW_FROM_LISTED = UINT16_MAX };

struct mspan {
    uintptr_t base;         /* first byte of the span */
    uintptr_t first_object; /* base, or base + 8 where objects carry a malloc header */
    size_t elem_size;       /* bytes of a slot, header included */
    uint64_t *free_bits;    /* nelems bits, see above */
    union {
        struct {
            uint32_t owner;        /* atomic: token of the P that owns it, or 0; with OWNER_LOOK */
            uint32_t remote_frees; /* atomic; written under lock: bits set in remote_bits */
        };
        uint64_t owner_and_remote; /* both, for one comparison */
    };
    uint32_t div_magic;     /* offset / elem_size, as in struct size_class; 0 if large */
    uint16_t nelems;
    uint16_t live;          /* atomic: objects not in free_bits */
    uint16_t slow_from;     /* owner P: LISTED if its slot or its list leads to it */
    span_class span_class;
    uint8_t state;          /* enum span_state; atomic; leaves IN_USE under lock */
    struct alloc_slot *slot; /* owner P: its slot of the class */

    uint16_t *tiny_live;    /* atomic, set once under lock: see tiny.h; NULL without tiny blocks */
    struct spin lock;       /* rank SPAN */
    uint8_t place;          /* enum span_place; under lock */
    bool needzero;          /* const: its memory held old data when the span was made */
    uint16_t tiny_foreign;  /* atomic: notes on its tiny blocks that Ps made who did not own it */
    uint16_t fresh_window;  /* owner P: no object of this or a later window was ever allocated */
    bool kept;              /* as live: empty, but on its owner's list (kept_bytes) or in its mcentral */
    bool in_set[SET_KINDS]; /* under lock: has an entry in that set, or is about to */
    uint16_t nwords;        /* of free_bits */
    uint64_t *remote_bits;  /* under lock: freed by others than the owner, not yet in free_bits */
    uintptr_t limit;        /* end of data: what lies beyond is no object */
    size_t npages;
    const struct type *large_type; /* atomic: of a large pointerful object, NULL until it is zeroed */
    struct list_node node;  /* owner P: its list of partial spans. SPAN_MANUAL: a stack pool's list */
    struct mspan *set_next[SET_KINDS]; /* links of the sets; see spanset.h */
    uint64_t *mark_bits;    /* atomic words: see above. By page with the arena, or beside free_bits */
    uint64_t inline_bits[3 * SPAN_INLINE_WORDS]; /* all bitmaps, when they are small enough */
    void *manual_free_list; /* SPAN_MANUAL: free stacks */
    uint32_t sweepgen;      /* atomic: heap sweepgen when it was last swept */
    struct special *specials; /* atomic, written under lock: see specials.h */
} CACHE_ALIGNED;

static inline unsigned span_size_class(const struct mspan *s)
{
    return s->span_class >> 1;
}

static inline bool span_noscan(const struct mspan *s)
{
    return s->span_class & 1;
}

static inline bool span_is_large(const struct mspan *s)
{
    return s->span_class < 2;
}

/* Does some set still refer to the structure? pre: under the span's lock. */
static inline bool span_is_referenced_locked(const struct mspan *s)
{
    ASSERT_SPIN_HELD(&s->lock);
    return s->in_set[SET_PARTIAL] || s->in_set[SET_FULL] || s->in_set[SET_REMOTE];
}

/* Index of the slot that address p falls into. pre: p in [base, limit), not a large span. */
static inline unsigned span_index(const struct mspan *s, uintptr_t p)
{
    uint64_t offset = p - s->base;
    unsigned i = (unsigned)((offset * s->div_magic) >> 32);
    return i - (i * s->elem_size > offset);
}

/* First byte behind the span's pages. */
static inline uintptr_t span_end(const struct mspan *s, unsigned page_shift)
{
    return s->base + (s->npages << page_shift);
}

/* Address of object i as its user knows it: behind the header, if there is one. */
static inline uintptr_t span_object(const struct mspan *s, unsigned i)
{
    return s->first_object + i * s->elem_size;
}

/* Bytes of a slot that its user may use. */
static inline size_t span_usable_size(const struct mspan *s)
{
    return s->elem_size - (s->first_object - s->base);
}

#endif
