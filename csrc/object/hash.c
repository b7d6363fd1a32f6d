/* Hashing and comparing.
 *
 * Called through hash.h. Recursion goes as deep as types are nested.
 *
 * Concurrency: see hash.h.
 * Go: runtime/alg.go (strhash, f64hash, nilinterhash, typehash, efaceeq).
 */
#include "object/hash.h"

#include <math.h>

static const uint64_t secret[4] = {0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u,
                                   0x589965cc75374cc3u};

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load64(const void *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Folded multiplication, as in wyhash. */
static uint64_t hash_bytes(const void *bytes, size_t n, uint64_t seed)
{
    const char *p = bytes;
    uint64_t h = mix(seed ^ secret[0], secret[1] ^ n), tail[2] = {0};
    for (; n > 16; n -= 16, p += 16)
        h = mix(load64(p) ^ secret[2], load64(p + 8) ^ h);
    if (n == 8) {
        tail[0] = load64(p);
    } else if (n > 0) {
        memcpy(tail, p, n);
    }
    return mix(secret[3] ^ h, mix(tail[0] ^ secret[1], tail[1] ^ h));
}

static uint64_t hash_number(struct p *p, double d, uint64_t seed)
{
    if (d == 0)
        d = 0; /* of both signs */
    if (isnan(d))
        return mix(seed ^ secret[1], rng_next(&p->random) ^ secret[2]);
    return hash_bytes(&d, sizeof d, seed);
}

/* The n floats of a float or complex type, as doubles. */
static unsigned floats_of(const struct type *t, const void *value, double out[2])
{
    float f[2] = {0};
    unsigned n = t->kind == GOMEM_COMPLEX64 || t->kind == GOMEM_COMPLEX128 ? 2 : 1;
    if (t->kind == GOMEM_FLOAT64 || t->kind == GOMEM_COMPLEX128) {
        memcpy(out, value, n * sizeof out[0]);
        return n;
    }
    memcpy(f, value, n * sizeof f[0]);
    out[0] = (double)f[0];
    out[1] = (double)f[1];
    return n;
}

static uint64_t hash_interface(struct p *p, const struct gomem_interface *i, uint64_t seed)
{
    if (i->type == 0)
        return mix(seed, secret[0]);
    seed = mix(seed ^ i->type, secret[2]);
    const void *value = interface_value(i);
    return interface_is_pointer(i) ? hash_bytes(value, PTR_SIZE, seed)
                                   : value_hash(p, interface_type(i), value, seed);
}

uint64_t value_hash(struct p *p, const struct type *t, const void *value, uint64_t seed)
{
    if (t->regular)
        return hash_bytes(value, t->size, seed);
    const struct gomem_string *s = value;
    double d[2];
    switch (t->kind) {
    case GOMEM_STRING:
        return hash_bytes(s->data, (size_t)s->len, seed);
    case GOMEM_INTERFACE:
        return hash_interface(p, value, seed);
    case GOMEM_ARRAY:
        for (size_t i = 0; i < t->length; i++)
            seed = value_hash(p, t->elem, (const char *)value + i * t->elem->size, seed);
        return seed;
    case GOMEM_STRUCT:
        for (size_t i = 0; i < t->nfields; i++)
            seed = value_hash(p, t->fields[i].type, (const char *)value + t->fields[i].offset, seed);
        return seed;
    default:
        for (unsigned i = 0, n = floats_of(t, value, d); i < n; i++)
            seed = hash_number(p, d[i], seed);
        return seed;
    }
}

static bool interface_equal(const struct gomem_interface *a, const struct gomem_interface *b)
{
    if (a->type != b->type || a->type == 0)
        return a->type == b->type;
    return interface_is_pointer(a) ? a->value == b->value
                                   : value_equal(interface_type(a), interface_value(a),
                                                 interface_value(b));
}

bool value_equal(const struct type *t, const void *a, const void *b)
{
    if (t->regular)
        return t->size == 8 ? load64(a) == load64(b) : memcmp(a, b, t->size) == 0;
    const struct gomem_string *s = a, *r = b;
    double d[2] = {0}, e[2] = {0};
    bool equal = true;
    switch (t->kind) {
    case GOMEM_STRING:
        return s->len == r->len &&
               (s->len == 0 || s->data == r->data ||
                memcmp(s->data, r->data, (size_t)s->len) == 0);
    case GOMEM_INTERFACE:
        return interface_equal(a, b);
    case GOMEM_ARRAY:
        for (size_t i = 0; equal && i < t->length; i++)
            equal = value_equal(t->elem, (const char *)a + i * t->elem->size,
                                (const char *)b + i * t->elem->size);
        return equal;
    case GOMEM_STRUCT:
        for (size_t i = 0; equal && i < t->nfields; i++)
            equal = value_equal(t->fields[i].type, (const char *)a + t->fields[i].offset,
                                (const char *)b + t->fields[i].offset);
        return equal;
    default:
        (void)floats_of(t, a, d);
        (void)floats_of(t, b, e);
        return d[0] == e[0] && d[1] == e[1];
    }
}

enum gomem_status value_check_hashable(const struct type *t, const void *value, bool in_use,
                                       struct gomem_error *err)
{
    enum gomem_status status = GOMEM_OK;
    const struct gomem_interface *i = value;
    if (t->regular)
        return GOMEM_OK;
    switch (t->kind) {
    case GOMEM_INTERFACE:
        if (i->type == 0 || interface_is_pointer(i))
            return GOMEM_OK;
        if (!interface_type(i)->comparable)
            return error_set(err, GOMEM_PANIC_HASH,
                             in_use ? "runtime error: hash of unhashable type %s"
                                    : "hash of unhashable type: %s",
                             interface_type(i)->name);
        return value_check_hashable(interface_type(i), interface_value(i), in_use, err);
    case GOMEM_ARRAY:
        for (size_t k = 0; status == GOMEM_OK && k < t->length; k++)
            status = value_check_hashable(t->elem, (const char *)value + k * t->elem->size, in_use,
                                          err);
        return status;
    case GOMEM_STRUCT:
        for (size_t k = 0; status == GOMEM_OK && k < t->nfields; k++)
            status = value_check_hashable(
                t->fields[k].type, (const char *)value + t->fields[k].offset, in_use, err);
        return status;
    default:
        return GOMEM_OK;
    }
}
