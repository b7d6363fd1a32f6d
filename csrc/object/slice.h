/* Slices: make, append with Go's growth, slicing, copy.
 *
 * A slice is three words that its user has wherever he likes: in a variable of his own, with the array as
 * a root, or in an object. Slices share arrays, and may point into the middle of one.
 *
 * Called by runtime/, buffers and builders.
 *
 * Concurrency: the caller holds p, and the slice is his.
 * Go: runtime/slice.go.
 */
#ifndef GOMEM_OBJECT_SLICE_H
#define GOMEM_OBJECT_SLICE_H

#include "object/panic.h"
#include "object/typed_memory.h"

MUST_USE enum gomem_status slice_make(struct p *p, const struct type *elem, int64_t len,
                                      int64_t cap, struct gomem_slice *out,
                                      struct gomem_error *err);
/* The capacity that a slice of old_cap elements gets when it must hold new_len, before rounding. */
int64_t slice_next_cap(int64_t new_len, int64_t old_cap);
/* GOMEM_PANIC if no array can have n elements more than there are. */
MUST_USE enum gomem_status slice_check_more(const struct type *elem, const struct gomem_slice *s, int64_t n,
                                            struct gomem_error *err);
/* Makes room for n more elements, if there is none; the length stays. */
MUST_USE enum gomem_status slice_reserve(struct p *p, const struct type *elem,
                                         struct gomem_slice *s, int64_t n, struct gomem_error *err);
/* *s = append(*s, values...); values may be the slice's own. */
MUST_USE enum gomem_status slice_append(struct p *p, const struct type *elem,
                                        struct gomem_slice *s, const void *values, int64_t n,
                                        struct gomem_error *err);
/* s[i:j] becomes the n values, which must not be the slice's own: slices.Replace, with j == i slices.Insert,
 * without values slices.Delete. Elements that are not needed any more become zero. pre: i <= j <= len. */
MUST_USE enum gomem_status slice_replace(struct p *p, const struct type *elem, struct gomem_slice *s,
                                         int64_t i, int64_t j, const void *values, int64_t n,
                                         struct gomem_error *err);
/* Room for n elements beyond the length; what lies between length and capacity stays (slices.Grow). */
MUST_USE enum gomem_status slice_grow(struct p *p, const struct type *elem, struct gomem_slice *s,
                                      int64_t n, struct gomem_error *err);
/* How many elements it copied: as many as both have. */
int64_t slice_copy(struct p *p, const struct type *elem, const struct gomem_slice *to,
                   const struct gomem_slice *from);
/* out = s[low:high:max], each of which may be left out; a string's has no max, and its length is its
 * capacity. */
MUST_USE enum gomem_status slice_slice(size_t elem_size, const struct gomem_slice *s,
                                       const struct gomem_bounds *b, struct gomem_slice *out,
                                       struct gomem_error *err);

#endif
