/* The thread of the background scavenger, which keeps the heap near what the collector's last goal needs, and
 * below 95 % of its memory limit.
 *
 * Called by the runtime when a limit is set, by the collector, and when the runtime closes.
 * There is no thread until there is a limit, or a first cycle.
 *
 * Concurrency: the thread holds no P: it takes the heap's lock like anybody else.
 * Go: bgscavenge in mgcscavenge.go.
 */
#include "platform/park.h"
#include "runtime/runtime.h"

/* How often the thread looks at the limit while there is nothing to do. */
enum { IDLE_NS = 100000000 };

static void sleep_for(struct gomem_runtime *rt, uint32_t event, int64_t ns)
{
    if (!load_acquire(&rt->scavenger_stop))
        park_wait(&rt->scavenger_event, event, ns);
}

static void *scavenger_run(void *arg)
{
    struct gomem_runtime *rt = arg;
    struct mheap *h = rt->heap;
    struct scavenger_control control;
    scavenger_control_init(&control);
    while (!load_acquire(&rt->scavenger_stop)) {
        uint32_t event = load_acquire(&rt->scavenger_event);
        double worked;
        bool limited = load_relaxed(&h->memory_limit) != UINT64_MAX;
        if (limited) { /* frees by hand make room without a cycle */
            scavenge_pace_limit(h, load_relaxed(&h->memory_limit));
            scavenge_next_generation(h);
        }
        lock(&rt->scavenging);
        size_t released = scavenger_step(h, &worked);
        unlock(&rt->scavenging);
        if (released == 0) {
            sleep_for(rt, event, limited ? IDLE_NS : PARK_FOREVER);
            continue;
        }
        double sleep = scavenger_sleep_time(&control, worked);
        sleep_for(rt, event, (int64_t)sleep);
        scavenger_slept(&control, worked, sleep, rt->sched.nusers);
    }
    return NULL;
}

void stop_background(struct gomem_runtime *rt)
{
    lock(&rt->gc->pool.lock);
    lock(&rt->scavenging);
}

void start_background(struct gomem_runtime *rt)
{
    unlock(&rt->scavenging);
    unlock(&rt->gc->pool.lock);
}

bool stop_everything(struct gomem_runtime *rt)
{
    if (!stop_world(&rt->sched))
        return false;
    stop_background(rt);
    return true;
}

void start_everything(struct gomem_runtime *rt)
{
    start_background(rt);
    start_world(&rt->sched);
}

void scavenger_wake(void *arg)
{
    struct gomem_runtime *rt = arg;
    fetch_add_seq_cst(&rt->scavenger_event, 1);
    park_wake(&rt->scavenger_event, PARK_WAKE_ALL);
}

void scavenger_start(void *arg)
{
    struct gomem_runtime *rt = arg;
    lock(&rt->scavenger_lock);
    if (!rt->scavenger_running && !load_relaxed(&rt->scavenger_stop))
        rt->scavenger_running =
            thread_start(&rt->scavenger, "gomem-scavenge", scavenger_run, rt);
    unlock(&rt->scavenger_lock);
}

void scavenger_ensure(struct gomem_runtime *rt)
{
    if (load_relaxed(&rt->heap->memory_limit) == UINT64_MAX)
        return;
    scavenger_start(rt);
    scavenger_wake(rt);
}

void scavenger_end(struct gomem_runtime *rt)
{
    store_release(&rt->scavenger_stop, 1);
    scavenger_wake(rt);
    lock(&rt->scavenger_lock);
    bool running = rt->scavenger_running;
    rt->scavenger_running = false;
    unlock(&rt->scavenger_lock);
    if (running)
        thread_join(&rt->scavenger);
}
