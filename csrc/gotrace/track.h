/* Follows what lives where, event by event: gives events their sizes and links, and counts.
 *
 * Address space is looked up in chunks of 16 pages; a page leads to its span, a span to its slots,
 * a slot to the event of the object in it. What is freed leads back to the event that announced it.
 * Neither Go's order nor the times say of two threads what each did with memory first (waiting.h):
 * something can seem to be allocated where something else lives still. The older one then waits for
 * its free; a span that waits keeps its objects.
 *
 * Called by events.c for every event of the allocation experiment.
 *
 * Invariants: a page leads to the span that was last allocated over it, and to none once that is
 * freed; a slot has the event of its object (of a tiny block: of its first), or none.
 *
 * Concurrency: none; owned by the reader.
 * Go: runtime/traceallocfree.go says what the events mean; mheap.go, mbitmap.go where things lie.
 */
#ifndef GOMEM_GOTRACE_TRACK_H
#define GOMEM_GOTRACE_TRACK_H

#include "gotrace/map.h"
#include "gotrace/reader.h"
#include "gotrace/tables.h"
#include "gotrace/waiting.h"
#include "heap/sizeclass.h"

enum {
    TRACK_PAGE_SHIFT = 13,
    CHUNK_PAGES = 16,
    CHUNK_SHIFT = TRACK_PAGE_SHIFT + 4,
    CHUNK_CACHE = 256,
    BLOCK_SLOTS = 32, /* slots, or numbers of blocks, are kept in blocks of this many */
    SLOTS_AHEAD = 8,  /* a cache line of them */
    MAX_COVERED = 64,
    TINY_SPAN_CLASS = 2 << 1 | 1,
    MAX_PARTS = 16,
};

struct track_span {
    uint64_t base, bytes;
    uint64_t elem_size; /* 0: the span holds no objects */
    uint32_t div_magic; /* 0: a large object */
    uint32_t nslots;
    uint32_t event;
    uint32_t slots; /* block of slots, or of up to 32 blocks of slots; 0 none yet */
    uint8_t span_class;
    bool header;  /* objects begin 8 bytes into their slots */
    bool covered; /* by newer spans: it waits for its free */
};

struct track_slot {
    uint32_t number; /* index of the event of what lives there + 1; 0: nothing */
    uint32_t type;   /* and its type, so that its free needs not look at the event */
};

/* Slots of a span, or numbers of blocks of them. */
union track_block {
    struct track_slot slots[BLOCK_SLOTS];
    uint32_t numbers[BLOCK_SLOTS];
};

struct track_chunk {
    uint32_t spans[CHUNK_PAGES]; /* index in tracker.spans, 0 none */
};

enum track_what { TRACK_OBJECT, TRACK_STACK, TRACK_SPAN };

struct tracker {
    struct gomem_trace_event *events; /* the array, wherever it is now */
    struct gomem_trace_facts *facts;
    const struct size_class_table *classes;
    uint64_t min_heap_address, min_stack;

    struct map chunk_map; /* address >> CHUNK_SHIFT to index in chunks */
    struct track_chunk *chunks;
    size_t nchunks, chunks_capacity;
    struct {
        uint64_t number;
        uint32_t chunk;
    } cache[CHUNK_CACHE];

    struct track_span *spans; /* 0 is none */
    size_t nspans, spans_capacity;
    uint32_t free_spans;       /* linked by .slots */
    union track_block *blocks; /* 0 is none */
    size_t nblocks, blocks_capacity;
    uint32_t free_blocks; /* linked by numbers[0] */

    struct map stacks;             /* address to index of event + 1 */
    struct waiting waiting;        /* indices of events + 1; of spans: indices in spans */
    uint32_t covered[MAX_COVERED]; /* spans that wait, the oldest first; of more, the newest */
    unsigned ncovered;
    uint32_t last_gc_end; /* index of the event */

    uint32_t *tiny_blocks; /* first objects of blocks of several */
    size_t ntiny_blocks, tiny_blocks_capacity;
};

MUST_USE bool tracker_init(struct tracker *t, const struct tables *tables,
                           const struct size_class_table *classes, struct gomem_trace_facts *facts);
void tracker_free(struct tracker *t);

/* Each takes an event whose kind, time, proc and type (of spans: the class as the trace has it) are
 * set and whose address is the trace's number for it; fills in the rest. false: out of memory. */
MUST_USE bool track_span_new(struct tracker *t, uint32_t index, uint64_t npages);
MUST_USE bool track_span_free(struct tracker *t, uint32_t index);
MUST_USE bool track_object_new(struct tracker *t, uint32_t index);
void track_object_free(struct tracker *t, uint32_t index);
MUST_USE bool track_stack_new(struct tracker *t, uint32_t index, uint64_t order);
void track_stack_free(struct tracker *t, uint32_t index);

/* When all events are there: sizes of tiny objects (tinysize.c). */
void tiny_infer_sizes(const struct tracker *t, const struct gomem_trace_type *types);

#endif
