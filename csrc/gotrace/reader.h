/* Reading Go execution traces.
 *
 * gotrace_read takes a whole trace (go test -trace, runtime/trace, net/http/pprof; Go 1.23 to 1.26)
 * from memory and makes arrays of it: the events that have to do with memory, of all threads and
 * generations in the order in which Go's own reader has them, and the types they name. With
 * GODEBUG=traceallocfree=1 in the traced program's environment the trace has every object, span and
 * stack; without, what the garbage collector did. Scheduling is followed as far as it tells on
 * which P and in which order things happened.
 *
 * Sizes of tiny objects are not in the trace, nor are their addresses but to 8 bytes. They are
 * inferred so that Go's rule (align by 8, 4 or 2 if the size is a multiple of it; begin where the
 * last one ended) puts them, in their order, into the halves of the block the trace says; the last
 * one reaches to the block's end, as far as its alignment lets it, and a type's size counts more
 * than evenness.
 *
 * Whatever the bytes are, reading ends with a trace or a status: it needs memory in proportion to
 * them, and tries each event at most once for every event of another thread (of at most 16384 in a
 * generation).
 *
 * Concurrency: gotrace_read is a function of its arguments; a struct gotrace is const.
 * Go: internal/trace (Reader), cmd/trace.
 */
#ifndef GOMEM_GOTRACE_READER_H
#define GOMEM_GOTRACE_READER_H

#include <stddef.h>

#include "base/status.h"
#include "gomem.h"
#include "heap/sizeclass.h"

struct gotrace {
    struct gomem_trace_event *events;
    size_t nevents;
    struct gomem_trace_type *types; /* 0: "unknown" */
    size_t ntypes;
    const char **labels; /* 0: "" */
    size_t nlabels;
    struct gomem_trace_facts facts;
    char *names; /* what types and labels point to */
};

/* GOMEM_BAD_FORMAT: err says what was expected at which byte, or which version it is; *out is
 * untouched. A file that ends too early is no error: see facts.truncated. */
MUST_USE enum gomem_status gotrace_read(const uint8_t *data, size_t size, struct gotrace *out,
                                        struct gomem_error *err);
void gotrace_free(struct gotrace *t);

/* Go's own table of size classes. */
MUST_USE enum gomem_status gotrace_size_classes(struct size_class_table *t,
                                                struct gomem_error *err);

#endif
