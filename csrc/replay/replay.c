/* Replaying the memory events of a Go program on a heap.
 *
 * A client of gomem.h like any other; called through it. What an event allocated is kept under the
 * event's index, where its free, which links to the event, finds it.
 *
 * Events come from files and from people: each is looked at before it is believed. An object is freed
 * only if this replay allocated it and was not told to forget it.
 *
 * Invariant: own[i] is the address of what event i allocated and is still ours, or 0, or LATER_PART
 * before event i is replayed and if it is not the first object of its tiny block.
 *
 * Concurrency: a replay belongs to the thread that runs it; it takes Ps like everybody.
 * Go: no counterpart.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/status.h"

enum {
    LATER_PART = 1,
    MAX_PARTS = 16, /* of a block of tiny objects */
    SAFEPOINT_EVERY = 1024,
    /* How Go lays out what the trace has by slots. */
    BYTES_TINY_BLOCK = 16,
    BYTES_LARGEST_CLASS = 32768,
    BYTES_LARGEST_WITH_BITMAP = 512,
    BYTES_HEADER = 8,
};

struct gomem_replay {
    struct gomem_runtime *rt;
    const struct gomem_trace_event *events;
    size_t n, position;
    uint64_t *own;
    struct gomem_root_table table; /* of own: what is alive is safe from the collector */
    struct gomem_proc *proc; /* while running */
    uint32_t nprocs;
    struct gomem_replay_sample now; /* but for what the runtime counts */
};

struct gomem_replay *gomem_replay_new(struct gomem_runtime *rt,
                                      const struct gomem_trace_event *events, size_t n,
                                      struct gomem_error *err)
{
    struct gomem_replay *r = calloc(1, sizeof *r);
    uint64_t *own = calloc(MAX(n, 1), sizeof *own);
    if (r == NULL || own == NULL) {
        (void)error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a replay of %zu events", n);
        free(r);
        free(own);
        return NULL;
    }
    r->rt = rt;
    r->events = events;
    r->n = n;
    r->own = own;
    r->nprocs = gomem_runtime_procs(rt);
    r->table.slots = own;
    r->table.n = n;
    gomem_add_roots(rt, &r->table);
    return r;
}

void gomem_replay_delete(struct gomem_replay *r)
{
    if (r == NULL)
        return;
    gomem_remove_roots(r->rt, &r->table);
    free(r->own);
    free(r);
}

static bool is_object(const struct gomem_trace_event *e)
{
    return e->kind == GOMEM_TRACE_OBJECT_EXISTS || e->kind == GOMEM_TRACE_OBJECT_ALLOC;
}

static bool is_stack(const struct gomem_trace_event *e)
{
    return e->kind == GOMEM_TRACE_STACK_EXISTS || e->kind == GOMEM_TRACE_STACK_ALLOC;
}

/* --- Objects --- */

/* Did the object have a slot of a size class, not a span of its own? */
static bool was_small(const struct gomem_replay *r, const struct gomem_trace_event *e)
{
    if (e->link >= r->n)
        return e->size < BYTES_LARGEST_CLASS;
    uint32_t span_class = r->events[e->link].type;
    return span_class >> 1 != 0 && span_class != GOMEM_TRACE_NOT_OBJECTS;
}

/* The most its program can have asked for: with it, Go's size classes give the same slot. */
static uint64_t requested(const struct gomem_replay *r, const struct gomem_trace_event *e)
{
    if (e->size <= BYTES_LARGEST_WITH_BITMAP || e->size > BYTES_LARGEST_CLASS || !was_small(r, e))
        return e->size;
    /* All of the largest class can only be had with a header, or as a large object. */
    return e->noscan && e->size < BYTES_LARGEST_CLASS ? e->size : e->size - BYTES_HEADER;
}

static void count_object(struct gomem_replay *r, const struct gomem_trace_event *e, size_t i,
                         uint64_t size)
{
    r->now.objects++;
    r->now.allocs++;
    r->now.live_bytes += size;
    r->now.alloc_bytes += size;
    if (r->own[i] == LATER_PART)
        return;
    r->now.go_objects++;
    r->now.go_live_bytes += e->next_part != 0 ? BYTES_TINY_BLOCK : e->size;
}

static enum gomem_status new_object(struct gomem_replay *r, const struct gomem_trace_event *e,
                                    size_t i, struct gomem_error *err)
{
    uint64_t size = requested(r, e);
    if (size == 0)
        return GOMEM_OK; /* it lay in no span the trace knows of */
    void *object = e->noscan ? gomem_alloc(r->proc, size) : gomem_alloc_scan(r->proc, size);
    if (object == NULL)
        return error_set(err, GOMEM_OUT_OF_MEMORY,
                         "out of memory for event %zu, an object of %llu bytes", i,
                         (unsigned long long)size);
    count_object(r, e, i, size);
    gomem_init_root(&r->own[i], object);
    if (e->next_part > i && e->next_part < r->n)
        gomem_init_root(&r->own[e->next_part], (void *)LATER_PART);
    return GOMEM_OK;
}

static enum gomem_status free_own(struct gomem_replay *r, size_t i, struct gomem_error *err)
{
    if (r->own[i] <= LATER_PART)
        return GOMEM_OK;
    enum gomem_status status = gomem_free(r->proc, (void *)(uintptr_t)r->own[i]);
    if (status != GOMEM_OK)
        return error_set(err, status, "event %zu's object was freed by somebody else", i);
    gomem_init_root(&r->own[i], NULL);
    r->now.objects--;
    r->now.frees++;
    r->now.live_bytes -= requested(r, &r->events[i]);
    return GOMEM_OK;
}

/* Frees the object that event `first` announced and, if it begins a tiny block, those behind it. */
static enum gomem_status free_block(struct gomem_replay *r, size_t first, size_t now,
                                    struct gomem_error *err)
{
    enum gomem_status status = free_own(r, first, err);
    size_t at = first;
    for (unsigned parts = 1; status == GOMEM_OK && parts < MAX_PARTS; parts++) {
        size_t next = r->events[at].next_part;
        if (next <= at || next >= now || !is_object(&r->events[next]))
            break;
        status = free_own(r, next, err);
        at = next;
    }
    return status;
}

static enum gomem_status object_free(struct gomem_replay *r, const struct gomem_trace_event *e,
                                     size_t i, struct gomem_error *err)
{
    if (!is_object(&r->events[e->link]))
        return error_set(err, GOMEM_INVALID_VALUE,
                         "event %zu frees an object, but links to event %u, which is none", i,
                         e->link);
    enum gomem_status status = free_block(r, e->link, i, err);
    if (status == GOMEM_OK) {
        r->now.go_objects--;
        r->now.go_live_bytes -= e->size;
    }
    return status;
}

/* --- Stacks --- */

static enum gomem_status new_stack(struct gomem_replay *r, const struct gomem_trace_event *e,
                                   size_t i, struct gomem_error *err)
{
    struct gomem_stack s;
    if (e->size == 0)
        return GOMEM_OK; /* a goroutine that has none */
    enum gomem_status status = gomem_stack_alloc(r->proc, e->size, &s);
    if (status != GOMEM_OK)
        return error_set(err, status, "%s event %zu, a stack of %llu bytes",
                         status == GOMEM_OUT_OF_MEMORY ? "out of memory for" : "impossible:", i,
                         (unsigned long long)e->size);
    gomem_init_root(&r->own[i], (void *)(uintptr_t)s.lo);
    r->now.stacks++;
    r->now.stack_bytes += e->size;
    return GOMEM_OK;
}

static void free_stack(struct gomem_replay *r, size_t i)
{
    if (r->own[i] <= LATER_PART)
        return;
    uint64_t size = r->events[i].size;
    gomem_stack_free(r->proc, (struct gomem_stack){r->own[i], r->own[i] + size});
    gomem_init_root(&r->own[i], NULL);
    r->now.stacks--;
    r->now.stack_bytes -= size;
}

static enum gomem_status stack_free(struct gomem_replay *r, const struct gomem_trace_event *e,
                                    size_t i, struct gomem_error *err)
{
    if (!is_stack(&r->events[e->link]))
        return error_set(err, GOMEM_INVALID_VALUE,
                         "event %zu frees a stack, but links to event %u, which is none", i,
                         e->link);
    free_stack(r, e->link);
    return GOMEM_OK;
}

/* --- Events --- */

static void count_span(struct gomem_replay *r, const struct gomem_trace_event *e, uint64_t size)
{
    if (e->type == GOMEM_TRACE_NOT_OBJECTS)
        r->now.go_other_inuse += size;
    else
        r->now.go_heap_inuse += size;
}

/* The end of a cycle, after which Go's Ps give up the spans in their caches, to be swept. */
static enum gomem_status end_cycle(struct gomem_replay *r, struct gomem_error *err)
{
    uint32_t id = gomem_proc_id(r->proc);
    gomem_proc_release(r->proc);
    gomem_flush(r->rt);
    r->proc = gomem_proc_acquire_id(r->rt, id);
    return r->proc != NULL ? GOMEM_OK : error_set(err, GOMEM_CLOSED, "the heap was closed");
}

static enum gomem_status replay_event(struct gomem_replay *r, size_t i, struct gomem_error *err)
{
    const struct gomem_trace_event *e = &r->events[i];
    bool frees = e->kind == GOMEM_TRACE_OBJECT_FREE || e->kind == GOMEM_TRACE_STACK_FREE ||
                 e->kind == GOMEM_TRACE_SPAN_FREE;
    if (frees && e->link == GOMEM_TRACE_NO_LINK)
        return GOMEM_OK; /* of what was there before the trace began */
    if (frees && UNLIKELY(e->link >= i))
        return error_set(err, GOMEM_INVALID_VALUE,
                         "event %zu frees what event %u announced, which is not an earlier one", i,
                         e->link);
    switch (e->kind) {
    case GOMEM_TRACE_OBJECT_EXISTS:
    case GOMEM_TRACE_OBJECT_ALLOC:
        return new_object(r, e, i, err);
    case GOMEM_TRACE_OBJECT_FREE:
        return object_free(r, e, i, err);
    case GOMEM_TRACE_STACK_EXISTS:
    case GOMEM_TRACE_STACK_ALLOC:
        return new_stack(r, e, i, err);
    case GOMEM_TRACE_STACK_FREE:
        return stack_free(r, e, i, err);
    case GOMEM_TRACE_SPAN_EXISTS:
    case GOMEM_TRACE_SPAN_ALLOC:
        count_span(r, e, e->size);
        return GOMEM_OK;
    case GOMEM_TRACE_SPAN_FREE:
        count_span(r, e, 0 - e->size);
        return GOMEM_OK;
    case GOMEM_TRACE_GC_END:
        return end_cycle(r, err);
    case GOMEM_TRACE_HEAP_ALLOC:
        r->now.go_heap_alloc = e->size;
        return GOMEM_OK;
    case GOMEM_TRACE_HEAP_GOAL:
        r->now.go_heap_goal = e->size;
        return GOMEM_OK;
    default:
        if (e->kind < GOMEM_TRACE_KINDS)
            return GOMEM_OK;
        return error_set(err, GOMEM_INVALID_VALUE, "event %zu is of kind %u, of which there are %d",
                         i, e->kind, GOMEM_TRACE_KINDS);
    }
}

static enum gomem_status closed(struct gomem_replay *r, struct gomem_error *err)
{
    r->proc = NULL;
    return error_set(err, GOMEM_CLOSED, "the heap was closed");
}

/* Works with the P of this number from now on; false: the runtime is closed. */
static bool take_proc(struct gomem_replay *r, uint32_t id)
{
    if (r->proc != NULL && gomem_proc_id(r->proc) == id)
        return true;
    if (r->proc != NULL)
        gomem_proc_release(r->proc);
    r->proc = gomem_proc_acquire_id(r->rt, id);
    return r->proc != NULL;
}

static void release_proc(struct gomem_replay *r)
{
    if (r->proc != NULL)
        gomem_proc_release(r->proc);
    r->proc = NULL;
}

enum gomem_status gomem_replay_run(struct gomem_replay *r, size_t until, struct gomem_error *err)
{
    enum gomem_status status = GOMEM_OK;
    if (!take_proc(r, 0))
        return closed(r, err);
    until = MIN(until, r->n);
    while (r->position < until && status == GOMEM_OK) {
        const struct gomem_trace_event *e = &r->events[r->position];
        if (e->proc >= 0 && !take_proc(r, (uint32_t)e->proc % r->nprocs))
            return closed(r, err);
        if (r->position % SAFEPOINT_EVERY == 0 && !gomem_safepoint(r->proc))
            return closed(r, err);
        status = replay_event(r, r->position, err);
        r->now.time = e->time;
        r->position += status == GOMEM_OK;
    }
    release_proc(r);
    if (status != GOMEM_OK && gomem_runtime_is_closed(r->rt))
        return closed(r, err);
    return status;
}

enum gomem_status gomem_replay_sample(const struct gomem_replay *r, struct gomem_replay_sample *out)
{
    struct gomem_memstats m;
    enum gomem_status status = gomem_read_memstats(r->rt, &m);
    if (status != GOMEM_OK)
        return status;
    *out = r->now;
    out->position = r->position;
    out->heap_inuse = m.heap_inuse;
    out->stacks_inuse = m.stack_inuse;
    out->heap_free = m.heap_idle - m.heap_released;
    out->mapped_ready = m.mapped_ready;
    return GOMEM_OK;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void gomem_replay_forget(struct gomem_replay *r, uint64_t *addresses, size_t n)
{
    if (n == 0)
        return;
    qsort(addresses, n, sizeof *addresses, compare_addresses);
    for (size_t i = 0; i < r->position; i++) {
        if (r->own[i] <= LATER_PART || !is_object(&r->events[i]) ||
            bsearch(&r->own[i], addresses, n, sizeof *addresses, compare_addresses) == NULL)
            continue;
        gomem_init_root(&r->own[i], NULL);
        r->now.objects--;
        r->now.live_bytes -= requested(r, &r->events[i]);
    }
}

size_t gomem_replay_objects(const struct gomem_replay *r, uint64_t *addresses, uint32_t *events,
                            size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < r->position; i++) {
        if (r->own[i] <= LATER_PART || !is_object(&r->events[i]))
            continue;
        if (n < capacity) {
            addresses[n] = r->own[i];
            events[n] = (uint32_t)i;
        }
        n++;
    }
    return n;
}

enum gomem_status gomem_replay_free(struct gomem_replay *r, struct gomem_error *err)
{
    enum gomem_status status = GOMEM_OK;
    if (!take_proc(r, 0))
        return closed(r, err);
    for (size_t i = 0; i < r->position && status == GOMEM_OK; i++) {
        if (i % SAFEPOINT_EVERY == 0 && !gomem_safepoint(r->proc))
            return closed(r, err);
        if (is_stack(&r->events[i]))
            free_stack(r, i);
        else if (is_object(&r->events[i]))
            status = free_own(r, i, err);
    }
    release_proc(r);
    return status;
}
