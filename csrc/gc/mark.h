/* Marking: from a pointer to the object it points into, and from an object to its pointers.
 *
 * An object is white without its mark, grey with it while it is still to be scanned (its address in a
 * buffer, its span in a queue, or a pointer to it in a barrier's buffer), black with it when that is done.
 * Objects without pointers turn black at once. A pointer may point anywhere into an object; one that points
 * into no object is no error here (C programs may leave such in freed memory).
 *
 * There are two markers. One notes the address of every grey object (mark.c). The other does so for objects
 * of 8 bytes or more than 512 only; of those in between it queues the span, and scans all that are grey by
 * then together (mark_span.c). work_pool.by_span says which is used.
 *
 * Called by cycle.c, assists and barriers.
 *
 * Concurrency: a struct marker is used by one thread. Marks are set by atomic operations; spans are not
 * freed while anybody marks (mheap_free_span).
 * Go: mgcmark.go, findObject and typePointers in mbitmap.go; mgcmark_greenteagc.go.
 */
#ifndef GOMEM_GC_MARK_H
#define GOMEM_GC_MARK_H

#include "gc/work.h"

/* Objects on their way from buffer to scanning, while memory brings them nearer. */
enum { PREFETCH_OBJECTS = 8 };

struct marker {
    struct mheap *h; /* const */
    struct gc_work work;
    uintptr_t coming[PREFETCH_OBJECTS]; /* ring; 0: free */
    unsigned at;
    bool rescanning;        /* after an overflow: large objects are scanned in one piece */
    uint64_t marked_bytes, marked_objects; /* that this marker turned from white */
    uint64_t scanned_bytes; /* of objects with pointers: the work that pacing counts */
    uint64_t counted_bytes; /* of these, what pacing knows of */
    uint64_t root_bytes;    /* scanned of root tables, not counted yet */
};

void marker_init(struct marker *m, struct work_pool *pool);
/* Turns the object that p points into from white to grey, if p does and it is. */
void mark_grey(struct marker *m, uintptr_t p);
void mark_grey_many(struct marker *m, const uintptr_t *pointers, size_t n);
/* Scans grey objects until none is left in sight, or `bytes` have been scanned; false: none is left. */
bool mark_drain(struct marker *m, uint64_t bytes);
/* Scans one grey object, or a piece of a large one; its address, 0 if none is in sight. For who watches. */
uintptr_t mark_one(struct marker *m);
/* After an overflow: greys what marked objects point to, in the whole heap. pre: nobody else marks or
 * allocates. */
void mark_rescan(struct marker *m);

/* How spans are scanned: with instructions that this processor has, and not more than these. */
enum mark_instructions { MARK_PORTABLE, MARK_AVX2, MARK_AVX512 };
mark_kernel mark_span_kernel(enum mark_instructions most);

/* Is the object that begins at this address (of an allocated slot) marked? For verifiers. */
bool object_is_marked(const struct mspan *s, unsigned i);

#endif
