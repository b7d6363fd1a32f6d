/* Channel operations as state machines.
 *
 * Each takes a g and answers: DONE; PARK, when the g waits in the channel's queue, and whoever comes for it
 * finishes the operation, element and all, and readies it; PANICS, with Go's text in g->panic; or
 * WOULD_BLOCK, if it was not to wait. After PARK the caller lets others run until the g is readied, and then
 * calls sync_finish, which answers DONE or PANICS. What elem points to is read or written until then, by
 * others, so it may not be on a stack that is moved or copied away meanwhile.
 *
 * Invariants (chan_verify): qcount <= dataqsiz, and the elements are the qcount slots from recvx on, around
 * the end; at least one of the two queues is empty, but for a select that sends and receives on one channel;
 * receivers wait only if the buffer is empty, senders only if it is full; nobody waits on a closed channel.
 *
 * Called by runtime/.
 *
 * Concurrency: under the channel's lock; none is held when a function returns. g: who runs it.
 * Go: runtime/chan.go.
 */
#ifndef GOMEM_SYNC_CHAN_H
#define GOMEM_SYNC_CHAN_H

#include "object/chan.h"
#include "sched/g.h"

#define PANIC_SEND_CLOSED  "send on closed channel"
#define PANIC_CLOSE_CLOSED "close of closed channel"
#define PANIC_CLOSE_NIL    "close of nil channel"

/* c NULL: a nil channel. elem: NULL if what is received is not wanted. */
enum gomem_outcome chan_send(struct g *g, struct hchan *c, const void *elem, bool block);
/* *ok: something was received; else the channel is closed, and elem zeroed. */
enum gomem_outcome chan_recv(struct g *g, struct hchan *c, void *elem, bool block, bool *ok);
enum gomem_outcome chan_close(struct g *g, struct hchan *c);
uint64_t chan_len(const struct hchan *c);

/* The i-th element in the buffer; NULL: there are not as many. While nobody uses the channel. */
const void *chan_peek(const struct hchan *c, uint64_t i);
/* Takes the first element out of the buffer, whether closed or not; false: empty. For who ends a channel that
 * nobody uses any more. */
bool chan_drain(struct hchan *c, void *elem);

void chan_verify(struct hchan *c);

#endif
