/* The white-box door to span sets: one set and a number of spans that may be in it.
 *
 * Spans are numbers. race() lets threads push and pop at once and counts for each span how many
 * hold it, which must never be more than one.
 *
 * Concurrency: under the GIL, but race(), whose threads know no Python.
 * Go: export_test.go (the lock-free stack's and mspanSet's tests).
 */
#include "testing/py_testing.h"

#include "base/rng.h"
#include "heap/spanset.h"
#include "platform/thread.h"

enum { MAX_SPANS = 1024, MAX_THREADS = 8 };

struct set_object {
    PyObject_HEAD struct mspan *spans; /* aligned as the tag in the head needs it */
    size_t nspans;
    struct span_set set;
    bool inside[MAX_SPANS];
};

static int set_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct set_object *o = (struct set_object *)self;
    static char *names[] = {"nspans", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&", names, arg_size, &o->nspans) ||
        !check_range("nspans", o->nspans, 1, MAX_SPANS))
        return -1;
    o->spans = aligned_alloc(CACHE_LINE, o->nspans * sizeof *o->spans);
    if (o->spans == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(o->spans, 0, o->nspans * sizeof *o->spans);
    return 0;
}

static PyObject *set_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, set_init);
}

static void set_dealloc(PyObject *self)
{
    free(((struct set_object *)self)->spans);
    free_object_of_type(self);
}

static PyObject *set_push(PyObject *self, PyObject *args)
{
    struct set_object *o = (struct set_object *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) || !check_range("span", i, 0, o->nspans - 1) ||
        !check_range("entries of the span", o->inside[i], 0, 0))
        return NULL;
    span_set_push(&o->set, SET_PARTIAL, &o->spans[i]);
    o->inside[i] = true;
    Py_RETURN_NONE;
}

static PyObject *set_pop(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct set_object *o = (struct set_object *)self;
    struct mspan *s = span_set_pop(&o->set, SET_PARTIAL);
    if (s == NULL)
        Py_RETURN_NONE;
    o->inside[s - o->spans] = false;
    return PyLong_FromSsize_t(s - o->spans);
}

static PyObject *set_take_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct set_object *o = (struct set_object *)self;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    struct mspan *s = span_set_take_all(&o->set, SET_PARTIAL);
    for (; s != NULL; s = s->set_next[SET_PARTIAL]) {
        o->inside[s - o->spans] = false;
        PyObject *item = PyLong_FromSsize_t(s - o->spans);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
        if (list == NULL)
            return NULL;
    }
    return list;
}

static PyObject *set_count(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(load_relaxed(&((struct set_object *)self)->set.count));
}

/* The word that a pop compares: it must not recur, or a pop mistakes one state for another. */
static PyObject *set_head(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(load_relaxed(&((struct set_object *)self)->set.head));
}

/* --- Threads --- */

struct racer {
    struct thread thread;
    struct set_object *o;
    size_t rounds;
    uint32_t *holders; /* atomic: of each span */
    struct rng rng;
    size_t errors, mine[MAX_SPANS], nmine;
};

static void hold(struct racer *r, struct mspan *s)
{
    size_t i = (size_t)(s - r->o->spans);
    r->errors += fetch_add_relaxed(&r->holders[i], 1) != 0;
    r->mine[r->nmine++] = i;
}

static void *race(void *arg)
{
    struct racer *r = arg;
    struct span_set *set = &r->o->set;
    for (size_t n = 0; n < r->rounds; n++) {
        unsigned what = rng_below(&r->rng, 64);
        if (what == 0) {
            struct mspan *next, *s = span_set_take_all(set, SET_PARTIAL);
            for (; s != NULL; s = next) {
                next = load_relaxed(&s->set_next[SET_PARTIAL]);
                hold(r, s);
            }
        } else if (what < 32 || r->nmine == 0) {
            struct mspan *s = span_set_pop(set, SET_PARTIAL);
            if (s != NULL)
                hold(r, s);
        } else {
            size_t k = rng_below(&r->rng, (uint32_t)r->nmine), i = r->mine[k];
            r->mine[k] = r->mine[--r->nmine];
            fetch_sub_relaxed(&r->holders[i], 1);
            span_set_push(set, SET_PARTIAL, &r->o->spans[i]);
        }
    }
    while (r->nmine > 0) {
        size_t i = r->mine[--r->nmine];
        fetch_sub_relaxed(&r->holders[i], 1);
        span_set_push(set, SET_PARTIAL, &r->o->spans[i]);
    }
    return NULL;
}

/* Puts all spans into the set and lets threads push, pop and take them; how often a span was got by
 * a thread while another held it. */
static PyObject *set_race(PyObject *self, PyObject *args)
{
    struct set_object *o = (struct set_object *)self;
    size_t nthreads, rounds, seed;
    if (!PyArg_ParseTuple(args, "O&O&O&", arg_size, &nthreads, arg_size, &rounds, arg_size,
                          &seed) ||
        !check_range("threads", nthreads, 1, MAX_THREADS) ||
        !check_range("rounds", rounds, 1, 10000000))
        return NULL;
    struct racer *racers = PyMem_Calloc(nthreads, sizeof *racers);
    uint32_t *holders = PyMem_Calloc(o->nspans, sizeof *holders);
    size_t errors = 0, started = 0;
    if (racers == NULL || holders == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    for (size_t i = 0; i < o->nspans; i++) {
        if (!o->inside[i])
            span_set_push(&o->set, SET_PARTIAL, &o->spans[i]);
        o->inside[i] = true;
    }
    for (; started < nthreads; started++) {
        struct racer *r = &racers[started];
        *r = (struct racer){.o = o, .rounds = rounds, .holders = holders};
        r->rng.state = seed * MAX_THREADS + started;
        if (!thread_start(&r->thread, "race", race, r))
            break;
    }
    Py_BEGIN_ALLOW_THREADS for (size_t i = 0; i < started; i++)
    {
        thread_join(&racers[i].thread);
        errors += racers[i].errors;
    }
    Py_END_ALLOW_THREADS if (started < nthreads)
        PyErr_SetString(PyExc_RuntimeError, "a thread could not be started");
end:
    PyMem_Free(racers);
    PyMem_Free(holders);
    return PyErr_Occurred() ? NULL : PyLong_FromSize_t(errors);
}

static PyMethodDef set_methods[] = {
    METHOD(set, push),         METHOD_NOARGS(set, pop),  METHOD_NOARGS(set, take_all),
    METHOD_NOARGS(set, count), METHOD_NOARGS(set, head), METHOD(set, race),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot set_slots[] = {
    {Py_tp_new, set_new},
    {Py_tp_dealloc, set_dealloc},
    {Py_tp_methods, set_methods},
    {0, NULL},
};

static PyType_Spec set_spec = {
    .name = "gomem._testing.SpanSet",
    .basicsize = sizeof(struct set_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = set_slots,
};

bool add_spanset(PyObject *module)
{
    return add_type(module, &set_spec);
}
