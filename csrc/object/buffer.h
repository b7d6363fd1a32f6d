/* strings.Builder and bytes.Buffer, as objects with Go's layout and Go's way of growing.
 *
 * Called by runtime/.
 *
 * Concurrency: the caller holds p; a builder or buffer is used by one thread at a time.
 * Go: strings/builder.go, bytes/buffer.go.
 */
#ifndef GOMEM_OBJECT_BUFFER_H
#define GOMEM_OBJECT_BUFFER_H

#include "object/panic.h"
#include "object/typed_memory.h"

/* Invariant: addr is the builder itself, or NULL as long as it is empty. */
struct builder {
    struct builder *addr;
    struct gomem_slice buf;
};

/* Invariant: 0 <= off <= buf.len. */
struct buffer {
    struct gomem_slice buf; /* contents are those from off on */
    int64_t off;
    int8_t last_read; /* READ_NONE: nothing can be unread; READ_BYTES: a byte can; else the bytes of a rune */
};

enum { READ_BYTES = -1, READ_NONE = 0 };

extern const struct type builder_type, buffer_type;

struct builder *builder_new(struct p *p);
MUST_USE enum gomem_status builder_grow(struct p *p, struct builder *b, int64_t n,
                                        struct gomem_error *err);
MUST_USE enum gomem_status builder_write(struct p *p, struct builder *b, const void *bytes,
                                         int64_t n, struct gomem_error *err);
/* The string shares the builder's array. */
struct gomem_string builder_string(const struct builder *b);
void builder_reset(struct p *p, struct builder *b);

struct buffer *buffer_new(struct p *p);
MUST_USE enum gomem_status buffer_grow(struct p *p, struct buffer *b, int64_t n,
                                       struct gomem_error *err);
MUST_USE enum gomem_status buffer_write(struct p *p, struct buffer *b, const void *bytes,
                                        int64_t n, struct gomem_error *err);
MUST_USE enum gomem_status buffer_truncate(struct buffer *b, int64_t n, struct gomem_error *err);
void buffer_reset(struct buffer *b);
/* What is unread, sharing the array. */
struct gomem_slice buffer_bytes(const struct buffer *b);
/* The panic of a negative n, as next and peek must not be given. */
MUST_USE enum gomem_status buffer_check_count(const struct buffer *b, int64_t n, struct gomem_error *err);
/* The next n bytes, or as many as there are, which count as read. */
struct gomem_slice buffer_next(struct buffer *b, int64_t n);
/* As Read: a buffer that has nothing is reset. */
int64_t buffer_read(struct buffer *b, void *to, int64_t n);
/* What is unread up to and including the byte, or all; it counts as read. */
struct gomem_slice buffer_next_until(struct buffer *b, uint8_t delimiter);
/* What is unread, at most n bytes of it, which stay unread. */
struct gomem_slice buffer_peek(const struct buffer *b, int64_t n);
/* The next rune, RUNE_ERROR for a byte that begins none; *size in bytes, 0 at the end. */
int32_t buffer_read_rune(struct buffer *b, int *size);
/* How many bytes it was; it makes room for the longest, as Go's does. */
MUST_USE enum gomem_status buffer_write_rune(struct p *p, struct buffer *b, int32_t rune, int *size,
                                             struct gomem_error *err);
/* false: the last operation was not a successful read, or not one of a rune. */
MUST_USE bool buffer_unread_byte(struct buffer *b);
MUST_USE bool buffer_unread_rune(struct buffer *b);

enum { RUNE_ERROR = 0xfffd, RUNE_BYTES = 4 };

/* A rune as UTF-8, what is none as RUNE_ERROR; how many bytes. */
int rune_encode(int32_t rune, uint8_t out[RUNE_BYTES]);
/* The first rune of n > 0 bytes, and its length; RUNE_ERROR of length 1 if they begin with none. */
int32_t rune_decode(const uint8_t *bytes, int64_t n, int *size);

#endif
