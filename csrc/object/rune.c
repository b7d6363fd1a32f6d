/* Runes as UTF-8, and builders' and buffers' ways with them.
 *
 * Called through buffer.h.
 *
 * Concurrency: see buffer.h.
 * Go: unicode/utf8, bytes/buffer.go.
 */
#include "object/buffer.h"

enum { MAX_RUNE = 0x10ffff, SURROGATE_FIRST = 0xd800, SURROGATE_LAST = 0xdfff };

int rune_encode(int32_t rune, uint8_t out[RUNE_BYTES])
{
    uint32_t r = (uint32_t)rune;
    if (r > MAX_RUNE || (r >= SURROGATE_FIRST && r <= SURROGATE_LAST))
        r = RUNE_ERROR;
    if (r < 0x80) {
        out[0] = (uint8_t)r;
        return 1;
    }
    int size = r < 0x800 ? 2 : r < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = size - 1; i > 0; i--, r >>= 6)
        out[i] = (uint8_t)(0x80 | (r & 0x3f));
    out[0] = (uint8_t)(lead[size] | r);
    return size;
}

int32_t rune_decode(const uint8_t *bytes, int64_t n, int *size)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = bytes[0];
    int length = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 0;
    *size = 1;
    if (length == 1)
        return first;
    if (length == 0 || length > n)
        return RUNE_ERROR;
    uint32_t r = first & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return RUNE_ERROR;
        r = r << 6 | (bytes[i] & 0x3f);
    }
    if (r < least[length] || r > MAX_RUNE || (r >= SURROGATE_FIRST && r <= SURROGATE_LAST))
        return RUNE_ERROR;
    *size = length;
    return (int32_t)r;
}

int32_t buffer_read_rune(struct buffer *b, int *size)
{
    if (b->buf.len <= b->off) {
        buffer_reset(b);
        *size = 0;
        return 0;
    }
    int32_t r = rune_decode((const uint8_t *)b->buf.array + b->off, b->buf.len - b->off, size);
    b->off += *size;
    b->last_read = (int8_t)*size;
    return r;
}

enum gomem_status buffer_write_rune(struct p *p, struct buffer *b, int32_t rune, int *size,
                                    struct gomem_error *err)
{
    uint8_t bytes[RUNE_BYTES];
    *size = rune_encode(rune, bytes);
    b->last_read = READ_NONE;
    enum gomem_status status = *size == 1 || b->buf.cap - b->buf.len >= RUNE_BYTES
                                   ? GOMEM_OK
                                   : buffer_grow(p, b, RUNE_BYTES, err);
    return status == GOMEM_OK ? buffer_write(p, b, bytes, *size, err) : status;
}

bool buffer_unread_rune(struct buffer *b)
{
    if (b->last_read <= READ_NONE)
        return false;
    b->off -= MIN(b->off, b->last_read);
    b->last_read = READ_NONE;
    return true;
}
