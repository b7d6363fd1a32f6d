/* The rules of the order.
 *
 * Called through order.h.
 *
 * A row of the table says what an event expects and what it does. What does not fit into a row is
 * in check_special and do_special.
 *
 * Concurrency: see order.h.
 * Go: see order.h; runtime/traceruntime.go and tracestatus.go write these events.
 */
#include "gotrace/order.h"

#include <inttypes.h>
#include <stdio.h>

/* States, as traces have them. */
enum { NONE, RUNNABLE, RUNNING, SYSCALL, WAITING, GOROUTINE_STATES };
enum { P_RUNNING = 1, P_IDLE, P_SYSCALL, P_ABANDONED, PROC_STATES };
enum { GC_UNKNOWN, GC_OFF, GC_ON };

enum { SAME = 0, GONE = GOROUTINE_STATES }; /* what something becomes, besides */

#define IS(state) (1 << (state))
#define ANY       0xff
#define SOME      (ANY & ~IS(NONE))
#define NO_THREAD UINT64_MAX

/* What an event's first argument is the number of. Of a GOROUTINE or a PROC the second one numbers
 * the events. */
enum { NOTHING, NEW, GOROUTINE, STATUS_OF_PROC, PROC };

/* What else an event does, as bits. */
enum {
    TAKES_P = 1, /* the thread has the P that is named now */
    DROPS_P = 2,
    TAKES_G = 4,
    DROPS_G = 8,
    IN = 16, /* the thread is in a system call now */
    OUT = 32,
    P_WAITS = 64, /* until the thread's P is as it must be */
    SPECIAL = 128,
};

struct change {
    uint8_t from, to; /* states, as bits; the state afterwards */
};

struct rule {
    uint8_t names;
    struct change named, own, proc; /* what is named; the thread's goroutine; its P */
    uint8_t does;
};

#define NO_ONE   {0, SAME}
#define ANYONE   {ANY, SAME}
#define SOMEONE  {SOME, SAME}
#define NEITHER  {IS(NONE), SAME}
#define A_RUNNER {IS(NONE) | IS(RUNNING), SAME}

/* clang-format off */
static const struct rule rules[EV_SCHEDULE_END] = {
    [EV_PROC_START]  = {PROC, {IS(P_IDLE), P_RUNNING}, ANYONE, NEITHER, TAKES_P | OUT | P_WAITS},
    [EV_PROC_STOP]   = {NOTHING, NO_ONE, ANYONE, {IS(P_RUNNING) | IS(P_SYSCALL), P_IDLE}, DROPS_P},
    [EV_PROC_STEAL]  = {PROC, {IS(P_SYSCALL) | IS(P_ABANDONED), P_IDLE}, ANYONE, ANYONE, SPECIAL},
    [EV_PROC_STATUS] = {STATUS_OF_PROC, NO_ONE, ANYONE, ANYONE, SPECIAL},

    [EV_GO_CREATE]         = {NEW, {IS(NONE), RUNNABLE}, A_RUNNER, SOMEONE, 0},
    [EV_GO_CREATE_BLOCKED] = {NEW, {IS(NONE), WAITING}, A_RUNNER, SOMEONE, 0},
    [EV_GO_START]     = {GOROUTINE, {IS(RUNNABLE), RUNNING}, NEITHER, SOMEONE, TAKES_G},
    [EV_GO_UNBLOCK]   = {GOROUTINE, {IS(WAITING), RUNNABLE}, ANYONE, ANYONE, 0},
    [EV_GO_STOP]      = {NOTHING, NO_ONE, {IS(RUNNING), RUNNABLE}, SOMEONE, DROPS_G},
    [EV_GO_BLOCK]     = {NOTHING, NO_ONE, {IS(RUNNING), WAITING}, SOMEONE, DROPS_G},
    [EV_GO_DESTROY]   = {NOTHING, NO_ONE, {IS(RUNNING), GONE}, SOMEONE, DROPS_G},
    [EV_GO_SWITCH]    = {GOROUTINE, {IS(WAITING), RUNNING}, {IS(RUNNING), WAITING}, SOMEONE,
                         TAKES_G | SPECIAL},
    [EV_GO_SWITCH_DESTROY] = {GOROUTINE, {IS(WAITING), RUNNING}, {IS(RUNNING), GONE}, SOMEONE,
                              TAKES_G | SPECIAL},
    [EV_GO_STATUS]         = {NOTHING, NO_ONE, ANYONE, ANYONE, SPECIAL},
    [EV_GO_STATUS_STACK]   = {NOTHING, NO_ONE, ANYONE, ANYONE, SPECIAL},

    [EV_GO_SYSCALL_BEGIN]  = {NOTHING, NO_ONE, {IS(RUNNING), SYSCALL}, {SOME, P_SYSCALL},
                              IN | SPECIAL},
    [EV_GO_SYSCALL_END]    = {NOTHING, NO_ONE, {IS(SYSCALL), RUNNING}, {IS(P_SYSCALL), P_RUNNING},
                              OUT},
    [EV_GO_SYSCALL_END_BLOCKED] = {NOTHING, NO_ONE, {IS(SYSCALL), RUNNABLE},
                                   {ANY & ~IS(P_SYSCALL), SAME}, DROPS_G | OUT | P_WAITS | SPECIAL},
    [EV_GO_CREATE_SYSCALL]  = {NEW, {IS(NONE), SYSCALL}, NEITHER, ANYONE, TAKES_G},
    [EV_GO_DESTROY_SYSCALL] = {NOTHING, NO_ONE, {IS(SYSCALL), GONE},
                               {IS(NONE) | IS(P_SYSCALL), P_ABANDONED}, DROPS_G | DROPS_P | SPECIAL},

    [EV_GC_ACTIVE] = {NOTHING, NO_ONE, ANYONE, ANYONE, SPECIAL},
    [EV_GC_BEGIN]  = {NOTHING, NO_ONE, ANYONE, ANYONE, SPECIAL},
    [EV_GC_END]    = {NOTHING, NO_ONE, ANYONE, ANYONE, SPECIAL},

    [EV_GC_SWEEP_ACTIVE] = {NOTHING, NO_ONE, ANYONE, ANYONE, 0},
    [EV_GC_SWEEP_BEGIN]  = {NOTHING, NO_ONE, ANYONE, SOMEONE, 0},
    [EV_GC_SWEEP_END]    = {NOTHING, NO_ONE, ANYONE, SOMEONE, 0},
    [EV_HEAP_ALLOC]      = {NOTHING, NO_ONE, ANYONE, SOMEONE, 0},
    [EV_HEAP_GOAL]       = {NOTHING, NO_ONE, ANYONE, SOMEONE, 0},

    [EV_GC_MARK_ASSIST_ACTIVE] = {NOTHING, NO_ONE, ANYONE, ANYONE, 0},
    [EV_GC_MARK_ASSIST_BEGIN]  = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_GC_MARK_ASSIST_END]    = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_STW_BEGIN]             = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_STW_END]               = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_PROCS_CHANGE]          = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_GO_LABEL]              = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_USER_TASK_BEGIN]       = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_USER_TASK_END]         = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_USER_REGION_BEGIN]     = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_USER_REGION_END]       = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
    [EV_USER_LOG]              = {NOTHING, NO_ONE, SOMEONE, SOMEONE, 0},
};
/* clang-format on */

bool order_init(struct order *o, struct thread *threads, size_t nthreads)
{
    *o = (struct order){.first_generation = UINT32_MAX};
    return resources_init(&o->all, threads, nthreads);
}

void order_free(struct order *o)
{
    resources_free(&o->all);
}

static ALWAYS_INLINE struct resource *find_named(struct order *o, unsigned names, uint64_t id)
{
    return names >= STATUS_OF_PROC ? proc_find(&o->all, id) : goroutine_find(&o->all, id);
}

/* The same, made if it is not there; NULL: out of memory. */
static ALWAYS_INLINE struct resource *get_named(struct order *o, unsigned names, uint64_t id)
{
    struct resource *named = find_named(o, names, id);
    if (LIKELY(named->status != NONE))
        return named;
    return names >= STATUS_OF_PROC ? proc_make(&o->all, id) : goroutine_make(&o->all, id);
}

/* --- What an event expects --- */

enum { MISSED_NAMED, MISSED_NUMBER, MISSED_STATE, MISSED_OWN, MISSED_PROC, MISSED_TEXT };

static const char too_large[] = "a P of at most 32767";

static COLD enum order_verdict miss(struct order *o, unsigned check, enum order_verdict verdict)
{
    o->missed.check = check;
    return verdict;
}

static COLD enum order_verdict miss_text(struct order *o, const char *text,
                                         enum order_verdict verdict)
{
    o->missed.text = text;
    return miss(o, MISSED_TEXT, verdict);
}

/* It waits until something happens to the goroutine or the P. */
static COLD enum order_verdict wait_for(const struct order *o, struct thread *t, bool is_proc,
                                        const struct resource *on)
{
    t->waits_for = is_proc ? WAITS_FOR_PROC : WAITS_FOR_GOROUTINE;
    t->waits_on = (uint32_t)(on - (is_proc ? o->all.procs : o->all.goroutines));
    t->waits_version = on->version;
    return ORDER_WAITS;
}

static bool is_too_large(const struct rule *rule, uint64_t id)
{
    return rule->names >= STATUS_OF_PROC && id > MAX_PROC;
}

static COLD enum order_verdict miss_named(struct order *o, struct thread *t,
                                          const struct rule *rule, const struct resource *named,
                                          uint64_t id)
{
    if (is_too_large(rule, id))
        return miss_text(o, too_large, ORDER_UNREADABLE);
    bool number = rule->named.from >> named->status & 1;
    o->missed.check = number ? MISSED_NUMBER : MISSED_NAMED;
    return rule->names == NEW ? ORDER_IMPOSSIBLE : wait_for(o, t, rule->names == PROC, named);
}

static COLD enum order_verdict miss_own(struct order *o, struct thread *t, const struct rule *rule,
                                        const struct resource *proc)
{
    if (rule->proc.from >> proc->status & 1)
        return miss(o, MISSED_OWN, ORDER_IMPOSSIBLE);
    o->missed.check = MISSED_PROC;
    return rule->does & P_WAITS ? wait_for(o, t, true, proc) : ORDER_IMPOSSIBLE;
}

static ALWAYS_INLINE bool is_next(const struct order *o, const struct resource *r, uint64_t number)
{
    return r->generation == o->generation && number == r->sequence + 1;
}

/* pre: the P is in a system call or was abandoned in one. */
static enum order_verdict check_steal(struct order *o, const struct thread *t, const uint64_t *args)
{
    if (proc_find(&o->all, args[0])->status == P_ABANDONED)
        return ORDER_CAME;
    const struct thread *from = args[2] == t->m ? t : thread_find(&o->all, args[2]);
    if (from == NULL || from->proc != (int64_t)args[0])
        return miss_text(o, "the P that is stolen on the thread it is stolen from",
                         ORDER_IMPOSSIBLE);
    return ORDER_CAME;
}

static enum order_verdict check_proc_status(struct order *o, const uint64_t *args)
{
    unsigned before = proc_find(&o->all, args[0])->status;
    if (args[0] > MAX_PROC)
        return miss_text(o, too_large, ORDER_UNREADABLE);
    if (args[1] == NONE || args[1] >= PROC_STATES)
        return miss_text(o, "a state of a P from 1 to 4", ORDER_IMPOSSIBLE);
    /* A P that is known to be in a system call may be told to be abandoned: it will be stolen. */
    if (before != NONE && before != args[1] && !(before == P_SYSCALL && args[1] == P_ABANDONED))
        return miss(o, MISSED_STATE, ORDER_IMPOSSIBLE);
    return ORDER_CAME;
}

static enum order_verdict check_go_status(struct order *o, const struct thread *t,
                                          const uint64_t *args)
{
    unsigned before = goroutine_find(&o->all, args[0])->status;
    bool first = o->generation == o->first_generation;
    if (args[2] == NONE || args[2] >= GOROUTINE_STATES)
        return miss_text(o, "a state of a goroutine from 1 to 4", ORDER_IMPOSSIBLE);
    if (before == NONE ? !first : before != args[2])
        return miss(o, MISSED_STATE, ORDER_IMPOSSIBLE);
    if (args[2] != SYSCALL)
        return ORDER_CAME;
    const struct thread *on = args[1] == t->m ? t : thread_find(&o->all, args[1]);
    bool known = on == t ? !first : on != NULL && on->seen;
    if (args[1] == NO_THREAD || (known && (on->slot == 0 || on->goroutine != args[0])))
        return miss_text(o, "the thread on which the goroutine is in a system call",
                         ORDER_IMPOSSIBLE);
    return ORDER_CAME;
}

static enum order_verdict check_gc(struct order *o, struct thread *t, unsigned type,
                                   uint64_t number)
{
    if (type == EV_GC_ACTIVE && o->generation == o->first_generation)
        return o->gc == GC_UNKNOWN ? ORDER_CAME
                                   : miss_text(o, "no earlier event of a cycle", ORDER_IMPOSSIBLE);
    if (type == EV_GC_BEGIN && o->gc == GC_UNKNOWN)
        return ORDER_CAME;
    t->waits_for = WAITS_FOR_GC;
    t->waits_version = o->gc_sequence;
    if (number != o->gc_sequence + 1)
        return miss_text(o, "the collector's events before this one", ORDER_WAITS);
    if (o->gc != (type == EV_GC_BEGIN ? GC_OFF : GC_ON))
        return miss_text(o, type == EV_GC_BEGIN ? "no cycle under way" : "a cycle under way",
                         ORDER_IMPOSSIBLE);
    if (thread_proc(&o->all, t)->status == NONE || thread_goroutine(&o->all, t)->status == NONE)
        return miss_text(o, "a goroutine and a P on the thread of the event", ORDER_IMPOSSIBLE);
    return ORDER_CAME;
}

static enum order_verdict check_special(struct order *o, struct thread *t, unsigned type,
                                        const uint64_t *args)
{
    switch (type) {
    case EV_PROC_STEAL:
        return check_steal(o, t, args);
    case EV_PROC_STATUS:
        return check_proc_status(o, args);
    case EV_GO_STATUS:
    case EV_GO_STATUS_STACK:
        return check_go_status(o, t, args);
    case EV_GO_SYSCALL_BEGIN:
        if (!is_next(o, thread_proc(&o->all, t), args[0]))
            return miss_text(o, "the next number of the thread's P", ORDER_IMPOSSIBLE);
        return ORDER_CAME;
    case EV_GC_ACTIVE:
    case EV_GC_BEGIN:
    case EV_GC_END:
        return check_gc(o, t, type, args[0]);
    default:
        return ORDER_CAME;
    }
}

/* --- What an event does --- */

/* A thread loses its P by its own doing, or while it is in a system call. That it did is seen again
 * when the call ends: a steal that was forced need not have come when it should have. */
static void steal(struct order *o, struct thread *t, const uint64_t *args, bool forced)
{
    struct thread *from = args[2] == t->m ? t : thread_find(&o->all, args[2]);
    if (from == NULL || from->proc != (int64_t)args[0] || (forced && from != t) ||
        (!forced && proc_find(&o->all, args[0])->status == P_ABANDONED))
        return;
    from->proc = -1;
}

static bool set_proc_status(struct order *o, struct thread *t, const uint64_t *args)
{
    if (args[1] == NONE || args[1] >= PROC_STATES)
        return true;
    struct resource *p = get_named(o, PROC, args[0]);
    if (p == NULL)
        return false;
    if (!(p->status == P_SYSCALL && args[1] == P_ABANDONED))
        p->status = (uint32_t)args[1];
    p->sequence = 0;
    p->generation = o->generation;
    p->version++;
    if (args[1] != P_RUNNING && args[1] != P_SYSCALL)
        return true;
    t->proc = (int16_t)args[0];
    t->in_syscall = args[1] == P_SYSCALL;
    return true;
}

static bool set_go_status(struct order *o, struct thread *t, const uint64_t *args)
{
    if (args[2] == NONE || args[2] >= GOROUTINE_STATES)
        return true;
    struct resource *g = get_named(o, GOROUTINE, args[0]);
    if (g == NULL)
        return false;
    g->status = (uint32_t)args[2];
    g->sequence = 0;
    g->generation = o->generation;
    g->version++;
    struct thread *on = t;
    if (args[2] == SYSCALL && args[1] != t->m)
        on = thread_find(&o->all, args[1]);
    else if (args[2] != RUNNING && args[2] != SYSCALL)
        return true;
    if (on == NULL || (on != t && on->seen))
        return true;
    on->seen = true;
    thread_set_goroutine(&o->all, on, g);
    return true;
}

/* Before all else that the event does; if it was forced to, perhaps nothing. false: out of memory.
 */
static bool do_special(struct order *o, struct thread *t, unsigned type, const uint64_t *args,
                       bool forced)
{
    switch (type) {
    case EV_PROC_STEAL:
        steal(o, t, args, forced);
        return true;
    case EV_PROC_STATUS:
        return set_proc_status(o, t, args);
    case EV_GO_STATUS:
    case EV_GO_STATUS_STACK:
        return set_go_status(o, t, args);
    case EV_GO_SYSCALL_BEGIN:
        if (t->proc >= 0) {
            thread_proc(&o->all, t)->sequence = args[0];
            thread_proc(&o->all, t)->generation = o->generation;
        }
        return true;
    case EV_GO_SYSCALL_END_BLOCKED:
        if (t->in_syscall)
            t->proc = -1;
        return true;
    case EV_GO_SWITCH:
    case EV_GO_SWITCH_DESTROY:
        o->extra += 2; /* the end of one goroutine's turn, the beginning of the other one's */
        return true;
    case EV_GO_DESTROY_SYSCALL:
        o->extra += t->proc >= 0; /* a steal */
        return true;
    default:
        o->gc_sequence = args[0];
        o->gc = type == EV_GC_END ? GC_OFF : GC_ON;
        return true;
    }
}

/* All else. The goroutine and the P of the thread may be none. */
static ALWAYS_INLINE enum order_verdict do_rule(struct order *o, struct thread *t,
                                                const struct rule *rule, struct resource *own,
                                                struct resource *proc, const uint64_t *args)
{
    struct resource *named = NULL;
    unsigned does = rule->does;
    if (rule->proc.to != SAME && proc->status != NONE) {
        proc->status = rule->proc.to;
        proc->version++;
    }
    if (rule->own.to == GONE && own->status != NONE) {
        goroutine_end(&o->all, own);
    } else if (rule->own.to != SAME && own->status != NONE) {
        own->status = rule->own.to;
        own->version++;
    }
    if (rule->named.to != SAME) {
        named = get_named(o, rule->names, args[0]);
        if (UNLIKELY(named == NULL))
            return ORDER_NO_MEMORY;
        named->status = rule->named.to;
        named->sequence = rule->names == NEW ? 0 : args[1];
        named->generation = o->generation;
        named->version++;
    }
    if (does & TAKES_G)
        thread_set_goroutine(&o->all, t, named);
    else if (does & DROPS_G)
        thread_set_goroutine(&o->all, t, &o->all.goroutines[0]);
    if (does & (TAKES_P | DROPS_P))
        t->proc = does & TAKES_P ? (int16_t)args[0] : -1;
    if (does & (IN | OUT))
        t->in_syscall = does & IN;
    return ORDER_CAME;
}

static ALWAYS_INLINE enum order_verdict advance(struct order *o, struct thread *t, unsigned type,
                                                const struct rule *rule, const uint64_t *args)
{
    struct resource *own = thread_goroutine(&o->all, t), *proc = thread_proc(&o->all, t);
    if (rule->named.from != 0) {
        const struct resource *named = find_named(o, rule->names, args[0]);
        if (UNLIKELY(!(rule->named.from >> named->status & 1) ||
                     (rule->names != NEW && !is_next(o, named, args[1]))))
            return miss_named(o, t, rule, named, args[0]);
    }
    if (UNLIKELY(!(rule->proc.from >> proc->status & rule->own.from >> own->status & 1)))
        return miss_own(o, t, rule, proc);
    if (rule->does & SPECIAL) {
        enum order_verdict verdict = check_special(o, t, type, args);
        if (verdict != ORDER_CAME)
            return verdict;
        if (!do_special(o, t, type, args, false))
            return ORDER_NO_MEMORY;
    }
    return do_rule(o, t, rule, own, proc, args);
}

enum order_verdict order_advance(struct order *o, struct thread *t, unsigned type,
                                 const uint64_t *args)
{
    t->seen = true;
    switch (type) { /* for those that there are many of, the compiler knows the row */
    case EV_GO_START:
        return advance(o, t, EV_GO_START, &rules[EV_GO_START], args);
    case EV_GO_STOP:
        return advance(o, t, EV_GO_STOP, &rules[EV_GO_STOP], args);
    case EV_GO_BLOCK:
        return advance(o, t, EV_GO_BLOCK, &rules[EV_GO_BLOCK], args);
    case EV_GO_UNBLOCK:
        return advance(o, t, EV_GO_UNBLOCK, &rules[EV_GO_UNBLOCK], args);
    case EV_GO_SYSCALL_BEGIN:
        return advance(o, t, EV_GO_SYSCALL_BEGIN, &rules[EV_GO_SYSCALL_BEGIN], args);
    case EV_GO_SYSCALL_END:
        return advance(o, t, EV_GO_SYSCALL_END, &rules[EV_GO_SYSCALL_END], args);
    default:
        return advance(o, t, type, &rules[type], args);
    }
}

enum order_verdict order_force(struct order *o, struct thread *t, unsigned type,
                               const uint64_t *args)
{
    const struct rule *rule = &rules[type];
    t->seen = true;
    t->waits_for = WAITS_FOR_NOTHING;
    ASSERT(!is_too_large(rule, args[0]));
    if (rule->does & SPECIAL && !do_special(o, t, type, args, true))
        return ORDER_NO_MEMORY;
    return do_rule(o, t, rule, thread_goroutine(&o->all, t), thread_proc(&o->all, t), args);
}

/* --- Why not --- */

static const char *const goroutine_states[] = {"none", "runnable", "running", "in a system call",
                                               "waiting"};
static const char *const proc_states[] = {"none", "running", "idle", "in a system call",
                                          "abandoned in a system call"};

/* "what to be a or b, not c" */
static void explain_state(const char *what, unsigned expected, unsigned is,
                          const char *const *names, char *text, size_t size)
{
    char states[100] = "";
    size_t length = 0;
    for (unsigned i = 0; i < GOROUTINE_STATES; i++)
        if (expected >> i & 1)
            length += (size_t)snprintf(states + length, sizeof states - length, "%s%s",
                                       length > 0 ? " or " : "", names[i]);
    snprintf(text, size, "%s to be %s, not %s", what, expected == SOME ? "there" : states,
             names[is]);
}

void order_explain(struct order *o, const struct thread *t, unsigned type, const uint64_t *args,
                   char *text, size_t size)
{
    const struct rule *rule = &rules[type];
    bool is_proc = rule->names >= STATUS_OF_PROC;
    const char *const *states = is_proc ? proc_states : goroutine_states;
    const struct resource *named = &o->all.goroutines[0];
    char what[60];
    if (o->missed.check <= MISSED_STATE) {
        snprintf(what, sizeof what, "%s %" PRIu64, is_proc ? "P" : "goroutine", args[0]);
        named = find_named(o, rule->names, args[0]);
    }
    switch (o->missed.check) {
    case MISSED_NAMED:
        explain_state(what, rule->named.from, named->status, states, text, size);
        return;
    case MISSED_NUMBER:
        snprintf(text, size, "event %" PRIu64 " of %s to come after its event %" PRIu64, args[1],
                 what, named->generation == o->generation ? named->sequence : 0);
        return;
    case MISSED_STATE:
        explain_state(what, IS(named->status), (unsigned)args[is_proc ? 1 : 2], states, text, size);
        return;
    case MISSED_OWN:
        snprintf(what, sizeof what, "the goroutine of thread %" PRIu64, t->m);
        explain_state(what, rule->own.from, thread_goroutine(&o->all, t)->status, goroutine_states,
                      text, size);
        return;
    case MISSED_PROC:
        snprintf(what, sizeof what, "the P of thread %" PRIu64, t->m);
        explain_state(what, rule->proc.from, thread_proc(&o->all, t)->status, proc_states, text,
                      size);
        return;
    default:
        snprintf(text, size, "%s", o->missed.text);
    }
}
