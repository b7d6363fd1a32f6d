/* The events of a trace: merged over threads, decoded, and written into one array.
 *
 * Each thread (M) has its events in its own batches, in order. events_read takes at every step the
 * thread whose next event is earliest, and goes on with it until another one's turn comes.
 *
 * Called by reader.c, when the tables are known.
 *
 * Concurrency: none; owned by the reader.
 * Go: internal/trace/reader.go, batchcursor.go; of order.go only where Ps and goroutines are.
 */
#ifndef GOMEM_GOTRACE_EVENTS_H
#define GOMEM_GOTRACE_EVENTS_H

#include "gotrace/track.h"

/* The events of one M. */
struct stream {
    const struct batch **next, **last; /* its batches that are still to come */
    const struct batch *batch;         /* the one at hand */
    const uint8_t *at;                 /* the event that comes next */
    const uint8_t *p, *end;            /* behind its type and time; the end of the batch */
    uint64_t time;                     /* of that event, in clock units; never falls */
    uint64_t batch_time;               /* the clock as the batch tells it, may be behind */
    uint64_t m;
    uint64_t goroutine;     /* that runs on it; 0: none or not known */
    uint32_t order;         /* streams with events of the same time: the lower goes first */
    uint32_t worker, sweep; /* index + 1 of the BEGIN of what goes on here */
    int16_t proc;
    uint8_t type;    /* of the event that comes next */
    bool in_syscall; /* since it had its P */
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
    struct stream *streams;
    size_t nstreams;
    struct stream **heap; /* those that have events left; the earliest first */
    size_t nheap;

    uint64_t first_time;
    double ns_per_unit;
    uint64_t whole_ns_per_unit; /* the same if it is a whole number; else 0 */
    uint64_t max_time;          /* units after first_time that are less than 2^62 ns */
    int64_t now;                /* ns */
    uint32_t gc, stw;           /* index + 1 of the BEGIN of what goes on */
    struct map assists;         /* goroutine to index + 1 of its BEGIN */

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
