/* Hashing and comparing values of Go types, as maps do.
 *
 * Equal values have equal hashes: zeros of both signs are equal, and NaN equals nothing, so that its hash
 * is random. The hash function itself is our own; Go's depends on the machine and on a secret.
 *
 * Called by the code of maps.
 *
 * Concurrency: the caller holds p.
 * Go: runtime/alg.go.
 */
#ifndef GOMEM_OBJECT_HASH_H
#define GOMEM_OBJECT_HASH_H

#include "object/interface.h"
#include "object/panic.h"

/* GOMEM_PANIC_HASH: somewhere in the value is an interface whose value cannot be compared. pre: t is
 * comparable. */
MUST_USE enum gomem_status value_check_hashable(const struct type *t, const void *value,
                                                bool in_use, struct gomem_error *err);
/* pre: the value is hashable. */
uint64_t value_hash(struct p *p, const struct type *t, const void *value, uint64_t seed);
/* pre: both are hashable. */
bool value_equal(const struct type *t, const void *a, const void *b);

#endif
