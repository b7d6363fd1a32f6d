/* The threads, goroutines and Ps of a trace, and who has whom.
 *
 * The state behind order.c: found by their numbers, made when an event first names them, and, as to
 * goroutines, forgotten when they end.
 *
 * Invariants: a goroutine is in the map if and only if its status is not 0; entry 0 of goroutines
 * and of Ps stands for none and stays as it is.
 *
 * Concurrency: none; owned by the reader.
 * Go: internal/trace/order.go (gState, pState, mState).
 */
#ifndef GOMEM_GOTRACE_RESOURCES_H
#define GOMEM_GOTRACE_RESOURCES_H

#include "gotrace/map.h"

enum { MAX_PROC = INT16_MAX, GOROUTINE_CACHE = 256 };

/* An M. */
struct thread {
    uint64_t m;
    uint64_t goroutine; /* that runs on it or is in a system call; 0: none */
    uint32_t slot;      /* of that goroutine; another one may be there if it ended elsewhere */
    int16_t proc;       /* -1: none */
    bool in_syscall;    /* since it had its P */
    bool seen;          /* events of it, or what another one tells of it */
    uint8_t waits_for;  /* its next event: see order_still_waits */
    uint32_t waits_on;
    uint64_t waits_version;
};

/* A goroutine or a P. */
struct resource {
    uint64_t id;
    uint64_t sequence;   /* number of its last event that has one... */
    uint32_t generation; /* ...in this generation; in another one there is none that follows */
    uint32_t status;     /* as in traces; 0: there is no such */
    uint64_t version;    /* how often it has changed; of entry 0: how many were made */
};

struct resources {
    struct thread *threads; /* by m; not owned */
    size_t nthreads;
    struct resource *goroutines; /* free ones are linked by .sequence */
    size_t ngoroutines, goroutines_capacity;
    uint32_t free_goroutines;
    struct map slots;                /* of goroutines, by id */
    uint32_t cache[GOROUTINE_CACHE]; /* the same for some, by the id's last bits */
    struct resource *procs;          /* P i is at i + 1 */
    size_t nprocs, procs_capacity;
};

/* false: out of memory. */
MUST_USE bool resources_init(struct resources *r, struct thread *threads, size_t nthreads);
void resources_free(struct resources *r);

/* pre: there is none of this id, or the P's is at most MAX_PROC. NULL: out of memory. */
MUST_USE struct resource *goroutine_make(struct resources *r, uint64_t id);
MUST_USE struct resource *proc_make(struct resources *r, uint64_t id);
void goroutine_end(struct resources *r, struct resource *g);
/* NULL if it has no events in the whole trace. */
struct thread *thread_find(const struct resources *r, uint64_t m);

/* Entry 0 if there is none. */
static ALWAYS_INLINE struct resource *goroutine_find(struct resources *r, uint64_t id)
{
    uint32_t *cached = &r->cache[id % GOROUTINE_CACHE];
    if (LIKELY(*cached != 0 && r->goroutines[*cached].id == id))
        return &r->goroutines[*cached];
    const uint32_t *slot = map_get(&r->slots, id);
    if (slot != NULL)
        *cached = *slot;
    return &r->goroutines[slot != NULL ? *slot : 0];
}

static ALWAYS_INLINE struct resource *proc_find(const struct resources *r, uint64_t id)
{
    return &r->procs[id < r->nprocs - 1 ? id + 1 : 0];
}

static ALWAYS_INLINE struct resource *thread_goroutine(const struct resources *r,
                                                       const struct thread *t)
{
    struct resource *g = &r->goroutines[t->slot];
    return LIKELY(g->id == t->goroutine) ? g : &r->goroutines[0];
}

static ALWAYS_INLINE struct resource *thread_proc(const struct resources *r, const struct thread *t)
{
    return &r->procs[t->proc + 1];
}

static ALWAYS_INLINE void thread_set_goroutine(const struct resources *r, struct thread *t,
                                               const struct resource *g)
{
    t->slot = (uint32_t)(g - r->goroutines);
    t->goroutine = g->id;
}

#endif
