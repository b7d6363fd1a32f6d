/* A small, fast, seedable random number generator (SplitMix64).
 *
 * Used where Go uses cheaprand: sampling intervals, stress tests, tie breaking. Not for secrets.
 * Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
 *
 * Concurrency: the state belongs to one thread (a P, a test).
 * Go: runtime.cheaprand.
 */
#ifndef GOMEM_BASE_RNG_H
#define GOMEM_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, n) for n < 2^32, by multiplication; the bias is below n / 2^32. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)(((rng_next(r) >> 32) * (uint64_t)n) >> 32);
}

#endif
