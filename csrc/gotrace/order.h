/* In which order events of different threads can have happened.
 *
 * The times of events do not tell it quite: a thread may lose its CPU between taking the time and
 * doing what it took the time of, and clocks get ahead (waiting.h). What tells it is which P and
 * which goroutine each thread has, in which state they are, and sequence numbers: a goroutine
 * starts only when it is runnable, and events that move a goroutine or a P from one thread to
 * another are counted. order_advance knows all that and says of an event whether it can come next.
 *
 * Where there is a part of a trace only, an event may wait for one that is not in the file. Such
 * events are forced. Which P a thread has is then still right: the thread's own events tell it.
 *
 * What does not decide about the order is not looked at: ranges (of sweeping, say) that end without
 * having begun, tasks, regions, strings and stacks that are in no table. Go's reader refuses these.
 *
 * Called by events.c for every event that is not of the allocation experiment: those happen on any
 * thread at any time.
 *
 * Concurrency: none; owned by the reader.
 * Go: internal/trace/order.go; tracev2/events.go.
 */
#ifndef GOMEM_GOTRACE_ORDER_H
#define GOMEM_GOTRACE_ORDER_H

#include "gotrace/resources.h"

enum {
    EV_PROCS_CHANGE = 9,
    EV_PROC_START,
    EV_PROC_STOP,
    EV_PROC_STEAL,
    EV_PROC_STATUS,
    EV_GO_CREATE,
    EV_GO_CREATE_SYSCALL,
    EV_GO_START,
    EV_GO_DESTROY,
    EV_GO_DESTROY_SYSCALL,
    EV_GO_STOP,
    EV_GO_BLOCK,
    EV_GO_UNBLOCK,
    EV_GO_SYSCALL_BEGIN,
    EV_GO_SYSCALL_END,
    EV_GO_SYSCALL_END_BLOCKED,
    EV_GO_STATUS,
    EV_STW_BEGIN,
    EV_STW_END,
    EV_GC_ACTIVE,
    EV_GC_BEGIN,
    EV_GC_END,
    EV_GC_SWEEP_ACTIVE,
    EV_GC_SWEEP_BEGIN,
    EV_GC_SWEEP_END,
    EV_GC_MARK_ASSIST_ACTIVE,
    EV_GC_MARK_ASSIST_BEGIN,
    EV_GC_MARK_ASSIST_END,
    EV_HEAP_ALLOC,
    EV_HEAP_GOAL,
    EV_GO_LABEL,
    EV_USER_TASK_BEGIN,
    EV_USER_TASK_END,
    EV_USER_REGION_BEGIN,
    EV_USER_REGION_END,
    EV_USER_LOG,
    EV_GO_SWITCH,
    EV_GO_SWITCH_DESTROY,
    EV_GO_CREATE_BLOCKED,
    EV_GO_STATUS_STACK,
    EV_SCHEDULE_END, /* those of the allocation experiment have higher numbers */
};

struct order {
    struct resources all;
    uint64_t gc_sequence;
    unsigned gc;
    uint32_t generation, first_generation; /* the one at hand, the first with events */
    unsigned extra; /* how many more events Go's reader has made of the last ones */
    struct {        /* why the last event did not come (order_explain) */
        unsigned check;
        const char *text;
    } missed;
};

enum order_verdict {
    ORDER_CAME,
    ORDER_WAITS,      /* for an event of another thread */
    ORDER_IMPOSSIBLE, /* whatever other threads do */
    ORDER_UNREADABLE, /* impossible even if forced */
    ORDER_NO_MEMORY,
};

/* The threads must stay where they are, and be sorted by m. false: out of memory; to be freed
 * anyway. */
MUST_USE bool order_init(struct order *o, struct thread *threads, size_t nthreads);
void order_free(struct order *o);

/* Lets the event happen if it can come next: its type, and up to 4 arguments behind the time.
 * Unless it came, nothing has changed. */
MUST_USE enum order_verdict order_advance(struct order *o, struct thread *t, unsigned type,
                                          const uint64_t *args);
/* Lets it happen although it can not come next. pre: order_advance said that it waits or is
 * impossible. */
MUST_USE COLD enum order_verdict order_force(struct order *o, struct thread *t, unsigned type,
                                             const uint64_t *args);
enum { WAITS_FOR_NOTHING, WAITS_FOR_GOROUTINE, WAITS_FOR_PROC, WAITS_FOR_GC };

/* Did the thread's next event wait when it was tried, for something that has not changed since? */
static inline bool order_still_waits(const struct order *o, const struct thread *t)
{
    switch (t->waits_for) {
    case WAITS_FOR_GOROUTINE:
        return o->all.goroutines[t->waits_on].version == t->waits_version;
    case WAITS_FOR_PROC:
        return o->all.procs[t->waits_on].version == t->waits_version;
    case WAITS_FOR_GC:
        return o->gc_sequence == t->waits_version;
    default:
        return false;
    }
}

/* What the event expected that did not come just now, as "expected <text>". */
COLD void order_explain(struct order *o, const struct thread *t, unsigned type,
                        const uint64_t *args, char *text, size_t size);

#endif
