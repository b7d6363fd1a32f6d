/* The generator of size-class tables.
 *
 * Called through sizeclass.h.
 *
 * Concurrency: pure functions.
 * Go: _mkmalloc/mksizeclasses.go; TCMalloc: SizeMap::Init.
 */
#include "heap/sizeclass.h"

#include <string.h>

struct gomem_size_class_rules size_class_rules_go(void)
{
    return (struct gomem_size_class_rules){
        .page_size = 8192,
        .max_small_size = 32768,
        .min_align = 8,
        .align16_from = 32,
        .align_max = 256,
        .max_waste = 0.125,
        .stretch = true,
    };
}

struct gomem_size_class_rules size_class_rules_tcmalloc(void)
{
    return (struct gomem_size_class_rules){
        .page_size = 8192,
        .max_small_size = 256 << 10,
        .min_align = 8,
        .align16_from = 16,
        .align_max = 8192,
        .max_waste = 0.125,
        .stretch = false,
        .batch_bytes = 64 << 10,
        .batch_max = 512,
    };
}

static enum gomem_status rules_check(const struct gomem_size_class_rules *r, struct gomem_error *err)
{
    if (!is_power_of_two(r->page_size) || r->page_size < 1u << MIN_PAGE_SHIFT ||
        r->page_size > 1u << MAX_PAGE_SHIFT)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "page_size must be a power of two from 4096 to 262144, not %u",
                         r->page_size);
    if (r->max_small_size < SMALL_SIZE_MAX || r->max_small_size > MAX_SMALL_SIZE_LIMIT ||
        r->max_small_size % LARGE_SIZE_DIV != 0)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "max_small_size must be a multiple of 128 from 1024 to 262144, not %u",
                         r->max_small_size);
    if (r->min_align != 8 && r->min_align != 16)
        return error_set(err, GOMEM_INVALID_VALUE, "min_align must be 8 or 16, not %u",
                         r->min_align);
    if (r->align16_from < 16 || r->align16_from > 128 || !is_power_of_two(r->align16_from))
        return error_set(err, GOMEM_INVALID_VALUE, "align16_from must be 16, 32, 64 or 128, not %u",
                         r->align16_from);
    if (!is_power_of_two(r->align_max) || r->align_max < LARGE_SIZE_DIV ||
        r->align_max > r->page_size)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "align_max must be a power of two from 128 to the page size, not %u",
                         r->align_max);
    if (!(r->max_waste > 0 && r->max_waste < 1))
        return error_set(err, GOMEM_INVALID_VALUE,
                         "max_waste must lie between 0 and 1 (exclusive), not %g", r->max_waste);
    return GOMEM_OK;
}

static uint32_t align_for(const struct gomem_size_class_rules *r, uint32_t size)
{
    if (size >= 128) {
        uint32_t eighth = (1u << (len64(size) - 1)) / 8;
        return MIN(eighth, r->align_max);
    }
    return size >= r->align16_from ? 16 : r->min_align;
}

/* The fewest pages a span of this size may have; 0 if no permitted number will do. */
static uint32_t pages_for(const struct gomem_size_class_rules *r, uint32_t size)
{
    uint32_t min_objects = 0;
    if (r->batch_bytes > 0)
        min_objects = MAX(2, MIN(r->batch_max, r->batch_bytes / size)) / 4;
    for (uint64_t bytes = r->page_size; bytes <= MAX_SPAN_BYTES; bytes += r->page_size)
        if (bytes / size >= MAX(min_objects, 1) &&
            (double)(bytes % size) <= r->max_waste * (double)bytes)
            return (uint32_t)(bytes / r->page_size);
    return 0;
}

/* Fills everything that follows from sizes and pages, and checks that lookups can work. */
static enum gomem_status table_finish(struct size_class_table *t, struct gomem_error *err)
{
    uint32_t page_size = 1u << t->page_shift;
    for (unsigned i = 1; i < t->nclasses; i++) {
        struct size_class *c = &t->classes[i];
        uint64_t bytes = (uint64_t)c->npages * page_size;
        c->nobjects = (uint32_t)(bytes / c->size);
        c->div_magic = UINT32_MAX / c->size + 1;
        if (c->nobjects > MAX_OBJECTS_PER_SPAN)
            return error_set(err, GOMEM_INVALID_VALUE,
                             "a span of class %u would hold %u objects of %u bytes; the most is %d",
                             i, c->nobjects, c->size, MAX_OBJECTS_PER_SPAN);
        /* The error grows with the offset: it is largest at the end of the span. */
        uint64_t last = c->nobjects;
        if (last * c->size * c->div_magic >> 32 != last)
            return error_set(err, GOMEM_INVALID_VALUE,
                             "class %u (%u bytes, %u pages): offsets cannot be divided by a 32-bit "
                             "multiplication",
                             i, c->size, c->npages);
    }
    t->max_small_size = t->classes[t->nclasses - 1].size;
    t->tiny_class = 0;
    t->max_bitmap_size = 0;
    for (unsigned i = 1; i < t->nclasses; i++) {
        if (t->classes[i].size == TINY_SIZE)
            t->tiny_class = i;
        /* The bitmap of one object must fit in two words and its span be one page. */
        if (t->classes[i].size <= MIN_SIZE_FOR_MALLOC_HEADER && t->classes[i].npages == 1 &&
            t->max_bitmap_size == (i == 1 ? 0 : t->classes[i - 1].size))
            t->max_bitmap_size = t->classes[i].size;
    }
    unsigned c = 1;
    for (uint32_t i = 0; i < ARRAY_LEN(t->size_to_class8); i++) {
        while (t->classes[c].size < i * SMALL_SIZE_DIV && c + 1 < t->nclasses)
            c++;
        t->size_to_class8[i] = (uint8_t)c;
    }
    c = 1;
    for (uint32_t i = 0; SMALL_SIZE_MAX + i * LARGE_SIZE_DIV <= t->max_small_size; i++) {
        while (t->classes[c].size < SMALL_SIZE_MAX + i * LARGE_SIZE_DIV)
            c++;
        t->size_to_class128[i] = (uint8_t)c;
    }
    return GOMEM_OK;
}

/* Appends a class, or lets it replace its predecessor when both hold as many objects in as many
 * pages: the smaller of the two would serve no purpose. */
static enum gomem_status table_add(struct size_class_table *t, uint32_t size, uint32_t npages,
                                   struct gomem_error *err)
{
    uint64_t bytes = (uint64_t)npages << t->page_shift;
    struct size_class *last = &t->classes[t->nclasses - 1];
    if (t->nclasses > 1 && npages == last->npages && bytes / size == bytes / last->size) {
        last->size = size;
        return GOMEM_OK;
    }
    if (t->nclasses == MAX_SIZE_CLASSES)
        return error_set(err, GOMEM_INVALID_VALUE, "these rules give more than %d size classes",
                         MAX_SIZE_CLASSES - 1);
    t->classes[t->nclasses++] = (struct size_class){.size = size, .npages = npages};
    return GOMEM_OK;
}

enum gomem_status size_class_table_make(struct size_class_table *t,
                                        const struct gomem_size_class_rules *rules,
                                        struct gomem_error *err)
{
    enum gomem_status s = rules_check(rules, err);
    if (s != GOMEM_OK)
        return s;
    memset(t, 0, sizeof *t);
    t->page_shift = len64(rules->page_size) - 1;
    t->nclasses = 1;
    for (uint32_t size = rules->min_align; size <= rules->max_small_size;
         size += align_for(rules, size)) {
        uint32_t npages = pages_for(rules, size);
        if (npages == 0)
            return error_set(err, GOMEM_INVALID_VALUE,
                             "no span of at most %d bytes wastes at most %g of itself on objects "
                             "of %u bytes",
                             MAX_SPAN_BYTES, rules->max_waste, size);
        s = table_add(t, size, npages, err);
        if (s != GOMEM_OK)
            return s;
    }
    /* From the top down: how far a class may go depends on how far the next one went. */
    for (unsigned i = t->nclasses - 1; rules->stretch && i > 0; i--) {
        struct size_class *c = &t->classes[i];
        uint32_t bytes = c->npages * rules->page_size;
        uint32_t stretched = (uint32_t)align_down(bytes / (bytes / c->size), LARGE_SIZE_DIV);
        uint32_t limit = i + 1 < t->nclasses ? t->classes[i + 1].size - 1 : rules->max_small_size;
        if (stretched > c->size && stretched <= limit)
            c->size = stretched;
    }
    return table_finish(t, err);
}

enum gomem_status size_class_table_from(struct size_class_table *t, uint32_t page_size,
                                        const uint32_t *sizes, const uint32_t *npages, size_t n,
                                        struct gomem_error *err)
{
    if (!is_power_of_two(page_size) || page_size < 1u << MIN_PAGE_SHIFT ||
        page_size > 1u << MAX_PAGE_SHIFT)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "page_size must be a power of two from 4096 to 262144, not %u", page_size);
    if (n == 0 || n > MAX_SIZE_CLASSES - 1)
        return error_set(err, GOMEM_INVALID_VALUE, "a table has 1 to %d classes, not %zu",
                         MAX_SIZE_CLASSES - 1, n);
    memset(t, 0, sizeof *t);
    t->page_shift = len64(page_size) - 1;
    t->nclasses = (uint32_t)n + 1;
    uint32_t previous = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t step = sizes[i] > SMALL_SIZE_MAX ? LARGE_SIZE_DIV : SMALL_SIZE_DIV;
        if (sizes[i] <= previous || sizes[i] % step != 0 || sizes[i] > MAX_SMALL_SIZE_LIMIT)
            return error_set(err, GOMEM_INVALID_VALUE,
                             "class %zu: sizes must increase, be multiples of 8 (of 128 above 1024) "
                             "and at most 262144, not %u after %u",
                             i + 1, sizes[i], previous);
        uint64_t bytes = (uint64_t)npages[i] * page_size;
        if (npages[i] == 0 || bytes > MAX_SPAN_BYTES || bytes < sizes[i])
            return error_set(err, GOMEM_INVALID_VALUE,
                             "class %zu: a span of %u pages of %u bytes must hold at least one "
                             "object of %u bytes and be at most %d bytes",
                             i + 1, npages[i], page_size, sizes[i], MAX_SPAN_BYTES);
        t->classes[i + 1] = (struct size_class){.size = sizes[i], .npages = npages[i]};
        previous = sizes[i];
    }
    if (previous < SMALL_SIZE_MAX)
        return error_set(err, GOMEM_INVALID_VALUE,
                         "the largest class must be at least 1024 bytes, not %u", previous);
    return table_finish(t, err);
}

bool size_class_table_verify(const struct size_class_table *t)
{
    for (unsigned i = 1; i < t->nclasses; i++)
        if (t->classes[i].size <= t->classes[i - 1].size || t->classes[i].npages == 0)
            return false;
    unsigned want = 1;
    for (uint32_t size = 1; size <= t->max_small_size; size++) {
        while (t->classes[want].size < size)
            want++;
        if (size_to_class(t, size) != want)
            return false;
    }
    return true;
}

struct gomem_size_class size_class_info(const struct size_class_table *t, unsigned size_class)
{
    const struct size_class *c = &t->classes[size_class];
    if (size_class == 0)
        return (struct gomem_size_class){0};
    uint32_t span = c->npages << t->page_shift;
    uint32_t previous = t->classes[size_class - 1].size;
    struct gomem_size_class info = {
        .size = c->size,
        .span_bytes = span,
        .objects = c->nobjects,
        .tail_waste = span - c->nobjects * c->size,
        .min_align = 1u << MIN(trailing_zeros64(c->size), t->page_shift),
    };
    info.max_waste =
        ((double)(c->size - previous - 1) * c->nobjects + info.tail_waste) / (double)span;
    return info;
}

size_t round_up_size(const struct size_class_table *t, size_t size, bool noscan)
{
    size_t header = !noscan && size > t->max_bitmap_size ? MALLOC_HEADER_SIZE : 0;
    if (size <= t->max_small_size - MALLOC_HEADER_SIZE)
        return t->classes[size_to_class(t, size + header)].size - header;
    size_t rounded = align_up(size, (size_t)1 << t->page_shift);
    return rounded < size ? 0 : rounded;
}
