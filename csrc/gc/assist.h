/* What a P does while the collector marks.
 *
 * Its holder's pointer writes go through a buffer of the pointers they overwrite and write; with the
 * barrier that Go had before 1.8 (Dijkstra's), of those they write: then frames are scanned once more at
 * the end. And it owes scanning for what it allocates: it takes what the background has scanned in
 * advance, or scans itself, or waits a moment for the background. Not while the collector uses too much
 * CPU (limiter.h).
 *
 * Called by runtime/ (barrier), mcache's hook (assist), cycle.c.
 *
 * Concurrency: a gc_proc is the holder's of its P, or changed with the world stopped.
 * Go: mwbbuf.go, gcAssistAlloc in mgcmark.go.
 */
#ifndef GOMEM_GC_ASSIST_H
#define GOMEM_GC_ASSIST_H

#include "base/mutate.h"
#include "gc/gc.h"

/* Greys what the buffer holds. */
void gc_flush_barrier(struct gc_proc *gp);
/* Before the pointer at slot, in the heap or a root table, changes while marking goes on. p: the caller's
 * P. */
static inline void gc_barrier(struct gc *gc, uint32_t p, uintptr_t slot, uintptr_t old,
                              uintptr_t new)
{
    struct gc_proc *gp = &gc->procs[p];
    if (UNLIKELY(gc->barrier == GOMEM_BARRIER_DIJKSTRA) || MUTATED(NO_DELETION_BARRIER))
        old = 0;
    if (MUTATED(NO_INSERTION_BARRIER))
        new = 0;
    if (UNLIKELY(gc->step.shades != NULL))
        step_note_shade(gc, p, slot, old, new);
    if (UNLIKELY(gp->nbarrier + 2 > BARRIER_OBJECTS))
        gc_flush_barrier(gp);
    unsigned n = gp->nbarrier;
    gp->barrier[n] = old;
    n += old != 0;
    gp->barrier[n] = new;
    gp->nbarrier = n + (new != 0);
    gp->barrier_writes++;
}

/* Workers have scanned so many bytes, which those who allocate need not. */
void gc_give_credit(struct gc *gc, uint64_t bytes);
/* Lets those go on who wait for it. */
void gc_wake_assists(struct gc *gc);
/* The heap's hook: the P has taken so many bytes, and there is a cycle, or should be one. */
void assist_on_slow_path(void *gc, struct mcache *c, size_t bytes);

#endif
