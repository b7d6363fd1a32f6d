/* Goroutines: parking threads, readying, names, memory for selects.
 *
 * Called through g.h.
 *
 * Concurrency: see g.h. A thread's g may be gone as soon as its event has changed, so that is the last
 * thing its waker does to it; a wake of an address that is nobody's any more does no harm.
 * Go: goready, acquireSudog, gStatusStrings, waitReasonStrings.
 */
#include "sched/g.h"

#include <stdlib.h>

#include "base/bits.h"
#include "platform/park.h"
#include "sched/scheduler.h"

static const char *const status_names[] = {
    [GOMEM_G_IDLE] = "idle",       [GOMEM_G_RUNNABLE] = "runnable", [GOMEM_G_RUNNING] = "running",
    [GOMEM_G_WAITING] = "waiting", [GOMEM_G_DEAD] = "dead",
};

static const char *const reason_names[] = {
    [GOMEM_WAIT_NONE] = "",
    [GOMEM_WAIT_CHAN_RECEIVE_NIL] = "chan receive (nil chan)",
    [GOMEM_WAIT_CHAN_SEND_NIL] = "chan send (nil chan)",
    [GOMEM_WAIT_SELECT] = "select",
    [GOMEM_WAIT_SELECT_NO_CASES] = "select (no cases)",
    [GOMEM_WAIT_CHAN_RECEIVE] = "chan receive",
    [GOMEM_WAIT_CHAN_SEND] = "chan send",
};

const char *g_status_name(enum gomem_g_state state, enum gomem_wait_reason reason)
{
    if (state == GOMEM_G_WAITING && reason != GOMEM_WAIT_NONE &&
        (unsigned)reason < ARRAY_LEN(reason_names))
        return reason_names[reason];
    return (unsigned)state < ARRAY_LEN(status_names) ? status_names[state] : "???";
}

void g_init_thread(struct g *g, uint64_t seed)
{
    *g = (struct g){.state = GOMEM_G_RUNNING, .random = {seed}};
}

void g_end(struct g *g)
{
    free(g->select_room.sudogs);
    free(g->select_room.order);
    g->select_room = (struct select_room){0};
}

bool g_reserve(struct g *g, uint32_t n)
{
    struct select_room *room = &g->select_room;
    if (LIKELY(n <= room->capacity))
        return true;
    uint32_t capacity = n < 4 ? 4 : n;
    struct sudog *sudogs = malloc(capacity * sizeof *sudogs);
    uint16_t *order = malloc(2 * capacity * sizeof *order);
    if (sudogs == NULL || order == NULL) {
        free(sudogs);
        free(order);
        return false;
    }
    g_end(g);
    *room = (struct select_room){sudogs, order, capacity};
    return true;
}

static void ready_thread(struct g *g)
{
    uint32_t *event = &g->event;
    store_release(&g->state, GOMEM_G_RUNNING);
    fetch_add_seq_cst(event, 1); /* with g_sleep's acquire */
    park_wake(event, 1);
}

void g_ready(struct g *g, struct g *by)
{
    ASSERT_OP(load_relaxed(&g->state), ==, GOMEM_G_WAITING);
    if (g->scheduler == NULL)
        ready_thread(g);
    else
        scheduler_ready(g, by->runner);
}

bool g_sleep(struct g *g, int64_t timeout_ns)
{
    if (load_acquire(&g->event) == 0)
        park_wait(&g->event, 0, timeout_ns);
    if (load_acquire(&g->event) == 0)
        return false;
    store_relaxed(&g->event, 0);
    return true;
}

void g_verify(const struct g *g)
{
    const struct sudog *last = NULL;
    for (const struct sudog *s = g->waiting; s != NULL; s = s->waitlink) {
        CHECK(s->g == g);
        CHECK(s == &g->sudog || (s >= g->select_room.sudogs &&
                                 s < g->select_room.sudogs + g->select_room.capacity));
        CHECK(last == NULL || (uintptr_t)last->c <= (uintptr_t)s->c);
        CHECK(s->is_select || (s == g->waiting && s->waitlink == NULL));
        last = s;
    }
    uint32_t state = load_relaxed(&g->state);
    if (state == GOMEM_G_IDLE || state == GOMEM_G_DEAD)
        CHECK(g->waiting == NULL);
}
