/* The objects of a heap with their colours, and the pointers between them, at one moment.
 *
 * Called by runtime/.
 *
 * Concurrency: the world is stopped, markers are paused, the roots' lock is not held.
 * Go: no counterpart; runtime/debug.WriteHeapDump shows as much without colours.
 */
#ifndef GOMEM_GC_GRAPH_H
#define GOMEM_GC_GRAPH_H

#include "gc/gc.h"

/* Fills *out (zeroed); pointers only if there are at most `most_objects` objects. GOMEM_OUT_OF_MEMORY:
 * nothing is in it. */
MUST_USE enum gomem_status graph_read(struct gc *gc, size_t most_objects, struct gomem_graph *out);
void graph_free(struct gomem_graph *g);

/* Slot i of a span: what it holds. */
enum slot_holds { HOLDS_NOTHING, HOLDS_OBJECT, HOLDS_GARBAGE };
/* Garbage: an object that marking has not reached, and that is not swept yet. */
enum slot_holds graph_slot(const struct mheap *h, struct mspan *s, unsigned i);

#endif
