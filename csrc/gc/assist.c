/* A P's part of marking: the barrier's buffer, and paying for what is allocated.
 *
 * Called through assist.h.
 *
 * Concurrency: see assist.h.
 * Go: mwbbuf.go, gcAssistAlloc in mgcmark.go.
 */
#include "gc/assist.h"

#include "base/mutate.h"
#include "heap/mcache.h"
#include "platform/clock.h"
#include "platform/thread.h"

enum { ASSIST_BYTES = 64 << 10 }; /* scanned at once beyond what is owed, so that it is not done for little */

void gc_flush_barrier(struct gc_proc *gp)
{
    uint64_t marked = gp->marker.marked_objects;
    mark_grey_many(&gp->marker, gp->barrier, gp->nbarrier);
    gp->barrier_shaded += gp->marker.marked_objects - marked;
    gp->nbarrier = 0;
}

void gc_barrier(struct gc *gc, uint32_t p, uintptr_t slot, uintptr_t old, uintptr_t new)
{
    struct gc_proc *gp = &gc->procs[p];
    if (gc->barrier == GOMEM_BARRIER_DIJKSTRA || MUTATED(NO_DELETION_BARRIER))
        old = 0;
    if (MUTATED(NO_INSERTION_BARRIER))
        new = 0;
    if (UNLIKELY(gc->step.shades != NULL))
        step_note_shade(gc, p, slot, old, new);
    if (gp->nbarrier + 2 > BARRIER_OBJECTS)
        gc_flush_barrier(gp);
    if (old != 0)
        gp->barrier[gp->nbarrier++] = old;
    if (new != 0)
        gp->barrier[gp->nbarrier++] = new;
    gp->barrier_writes++;
}

/* Takes bytes of credit from the background; how much it got. */
static int64_t take_credit(struct gc *gc, int64_t bytes)
{
    int64_t have = load_relaxed(&gc->bg_credit);
    do {
        if (have <= 0)
            return 0;
    } while (!cas_relaxed(&gc->bg_credit, &have, have - MIN(have, bytes)));
    return MIN(have, bytes);
}

/* The P pays for what it has allocated, by credit or by scanning. */
static void assist(struct gc *gc, struct gc_proc *gp, uint64_t allocated)
{
    gp->debt += (double)allocated * pacer_assist_ratio(&gc->pacer);
    if (gp->debt <= 0)
        return;
    int64_t credit = take_credit(gc, (int64_t)gp->debt + 1);
    gp->credit_taken += MUTATED(NO_CREDIT_TAKEN) ? 0 : credit;
    gp->debt -= (double)credit;
    if (gp->debt <= 0)
        return;
    int64_t begin = clock_nanotime();
    gc_flush_barrier(gp);
    uint64_t before = gp->marker.scanned_bytes;
    if (mark_drain(&gp->marker, (uint64_t)gp->debt + ASSIST_BYTES)) {
        gp->debt -= (double)(gp->marker.scanned_bytes - before);
    } else if (!roots_scan_some(&gc->roots, &gp->marker)) {
        gp->debt = 0; /* nothing is left that anybody could do */
    }
    work_flush(&gp->marker.work);
    gp->assist_time += clock_nanotime() - begin;
}

void assist_on_slow_path(void *arg, struct mcache *c, size_t bytes)
{
    struct gc *gc = arg;
    if (load_relaxed(&gc->h->gc.phase) == GC_MARK)
        assist(gc, &gc->procs[c->id], bytes);
    else if (load_relaxed(&gc->h->gc.phase) == GC_OFF)
        gc_trigger(gc);
    /* Well beyond the trigger, and still nothing: the collector's thread waits for a CPU. */
    uint64_t at = load_relaxed(&gc->h->gc.trigger);
    if (load_relaxed(&gc->h->gc.heap_live) > at + at / 8)
        thread_yield();
}
