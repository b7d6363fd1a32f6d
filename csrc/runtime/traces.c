/* Go execution traces, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: a trace is const once it is read.
 * Go: internal/trace.
 */
#include <stdlib.h>

#include "gotrace/reader.h"
#include "runtime/runtime.h"

struct gomem_trace {
    struct gotrace trace;
};

struct gomem_trace *gomem_trace_read(const void *data, size_t size, struct gomem_error *err)
{
    struct gomem_trace *t = malloc(sizeof *t);
    if (t == NULL) {
        (void)error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a trace of %zu bytes", size);
        return NULL;
    }
    if (gotrace_read(data, size, &t->trace, err) == GOMEM_OK)
        return t;
    free(t);
    return NULL;
}

void gomem_trace_delete(struct gomem_trace *t)
{
    if (t == NULL)
        return;
    gotrace_free(&t->trace);
    free(t);
}

const struct gomem_trace_event *gomem_trace_events(const struct gomem_trace *t, size_t *n)
{
    *n = t->trace.nevents;
    return t->trace.events;
}

const struct gomem_trace_type *gomem_trace_types(const struct gomem_trace *t, size_t *n)
{
    *n = t->trace.ntypes;
    return t->trace.types;
}

const char *const *gomem_trace_labels(const struct gomem_trace *t, size_t *n)
{
    *n = t->trace.nlabels;
    return t->trace.labels;
}

const struct gomem_trace_facts *gomem_trace_facts(const struct gomem_trace *t)
{
    return &t->trace.facts;
}
