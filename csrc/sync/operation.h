/* What channel operations and selects have in common: queues of waiters, handing over, the end of a wait.
 *
 * Called by this room, and by runtime/ for the end of a wait.
 *
 * Concurrency: functions that take a channel are called with its lock held.
 * Go: waitq, send, recv, gopark's other half, in runtime/chan.go and select.go.
 */
#ifndef GOMEM_SYNC_OPERATION_H
#define GOMEM_SYNC_OPERATION_H

#include <string.h>

#include "sync/chan.h"

/* Finishes what the g parked for, after it was readied. *index: of the case, in a select; *ok as in
 * chan_recv. */
enum gomem_outcome sync_finish(struct g *g, uint32_t *index, bool *ok);
/* Takes a parked g out of the queues it waits in; false: somebody has finished its operation, and readies it
 * or has done so. The caller sees to it that the g runs. */
MUST_USE bool sync_cancel(struct g *g);

void waitq_enqueue(struct waitq *q, struct sudog *s);
/* The first whose operation is not finished by somebody else; NULL: there is none. */
struct sudog *waitq_dequeue(struct waitq *q);
void waitq_remove(struct waitq *q, struct sudog *s);

static inline void elem_copy(const struct hchan *c, void *to, const void *from)
{
    if (LIKELY(c->elemsize == sizeof(uint64_t)))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, c->elemsize);
}

static inline void elem_clear(const struct hchan *c, void *at)
{
    if (LIKELY(c->elemsize == sizeof(uint64_t)))
        memset(at, 0, sizeof(uint64_t));
    else
        memset(at, 0, c->elemsize);
}

static inline void *chan_slot(const struct hchan *c, uint64_t i)
{
    return (char *)c->buf + i * c->elemsize;
}

/* The channel's next slot after i. */
static inline uint64_t next_slot(const struct hchan *c, uint64_t i)
{
    return i + 1 == c->dataqsiz ? 0 : i + 1;
}

/* The parts of an operation that need not wait. pre: there is room; there is an element; the sudog has been
 * dequeued. Those with a waiter answer him: he is to be readied when no lock is held any more. */
void buffer_put(struct g *g, struct hchan *c, const void *elem);
void buffer_take(struct g *g, struct hchan *c, void *elem);
struct g *hand_to_receiver(struct g *g, struct hchan *c, struct sudog *s, const void *elem);
struct g *take_from_sender(struct g *g, struct hchan *c, struct sudog *s, void *elem);
/* Receiving from a closed channel that is empty. */
void take_zero(struct g *g, struct hchan *c, void *elem);

/* A sudog waits on c, as one of g's. */
static inline void wait_on(struct g *g, struct sudog *s, struct hchan *c, void *elem, bool send)
{
    s->g = g;
    s->c = c;
    s->elem = elem;
    s->waitlink = NULL;
    s->is_send = send;
    s->success = false;
    waitq_enqueue(send ? &c->sendq : &c->recvq, s);
}

#endif
