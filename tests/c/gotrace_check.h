/* What holds for every trace that gomem_trace_read gives, whatever the file was.
 *
 * Included by gotrace_test.c and gotrace_fuzz.c. A rule that is broken ends the process.
 *
 * Concurrency: one thread.
 */
#ifndef GOTRACE_CHECK_H
#define GOTRACE_CHECK_H

#include <string.h>

#include "base/check.h"
#include "gomem.h"

struct events {
    const struct gomem_trace_event *at;
    size_t n;
};

/* The kinds an event of this kind may have a link to, as bits. */
static inline uint64_t linked_kinds(unsigned kind)
{
#define KIND(k) ((uint64_t)1 << GOMEM_TRACE_##k)
    static const uint64_t kinds[GOMEM_TRACE_KINDS] = {
        [GOMEM_TRACE_SPAN_FREE] = KIND(SPAN_EXISTS) | KIND(SPAN_ALLOC),
        [GOMEM_TRACE_OBJECT_EXISTS] = KIND(SPAN_EXISTS) | KIND(SPAN_ALLOC),
        [GOMEM_TRACE_OBJECT_ALLOC] = KIND(SPAN_EXISTS) | KIND(SPAN_ALLOC),
        [GOMEM_TRACE_OBJECT_FREE] = KIND(OBJECT_EXISTS) | KIND(OBJECT_ALLOC),
        [GOMEM_TRACE_STACK_FREE] = KIND(STACK_EXISTS) | KIND(STACK_ALLOC),
        [GOMEM_TRACE_GC_END] = KIND(GC_ACTIVE) | KIND(GC_BEGIN),
        [GOMEM_TRACE_SWEEP_END] = KIND(SWEEP_ACTIVE) | KIND(SWEEP_BEGIN),
        [GOMEM_TRACE_ASSIST_END] = KIND(ASSIST_ACTIVE) | KIND(ASSIST_BEGIN),
        [GOMEM_TRACE_WORKER_END] = KIND(WORKER_BEGIN),
        [GOMEM_TRACE_STW_END] = KIND(STW_BEGIN),
    };
#undef KIND
    return kinds[kind];
}

static inline void check_object(struct events events, const struct gomem_trace_event *e)
{
    if (e->link == GOMEM_TRACE_NO_LINK) {
        CHECK(e->size == 0);
        return;
    }
    const struct gomem_trace_event *other = &events.at[e->link];
    CHECK(e->noscan == other->noscan);
    if (e->kind == GOMEM_TRACE_OBJECT_FREE) {
        bool block = other->next_part != 0; /* of tiny objects: its slot's size is in the FREE */
        CHECK(e->type == other->type && (block || e->size == other->size));
        CHECK(e->address == other->address || e->noscan);
    } else {
        CHECK(e->size > 0 && other->type != GOMEM_TRACE_NOT_OBJECTS);
        CHECK(e->address - other->address < other->size);
    }
}

/* Go's rule puts the parts of a tiny block, by their inferred sizes, where the trace says; but if
 * it cannot have put any there, the sizes are 1. pre: e is the first of several. */
static inline void check_tiny_block(struct events events, const struct gomem_trace_event *e)
{
    enum { BLOCK = 16, HALF = 8 };
    bool placed = true, ones = true;
    unsigned end = 0;
    for (;; e = &events.at[e->next_part]) {
        CHECK(e->size > 0 && e->size <= BLOCK);
        unsigned size = (unsigned)e->size;
        unsigned align = size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1;
        unsigned at = (end + align - 1) / align * align;
        end = at + size;
        placed = placed && end <= BLOCK && at / HALF == e->address % BLOCK / HALF;
        ones = ones && size == 1;
        if (e->next_part == 0)
            break;
    }
    CHECK(placed || ones);
}

static inline void check_event(const struct gomem_trace *t, struct events events, size_t i)
{
    const struct gomem_trace_event *e = &events.at[i];
    const struct gomem_trace_facts *f = gomem_trace_facts(t);
    size_t ntypes, nlabels;
    (void)gomem_trace_types(t, &ntypes);
    (void)gomem_trace_labels(t, &nlabels);
    CHECK(e->kind < GOMEM_TRACE_KINDS && e->noscan <= 1 && e->proc >= -1);
    CHECK(e->time >= (i == 0 ? 0 : e[-1].time) && e->time <= f->duration);
    if (e->link != GOMEM_TRACE_NO_LINK) {
        CHECK(e->link < i);
        CHECK(linked_kinds(e->kind) >> events.at[e->link].kind & 1);
    }
    if (e->next_part != 0) {
        CHECK(e->next_part > i && e->next_part < events.n);
        CHECK(e->kind == GOMEM_TRACE_OBJECT_ALLOC || e->kind == GOMEM_TRACE_OBJECT_EXISTS);
        CHECK(events.at[e->next_part].kind == GOMEM_TRACE_OBJECT_ALLOC);
        CHECK(events.at[e->next_part].link == e->link);
    }
    switch (e->kind) {
    case GOMEM_TRACE_OBJECT_EXISTS:
    case GOMEM_TRACE_OBJECT_ALLOC:
    case GOMEM_TRACE_OBJECT_FREE:
        CHECK(e->type < ntypes);
        check_object(events, e);
        break;
    case GOMEM_TRACE_SPAN_FREE:
        CHECK(e->link == GOMEM_TRACE_NO_LINK || e->size == events.at[e->link].size);
        break;
    case GOMEM_TRACE_WORKER_BEGIN:
    case GOMEM_TRACE_WORKER_END:
    case GOMEM_TRACE_STW_BEGIN:
    case GOMEM_TRACE_STW_END:
        CHECK(e->type < nlabels);
        break;
    default:
        break;
    }
}

static inline void check_trace(const struct gomem_trace *t)
{
    struct events events;
    events.at = gomem_trace_events(t, &events.n);
    const struct gomem_trace_facts *f = gomem_trace_facts(t);
    uint64_t counts[GOMEM_TRACE_KINDS] = {0};
    bool *is_part = calloc(events.n + 1, sizeof *is_part); /* of a tiny block, behind its first */
    CHECK(is_part != NULL);
    for (size_t i = 0; i < events.n; i++) {
        check_event(t, events, i);
        counts[events.at[i].kind]++;
        if (events.at[i].next_part == 0)
            continue;
        if (!is_part[i])
            check_tiny_block(events, &events.at[i]);
        CHECK(!is_part[events.at[i].next_part]);
        is_part[events.at[i].next_part] = true;
    }
    free(is_part);
    CHECK(memcmp(counts, f->counts, sizeof counts) == 0);
    CHECK(f->complete_generations <= f->generations);
    CHECK(f->truncated || f->complete_generations == f->generations);
    CHECK(f->peak_heap_bytes >= f->final_heap_bytes);

    size_t ntypes, nlabels;
    const struct gomem_trace_type *types = gomem_trace_types(t, &ntypes);
    const char *const *labels = gomem_trace_labels(t, &nlabels);
    CHECK(ntypes > 0 && strcmp(types[0].name, "unknown") == 0);
    CHECK(nlabels > 0 && strcmp(labels[0], "") == 0);
    size_t length = 0;
    for (size_t i = 0; i < ntypes; i++)
        length += strlen(types[i].name);
    for (size_t i = 0; i < nlabels; i++)
        length += strlen(labels[i]);
    CHECK(length < SIZE_MAX / 2);
}

#endif
