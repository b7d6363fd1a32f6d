/* Decoding the events of all threads and merging them.
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
    MAX_THREADS = 1 << 14, /* of a generation: looking for one that can go on takes time */
    HUGE_PAGE_BYTES = 2 << 20,
};

#define MAX_SPAN_PAGES ((uint64_t)1 << 35)
#define MAX_TIME       ((uint64_t)1 << 62)

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

/* Sorts the batches of events by M, and makes streams and threads. */
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
    r->threads = calloc(MAX(r->nstreams, 1), sizeof *r->threads);
    if (r->streams == NULL || r->threads == NULL)
        return fail_memory(r);
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || r->batches[i]->m != r->batches[i - 1]->m) {
            last++;
            r->threads[last] = (struct thread){.m = r->batches[i]->m, .proc = -1};
            r->streams[last].thread = &r->threads[last];
            r->streams[last].next = &r->batches[i];
        }
        r->streams[last].last = &r->batches[i + 1];
        r->list->batches[r->batches[i] - r->list->batches].thread = last;
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

static COLD bool fail_time(struct event_reader *r, const uint8_t *at)
{
    return event_fail_format(r, at, "an event within 2^62 ns of the clock's zero");
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
    if (UNLIKELY(delta > r->unit.max))
        return fail_time(r, s->at);
    s->time += unit_ns(&r->unit, delta);
    if (UNLIKELY(s->time > MAX_TIME))
        return fail_time(r, s->at);
    s->p = p;
    *more = true;
    return true;
}

/* Goes to the next batch with an event in this generation; *more: there is one. */
static NOINLINE bool next_batch(struct event_reader *r, struct stream *s, bool *more)
{
    if (s->batch != NULL)
        r->promised -= s->batch->size / 2;
    while (s->next < s->last && (*s->next)->generation == r->order.generation) {
        s->batch = *s->next++;
        s->p = s->batch->data;
        s->end = s->p + s->batch->size;
        if (s->p == s->end)
            continue;
        if (s->batch->time > r->unit.max)
            return fail_time(r, s->p);
        s->time = unit_ns(&r->unit, s->batch->time);
        r->promised += s->batch->size / 2;
        return reserve(r) && peek(r, s, more);
    }
    s->batch = NULL;
    *more = false;
    return true;
}

/* --- Events --- */

static ALWAYS_INLINE void set_now(struct event_reader *r, const struct stream *s)
{
    r->clock = MAX(s->time, r->clock + 1);
    if (UNLIKELY(r->first == 0))
        r->first = r->clock;
    r->now = (int64_t)(r->clock - r->first);
}

static ALWAYS_INLINE struct gomem_trace_event *add(struct event_reader *r, const struct stream *s,
                                                   enum gomem_trace_kind kind)
{
    struct gomem_trace_event *e = &r->events[r->nevents++];
    r->facts.counts[kind]++;
    *e = (struct gomem_trace_event){
        .time = r->now,
        .link = GOMEM_TRACE_NO_LINK,
        .proc = s->thread->proc,
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
        return track_span_free(&r->tracker, index) || fail_memory(r);
    case EV_STACK_EXISTS:
    case EV_STACK_ALLOC:
        return track_stack_new(&r->tracker, index, args[1]) || fail_memory(r);
    default:
        track_stack_free(&r->tracker, index);
        return true;
    }
}

enum step { STEP_FAILED, STEP_WAITS, STEP_ENDED, STEP_WENT };

/* An event did not come. */
static NOINLINE enum step missed(struct event_reader *r, struct stream *s, unsigned type,
                                 const uint64_t *args, enum order_verdict verdict)
{
    char expected[300];
    if (verdict == ORDER_NO_MEMORY) {
        (void)fail_memory(r);
        return STEP_FAILED;
    }
    bool waits = verdict == ORDER_WAITS || (verdict == ORDER_IMPOSSIBLE && r->forced);
    if (waits && !r->stuck)
        return STEP_WAITS;
    order_explain(&r->order, s->thread, type, args, expected, sizeof expected);
    if (waits)
        r->status = error_set(r->err, GOMEM_BAD_FORMAT,
                              "broken trace: no thread can go on, expected %s at byte %zu",
                              expected, (size_t)(s->at - r->list->file));
    else
        (void)event_fail_format(r, s->at, expected);
    return STEP_FAILED;
}

/* Lets an event that is not of the experiment come, if it can. */
static ALWAYS_INLINE enum step advance(struct event_reader *r, struct stream *s, unsigned type,
                                       const uint64_t *args, bool force)
{
    enum order_verdict verdict = force ? order_force(&r->order, s->thread, type, args)
                                       : order_advance(&r->order, s->thread, type, args);
    if (UNLIKELY(verdict != ORDER_CAME))
        return missed(r, s, type, args, verdict);
    set_now(r, s);
    if (UNLIKELY(!schedule_event(r, s, type, args)))
        return STEP_FAILED;
    r->clock += r->order.extra;
    r->now += r->order.extra;
    r->order.extra = 0;
    return STEP_WENT;
}

/* The same of one of the experiment, which can come at any time. */
static ALWAYS_INLINE bool handle(struct event_reader *r, struct stream *s, unsigned type,
                                 const uint64_t *args)
{
    set_now(r, s);
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
    default:
        return span_or_stack(r, s, type, args);
    }
}

/* The arguments of the event at hand, up to the end of the batch; NULL: it is not whole. */
static NOINLINE const uint8_t *read_args_slow(struct event_reader *r, const struct stream *s,
                                              unsigned n, uint64_t *args)
{
    const uint8_t *p = s->p;
    for (unsigned i = 0; p != NULL && i < n; i++)
        p = varint_read(p, s->end, &args[i]);
    if (p == NULL && !s->batch->partial)
        (void)event_fail_format(r, s->at, "an event that ends within its batch");
    return p;
}

/* The same without looking for the end: NULL or a position behind it mean that it must be done. */
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

/* Lets the event at hand come, and looks at the next one. STEP_ENDED: there is none. */
static ALWAYS_INLINE enum step step(struct event_reader *r, struct stream *s, bool force)
{
    uint64_t args[MAX_ARGS];
    unsigned type = s->type, n = nnumbers[type];
    if (UNLIKELY(n-- == 0)) {
        (void)event_fail_format(r, s->at, "an event of a known kind");
        return STEP_FAILED;
    }
    const uint8_t *p = LIKELY(s->p < r->fast_limit) ? read_args(s->p, type, n, args) : NULL;
    if (UNLIKELY(p == NULL || p > s->end)) {
        p = read_args_slow(r, s, n, args);
        if (p == NULL)
            return r->status == GOMEM_OK ? STEP_ENDED : STEP_FAILED;
    }
    if (type < EV_SCHEDULE_END) {
        enum step done = advance(r, s, type, args, force);
        if (UNLIKELY(done != STEP_WENT))
            return done;
    } else if (UNLIKELY(!handle(r, s, type, args))) {
        return STEP_FAILED;
    }
    bool more;
    s->p = p;
    if (UNLIKELY(!(LIKELY(p < s->end) ? peek(r, s, &more) : next_batch(r, s, &more))))
        return STEP_FAILED;
    return LIKELY(more) ? STEP_WENT : STEP_ENDED;
}

/* --- All of them --- */

static struct stream *stream_at(const struct event_reader *r, size_t i)
{
    return &r->streams[r->frontier.at[i].thread];
}

/* Takes events from the earliest stream while it is the earliest. */
static enum step run(struct event_reader *r)
{
    struct stream *s = stream_at(r, 0);
    uint64_t limit = frontier_limit(&r->frontier);
    enum step done;
    do {
        done = step(r, s, false);
    } while (done == STEP_WENT && s->time <= limit);
    r->frontier.at[0].time = s->time;
    return done;
}

static bool is_waiting(const struct event_reader *r, size_t i)
{
    return order_still_waits(&r->order, stream_at(r, i)->thread);
}

/* Tries stream i, the frontier being sorted, and goes on with it as long as it would be its turn
 * again: those before it still wait, since events of the experiment change nothing for them, and
 * its place is the same. */
static enum step run_other(struct event_reader *r, size_t i)
{
    const struct frontier_entry *e = &r->frontier.at[i];
    struct stream *s = stream_at(r, i);
    uint64_t limit = i + 1 < r->frontier.n ? e[1].time : UINT64_MAX;
    unsigned type = s->type;
    enum step done = step(r, s, false);
    if (done != STEP_WENT || i == 0 || !is_waiting(r, 0)) /* equals may have changed places */
        return done;
    while (done == STEP_WENT && type >= EV_SCHEDULE_END && s->time <= limit &&
           s->time >= e[-1].time) {
        type = s->type;
        done = step(r, s, false);
    }
    return done == STEP_WAITS ? STEP_WENT : done;
}

/* The earliest event waits, and so do all others. */
static COLD enum step force_first(struct event_reader *r)
{
    r->forced = r->partial;
    r->stuck = !r->partial;
    return step(r, stream_at(r, 0), r->forced);
}

/* The earliest event waits: takes one from the earliest stream that can go on, number *i then. */
static NOINLINE enum step go_around(struct event_reader *r, size_t *i)
{
    size_t n = r->frontier.n;
    frontier_sort(&r->frontier);
    for (size_t k = 1; k <= n; k++) {
        *i = k < n ? k : 0;
        if (is_waiting(r, *i))
            continue;
        enum step done = run_other(r, *i);
        if (done != STEP_WAITS)
            return done;
    }
    *i = 0;
    return force_first(r);
}

static bool merge_generation(struct event_reader *r)
{
    struct frontier *f = &r->frontier;
    while (f->n > 0) {
        size_t i = 0;
        enum step done = run(r);
        if (UNLIKELY(done == STEP_WAITS))
            done = go_around(r, &i);
        if (UNLIKELY(done == STEP_FAILED))
            return false;
        if (UNLIKELY(done == STEP_ENDED))
            frontier_remove(f, i);
        else
            frontier_update(f, i, stream_at(r, i)->time);
    }
    return true;
}

/* Goes to the generation that begins with batch number `at`. */
static void begin_generation(struct event_reader *r, size_t at)
{
    const struct batch_list *list = r->list;
    uint32_t generation = list->batches[at].generation;
    r->order.generation = generation;
    r->unit = tables_unit(r->tables, generation);
    r->partial = generation >= list->complete_generations ||
                 (list->go_minor < 26 && generation + 1 == list->generations);
    uint64_t earliest = 0;
    for (; at < list->n && list->batches[at].generation == generation; at++)
        if (earliest == 0 || list->batches[at].time < earliest)
            earliest = list->batches[at].time;
    /* Go's reader has an event here, too. */
    r->clock = MAX(unit_ns(&r->unit, MIN(earliest, r->unit.max)), r->clock + 1);
}

/* The streams of the generation that begins with batch *at, in the order of the file; *at: the
 * first batch behind it. */
static bool fill_frontier(struct event_reader *r, size_t *at)
{
    const struct batch_list *list = r->list;
    for (; *at < list->n && list->batches[*at].generation == r->order.generation; ++*at) {
        const struct batch *b = &list->batches[*at];
        struct stream *s = &r->streams[b->thread];
        bool more;
        if (b->kind != BATCH_EVENTS || s->batch != NULL || s->next == s->last || *s->next != b)
            continue;
        if (!next_batch(r, s, &more))
            return false;
        if (!more)
            continue;
        if (r->frontier.n == MAX_THREADS)
            return event_fail_format(r, s->at, "at most 16384 threads with events");
        frontier_insert(&r->frontier, (struct frontier_entry){s->time, b->thread});
    }
    if (r->frontier.n > 0 && r->order.first_generation == UINT32_MAX)
        r->order.first_generation = r->order.generation;
    return true;
}

static bool merge(struct event_reader *r)
{
    for (size_t at = 0; at < r->list->n;) {
        begin_generation(r, at);
        if (!fill_frontier(r, &at) || !merge_generation(r))
            return false;
    }
    return true;
}

enum gomem_status events_read(struct event_reader *r, const struct batch_list *list,
                              struct tables *tables, const struct size_class_table *classes,
                              struct gomem_error *err)
{
    *r = (struct event_reader){.list = list, .tables = tables, .err = err, .status = GOMEM_OK};
    if (list->file_size > MAX_EVENT_BYTES)
        r->fast_limit = list->file + list->file_size - MAX_EVENT_BYTES;
    map_init(&r->assists);
    /* Events of the allocation experiment take 5 to 6 bytes. */
    bool made = tracker_init(&r->tracker, tables, classes, &r->facts) &&
                grow_events(r, list->file_size / 5 + 1) && make_streams(r) &&
                order_init(&r->order, r->threads, r->nstreams) &&
                frontier_init(&r->frontier, MIN(r->nstreams, MAX_THREADS));
    if (!made)
        (void)fail_memory(r);
    else if (merge(r))
        tiny_infer_sizes(&r->tracker, tables->types);
    return r->status;
}

void events_free(struct event_reader *r)
{
    tracker_free(&r->tracker);
    order_free(&r->order);
    frontier_free(&r->frontier);
    map_free(&r->assists);
    free(r->batches);
    free(r->streams);
    free(r->threads);
}
