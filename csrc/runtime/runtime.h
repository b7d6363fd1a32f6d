/* The composition root: what a runtime is made of.
 *
 * Only the files of this room include it; everybody else sees gomem.h.
 *
 * Concurrency: fields are const after gomem_runtime_new but for those that say otherwise.
 * Go: the package-level state of runtime, gathered in one struct.
 */
#ifndef GOMEM_RUNTIME_RUNTIME_H
#define GOMEM_RUNTIME_RUNTIME_H

#include "gc/gc.h"
#include "gomem.h"
#include "heap/mheap.h"
#include "heap/scavenge.h"
#include "heap/verify.h"
#include "platform/thread.h"
#include "sched/p.h"

struct gomem_runtime {
    struct sched sched;
    struct mheap *heap; /* until closed: touch it holding a P, or with the world stopped */
    struct p *ps;
    struct gc *gc; /* const until deleted */

    /* The background scavenger (scavenger.c). */
    struct lock scavenger_lock;
    struct thread scavenger;    /* under lock */
    bool scavenger_running;     /* under lock */
    /* Held by the scavenger while it works: who wants to see the heap whole takes it, in a stopped
     * world, where nobody else releases pages. */
    struct lock scavenging;
    uint32_t scavenger_event;   /* atomic: changes to wake it */
    uint32_t scavenger_stop;    /* atomic */
};

static inline struct p *proc_p(struct gomem_proc *p)
{
    return (struct p *)p;
}

static inline struct gomem_proc *p_proc(struct p *p)
{
    return (struct gomem_proc *)p;
}

static inline struct gomem_runtime *p_runtime(struct p *p)
{
    return (struct gomem_runtime *)p->sched; /* sched is the first member */
}

/* Keeps the threads that have no P from taking and giving memory: the scavenger, and markers, which take it
 * for their buffers. pre: the world is stopped. */
void stop_background(struct gomem_runtime *rt);
void start_background(struct gomem_runtime *rt);
/* The world and these; false: closed. */
MUST_USE bool stop_everything(struct gomem_runtime *rt);
void start_everything(struct gomem_runtime *rt);

/* Finds memory that was refused although there is some; p is given up for that. false: closed, p is gone. */
MUST_USE bool reclaim_memory(struct p *p);

/* Starts the background scavenger if it is not running; lets it look for something to do. rt: a struct
 * gomem_runtime. */
void scavenger_start(void *rt);
void scavenger_wake(void *rt);
/* Starts it if there is a limit to watch, and lets it look. */
void scavenger_ensure(struct gomem_runtime *rt);
/* Ends it. */
void scavenger_end(struct gomem_runtime *rt);

#endif
