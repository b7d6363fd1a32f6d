/* Go values, for callers outside: slices, strings, interfaces, channels' memory, builders and buffers.
 *
 * Called through gomem.h. What fails for lack of memory is tried again after everything was done to find
 * some, which the functions of object/ do not care for: they fail and leave all as it was.
 *
 * Concurrency: see gomem.h.
 * Go: runtime/slice.go, string.go, iface.go, chan.go; strings.Builder, bytes.Buffer.
 */
#include "object/buffer.h"
#include "object/chan.h"
#include "object/interface.h"
#include "object/slice.h"
#include "object/strings.h"
#include "runtime/values.h"

static inline const struct type *type_of(const struct gomem_type *t)
{
    return (const struct type *)t;
}

void gomem_typed_copy(struct gomem_proc *p, const struct gomem_type *t, void *to, const void *from,
                      size_t n)
{
    typed_copy(proc_p(p), type_of(t), to, from, n);
}

void gomem_typed_clear(struct gomem_proc *p, const struct gomem_type *t, void *at, size_t n)
{
    typed_clear(proc_p(p), type_of(t), at, n);
}

/* --- Slices --- */

enum gomem_status gomem_make_slice(struct gomem_proc *proc, const struct gomem_type *elem,
                                   int64_t len, int64_t cap, struct gomem_slice *out,
                                   struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, slice_make(p, type_of(elem), len, cap, out, err));
}

enum gomem_status gomem_append(struct gomem_proc *proc, const struct gomem_type *elem,
                               struct gomem_slice *s, const void *values, int64_t n,
                               struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, slice_append(p, type_of(elem), s, values, n, err));
}

enum gomem_status gomem_check_append(const struct gomem_type *elem, const struct gomem_slice *s, int64_t n,
                                     struct gomem_error *err)
{
    return slice_check_more(type_of(elem), s, n, err);
}

/* Appends up to `end`, without safepoint; *i is where it got to. */
static enum gomem_status append_run(struct p *p, const struct type *elem, struct gomem_slice *s,
                                    const char *values, size_t stride, int64_t *i, int64_t end,
                                    struct gomem_error *err)
{
    enum gomem_status status = GOMEM_OK;
    while (*i < end && status == GOMEM_OK) {
        status = slice_append(p, elem, s, values + (size_t)*i * stride, 1, err);
        *i += status == GOMEM_OK;
    }
    return status;
}

enum gomem_status gomem_append_each(struct gomem_proc *proc, const struct gomem_type *elem,
                                    struct gomem_slice *s, uint64_t *root, const void *values,
                                    size_t stride, int64_t n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    enum gomem_status status = slice_check_more(type_of(elem), s, n, err);
    if (type_of(elem)->size == 0 && status == GOMEM_OK) /* there is no work in them */
        return gomem_append(proc, elem, s, values, n, err);
    for (int64_t i = 0; i < n && status == GOMEM_OK;) {
        int64_t end = MIN(n, i + VALUES_A_SAFEPOINT);
        status = append_run(p, type_of(elem), s, values, stride, &i, end, err);
        pointer_store(p, root, s->array);
        if (UNLIKELY(status == GOMEM_OUT_OF_MEMORY && try_again(p, &status, err)))
            status = gomem_append(proc, elem, s, (const char *)values + (size_t)i++ * stride, 1, err);
        if (status == GOMEM_OK) {
            pointer_store(p, root, s->array);
            status = values_safepoint(p, err);
        }
    }
    return status;
}

enum gomem_status gomem_slice_replace(struct gomem_proc *proc, const struct gomem_type *elem,
                                      struct gomem_slice *s, int64_t i, int64_t j, const void *values,
                                      int64_t n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    const struct type *t = (const struct type *)elem;
    struct gomem_slice part;
    const struct gomem_bounds b = {
        .low = i, .high = j, .max = s->len, .has_low = true, .has_high = true, .has_max = true};
    enum gomem_status status = slice_slice(t->size, s, &b, &part, err);
    if (status != GOMEM_OK)
        return status;
    return WITH_MEMORY(p, err, slice_replace(p, t, s, i, j, values, n, err));
}

enum gomem_status gomem_slice_grow(struct gomem_proc *proc, const struct gomem_type *elem,
                                   struct gomem_slice *s, int64_t n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, slice_grow(p, (const struct type *)elem, s, n, err));
}

int64_t gomem_copy(struct gomem_proc *p, const struct gomem_type *elem,
                   const struct gomem_slice *to, const struct gomem_slice *from)
{
    return slice_copy(proc_p(p), type_of(elem), to, from);
}

enum gomem_status gomem_slice(const struct gomem_type *elem, const struct gomem_slice *s,
                              const struct gomem_bounds *bounds, struct gomem_slice *out,
                              struct gomem_error *err)
{
    return slice_slice(type_of(elem)->size, s, bounds, out, err);
}

enum gomem_status gomem_check_index(int64_t i, int64_t length, struct gomem_error *err)
{
    return i >= 0 && i < length ? GOMEM_OK : panic_index(err, i, length);
}

/* --- Strings --- */

enum gomem_status gomem_string(struct gomem_proc *proc, const void *bytes, int64_t n,
                               struct gomem_string *out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, string_from(p, bytes, n, out, err));
}

enum gomem_status gomem_string_concat(struct gomem_proc *proc, const struct gomem_string *parts,
                                      size_t n, struct gomem_string *out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, string_concat(p, parts, n, out, err));
}

enum gomem_status gomem_string_bytes(struct gomem_proc *proc, const struct gomem_string *s,
                                     struct gomem_slice *out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, string_to_bytes(p, s, out, err));
}

/* --- Interfaces, channels --- */

enum gomem_status gomem_interface(struct gomem_proc *proc, const struct gomem_type *t,
                                  const void *value, struct gomem_interface *out,
                                  struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, interface_of(p, type_of(t), value, out, err));
}

const void *gomem_interface_value(const struct gomem_interface *i)
{
    return interface_value(i);
}

enum gomem_status gomem_make_chan(struct gomem_proc *proc, const struct gomem_type *elem, int64_t n,
                                  void **out, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, chan_make(p, type_of(elem), n, (struct hchan **)out, err));
}

const struct gomem_type *gomem_type_of_builder(void)
{
    return (const struct gomem_type *)&builder_type;
}

const struct gomem_type *gomem_type_of_buffer(void)
{
    return (const struct gomem_type *)&buffer_type;
}

/* --- Builders --- */

static struct builder *builder_of(const struct gomem_builder *b)
{
    return (struct builder *)b;
}

struct gomem_builder *gomem_builder_new(struct gomem_proc *proc)
{
    struct p *p = proc_p(proc);
    struct builder *b = builder_new(p);
    return (struct gomem_builder *)(b != NULL || !reclaim_memory(p) ? b : builder_new(p));
}

enum gomem_status gomem_builder_grow(struct gomem_proc *proc, struct gomem_builder *b, int64_t n,
                                     struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, builder_grow(p, builder_of(b), n, err));
}

enum gomem_status gomem_builder_write(struct gomem_proc *proc, struct gomem_builder *b,
                                      const void *bytes, int64_t n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, builder_write(p, builder_of(b), bytes, n, err));
}

void gomem_builder_reset(struct gomem_proc *p, struct gomem_builder *b)
{
    builder_reset(proc_p(p), builder_of(b));
}

struct gomem_slice gomem_builder_bytes(const struct gomem_builder *b)
{
    return builder_of(b)->buf;
}

/* --- Buffers --- */

static struct buffer *buffer_of(const struct gomem_buffer *b)
{
    return (struct buffer *)b;
}

struct gomem_buffer *gomem_buffer_new(struct gomem_proc *proc)
{
    struct p *p = proc_p(proc);
    struct buffer *b = buffer_new(p);
    return (struct gomem_buffer *)(b != NULL || !reclaim_memory(p) ? b : buffer_new(p));
}

enum gomem_status gomem_buffer_grow(struct gomem_proc *proc, struct gomem_buffer *b, int64_t n,
                                    struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, buffer_grow(p, buffer_of(b), n, err));
}

enum gomem_status gomem_buffer_write(struct gomem_proc *proc, struct gomem_buffer *b,
                                     const void *bytes, int64_t n, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, buffer_write(p, buffer_of(b), bytes, n, err));
}

enum gomem_status gomem_buffer_truncate(struct gomem_buffer *b, int64_t n, struct gomem_error *err)
{
    return buffer_truncate(buffer_of(b), n, err);
}

void gomem_buffer_reset(struct gomem_buffer *b)
{
    buffer_reset(buffer_of(b));
}

struct gomem_slice gomem_buffer_bytes(const struct gomem_buffer *b)
{
    return buffer_bytes(buffer_of(b));
}

int64_t gomem_buffer_cap(const struct gomem_buffer *b)
{
    return buffer_of(b)->buf.cap;
}

enum gomem_status gomem_buffer_check_count(const struct gomem_buffer *b, int64_t n, struct gomem_error *err)
{
    return buffer_check_count(buffer_of(b), n, err);
}

struct gomem_slice gomem_buffer_next(struct gomem_buffer *b, int64_t n)
{
    return buffer_next(buffer_of(b), n);
}

struct gomem_slice gomem_buffer_next_until(struct gomem_buffer *b, uint8_t delimiter)
{
    return buffer_next_until(buffer_of(b), delimiter);
}

int64_t gomem_buffer_read(struct gomem_buffer *b, void *to, int64_t n)
{
    return buffer_read(buffer_of(b), to, n);
}

bool gomem_buffer_unread_byte(struct gomem_buffer *b)
{
    return buffer_unread_byte(buffer_of(b));
}

bool gomem_buffer_unread_rune(struct gomem_buffer *b)
{
    return buffer_unread_rune(buffer_of(b));
}

struct gomem_slice gomem_buffer_peek(const struct gomem_buffer *b, int64_t n)
{
    return buffer_peek(buffer_of(b), n);
}

int32_t gomem_buffer_read_rune(struct gomem_buffer *b, int *size)
{
    return buffer_read_rune(buffer_of(b), size);
}

enum gomem_status gomem_buffer_write_rune(struct gomem_proc *proc, struct gomem_buffer *b,
                                          int32_t rune, int *size, struct gomem_error *err)
{
    struct p *p = proc_p(proc);
    return WITH_MEMORY(p, err, buffer_write_rune(p, buffer_of(b), rune, size, err));
}

enum gomem_status gomem_builder_write_rune(struct gomem_proc *proc, struct gomem_builder *b,
                                           int32_t rune, int *size, struct gomem_error *err)
{
    uint8_t bytes[RUNE_BYTES];
    *size = rune_encode(rune, bytes);
    return gomem_builder_write(proc, b, bytes, *size, err);
}
