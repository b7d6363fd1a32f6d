/* Queues of goroutines that can run.
 *
 * Called through runq.h.
 *
 * Concurrency: who takes from a ring reads what is in it, and then moves the head on, if nobody else has:
 * what it read is only its own then. The release of head's move is with the owner's acquire in runq_put,
 * which may then overwrite; that of tail's with the acquire in runq_grab, which may then read.
 * Go: proc.go.
 */
#include "sched/runq.h"

void gqueue_push(struct gqueue *q, struct g *g)
{
    g->schedlink = NULL;
    if (q->tail != NULL)
        q->tail->schedlink = g;
    else
        q->head = g;
    q->tail = g;
    owner_add_relaxed(&q->n, 1);
}

void gqueue_push_all(struct gqueue *q, struct gqueue *from)
{
    if (from->head == NULL)
        return;
    if (q->tail != NULL)
        q->tail->schedlink = from->head;
    else
        q->head = from->head;
    q->tail = from->tail;
    owner_add_relaxed(&q->n, from->n);
    *from = (struct gqueue){0};
}

struct g *gqueue_pop(struct gqueue *q)
{
    struct g *g = q->head;
    if (g == NULL)
        return NULL;
    q->head = g->schedlink;
    if (q->head == NULL)
        q->tail = NULL;
    g->schedlink = NULL;
    owner_add_relaxed(&q->n, -1);
    return g;
}

static struct g **slot(struct runq *q, uint32_t i)
{
    return &q->ring[i % RUNQ_SIZE];
}

/* Half of a full ring, and g, which did not fit; false: others have taken some meanwhile. */
static bool put_slow(struct runq *q, struct g *g, uint32_t head, struct gqueue *overflow)
{
    struct g *batch[RUNQ_SIZE / 2];
    for (uint32_t i = 0; i < RUNQ_SIZE / 2; i++)
        batch[i] = load_relaxed(slot(q, head + i));
    if (!cas_release(&q->head, &head, head + RUNQ_SIZE / 2))
        return false;
    for (uint32_t i = 0; i < RUNQ_SIZE / 2; i++)
        gqueue_push(overflow, batch[i]);
    gqueue_push(overflow, g);
    return true;
}

void runq_put(struct runq *q, struct g *g, bool next, struct gqueue *overflow)
{
    if (next) {
        g = exchange_acq_rel(&q->next, g); /* with runq_grab's */
        if (g == NULL)
            return;
    }
    for (;;) {
        uint32_t head = load_acquire(&q->head); /* with who took */
        uint32_t tail = load_relaxed(&q->tail);
        if (LIKELY(tail - head < RUNQ_SIZE)) {
            store_relaxed(slot(q, tail), g);
            store_release(&q->tail, tail + 1); /* with runq_grab's acquire */
            return;
        }
        if (put_slow(q, g, head, overflow))
            return;
    }
}

struct g *runq_take_next(struct runq *q)
{
    struct g *g = load_relaxed(&q->next);
    /* Only the owner makes it something else than NULL: if this fails it was stolen. */
    return g != NULL && cas_acquire(&q->next, &g, NULL) ? g : NULL;
}

struct g *runq_get(struct runq *q)
{
    uint32_t head = load_acquire(&q->head); /* with who took */
    for (;;) {
        if (load_relaxed(&q->tail) == head)
            return NULL;
        struct g *g = load_relaxed(slot(q, head));
        if (cas_acq_rel(&q->head, &head, head + 1))
            return g;
    }
}

/* Copies half of a queue to another's ring, from tail on, where nobody sees it yet: how many. */
static uint32_t runq_grab(struct runq *from, struct runq *q, uint32_t tail, bool take_next)
{
    for (;;) {
        uint32_t head = load_acquire(&from->head);
        uint32_t n = load_acquire(&from->tail) - head;
        n -= n / 2;
        if (n == 0) {
            struct g *g = take_next ? load_relaxed(&from->next) : NULL;
            if (g == NULL)
                return 0;
            if (!cas_acquire(&from->next, &g, NULL))
                continue;
            store_relaxed(slot(q, tail), g);
            return 1;
        }
        if (n > RUNQ_SIZE / 2) /* head and tail were read at different times */
            continue;
        for (uint32_t i = 0; i < n; i++)
            store_relaxed(slot(q, tail + i), load_relaxed(slot(from, head + i)));
        if (cas_acq_rel(&from->head, &head, head + n))
            return n;
    }
}

struct g *runq_steal(struct runq *q, struct runq *from, bool take_next)
{
    uint32_t tail = load_relaxed(&q->tail);
    ASSERT_OP(tail, ==, load_relaxed(&q->head));
    uint32_t n = runq_grab(from, q, tail, take_next);
    if (n == 0)
        return NULL;
    struct g *g = load_relaxed(slot(q, tail + n - 1));
    if (n > 1)
        store_release(&q->tail, tail + n - 1); /* with runq_grab's acquire */
    return g;
}

uint32_t runq_length(const struct runq *q)
{
    uint32_t head = load_acquire(&q->head);
    return load_relaxed(&q->tail) - head + (load_relaxed(&q->next) != NULL);
}

void runq_verify(const struct runq *q)
{
    CHECK_OP(q->tail - q->head, <=, RUNQ_SIZE);
    if (q->next != NULL)
        CHECK_OP(q->next->state, ==, GOMEM_G_RUNNABLE);
    for (uint32_t i = q->head; i != q->tail; i++) {
        const struct g *g = q->ring[i % RUNQ_SIZE];
        CHECK_OP(g->state, ==, GOMEM_G_RUNNABLE);
        CHECK(g != q->next);
        for (uint32_t j = q->head; j != i; j++)
            CHECK(q->ring[j % RUNQ_SIZE] != g);
    }
}

void gqueue_verify(const struct gqueue *q)
{
    uint32_t n = 0;
    const struct g *last = NULL;
    for (const struct g *g = q->head; g != NULL; last = g, g = g->schedlink, n++)
        CHECK_OP(g->state, ==, GOMEM_G_RUNNABLE);
    CHECK_OP(n, ==, q->n);
    CHECK(last == q->tail);
}
