/* Stepping a cycle.
 *
 * Called through step.h.
 *
 * Concurrency: see step.h.
 * Go: no counterpart.
 */
#include "gc/step.h"

#include <stdlib.h>

#include "gc/assist.h"
#include "gc/cycle.h"
#include "gc/greys.h"
#include "gc/pace.h"
#include "gc/workers.h"
#include "heap/sweep.h"
#include "platform/park.h"

/* --- What the barrier does --- */

/* Is what p points to an object that nobody has greyed? The caller's own buffer greys as well. */
static bool is_white(struct gc *gc, const struct gc_proc *gp, uintptr_t p)
{
    struct mspan *s, *other;
    unsigned i, k;
    uintptr_t object = p == 0 ? 0 : greys_object_at(gc->h, p, &s, &i);
    if (object == 0 || object_is_marked(s, i))
        return false;
    for (unsigned n = 0; n < gp->nbarrier; n++)
        if (greys_object_at(gc->h, gp->barrier[n], &other, &k) == object)
            return false;
    return true;
}

void step_note_shade(struct gc *gc, uint32_t p, uintptr_t slot, uintptr_t old, uintptr_t new)
{
    const struct gc_proc *gp = &gc->procs[p];
    if (old == 0 && new == 0)
        return;
    struct gomem_shade shade = {
        .slot = slot,
        .old = old,
        .value = new,
        .old_shaded = is_white(gc, gp, old),
        .value_shaded = is_white(gc, gp, new),
    };
    struct gc_step *step = &gc->step;
    lock(&step->lock);
    if (step->nshades < SHADES)
        step->shades[step->nshades++] = shade;
    else
        step->nlost++;
    unlock(&step->lock);
}

size_t step_take_shades(struct gc *gc, struct gomem_shade *out, size_t capacity, size_t *lost)
{
    struct gc_step *step = &gc->step;
    lock(&gc->cycle_lock); /* a fork holds it */
    lock(&step->lock);
    size_t n = MIN(step->nshades, capacity);
    for (size_t i = 0; i < n; i++)
        out[i] = step->buffer[i];
    *lost = step->nlost + step->nshades - n;
    step->nshades = step->nlost = 0;
    unlock(&step->lock);
    unlock(&gc->cycle_lock);
    return n;
}

/* --- Beginning and ending --- */

/* The heap's hook for who does not want assists. */
static void no_assist(void *arg, struct mcache *c, size_t bytes)
{
    (void)arg;
    (void)c;
    (void)bytes;
}

/* Begins or ends writing down and doing without assists; false: closed. */
static bool set_hooks(struct gc *gc, struct gomem_shade *shades,
                      void (*hook)(void *gc, struct mcache *c, size_t bytes))
{
    if (!stop_world(gc->sched))
        return false;
    gc->step.shades = shades;
    gc->h->gc.on_slow_path = hook;
    start_world(gc->sched);
    return true;
}

/* Claims the right to run a cycle. */
static enum gomem_status claim(struct gc *gc)
{
    enum gomem_status status = GOMEM_OK;
    lock(&gc->lock);
    if (gc->step.active) {
        status = GOMEM_BUSY;
    } else {
        gc->step.active = true;
        /* One that was asked for and has not begun is this one. */
        gc->wanted += gc->wanted == gc->started;
        gc->started = gc->wanted;
        gc->forced = 0;
    }
    unlock(&gc->lock);
    return status;
}

/* The cycle is done, or never was: whoever waits for it goes on, and so does the collector's thread. */
static void unclaim(struct gc *gc)
{
    lock(&gc->lock);
    gc->step.active = false;
    store_release(&gc->done, gc->started);
    unlock(&gc->lock);
    fetch_add_seq_cst(&gc->finished, 1);
    park_wake(&gc->finished, PARK_WAKE_ALL);
    fetch_add_seq_cst(&gc->wake, 1);
    park_wake(&gc->wake, 1);
}

enum gomem_status step_begin(struct gc *gc, bool assists, uint64_t *id)
{
    struct gc_step *step = &gc->step;
    lock(&gc->cycle_lock);
    enum gomem_status status = load_acquire(&gc->sched->closed) ? GOMEM_CLOSED : GOMEM_OK;
    if (status == GOMEM_OK && step->buffer == NULL &&
        (step->buffer = calloc(SHADES, sizeof *step->buffer)) == NULL)
        status = GOMEM_OUT_OF_MEMORY;
    if (status == GOMEM_OK)
        status = claim(gc);
    if (status == GOMEM_OK) {
        *id = ++step->id;
        store_relaxed(&step->phase, GOMEM_GC_SWEEP_TERMINATION);
        step->nshades = step->nlost = 0;
        step->on_slow_path = gc->h->gc.on_slow_path;
        cycle_prepare(gc, true);
        if (!set_hooks(gc, step->buffer, assists ? step->on_slow_path : no_assist)) {
            unclaim(gc);
            status = GOMEM_CLOSED;
        }
    }
    unlock(&gc->cycle_lock);
    return status;
}

static bool is_current(const struct gc *gc, uint64_t id)
{
    return gc->step.id == id && gc->step.phase != GOMEM_GC_OFF;
}

static bool end(struct gc *gc)
{
    cycle_done(gc);
    store_relaxed(&gc->step.phase, GOMEM_GC_OFF);
    bool open = set_hooks(gc, NULL, gc->step.on_slow_path);
    unclaim(gc);
    return open;
}

/* --- Phases --- */

/* What makes a phase the next one; false: closed. */
static bool enter_next(struct gc *gc)
{
    struct gc_step *step = &gc->step;
    bool more;
    switch ((enum gomem_gc_phase)step->phase) {
    case GOMEM_GC_SWEEP_TERMINATION:
        if (!cycle_begin_marking(gc))
            return false;
        store_relaxed(&step->phase, GOMEM_GC_MARK);
        return true;
    case GOMEM_GC_MARK:
        store_relaxed(&step->phase, GOMEM_GC_MARK_TERMINATION);
        return true;
    case GOMEM_GC_MARK_TERMINATION:
        if (!cycle_end_marking(gc, &more))
            return false;
        store_relaxed(&step->phase, more ? GOMEM_GC_MARK : GOMEM_GC_SWEEP);
        return true;
    case GOMEM_GC_SWEEP:
        return end(gc);
    case GOMEM_GC_OFF:
        break;
    }
    return true;
}

/* Greys what the barriers of Ps hold, in a stopped world; false: closed. *found: that was something. */
static bool flush_barriers(struct gc *gc, bool *found)
{
    if (!stop_world(gc->sched))
        return false;
    cycle_collect_work(gc);
    *found = work_pool_has_work(&gc->pool);
    start_world(gc->sched);
    return true;
}

enum gomem_status step_phase(struct gc *gc, uint64_t id, enum gomem_gc_phase *out)
{
    bool ok = true, more = true;
    *out = GOMEM_GC_OFF;
    lock(&gc->cycle_lock);
    if (load_acquire(&gc->sched->closed)) {
        unlock(&gc->cycle_lock);
        return GOMEM_CLOSED;
    }
    if (is_current(gc, id)) {
        switch ((enum gomem_gc_phase)gc->step.phase) {
        case GOMEM_GC_SWEEP_TERMINATION:
        case GOMEM_GC_SWEEP:
            ok = cycle_sweep(gc);
            break;
        case GOMEM_GC_MARK:
            while (ok && more) {
                workers_mark(gc, &gc->marker);
                ok = flush_barriers(gc, &more);
            }
            break;
        default:
            break;
        }
        ok = ok && enter_next(gc);
        *out = gc->step.phase;
    }
    unlock(&gc->cycle_lock);
    return ok ? GOMEM_OK : GOMEM_CLOSED;
}

/* --- Steps --- */

/* The span that is swept next, with the collector's P; false: closed. *found: there was one. */
static bool sweep_step(struct gc *gc, bool *found)
{
    struct p *p = p_acquire_id(gc->sched, gc->sched->nusers);
    if (p == NULL)
        return false;
    *found = sweep_one(gc->h, p->mcache);
    p_release(p);
    return true;
}

/* A grey object; else roots; else what the barriers hold. */
static bool mark_step(struct gc *gc, struct gomem_gc_step *out)
{
    struct marker *m = &gc->marker;
    markers_enter(gc);
    out->address = mark_one(m);
    if (out->address != 0)
        out->kind = GOMEM_STEP_OBJECT;
    else if (roots_scan_some(&gc->roots, m))
        out->kind = GOMEM_STEP_ROOTS;
    out->bytes = pace_count_scanned(gc, m);
    gc_give_credit(gc, out->bytes);
    markers_leave(gc);
    if (out->kind != GOMEM_STEP_NONE)
        return true;
    bool found;
    if (!flush_barriers(gc, &found))
        return false;
    if (found)
        out->kind = GOMEM_STEP_BARRIER;
    return true;
}

static bool step(struct gc *gc, struct gomem_gc_step *out)
{
    bool found;
    switch ((enum gomem_gc_phase)gc->step.phase) {
    case GOMEM_GC_SWEEP_TERMINATION:
    case GOMEM_GC_SWEEP:
        if (!sweep_step(gc, &found))
            return false;
        if (found)
            out->kind = GOMEM_STEP_SPAN;
        break;
    case GOMEM_GC_MARK:
        if (!mark_step(gc, out))
            return false;
        break;
    default:
        break;
    }
    if (out->kind == GOMEM_STEP_NONE && gc->step.phase != GOMEM_GC_OFF) {
        if (!enter_next(gc))
            return false;
        out->kind = GOMEM_STEP_PHASE;
    }
    return true;
}

enum gomem_status step_once(struct gc *gc, uint64_t id, struct gomem_gc_step *out)
{
    *out = (struct gomem_gc_step){.kind = GOMEM_STEP_NONE, .phase = GOMEM_GC_OFF};
    lock(&gc->cycle_lock);
    bool open = !load_acquire(&gc->sched->closed);
    if (open && is_current(gc, id)) {
        open = step(gc, out);
        out->phase = gc->step.phase;
    }
    unlock(&gc->cycle_lock);
    return open ? GOMEM_OK : GOMEM_CLOSED;
}
