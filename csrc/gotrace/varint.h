/* Numbers as traces write them: seven bits a byte, low ones first, the top bit says "more follows".
 *
 * Called by every file that looks into a batch. varint_read checks every byte; the others want 16
 * readable bytes and do without a branch a byte, for the event loop.
 *
 * Concurrency: stateless.
 * Go: encoding/binary.Uvarint, traceBuf.varint.
 */
#ifndef GOMEM_GOTRACE_VARINT_H
#define GOMEM_GOTRACE_VARINT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"

enum { VARINT_MAX = 10, VARINT_READABLE = 16 };

/* The position behind the number; NULL if it does not end before `end` or exceeds 64 bits. */
MUST_USE static inline const uint8_t *varint_read(const uint8_t *p, const uint8_t *end,
                                                  uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            return NULL;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return p;
        }
    }
    return NULL;
}

/* The same where VARINT_READABLE bytes may be read. The number may reach beyond what belongs to it:
 * the caller compares the result with its end. */
MUST_USE static ALWAYS_INLINE const uint8_t *varint_read_long(const uint8_t *p, uint64_t *out)
{
    uint64_t word;
    memcpy(&word, p, sizeof word); /* little-endian, as all machines Go's heap model is for */
    uint64_t stops = ~word & 0x8080808080808080u;
    if (UNLIKELY(stops == 0))
        return varint_read(p, p + VARINT_MAX, out);
    word &= stops ^ (stops - 1); /* up to the first byte without its top bit */
    word = (word & 0x007f007f007f007fu) | (word & 0x7f007f007f007f00u) >> 1;
    word = (word & 0x00003fff00003fffu) | (word & 0x3fff00003fff0000u) >> 2;
    *out = (word & 0x000000000fffffffu) | (word & 0x0fffffff00000000u) >> 4;
    return p + (((unsigned)__builtin_ctzll(stops) + 1) >> 3);
}

/* The same for numbers that are mostly below 128. */
MUST_USE static ALWAYS_INLINE const uint8_t *varint_read_short(const uint8_t *p, uint64_t *out)
{
    if (UNLIKELY(*p >= 0x80))
        return varint_read_long(p, out);
    *out = *p;
    return p + 1;
}

#endif
