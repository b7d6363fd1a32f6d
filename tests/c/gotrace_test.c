/* Reads Go execution traces through gomem.h, for tests/gotrace/test_reader.py.
 *
 *   gotrace_test facts FILE         the facts tools/gotrace_reference prints, worked out from the
 *                                   events alone, as a flat JSON object; and what the reader
 * counted gotrace_test events FILE        an event a line: its fields in the order of gomem.h
 *   gotrace_test prefixes FILE N    reads N beginnings of the file (and all of the first few
 * hundred bytes) and checks that each has a part of the whole one's events gotrace_test speed FILE
 * N       reads the file N times; prints bytes and the median ns of CPU time
 *
 * Exit code 0; 3 with the reader's message on standard output if it refuses the file.
 *
 * Concurrency: one thread.
 * Go: internal/trace, of which the reference is made.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/bits.h"
#include "gotrace_check.h"

enum { EXIT_REFUSED = 3, SHORT_PREFIX = 400, MAX_RUNS = 1000, LARGEST_WITHOUT_HEADER = 512 };
#define HASH_PRIME 0x100000001b3u
enum { NCLASSES = 256, NPROCS = INT16_MAX + 2, NOBJECT_KINDS = 3, TINY_CLASS = 5 };

/* --- A file, and what is printed of it --- */

struct file {
    uint8_t *data;
    size_t size;
};

static struct file file_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    struct file file = {.size = (size_t)ftell(f)};
    rewind(f);
    file.data = malloc(file.size + 1);
    CHECK(file.data != NULL && fread(file.data, 1, file.size, f) == file.size);
    fclose(f);
    return file;
}

static struct gomem_trace *trace_read(const void *data, size_t size)
{
    struct gomem_error err;
    struct gomem_trace *t = gomem_trace_read(data, size, &err);
    if (t == NULL) {
        puts(err.message);
        exit(EXIT_REFUSED);
    }
    check_trace(t);
    return t;
}

struct row {
    char key[1200];
    uint64_t value;
};

static struct row *rows;
static size_t nrows, rows_capacity;

/* Adds value under a key, which is its format's text. */
__attribute__((format(printf, 2, 3))) static void put(uint64_t value, const char *format, ...)
{
    if (nrows == rows_capacity) {
        rows_capacity = 2 * rows_capacity + 64;
        rows = realloc(rows, rows_capacity * sizeof *rows);
        CHECK(rows != NULL);
    }
    va_list args;
    va_start(args, format);
    int length = vsnprintf(rows[nrows].key, sizeof rows[nrows].key, format, args);
    va_end(args);
    CHECK(length >= 0 && (size_t)length < sizeof rows[nrows].key);
    rows[nrows++].value = value;
}

/* The same unless the value is 0. */
#define PUT_COUNT(value, ...) ((value) == 0 ? (void)0 : put(value, __VA_ARGS__))

static int compare_rows(const void *left, const void *right)
{
    return strcmp(((const struct row *)left)->key, ((const struct row *)right)->key);
}

static void print_string(const char *s)
{
    putchar('"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            printf("\\u%04x", (unsigned char)*s);
        else
            putchar(*s);
    }
    putchar('"');
}

/* Rows of the same key (types of the same name, say) become one. */
static void print_rows(void)
{
    qsort(rows, nrows, sizeof *rows, compare_rows);
    putchar('{');
    for (size_t i = 0; i < nrows; i++) {
        uint64_t value = rows[i].value;
        while (i + 1 < nrows && strcmp(rows[i].key, rows[i + 1].key) == 0)
            value += rows[++i].value;
        print_string(rows[i].key);
        printf(": %" PRIu64 "%s\n", value, i + 1 < nrows ? "," : "");
    }
    puts("}");
}

/* --- Facts --- */

static const char *const experiment_names[] = {
    "Span",           "SpanAlloc",           "SpanFree",
    "HeapObject",     "HeapObjectAlloc",     "HeapObjectFree",
    "GoroutineStack", "GoroutineStackAlloc", "GoroutineStackFree",
};

struct sums {
    struct events events;
    uint64_t addresses[NOBJECT_KINDS];
    uint64_t procs[GOMEM_TRACE_KINDS][NPROCS];
    int64_t live[NCLASSES];
    int64_t live_objects, live_bytes, heap_bytes, other_bytes, stacks, stack_bytes;
    uint64_t without_span, parts;
    uint64_t *type_counts, *type_bytes;
    bool *is_part; /* by event: of a tiny block, behind its first */
};

static bool has_header(const struct gomem_trace_event *object, const struct gomem_trace_event *span)
{
    return !object->noscan && span->type >> 1 != 0 && object->size > LARGEST_WITHOUT_HEADER;
}

/* The address as the trace has it: of a slot, but for allocations. */
static uint64_t raw_address(const struct sums *s, const struct gomem_trace_event *e)
{
    if (e->kind == GOMEM_TRACE_OBJECT_ALLOC || e->link == GOMEM_TRACE_NO_LINK)
        return e->address;
    const struct gomem_trace_event *span = &s->events.at[e->link];
    if (e->kind == GOMEM_TRACE_OBJECT_FREE)
        span = &s->events.at[span->link];
    return e->address - (has_header(e, span) ? 8 : 0);
}

static void sum_new_object(struct sums *s, size_t i)
{
    const struct gomem_trace_event *e = &s->events.at[i];
    s->type_counts[e->type]++;
    if (e->link == GOMEM_TRACE_NO_LINK) {
        s->without_span++;
        return;
    }
    if (e->next_part != 0)
        s->is_part[e->next_part] = true;
    if (s->is_part[i]) {
        s->parts++;
        return;
    }
    unsigned class = s->events.at[e->link].type;
    uint64_t slot = class == TINY_CLASS ? 16 : e->size;
    s->type_bytes[e->type] += slot;
    s->live[class]++;
    s->live_objects++;
    s->live_bytes += (int64_t)slot;
}

static void sum_object_free(struct sums *s, const struct gomem_trace_event *e)
{
    if (e->link == GOMEM_TRACE_NO_LINK)
        return;
    s->live[s->events.at[s->events.at[e->link].link].type]--;
    s->live_objects--;
    s->live_bytes -= (int64_t)e->size;
}

static void sum_span(struct sums *s, const struct gomem_trace_event *e)
{
    bool objects = e->type != GOMEM_TRACE_NOT_OBJECTS;
    int64_t *bytes = objects ? &s->heap_bytes : &s->other_bytes;
    if (e->kind != GOMEM_TRACE_SPAN_FREE)
        *bytes += (int64_t)e->size;
    else if (e->link != GOMEM_TRACE_NO_LINK)
        *bytes -= (int64_t)e->size;
}

static void sum_stack(struct sums *s, const struct gomem_trace_event *e)
{
    if (e->size == 0)
        return;
    int sign = e->kind == GOMEM_TRACE_STACK_FREE ? -1 : 1;
    s->stacks += sign;
    s->stack_bytes += sign * (int64_t)e->size;
}

static void sum_event(struct sums *s, size_t i)
{
    const struct gomem_trace_event *e = &s->events.at[i];
    s->procs[e->kind][e->proc + 1]++;
    if (e->kind <= GOMEM_TRACE_SPAN_FREE)
        sum_span(s, e);
    else if (e->kind >= GOMEM_TRACE_STACK_EXISTS && e->kind <= GOMEM_TRACE_STACK_FREE)
        sum_stack(s, e);
    if (e->kind < GOMEM_TRACE_OBJECT_EXISTS || e->kind > GOMEM_TRACE_OBJECT_FREE)
        return;
    unsigned kind = e->kind - GOMEM_TRACE_OBJECT_EXISTS;
    s->addresses[kind] += raw_address(s, e);
    if (e->kind == GOMEM_TRACE_OBJECT_FREE)
        sum_object_free(s, e);
    else
        sum_new_object(s, i);
}

static void put_procs(const struct sums *s, enum gomem_trace_kind kind, const char *prefix,
                      const char *name)
{
    for (int proc = -1; proc < NPROCS - 1; proc++)
        PUT_COUNT(s->procs[kind][proc + 1], "proc_%d_%s%s", proc, prefix, name);
}

/* The name of the event's kind in the reference's output, without the label; NULL: it is not there.
 */
static const char *kind_name(enum gomem_trace_kind kind)
{
    static const char *const names[GOMEM_TRACE_KINDS] = {
        [GOMEM_TRACE_GC_ACTIVE] = "active_GC concurrent mark phase",
        [GOMEM_TRACE_GC_BEGIN] = "begin_GC concurrent mark phase",
        [GOMEM_TRACE_GC_END] = "end_GC concurrent mark phase",
        [GOMEM_TRACE_SWEEP_ACTIVE] = "active_GC incremental sweep",
        [GOMEM_TRACE_SWEEP_BEGIN] = "begin_GC incremental sweep",
        [GOMEM_TRACE_SWEEP_END] = "end_GC incremental sweep",
        [GOMEM_TRACE_ASSIST_ACTIVE] = "active_GC mark assist",
        [GOMEM_TRACE_ASSIST_BEGIN] = "begin_GC mark assist",
        [GOMEM_TRACE_ASSIST_END] = "end_GC mark assist",
        [GOMEM_TRACE_WORKER_BEGIN] = "label_",
        [GOMEM_TRACE_STW_BEGIN] = "begin_stop-the-world (",
        [GOMEM_TRACE_STW_END] = "end_stop-the-world (",
        [GOMEM_TRACE_HEAP_ALLOC] = "/memory/classes/heap/objects:bytes",
        [GOMEM_TRACE_HEAP_GOAL] = "/gc/heap/goal:bytes",
        [GOMEM_TRACE_PROCS] = "/sched/gomaxprocs:threads",
    };
    return kind <= GOMEM_TRACE_STACK_FREE ? experiment_names[kind] : names[kind];
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * HASH_PRIME;
    return h;
}

/* The number that the reference hashes: what the trace calls the address, or a value. */
static uint64_t hashed_value(const struct gomem_trace *t, const struct sums *s,
                             const struct gomem_trace_event *e)
{
    const struct gomem_trace_facts *f = gomem_trace_facts(t);
    if (e->kind >= GOMEM_TRACE_HEAP_ALLOC)
        return e->size;
    if (e->kind <= GOMEM_TRACE_SPAN_FREE)
        return (e->address - f->min_heap_address) / MAX(f->page_size, 1);
    if (e->kind <= GOMEM_TRACE_OBJECT_FREE)
        return (raw_address(s, e) - f->min_heap_address) / MAX(f->min_align, 1);
    if (e->kind <= GOMEM_TRACE_STACK_FREE)
        return (e->address - f->min_heap_address) / MAX(f->min_stack, 1);
    return 0;
}

/* A hash of all events in their order, with their Ps and times. */
static void put_order(const struct gomem_trace *t, const struct sums *s)
{
    size_t nlabels;
    const char *const *labels = gomem_trace_labels(t, &nlabels);
    uint64_t h = 0;
    for (size_t i = 0; i < s->events.n; i++) {
        const struct gomem_trace_event *e = &s->events.at[i];
        const char *name = kind_name(e->kind);
        if (name == NULL)
            continue;
        bool stw = e->kind == GOMEM_TRACE_STW_BEGIN || e->kind == GOMEM_TRACE_STW_END;
        h = hash_text(h, name);
        if (stw || e->kind == GOMEM_TRACE_WORKER_BEGIN)
            h = hash_text(h, labels[e->type]);
        if (stw)
            h = hash_text(h, ")");
        h = (h ^ hashed_value(t, s, e)) * HASH_PRIME;
        h = (h ^ (uint64_t)e->proc) * HASH_PRIME;
        h = (h ^ (uint64_t)e->time) * HASH_PRIME;
    }
    PUT_COUNT(h, "order");
}

static void put_ranges(const struct gomem_trace *t, const struct sums *s)
{
    static const struct {
        const char *name;
        enum gomem_trace_kind active, begin, end;
    } ranges[] = {
        {"GC concurrent mark phase", GOMEM_TRACE_GC_ACTIVE, GOMEM_TRACE_GC_BEGIN,
         GOMEM_TRACE_GC_END},
        {"GC incremental sweep", GOMEM_TRACE_SWEEP_ACTIVE, GOMEM_TRACE_SWEEP_BEGIN,
         GOMEM_TRACE_SWEEP_END},
        {"GC mark assist", GOMEM_TRACE_ASSIST_ACTIVE, GOMEM_TRACE_ASSIST_BEGIN,
         GOMEM_TRACE_ASSIST_END},
    };
    const uint64_t *counts = gomem_trace_facts(t)->counts;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        PUT_COUNT(counts[ranges[i].active], "active_%s", ranges[i].name);
        PUT_COUNT(counts[ranges[i].begin], "begin_%s", ranges[i].name);
        PUT_COUNT(counts[ranges[i].end], "end_%s", ranges[i].name);
        put_procs(s, ranges[i].begin, "begin_", ranges[i].name);
        put_procs(s, ranges[i].end, "end_", ranges[i].name);
    }
}

static void put_stw(const struct gomem_trace_event *e, const char *what, const char *why)
{
    put(1, "%s_stop-the-world (%s)", what, why);
    put(1, "proc_%d_%s_stop-the-world (%s)", e->proc, what, why);
}

/* What has a label, or values to be summed up. */
static void put_labels(const struct gomem_trace *t, struct events events)
{
    size_t nlabels;
    const char *const *labels = gomem_trace_labels(t, &nlabels);
    for (size_t i = 0; i < events.n; i++) {
        const struct gomem_trace_event *e = &events.at[i];
        if (e->kind == GOMEM_TRACE_STW_BEGIN)
            put_stw(e, "begin", labels[e->type]);
        if (e->kind == GOMEM_TRACE_STW_END)
            put_stw(e, "end", labels[e->type]);
        if (e->kind == GOMEM_TRACE_WORKER_BEGIN)
            put(1, "label_%s", labels[e->type]);
        if (e->kind == GOMEM_TRACE_ASSIST_BEGIN)
            put(e->address, "sum_of_assisting_goroutines");
        if (e->kind == GOMEM_TRACE_SWEEP_END) {
            put(e->size, "sum_bytes swept");
            put(e->address, "sum_bytes reclaimed");
        }
    }
}

static void put_metrics(const struct gomem_trace *t, const struct sums *s)
{
    static const char *const names[] = {
        "/memory/classes/heap/objects:bytes",
        "/gc/heap/goal:bytes",
        "/sched/gomaxprocs:threads",
    };
    uint64_t last[3] = {0};
    for (size_t i = 0; i < s->events.n; i++)
        if (s->events.at[i].kind >= GOMEM_TRACE_HEAP_ALLOC)
            last[s->events.at[i].kind - GOMEM_TRACE_HEAP_ALLOC] = s->events.at[i].size;
    for (unsigned i = 0; i < 3; i++) {
        PUT_COUNT(gomem_trace_facts(t)->counts[GOMEM_TRACE_HEAP_ALLOC + i], "metric_%s", names[i]);
        PUT_COUNT(last[i], "last_%s", names[i]);
        put_procs(s, GOMEM_TRACE_HEAP_ALLOC + i, "", names[i]);
    }
}

static void put_objects(const struct gomem_trace *t, const struct sums *s)
{
    size_t ntypes;
    const struct gomem_trace_type *types = gomem_trace_types(t, &ntypes);
    for (size_t i = 0; i < ntypes; i++) {
        PUT_COUNT(s->type_counts[i], "type_count_%s", types[i].name);
        PUT_COUNT(s->type_bytes[i], "type_bytes_%s", types[i].name);
    }
    for (unsigned kind = 0; kind <= GOMEM_TRACE_STACK_FREE; kind++)
        put_procs(s, kind, "", experiment_names[kind]);
    for (unsigned kind = 0; kind < NOBJECT_KINDS; kind++) {
        const char *name = experiment_names[GOMEM_TRACE_OBJECT_EXISTS + kind];
        PUT_COUNT(s->addresses[kind], "sum_of_addresses_%s", name);
    }
    for (unsigned class = 0; class < NCLASSES; class ++)
        PUT_COUNT((uint64_t)s->live[class], "live_class_%u", class);
    PUT_COUNT(s->without_span, "object_without_span");
    PUT_COUNT(s->parts, "tiny_parts");
    PUT_COUNT((uint64_t)s->live_bytes, "final_live_bytes");
    PUT_COUNT((uint64_t)s->live_objects, "final_live_objects");
    PUT_COUNT((uint64_t)s->heap_bytes, "final_heap_bytes");
    PUT_COUNT((uint64_t)s->other_bytes, "final_other_bytes");
    PUT_COUNT((uint64_t)s->stack_bytes, "final_stack_bytes");
    PUT_COUNT((uint64_t)s->stacks, "final_stacks");
}

/* What the reader counted itself must be what its events say. */
static void check_facts(const struct gomem_trace_facts *f, const struct sums *s)
{
    CHECK(f->final_live_objects == (uint64_t)s->live_objects);
    CHECK(f->final_live_bytes == (uint64_t)s->live_bytes);
    CHECK(f->final_heap_bytes == (uint64_t)s->heap_bytes);
    CHECK(f->final_other_bytes == (uint64_t)s->other_bytes);
    CHECK(f->final_stacks == (uint64_t)s->stacks);
    CHECK(f->final_stack_bytes == (uint64_t)s->stack_bytes);
    CHECK(f->orphans == s->without_span);
}

static void put_facts(const struct gomem_trace_facts *f)
{
    for (unsigned kind = 0; kind <= GOMEM_TRACE_STACK_FREE; kind++)
        PUT_COUNT(f->counts[kind], "count_%s", experiment_names[kind]);
    PUT_COUNT(f->generations, "generations");
    PUT_COUNT(f->min_heap_address, "min_heap_address");
    PUT_COUNT(f->page_size, "page_size");
    PUT_COUNT(f->min_align, "min_align");
    PUT_COUNT(f->min_stack, "min_stack");
    PUT_COUNT(f->peak_heap_bytes, "peak_heap_bytes");
    PUT_COUNT(f->peak_other_bytes, "peak_other_bytes");
    PUT_COUNT((uint64_t)f->peak_time, "time_peak");
    PUT_COUNT((uint64_t)f->duration, "time_duration");
    PUT_COUNT((uint64_t)f->start_unix_ns, "time_start_unix");
    PUT_COUNT(f->go_minor, "reader_go_minor");
    PUT_COUNT(f->has_allocations, "reader_has_allocations");
    PUT_COUNT(f->truncated, "reader_truncated");
    PUT_COUNT(f->truncated_at, "reader_truncated_at");
    PUT_COUNT(f->complete_generations, "reader_complete_generations");
    PUT_COUNT((uint64_t)f->max_proc, "reader_max_proc");
    PUT_COUNT(f->gc_count, "reader_gc_count");
    PUT_COUNT(f->total_allocs, "reader_total_allocs");
    PUT_COUNT(f->unmatched_frees, "unmatched_frees");
    PUT_COUNT(f->overlaps, "reader_overlaps");
}

static int print_facts(const struct file *file)
{
    static struct sums s;
    struct gomem_trace *t = trace_read(file->data, file->size);
    size_t ntypes;
    (void)gomem_trace_types(t, &ntypes);
    s.events.at = gomem_trace_events(t, &s.events.n);
    s.type_counts = calloc(ntypes, sizeof *s.type_counts);
    s.type_bytes = calloc(ntypes, sizeof *s.type_bytes);
    s.is_part = calloc(s.events.n + 1, sizeof *s.is_part);
    CHECK(s.type_counts != NULL && s.type_bytes != NULL && s.is_part != NULL);
    for (size_t i = 0; i < s.events.n; i++)
        sum_event(&s, i);
    check_facts(gomem_trace_facts(t), &s);
    put_facts(gomem_trace_facts(t));
    put_ranges(t, &s);
    put_labels(t, s.events);
    put_metrics(t, &s);
    put_objects(t, &s);
    put_order(t, &s);
    print_rows();
    free(s.type_counts);
    free(s.type_bytes);
    free(s.is_part);
    free(rows);
    gomem_trace_delete(t);
    return EXIT_SUCCESS;
}

static int print_events(const struct file *file)
{
    struct gomem_trace *t = trace_read(file->data, file->size);
    size_t n;
    const struct gomem_trace_event *e = gomem_trace_events(t, &n);
    for (size_t i = 0; i < n; i++, e++)
        printf("%" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRId64 " %" PRIu32 " %d %d %d\n",
               e->time, e->address, e->size, e->type,
               e->link == GOMEM_TRACE_NO_LINK ? -1 : (int64_t)e->link, e->next_part, e->proc,
               e->kind, e->noscan);
    gomem_trace_delete(t);
    return EXIT_SUCCESS;
}

/* --- Beginnings of a file --- */

/* What is the same of an event however little is known of the rest: header or not, the slot's 16
 * bytes (addresses count only if the whole trace's lowest one is known). */
struct key {
    uint64_t address;
    int16_t proc;
    uint8_t kind;
};

struct keys {
    struct key *at;
    size_t n;
};

static int compare_keys(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->proc != b->proc)
        return a->proc < b->proc ? -1 : 1;
    return a->address < b->address ? -1 : a->address > b->address;
}

static struct keys sorted_keys(const struct gomem_trace *t, bool addresses)
{
    size_t n;
    const struct gomem_trace_event *events = gomem_trace_events(t, &n);
    struct keys keys = {.at = calloc(n + 1, sizeof *keys.at), .n = n};
    CHECK(keys.at != NULL);
    for (size_t i = 0; i < n; i++) {
        bool has_address = addresses && events[i].kind <= GOMEM_TRACE_STACK_FREE;
        keys.at[i] = (struct key){
            .address = has_address ? events[i].address >> 4 : 0,
            .proc = events[i].proc,
            .kind = events[i].kind,
        };
    }
    qsort(keys.at, n, sizeof *keys.at, compare_keys);
    return keys;
}

/* Is every key of part one of all? */
static bool is_subset(struct keys part, struct keys all)
{
    size_t i = 0;
    for (size_t k = 0; i < part.n && k < all.n; k++)
        if (compare_keys(&part.at[i], &all.at[k]) == 0)
            i++;
    return i == part.n;
}

/* The first n bytes, alone in their block of memory: events of the whole file, or a refusal. */
static void check_prefix(const struct file *file, size_t n, const struct gomem_trace *whole,
                         const struct keys keys[2])
{
    uint8_t *copy = malloc(n + (n == 0));
    CHECK(copy != NULL);
    memcpy(copy, file->data, n);
    struct gomem_error err;
    struct gomem_trace *t = gomem_trace_read(copy, n, &err);
    free(copy);
    if (t == NULL) {
        CHECK(err.status == GOMEM_BAD_FORMAT && n < 16);
        return;
    }
    check_trace(t);
    const struct gomem_trace_facts *f = gomem_trace_facts(t), *all = gomem_trace_facts(whole);
    bool addresses = f->min_heap_address == all->min_heap_address;
    struct keys part = sorted_keys(t, addresses);
    CHECK(is_subset(part, keys[addresses]));
    free(part.at);
    CHECK(f->truncated_at <= n && f->generations <= all->generations);
    /* A file that was cut between two generations, or (before Go 1.26) two batches, does not show
     * it. */
    CHECK(f->truncated || n == file->size || f->complete_generations == f->generations);
    CHECK(f->truncated || f->go_minor < 26 || f->generations < all->generations || n == file->size);
    gomem_trace_delete(t);
}

static int check_prefixes(const struct file *file, size_t samples)
{
    struct gomem_trace *t = trace_read(file->data, file->size);
    struct keys keys[2] = {sorted_keys(t, false), sorted_keys(t, true)};
    size_t checked = 0;
    for (size_t n = 0; n < file->size && n < SHORT_PREFIX; n++, checked++)
        check_prefix(file, n, t, keys);
    for (size_t i = 1; i <= samples; i++, checked++)
        check_prefix(file, (size_t)((double)file->size * (double)i / (double)samples), t, keys);
    printf("%zu\n", checked);
    free(keys[0].at);
    free(keys[1].at);
    gomem_trace_delete(t);
    return EXIT_SUCCESS;
}

/* --- Speed --- */

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare_times(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static int measure(const struct file *file, size_t runs)
{
    uint64_t times[MAX_RUNS];
    CHECK(runs > 0 && runs <= MAX_RUNS);
    for (size_t i = 0; i < runs; i++) {
        struct gomem_error err;
        uint64_t begin = cpu_ns();
        struct gomem_trace *t = gomem_trace_read(file->data, file->size, &err);
        times[i] = cpu_ns() - begin;
        CHECK(t != NULL);
        gomem_trace_delete(t);
    }
    qsort(times, runs, sizeof *times, compare_times);
    printf("%zu %" PRIu64 "\n", file->size, times[runs / 2]);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const char *command = argc > 2 ? argv[1] : "";
    size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
    int status = EXIT_FAILURE;
    if (argc <= 2) {
        fprintf(stderr, "usage: gotrace_test facts|events|prefixes|speed FILE [N]\n");
        return status;
    }
    struct file file = file_read(argv[2]);
    if (strcmp(command, "facts") == 0)
        status = print_facts(&file);
    else if (strcmp(command, "events") == 0)
        status = print_events(&file);
    else if (strcmp(command, "prefixes") == 0)
        status = check_prefixes(&file, n);
    else if (strcmp(command, "speed") == 0)
        status = measure(&file, n);
    free(file.data);
    return status;
}
