/* gomem.run: goroutines on greenlets, in one thread.
 *
 * The hub is the greenlet that called run. Who parks switches to the next goroutine himself; the hub is
 * switched to when there is none, and to begin a goroutine on a new greenlet: one that were begun elsewhere
 * would lie on the C stack of whoever did so. A greenlet whose goroutine has ended runs the next one that has
 * not begun, or waits as a worker for one.
 *
 * When main returns, or something is raised and not caught, or all are asleep, the program is over: what is
 * left is raised GreenletExit where it waits, so that finally and with do their work.
 *
 * Concurrency: a program is its thread's. `running` is per thread. With `noted` in py_wait.c, and greenlet's
 * table of functions, which never changes, it is all there is outside of the module's state.
 * Go: main and schedule in proc.go; in Go nothing is unwound at the end.
 */
#include "python/py_goroutine.h"

#include <greenlet/greenlet.h>
#include <sched.h>

enum { MAX_WORKERS = 256 };

struct program {
    struct state *st;
    struct program *outer;   /* of the same thread, in another interpreter */
    struct gomem_scheduler *s;
    PyGreenlet *hub;
    PyObject *work;          /* what greenlets run */
    struct caller *current;  /* who runs; NULL: the hub */
    struct caller *main;     /* NULL: it has ended */
    struct caller *next;     /* whom the hub is to switch to */
    struct caller *callers;  /* to be used again */
    PyObject *workers[MAX_WORKERS];
    int nworkers;
    bool over;
    PyObject *result, *failure;
    struct sleeper sleeper;
};

static _Thread_local struct program *running __attribute__((tls_model("initial-exec")));

PyObject *raise_panic(struct state *st, struct caller *c)
{
    PyErr_SetString(st->panic, gomem_panic_text(c->g));
    return NULL;
}

/* --- Callers --- */

struct caller *enter(struct state *st)
{
    struct program *p = running;
    if (p != NULL && p->st == st && p->current != NULL)
        return p->current;
    return thread_enter(st);
}

void leave(struct caller *c)
{
    if (c->program == NULL)
        thread_leave(c);
}

bool in_hub(struct state *st)
{
    return running != NULL && running->st == st;
}

bool caller_reserve(struct caller *c, Py_ssize_t n)
{
    if (n > c->capacity) {
        union slot *slots = PyMem_Realloc(c->slots, (size_t)n * sizeof *slots);
        if (slots != NULL)
            c->slots = slots;
        struct gomem_case *cases = PyMem_Realloc(c->cases, (size_t)n * sizeof *cases);
        if (cases != NULL)
            c->cases = cases;
        if (slots == NULL || cases == NULL) {
            PyErr_NoMemory();
            return false;
        }
        c->capacity = n;
    }
    if (gomem_select_reserve(c->g, (uint32_t)n))
        return true;
    PyErr_NoMemory();
    return false;
}

void caller_delete(struct caller *c)
{
    PyMem_Free(c->slots);
    PyMem_Free(c->cases);
    PyMem_Free(c);
}

static struct caller *new_caller(struct program *p)
{
    struct caller *c = p->callers;
    if (c != NULL) {
        p->callers = c->next;
        return c;
    }
    c = PyMem_Calloc(1, sizeof *c);
    if (c == NULL)
        PyErr_NoMemory();
    else
        c->program = p;
    return c;
}

/* The goroutine has ended, or never began. */
static void end_goroutine(struct program *p, struct caller *c)
{
    if (c->g != NULL)
        gomem_end(c->g);
    c->g = NULL;
    if (c == p->main)
        p->main = NULL;
    Py_CLEAR(c->greenlet);
    Py_CLEAR(c->function);
    Py_CLEAR(c->args);
    Py_CLEAR(c->kwnames);
    Py_CLEAR(c->context);
    Py_CLEAR(c->code);
    c->next = p->callers;
    p->callers = c;
}

/* --- Switching --- */

static struct caller *data_of(struct gomem_g *g)
{
    return g == NULL ? NULL : gomem_g_data(g);
}

/* Lets n run, or the hub find somebody. Comes back when it is this greenlet's turn again; NULL: with an
 * exception. */
static PyObject *switch_to(struct program *p, struct caller *n)
{
    PyObject *target = (PyObject *)p->hub;
    p->current = n;
    if (n != NULL && n->greenlet != NULL) {
        target = n->greenlet;
    } else if (n != NULL && p->nworkers > 0) {
        target = p->workers[p->nworkers - 1];
    } else {
        p->next = n;
        p->current = NULL;
    }
    return PyGreenlet_Switch((PyGreenlet *)target, NULL, NULL);
}

/* c runs on, out of its turn. A parked operation has not happened (c->cancelled), or somebody finished it and
 * readies c, or has done so: then c is taken out of the queue, and those before it go behind the others. */
static void take_back(struct program *p, struct caller *c)
{
    c->cancelled = gomem_g_state(c->g) == GOMEM_G_WAITING && gomem_cancel(c->g);
    while (!c->cancelled) {
        struct gomem_g *g = gomem_next(p->s, 0);
        if (g == c->g)
            return;
        if (g != NULL)
            gomem_yield(g);
    }
}

static bool refuse_to_park(struct program *p, struct caller *c)
{
    take_back(p, c);
    PyErr_SetNone(PyExc_GreenletExit);
    return false;
}

/* After a switch that came from elsewhere than here. */
static bool came_astray(struct program *p, struct caller *c, bool raised)
{
    p->current = c;
    take_back(p, c);
    if (!raised)
        PyErr_SetString(PyExc_RuntimeError,
                        "the greenlet of a goroutine was switched to from outside gomem");
    return false;
}

/* Lets others run until c is readied; false with an exception. */
static bool park(struct caller *c)
{
    struct program *p = c->program;
    if (p->over)
        return refuse_to_park(p, c);
    struct caller *n = data_of(gomem_next(p->s, 0));
    if (n == c)
        return true;
    c->greenlet = (PyObject *)PyGreenlet_GetCurrent();
    PyObject *result = switch_to(p, n);
    Py_CLEAR(c->greenlet);
    Py_XDECREF(result);
    if (gomem_g_state(c->g) == GOMEM_G_WAITING)
        return came_astray(p, c, result == NULL);
    return result != NULL;
}

int wait_parked(struct state *st, struct caller *c, uint32_t *index, bool *ok)
{
    if (c->program == NULL)
        return wait_thread(st, c, index, ok);
    if (park(c))
        return (int)gomem_finish(c->g, index, ok);
    bool cancelled = c->cancelled;
    c->cancelled = false;
    return !cancelled && gomem_finish(c->g, index, ok) == GOMEM_DONE ? WAIT_INTERRUPTED
                                                                      : WAIT_CANCELLED;
}

/* --- What greenlets run --- */

static void note_failure(struct program *p, struct caller *c)
{
    PyObject *row = describe_goroutine(c, NULL);
    PyObject *pair = row == NULL ? NULL : PyTuple_Pack(2, p->failure, row);
    PyObject *done = pair == NULL ? NULL : call_python("gomem.goroutines", "add_note", pair);
    if (done == NULL)
        PyErr_Clear();
    Py_XDECREF(row);
    Py_XDECREF(pair);
    Py_XDECREF(done);
}

/* Takes the exception of a goroutine that has not caught it; c NULL: of the hub. */
static void fail(struct program *p, struct caller *c)
{
    if (PyErr_ExceptionMatches(PyExc_GreenletExit)) {
        PyErr_Clear();
    } else if (p->over) {
        PyErr_WriteUnraisable(c != NULL ? c->function : NULL);
    } else {
        p->over = true;
        p->failure = take_exception();
        if (c != NULL)
            note_failure(p, c);
    }
}

static void run_goroutine(struct program *p, struct caller *c)
{
    PyObject *result = NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(c->args);
    n -= c->kwnames == NULL ? 0 : PyTuple_GET_SIZE(c->kwnames);
    if (PyContext_Enter(c->context) == 0) {
        PyObject *const *args = &PyTuple_GET_ITEM(c->args, 0);
        result = PyObject_Vectorcall(c->function, args, (size_t)n, c->kwnames);
        PyObject *raised = result == NULL ? take_exception() : NULL;
        if (PyContext_Exit(c->context) < 0)
            PyErr_Clear();
        if (raised != NULL)
            give_exception(raised);
    }
    if (result == NULL)
        fail(p, c);
    if (c == p->main) {
        p->over = true;
        p->result = result;
    } else {
        Py_XDECREF(result);
    }
    end_goroutine(p, c);
}

static PyObject *work(PyObject *capsule, PyObject *unused)
{
    (void)unused;
    struct program *p = PyCapsule_GetPointer(capsule, NULL);
    while (p->current != NULL) {
        run_goroutine(p, p->current);
        p->current = NULL;
        if (p->over)
            break;
        struct caller *n = data_of(gomem_next(p->s, 0));
        if (n != NULL && n->greenlet == NULL) {
            p->current = n;
            continue;
        }
        if (p->nworkers == MAX_WORKERS) {
            p->next = n;
            break;
        }
        p->workers[p->nworkers++] = (PyObject *)PyGreenlet_GetCurrent();
        PyObject *result = switch_to(p, n);
        if (result == NULL) {
            PyErr_Clear();
            break;
        }
        Py_DECREF(result);
        Py_DECREF(p->workers[--p->nworkers]);
    }
    Py_RETURN_NONE;
}

static PyMethodDef work_method = {"goroutine", work, METH_NOARGS, NULL};

/* --- The hub --- */

static void switch_from_hub(struct program *p, struct caller *n)
{
    PyObject *target;
    p->current = n;
    if (n->greenlet != NULL)
        target = Py_NewRef(n->greenlet);
    else if (p->nworkers > 0)
        target = Py_NewRef(p->workers[p->nworkers - 1]);
    else
        target = (PyObject *)PyGreenlet_New(p->work, NULL);
    PyObject *result =
        target == NULL ? NULL : PyGreenlet_Switch((PyGreenlet *)target, NULL, NULL);
    p->current = NULL;
    if (result == NULL)
        fail(p, NULL);
    Py_XDECREF(result);
    Py_XDECREF(target);
}

/* Raises what is set in a goroutine that waits. */
static void throw_into(struct program *p, struct caller *c)
{
    PyObject *e = take_exception();
    if (gomem_g_state(c->g) != GOMEM_G_RUNNING)
        take_back(p, c);
    PyObject *greenlet = Py_NewRef(c->greenlet);
    p->current = c;
    PyObject *result = PyGreenlet_Throw((PyGreenlet *)greenlet, (PyObject *)Py_TYPE(e), e,
                                        PyException_GetTraceback(e));
    p->current = NULL;
    if (result == NULL)
        fail(p, NULL);
    Py_XDECREF(result);
    Py_DECREF(greenlet);
    Py_DECREF(e);
}

/* All goroutines, for a report; NULL with an exception. */
static PyObject *describe_all(struct program *p)
{
    PyObject *rows = PyList_New(0);
    struct gomem_g *g = NULL;
    while (rows != NULL && (g = gomem_each_g(p->s, g)) != NULL) {
        struct caller *c = gomem_g_data(g);
        PyObject *row = describe_goroutine(c, c->greenlet);
        if (row == NULL || PyList_Append(rows, row) < 0)
            Py_CLEAR(rows);
        Py_XDECREF(row);
    }
    return rows;
}

/* Nobody can run: sleeps until somebody outside readies one of them. */
static void idle(struct program *p)
{
    struct sleep s;
    sleep_begin(p->st, &s, &p->sleeper);
    while (p->next == NULL && !p->over) {
        int asleep = sleep_check(p->st, &s);
        if (asleep > 0)
            raise_deadlock(p->st, describe_all(p));
        if (asleep != 0) {
            fail(p, NULL);
            break;
        }
        Py_BEGIN_ALLOW_THREADS
        gomem_wait_for_work(p->s, 0, sleep_time(&s));
        Py_END_ALLOW_THREADS
        p->next = data_of(gomem_next(p->s, 0));
        if (p->next == NULL && PyErr_CheckSignals() < 0) {
            sleep_end(p->st, &s);
            if (p->main != NULL && p->main->greenlet != NULL)
                throw_into(p, p->main);
            else
                fail(p, NULL);
            return;
        }
    }
    sleep_end(p->st, &s);
}

static void run_hub(struct program *p)
{
    while (!p->over) {
        struct caller *n = p->next != NULL ? p->next : data_of(gomem_next(p->s, 0));
        p->next = NULL;
        if (n != NULL)
            switch_from_hub(p, n);
        else
            idle(p);
    }
}

/* Ends what is left, goroutine by goroutine. */
static void end_all(struct program *p)
{
    struct gomem_g *g = NULL;
    p->over = true;
    while ((g = gomem_each_g(p->s, g)) != NULL) {
        struct caller *c = gomem_g_data(g);
        while (gomem_next(p->s, 0) != NULL)
            ; /* whoever could run is to be ended */
        if (c->greenlet != NULL) {
            PyErr_SetNone(PyExc_GreenletExit);
            throw_into(p, c);
        }
        if (gomem_g_state(g) != GOMEM_G_DEAD)
            end_goroutine(p, c);
    }
    while (p->nworkers > 0) {
        PyObject *worker = p->workers[--p->nworkers];
        Py_XDECREF(PyGreenlet_Throw((PyGreenlet *)worker, PyExc_GreenletExit, NULL, NULL));
        PyErr_Clear();
        Py_DECREF(worker);
    }
}

/* --- Functions of the module --- */

static struct gomem_site site_here(struct caller *c)
{
    struct gomem_site site = {0};
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame != NULL) {
        c->code = (PyObject *)PyFrame_GetCode(frame);
#if PY_VERSION_HEX >= 0x030b0000
        site.place = PyFrame_GetLasti(frame);
#else
        site.place = PyFrame_GetLineNumber(frame);
#endif
    }
    site.where = c->code;
    return site;
}

/* Makes a goroutine of a call; NULL with an exception. */
static struct caller *start(struct program *p, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    Py_ssize_t n = nargs - 1 + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    struct caller *c = new_caller(p);
    if (c == NULL)
        return NULL;
    c->function = Py_NewRef(args[0]);
    c->kwnames = Py_XNewRef(kwnames);
    c->context = PyContext_CopyCurrent();
    c->args = PyTuple_New(n);
    if (c->args != NULL && c->context != NULL) {
        for (Py_ssize_t i = 0; i < n; i++)
            PyTuple_SET_ITEM(c->args, i, Py_NewRef(args[i + 1]));
        struct gomem_site site = site_here(c);
        c->g = gomem_go(p->s, 0, p->current == NULL ? NULL : p->current->g, site, c);
        if (c->g != NULL)
            return c;
        PyErr_NoMemory();
    }
    end_goroutine(p, c);
    return NULL;
}

static bool check_callable(const char *what, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > 0 && PyCallable_Check(args[0]))
        return true;
    if (nargs == 0)
        PyErr_Format(PyExc_TypeError, "%s needs a function to call", what);
    else
        PyErr_Format(PyExc_TypeError, "%s needs a function to call, not %.200R", what, args[0]);
    return false;
}

PyObject *go(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct program *p = running;
    if (!check_callable("gomem.go", args, nargs))
        return NULL;
    if (p == NULL || p->st != PyModule_GetState(module)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "gomem.go begins a goroutine of a program: call it inside gomem.run");
        return NULL;
    }
    if (p->over) {
        PyErr_SetString(PyExc_RuntimeError, "gomem.go: the program is over");
        return NULL;
    }
    if (start(p, args, nargs, kwnames) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *gosched(PyObject *module, PyObject *unused)
{
    (void)unused;
    struct program *p = running;
    struct caller *c = p != NULL && p->st == PyModule_GetState(module) ? p->current : NULL;
    if (c == NULL) {
        Py_BEGIN_ALLOW_THREADS
        (void)sched_yield();
        Py_END_ALLOW_THREADS
        Py_RETURN_NONE;
    }
    gomem_yield(c->g);
    if (!park(c)) {
        c->cancelled = false;
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *num_goroutine(PyObject *module, PyObject *unused)
{
    (void)unused;
    struct program *p = running;
    bool runs = p != NULL && p->st == PyModule_GetState(module);
    return PyLong_FromUnsignedLongLong(runs ? gomem_num_goroutine(p->s) : 0);
}

/* Each interpreter asks for itself: greenlet refuses those in which it cannot work. */
static bool import_greenlet(struct state *st)
{
    if (st->has_greenlet)
        return true;
    void **api = PyCapsule_Import("greenlet._C_API", 0);
    if (api == NULL)
        return false;
    _PyGreenlet_API = api;
    st->has_greenlet = true;
    return true;
}

static bool open_program(struct program *p, struct state *st)
{
    struct gomem_error err;
    p->st = st;
    p->hub = PyGreenlet_GetCurrent();
    PyObject *capsule = PyCapsule_New(p, NULL, NULL);
    p->work = capsule == NULL ? NULL : PyCFunction_New(&work_method, capsule);
    Py_XDECREF(capsule);
    if (p->hub == NULL || p->work == NULL)
        return false;
    if (gomem_scheduler_new(1, next_seed(st), &p->s, &err) == GOMEM_OK)
        return true;
    (void)raise_error(st, &err);
    return false;
}

static void close_program(struct program *p)
{
    struct caller *c;
    while ((c = p->callers) != NULL) {
        p->callers = c->next;
        caller_delete(c);
    }
    if (p->s != NULL)
        gomem_scheduler_delete(p->s);
    Py_XDECREF(p->work);
    Py_XDECREF(p->hub);
    PyMem_Free(p);
}

PyObject *run_program(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct state *st = PyModule_GetState(module);
    if (!check_callable("gomem.run", args, nargs) || !import_greenlet(st) || !thread_note(st))
        return NULL;
    if (running != NULL && running->st == st) {
        PyErr_SetString(PyExc_RuntimeError, "gomem.run: a program runs in this thread already; "
                                            "gomem.go begins another goroutine of it");
        return NULL;
    }
    struct program *p = PyMem_Calloc(1, sizeof *p);
    if (p == NULL)
        return PyErr_NoMemory();
    if (open_program(p, st)) {
        p->sleeper.scheduler = p->s;
        p->outer = running;
        running = p;
        p->main = start(p, args, nargs, kwnames);
        if (p->main != NULL)
            run_hub(p);
        else
            fail(p, NULL);
        end_all(p);
        running = p->outer;
    } else {
        p->failure = take_exception();
    }
    PyObject *result = p->result, *failure = p->failure;
    close_program(p);
    if (failure == NULL)
        return result != NULL ? result : Py_NewRef(Py_None);
    Py_XDECREF(result);
    give_exception(failure);
    return NULL;
}
