/* Sending, receiving and closing.
 *
 * Called through chan.h.
 *
 * Concurrency: see chan.h. What is looked at without the lock is read once: that a channel is open and not
 * ready is true of some moment, as a closed one does not become ready for less.
 * Go: runtime/chan.go.
 */
#include "sync/chan.h"

#include "sync/operation.h"

/* Would a send wait, if the channel is open? */
static bool is_full(const struct hchan *c)
{
    return c->dataqsiz == 0 ? load_relaxed(&c->recvq.first) == NULL
                            : load_relaxed(&c->qcount) == c->dataqsiz;
}

static bool is_empty(const struct hchan *c)
{
    return c->dataqsiz == 0 ? load_relaxed(&c->sendq.first) == NULL
                            : load_relaxed(&c->qcount) == 0;
}

static enum gomem_outcome park_forever(struct g *g, bool block, enum gomem_wait_reason reason)
{
    return block ? g_park(g, reason) : GOMEM_WOULD_BLOCK;
}

static void wait_in(struct g *g, struct hchan *c, void *elem, bool send)
{
    struct sudog *s = &g->sudog;
    s->is_select = false;
    s->index = 0;
    wait_on(g, s, c, elem, send);
    g->waiting = s;
    g->param = NULL;
}

enum gomem_outcome chan_send(struct g *g, struct hchan *c, const void *elem, bool block)
{
    if (UNLIKELY(c == NULL))
        return park_forever(g, block, GOMEM_WAIT_CHAN_SEND_NIL);
    if (!block && !load_acquire(&c->closed) && is_full(c))
        return GOMEM_WOULD_BLOCK;
    spin_lock(&c->lock);
    if (UNLIKELY(c->closed)) {
        spin_unlock(&c->lock);
        return g_panic(g, PANIC_SEND_CLOSED);
    }
    struct sudog *receiver = waitq_dequeue(&c->recvq);
    if (receiver != NULL) {
        struct g *other = hand_to_receiver(g, c, receiver, elem);
        spin_unlock(&c->lock);
        g_ready(other, g);
        return GOMEM_DONE;
    }
    enum gomem_outcome outcome = GOMEM_WOULD_BLOCK;
    if (c->qcount < c->dataqsiz) {
        buffer_put(g, c, elem);
        outcome = GOMEM_DONE;
    } else if (block) {
        wait_in(g, c, (void *)elem, true);
        outcome = g_park(g, GOMEM_WAIT_CHAN_SEND);
    }
    spin_unlock(&c->lock);
    return outcome;
}

enum gomem_outcome chan_recv(struct g *g, struct hchan *c, void *elem, bool block, bool *ok)
{
    *ok = false;
    if (UNLIKELY(c == NULL))
        return park_forever(g, block, GOMEM_WAIT_CHAN_RECEIVE_NIL);
    if (!block && is_empty(c) && !load_acquire(&c->closed))
        return GOMEM_WOULD_BLOCK;
    spin_lock(&c->lock);
    struct sudog *sender = c->closed ? NULL : waitq_dequeue(&c->sendq);
    if (sender != NULL) {
        struct g *other = take_from_sender(g, c, sender, elem);
        spin_unlock(&c->lock);
        g_ready(other, g);
        *ok = true;
        return GOMEM_DONE;
    }
    enum gomem_outcome outcome = GOMEM_DONE;
    if (c->qcount > 0) {
        buffer_take(g, c, elem);
        *ok = true;
    } else if (c->closed) {
        take_zero(g, c, elem);
    } else if (block) {
        wait_in(g, c, elem, false);
        outcome = g_park(g, GOMEM_WAIT_CHAN_RECEIVE);
    } else {
        outcome = GOMEM_WOULD_BLOCK;
    }
    spin_unlock(&c->lock);
    return outcome;
}

/* Takes all out of a queue; they go into a list, in their order. */
static void release_all(struct hchan *c, struct waitq *q, struct sudog **list)
{
    struct sudog *s;
    while ((s = waitq_dequeue(q)) != NULL) {
        if (!s->is_send && s->elem != NULL)
            elem_clear(c, s->elem);
        HB_EVENT(s->g->hb, .kind = HB_CHAN_CLOSED, .g = s->g, .object = c); /* happens before */
        s->success = false;
        s->elem = NULL;
        s->g->param = s;
        s->next = *list;
        *list = s;
    }
}

enum gomem_outcome chan_close(struct g *g, struct hchan *c)
{
    if (c == NULL)
        return g_panic(g, PANIC_CLOSE_NIL);
    spin_lock(&c->lock);
    if (c->closed) {
        spin_unlock(&c->lock);
        return g_panic(g, PANIC_CLOSE_CLOSED);
    }
    HB_EVENT(g->hb, .kind = HB_CHAN_CLOSE, .g = g, .object = c); /* happens before */
    store_release(&c->closed, 1);
    struct sudog *list = NULL;
    release_all(c, &c->recvq, &list);
    release_all(c, &c->sendq, &list);
    spin_unlock(&c->lock);
    while (list != NULL) {
        struct sudog *s = list;
        list = s->next;
        s->next = NULL;
        g_ready(s->g, g);
    }
    return GOMEM_DONE;
}

uint64_t chan_len(const struct hchan *c)
{
    return c == NULL ? 0 : load_relaxed(&c->qcount);
}

const void *chan_peek(const struct hchan *c, uint64_t i)
{
    return i < c->qcount ? chan_slot(c, (c->recvx + i) % c->dataqsiz) : NULL;
}

bool chan_drain(struct hchan *c, void *elem)
{
    if (c->qcount == 0)
        return false;
    elem_copy(c, elem, chan_slot(c, c->recvx));
    c->recvx = next_slot(c, c->recvx);
    c->qcount--;
    return true;
}

static void queue_verify(const struct hchan *c, const struct waitq *q, bool send)
{
    const struct sudog *last = NULL;
    for (const struct sudog *s = q->first; s != NULL; last = s, s = s->next) {
        CHECK(s->prev == last && s->c == c && s->is_send == send && s->queued);
        if (!s->is_select || load_relaxed(&s->g->select) == SELECT_OPEN)
            CHECK_OP(load_relaxed(&s->g->state), ==, GOMEM_G_WAITING);
    }
    CHECK(q->last == last);
}

void chan_verify(struct hchan *c)
{
    spin_lock(&c->lock);
    queue_verify(c, &c->recvq, false);
    queue_verify(c, &c->sendq, true);
    CHECK_OP(c->qcount, <=, c->dataqsiz);
    if (c->dataqsiz > 0) {
        CHECK_OP(c->recvx, <, c->dataqsiz);
        CHECK_OP(c->sendx, ==, (c->recvx + c->qcount) % c->dataqsiz);
        CHECK(c->recvq.first == NULL || c->qcount == 0);
        CHECK(c->sendq.first == NULL || c->qcount == c->dataqsiz);
    }
    bool both = c->recvq.first != NULL && c->sendq.first != NULL;
    CHECK(!both || c->recvq.first->is_select);
    CHECK(!c->closed || (c->recvq.first == NULL && c->sendq.first == NULL));
    spin_unlock(&c->lock);
}
