/* Channels as make(chan T, n) makes them: the memory. What is done with them is sync/'s business.
 *
 * Called by runtime/ and sync/.
 *
 * Concurrency: chan_make: the caller holds p. A channel's fields but the first words' constants are under its
 * lock; qcount, closed and the queues' heads are atomic, so that one can look before one takes it.
 * Go: hchan and makechan in runtime/chan.go.
 */
#ifndef GOMEM_OBJECT_CHAN_H
#define GOMEM_OBJECT_CHAN_H

#include "object/panic.h"
#include "object/typed_memory.h"
#include "platform/lock.h"

enum { MAX_ELEM_SIZE = 1 << 16 }; /* elements are smaller */

struct sudog;

struct waitq {
    struct sudog *first, *last;
};

/* With the fields of Go's hchan. Its elements come right behind it if they have no pointers, else in an
 * object of their own. */
struct hchan {
    uint64_t qcount;   /* elements in the queue */
    uint64_t dataqsiz; /* const: elements that fit */
    void *buf;         /* const */
    uint16_t elemsize; /* const */
    uint32_t closed;
    void *timer;
    const struct type *elemtype; /* const; NULL: words that the binding knows */
    uint64_t sendx, recvx;       /* where the next is put, and taken */
    struct waitq recvq, sendq;
    void *bubble;
    union {
        struct spin lock; /* rank CHAN */
        uint64_t lock_word; /* as long in every build */
    };
};

/* Bytes of the buffer; false: Go would panic. */
bool chan_size(size_t elem_size, int64_t n, size_t *size);
void chan_init(struct hchan *c, void *buf, size_t elem_size, const struct type *elem, int64_t n);

MUST_USE enum gomem_status chan_make(struct p *p, const struct type *elem, int64_t n,
                                     struct hchan **out, struct gomem_error *err);

#endif
