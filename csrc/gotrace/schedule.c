/* What events say of the garbage collector, besides what they mean for the order.
 *
 * Called by events.c, event by event, when order.c has let the event happen.
 *
 * Concurrency: none; owned by the reader.
 * Go: event.go (what ranges there are), runtime/traceruntime.go.
 */
#include "gotrace/events.h"

static bool fail_memory(struct event_reader *r)
{
    r->status = error_set(r->err, GOMEM_OUT_OF_MEMORY, "out of memory for a trace of %zu bytes",
                          r->list->file_size);
    return false;
}

/* --- Its workers --- */

static void end_worker(struct event_reader *r, struct stream *s)
{
    if (s->worker == 0)
        return;
    struct gomem_trace_event *e = event_add(r, s, GOMEM_TRACE_WORKER_END);
    e->link = s->worker - 1;
    e->type = r->events[e->link].type;
    s->worker = 0;
}

/* Background workers of the collector label themselves. */
static bool go_label(struct event_reader *r, struct stream *s, uint64_t id)
{
    uint32_t label;
    if (!tables_label_with(r->tables, s->batch->generation, id, "GC (", &label))
        return fail_memory(r);
    if (label == 0)
        return true;
    end_worker(r, s);
    event_add(r, s, GOMEM_TRACE_WORKER_BEGIN)->type = label;
    s->worker = (uint32_t)r->nevents;
    return true;
}

/* --- The garbage collector --- */

/* An END, with a link to its BEGIN if *begin says where that is. */
static struct gomem_trace_event *end_range(struct event_reader *r, const struct stream *s,
                                           enum gomem_trace_kind kind, uint32_t *begin)
{
    struct gomem_trace_event *e = event_add(r, s, kind);
    if (*begin != 0)
        e->link = *begin - 1;
    *begin = 0;
    return e;
}

/* A BEGIN, or an ACTIVE that tells again of what has begun in an earlier generation. */
static struct gomem_trace_event *begin_range(struct event_reader *r, const struct stream *s,
                                             enum gomem_trace_kind kind, bool active,
                                             uint32_t *begin)
{
    struct gomem_trace_event *e = event_add(r, s, kind);
    if (!active || *begin == 0)
        *begin = (uint32_t)r->nevents;
    return e;
}

static bool begin_stw(struct event_reader *r, struct stream *s, uint64_t why)
{
    uint32_t label;
    if (!tables_label(r->tables, s->batch->generation, why, &label))
        return fail_memory(r);
    begin_range(r, s, GOMEM_TRACE_STW_BEGIN, false, &r->stw)->type = label;
    return true;
}

static bool begin_assist(struct event_reader *r, struct stream *s, uint64_t goroutine, bool active)
{
    uint32_t nowhere = 0, *begin = &nowhere;
    if (goroutine != 0) {
        begin = map_put(&r->assists, goroutine);
        if (begin == NULL)
            return fail_memory(r);
    }
    enum gomem_trace_kind kind = active ? GOMEM_TRACE_ASSIST_ACTIVE : GOMEM_TRACE_ASSIST_BEGIN;
    begin_range(r, s, kind, active, begin)->address = goroutine;
    return true;
}

static void end_assist(struct event_reader *r, struct stream *s)
{
    uint32_t nowhere = 0, *begin = map_get(&r->assists, s->thread->goroutine);
    end_range(r, s, GOMEM_TRACE_ASSIST_END, begin != NULL ? begin : &nowhere)->address =
        s->thread->goroutine;
    map_remove(&r->assists, s->thread->goroutine);
}

static void value(struct event_reader *r, struct stream *s, enum gomem_trace_kind kind,
                  uint64_t size)
{
    event_add(r, s, kind)->size = size;
}

static bool collector_event(struct event_reader *r, struct stream *s, unsigned type,
                            const uint64_t *args)
{
    struct gomem_trace_event *e;
    switch (type) {
    case EV_STW_BEGIN:
        return begin_stw(r, s, args[0]);
    case EV_STW_END:
        e = end_range(r, s, GOMEM_TRACE_STW_END, &r->stw);
        e->type = e->link != GOMEM_TRACE_NO_LINK ? r->events[e->link].type : 0;
        return true;
    case EV_GC_ACTIVE:
        begin_range(r, s, GOMEM_TRACE_GC_ACTIVE, true, &r->gc)->size = args[0];
        return true;
    case EV_GC_BEGIN:
        r->facts.gc_count++;
        begin_range(r, s, GOMEM_TRACE_GC_BEGIN, false, &r->gc)->size = args[0];
        return true;
    case EV_GC_END:
        r->tracker.last_gc_end = (uint32_t)r->nevents;
        end_range(r, s, GOMEM_TRACE_GC_END, &r->gc)->size = args[0];
        return true;
    case EV_GC_SWEEP_ACTIVE:
        (void)begin_range(r, s, GOMEM_TRACE_SWEEP_ACTIVE, true, &s->sweep);
        return true;
    case EV_GC_SWEEP_BEGIN:
        (void)begin_range(r, s, GOMEM_TRACE_SWEEP_BEGIN, false, &s->sweep);
        return true;
    case EV_GC_SWEEP_END:
        e = end_range(r, s, GOMEM_TRACE_SWEEP_END, &s->sweep);
        e->size = args[0];
        e->address = args[1];
        return true;
    case EV_GC_MARK_ASSIST_ACTIVE:
        return begin_assist(r, s, args[0], true);
    case EV_GC_MARK_ASSIST_BEGIN:
        return begin_assist(r, s, s->thread->goroutine, false);
    default:
        end_assist(r, s);
        return true;
    }
}

bool schedule_event(struct event_reader *r, struct stream *s, unsigned type, const uint64_t *args)
{
    switch (type) {
    case EV_PROCS_CHANGE:
        value(r, s, GOMEM_TRACE_PROCS, args[0]);
        return true;
    case EV_GO_SWITCH:
    case EV_GO_SWITCH_DESTROY:
    case EV_GO_DESTROY:
    case EV_GO_DESTROY_SYSCALL:
    case EV_GO_STOP:
    case EV_GO_BLOCK:
        end_worker(r, s);
        return true;
    case EV_HEAP_ALLOC:
        r->facts.final_heap_alloc = args[0];
        value(r, s, GOMEM_TRACE_HEAP_ALLOC, args[0]);
        return true;
    case EV_HEAP_GOAL:
        r->facts.final_heap_goal = args[0];
        value(r, s, GOMEM_TRACE_HEAP_GOAL, args[0]);
        return true;
    case EV_GO_LABEL:
        return go_label(r, s, args[0]);
    default:
        return type < EV_STW_BEGIN || type > EV_GC_MARK_ASSIST_END ||
               collector_event(r, s, type, args);
    }
}
