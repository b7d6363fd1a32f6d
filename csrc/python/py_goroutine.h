/* What the files for goroutines and channels share.
 *
 * A program is one call of gomem.run: a scheduler, and a thread that runs its goroutines, each on a greenlet.
 * Who calls an operation is a goroutine, or a thread that runs none: both have a caller, which holds what is
 * sent or received while the operation is under way, as greenlets' stacks are moved about.
 *
 * An operation: enter gives the caller; values go into its slots; gomem.h says DONE, PARK, PANICS or
 * WOULD_BLOCK; after PARK wait_parked lets others run, or sleeps; leave. Between enter and the operation no
 * Python code may run: it could begin another one with the same caller.
 *
 * Concurrency: a program belongs to its thread. Under the GIL, or on free-threaded builds under the
 * channels' own locks.
 * Go: g, and gopark in proc.go.
 */
#ifndef GOMEM_PYTHON_PY_GOROUTINE_H
#define GOMEM_PYTHON_PY_GOROUTINE_H

#include "python/py_core.h"

struct program;

/* An element on its way: a Python object (a reference), or the bytes of a number. */
union slot {
    PyObject *object;
    unsigned char bytes[16];
};

struct caller {
    struct gomem_g *g;
    struct program *program; /* NULL: a thread, of this: */
    struct state *state;
    union slot slot;         /* of an operation, and of what a select receives */
    union slot *slots;       /* of what a select sends, by case */
    struct gomem_case *cases;
    Py_ssize_t capacity;     /* of both */
    /* Of a goroutine: */
    PyObject *greenlet;      /* where it is parked; NULL: not begun, or running */
    PyObject *function, *args, *kwnames, *context;
    PyObject *code;          /* that has said `go` */
    struct caller *next;     /* in the list of those that can be used again */
    bool cancelled;          /* its parked operation will not happen */
};

/* A channel, or a view of one, by its first field. */
struct py_chan {
    PyObject_HEAD
    struct py_chan *target;  /* itself, borrowed: as of a view */
    struct state *state;
    struct gomem_chan *chan; /* NULL: nil */
    PyObject *type;          /* as it was given */
    PyObject *check;         /* what elements are instances of; NULL: anything */
    PyObject *zero;          /* what a closed channel gives */
    struct py_type *elem;    /* of numbers of a Go type; NULL: Python objects */
    PyObject *weakrefs;
};

/* A channel of which only one direction is to be used. */
struct py_view {
    PyObject_HEAD
    struct py_chan *chan;    /* a reference */
    PyObject *weakrefs;
};

/* What wait_parked answers if an exception ends the wait; the exception is set. */
enum { WAIT_CANCELLED = -1, /* the operation has not happened */
       WAIT_INTERRUPTED = -2 /* it has, as *index and *ok say */ };

/* Who sleeps: a thread's g, or a program's scheduler. */
struct sleeper {
    struct gomem_g *g;
    struct gomem_scheduler *scheduler;
    struct sleeper *next, **link; /* under the GIL, or the state's lock */
};

/* One sleep, from sleep_begin to sleep_end. */
struct sleep {
    struct sleeper *who;
    unsigned checks;
};

/* py_program.c */
/* Who calls; NULL with an exception. */
struct caller *enter(struct state *st);
void leave(struct caller *c);
/* After PARK: GOMEM_DONE, GOMEM_PANICS, or one of the above. */
int wait_parked(struct state *st, struct caller *c, uint32_t *index, bool *ok);
PyObject *raise_panic(struct state *st, struct caller *c);
/* Room for a select of n cases; false with an exception. */
bool caller_reserve(struct caller *c, Py_ssize_t n);
void caller_delete(struct caller *c);
/* Does this thread run goroutines? (Of who is no goroutine himself: a handler of signals, say.) */
bool in_hub(struct state *st);

PyObject *run_program(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *go(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *gosched(PyObject *module, PyObject *unused);
PyObject *num_goroutine(PyObject *module, PyObject *unused);

/* py_wait.c */
struct caller *thread_enter(struct state *st);
void thread_leave(struct caller *c);
/* The thread uses channels: as long as it is awake it may wake others. false with an exception. */
bool thread_note(struct state *st);
/* As wait_parked, for a thread. */
int wait_thread(struct state *st, struct caller *c, uint32_t *index, bool *ok);

void sleep_begin(struct state *st, struct sleep *s, struct sleeper *who);
void sleep_end(struct state *st, struct sleep *s);
/* How long to sleep now, in ns. */
int64_t sleep_time(const struct sleep *s);
/* Before each part of a sleep: 1: all are asleep, 0: not so, or not looked yet; -1 with an exception. */
int sleep_check(struct state *st, struct sleep *s);
/* Raises FatalError with a report; takes rows, which may be NULL with an exception. */
void raise_deadlock(struct state *st, PyObject *rows);
/* A row of a report: (id, status, frame or None, id of who created it, (file, line, function) or None). */
PyObject *describe_goroutine(struct caller *c, PyObject *greenlet);
PyObject *describe_thread(struct caller *c);
uint64_t next_seed(struct state *st);
int goroutines_init(struct state *st);
void goroutines_end(struct state *st);

/* py_chan.c */
extern HIDDEN PyType_Spec chan_spec, send_view_spec, recv_view_spec;
/* The element of a value, with a reference; false with an exception. It may run Python code. */
bool elem_pack(struct py_chan *ch, PyObject *value, union slot *out);
/* The value of an element, whose reference it takes. ok: something was received. */
PyObject *elem_unpack(struct py_chan *ch, const union slot *slot, bool ok);
/* Gives up an element that nobody will receive. */
void elem_drop(struct py_chan *ch, const union slot *slot);
/* py_select.c */
PyObject *select_case(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

#endif
