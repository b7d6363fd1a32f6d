/* Finding the batches of a trace.
 *
 * Called through batch.h.
 *
 * Concurrency: see batch.h.
 * Go: internal/trace/batch.go, generation.go, version/version.go.
 */
#include "gotrace/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "gotrace/grow.h"
#include "gotrace/varint.h"

enum gomem_status format_error(const struct batch_list *list, const uint8_t *at,
                               const char *expected, struct gomem_error *err)
{
    return error_set(err, GOMEM_BAD_FORMAT, "broken trace: expected %s at byte %zu", expected,
                     (size_t)(at - list->file));
}

/* The number behind "go 1." in the header; false if this is no header. */
static bool parse_header(const uint8_t *file, size_t size, unsigned *minor)
{
    static const char before[] = "go 1.", after[] = " trace\0\0\0";
    const size_t nbefore = sizeof before - 1, nafter = sizeof after - 1;
    if (size < TRACE_HEADER_BYTES || memcmp(file, before, nbefore) != 0)
        return false;
    *minor = 0;
    size_t i = nbefore;
    for (; i < TRACE_HEADER_BYTES && file[i] >= '0' && file[i] <= '9'; i++)
        *minor = *minor * 10 + (file[i] - '0');
    return i > nbefore && i + nafter == TRACE_HEADER_BYTES && memcmp(file + i, after, nafter) == 0;
}

static enum gomem_status check_header(struct batch_list *list, struct gomem_error *err)
{
    unsigned minor = 0;
    if (!parse_header(list->file, list->file_size, &minor))
        return error_set(err, GOMEM_BAD_FORMAT,
                         "not a Go execution trace: it does not begin with \"go 1.NN trace\"");
    if (minor < 23)
        return error_set(
            err, GOMEM_BAD_FORMAT,
            "trace format of Go 1.%u is too old: allocation events exist since Go 1.23; "
            "record the trace with Go 1.23 to 1.26",
            minor);
    if (minor != 23 && minor != 25 && minor != 26)
        return error_set(err, GOMEM_BAD_FORMAT,
                         "unknown trace format of Go 1.%u: known are those of Go 1.23 (which 1.24 "
                         "writes, too), 1.25 and 1.26",
                         minor);
    list->go_minor = minor;
    return GOMEM_OK;
}

/* What a batch holds is told by its first byte. */
static enum batch_kind kind_of(const struct batch_list *list, const struct batch *b,
                               unsigned experiment)
{
    if (experiment == EXPERIMENT_ALLOC_FREE)
        return BATCH_ALLOC_FREE;
    if (experiment != 0)
        return BATCH_OTHER;
    switch (b->size > 0 ? b->data[0] : 0) {
    case EV_STRINGS:
        return BATCH_STRINGS;
    case EV_STACKS:
    case EV_CPU_SAMPLES:
        return BATCH_OTHER;
    case EV_FREQUENCY:
        return list->go_minor < 25 ? BATCH_SYNC : BATCH_EVENTS;
    case EV_SYNC:
        return list->go_minor >= 25 ? BATCH_SYNC : BATCH_EVENTS;
    default:
        return BATCH_EVENTS;
    }
}

static enum gomem_status add_batch(struct batch_list *list, struct batch b, struct gomem_error *err)
{
    struct batch *grown = array_grow(list->batches, &list->capacity, list->n, 1, sizeof *grown);
    if (grown == NULL)
        return error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a trace of %zu bytes",
                         list->file_size);
    list->batches = grown;
    list->batches[list->n++] = b;
    return GOMEM_OK;
}

static void truncate_at(struct batch_list *list, const uint8_t *at)
{
    list->truncated = true;
    list->truncated_at = (size_t)(at - list->file);
}

/* Where scanning is: the generation's number in the file, 0 before its first batch. */
struct scan {
    const uint8_t *p, *end;
    uint64_t number;
};

/* Starts another generation if the batch's number says so. Since Go 1.26 generations end with a
 * mark, before with the first batch of the next one. */
static enum gomem_status enter_generation(struct batch_list *list, struct scan *scan,
                                          const uint8_t *at, uint64_t number,
                                          struct gomem_error *err)
{
    if (number == scan->number && number != 0)
        return GOMEM_OK;
    if (number == 0)
        return format_error(list, at, "a generation number other than 0", err);
    if (scan->number != 0) {
        if (list->go_minor >= 26)
            return format_error(list, at, "the end of the generation before a batch of another one",
                                err);
        if (number != scan->number + 1)
            return format_error(list, at, "a batch of this or of the next generation", err);
        list->complete_generations++;
    }
    scan->number = number;
    list->generations++;
    return GOMEM_OK;
}

/* One number of a batch's header; false at the end of the file and if it is malformed (*bad). */
static bool read_number(struct scan *scan, uint64_t *out, bool *bad)
{
    const uint8_t *next = varint_read(scan->p, scan->end, out);
    if (next == NULL) {
        *bad = scan->end - scan->p >= VARINT_MAX;
        return false;
    }
    scan->p = next;
    return true;
}

/* A batch, its type byte read; scan->p behind it. *more: there may be another one. */
static enum gomem_status scan_batch(struct batch_list *list, struct scan *scan, bool experimental,
                                    bool *more, struct gomem_error *err)
{
    const uint8_t *at = scan->p - 1;
    unsigned experiment = 0;
    bool bad = false;
    uint64_t number, m, time, size;
    *more = false;
    if (experimental) {
        if (scan->p == scan->end)
            goto truncated;
        experiment = *scan->p++;
    }
    if (!read_number(scan, &number, &bad) || !read_number(scan, &m, &bad) ||
        !read_number(scan, &time, &bad) || !read_number(scan, &size, &bad)) {
        if (bad)
            return format_error(list, scan->p, "a number of at most 64 bits", err);
        goto truncated;
    }
    if (size > MAX_BATCH_BYTES)
        return format_error(list, at, "a batch of at most 65536 bytes", err);
    enum gomem_status status = enter_generation(list, scan, at, number, err);
    if (status != GOMEM_OK)
        return status;
    size_t left = (size_t)(scan->end - scan->p);
    struct batch b = {
        .data = scan->p,
        .size = (uint32_t)MIN(size, left),
        .generation = list->generations - 1,
        .m = m,
        .time = time,
        .partial = left < size,
    };
    b.kind = (uint8_t)kind_of(list, &b, experiment);
    status = add_batch(list, b, err);
    if (status != GOMEM_OK)
        return status;
    scan->p += b.size;
    if (b.partial)
        goto truncated;
    *more = true;
    return GOMEM_OK;
truncated:
    truncate_at(list, at);
    return GOMEM_OK;
}

/* The generation that is not ended has no events: a tracer that was stopped may leave its
 * beginning. */
static bool is_empty_generation(const struct batch_list *list, size_t *nbatches)
{
    uint32_t generation = list->generations - 1;
    *nbatches = list->n;
    while (*nbatches > 0 && list->batches[*nbatches - 1].generation == generation)
        if (list->batches[--*nbatches].kind == BATCH_EVENTS)
            return false;
    return true;
}

/* The file ends between two batches: it is whole only where a generation ends. */
static void end_file(struct batch_list *list, const struct scan *scan)
{
    size_t nbatches;
    if (list->go_minor >= 26 && scan->number != 0 && list->generations > 1 &&
        is_empty_generation(list, &nbatches)) {
        list->n = nbatches;
        list->generations--;
    } else if (list->generations == 0 || (list->go_minor >= 26 && scan->number != 0)) {
        truncate_at(list, scan->end);
        return;
    }
    list->complete_generations = list->generations;
}

static enum gomem_status scan_all(struct batch_list *list, struct gomem_error *err)
{
    struct scan scan = {
        .p = list->file + TRACE_HEADER_BYTES,
        .end = list->file + list->file_size,
    };
    bool more = true;
    while (more && scan.p < scan.end) {
        uint8_t type = *scan.p++;
        if (type == EV_END_OF_GENERATION && list->go_minor >= 26) {
            if (scan.number == 0)
                return format_error(list, scan.p - 1, "a batch", err);
            scan.number = 0;
            list->complete_generations++;
        } else if (type == EV_EVENT_BATCH || type == EV_EXPERIMENTAL_BATCH) {
            enum gomem_status status =
                scan_batch(list, &scan, type == EV_EXPERIMENTAL_BATCH, &more, err);
            if (status != GOMEM_OK)
                return status;
        } else {
            return format_error(list, scan.p - 1, "a batch", err);
        }
    }
    if (!list->truncated)
        end_file(list, &scan);
    return GOMEM_OK;
}

enum gomem_status batches_scan(struct batch_list *list, const uint8_t *file, size_t size,
                               struct gomem_error *err)
{
    *list = (struct batch_list){.file = file, .file_size = size};
    enum gomem_status status = check_header(list, err);
    if (status == GOMEM_OK)
        status = scan_all(list, err);
    if (status != GOMEM_OK)
        batches_free(list);
    return status;
}

void batches_free(struct batch_list *list)
{
    free(list->batches);
    list->batches = NULL;
    list->n = list->capacity = 0;
}
