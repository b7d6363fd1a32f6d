/* The collector of one heap.
 *
 * A thread of its own runs the cycles: it finishes sweeping, stops the world to begin marking, marks with
 * whoever helps (threads of its own, and those who allocate), stops the world to end marking, and sweeps
 * what nobody has swept by then. It is woken when the heap has reached the trigger, or by who asks for a
 * cycle.
 *
 * Called by runtime/.
 *
 * Invariants (gc_verify): while marking, every object that a black one leads to is marked or in a buffer;
 * at its end everything reachable is marked (gc_verify_marks). bg_credit is what was given less what was
 * taken.
 *
 * Concurrency: fields say who may touch them. Rank GC.
 * Go: mgc.go.
 */
#ifndef GOMEM_GC_GC_H
#define GOMEM_GC_GC_H

#include "gc/mark.h"
#include "gc/pacer.h"
#include "gc/roots.h"
#include "gc/step.h"
#include "platform/thread.h"
#include "sched/p.h"

enum {
    BARRIER_OBJECTS = 512, /* pointers a P's barrier collects before it greys them */
    MAX_HELPERS = 15,      /* threads that mark beside the collector's own */
    CYCLE_RECORDS = 256,   /* cycles remembered (runtime.MemStats has 256 pauses) */
};

/* What a P needs of the collector; its holder's, or with the world stopped. */
struct gc_proc {
    struct marker marker;
    uintptr_t barrier[BARRIER_OBJECTS];
    unsigned nbarrier;
    uint64_t barrier_writes;  /* pointers written through the barrier in this cycle */
    uint64_t barrier_shaded;  /* objects that this turned from white to grey */
    int64_t credit_taken;     /* bytes of background credit, in this cycle */
    double debt; /* bytes of scanning owed for what was allocated; negative: credit */
    int64_t assist_time;
} CACHE_ALIGNED;

struct gc {
    struct mheap *h;      /* const */
    struct sched *sched;  /* const */
    struct gc_proc *procs; /* const; one a P */
    enum gomem_barrier barrier; /* const */
    struct work_pool pool;
    struct roots roots;
    struct lock cycle_lock; /* rank GC_CYCLE: held while a cycle runs; by fork, so that none does */

    struct lock lock;      /* rank GC */
    struct pacer pacer;    /* under lock or with the world stopped */
    uint32_t wanted;       /* under lock: cycles asked for, ever */
    uint32_t started;      /* atomic, written under lock: cycles begun */
    uint32_t done;         /* atomic, written under lock: cycles whose sweep is done */
    uint32_t marked;       /* atomic, written under lock: cycles whose marking is done */
    uint32_t forced;       /* under lock: of those wanted, asked for by gc_collect */
    uint32_t wake;         /* atomic: changes to wake the thread */
    uint32_t finished;     /* atomic: changes when a cycle ends */
    uint32_t stop;         /* atomic: the thread is to end */
    bool running;          /* under lock: there is a thread */
    struct thread thread;  /* under lock */
    int64_t bg_credit;     /* atomic: bytes scanned in the background, for those who allocate to take */
    int64_t credit_given;  /* atomic: all of it, in this cycle: bg_credit + what Ps have taken */
    uint32_t markers;      /* atomic: threads that mark without a P (greys.h) */
    uint32_t pause;        /* atomic: they are to wait */

    /* Helpers. */
    unsigned nhelpers;     /* collector's thread only */
    struct thread helpers[MAX_HELPERS];
    uint32_t help_event;   /* atomic: changes when marking begins, or helpers must end */
    uint32_t helping;      /* atomic: helpers at work */
    uint32_t marking;      /* atomic: helpers may work */
    uint64_t helper_marked, helper_scanned; /* atomic */

    struct gc_step step;

    /* The current cycle and all so far: the collector's thread, read under lock. */
    struct marker marker;
    struct gomem_gc_cycle cycle;
    struct gomem_gc_cycle records[CYCLE_RECORDS]; /* ring, by number */
    uint64_t pause_total, num_gc, num_forced;
    int64_t start_time; /* of the runtime */
};

/* by_span: small objects are marked by span. */
MUST_USE struct gc *gc_new(struct mheap *h, struct sched *sched, int32_t gc_percent,
                           uint64_t memory_limit, bool by_span);
/* Ends the threads. pre: the caller has no P, the world is not stopped. */
void gc_end(struct gc *gc);
void gc_delete(struct gc *gc);

/* A full cycle that begins now or later, sweep included: GOMEM_OUT_OF_MEMORY if there can be no thread,
 * GOMEM_CLOSED; GOMEM_BUSY while a cycle is stepped. pre: the caller has no P. */
MUST_USE enum gomem_status gc_collect(struct gc *gc);
int32_t gc_set_percent(struct gc *gc, int32_t percent);
void gc_set_memory_limit(struct gc *gc, uint64_t limit);
/* Around fork(). */
void gc_fork_prepare(struct gc *gc);
void gc_fork_parent(struct gc *gc);
void gc_fork_child(struct gc *gc);

/* Asks the thread for a cycle, unless one runs. */
void gc_trigger(struct gc *gc);

/* Are all objects that can be reached marked? pre: the world is stopped, and marking has just ended. */
bool gc_verify_marks(struct gc *gc, char *why, size_t why_size);
/* What must hold in whatever phase the collector is (verify.c): GOMEM_CORRUPT, with what does not. pre:
 * the world is stopped. */
MUST_USE enum gomem_status gc_verify(struct gc *gc, struct gomem_error *err);

#endif
