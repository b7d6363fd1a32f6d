/* Slices.
 *
 * Called through slice.h.
 *
 * Concurrency: see slice.h.
 * Go: runtime/slice.go, boundsErrorFmts in runtime/error.go.
 */
#include "object/slice.h"

enum { GROWTH_THRESHOLD = 256 };

/* Is an array of n elements too large for any address space? */
static bool too_large(const struct type *elem, int64_t n, size_t *size)
{
    return n < 0 || __builtin_mul_overflow(elem->size, (size_t)n, size) || *size > MAX_ALLOC;
}

enum gomem_status slice_make(struct p *p, const struct type *elem, int64_t len, int64_t cap,
                             struct gomem_slice *out, struct gomem_error *err)
{
    size_t size;
    if (too_large(elem, len, &size))
        return error_set(err, GOMEM_PANIC, "runtime error: makeslice: len out of range");
    if (len > cap || too_large(elem, cap, &size))
        return error_set(err, GOMEM_PANIC, "runtime error: makeslice: cap out of range");
    void *array = malloc_typed(p->mcache, size, elem);
    if (array == NULL)
        return no_memory(err, size);
    *out = (struct gomem_slice){array, len, cap};
    return GOMEM_OK;
}

int64_t slice_next_cap(int64_t new_len, int64_t old_cap)
{
    if (old_cap > INT64_MAX / 2 || new_len > 2 * old_cap)
        return new_len;
    if (old_cap < GROWTH_THRESHOLD)
        return 2 * old_cap;
    int64_t cap = old_cap;
    do {
        cap += (cap + 3 * GROWTH_THRESHOLD) >> 2;
    } while (cap < new_len);
    return cap;
}

static enum gomem_status growslice_panic(struct gomem_error *err)
{
    return error_set(err, GOMEM_PANIC, "runtime error: growslice: len out of range");
}

static enum gomem_status grow(struct p *p, const struct type *elem, struct gomem_slice *s,
                              int64_t new_len, struct gomem_error *err)
{
    if (elem->size == 0) {
        *s = (struct gomem_slice){(void *)p->mcache->heap->zerobase, s->len, new_len};
        return GOMEM_OK;
    }
    size_t size;
    if (too_large(elem, slice_next_cap(new_len, s->cap), &size))
        return growslice_panic(err);
    size = round_up_size(&p->mcache->size_classes, size, !type_has_pointers(elem));
    int64_t cap = (int64_t)(size / elem->size);
    size = (size_t)cap * elem->size;
    void *array = malloc_typed(p->mcache, size, elem);
    if (array == NULL)
        return no_memory(err, size);
    typed_init(p, elem, array, s->array, (size_t)s->len);
    *s = (struct gomem_slice){array, s->len, cap};
    return GOMEM_OK;
}

enum gomem_status slice_check_more(const struct type *elem, const struct gomem_slice *s, int64_t n,
                                   struct gomem_error *err)
{
    int64_t len;
    size_t size;
    bool none = n < 0 || __builtin_add_overflow(s->len, n, &len) || too_large(elem, len, &size);
    return none ? growslice_panic(err) : GOMEM_OK;
}

enum gomem_status slice_reserve(struct p *p, const struct type *elem, struct gomem_slice *s,
                                int64_t n, struct gomem_error *err)
{
    int64_t len;
    if (n < 0 || __builtin_add_overflow(s->len, n, &len))
        return growslice_panic(err);
    return len <= s->cap ? GOMEM_OK : grow(p, elem, s, len, err);
}

enum gomem_status slice_append(struct p *p, const struct type *elem, struct gomem_slice *s,
                               const void *values, int64_t n, struct gomem_error *err)
{
    enum gomem_status status = slice_reserve(p, elem, s, n, err);
    if (status != GOMEM_OK)
        return status;
    typed_copy(p, elem, (char *)s->array + (size_t)s->len * elem->size, values, (size_t)n);
    s->len += n;
    return GOMEM_OK;
}

static char *element(const struct type *elem, const struct gomem_slice *s, int64_t i)
{
    return (char *)s->array + (size_t)i * elem->size;
}

enum gomem_status slice_replace(struct p *p, const struct type *elem, struct gomem_slice *s, int64_t i,
                                int64_t j, const void *values, int64_t n, struct gomem_error *err)
{
    int64_t tail = s->len - j, len;
    struct gomem_slice out = {s->array, i, s->cap};
    if (n < 0 || __builtin_add_overflow(i + tail, n, &len))
        return growslice_panic(err);
    if (n == 0 && i == j)
        return GOMEM_OK;
    enum gomem_status status = slice_reserve(p, elem, &out, len - i, err);
    if (status != GOMEM_OK)
        return status;
    typed_copy(p, elem, element(elem, &out, i + n), element(elem, s, j), (size_t)tail);
    typed_copy(p, elem, element(elem, &out, i), values, (size_t)n);
    if (len < s->len)
        typed_clear(p, elem, element(elem, s, len), (size_t)(s->len - len));
    *s = (struct gomem_slice){out.array, len, out.cap};
    return GOMEM_OK;
}

enum gomem_status slice_grow(struct p *p, const struct type *elem, struct gomem_slice *s, int64_t n,
                             struct gomem_error *err)
{
    if (n < 0)
        return error_set(err, GOMEM_PANIC, "cannot be negative");
    struct gomem_slice all = {s->array, s->cap, s->cap};
    enum gomem_status status = slice_reserve(p, elem, &all, MAX(n - (s->cap - s->len), 0), err);
    if (status == GOMEM_OK)
        *s = (struct gomem_slice){all.array, s->len, all.cap};
    return status;
}

int64_t slice_copy(struct p *p, const struct type *elem, const struct gomem_slice *to,
                   const struct gomem_slice *from)
{
    int64_t n = MIN(to->len, from->len);
    typed_copy(p, elem, to->array, from->array, (size_t)n);
    return n;
}

/* --- Slicing --- */

/* s[low:high:max] */
static enum gomem_status check_three(const struct gomem_bounds *b, int64_t low, int64_t cap,
                                     struct gomem_error *err)
{
    const enum gomem_status status = GOMEM_PANIC_BOUNDS;
    if (b->max < 0)
        return error_set(err, status, PANIC_SLICE "[::%" PRId64 "]", b->max);
    if (b->max > cap)
        return error_set(err, status, PANIC_SLICE "[::%" PRId64 "] with capacity %" PRId64, b->max,
                         cap);
    if (b->high < 0)
        return error_set(err, status, PANIC_SLICE "[:%" PRId64 ":]", b->high);
    if (b->high > b->max)
        return error_set(err, status, PANIC_SLICE "[:%" PRId64 ":%" PRId64 "]", b->high, b->max);
    if (low < 0)
        return error_set(err, status, PANIC_SLICE "[%" PRId64 "::]", low);
    if (low > b->high)
        return error_set(err, status, PANIC_SLICE "[%" PRId64 ":%" PRId64 ":]", low, b->high);
    return GOMEM_OK;
}

static enum gomem_status check_two(const struct gomem_bounds *b, int64_t low, int64_t high,
                                   int64_t cap, struct gomem_error *err)
{
    const enum gomem_status status = GOMEM_PANIC_BOUNDS;
    if (b->has_high && high < 0)
        return error_set(err, status, PANIC_SLICE "[:%" PRId64 "]", high);
    if (b->has_high && high > cap)
        return error_set(err, status, PANIC_SLICE "[:%" PRId64 "] with %s %" PRId64, high,
                         b->of_string ? "length" : "capacity", cap);
    if (low < 0)
        return error_set(err, status, PANIC_SLICE "[%" PRId64 ":]", low);
    if (low > high)
        return error_set(err, status, PANIC_SLICE "[%" PRId64 ":%" PRId64 "]", low, high);
    return GOMEM_OK;
}

enum gomem_status slice_slice(size_t elem_size, const struct gomem_slice *s,
                              const struct gomem_bounds *b, struct gomem_slice *out,
                              struct gomem_error *err)
{
    int64_t cap = b->of_string ? s->len : s->cap;
    int64_t low = b->has_low ? b->low : 0, high = b->has_high ? b->high : s->len;
    enum gomem_status status = b->has_max ? check_three(b, low, cap, err)
                                          : check_two(b, low, high, cap, err);
    if (status != GOMEM_OK)
        return status;
    int64_t max = b->has_max ? b->max : cap;
    out->len = high - low;
    out->cap = max - low;
    /* Of nothing it points to the array's beginning still: behind its end there may be another object. */
    out->array = (char *)s->array + (out->cap > 0 ? (size_t)low * elem_size : 0);
    return GOMEM_OK;
}
