/* Step mode and colours, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h. A graph is read with the world stopped and markers paused.
 * Go: no counterpart.
 */
#include "gc/graph.h"
#include "gc/greys.h"
#include "gc/step.h"
#include "heap/sweep.h"
#include "runtime/runtime.h"

enum gomem_status gomem_step_begin(struct gomem_runtime *rt, bool assists, uint64_t *id)
{
    return gomem_runtime_is_closed(rt) ? GOMEM_CLOSED : step_begin(rt->gc, assists, id);
}

enum gomem_status gomem_step(struct gomem_runtime *rt, uint64_t id, struct gomem_gc_step *out)
{
    return step_once(rt->gc, id, out);
}

enum gomem_status gomem_step_phase(struct gomem_runtime *rt, uint64_t id, enum gomem_gc_phase *out)
{
    return step_phase(rt->gc, id, out);
}

size_t gomem_step_shades(struct gomem_runtime *rt, struct gomem_shade *out, size_t capacity,
                         size_t *lost)
{
    return step_take_shades(rt->gc, out, capacity, lost);
}

/* pre: the world is stopped. */
static enum gomem_gc_phase phase_of(struct gomem_runtime *rt)
{
    struct gc *gc = rt->gc;
    /* A step changes the heap's phase first, then its own. */
    uint32_t stepped = load_relaxed(&gc->step.phase);
    if (load_relaxed(&rt->heap->gc.phase) == GC_MARK)
        return stepped == GOMEM_GC_MARK_TERMINATION ? GOMEM_GC_MARK_TERMINATION : GOMEM_GC_MARK;
    if (stepped == GOMEM_GC_SWEEP_TERMINATION)
        return GOMEM_GC_SWEEP_TERMINATION;
    return stepped != GOMEM_GC_OFF || !sweep_done(rt->heap) ? GOMEM_GC_SWEEP : GOMEM_GC_OFF;
}

enum gomem_status gomem_graph_read(struct gomem_runtime *rt, size_t most_objects,
                                   struct gomem_graph *out)
{
    *out = (struct gomem_graph){0};
    if (!stop_world(&rt->sched))
        return GOMEM_CLOSED;
    markers_pause(rt->gc);
    enum gomem_status status = graph_read(rt->gc, most_objects, out);
    out->phase = phase_of(rt);
    markers_resume(rt->gc);
    start_world(&rt->sched);
    return status;
}

void gomem_graph_free(struct gomem_graph *graph)
{
    graph_free(graph);
}
