/* Reading the tables of a trace.
 *
 * Called through tables.h.
 *
 * Concurrency: see tables.h.
 * Go: see tables.h.
 */
#include "gotrace/tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "gotrace/grow.h"
#include "gotrace/varint.h"

/* Kinds of batches of the allocation experiment. */
enum { ALLOC_FREE_TYPES = 0, ALLOC_FREE_INFO = 1 };

enum { MAX_LABELS = UINT16_MAX, MAX_STACK_UNIT = 1 << 20 };

#define DEFAULT_FREQUENCY 15625000 /* units of 64 ns */

/* Where reading of a batch is. */
struct cursor {
    const struct batch *batch;
    const uint8_t *p, *end;
    struct gomem_error *err;
    enum gomem_status status;
};

static bool fail_memory(struct cursor *c)
{
    c->status = error_set(c->err, GOMEM_OUT_OF_MEMORY, "out of memory for the tables of a trace");
    return false;
}

/* In a batch that the end of the file cuts off, the first number that is missing is the end. */
static bool fail_format(const struct tables *t, struct cursor *c, const char *expected)
{
    if (!c->batch->partial)
        c->status = format_error(t->list, c->p, expected, c->err);
    c->p = c->end;
    return false;
}

static bool read_numbers(const struct tables *t, struct cursor *c, uint64_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *next = varint_read(c->p, c->end, &out[i]);
        if (next == NULL)
            return fail_format(t, c, "a number");
        c->p = next;
    }
    return true;
}

/* Copies a name; *at: where it is. */
static bool add_name(struct tables *t, const uint8_t *data, size_t size, size_t *at)
{
    char *names = array_grow(t->names, &t->names_capacity, t->nnames, size + 1, 1);
    if (names == NULL)
        return false;
    t->names = names;
    *at = t->nnames;
    memcpy(t->names + t->nnames, data, size);
    t->names[t->nnames + size] = '\0';
    t->nnames += size + 1;
    return true;
}

/* --- The clock --- */

static bool read_sync(struct tables *t, struct cursor *c)
{
    uint64_t time = c->batch->time;
    if (t->list->go_minor >= 25)
        c->p++; /* EV_SYNC */
    while (c->p < c->end) {
        uint8_t type = *c->p++;
        uint64_t numbers[4];
        if (type == EV_FREQUENCY) {
            if (!read_numbers(t, c, numbers, 1))
                return false;
            if (numbers[0] == 0)
                return fail_format(t, c, "a clock frequency other than 0");
            if (t->frequency == 0)
                t->frequency = numbers[0];
            if (t->generations[c->batch->generation].frequency == 0)
                t->generations[c->batch->generation].frequency = numbers[0];
        } else if (type == EV_CLOCK_SNAPSHOT && t->list->go_minor >= 25) {
            if (!read_numbers(t, c, numbers, 4)) /* time since the batch's, mono, seconds, ns */
                return false;
            time += numbers[0];
            if (!t->has_snapshot) {
                t->snapshot_time = time;
                t->snapshot_unix_ns = numbers[2] * 1000000000 + numbers[3];
                t->snapshot_generation = c->batch->generation;
                t->has_snapshot = true;
            }
        } else {
            c->p--;
            return fail_format(t, c, "a frequency or a clock snapshot");
        }
    }
    return true;
}

struct time_unit tables_unit(const struct tables *t, uint32_t generation)
{
    uint64_t frequency = t->generations[generation].frequency;
    if (frequency == 0)
        frequency = t->frequency;
    if (frequency == 0)
        frequency = DEFAULT_FREQUENCY;
    struct time_unit u = {.ns = 1 / ((double)frequency / 1e9)};
    u.max = (uint64_t)MIN(0x1p62 / u.ns, 0x1p62);
    if (u.ns >= 1 && u.ns == (double)(uint64_t)u.ns)
        u.whole_ns = (uint64_t)u.ns;
    return u;
}

/* --- Strings --- */

static bool read_strings(struct tables *t, struct cursor *c)
{
    c->p++; /* EV_STRINGS */
    while (c->p < c->end) {
        uint64_t numbers[2]; /* id, bytes */
        if (*c->p != EV_STRING)
            return fail_format(t, c, "a string");
        c->p++;
        if (!read_numbers(t, c, numbers, 2))
            return false;
        if (numbers[1] > MAX_STRING_BYTES || numbers[1] > (size_t)(c->end - c->p))
            return fail_format(t, c, "a string of at most 1024 bytes within its batch");
        struct string_entry *grown =
            array_grow(t->strings, &t->strings_capacity, t->nstrings, 1, sizeof *grown);
        if (grown == NULL)
            return fail_memory(c);
        t->strings = grown;
        t->strings[t->nstrings++] = (struct string_entry){
            .id = numbers[0],
            .data = c->p,
            .generation = c->batch->generation,
            .size = (uint16_t)numbers[1],
        };
        c->p += numbers[1];
    }
    return true;
}

static int compare_strings(const void *left, const void *right)
{
    const struct string_entry *a = left, *b = right;
    if (a->generation != b->generation)
        return a->generation < b->generation ? -1 : 1;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->data < b->data ? -1 : a->data > b->data;
}

static struct string_entry *find_string(struct tables *t, uint32_t generation, uint64_t id)
{
    size_t low = 0, high = t->nstrings;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct string_entry *s = &t->strings[middle];
        if (s->generation < generation || (s->generation == generation && s->id < id))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == t->nstrings)
        return NULL;
    struct string_entry *s = &t->strings[low];
    return s->generation == generation && s->id == id ? s : NULL;
}

static bool same_name(const struct tables *t, size_t at, const uint8_t *data, size_t size)
{
    return strlen(t->names + at) == size && memcmp(t->names + at, data, size) == 0;
}

static bool add_label(struct tables *t, const uint8_t *data, size_t size, uint32_t *label)
{
    /* There are as many as Go has reasons for stopping the world: a dozen. */
    for (size_t i = 0; i < MIN(t->nlabels, 64); i++)
        if (same_name(t, t->label_names[i], data, size)) {
            *label = (uint32_t)i;
            return true;
        }
    *label = 0;
    if (t->nlabels == MAX_LABELS)
        return true;
    size_t *grown = array_grow(t->label_names, &t->labels_capacity, t->nlabels, 1, sizeof *grown);
    if (grown == NULL)
        return false;
    t->label_names = grown;
    if (!add_name(t, data, size, &t->label_names[t->nlabels]))
        return false;
    *label = (uint32_t)t->nlabels++;
    return true;
}

bool tables_label(struct tables *t, uint32_t generation, uint64_t id, uint32_t *label)
{
    struct string_entry *s = find_string(t, generation, id);
    *label = s == NULL ? 0 : s->label;
    if (s == NULL || s->label != 0)
        return true;
    if (!add_label(t, s->data, s->size, label))
        return false;
    s->label = (uint16_t)*label;
    return true;
}

bool tables_label_with(struct tables *t, uint32_t generation, uint64_t id, const char *prefix,
                       uint32_t *label)
{
    const struct string_entry *s = find_string(t, generation, id);
    size_t n = strlen(prefix);
    *label = 0;
    return s == NULL || s->size < n || memcmp(s->data, prefix, n) != 0 ||
           tables_label(t, generation, id, label);
}

/* --- The allocation experiment --- */

static bool is_size(uint64_t n, uint64_t least)
{
    return is_power_of_two(n) && n >= least && n <= MAX_STACK_UNIT;
}

static bool read_info(struct tables *t, struct cursor *c)
{
    uint64_t numbers[4];
    const uint8_t *at = c->p;
    if (!read_numbers(t, c, numbers, 4))
        return false;
    if (numbers[1] != TRACE_PAGE_SIZE || numbers[2] != TRACE_MIN_ALIGN ||
        !is_size(numbers[3], TRACE_MIN_STACK)) {
        c->p = at;
        return fail_format(t, c,
                           "a page size of 8192, an alignment of 8, a power of two as stack size");
    }
    if (t->has_info)
        return true;
    t->has_info = true;
    t->min_heap_address = numbers[0];
    t->page_size = numbers[1];
    t->min_align = numbers[2];
    t->min_stack = numbers[3];
    return true;
}

static bool add_type(struct tables *t, const struct gomem_trace_type *type, const uint8_t *name,
                     size_t size)
{
    struct gomem_trace_type *types =
        array_grow(t->types, &t->types_capacity, t->ntypes, 1, sizeof *types);
    if (types == NULL)
        return false;
    t->types = types;
    size_t *names = array_grow(t->type_names, &t->type_names_capacity, t->ntypes, 1, sizeof *names);
    if (names == NULL)
        return false;
    t->type_names = names;
    if (!add_name(t, name, size, &t->type_names[t->ntypes]))
        return false;
    t->types[t->ntypes++] = *type;
    return true;
}

/* The index of a type, which may have been met in another generation. */
static bool intern_type(struct tables *t, const struct gomem_trace_type *type, const uint8_t *name,
                        size_t size, uint32_t *index)
{
    uint32_t *known = map_put(&t->types_by_address, type->address);
    if (known == NULL)
        return false;
    const struct gomem_trace_type *k = &t->types[*known];
    if (*known != 0 && k->size == type->size && k->pointer_bytes == type->pointer_bytes &&
        same_name(t, t->type_names[*known], name, size)) {
        *index = *known;
        return true;
    }
    if (!add_type(t, type, name, size))
        return false;
    *known = *index = (uint32_t)(t->ntypes - 1);
    return true;
}

static bool read_types(struct tables *t, struct cursor *c)
{
    while (c->p < c->end) {
        uint64_t numbers[5]; /* id, address, size, pointer bytes, bytes of the name */
        if (!read_numbers(t, c, numbers, 5))
            return false;
        if (numbers[4] > (size_t)(c->end - c->p))
            return fail_format(t, c, "a type name within its batch");
        struct gomem_trace_type type = {
            .id = numbers[0],
            .address = numbers[1],
            .size = numbers[2],
            .pointer_bytes = numbers[3],
        };
        struct type_entry entry = {.id = type.id};
        struct type_entry *grown = array_grow(t->type_entries, &t->type_entries_capacity,
                                              t->ntype_entries, 1, sizeof *grown);
        if (grown == NULL)
            return fail_memory(c);
        t->type_entries = grown;
        if (!intern_type(t, &type, c->p, numbers[4], &entry.index))
            return fail_memory(c);
        t->type_entries[t->ntype_entries++] = entry;
        t->generations[c->batch->generation].nsorted++;
        c->p += numbers[4];
    }
    return true;
}

static bool read_alloc_free(struct tables *t, struct cursor *c)
{
    if (c->p == c->end)
        return true;
    switch (*c->p++) {
    case ALLOC_FREE_TYPES:
        return read_types(t, c);
    case ALLOC_FREE_INFO:
        return read_info(t, c);
    default:
        c->p--;
        return fail_format(t, c, "a table of types or the numbers of the allocation experiment");
    }
}

static int compare_types(const void *left, const void *right)
{
    const struct type_entry *a = left, *b = right;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Batches come in order of generations: so do the entries. */
static bool index_types(struct tables *t)
{
    size_t first = 0;
    for (size_t i = 0; i < t->list->generations; i++) {
        struct generation_tables *g = &t->generations[i];
        if (g->nsorted == 0)
            continue;
        g->sorted = &t->type_entries[first];
        first += g->nsorted;
        qsort(g->sorted, g->nsorted, sizeof *g->sorted, compare_types);
        uint64_t last = g->sorted[g->nsorted - 1].id;
        if (last > 4 * g->nsorted + 64)
            continue;
        g->direct = calloc(last + 1, sizeof *g->direct);
        if (g->direct == NULL)
            return false;
        g->ndirect = last + 1;
        for (size_t k = g->nsorted; k-- > 0;)
            g->direct[g->sorted[k].id] = g->sorted[k].index;
        g->direct[0] = 0;
    }
    return true;
}

uint32_t tables_type_slow(const struct generation_tables *g, uint64_t id)
{
    size_t low = 0, high = g->nsorted;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->sorted[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return id != 0 && low < g->nsorted && g->sorted[low].id == id ? g->sorted[low].index : 0;
}

/* --- All of it --- */

static bool read_batch(struct tables *t, struct cursor *c)
{
    switch (c->batch->kind) {
    case BATCH_SYNC:
        return read_sync(t, c);
    case BATCH_STRINGS:
        return read_strings(t, c);
    case BATCH_ALLOC_FREE:
        return read_alloc_free(t, c);
    default:
        return true;
    }
}

/* Index 0 of types and labels: nothing is known. */
static bool add_unknown(struct tables *t)
{
    struct gomem_trace_type unknown = {.id = 0};
    uint32_t label;
    return add_type(t, &unknown, (const uint8_t *)"unknown", 7) &&
           add_label(t, (const uint8_t *)"", 0, &label);
}

enum gomem_status tables_read(struct tables *t, const struct batch_list *list,
                              struct gomem_error *err)
{
    *t = (struct tables){.list = list};
    struct cursor c = {.err = err, .status = GOMEM_OK};
    map_init(&t->types_by_address);
    t->generations = calloc(MAX(list->generations, 1), sizeof *t->generations);
    if (t->generations == NULL || !add_unknown(t))
        (void)fail_memory(&c);
    for (size_t i = 0; i < list->n && c.status == GOMEM_OK; i++) {
        c.batch = &list->batches[i];
        c.p = c.batch->data;
        c.end = c.p + c.batch->size;
        (void)read_batch(t, &c);
    }
    if (c.status == GOMEM_OK && !index_types(t))
        (void)fail_memory(&c);
    if (c.status == GOMEM_OK && t->frequency == 0 && !list->truncated)
        c.status = error_set(err, GOMEM_BAD_FORMAT, "broken trace: no clock frequency in it");
    if (c.status != GOMEM_OK) {
        tables_free(t);
        return c.status;
    }
    if (t->nstrings > 0)
        qsort(t->strings, t->nstrings, sizeof *t->strings, compare_strings);
    return GOMEM_OK;
}

void tables_free(struct tables *t)
{
    for (size_t i = 0; t->generations != NULL && i < t->list->generations; i++)
        free(t->generations[i].direct);
    free(t->generations);
    free(t->type_entries);
    free(t->types);
    free(t->type_names);
    free(t->strings);
    free(t->label_names);
    free(t->names);
    map_free(&t->types_by_address);
    memset(t, 0, sizeof *t);
}
