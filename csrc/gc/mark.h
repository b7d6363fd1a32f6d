/* Marking: from a pointer to the object it points into, and from an object to its pointers.
 *
 * An object is white without its mark, grey with it while it is in a buffer or a barrier's, black with
 * it when it is not. Objects without pointers turn black at once. A pointer may point anywhere into an
 * object; one that points into no object is no error here (C programs may leave such in freed memory).
 *
 * An object of up to 512 bytes is found without looking at its span: a byte a page has the class, from
 * which the object's index follows, and its mark lies at the end of the page.
 *
 * Called by cycle.c, assists and barriers.
 *
 * Concurrency: a struct marker is used by one thread. Marks are set by atomic operations; spans are not
 * freed while anybody marks (mheap_free_span).
 * Go: mgcmark.go, findObject and typePointers in mbitmap.go.
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
    uint64_t marked_bytes;  /* of objects this marker turned from white */
    uint64_t scanned_bytes; /* of objects with pointers: the work that pacing counts */
};

void marker_init(struct marker *m, struct work_pool *pool);
/* Turns the object that p points into from white to grey, if p does and it is. */
void mark_grey(struct marker *m, uintptr_t p);
/* Scans grey objects until none is left in sight, or `bytes` have been scanned; false: none is left. */
bool mark_drain(struct marker *m, uint64_t bytes);
/* Scans one grey object, or a piece of a large one; its address, 0 if none is in sight. For who watches. */
uintptr_t mark_one(struct marker *m);
/* After an overflow: greys what marked objects point to, in the whole heap. pre: nobody else marks or
 * allocates. */
void mark_rescan(struct marker *m);

/* Is the object that begins at this address (of an allocated slot) marked? For verifiers. */
bool object_is_marked(const struct mspan *s, unsigned i);

#endif
