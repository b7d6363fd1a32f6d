/* select.
 *
 * Called through select.h.
 *
 * Concurrency: all channels are locked while cases are looked at, and while the g goes into their queues, so
 * that a select happens at one moment. Who then comes first to one of the channels wins g->select.
 * Go: runtime/select.go.
 */
#include "sync/select.h"

#include "sync/operation.h"

/* Up to here insertion is faster than a heap. */
enum { FEW_CASES = 12 };

struct select {
    struct g *g;
    const struct gomem_case *cases;
    uint16_t *poll, *order; /* indexes of cases with a channel: in random order, by address */
    uint32_t n;             /* how many those are */
};

static struct hchan *case_chan(const struct gomem_case *cas)
{
    return (struct hchan *)cas->chan;
}

static uintptr_t key(const struct select *s, uint32_t i)
{
    return (uintptr_t)s->cases[i].chan;
}

/* A uniform permutation of the cases that have a channel: each goes to a place among those before it. */
static void make_poll_order(struct select *s, uint32_t n, struct rng *random)
{
    for (uint32_t i = 0; i < n; i++) {
        if (s->cases[i].chan == NULL)
            continue;
        uint32_t j = s->n == 0 ? 0 : rng_below(random, s->n + 1);
        s->poll[s->n++] = s->poll[j];
        s->poll[j] = (uint16_t)i;
    }
}

static void sift_down(const struct select *s, uint32_t root, uint32_t n)
{
    uint16_t moved = s->order[root];
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= n)
            break;
        if (child + 1 < n && key(s, s->order[child]) < key(s, s->order[child + 1]))
            child++;
        if (key(s, moved) >= key(s, s->order[child]))
            break;
        s->order[root] = s->order[child];
        root = child;
    }
    s->order[root] = moved;
}

static void sort_many(const struct select *s)
{
    for (uint32_t i = s->n / 2; i-- > 0;)
        sift_down(s, i, s->n);
    for (uint32_t n = s->n; n-- > 1;) {
        uint16_t last = s->order[n];
        s->order[n] = s->order[0];
        s->order[0] = last;
        sift_down(s, 0, n);
    }
}

/* By insertion while there are few: places by address. */
static void make_lock_order(const struct select *s)
{
    if (s->n > FEW_CASES) {
        memcpy(s->order, s->poll, s->n * sizeof s->order[0]);
        sort_many(s);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        uint16_t c = s->poll[i];
        uint32_t j = i;
        for (; j > 0 && key(s, s->order[j - 1]) > key(s, c); j--)
            s->order[j] = s->order[j - 1];
        s->order[j] = c;
    }
}

static void lock_all(const struct select *s)
{
    const struct hchan *last = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        struct hchan *c = case_chan(&s->cases[s->order[i]]);
        if (c != last) {
            spin_lock(&c->lock);
            lock_set_aside(&c->lock.l); /* ranks do not order locks of one rank: addresses do */
        }
        last = c;
    }
}

static void unlock_all(const struct select *s)
{
    const struct hchan *last = NULL;
    for (uint32_t i = s->n; i-- > 0;) {
        struct hchan *c = case_chan(&s->cases[s->order[i]]);
        if (c != last) {
            lock_take_up(&c->lock.l);
            spin_unlock(&c->lock);
        }
        last = c;
    }
}

/* Does the case if it can be done: DONE, PANICS or WOULD_BLOCK. *other: who is to be readied then. */
static enum gomem_outcome try_case(struct g *g, const struct gomem_case *cas, struct g **other,
                                   bool *ok)
{
    struct hchan *c = case_chan(cas);
    struct sudog *s;
    if (cas->send) {
        if (c->closed)
            return g_panic(g, PANIC_SEND_CLOSED);
        if ((s = waitq_dequeue(&c->recvq)) != NULL)
            *other = hand_to_receiver(g, c, s, cas->elem);
        else if (c->qcount < c->dataqsiz)
            buffer_put(g, c, cas->elem);
        else
            return GOMEM_WOULD_BLOCK;
        return GOMEM_DONE;
    }
    *ok = true;
    if ((s = waitq_dequeue(&c->sendq)) != NULL) {
        *other = take_from_sender(g, c, s, cas->elem);
    } else if (c->qcount > 0) {
        buffer_take(g, c, cas->elem);
    } else {
        *ok = false;
        if (!c->closed)
            return GOMEM_WOULD_BLOCK;
        take_zero(g, c, cas->elem);
    }
    return GOMEM_DONE;
}

static void enqueue_all(const struct select *s)
{
    struct g *g = s->g;
    struct sudog **link = &g->waiting;
    g->param = NULL;
    store_relaxed(&g->select, SELECT_OPEN);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t index = s->order[i];
        const struct gomem_case *cas = &s->cases[index];
        struct sudog *sudog = &g->select_room.sudogs[i];
        sudog->is_select = true;
        sudog->index = index;
        wait_on(g, sudog, case_chan(cas), cas->elem, cas->send);
        *link = sudog;
        link = &sudog->waitlink;
    }
}

enum gomem_outcome select_go(struct g *g, const struct gomem_case *cases, uint32_t n, bool block,
                             struct rng *random, uint32_t *index, bool *ok)
{
    struct select s = {.g = g, .cases = cases, .poll = g->select_room.order};
    s.order = s.poll + n;
    *ok = false;
    *index = 0;
    make_poll_order(&s, n, random);
    if (s.n == 0)
        return block ? g_park(g, n == 0 ? GOMEM_WAIT_SELECT_NO_CASES : GOMEM_WAIT_SELECT)
                     : GOMEM_WOULD_BLOCK;
    make_lock_order(&s);
    lock_all(&s);
    struct g *other = NULL;
    enum gomem_outcome outcome = GOMEM_WOULD_BLOCK;
    for (uint32_t i = 0; i < s.n && outcome == GOMEM_WOULD_BLOCK; i++) {
        *index = s.poll[i];
        outcome = try_case(g, &cases[*index], &other, ok);
    }
    if (outcome == GOMEM_WOULD_BLOCK && block) {
        enqueue_all(&s);
        outcome = g_park(g, GOMEM_WAIT_SELECT);
    }
    unlock_all(&s);
    if (other != NULL)
        g_ready(other, g);
    return outcome;
}
