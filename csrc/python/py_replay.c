/* The type Replay: a trace running on a Heap; Python's gomem.replay.Replay derives from it.
 *
 * A slice of the replay is a batch (py_heap.c): while it runs without the GIL, nobody frees by address
 * or makes Refs of what is there. Between slices somebody may; the replay is told, and no longer owns
 * such an object.
 *
 * Concurrency: under the heap's lock; the replay itself runs without the GIL.
 * Go: no counterpart.
 */
#include "python/py_core.h"

#include <structmember.h>

/* --- The list of replays of a heap --- */

static void replay_link(struct py_heap *h, struct py_replay *r)
{
    r->prev = NULL;
    r->next = h->replays;
    if (h->replays != NULL)
        h->replays->prev = r;
    h->replays = r;
}

static void replay_unlink(struct py_heap *h, struct py_replay *r)
{
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        h->replays = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
}

static void forget(struct py_replay *r, uint64_t address)
{
    if (r->nforgotten == r->forgotten_capacity) {
        size_t capacity = r->forgotten_capacity == 0 ? 64 : 2 * r->forgotten_capacity;
        uint64_t *bigger = PyMem_RawRealloc(r->forgotten, capacity * sizeof *bigger);
        if (bigger == NULL) {
            r->lost = true;
            return;
        }
        r->forgotten = bigger;
        r->forgotten_capacity = capacity;
    }
    r->forgotten[r->nforgotten++] = address;
}

void replays_forget(struct py_heap *h, uint64_t address)
{
    for (struct py_replay *r = h->replays; r != NULL; r = r->next)
        forget(r, address);
}

/* --- Making --- */

/* Copies events that are not a Trace's, which never change. */
static bool take_events(struct py_replay *r, PyObject *events)
{
    struct state *st = r->heap->state;
    if (PyObject_TypeCheck(events, st->trace_type)) {
        r->trace = Py_NewRef(events);
        r->events = gomem_trace_events(((struct py_trace *)events)->trace, &r->n);
        return true;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(events, &view, PyBUF_SIMPLE) < 0)
        return false;
    bool ok = view.len % (Py_ssize_t)sizeof *r->copy == 0;
    if (!ok) {
        PyErr_Format(PyExc_ValueError, "events must be an array of records of %zu bytes",
                     sizeof *r->copy);
    } else {
        r->n = (size_t)view.len / sizeof *r->copy;
        r->copy = PyMem_RawMalloc((size_t)view.len + 1);
        ok = r->copy != NULL;
        if (ok)
            memcpy(r->copy, view.buf, (size_t)view.len);
        else
            PyErr_NoMemory();
        r->events = r->copy;
    }
    PyBuffer_Release(&view);
    return ok;
}

static PyObject *replay_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"heap", "events", NULL};
    struct state *st = state_of_type(type);
    PyObject *heap, *events;
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!O:Replay", names, st->heap_type,
                                                   &heap, &events))
        return NULL;
    struct py_heap *h = (struct py_heap *)heap;
    if (!heap_usable(h))
        return NULL;
    struct py_replay *r = (struct py_replay *)type->tp_alloc(type, 0);
    if (r == NULL)
        return NULL;
    r->heap = (struct py_heap *)Py_NewRef(heap);
    struct gomem_error err;
    if (!take_events(r, events)) {
        Py_DECREF(r);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    r->replay = gomem_replay_new(h->rt, r->events, r->n, &err);
    Py_END_ALLOW_THREADS
    if (r->replay == NULL) {
        Py_DECREF(r);
        return raise_error(st, &err);
    }
    HEAP_LOCK(h)
    replay_link(h, r);
    HEAP_UNLOCK(h)
    return (PyObject *)r;
}

static int replay_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct py_replay *r = (struct py_replay *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(r->heap);
    Py_VISIT(r->trace);
    Py_VISIT(r->dict);
    return 0;
}

static int replay_clear(PyObject *self)
{
    Py_CLEAR(((struct py_replay *)self)->dict);
    return 0;
}

static void replay_dealloc(PyObject *self)
{
    struct py_replay *r = (struct py_replay *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    replay_clear(self);
    if (r->replay != NULL) {
        HEAP_LOCK(r->heap)
        replay_unlink(r->heap, r);
        HEAP_UNLOCK(r->heap)
        Py_BEGIN_ALLOW_THREADS
        gomem_replay_delete(r->replay);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(r->heap);
    Py_XDECREF(r->trace);
    PyMem_RawFree(r->copy);
    PyMem_RawFree(r->forgotten);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- Running --- */

/* Tells the replay what happened between slices. pre: in an exclusive batch. */
static bool catch_up(struct py_replay *r)
{
    if (r->lost) {
        PyErr_SetString(PyExc_MemoryError,
                        "memory ran out while the replay's objects were freed or looked up: it "
                        "no longer knows which are its own");
        return false;
    }
    gomem_replay_forget(r->replay, r->forgotten, r->nforgotten);
    r->nforgotten = 0;
    return true;
}

static PyObject *in_batch(struct py_replay *r,
                          enum gomem_status (*work)(struct py_replay *, size_t,
                                                    struct gomem_error *),
                          size_t arg)
{
    struct py_heap *h = r->heap;
    struct gomem_error err = {.status = GOMEM_OK};
    enum gomem_status status = GOMEM_OK;
    bool ok;
    HEAP_LOCK(h)
    ok = heap_begin_batch(h, true);
    if (ok) {
        ok = catch_up(r);
        if (ok) {
            Py_BEGIN_ALLOW_THREADS
            status = work(r, arg, &err);
            Py_END_ALLOW_THREADS
        }
        heap_end_batch(h);
    }
    HEAP_UNLOCK(h)
    if (!ok)
        return NULL;
    if (status != GOMEM_OK)
        return raise_error(h->state, &err);
    Py_RETURN_NONE;
}

static enum gomem_status work_run(struct py_replay *r, size_t until, struct gomem_error *err)
{
    return gomem_replay_run(r->replay, until, err);
}

static enum gomem_status work_free(struct py_replay *r, size_t unused, struct gomem_error *err)
{
    (void)unused;
    return gomem_replay_free(r->replay, err);
}

static PyObject *replay_run(PyObject *self, PyObject *arg)
{
    Py_ssize_t until = PyNumber_AsSsize_t(arg, PyExc_OverflowError);
    if (until == -1 && PyErr_Occurred())
        return NULL;
    return in_batch((struct py_replay *)self, work_run, until < 0 ? 0 : (size_t)until);
}

static PyObject *replay_free(PyObject *self, PyObject *unused)
{
    (void)unused;
    return in_batch((struct py_replay *)self, work_free, 0);
}

/* The batch keeps a slice of another thread from changing what is read. */
static PyObject *replay_sample(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_replay *r = (struct py_replay *)self;
    struct gomem_replay_sample sample;
    enum gomem_status status = GOMEM_OK;
    bool ok;
    HEAP_LOCK(r->heap)
    ok = heap_begin_batch(r->heap, true);
    if (ok) {
        ok = catch_up(r);
        Py_BEGIN_ALLOW_THREADS
        if (ok)
            status = gomem_replay_sample(r->replay, &sample);
        Py_END_ALLOW_THREADS
        heap_end_batch(r->heap);
    }
    HEAP_UNLOCK(r->heap)
    if (!ok)
        return NULL;
    if (status != GOMEM_OK)
        return raise_closed(r->heap->state);
    return PyBytes_FromStringAndSize((const char *)&sample, sizeof sample);
}

/* (addresses, indices of events) as bytes. */
static PyObject *objects_of(struct py_replay *r)
{
    size_t n = gomem_replay_objects(r->replay, NULL, NULL, 0);
    PyObject *addresses = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(n * sizeof(uint64_t)));
    PyObject *events = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(n * sizeof(uint32_t)));
    PyObject *result = NULL;
    if (addresses != NULL && events != NULL) {
        gomem_replay_objects(r->replay, (uint64_t *)(void *)PyBytes_AS_STRING(addresses),
                             (uint32_t *)(void *)PyBytes_AS_STRING(events), n);
        result = PyTuple_Pack(2, addresses, events);
    }
    Py_XDECREF(addresses);
    Py_XDECREF(events);
    return result;
}

static PyObject *replay_objects(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_replay *r = (struct py_replay *)self;
    PyObject *result = NULL;
    HEAP_LOCK(r->heap)
    if (heap_begin_batch(r->heap, true)) {
        if (catch_up(r))
            result = objects_of(r);
        heap_end_batch(r->heap);
    }
    HEAP_UNLOCK(r->heap)
    return result;
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_replay *)self)->heap);
}

static PyGetSetDef replay_getset[] = {
    {"heap", get_heap, NULL, "The Heap it runs on.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef replay_methods[] = {
    {"_run", replay_run, METH_O, NULL},
    {"_sample", replay_sample, METH_NOARGS, NULL},
    {"_objects", replay_objects, METH_NOARGS, NULL},
    {"free", replay_free, METH_NOARGS,
     "free($self, /)\n--\n\nFrees all objects and stacks of the replay that are alive."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef replay_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct py_replay, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot replay_slots[] = {
    {Py_tp_doc, "Replay(heap, events)\n--\n\nA trace running on a heap."},
    {Py_tp_new, replay_new},
    {Py_tp_dealloc, replay_dealloc},
    {Py_tp_traverse, replay_traverse},
    {Py_tp_clear, replay_clear},
    {Py_tp_methods, replay_methods},
    {Py_tp_getset, replay_getset},
    {Py_tp_members, replay_members},
    {0, NULL},
};

PyType_Spec replay_spec = {
    .name = "gomem._core.Replay",
    .basicsize = sizeof(struct py_replay),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = replay_slots,
};
