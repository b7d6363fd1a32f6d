/* Weak pointers: they lead to an object for as long as something else does.
 *
 * A weak pointer is a handle that all weak pointers to one address share, so that they can be compared
 * after the object is dead, too. An object that its finalizer brings back gets a new one.
 *
 * Called by runtime/.
 *
 * Concurrency: by the holder of a P, which keeps marking from beginning or ending in between.
 * Go: getOrAddWeakHandle, internal_weak_runtime_makeStrongFromWeak in mheap.go.
 */
#ifndef GOMEM_GC_WEAK_H
#define GOMEM_GC_WEAK_H

#include "gc/gc.h"

/* The handle of the weak pointers to p, with a reference for the caller; NULL with err. */
MUST_USE struct gomem_weak *weak_make(struct mheap *h, uintptr_t p, struct gomem_error *err);
/* What it leads to, or 0. The object is the caller's as if he had loaded it from the heap. */
uintptr_t weak_value(struct gc *gc, struct p *p, const struct gomem_weak *w);
void weak_release(struct mheap *h, struct gomem_weak *w);

#endif
