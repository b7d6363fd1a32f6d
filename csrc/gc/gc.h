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

#include "gc/limiter.h"
#include "gc/mark.h"
#include "gc/pacer.h"
#include "gc/roots.h"
#include "gc/stats.h"
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
    int64_t assist_bytes;     /* bytes it may allocate until it must assist; negative: debt */
} CACHE_ALIGNED;

/* A thread that marks beside the collector's own; number: from 1. */
struct gc_helper {
    struct gc *gc;
    unsigned number;
    struct thread thread;
};

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
    uint32_t waiting;      /* atomic: those who wait for some */
    uint32_t credit_event; /* atomic: changes when there may be some, or there will be none */

    /* Pacing (pace.h). */
    struct limiter limiter;
    struct gc_times times;  /* atomic: of this cycle */
    uint64_t heap_scanned;  /* atomic: bytes of objects, in this cycle */
    int64_t mark_start;     /* atomic: of this or the last cycle, ns */
    int64_t scavenged_ns;   /* atomic: of the heap's scav.assist_ns, what the limiter knows of */
    uint64_t last_heap_inuse; /* under lock: bytes in spans of objects when marking last ended */
    int64_t last_gc;        /* atomic: when marking last ended, by gc_clock; 0: never */
    int64_t clock_ahead;    /* atomic: ns by which tests have put gc_clock forward */
    uint32_t workers;       /* const: threads that mark in the background; 0: as Go would */
    int32_t trace;          /* const: print a line for each cycle */
    /* const. The first cycle is near: another thread may be wanted; and: a cycle is over, there may be
     * something to give back. */
    void (*on_start)(void *), (*on_swept)(void *);
    void *hooks_arg; /* const */

    struct gomem_gc_hook *hooks; /* under lock */

    /* Helpers. */
    unsigned nhelpers;     /* atomic, written under lock, or after the thread's end */
    struct gc_helper helpers[MAX_HELPERS];
    uint32_t help_event;   /* atomic: changes when marking begins, or helpers must end */
    uint32_t helping;      /* atomic: helpers at work */
    uint32_t idle_helping; /* atomic: of these, helpers that use Ps nobody needs */
    uint32_t marking;      /* atomic: helpers may work */
    uint64_t helper_marked; /* atomic */
    bool periodic;          /* under cycle_lock: the cycle is one that nobody is in a hurry for */
    unsigned cpus;          /* const: of the machine */

    struct gc_step step;

    /* The current cycle and all so far: the collector's thread, read under lock. */
    struct marker marker;
    struct gomem_gc_cycle cycle;
    struct gomem_gc_cycle records[CYCLE_RECORDS]; /* ring, by number */
    struct gc_stats stats; /* under lock */
    int64_t start_time; /* of the runtime */
};

MUST_USE struct gc *gc_new(struct mheap *h, struct sched *sched,
                           const struct gomem_options *options);
/* Ends the threads. pre: the caller has no P, the world is not stopped. */
void gc_end(struct gc *gc);
void gc_delete(struct gc *gc);

/* A full cycle that begins now or later, sweep included: GOMEM_OUT_OF_MEMORY if there can be no thread,
 * GOMEM_CLOSED; GOMEM_BUSY while a cycle is stepped. pre: the caller has no P. */
MUST_USE enum gomem_status gc_collect(struct gc *gc);
/* Both apply at once, to a cycle that marks now, too: goal and assists follow, what has triggered it stays.
 * The first returns the old setting. */
int32_t gc_set_percent(struct gc *gc, int32_t percent);
void gc_set_memory_limit(struct gc *gc, uint64_t limit);
/* Waits until no cycle marks that had begun when it was called. pre: the caller has no P. */
void gc_wait_on_mark(struct gc *gc);
/* Puts the clock of the forced cycle forward, for tests. */
void gc_advance_clock(struct gc *gc, int64_t ns);
/* Around fork(). */
void gc_fork_prepare(struct gc *gc);
void gc_fork_parent(struct gc *gc);
void gc_fork_child(struct gc *gc);

/* See gomem_add_gc_hook. run: pre: the world is stopped. */
void gc_add_hook(struct gc *gc, struct gomem_gc_hook *hook);
void gc_remove_hook(struct gc *gc, struct gomem_gc_hook *hook);
void gc_run_hooks(struct gc *gc);

/* Asks the thread for a cycle, unless one runs. true: it has been asked, and has not begun. */
bool gc_trigger(struct gc *gc);
/* The monotonic clock, with what tests have added. */
int64_t gc_clock(const struct gc *gc);
/* The line of gctrace, if it is wanted. The collector's thread. */
void gc_print_trace(const struct gc *gc);

/* Are all objects that can be reached marked? pre: the world is stopped, and marking has just ended. */
bool gc_verify_marks(struct gc *gc, char *why, size_t why_size);
/* What must hold in whatever phase the collector is (verify.c): GOMEM_CORRUPT, with what does not. pre:
 * the world is stopped. */
MUST_USE enum gomem_status gc_verify(struct gc *gc, struct gomem_error *err);

#endif
