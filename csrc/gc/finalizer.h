/* Finalizers and cleanups: attaching them, what they keep alive while marking, calling them.
 *
 * What an object with a finalizer leads to is marked, though the object is not: it will be handed to its
 * finalizer whole. So if A leads to B and both have finalizers, A's comes first; and an object that leads to
 * itself by way of another is never finalized. (By its own pointers it may: Go's marker ignores them.)
 * A cleanup's argument is marked, and so is what waits in the queue.
 *
 * Called by roots.c (marking) and runtime/.
 *
 * Concurrency: attaching and taking: by the holder of a P. Lists are read under their spans' locks, and
 * the queue under specials.lock. Objects that get a finalizer while marking goes on are scanned by
 * whoever attaches it; what leaves the queue is shaded by whoever takes it.
 * Go: SetFinalizer in mfinal.go, AddCleanup in mcleanup.go, markrootSpans in mgcmark.go.
 */
#ifndef GOMEM_GC_FINALIZER_H
#define GOMEM_GC_FINALIZER_H

#include "gc/gc.h"

MUST_USE enum gomem_status finalizer_set(struct gc *gc, struct p *p, uintptr_t object,
                                         const struct gomem_callback *callback,
                                         struct gomem_error *err);
/* Detaches the finalizer; false: there was none. */
bool finalizer_clear(struct mheap *h, uintptr_t object, struct gomem_callback *callback);
MUST_USE enum gomem_status cleanup_add(struct gc *gc, struct p *p, uintptr_t pointer,
                                       const struct gomem_callback *callback, uintptr_t argument,
                                       uint64_t *id, struct gomem_error *err);
/* Detaches a cleanup; false: it was called, or is about to be. */
bool cleanup_stop(struct mheap *h, uintptr_t pointer, uint64_t id, struct gomem_callback *callback);

/* Marking begins. pre: the world is stopped. */
void finalizers_start(struct mheap *h);
bool finalizers_have_work(struct mheap *h);
/* Marks some of what they keep alive; false: none is left. */
MUST_USE bool finalizers_scan_some(struct marker *m);

/* Calls the release of all that are attached or queued. pre: the world is stopped, the heap closing. */
void finalizers_end(struct mheap *h);

#endif
