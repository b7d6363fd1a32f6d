/* The threads of a generation that have events left, the one with the earliest first.
 *
 * A heap by the times of the threads' next events. When the earliest event cannot come yet,
 * events.c has it sorted, and asks the threads one by one. Of events with the same time it is the
 * arrangement in the array that decides; so that the order is the same as in Go's reader to the
 * last event, every operation, the sort included, moves entries as it does there.
 *
 * Called by events.c.
 *
 * Invariant: no entry is earlier than its parent, that of entry i being (i - 1) / 2.
 *
 * Concurrency: none; owned by the reader.
 * Go: internal/trace/batchcursor.go (heapInsert, heapUpdate, heapRemove), slices.SortFunc.
 */
#ifndef GOMEM_GOTRACE_FRONTIER_H
#define GOMEM_GOTRACE_FRONTIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct frontier_entry {
    uint64_t time; /* of the thread's next event */
    uint32_t thread;
};

struct frontier {
    struct frontier_entry *at, *spare; /* two arrays; the second for the sort */
    size_t n;
};

/* For up to `threads` threads. false: out of memory. */
MUST_USE bool frontier_init(struct frontier *f, size_t threads);
void frontier_free(struct frontier *f);
void frontier_insert(struct frontier *f, struct frontier_entry entry);
/* Entry i has another time now. */
void frontier_update(struct frontier *f, size_t i, uint64_t time);
void frontier_remove(struct frontier *f, size_t i);
/* From the earliest to the latest, which is a heap, too. */
void frontier_sort(struct frontier *f);

/* Entry 0 comes first as long as its time is not above this. */
static inline uint64_t frontier_limit(const struct frontier *f)
{
    uint64_t limit = f->n > 1 ? f->at[1].time : UINT64_MAX;
    return f->n > 2 && f->at[2].time < limit ? f->at[2].time : limit;
}

#endif
