/* The outer structure of a trace: a header, then batches, in generations.
 *
 * batches_scan finds where every batch is, without looking into it, in one pass; tables.c and
 * events.c do the looking. A file may end anywhere: what is whole counts, and of the last batch of
 * events what there is of it.
 *
 * Concurrency: none; a struct batch_list belongs to the reader that fills it.
 * Go: internal/trace/batch.go and generation.go, readGeneration and readGenerationWithSpill.
 */
#ifndef GOMEM_GOTRACE_BATCH_H
#define GOMEM_GOTRACE_BATCH_H

#include <stddef.h>

#include "base/status.h"
#include "gomem.h"

/* Numbers of the format that more than one file needs (tracev2.Ev...). */
enum trace_byte {
    EV_EVENT_BATCH = 1,
    EV_STACKS = 2,
    EV_STRINGS = 4,
    EV_STRING = 5,
    EV_CPU_SAMPLES = 6,
    EV_FREQUENCY = 8,
    EV_EXPERIMENTAL_BATCH = 49,
    EV_SYNC = 50,
    EV_CLOCK_SNAPSHOT = 51,
    EV_END_OF_GENERATION = 52,
    EXPERIMENT_ALLOC_FREE = 1,
};

enum {
    TRACE_HEADER_BYTES = 16,
    MAX_BATCH_BYTES = 64 << 10, /* of the format: larger ones are no batches */
    MAX_STRING_BYTES = 1 << 10,
};

enum batch_kind {
    BATCH_EVENTS,
    BATCH_STRINGS,
    BATCH_SYNC,
    BATCH_ALLOC_FREE, /* tables of the allocation experiment */
    BATCH_OTHER,      /* stacks, CPU samples, other experiments: not read */
};

struct batch {
    const uint8_t *data; /* behind the header */
    uint32_t size;
    uint32_t generation; /* index, from 0 */
    uint64_t m;
    uint64_t time;
    uint32_t thread; /* of events: index of the M's stream (events.c) */
    uint8_t kind;
    bool partial; /* the file ends in the middle of it */
};

struct batch_list {
    const uint8_t *file;
    size_t file_size;
    unsigned go_minor;
    struct batch *batches;
    size_t n, capacity;
    uint32_t generations, complete_generations;
    bool truncated;
    size_t truncated_at;
};

/* Fills *list. GOMEM_BAD_FORMAT says what is wrong and at which byte; the list is empty then. */
MUST_USE enum gomem_status batches_scan(struct batch_list *list, const uint8_t *file, size_t size,
                                        struct gomem_error *err);
void batches_free(struct batch_list *list);

/* "...: <what> at byte n". */
COLD enum gomem_status format_error(const struct batch_list *list, const uint8_t *at,
                                    const char *expected, struct gomem_error *err);

#endif
