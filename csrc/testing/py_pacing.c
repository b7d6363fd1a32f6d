/* The white-box door to pacing: the pacer, the limiter of the collector's CPU time.
 *
 * Called by tests only.
 *
 * Concurrency: under the GIL.
 * Go: GCController, GCCPULimiter in export_test.go.
 */
#include "testing/py_testing.h"

#include "gc/limiter.h"
#include "gc/pacer.h"

/* --- The pacer --- */

struct pacer_object {
    PyObject_HEAD
    struct pacer p;
};

static struct pacer *pacer_of(PyObject *self)
{
    return &((struct pacer_object *)self)->p;
}

static int pacer_fill(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"gc_percent", "memory_limit", NULL};
    int percent = 100;
    unsigned long long limit = UINT64_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|iK:Pacer", names, &percent, &limit))
        return -1;
    pacer_init(pacer_of(self), percent, limit);
    return 0;
}

static PyObject *pacer_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, pacer_fill);
}

/* (heap_live, heap_scan, stacks, globals, procs, periodic): the workers, as (dedicated, share of each P,
 * most idle ones). */
static PyObject *pacer_start(PyObject *self, PyObject *args)
{
    unsigned long long live, scan, stacks, globals;
    size_t procs;
    int periodic;
    if (!PyArg_ParseTuple(args, "KKKKO&p", &live, &scan, &stacks, &globals, arg_size, &procs,
                          &periodic) ||
        !check_range("procs", procs, 1, 1 << 20))
        return NULL;
    struct pacer *p = pacer_of(self);
    pacer_start_cycle(p, &(struct pacer_start){
                             .heap_live = live,
                             .heap_scan = scan,
                             .stacks = stacks,
                             .globals = globals,
                             .procs = (unsigned)procs,
                             .periodic = periodic != 0,
                         });
    return Py_BuildValue("IdI", p->workers.dedicated, p->workers.fractional, p->workers.max_idle);
}

static PyObject *pacer_revise_with(PyObject *self, PyObject *args)
{
    unsigned long long live, scan, heap, stacks, globals;
    if (!PyArg_ParseTuple(args, "KK(KKK)", &live, &scan, &heap, &stacks, &globals))
        return NULL;
    pacer_revise(pacer_of(self), live, scan, &(struct pacer_scan){heap, stacks, globals});
    Py_RETURN_NONE;
}

/* (duration, assist time, idle time, heap_live, (heap, stacks, globals) scanned, procs). */
static PyObject *pacer_end(PyObject *self, PyObject *args)
{
    unsigned long long live, heap, stacks, globals;
    long long duration, assist, idle;
    size_t procs;
    if (!PyArg_ParseTuple(args, "LLLK(KKK)O&", &duration, &assist, &idle, &live, &heap, &stacks,
                          &globals, arg_size, &procs) ||
        !check_range("procs", procs, 1, 1 << 20))
        return NULL;
    pacer_end_cycle(pacer_of(self), &(struct pacer_cycle){
                                        .duration = duration,
                                        .assist_time = assist,
                                        .idle_time = idle,
                                        .heap_live = live,
                                        .work = {heap, stacks, globals},
                                        .procs = (unsigned)procs,
                                    });
    Py_RETURN_NONE;
}

/* (marked, (heap, stacks, globals) scanned). */
static PyObject *pacer_reset(PyObject *self, PyObject *args)
{
    unsigned long long marked, heap, stacks, globals;
    if (!PyArg_ParseTuple(args, "K(KKK)", &marked, &heap, &stacks, &globals))
        return NULL;
    pacer_reset_live(pacer_of(self), marked, &(struct pacer_scan){heap, stacks, globals});
    Py_RETURN_NONE;
}

static PyObject *pacer_commit_with(PyObject *self, PyObject *args)
{
    int done;
    unsigned long long live;
    if (!PyArg_ParseTuple(args, "pK", &done, &live))
        return NULL;
    pacer_commit(pacer_of(self), done != 0, live);
    Py_RETURN_NONE;
}

static PyObject *pacer_set_percent(PyObject *self, PyObject *args)
{
    int percent;
    if (!PyArg_ParseTuple(args, "i", &percent))
        return NULL;
    pacer_set_gc_percent(pacer_of(self), percent);
    Py_RETURN_NONE;
}

/* (limit, mapped_ready, heap_free, heap_alloc). */
static PyObject *pacer_set_memory(PyObject *self, PyObject *args)
{
    unsigned long long limit, ready, free, alloc;
    if (!PyArg_ParseTuple(args, "KKKK", &limit, &ready, &free, &alloc))
        return NULL;
    pacer_of(self)->memory = (struct pacer_memory){limit, ready, free, alloc};
    Py_RETURN_NONE;
}

static PyObject *pacer_state(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct pacer *p = pacer_of(self);
    return Py_BuildValue("{sKsKsKsKsKsKsdsdsd}", "goal", pacer_heap_goal(p), "trigger",
                         pacer_trigger(p), "marked", p->heap_marked, "triggered", p->triggered,
                         "last_goal", p->last_heap_goal, "runway", p->runway, "assist_ratio",
                         pacer_assist_ratio(p), "assist_bytes", pacer_assist_bytes(p), "cons_mark",
                         p->cons_mark);
}

static PyMethodDef pacer_methods[] = {
    METHOD(pacer, start),
    {"revise", pacer_revise_with, METH_VARARGS, NULL},
    METHOD(pacer, end),
    METHOD(pacer, reset),
    {"commit", pacer_commit_with, METH_VARARGS, NULL},
    METHOD(pacer, set_percent),
    METHOD(pacer, set_memory),
    METHOD_NOARGS(pacer, state),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pacer_slots[] = {
    {Py_tp_new, pacer_make},
    {Py_tp_dealloc, free_object_of_type},
    {Py_tp_methods, pacer_methods},
    {0, NULL},
};

static PyType_Spec pacer_spec = {
    .name = "gomem._testing.Pacer",
    .basicsize = sizeof(struct pacer_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = pacer_slots,
};

/* --- The limiter --- */

struct limiter_object {
    PyObject_HEAD
    struct limiter l;
};

static struct limiter *limiter_of(PyObject *self)
{
    return &((struct limiter_object *)self)->l;
}

/* The arguments (now, procs). */
static bool parse_reset(PyObject *args, long long *now, size_t *procs)
{
    return PyArg_ParseTuple(args, "LO&", now, arg_size, procs) &&
           check_range("procs", *procs, 1, 1 << 20);
}

static int limiter_fill(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    long long now;
    size_t procs;
    if (!parse_reset(args, &now, &procs))
        return -1;
    limiter_init(limiter_of(self), now, (unsigned)procs);
    return 0;
}

static PyObject *limiter_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, limiter_fill);
}

static PyObject *limiter_set_procs(PyObject *self, PyObject *args)
{
    long long now;
    size_t procs;
    if (!parse_reset(args, &now, &procs))
        return NULL;
    if (limiter_of(self)->transitioning)
        return PyErr_Format(PyExc_ValueError, "a transition is under way");
    limiter_reset(limiter_of(self), now, (unsigned)procs);
    Py_RETURN_NONE;
}

/* (marking, number of the cycle, now). */
static PyObject *limiter_start(PyObject *self, PyObject *args)
{
    int marking;
    unsigned long long cycle;
    long long now;
    struct limiter *l = limiter_of(self);
    if (!PyArg_ParseTuple(args, "pKL", &marking, &cycle, &now))
        return NULL;
    if (l->transitioning || l->marking == (marking != 0))
        return PyErr_Format(PyExc_ValueError, "no such transition now");
    limiter_start_transition(l, marking != 0, cycle, now);
    Py_RETURN_NONE;
}

static PyObject *limiter_finish(PyObject *self, PyObject *args)
{
    long long now;
    if (!PyArg_ParseTuple(args, "L", &now))
        return NULL;
    if (!limiter_of(self)->transitioning)
        return PyErr_Format(PyExc_ValueError, "no transition is under way");
    limiter_finish_transition(limiter_of(self), now);
    Py_RETURN_NONE;
}

/* (now, idle Ps). */
static PyObject *limiter_update_at(PyObject *self, PyObject *args)
{
    long long now;
    size_t idle = 0;
    if (!PyArg_ParseTuple(args, "L|O&", &now, arg_size, &idle) ||
        !check_range("idle Ps", idle, 0, limiter_of(self)->procs))
        return NULL;
    limiter_update(limiter_of(self), now, (unsigned)idle);
    Py_RETURN_NONE;
}

static PyObject *limiter_needs_update_at(PyObject *self, PyObject *args)
{
    long long now;
    if (!PyArg_ParseTuple(args, "L", &now))
        return NULL;
    return PyBool_FromLong(limiter_needs_update(limiter_of(self), now));
}

/* (ns of assists). */
static PyObject *limiter_add(PyObject *self, PyObject *args)
{
    long long assist;
    if (!PyArg_ParseTuple(args, "L", &assist))
        return NULL;
    limiter_add_assist(limiter_of(self), assist);
    Py_RETURN_NONE;
}

static PyObject *limiter_state(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct limiter *l = limiter_of(self);
    return Py_BuildValue("{sKsKsKsKsN}", "fill", l->fill, "capacity", l->capacity, "overflow",
                         l->overflow, "last_enabled", load_relaxed(&l->last_enabled), "limiting",
                         PyBool_FromLong(limiter_is_limiting(l)));
}

static PyMethodDef limiter_methods[] = {
    METHOD(limiter, set_procs),
    METHOD(limiter, start),
    METHOD(limiter, finish),
    {"update", limiter_update_at, METH_VARARGS, NULL},
    {"needs_update", limiter_needs_update_at, METH_VARARGS, NULL},
    METHOD(limiter, add),
    METHOD_NOARGS(limiter, state),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot limiter_slots[] = {
    {Py_tp_new, limiter_make},
    {Py_tp_dealloc, free_object_of_type},
    {Py_tp_methods, limiter_methods},
    {0, NULL},
};

static PyType_Spec limiter_spec = {
    .name = "gomem._testing.Limiter",
    .basicsize = sizeof(struct limiter_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = limiter_slots,
};

bool add_pacing(PyObject *module)
{
    return add_type(module, &pacer_spec) && add_type(module, &limiter_spec);
}
