/* From the bytes of a trace to a struct gotrace.
 *
 * Called through reader.h: finds the batches (batch.c), reads the tables (tables.c), then the
 * events (events.c), and hands the arrays over.
 *
 * Concurrency: see reader.h.
 * Go: see reader.h.
 */
#include "gotrace/reader.h"

#include <stdlib.h>
#include <string.h>

#include "gotrace/events.h"

static void fill_facts(struct gomem_trace_facts *f, const struct event_reader *r)
{
    const struct batch_list *list = r->list;
    const struct tables *t = r->tables;
    *f = r->facts;
    f->go_minor = list->go_minor;
    f->generations = list->generations;
    f->complete_generations = list->complete_generations;
    f->truncated = list->truncated;
    f->truncated_at = list->truncated_at;
    f->frequency = t->frequency;
    f->has_allocations = t->has_info;
    f->min_heap_address = t->min_heap_address;
    f->page_size = t->page_size;
    f->min_align = t->min_align;
    f->min_stack = t->min_stack;
    if (r->forced && !list->truncated) { /* between two batches: before Go 1.26 that is not seen */
        f->truncated = true;
        f->truncated_at = list->file_size;
        f->complete_generations = list->generations - 1;
    }
    f->max_proc = (int32_t)r->order.all.nprocs - 2;
    f->duration = r->now;
    /* Any numbers may stand in the file; what makes no sense is computed without complaint. */
    if (t->has_snapshot) {
        struct time_unit unit = tables_unit(t, t->snapshot_generation);
        uint64_t snapshot = unit_ns(&unit, MIN(t->snapshot_time, unit.max));
        f->start_unix_ns = (int64_t)(t->snapshot_unix_ns - (snapshot - r->first));
    }
    for (unsigned kind = 0; kind <= GOMEM_TRACE_STACK_FREE; kind++)
        f->has_allocations |= f->counts[kind] > 0;
}

/* The names of types and labels, which so far are offsets. */
static enum gomem_status fill_names(struct gotrace *out, struct tables *t, struct gomem_error *err)
{
    out->labels = calloc(t->nlabels, sizeof *out->labels);
    if (out->labels == NULL)
        return error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for the labels of a trace");
    out->names = t->names;
    out->types = t->types;
    out->ntypes = t->ntypes;
    out->nlabels = t->nlabels;
    for (size_t i = 0; i < t->ntypes; i++)
        out->types[i].name = t->names + t->type_names[i];
    for (size_t i = 0; i < t->nlabels; i++)
        out->labels[i] = t->names + t->label_names[i];
    t->names = NULL;
    t->types = NULL;
    return GOMEM_OK;
}

static void fill_events(struct gotrace *out, struct event_reader *r)
{
    out->nevents = r->nevents;
    out->events = realloc(r->events, MAX(r->nevents, 1) * sizeof *r->events);
    if (out->events == NULL)
        out->events = r->events;
    r->events = NULL;
}

enum gomem_status gotrace_read(const uint8_t *data, size_t size, struct gotrace *out,
                               struct gomem_error *err)
{
    struct batch_list list;
    struct tables tables;
    struct event_reader reader;
    struct size_class_table classes;
    struct gotrace trace = {.nevents = 0};
    enum gomem_status status = gotrace_size_classes(&classes, err);
    if (status != GOMEM_OK)
        return status;
    status = batches_scan(&list, data, size, err);
    if (status != GOMEM_OK)
        return status;
    status = tables_read(&tables, &list, err);
    if (status != GOMEM_OK)
        goto no_tables;
    status = events_read(&reader, &list, &tables, &classes, err);
    if (status != GOMEM_OK)
        goto no_events;
    fill_facts(&trace.facts, &reader);
    status = fill_names(&trace, &tables, err);
    if (status == GOMEM_OK) {
        fill_events(&trace, &reader);
        *out = trace;
    }
no_events:
    free(reader.events);
    events_free(&reader);
    tables_free(&tables);
no_tables:
    batches_free(&list);
    return status;
}

void gotrace_free(struct gotrace *t)
{
    free(t->events);
    free(t->types);
    free(t->labels);
    free(t->names);
    memset(t, 0, sizeof *t);
}
