/* Strings: two words, of immutable bytes; strings of one byte and boxed small integers are no objects.
 *
 * Called by runtime/, buffers, builders and interfaces.
 *
 * Concurrency: the caller holds p.
 * Go: runtime/string.go, staticuint64s in runtime/iface.go.
 */
#ifndef GOMEM_OBJECT_STRINGS_H
#define GOMEM_OBJECT_STRINGS_H

#include "object/panic.h"
#include "object/typed_memory.h"

/* The integers from 0 to 255, as 8 bytes each, outside of any heap. */
extern const uint64_t small_integers[256];

/* string(bytes): nothing is allocated for less than two bytes. */
MUST_USE enum gomem_status string_from(struct p *p, const void *bytes, int64_t n,
                                       struct gomem_string *out, struct gomem_error *err);
/* a + b + ...: if only one of them is not empty it is the result, else there is one new object. */
MUST_USE enum gomem_status string_concat(struct p *p, const struct gomem_string *parts, size_t n,
                                         struct gomem_string *out, struct gomem_error *err);
/* []byte(s): its capacity is that of its size class. */
MUST_USE enum gomem_status string_to_bytes(struct p *p, const struct gomem_string *s,
                                           struct gomem_slice *out, struct gomem_error *err);

#endif
