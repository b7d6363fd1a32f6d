/* Threads that sleep in an operation, and whether anybody is left to wake them.
 *
 * A thread that runs no goroutines blocks as a whole, without the GIL. Such threads, and programs none of
 * whose goroutines can run, are sleepers. When every thread of the interpreter is one, nobody can wake
 * anybody: Go's deadlock. Threads that were there before gomem was imported, and have never used a channel,
 * do not count: notebooks and test runners have some, which wait for their own things for ever.
 *
 * Concurrency: the list of sleepers is under the GIL, or state_lock on free-threaded builds.
 * Go: notesleep; checkdead in proc.go.
 */
#include "python/py_goroutine.h"

enum {
    SOON_NS = 10000000,   /* a sleeper first looks whether all are asleep after so long */
    LATER_NS = 50000000,  /* and then every so often; it also looks for signals */
};

#ifdef Py_GIL_DISABLED
#define STATE_LOCK(st)   PyMutex_Lock(&(st)->mutex)
#define STATE_UNLOCK(st) PyMutex_Unlock(&(st)->mutex)
#else
#define STATE_LOCK(st)   ((void)(st))
#define STATE_UNLOCK(st) ((void)(st))
#endif

uint64_t next_seed(struct state *st)
{
    STATE_LOCK(st);
    uint64_t seed = st->seed += 0x9e3779b97f4a7c15u;
    STATE_UNLOCK(st);
    return seed;
}

/* --- Callers of threads --- */

/* Of this thread it is noted there that it uses channels: most calls need not ask. */
static _Thread_local struct state *noted __attribute__((tls_model("initial-exec")));

bool thread_note(struct state *st)
{
    if (noted == st)
        return true;
    PyObject *id = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    int found = id == NULL ? -1 : PySet_Discard(st->bystanders, id);
    Py_XDECREF(id);
    if (found >= 0)
        noted = st;
    return found >= 0;
}

struct caller *thread_enter(struct state *st)
{
    if (!thread_note(st))
        return NULL;
    STATE_LOCK(st);
    struct caller *c = st->callers;
    if (c != NULL)
        st->callers = c->next;
    STATE_UNLOCK(st);
    if (c != NULL)
        return c;
    c = PyMem_Calloc(1, sizeof *c);
    if (c != NULL)
        c->g = gomem_thread_new(next_seed(st));
    if (c != NULL && c->g != NULL) {
        c->state = st;
        return c;
    }
    PyMem_Free(c);
    PyErr_NoMemory();
    return NULL;
}

void thread_leave(struct caller *c)
{
    struct state *st = c->state;
    STATE_LOCK(st);
    c->next = st->callers;
    st->callers = c;
    STATE_UNLOCK(st);
}

/* --- Sleepers --- */

void sleep_begin(struct state *st, struct sleep *s, struct sleeper *who)
{
    *s = (struct sleep){.who = who};
    STATE_LOCK(st);
    who->next = st->sleepers;
    who->link = &st->sleepers;
    if (who->next != NULL)
        who->next->link = &who->next;
    st->sleepers = who;
    STATE_UNLOCK(st);
}

void sleep_end(struct state *st, struct sleep *s)
{
    STATE_LOCK(st);
    *s->who->link = s->who->next;
    if (s->who->next != NULL)
        s->who->next->link = s->who->link;
    STATE_UNLOCK(st);
}

int64_t sleep_time(const struct sleep *s)
{
    return s->checks <= 1 ? SOON_NS : LATER_NS;
}

/* How many sleep, and have not been woken. */
static Py_ssize_t count_sleepers(struct state *st)
{
    Py_ssize_t n = 0;
    STATE_LOCK(st);
    for (const struct sleeper *s = st->sleepers; s != NULL; s = s->next)
        n += s->g != NULL ? gomem_g_state(s->g) == GOMEM_G_WAITING
                          : !gomem_has_work(s->scheduler);
    STATE_UNLOCK(st);
    return n;
}

static bool is_only_thread(void)
{
#ifdef Py_GIL_DISABLED
    return false;
#else
    PyThreadState *t = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    return PyThreadState_Next(t) == NULL;
#endif
}

/* The ids of the interpreter's threads, as a set. (sys._current_frames knows them, too, but makes objects for
 * the frames of all interpreters, in this one's memory, which crashes the others.) */
static PyObject *current_threads(void)
{
    PyObject *ids = PySet_New(NULL);
    PyThreadState *t = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    for (; ids != NULL && t != NULL; t = PyThreadState_Next(t)) {
        PyObject *id = PyLong_FromUnsignedLong(t->thread_id);
        if (id == NULL || PySet_Add(ids, id) < 0)
            Py_CLEAR(ids);
        Py_XDECREF(id);
    }
    return ids;
}

int sleep_check(struct state *st, struct sleep *s)
{
    if (s->checks++ == 0 && !is_only_thread())
        return 0;
    PyObject *threads = current_threads();
    PyObject *others = threads == NULL ? NULL : PyNumber_Subtract(threads, st->bystanders);
    Py_XDECREF(threads);
    if (others == NULL)
        return -1;
    Py_ssize_t awake = PySet_GET_SIZE(others);
    Py_DECREF(others);
    return awake <= count_sleepers(st);
}

void raise_deadlock(struct state *st, PyObject *rows)
{
    PyObject *text = rows == NULL ? NULL : call_python("gomem.goroutines", "deadlock", rows);
    if (text != NULL)
        PyErr_SetObject(st->fatal_error, text);
    Py_XDECREF(text);
    Py_XDECREF(rows);
}

static int give_up(struct caller *c, uint32_t *index, bool *ok)
{
    if (gomem_cancel(c->g))
        return WAIT_CANCELLED;
    while (!gomem_thread_wait(c->g, -1))
        ;
    return gomem_finish(c->g, index, ok) == GOMEM_DONE ? WAIT_INTERRUPTED : WAIT_CANCELLED;
}

int wait_thread(struct state *st, struct caller *c, uint32_t *index, bool *ok)
{
    if (in_hub(st)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot wait here: this is called while no goroutine of the program can run");
        return give_up(c, index, ok);
    }
    struct sleep s;
    struct sleeper who = {.g = c->g};
    bool woken = false;
    sleep_begin(st, &s, &who);
    while (!woken) {
        int asleep = sleep_check(st, &s);
        if (asleep > 0)
            raise_deadlock(st, describe_thread(c));
        if (asleep != 0)
            break;
        Py_BEGIN_ALLOW_THREADS
        woken = gomem_thread_wait(c->g, sleep_time(&s));
        Py_END_ALLOW_THREADS
        if (!woken && PyErr_CheckSignals() < 0)
            break;
    }
    sleep_end(st, &s);
    return woken ? (int)gomem_finish(c->g, index, ok) : give_up(c, index, ok);
}

/* --- What reports say --- */

/* (file, line, function) of the place that has said `go`; None if there is none. */
static PyObject *creation(struct caller *c)
{
    if (c->code == NULL)
        Py_RETURN_NONE;
    PyCodeObject *code = (PyCodeObject *)c->code;
    int line = gomem_g_site(c->g).place;
#if PY_VERSION_HEX >= 0x030b0000
    line = PyCode_Addr2Line(code, line);
    return Py_BuildValue("OiO", code->co_filename, line, code->co_qualname);
#else
    return Py_BuildValue("OiO", code->co_filename, line, code->co_name);
#endif
}

PyObject *describe_goroutine(struct caller *c, PyObject *greenlet)
{
    PyObject *frame =
        greenlet == NULL ? Py_NewRef(Py_None) : PyObject_GetAttrString(greenlet, "gr_frame");
    PyObject *created = creation(c);
    PyObject *row = NULL;
    if (frame != NULL && created != NULL)
        row = Py_BuildValue("KsOKO", (unsigned long long)gomem_g_id(c->g), gomem_g_status(c->g),
                            frame, (unsigned long long)gomem_g_parent(c->g), created);
    Py_XDECREF(frame);
    Py_XDECREF(created);
    return row;
}

PyObject *describe_thread(struct caller *c)
{
    PyObject *frame = (PyObject *)PyEval_GetFrame();
    return Py_BuildValue("[(OsOKO)]", Py_None, gomem_g_status(c->g),
                         frame == NULL ? Py_None : frame, 0ull, Py_None);
}

int goroutines_init(struct state *st)
{
    PyObject *threads = current_threads();
    PyObject *main = PyImport_ImportModule("threading");
    st->bystanders = threads == NULL ? NULL : PySet_New(threads);
    Py_XDECREF(threads);
    if (main != NULL) {
        PyObject *thread = PyObject_CallMethod(main, "main_thread", NULL);
        PyObject *id = thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
        if (id != NULL && st->bystanders != NULL)
            (void)PySet_Discard(st->bystanders, id);
        Py_XDECREF(thread);
        Py_XDECREF(id);
        Py_DECREF(main);
    }
    st->seed = (uint64_t)time(NULL) ^ (uint64_t)(uintptr_t)st;
    return st->bystanders == NULL || PyErr_Occurred() ? -1 : 0;
}

void goroutines_end(struct state *st)
{
    struct caller *c;
    while ((c = st->callers) != NULL) {
        st->callers = c->next;
        gomem_thread_delete(c->g);
        caller_delete(c);
    }
}
