/* Specials: what is attached to single objects: finalizers, cleanups, weak pointers.
 *
 * A span has a list of them. The sweeper looks at it before it frees: an object without a mark that has a
 * finalizer stays for another cycle, and its finalizer goes to the heap's queue; without one its cleanups
 * go there. Weak pointers to it become nil in both cases, before anything is queued. Who frees an object
 * by hand does the same, but for the finalizer, which has nothing to be called with any more.
 *
 * A special moves from list to queue as it is, so that neither sweeping nor freeing needs memory.
 *
 * Called by sweep.c and malloc.c (objects die), gc/finalizer.c and gc/weak.c (all else).
 *
 * Invariants (specials_verify): a list is sorted by offset, kind, id; each offset has one finalizer and one
 * weak pointer at most; every special belongs to an object that is allocated, or waits to be swept; a
 * weak pointer's handle has the address that its special has; a page's bit says that a span begins there
 * which has specials; an owned span with specials has OWNER_LOOK.
 *
 * Concurrency: a list, and the address in a handle, change under the span's lock; the queue and all else
 * under specials.lock.
 * Go: special in mheap.go, finq in mfinal.go, cleanupQueue in mcleanup.go.
 */
#ifndef GOMEM_HEAP_SPECIALS_H
#define GOMEM_HEAP_SPECIALS_H

#include "gomem.h"
#include "heap/persistent.h"
#include "heap/span.h"

struct mheap;
struct heap_lookup;

enum special_kind {
    SPECIAL_FINALIZER,
    SPECIAL_WEAK,
    SPECIAL_CLEANUP,
};

/* What a weak pointer is. Its object's special has a reference, too. */
struct gomem_weak {
    uintptr_t address; /* atomic: 0 once the object is dead, or its finalizer queued */
    uint64_t refs;     /* under specials.lock */
};

struct special {
    struct special *next; /* in the span's list, or the queue */
    uintptr_t offset;     /* const once listed: of what it is attached to, in the span */
    uint64_t id;          /* const: no other of this heap has it */
    enum special_kind kind;
    bool dropped;         /* in the queue: only to be released */
    union {
        struct gomem_weak *weak;
        struct {
            struct gomem_callback callback;
            uintptr_t pointer; /* of a cleanup: its argument; of a queued finalizer: its object */
        };
    };
};

/* Which pages of an arena begin a span that has specials. */
struct arena_specials {
    struct arena_specials *next; /* const */
    uintptr_t base;              /* const: of the arena */
    uint64_t pages[];            /* atomic words; a bit changes under its span's lock */
};

struct specials {
    struct lock lock;                 /* rank SPECIALS */
    struct fixalloc alloc;            /* under lock: struct special */
    struct fixalloc weak_alloc;       /* under lock: struct gomem_weak */
    uint64_t last_id;                 /* under lock */
    struct special *queue;            /* under lock: to be called, in this order */
    struct special *queue_last;       /* under lock: if the queue is not empty */
    struct arena_specials *arenas;    /* under lock: all there are */
    /* atomic, written under lock: what marking has to look at next, in the queue and of the arenas */
    struct special *unscanned;
    struct arena_specials *next_arena;
    struct gomem_finalizer_stats stats; /* under lock */
    void (*notify)(void *arg);        /* under lock: called when something was queued, or NULL */
    void *notify_arg;                 /* under lock */
    struct gomem_weak zero;           /* weak pointer to all objects of size 0: never nil */
};

void specials_init(struct mheap *h);

/* A special that is in no list yet; NULL if the OS refuses. */
MUST_USE struct special *special_new(struct mheap *h, enum special_kind kind);
void special_delete(struct mheap *h, struct special *sp);
/* A handle with a reference for the caller and one for a special; NULL if the OS refuses. */
MUST_USE struct gomem_weak *weak_new(struct mheap *h);
void weak_retain(struct mheap *h, struct gomem_weak *w);
void weak_drop(struct mheap *h, struct gomem_weak *w);

/* Sees to it that spans of s's arena can have specials; false if the OS refuses. */
MUST_USE bool specials_prepare(struct mheap *h, const struct mspan *s);
/* Locks the span of what lies at p, if that is allocated; NULL if it is not. *l is filled in any case. */
struct mspan *specials_lock(struct mheap *h, uintptr_t p, struct heap_lookup *l);
/* The special of a kind at an address; id 0: the first. NULL if there is none. */
struct special *special_find_locked(const struct mspan *s, uintptr_t p, enum special_kind kind,
                                    uint64_t id);
/* Attaches sp to what lies at p. pre: specials_prepare. */
void special_insert_locked(struct mheap *h, struct mspan *s, uintptr_t p, struct special *sp);
/* pre: it is in the list. */
void special_unlink_locked(struct mheap *h, struct mspan *s, struct special *sp);
/* Before what has no mark is freed: marks what has a finalizer, queues what is to be called. */
void specials_sweep_locked(struct mheap *h, struct mspan *s);
/* Before an object is freed by hand that occupies [begin, end). */
void specials_free_locked(struct mheap *h, struct mspan *s, uintptr_t begin, uintptr_t end);

/* Takes the first out of the queue; NULL if it is empty. */
struct special *specials_pop(struct mheap *h);

/* pre: the world is stopped. */
MUST_USE enum gomem_status specials_verify(struct mheap *h, struct gomem_error *err);

static inline bool span_has_specials(const struct mspan *s)
{
    return load_relaxed(&s->specials) != NULL;
}

/* The slot that a special's offset lies in. */
static inline unsigned special_index(const struct mspan *s, uintptr_t offset)
{
    return span_is_large(s) ? 0 : span_index(s, s->base + offset);
}

#endif
