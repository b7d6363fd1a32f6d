/* Spans with objects to scan, first in, first out: while a span waits, more of its objects are marked, and
 * all are scanned together.
 *
 * An entry is the address of the object for which the span was queued; whether it is the only one, the
 * span's marks say. A marker fills one buffer and empties another. A full one goes to the end of the
 * pool's list, from the front of which a marker takes its next; when the pool has none for others, a
 * marker gives away what it has, so that there is something to steal.
 *
 * Called by mark_span.c, work.c (flush).
 *
 * Concurrency: struct span_queue is its marker's; the pool's list is under its lock.
 * Go: spanQueue and spanSPMC in mgcmark_greenteagc.go; there the shared part is a chain of lock-free rings
 * for each P. Here it is a list for all: it is touched once for some 250 spans.
 */
#ifndef GOMEM_GC_SPAN_QUEUE_H
#define GOMEM_GC_SPAN_QUEUE_H

#include "gc/work.h"

enum { SHARE_PERIOD = 64 }; /* puts between looks at whether others have something to take */

/* false: there is no memory, the entry is lost, and the pool says that it overflowed. */
void span_queue_put_slow(struct gc_work *w, uintptr_t object);
uintptr_t span_queue_get_slow(struct gc_work *w);
void span_queue_flush(struct gc_work *w);

static inline void span_queue_put(struct gc_work *w, uintptr_t object)
{
    struct workbuf *b = w->spans.put;
    if (UNLIKELY(b == NULL || b->n == WORKBUF_OBJECTS || ++w->spans.puts >= SHARE_PERIOD))
        span_queue_put_slow(w, object);
    else
        b->objects[b->n++] = object;
}

/* 0: there is none, in the pool neither. */
static inline uintptr_t span_queue_get(struct gc_work *w)
{
    struct workbuf *b = w->spans.get;
    return LIKELY(b != NULL && w->spans.at < b->n) ? b->objects[w->spans.at++]
                                                   : span_queue_get_slow(w);
}

/* The entry that will be got after i others, 0 if it is not known yet. */
static inline uintptr_t span_queue_peek(const struct gc_work *w, uint32_t i)
{
    const struct workbuf *b = w->spans.get;
    return b != NULL && w->spans.at + i < b->n ? b->objects[w->spans.at + i] : 0;
}

#endif
