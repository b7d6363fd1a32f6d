/* The events of a trace: merged over threads, decoded, and written into one array.
 *
 * Each thread (M) has its events in its own batches, in order. Generation by generation events_read
 * takes at every step the thread whose next event is earliest (frontier.c), if that event can come
 * next (order.c), else the earliest that can. If there is none the trace is broken; in a generation
 * that the end of the file cuts off, the earliest event comes.
 *
 * Times are those of Go's reader, where every event is later than the one before, by a nanosecond
 * if its own time is not; but CPU samples, which are not read, do not count.
 *
 * Called by reader.c, when the tables are known.
 *
 * Concurrency: none; owned by the reader.
 * Go: internal/trace/reader.go, batchcursor.go.
 */
#ifndef GOMEM_GOTRACE_EVENTS_H
#define GOMEM_GOTRACE_EVENTS_H

#include "gotrace/frontier.h"
#include "gotrace/order.h"
#include "gotrace/track.h"

/* The events of one M. */
struct stream {
    const struct batch **next, **last; /* its batches that are still to come */
    const struct batch *batch;         /* the one at hand */
    const uint8_t *at;                 /* the event that comes next */
    const uint8_t *p, *end;            /* behind its type and time; the end of the batch */
    uint64_t time;                     /* of that event, in ns */
    struct thread *thread;
    uint32_t worker, sweep; /* index + 1 of the BEGIN of what goes on here */
    uint8_t type;           /* of the event that comes next */
};

struct event_reader {
    const struct batch_list *list;
    struct tables *tables;
    struct tracker tracker;
    struct gomem_trace_facts facts;
    struct gomem_trace_event *events;
    size_t nevents, capacity;
    size_t promised;           /* events the batches at hand may hold: there is room for them */
    const uint8_t *fast_limit; /* up to here an event may be read without looking for the end */

    const struct batch **batches; /* of events, by M and order in the file */
    struct stream *streams;       /* by M, as the threads */
    struct thread *threads;
    size_t nstreams;
    struct frontier frontier;
    struct order order;
    bool partial; /* the generation is not whole, or it can not be known that it is */
    bool forced;  /* so that an event came that waited for another one */
    bool stuck;   /* the next event that waits is an error */

    struct time_unit unit; /* in the generation at hand */
    uint64_t clock;        /* ns, of the last event in the order */
    uint64_t first;        /* ns, of the first one; 0: there was none */
    int64_t now;           /* ns after the first one, of the event at hand */
    uint32_t gc, stw;      /* index + 1 of the BEGIN of what goes on */
    struct map assists;    /* goroutine to index + 1 of its BEGIN */

    enum gomem_status status;
    struct gomem_error *err;
};

MUST_USE enum gomem_status events_read(struct event_reader *r, const struct batch_list *list,
                                       struct tables *tables,
                                       const struct size_class_table *classes,
                                       struct gomem_error *err);
/* Frees everything but the array of events. */
void events_free(struct event_reader *r);

/* events.c hands over all events that are not of the allocation experiment (schedule.c): their
 * type, and up to 4 arguments behind the time. false: r->status says why. */
MUST_USE bool schedule_event(struct event_reader *r, struct stream *s, unsigned type,
                             const uint64_t *args);
/* Another event of the stream, now. There is room for one for each that was read. */
struct gomem_trace_event *event_add(struct event_reader *r, const struct stream *s,
                                    enum gomem_trace_kind kind);
/* Sets r->status: at byte `at` something else was expected; false. */
bool event_fail_format(struct event_reader *r, const uint8_t *at, const char *expected);

#endif
