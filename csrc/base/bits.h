/* Bit and alignment arithmetic on 64-bit words, and bitmaps made of them.
 *
 * A bitmap is an array of uint64_t; bit i lives in word i / 64 at position i % 64, as in Go's gcBits
 * and pageBits on a little-endian machine.
 *
 * Concurrency: stateless; the caller owns the words.
 * Go: internal/runtime/sys intrinsics, alignUp, alignDown, divRoundUp.
 */
#ifndef GOMEM_BASE_BITS_H
#define GOMEM_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Trailing and leading zeros; 64 for 0, as Go's TrailingZeros64 and LeadingZeros64. */
static inline unsigned trailing_zeros64(uint64_t x)
{
    return x == 0 ? 64 : (unsigned)__builtin_ctzll(x);
}

static inline unsigned leading_zeros64(uint64_t x)
{
    return x == 0 ? 64 : (unsigned)__builtin_clzll(x);
}

/* Where the instruction cannot be counted on, the builtin is a call of a function with tables. */
static inline unsigned ones_count64(uint64_t x)
{
#if defined __POPCNT__ || defined __aarch64__
    return (unsigned)__builtin_popcountll(x);
#else
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (unsigned)(x * 0x0101010101010101 >> 56);
#endif
}

/* Bits needed to represent x: 0 for 0, as Go's bits.Len64. */
static inline unsigned len64(uint64_t x)
{
    return 64 - leading_zeros64(x);
}

static inline bool is_power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* align must be a power of two. */
static inline uint64_t align_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static inline uint64_t align_down(uint64_t n, uint64_t align)
{
    return n & ~(align - 1);
}

static inline uint64_t div_round_up(uint64_t n, uint64_t d)
{
    return (n + d - 1) / d;
}

/* A word whose lowest n bits are ones, for n in [0, 64]. */
static inline uint64_t low_mask64(unsigned n)
{
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

static inline bool bitmap_get(const uint64_t *map, size_t i)
{
    return (map[i / 64] >> (i % 64)) & 1;
}

/* As bitmap_get, on a bitmap that another thread may be changing elsewhere. */
#define bitmap_get_relaxed(map, i) ((load_relaxed(&(map)[(i) / 64]) >> ((i) % 64)) & 1)

static inline void bitmap_set(uint64_t *map, size_t i)
{
    map[i / 64] |= (uint64_t)1 << (i % 64);
}

static inline size_t bitmap_count(const uint64_t *map, size_t nwords)
{
    size_t n = 0;
    for (size_t i = 0; i < nwords; i++)
        n += ones_count64(map[i]);
    return n;
}

#endif
