/* Queues of waiters, handing over, and the end of a wait.
 *
 * Called through operation.h.
 *
 * Concurrency: see operation.h. sync_finish and sync_cancel take the locks of all channels the g waits on, in
 * the order of their addresses, in which g->waiting lists them.
 * Go: runtime/chan.go, select.go.
 */
#include "sync/operation.h"

/* --- Queues --- */

void waitq_enqueue(struct waitq *q, struct sudog *s)
{
    s->next = NULL;
    s->prev = q->last;
    s->queued = true;
    if (q->last != NULL)
        q->last->next = s;
    else
        store_relaxed(&q->first, s); /* with who looks without the lock */
    q->last = s;
}

void waitq_remove(struct waitq *q, struct sudog *s)
{
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        store_relaxed(&q->first, s->next);
    if (s->next != NULL)
        s->next->prev = s->prev;
    else
        q->last = s->prev;
    s->next = s->prev = NULL;
    s->queued = false;
}

struct sudog *waitq_dequeue(struct waitq *q)
{
    struct sudog *s;
    while ((s = q->first) != NULL) {
        uint32_t open = SELECT_OPEN;
        waitq_remove(q, s);
        if (!s->is_select || cas_acq_rel(&s->g->select, &open, SELECT_WON))
            return s;
    }
    return NULL;
}

/* --- Handing over --- */

static struct g *finished(struct sudog *s, bool success)
{
    s->success = success;
    s->elem = NULL;
    s->g->param = s;
    return s->g;
}

void buffer_put(struct g *g, struct hchan *c, const void *elem)
{
    HB_EVENT(g->hb, .kind = HB_CHAN_SLOT, .g = g, .object = c, .slot = c->sendx); /* happens before */
    elem_copy(c, chan_slot(c, c->sendx), elem);
    c->sendx = next_slot(c, c->sendx);
    store_relaxed(&c->qcount, c->qcount + 1);
}

void buffer_take(struct g *g, struct hchan *c, void *elem)
{
    void *slot = chan_slot(c, c->recvx);
    HB_EVENT(g->hb, .kind = HB_CHAN_SLOT, .g = g, .object = c, .slot = c->recvx); /* happens before */
    if (elem != NULL)
        elem_copy(c, elem, slot);
    elem_clear(c, slot);
    c->recvx = next_slot(c, c->recvx);
    store_relaxed(&c->qcount, c->qcount - 1);
}

/* The receiver waits, so the buffer is empty: as if the element went through it. */
struct g *hand_to_receiver(struct g *g, struct hchan *c, struct sudog *s, const void *elem)
{
    if (c->dataqsiz == 0) {
        HB_EVENT(g->hb, .kind = HB_CHAN_MEET, .g = g, .other = s->g, .object = c); /* happens before */
    } else {
        HB_EVENT(g->hb, .kind = HB_CHAN_SLOT, .g = g, .object = c, .slot = c->recvx);    /* happens before */
        HB_EVENT(g->hb, .kind = HB_CHAN_SLOT, .g = s->g, .object = c, .slot = c->recvx); /* happens before */
        c->sendx = c->recvx = next_slot(c, c->recvx);
    }
    if (s->elem != NULL)
        elem_copy(c, s->elem, elem);
    return finished(s, true);
}

/* The sender waits, so the buffer is full, or there is none: its element goes where the first one was. */
struct g *take_from_sender(struct g *g, struct hchan *c, struct sudog *s, void *elem)
{
    if (c->dataqsiz == 0) {
        HB_EVENT(g->hb, .kind = HB_CHAN_MEET, .g = g, .other = s->g, .object = c); /* happens before */
        if (elem != NULL)
            elem_copy(c, elem, s->elem);
    } else {
        void *slot = chan_slot(c, c->recvx);
        HB_EVENT(g->hb, .kind = HB_CHAN_SLOT, .g = g, .object = c, .slot = c->recvx);    /* happens before */
        HB_EVENT(g->hb, .kind = HB_CHAN_SLOT, .g = s->g, .object = c, .slot = c->recvx); /* happens before */
        if (elem != NULL)
            elem_copy(c, elem, slot);
        elem_copy(c, slot, s->elem);
        c->sendx = c->recvx = next_slot(c, c->recvx);
    }
    return finished(s, true);
}

void take_zero(struct g *g, struct hchan *c, void *elem)
{
    HB_EVENT(g->hb, .kind = HB_CHAN_CLOSED, .g = g, .object = c); /* happens before */
    if (elem != NULL)
        elem_clear(c, elem);
}

/* --- The end of a wait --- */

static void lock_waiting(const struct sudog *first)
{
    const struct hchan *last = NULL;
    for (const struct sudog *s = first; s != NULL; s = s->waitlink) {
        if (s->c != last) {
            spin_lock(&s->c->lock);
            lock_set_aside(&s->c->lock.l); /* ranks do not order locks of one rank: addresses do */
        }
        last = s->c;
    }
}

static void unlock_waiting(const struct sudog *first)
{
    struct hchan *last = NULL;
    for (const struct sudog *s = first; s != NULL; s = s->waitlink) {
        if (s->c != last) {
            lock_take_up(&s->c->lock.l);
            spin_unlock(&s->c->lock);
        }
        last = s->c;
    }
}

static struct waitq *queue_of(const struct sudog *s)
{
    return s->is_send ? &s->c->sendq : &s->c->recvq;
}

static void dequeue_all(const struct g *g)
{
    for (struct sudog *s = g->waiting; s != NULL; s = s->waitlink)
        if (s->queued)
            waitq_remove(queue_of(s), s);
}

enum gomem_outcome sync_finish(struct g *g, uint32_t *index, bool *ok)
{
    struct sudog *done = g->param, *first = g->waiting;
    CHECK(done != NULL && !done->queued);
    if (first->is_select) {
        lock_waiting(first);
        dequeue_all(g);
        unlock_waiting(first);
    }
    g->param = NULL;
    g->waiting = NULL;
    *index = done->index;
    *ok = done->success;
    if (!done->success && done->is_send)
        return g_panic(g, PANIC_SEND_CLOSED);
    return GOMEM_DONE;
}

bool sync_cancel(struct g *g)
{
    struct sudog *first = g->waiting;
    bool cancelled = true;
    lock_waiting(first);
    if (first != NULL && first->is_select) {
        uint32_t open = SELECT_OPEN;
        cancelled = cas_acq_rel(&g->select, &open, SELECT_WON);
    } else if (first != NULL) {
        cancelled = first->queued;
    }
    if (cancelled)
        dequeue_all(g);
    unlock_waiting(first);
    if (cancelled) {
        g->waiting = NULL;
        store_release(&g->state, GOMEM_G_RUNNING);
    }
    return cancelled;
}
