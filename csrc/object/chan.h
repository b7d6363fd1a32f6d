/* What make(chan T, n) allocates.
 *
 * Only the memory: sending and receiving are for another room.
 *
 * Called by runtime/.
 *
 * Concurrency: the caller holds p.
 * Go: makechan in runtime/chan.go.
 */
#ifndef GOMEM_OBJECT_CHAN_H
#define GOMEM_OBJECT_CHAN_H

#include "object/panic.h"
#include "object/typed_memory.h"

/* With the fields of Go's hchan. Its elements come right behind it if they have no pointers, else in an
 * object of their own. */
struct hchan {
    uint64_t qcount;   /* elements in the queue */
    uint64_t dataqsiz; /* elements that fit */
    void *buf;
    uint16_t elemsize;
    uint32_t closed;
    void *timer;
    const struct type *elemtype;
    uint64_t sendx, recvx;
    void *recvq[2], *sendq[2];
    void *bubble;
    uint64_t lock;
};

MUST_USE enum gomem_status chan_make(struct p *p, const struct type *elem, int64_t n,
                                     struct hchan **out, struct gomem_error *err);

#endif
