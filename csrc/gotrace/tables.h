/* What events refer to by number: strings, types, the clock, the numbers of the allocation
 * experiment.
 *
 * Every generation has tables of its own, with its own numbers, somewhere among its batches (most
 * at its end). tables_read collects them all before the first event is looked at. Types are the
 * same all through a process: each gets one index for the whole trace. Of strings only those are
 * kept that an event turns out to need: the labels.
 *
 * Concurrency: none; owned by the reader.
 * Go: generation.go (addStrings, setSyncBatch), runtime/tracetype.go (dumpTypesRec),
 * runtime/traceallocfree.go (traceSnapshotMemory).
 */
#ifndef GOMEM_GOTRACE_TABLES_H
#define GOMEM_GOTRACE_TABLES_H

#include "gotrace/batch.h"
#include "gotrace/map.h"

/* The numbers of the experiment that Go has had so far; others are refused (larger stacks are not).
 */
enum { TRACE_PAGE_SIZE = 8192, TRACE_MIN_ALIGN = 8, TRACE_MIN_STACK = 2048 };

struct string_entry {
    uint64_t id;
    const uint8_t *data;
    uint32_t generation;
    uint16_t size;
    uint16_t label; /* index once it was asked for, 0 before */
};

struct type_entry {
    uint64_t id;
    uint32_t index;
};

/* The clock and the types of a generation. Ids of types are given out from 1 on, so that nearly
 * always the id is an index. */
struct generation_tables {
    uint64_t frequency;        /* 0: it does not say */
    struct type_entry *sorted; /* by id; part of tables.type_entries */
    size_t nsorted;
    uint32_t *direct; /* by id; NULL if the ids are not dense */
    size_t ndirect;
};

/* How long the clock's unit is. */
struct time_unit {
    double ns;
    uint64_t whole_ns; /* the same if it is a whole number; else 0 */
    uint64_t max;      /* so many are at most 2^62 ns */
};

/* pre: n <= u->max. */
static inline uint64_t unit_ns(const struct time_unit *u, uint64_t n)
{
    if (LIKELY(u->whole_ns != 0)) /* 64, but on machines without a clock of ns */
        return n * u->whole_ns;
    return (uint64_t)((double)n * u->ns);
}

struct tables {
    const struct batch_list *list;
    uint64_t frequency; /* of the first generation that says so; 0: none did */
    bool has_snapshot;  /* of the clocks: the first one */
    uint64_t snapshot_time, snapshot_unix_ns;
    uint32_t snapshot_generation;
    bool has_info; /* of the experiment */
    uint64_t min_heap_address, page_size, min_align, min_stack;

    struct string_entry *strings; /* sorted by generation and id */
    size_t nstrings, strings_capacity;

    struct type_entry *type_entries;
    size_t ntype_entries, type_entries_capacity;
    struct generation_tables *generations;
    struct map types_by_address;
    struct gomem_trace_type *types; /* without their names */
    size_t ntypes, types_capacity;
    size_t *type_names; /* where in names */
    size_t type_names_capacity;

    size_t *label_names;
    size_t nlabels, labels_capacity;
    char *names; /* of types and labels, each with a 0 behind */
    size_t nnames, names_capacity;
};

MUST_USE enum gomem_status tables_read(struct tables *t, const struct batch_list *list,
                                       struct gomem_error *err);
void tables_free(struct tables *t);

struct time_unit tables_unit(const struct tables *t, uint32_t generation);

/* The index of the label whose string has this id, 0 if there is none; false: out of memory. */
MUST_USE bool tables_label(struct tables *t, uint32_t generation, uint64_t id, uint32_t *label);
/* The same if it begins with prefix; else 0. */
MUST_USE bool tables_label_with(struct tables *t, uint32_t generation, uint64_t id,
                                const char *prefix, uint32_t *label);

uint32_t tables_type_slow(const struct generation_tables *g, uint64_t id);

/* Index of the type with this id, 0 if it is not in the table. */
static inline uint32_t tables_type(const struct generation_tables *g, uint64_t id)
{
    return LIKELY(id < g->ndirect) ? g->direct[id] : tables_type_slow(g, id);
}

#endif
