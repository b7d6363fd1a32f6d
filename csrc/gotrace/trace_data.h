/* What a Go execution trace holds, as plain data: events, types, facts; and what a replay measures.
 *
 * Filled by reader.c and replay.c, read by everybody up to Python, which sees the arrays as they are:
 * layouts are fixed and without padding.
 *
 * Concurrency: const once the reader has returned.
 * Go: internal/trace/tracev2/events.go, runtime/traceallocfree.go.
 */
#ifndef GOMEM_GOTRACE_TRACE_DATA_H
#define GOMEM_GOTRACE_TRACE_DATA_H

#include <stdbool.h>
#include <stdint.h>

/* "Exists" events come first: they describe what there was when tracing started. */
enum gomem_trace_kind {
    GOMEM_TRACE_SPAN_EXISTS,
    GOMEM_TRACE_SPAN_ALLOC,
    GOMEM_TRACE_SPAN_FREE,
    GOMEM_TRACE_OBJECT_EXISTS,
    GOMEM_TRACE_OBJECT_ALLOC,
    GOMEM_TRACE_OBJECT_FREE, /* by the sweeper: it died before the last cycle ended */
    GOMEM_TRACE_STACK_EXISTS,
    GOMEM_TRACE_STACK_ALLOC,
    GOMEM_TRACE_STACK_FREE,
    GOMEM_TRACE_GC_ACTIVE, /* a cycle marks already when tracing (a generation) starts */
    GOMEM_TRACE_GC_BEGIN,
    GOMEM_TRACE_GC_END,       /* of marking */
    GOMEM_TRACE_SWEEP_ACTIVE, /* as GC_ACTIVE, so are the other two */
    GOMEM_TRACE_SWEEP_BEGIN,
    GOMEM_TRACE_SWEEP_END,
    GOMEM_TRACE_ASSIST_ACTIVE,
    GOMEM_TRACE_ASSIST_BEGIN,
    GOMEM_TRACE_ASSIST_END,
    GOMEM_TRACE_WORKER_BEGIN, /* a background mark worker gets a P */
    GOMEM_TRACE_WORKER_END,
    GOMEM_TRACE_STW_BEGIN, /* somebody stops the world */
    GOMEM_TRACE_STW_END,
    GOMEM_TRACE_HEAP_ALLOC, /* Go's heapLive as it changes */
    GOMEM_TRACE_HEAP_GOAL,
    GOMEM_TRACE_PROCS, /* GOMAXPROCS, whenever it may have changed */
    GOMEM_TRACE_KINDS
};

#define GOMEM_TRACE_NO_LINK UINT32_MAX
/* Class of a span that holds no objects: goroutine stacks, the collector's work buffers. */
#define GOMEM_TRACE_NOT_OBJECTS 255u

/* What the fields mean depends on the kind; a field that means nothing is 0.
 *
 * SPAN_*    address, size: of the span; type: its span class (size class << 1 | noscan) or
 *           GOMEM_TRACE_NOT_OBJECTS. FREE's link: the event that announced the span.
 * OBJECT_*  address: as its user knows it (behind the malloc header, inside a tiny block, as far as
 *           the trace tells: to 8 bytes); size: of its slot, header included; type: index in the
 *           trace's types. Link: its span's event; of FREE: the event that announced the object, whose
 *           address, size and type it repeats.
 * Tiny      objects without pointers of less than 16 bytes share blocks, which are slots of 16 bytes.
 *           Each has its own ALLOC; next_part leads from one to the next in its block; size is inferred
 *           (reader.h). There is one FREE, when all have died: its link is the block's first object,
 *           from which next_part leads to the others. It frees all of these.
 * STACK_*   address, size: of the stack (EXISTS of a goroutine without one: 0); FREE's link as above.
 * GC_*      size: the sequence number. END's link: its BEGIN or ACTIVE.
 * SWEEP_*   END: size: bytes swept, address: bytes reclaimed; link: its BEGIN or ACTIVE on that P.
 * ASSIST_*  address: the goroutine, 0 unknown. END's link: its BEGIN or ACTIVE.
 * WORKER_*  type: index in the trace's labels (which mode); END's link: its BEGIN.
 * STW_*     type: index in the trace's labels (why); END's link: its BEGIN.
 * HEAP_*    size: bytes.      PROCS  size: GOMAXPROCS.
 */
struct gomem_trace_event {
    int64_t time; /* ns since the first event of the trace; never falls */
    uint64_t address;
    uint64_t size;
    uint32_t type;
    uint32_t link;      /* index of an earlier event, or GOMEM_TRACE_NO_LINK */
    uint32_t next_part; /* of a tiny object: index of the event of the next one of its block, or 0 */
    int16_t proc;       /* P it happened on, -1 unknown or none */
    uint8_t kind;       /* enum gomem_trace_kind */
    uint8_t noscan;     /* 1: object, or span of objects, without pointers */
};

struct gomem_trace_type {
    uint64_t id; /* in the first generation that has it */
    uint64_t address, size;
    uint64_t pointer_bytes;
    const char *name;
};

struct gomem_trace_facts {
    uint32_t go_minor;             /* 26: written by Go 1.26; 23 also stands for Go 1.24 */
    uint32_t generations;          /* parts of about a second that are complete in themselves */
    uint32_t complete_generations; /* fewer, if the file is truncated */
    int32_t max_proc;              /* -1: none seen */
    bool has_allocations; /* recorded with GODEBUG=traceallocfree=1: has events of objects and spans */
    bool truncated;
    uint8_t reserved[6];
    uint64_t truncated_at;         /* byte offset of the first batch that is not whole */
    uint64_t frequency;            /* clock units a second */
    int64_t duration;              /* ns from first to last event */
    int64_t start_unix_ns;         /* wall clock at time 0; 0: not in the trace (before Go 1.25) */
    uint64_t gc_count;             /* cycles begun */

    /* From here on, zeros without allocation events. */
    uint64_t min_heap_address, page_size, min_align, min_stack;
    uint64_t total_allocs, total_alloc_bytes; /* by slots; tiny objects by blocks; without EXISTS */
    uint64_t peak_heap_bytes;                 /* most bytes of spans of objects */
    uint64_t peak_other_bytes;                /* and of other spans, at that moment */
    int64_t peak_time;
    uint64_t final_heap_bytes, final_other_bytes;
    uint64_t final_live_objects, final_live_bytes; /* by slots */
    uint64_t final_stacks, final_stack_bytes;
    uint64_t final_heap_alloc, final_heap_goal;

    uint64_t counts[GOMEM_TRACE_KINDS]; /* events by kind */
    /* Clocks of two threads can be a little apart, so that an event seems to come before its cause.
     * These should be 0 or close: objects in no known span, frees of nothing, allocations where
     * something lives still (its free is matched when it comes). */
    uint64_t orphans, unmatched_frees, overlaps;
};

/* A replayed heap at some moment of the trace, beside Go's own. */
struct gomem_replay_sample {
    int64_t time;                      /* ns, as in events */
    uint64_t objects, live_bytes;      /* of the replay, by slots; tiny objects one by one */
    uint64_t heap_inuse, stacks_inuse; /* bytes of spans */
    uint64_t mapped_ready;             /* all memory, as the OS is told */
    uint64_t go_objects, go_live_bytes;      /* by slots; tiny objects by blocks */
    uint64_t go_heap_inuse, go_other_inuse;  /* bytes of spans: of objects, of all else */
    uint64_t go_heap_alloc, go_heap_goal;    /* the last such events */
};

#endif
