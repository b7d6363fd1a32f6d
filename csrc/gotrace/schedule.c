/* Events that tell who runs where, and what the garbage collector does.
 *
 * Called by events.c, event by event.
 *
 * Which P an M has is told by the M's own events alone: it starts and stops Ps, and whether one was
 * stolen from it while it was in a system call shows when the call ends. So it does not matter here
 * whether the clocks of two threads agree to the last tick.
 *
 * Concurrency: none; owned by the reader.
 * Go: order.go (what events mean for Ps and goroutines), runtime/traceruntime.go.
 */
#include "gotrace/events.h"

enum {
    EV_PROCS_CHANGE = 9,
    EV_PROC_START,
    EV_PROC_STOP,
    EV_PROC_STEAL,
    EV_PROC_STATUS,
    EV_GO_CREATE,
    EV_GO_CREATE_SYSCALL,
    EV_GO_START,
    EV_GO_DESTROY,
    EV_GO_DESTROY_SYSCALL,
    EV_GO_STOP,
    EV_GO_BLOCK,
    EV_GO_UNBLOCK,
    EV_GO_SYSCALL_BEGIN,
    EV_GO_SYSCALL_END,
    EV_GO_SYSCALL_END_BLOCKED,
    EV_GO_STATUS,
    EV_STW_BEGIN,
    EV_STW_END,
    EV_GC_ACTIVE,
    EV_GC_BEGIN,
    EV_GC_END,
    EV_GC_SWEEP_ACTIVE,
    EV_GC_SWEEP_BEGIN,
    EV_GC_SWEEP_END,
    EV_GC_MARK_ASSIST_ACTIVE,
    EV_GC_MARK_ASSIST_BEGIN,
    EV_GC_MARK_ASSIST_END,
    EV_HEAP_ALLOC,
    EV_HEAP_GOAL,
    EV_GO_LABEL,
    EV_GO_SWITCH = 45,
    EV_GO_SWITCH_DESTROY,
    EV_GO_STATUS_STACK = 48,
};

enum { PROC_RUNNING = 1, PROC_SYSCALL = 3, GO_RUNNING = 2, GO_SYSCALL = 3 };

static bool fail_memory(struct event_reader *r)
{
    r->status = error_set(r->err, GOMEM_OUT_OF_MEMORY, "out of memory for a trace of %zu bytes",
                          r->list->file_size);
    return false;
}

/* --- Ps and goroutines --- */

static void note_proc(struct event_reader *r, uint64_t proc)
{
    if (proc <= INT16_MAX)
        r->facts.max_proc = MAX(r->facts.max_proc, (int32_t)proc);
}

static bool set_proc(struct event_reader *r, struct stream *s, uint64_t proc, bool in_syscall)
{
    if (proc > INT16_MAX)
        return event_fail_format(r, s->at, "a P of at most 32767");
    s->proc = (int16_t)proc;
    s->in_syscall = in_syscall;
    return true;
}

static bool proc_status(struct event_reader *r, struct stream *s, uint64_t proc, uint64_t status)
{
    note_proc(r, proc);
    /* The others are about Ps that are not the M's own. */
    if (status != PROC_RUNNING && status != PROC_SYSCALL)
        return true;
    return set_proc(r, s, proc, status == PROC_SYSCALL);
}

static void end_worker(struct event_reader *r, struct stream *s)
{
    if (s->worker == 0)
        return;
    struct gomem_trace_event *e = event_add(r, s, GOMEM_TRACE_WORKER_END);
    e->link = s->worker - 1;
    e->type = r->events[e->link].type;
    s->worker = 0;
}

/* The goroutine that ran on the M has stopped. */
static void go_off(struct event_reader *r, struct stream *s)
{
    end_worker(r, s);
    s->goroutine = 0;
}

static void go_status(struct stream *s, const uint64_t *args)
{
    if (args[2] == GO_RUNNING || (args[2] == GO_SYSCALL && args[1] == s->m))
        s->goroutine = args[0];
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
    uint32_t nowhere = 0, *begin = map_get(&r->assists, s->goroutine);
    end_range(r, s, GOMEM_TRACE_ASSIST_END, begin != NULL ? begin : &nowhere)->address =
        s->goroutine;
    map_remove(&r->assists, s->goroutine);
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
        return begin_assist(r, s, s->goroutine, false);
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
    case EV_PROC_START:
        note_proc(r, args[0]);
        return set_proc(r, s, args[0], false);
    case EV_PROC_STOP:
        s->proc = -1;
        return true;
    case EV_PROC_STEAL: /* others notice when their system call ends */
        if (args[2] == s->m && args[0] == (uint64_t)s->proc)
            s->proc = -1;
        return true;
    case EV_PROC_STATUS:
        return proc_status(r, s, args[0], args[1]);
    case EV_GO_CREATE_SYSCALL:
    case EV_GO_START:
    case EV_GO_SWITCH:
    case EV_GO_SWITCH_DESTROY:
        go_off(r, s);
        s->goroutine = args[0];
        return true;
    case EV_GO_DESTROY:
    case EV_GO_STOP:
    case EV_GO_BLOCK:
        go_off(r, s);
        return true;
    case EV_GO_DESTROY_SYSCALL:
        go_off(r, s);
        s->proc = -1;
        return true;
    case EV_GO_SYSCALL_BEGIN:
    case EV_GO_SYSCALL_END:
        s->in_syscall = type == EV_GO_SYSCALL_BEGIN;
        return true;
    case EV_GO_SYSCALL_END_BLOCKED:
        if (s->in_syscall)
            s->proc = -1;
        s->in_syscall = false;
        s->goroutine = 0;
        return true;
    case EV_GO_STATUS:
    case EV_GO_STATUS_STACK:
        go_status(s, args);
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
