/* Goroutines and channels, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h.
 * Go: runtime/proc.go, chan.go, select.go.
 */
#include <stdlib.h>

#include "sched/scheduler.h"
#include "sync/operation.h"
#include "sync/select.h"

static struct scheduler *sched_of(struct gomem_scheduler *s)
{
    return (struct scheduler *)s;
}

static struct g *g_of(struct gomem_g *g)
{
    return (struct g *)g;
}

static const struct g *g_of_const(const struct gomem_g *g)
{
    return (const struct g *)g;
}

static struct hchan *chan_of(struct gomem_chan *c)
{
    return (struct hchan *)c;
}

static struct gomem_g *public_g(struct g *g)
{
    return (struct gomem_g *)g;
}

/* --- Schedulers --- */

enum gomem_status gomem_scheduler_new(uint32_t runners, uint64_t seed,
                                      struct gomem_scheduler **out, struct gomem_error *err)
{
    if (runners < 1 || runners > MAX_RUNNERS)
        return error_set(err, GOMEM_INVALID_VALUE, "runners must be 1 to %d, not %u", MAX_RUNNERS,
                         runners);
    struct scheduler *s = scheduler_new(runners, seed, NULL);
    if (s == NULL)
        return error_set(err, GOMEM_OUT_OF_MEMORY, "out of memory for a scheduler");
    *out = (struct gomem_scheduler *)s;
    return GOMEM_OK;
}

void gomem_scheduler_delete(struct gomem_scheduler *s)
{
    scheduler_delete(sched_of(s));
}

struct gomem_g *gomem_go(struct gomem_scheduler *s, uint32_t runner, struct gomem_g *by,
                         struct gomem_site site, void *data)
{
    return public_g(scheduler_go(&sched_of(s)->runners[runner], g_of(by), site, data));
}

struct gomem_g *gomem_next(struct gomem_scheduler *s, uint32_t runner)
{
    return public_g(scheduler_next(&sched_of(s)->runners[runner]));
}

void gomem_yield(struct gomem_g *g)
{
    scheduler_yield(g_of(g));
}

void gomem_end(struct gomem_g *g)
{
    scheduler_finish(g_of(g)->runner, g_of(g));
}

void gomem_wait_for_work(struct gomem_scheduler *s, uint32_t runner, int64_t timeout_ns)
{
    scheduler_wait(&sched_of(s)->runners[runner], timeout_ns);
}

bool gomem_has_work(const struct gomem_scheduler *s)
{
    return scheduler_has_work((const struct scheduler *)s);
}

void gomem_scheduler_wake(struct gomem_scheduler *s)
{
    scheduler_wake(sched_of(s));
}

uint64_t gomem_num_goroutine(const struct gomem_scheduler *s)
{
    return scheduler_count((const struct scheduler *)s);
}

struct gomem_g *gomem_each_g(struct gomem_scheduler *s, struct gomem_g *last)
{
    return public_g(scheduler_each(sched_of(s), g_of(last)));
}

void gomem_scheduler_verify(struct gomem_scheduler *s)
{
    scheduler_verify(sched_of(s));
}

/* --- Goroutines --- */

void *gomem_g_data(const struct gomem_g *g)
{
    return g_of_const(g)->data;
}

uint64_t gomem_g_id(const struct gomem_g *g)
{
    return g_of_const(g)->id;
}

uint64_t gomem_g_parent(const struct gomem_g *g)
{
    return g_of_const(g)->parent_id;
}

struct gomem_site gomem_g_site(const struct gomem_g *g)
{
    return g_of_const(g)->site;
}

enum gomem_g_state gomem_g_state(const struct gomem_g *g)
{
    return (enum gomem_g_state)load_acquire(&g_of_const(g)->state); /* with g_park's release */
}

const char *gomem_g_status(const struct gomem_g *g)
{
    enum gomem_g_state state = gomem_g_state(g);
    return g_status_name(state, (enum gomem_wait_reason)g_of_const(g)->reason);
}

const char *gomem_panic_text(const struct gomem_g *g)
{
    return g_of_const(g)->panic;
}

struct gomem_g *gomem_thread_new(uint64_t seed)
{
    struct g *g = malloc(sizeof *g);
    if (g != NULL)
        g_init_thread(g, seed);
    return public_g(g);
}

void gomem_thread_delete(struct gomem_g *g)
{
    if (g == NULL)
        return;
    g_end(g_of(g));
    free(g);
}

bool gomem_thread_wait(struct gomem_g *g, int64_t timeout_ns)
{
    return g_sleep(g_of(g), timeout_ns);
}

enum gomem_outcome gomem_finish(struct gomem_g *g, uint32_t *index, bool *ok)
{
    return sync_finish(g_of(g), index, ok);
}

bool gomem_cancel(struct gomem_g *g)
{
    return sync_cancel(g_of(g));
}

/* --- Channels --- */

enum gomem_status gomem_chan_new(size_t elem_size, int64_t cap, struct gomem_chan **out,
                                 struct gomem_error *err)
{
    size_t size;
    if (elem_size >= MAX_ELEM_SIZE)
        return error_set(err, GOMEM_INVALID_VALUE, "channel element type too large (>64kB)");
    if (!chan_size(elem_size, cap, &size))
        return error_set(err, GOMEM_PANIC, "makechan: size out of range");
    struct hchan *c = calloc(1, sizeof *c + size);
    if (c == NULL)
        return no_memory(err, sizeof *c + size);
    chan_init(c, c + 1, elem_size, NULL, cap);
    *out = (struct gomem_chan *)c;
    return GOMEM_OK;
}

void gomem_chan_delete(struct gomem_chan *c)
{
    free(c);
}

enum gomem_outcome gomem_chan_send(struct gomem_g *g, struct gomem_chan *c, const void *elem,
                                   bool block)
{
    return chan_send(g_of(g), chan_of(c), elem, block);
}

enum gomem_outcome gomem_chan_recv(struct gomem_g *g, struct gomem_chan *c, void *elem, bool block,
                                   bool *ok)
{
    return chan_recv(g_of(g), chan_of(c), elem, block, ok);
}

enum gomem_outcome gomem_chan_close(struct gomem_g *g, struct gomem_chan *c)
{
    return chan_close(g_of(g), chan_of(c));
}

uint64_t gomem_chan_len(const struct gomem_chan *c)
{
    return chan_len((const struct hchan *)c);
}

uint64_t gomem_chan_cap(const struct gomem_chan *c)
{
    return c == NULL ? 0 : ((const struct hchan *)c)->dataqsiz;
}

bool gomem_chan_closed(const struct gomem_chan *c)
{
    return c != NULL && load_acquire(&((const struct hchan *)c)->closed);
}

const void *gomem_chan_peek(const struct gomem_chan *c, uint64_t i)
{
    return chan_peek((const struct hchan *)c, i);
}

bool gomem_chan_drain(struct gomem_chan *c, void *elem)
{
    return chan_drain(chan_of(c), elem);
}

void gomem_chan_verify(struct gomem_chan *c)
{
    chan_verify(chan_of(c));
}

bool gomem_select_reserve(struct gomem_g *g, uint32_t n)
{
    return n <= MAX_CASES && g_reserve(g_of(g), n);
}

enum gomem_outcome gomem_select(struct gomem_g *g, const struct gomem_case *cases, uint32_t n,
                                bool block, uint32_t *index, bool *ok)
{
    struct g *self = g_of(g);
    struct rng *random = self->runner != NULL ? &self->runner->random : &self->random;
    return select_go(self, cases, n, block, random, index, ok);
}
