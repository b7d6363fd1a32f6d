/* Builders and buffers.
 *
 * Called through buffer.h.
 *
 * Concurrency: see buffer.h.
 * Go: strings/builder.go, bytes/buffer.go.
 */
#include "object/buffer.h"

#include "object/slice.h"

enum { SMALL_BUFFER_SIZE = 64 };

static const struct type byte_type = {
    .size = 1, .kind = GOMEM_UINT8, .align = 1, .name = (char *)"uint8", .references = 1};

static const uint64_t builder_mask = 3, buffer_mask = 1;

const struct type builder_type = {
    .size = sizeof(struct builder),
    .ptr_bytes = 2 * PTR_SIZE,
    .gcmask = (uint64_t *)&builder_mask,
    .kind = GOMEM_STRUCT,
    .align = PTR_SIZE,
    .name = (char *)"strings.Builder",
    .references = 1,
};

const struct type buffer_type = {
    .size = sizeof(struct buffer),
    .ptr_bytes = PTR_SIZE,
    .gcmask = (uint64_t *)&buffer_mask,
    .kind = GOMEM_STRUCT,
    .align = PTR_SIZE,
    .name = (char *)"bytes.Buffer",
    .references = 1,
};

/* *field = s, for a slice in an object. */
static void set_slice(struct p *p, struct gomem_slice *field, struct gomem_slice s)
{
    pointer_store(p, &field->array, s.array);
    field->len = s.len;
    field->cap = s.cap;
}

/* --- strings.Builder --- */

struct builder *builder_new(struct p *p)
{
    return object_alloc(p, &builder_type, 1);
}

enum gomem_status builder_grow(struct p *p, struct builder *b, int64_t n, struct gomem_error *err)
{
    if (n < 0)
        return error_set(err, GOMEM_PANIC, "strings.Builder.Grow: negative count");
    pointer_store(p, &b->addr, b);
    if (b->buf.cap - b->buf.len >= n)
        return GOMEM_OK;
    int64_t size;
    if (__builtin_add_overflow(2 * b->buf.cap, n, &size) || (uint64_t)size > MAX_ALLOC)
        return error_set(err, GOMEM_PANIC, "runtime error: makeslice: len out of range");
    size = (int64_t)round_up_size(&p->mcache->size_classes, (size_t)size, true);
    char *array = malloc_unzeroed(p->mcache, (size_t)size);
    if (array == NULL)
        return no_memory(err, (uint64_t)size);
    if (b->buf.len > 0)
        memcpy(array, b->buf.array, (size_t)b->buf.len);
    set_slice(p, &b->buf, (struct gomem_slice){array, b->buf.len, size});
    return GOMEM_OK;
}

enum gomem_status builder_write(struct p *p, struct builder *b, const void *bytes, int64_t n,
                                struct gomem_error *err)
{
    struct gomem_slice s = b->buf;
    pointer_store(p, &b->addr, b);
    enum gomem_status status = slice_append(p, &byte_type, &s, bytes, n, err);
    if (status == GOMEM_OK)
        set_slice(p, &b->buf, s);
    return status;
}

struct gomem_string builder_string(const struct builder *b)
{
    return (struct gomem_string){b->buf.array, b->buf.len};
}

void builder_reset(struct p *p, struct builder *b)
{
    pointer_store(p, &b->addr, NULL);
    set_slice(p, &b->buf, (struct gomem_slice){0});
}

/* --- bytes.Buffer --- */

struct buffer *buffer_new(struct p *p)
{
    return object_alloc(p, &buffer_type, 1);
}

void buffer_reset(struct buffer *b)
{
    b->buf.len = b->off = 0;
    b->last_read = READ_NONE;
}

/* A new array for the contents and n bytes more. */
static enum gomem_status new_array(struct p *p, struct buffer *b, int64_t unread, int64_t n,
                                   struct gomem_error *err)
{
    int64_t c = MAX(unread + b->off + n, 2 * (b->buf.cap - b->off));
    struct gomem_slice s = {0};
    if ((uint64_t)c > MAX_ALLOC)
        return error_set(err, GOMEM_PANIC, "bytes.Buffer: too large");
    enum gomem_status status = slice_reserve(p, &byte_type, &s, c, err);
    if (status != GOMEM_OK)
        return status;
    if (unread > 0)
        memcpy(s.array, (char *)b->buf.array + b->off, (size_t)unread);
    s.len = unread;
    set_slice(p, &b->buf, s);
    return GOMEM_OK;
}

/* Makes room for n bytes behind the contents. */
static enum gomem_status make_room(struct p *p, struct buffer *b, int64_t n,
                                   struct gomem_error *err)
{
    int64_t unread = b->buf.len - b->off, c = b->buf.cap;
    if (unread == 0 && b->off != 0)
        buffer_reset(b);
    if (n <= c - b->buf.len)
        return GOMEM_OK;
    if (b->buf.array == NULL && n <= SMALL_BUFFER_SIZE) {
        struct gomem_slice s;
        enum gomem_status status = slice_make(p, &byte_type, 0, SMALL_BUFFER_SIZE, &s, err);
        if (status == GOMEM_OK)
            set_slice(p, &b->buf, s);
        return status;
    }
    if (n <= c / 2 - unread) {
        memmove(b->buf.array, (char *)b->buf.array + b->off, (size_t)unread);
        b->buf.len = unread;
    } else if (c > INT64_MAX - c - n) {
        return error_set(err, GOMEM_PANIC, "bytes.Buffer: too large");
    } else {
        enum gomem_status status = new_array(p, b, unread, n, err);
        if (status != GOMEM_OK)
            return status;
    }
    b->off = 0;
    return GOMEM_OK;
}

enum gomem_status buffer_grow(struct p *p, struct buffer *b, int64_t n, struct gomem_error *err)
{
    if (n < 0)
        return error_set(err, GOMEM_PANIC, "bytes.Buffer.Grow: negative count");
    return make_room(p, b, n, err);
}

enum gomem_status buffer_write(struct p *p, struct buffer *b, const void *bytes, int64_t n,
                               struct gomem_error *err)
{
    b->last_read = READ_NONE;
    if (n > b->buf.cap - b->buf.len) {
        enum gomem_status status = make_room(p, b, n, err);
        if (status != GOMEM_OK)
            return status;
    }
    if (n > 0)
        memmove((char *)b->buf.array + b->buf.len, bytes, (size_t)n);
    b->buf.len += n;
    return GOMEM_OK;
}

enum gomem_status buffer_truncate(struct buffer *b, int64_t n, struct gomem_error *err)
{
    if (n == 0) {
        buffer_reset(b);
        return GOMEM_OK;
    }
    b->last_read = READ_NONE;
    if (n < 0 || n > b->buf.len - b->off)
        return error_set(err, GOMEM_PANIC, "bytes.Buffer: truncation out of range");
    b->buf.len = b->off + n;
    return GOMEM_OK;
}

/* n bytes of the buffer's array from off on. */
static struct gomem_slice part(const struct buffer *b, int64_t n)
{
    int64_t cap = b->buf.cap - b->off;
    return (struct gomem_slice){(char *)b->buf.array + (cap > 0 ? b->off : 0), n, cap};
}

struct gomem_slice buffer_bytes(const struct buffer *b)
{
    return part(b, b->buf.len - b->off);
}

struct gomem_slice buffer_peek(const struct buffer *b, int64_t n)
{
    return part(b, MIN(n, b->buf.len - b->off));
}

enum gomem_status buffer_check_count(const struct buffer *b, int64_t n, struct gomem_error *err)
{
    struct gomem_slice unused;
    if (n >= 0)
        return GOMEM_OK;
    const struct gomem_bounds bounds = {
        .low = b->off, .high = b->off + n, .has_low = true, .has_high = true};
    return slice_slice(1, &b->buf, &bounds, &unused, err);
}

struct gomem_slice buffer_next(struct buffer *b, int64_t n)
{
    struct gomem_slice s = part(b, MIN(n, b->buf.len - b->off));
    b->off += s.len;
    b->last_read = s.len > 0 ? READ_BYTES : READ_NONE;
    return s;
}

int64_t buffer_read(struct buffer *b, void *to, int64_t n)
{
    if (b->buf.len <= b->off) {
        buffer_reset(b);
        return 0;
    }
    struct gomem_slice s = buffer_next(b, n);
    memcpy(to, s.array, (size_t)s.len);
    return s.len;
}

struct gomem_slice buffer_next_until(struct buffer *b, uint8_t delimiter)
{
    struct gomem_slice s = buffer_bytes(b);
    const char *found = s.len == 0 ? NULL : memchr(s.array, delimiter, (size_t)s.len);
    if (found != NULL)
        s.len = found + 1 - (const char *)s.array;
    b->off += s.len;
    b->last_read = READ_BYTES;
    return s;
}

bool buffer_unread_byte(struct buffer *b)
{
    if (b->last_read == READ_NONE)
        return false;
    b->last_read = READ_NONE;
    b->off -= b->off > 0;
    return true;
}
