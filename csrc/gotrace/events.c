/* Decoding and merging the events of all threads.
 *
 * Called through events.h.
 *
 * Concurrency: see events.h.
 * Go: see events.h.
 */
#include "gotrace/events.h"

#include <stdlib.h>
#include <string.h>

#include "gotrace/grow.h"
#include "gotrace/varint.h"
#include "platform/os_mem.h"

enum {
    EV_SPAN = 128, /* the first of nine of the allocation experiment, in the order of kinds */
    EV_SPAN_ALLOC,
    EV_SPAN_FREE,
    EV_OBJECT,
    EV_OBJECT_ALLOC,
    EV_OBJECT_FREE,
    EV_STACK_EXISTS,
    EV_STACK_ALLOC,
    EV_STACK_FREE,
    MAX_EVENT_BYTES = 1 + 5 * VARINT_MAX + VARINT_READABLE,
    MAX_ARGS = 4,
    HUGE_PAGE_BYTES = 2 << 20,
};

#define DEFAULT_FREQUENCY 15625000 /* units of 64 ns */
#define MAX_SPAN_PAGES    ((uint64_t)1 << 35)

/* clang-format off */
/* How many numbers an event has, its time included; 0: it does not stand in batches of events. */
static const uint8_t nnumbers[256] = {
    /* P and goroutines */
    [9] = 3, [10] = 3, [11] = 1, [12] = 4, [13] = 3, [14] = 4, [15] = 2, [16] = 3, [17] = 1,
    [18] = 1, [19] = 3, [20] = 3, [21] = 4, [22] = 3, [23] = 1, [24] = 1, [25] = 4,
    /* STW, GC, heap */
    [26] = 3, [27] = 1, [28] = 2, [29] = 3, [30] = 2, [31] = 2, [32] = 2, [33] = 3, [34] = 2,
    [35] = 2, [36] = 1, [37] = 2, [38] = 2,
    /* annotations, coroutines, GoStatusStack */
    [39] = 2, [40] = 5, [41] = 3, [42] = 4, [43] = 4, [44] = 5, [45] = 3, [46] = 3, [47] = 4,
    [48] = 5,
    [EV_SPAN] = 4, [EV_SPAN_ALLOC] = 4, [EV_SPAN_FREE] = 2,
    [EV_OBJECT] = 3, [EV_OBJECT_ALLOC] = 3, [EV_OBJECT_FREE] = 2,
    [EV_STACK_EXISTS] = 3, [EV_STACK_ALLOC] = 3, [EV_STACK_FREE] = 2,
};
/* clang-format on */

COLD bool event_fail_format(struct event_reader *r, const uint8_t *at, const char *expected)
{
    r->status = format_error(r->list, at, expected, r->err);
    return false;
}

static COLD bool fail_memory(struct event_reader *r)
{
    r->status = error_set(r->err, GOMEM_OUT_OF_MEMORY, "out of memory for a trace of %zu bytes",
                          r->list->file_size);
    return false;
}

/* --- Streams --- */

static int compare_batches(const void *left, const void *right)
{
    const struct batch *a = *(const struct batch *const *)left;
    const struct batch *b = *(const struct batch *const *)right;
    if (a->m != b->m)
        return a->m < b->m ? -1 : 1;
    return a->data < b->data ? -1 : a->data > b->data;
}

/* Sorts the batches of events by M, and makes the streams. */
static bool make_streams(struct event_reader *r)
{
    size_t n = 0;
    r->batches = calloc(MAX(r->list->n, 1), sizeof *r->batches);
    if (r->batches == NULL)
        return fail_memory(r);
    for (size_t i = 0; i < r->list->n; i++)
        if (r->list->batches[i].kind == BATCH_EVENTS)
            r->batches[n++] = &r->list->batches[i];
    qsort(r->batches, n, sizeof *r->batches, compare_batches);
    for (size_t i = 0; i < n; i++)
        r->nstreams += i == 0 || r->batches[i]->m != r->batches[i - 1]->m;
    r->streams = calloc(MAX(r->nstreams, 1), sizeof *r->streams);
    r->heap = calloc(MAX(r->nstreams, 1), sizeof *r->heap);
    if (r->streams == NULL || r->heap == NULL)
        return fail_memory(r);
    struct stream *s = r->streams - 1;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || r->batches[i]->m != r->batches[i - 1]->m)
            *++s = (struct stream){.next = &r->batches[i],
                                   .m = r->batches[i]->m,
                                   .order = (uint32_t)(r->batches[i] - r->list->batches),
                                   .proc = -1};
        s->last = &r->batches[i + 1];
    }
    return true;
}

/* Makes room for more events. They are written once, from front to back: with huge pages the kernel
 * has less to do. */
static bool grow_events(struct event_reader *r, size_t more)
{
    struct os_mem om = {.huge_page_size = HUGE_PAGE_BYTES};
    size_t old = r->capacity;
    struct gomem_trace_event *grown =
        array_grow(r->events, &r->capacity, r->nevents, more, sizeof *grown);
    if (grown == NULL)
        return fail_memory(r);
    if (r->capacity != old)
        os_huge_page(&om, grown, r->capacity * sizeof *grown);
    r->events = r->tracker.events = grown;
    return true;
}

/* Room for all events that the batches at hand can hold: two bytes make an event. */
static bool reserve(struct event_reader *r)
{
    if (LIKELY(r->capacity - r->nevents >= r->promised))
        return true;
    if (r->nevents + r->promised >= UINT32_MAX) {
        r->status = error_set(r->err, GOMEM_BAD_FORMAT, "a trace of more than 2^32 events");
        return false;
    }
    return grow_events(r, r->promised);
}

/* Reads the type and time of the event that begins at s->p; *more: it is whole so far. */
static ALWAYS_INLINE bool peek(struct event_reader *r, struct stream *s, bool *more)
{
    const uint8_t *p = s->at = s->p;
    uint64_t delta;
    s->type = *p;
    if (LIKELY(p < r->fast_limit))
        p = varint_read_short(p + 1, &delta);
    else
        p = varint_read(p + 1, s->end, &delta);
    if (UNLIKELY(p == NULL || p > s->end)) {
        *more = false;
        return s->batch->partial ||
               event_fail_format(r, s->at, "an event with its time within its batch");
    }
    if (UNLIKELY(__builtin_add_overflow(s->batch_time, delta, &s->batch_time)))
        return event_fail_format(r, s->at, "an event with a time below 2^64");
    s->time = MAX(s->time, s->batch_time);
    s->p = p;
    *more = true;
    return true;
}

/* Goes to the next batch with an event; *more: there is one. */
static NOINLINE bool next_batch(struct event_reader *r, struct stream *s, bool *more)
{
    if (s->batch != NULL)
        r->promised -= s->batch->size / 2;
    while (s->next < s->last) {
        s->batch = *s->next++;
        s->p = s->batch->data;
        s->end = s->p + s->batch->size;
        s->batch_time = s->batch->time;
        if (s->p == s->end)
            continue;
        r->promised += s->batch->size / 2;
        return reserve(r) && peek(r, s, more);
    }
    s->batch = NULL;
    *more = false;
    return true;
}

/* --- The heap of streams --- */

static ALWAYS_INLINE bool is_before(const struct stream *a, const struct stream *b)
{
    return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void sift_down(struct event_reader *r, size_t i)
{
    struct stream *s = r->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= r->nheap)
            break;
        if (child + 1 < r->nheap && is_before(r->heap[child + 1], r->heap[child]))
            child++;
        if (!is_before(r->heap[child], s))
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = s;
}

static bool fill_heap(struct event_reader *r)
{
    for (size_t i = 0; i < r->nstreams; i++) {
        bool more;
        if (!next_batch(r, &r->streams[i], &more))
            return false;
        if (more)
            r->heap[r->nheap++] = &r->streams[i];
    }
    for (size_t i = r->nheap / 2; i-- > 0;)
        sift_down(r, i);
    return true;
}

/* The stream whose turn comes after the first one's; NULL if that is the last. */
static const struct stream *second(const struct event_reader *r)
{
    if (r->nheap < 2)
        return NULL;
    return r->nheap > 2 && is_before(r->heap[2], r->heap[1]) ? r->heap[2] : r->heap[1];
}

/* --- Events --- */

static ALWAYS_INLINE bool set_now(struct event_reader *r, const struct stream *s)
{
    uint64_t units = s->time - r->first_time;
    if (UNLIKELY(units > r->max_time))
        return event_fail_format(r, s->at, "an event within 2^62 ns of the first one");
    if (LIKELY(r->whole_ns_per_unit != 0)) /* 64, but on machines without a clock of ns */
        r->now = (int64_t)(units * r->whole_ns_per_unit);
    else
        r->now = (int64_t)((double)units * r->ns_per_unit);
    return true;
}

static ALWAYS_INLINE struct gomem_trace_event *add(struct event_reader *r, const struct stream *s,
                                                   enum gomem_trace_kind kind)
{
    struct gomem_trace_event *e = &r->events[r->nevents++];
    r->facts.counts[kind]++;
    *e = (struct gomem_trace_event){
        .time = r->now,
        .link = GOMEM_TRACE_NO_LINK,
        .proc = s->proc,
        .kind = (uint8_t)kind,
    };
    return e;
}

struct gomem_trace_event *event_add(struct event_reader *r, const struct stream *s,
                                    enum gomem_trace_kind kind)
{
    return add(r, s, kind);
}

static NOINLINE bool span_or_stack(struct event_reader *r, struct stream *s, unsigned type,
                                   const uint64_t *args)
{
    uint32_t index = (uint32_t)r->nevents;
    struct gomem_trace_event *e = add(r, s, (enum gomem_trace_kind)(type - EV_SPAN));
    e->address = args[0];
    switch (type) {
    case EV_SPAN:
    case EV_SPAN_ALLOC:
        if (args[1] > MAX_SPAN_PAGES)
            return event_fail_format(r, s->at, "a span of at most 2^48 bytes");
        e->type = (uint32_t)MIN(args[2], UINT32_MAX);
        return track_span_new(&r->tracker, index, args[1]) || fail_memory(r);
    case EV_SPAN_FREE:
        track_span_free(&r->tracker, index);
        return true;
    case EV_STACK_EXISTS:
    case EV_STACK_ALLOC:
        return track_stack_new(&r->tracker, index, args[1]) || fail_memory(r);
    default:
        track_stack_free(&r->tracker, index);
        return true;
    }
}

/* What the event means, its arguments read. */
static ALWAYS_INLINE bool handle(struct event_reader *r, struct stream *s, unsigned type,
                                 const uint64_t *args)
{
    if (UNLIKELY(!set_now(r, s)))
        return false;
    uint32_t index = (uint32_t)r->nevents;
    struct gomem_trace_event *e;
    switch (type) {
    case EV_OBJECT_FREE:
        e = add(r, s, GOMEM_TRACE_OBJECT_FREE);
        e->address = args[0];
        track_object_free(&r->tracker, index);
        return true;
    case EV_OBJECT_ALLOC:
    case EV_OBJECT:
        e = add(r, s, (enum gomem_trace_kind)(type - EV_SPAN));
        e->address = args[0];
        e->type = tables_type(&r->tables->generations[s->batch->generation], args[1]);
        return track_object_new(&r->tracker, index) || fail_memory(r);
    case EV_SPAN:
    case EV_SPAN_ALLOC:
    case EV_SPAN_FREE:
    case EV_STACK_EXISTS:
    case EV_STACK_ALLOC:
    case EV_STACK_FREE:
        return span_or_stack(r, s, type, args);
    default:
        return schedule_event(r, s, type, args);
    }
}

/* The arguments of the event at hand, up to the end of the batch; false: it is not whole. */
static NOINLINE bool read_args_slow(struct event_reader *r, struct stream *s, unsigned n,
                                    uint64_t *args)
{
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *next = varint_read(s->p, s->end, &args[i]);
        if (next == NULL) {
            if (!s->batch->partial)
                (void)event_fail_format(r, s->at, "an event that ends within its batch");
            return false;
        }
        s->p = next;
    }
    return true;
}

/* The arguments of an event, where a whole one may be read; NULL or a position behind the end of
 * the batch: look again. */
static ALWAYS_INLINE const uint8_t *read_args(const uint8_t *p, unsigned type, unsigned n,
                                              uint64_t *args)
{
    if (LIKELY(type == EV_OBJECT_FREE))
        return varint_read_long(p, &args[0]);
    if (LIKELY(type == EV_OBJECT_ALLOC)) {
        p = varint_read_long(p, &args[0]);
        return LIKELY(p != NULL) ? varint_read_short(p, &args[1]) : NULL;
    }
    for (unsigned i = 0; p != NULL && i < n; i++)
        p = varint_read_short(p, &args[i]);
    return p;
}

/* Handles the event at hand and looks at the next one; *more: the stream has one. */
static ALWAYS_INLINE bool step(struct event_reader *r, struct stream *s, bool *more)
{
    uint64_t args[MAX_ARGS];
    unsigned type = s->type, n = nnumbers[type];
    if (UNLIKELY(n-- == 0))
        return event_fail_format(r, s->at, "an event of a known kind");
    const uint8_t *p = LIKELY(s->p < r->fast_limit) ? read_args(s->p, type, n, args) : NULL;
    if (LIKELY(p != NULL && p <= s->end)) {
        s->p = p;
    } else if (!read_args_slow(r, s, n, args)) {
        *more = false;
        return r->status == GOMEM_OK;
    }
    if (UNLIKELY(!handle(r, s, type, args)))
        return false;
    return LIKELY(s->p < s->end) ? peek(r, s, more) : next_batch(r, s, more);
}

/* Takes events from the first stream while it is its turn. */
static bool run(struct event_reader *r, bool *more)
{
    struct stream *s = r->heap[0];
    const struct stream *other = second(r);
    do {
        if (UNLIKELY(!step(r, s, more)))
            return false;
    } while (*more && (other == NULL || is_before(s, other)));
    return true;
}

static bool merge(struct event_reader *r)
{
    if (r->nheap > 0)
        r->first_time = r->heap[0]->time;
    while (r->nheap > 0) {
        bool more;
        if (!run(r, &more))
            return false;
        if (!more)
            r->heap[0] = r->heap[--r->nheap];
        sift_down(r, 0);
    }
    return true;
}

enum gomem_status events_read(struct event_reader *r, const struct batch_list *list,
                              struct tables *tables, const struct size_class_table *classes,
                              struct gomem_error *err)
{
    *r = (struct event_reader){.list = list, .tables = tables, .err = err, .status = GOMEM_OK};
    uint64_t frequency = tables->frequency == 0 ? DEFAULT_FREQUENCY : tables->frequency;
    r->ns_per_unit = 1e9 / (double)frequency;
    r->whole_ns_per_unit = 1000000000 % frequency == 0 ? 1000000000 / frequency : 0;
    r->max_time = (uint64_t)MIN(0x1p62 / r->ns_per_unit, 0x1p62);
    r->facts.max_proc = -1;
    if (list->file_size > MAX_EVENT_BYTES)
        r->fast_limit = list->file + list->file_size - MAX_EVENT_BYTES;
    map_init(&r->assists);
    if (!tracker_init(&r->tracker, tables, classes, &r->facts)) {
        (void)fail_memory(r);
        return r->status;
    }
    /* Events of the allocation experiment take 5 to 6 bytes. */
    if (grow_events(r, list->file_size / 5 + 1) && make_streams(r) && fill_heap(r))
        (void)merge(r);
    if (r->status == GOMEM_OK)
        tiny_infer_sizes(&r->tracker, tables->types);
    return r->status;
}

void events_free(struct event_reader *r)
{
    tracker_free(&r->tracker);
    map_free(&r->assists);
    free(r->batches);
    free(r->streams);
    free(r->heap);
}
