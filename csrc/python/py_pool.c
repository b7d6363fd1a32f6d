/* The type Pool: sync.Pool.
 *
 * Called by Python. gomem.Pool derives from it.
 *
 * Concurrency: see py_values.h. New runs with nothing held.
 * Go: sync.Pool.
 */
#include "python/py_values.h"

#include <structmember.h>

struct py_pool {
    PyObject_HEAD
    struct py_heap *heap;
    struct gomem_pool *pool;
    PyObject *new; /* what makes objects, or None */
    PyObject *weakrefs, *dict;
};

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"heap", "new", NULL};
    PyObject *heap, *new = Py_None;
    struct state *st = state_of_type(type);
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:Pool", names, &heap, &new))
        return NULL;
    struct py_heap *h = parse_heap(st, heap);
    if (h == NULL || !heap_guard(h))
        return NULL;
    if (new != Py_None && !PyCallable_Check(new)) {
        PyErr_Format(PyExc_TypeError, "new must be a function or None, not %.200s",
                     Py_TYPE(new)->tp_name);
        return NULL;
    }
    struct py_pool *self = (struct py_pool *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->heap = (struct py_heap *)Py_NewRef(heap);
    self->new = Py_NewRef(new);
    struct gomem_error err;
    enum gomem_status status;
    struct gomem_pool *pool = NULL;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_pool_new(h->rt, &pool, &err);
    Py_END_ALLOW_THREADS
    self->pool = pool;
    if (status != GOMEM_OK) {
        Py_DECREF(self);
        return raise_error(st, &err);
    }
    return (PyObject *)self;
}

static PyObject *pool_get(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_pool *pool = (struct py_pool *)self;
    struct py_heap *h = pool->heap;
    struct snapshot s;
    struct gomem_error err;
    struct gomem_interface x = {0};
    PyObject *value = NULL;
    if (!heap_usable(h) || !snapshot_prepare(&s, h, type_basic(h->state, "any")))
        return NULL;
    struct gomem_proc *p = heap_proc(h);
    if (p != NULL) {
        enum gomem_status status = gomem_pool_get(p, pool->pool, &x, &err);
        if (status == GOMEM_OK)
            snapshot_copy(&s, p, &x);
        if (end_value(h, p, status, &err, NULL))
            value = snapshot_value(&s);
    }
    snapshot_end(&s);
    if (value != Py_None || pool->new == Py_None)
        return value;
    Py_DECREF(value);
    return PyObject_CallNoArgs(pool->new);
}

static PyObject *pool_put(PyObject *self, PyObject *value)
{
    struct py_pool *pool = (struct py_pool *)self;
    struct py_heap *h = pool->heap;
    struct packed v;
    struct gomem_error err;
    if (!heap_usable(h) ||
        !pack(&v, h, type_basic(h->state, "any"), &value, 1, "what is put", false))
        return NULL;
    enum gomem_status status = GOMEM_CLOSED;
    struct gomem_proc *p = heap_proc(h);
    if (p != NULL) {
        status = gomem_pool_put(p, pool->pool, (const struct gomem_interface *)v.bytes, &err);
        (void)end_value(h, p, status, &err, NULL);
    }
    pack_end(&v);
    if (status != GOMEM_OK)
        return NULL;
    Py_RETURN_NONE;
}

static int pool_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct py_pool *pool = (struct py_pool *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(pool->heap);
    Py_VISIT(pool->new);
    Py_VISIT(pool->dict);
    return 0;
}

static int pool_clear(PyObject *self)
{
    struct py_pool *pool = (struct py_pool *)self;
    Py_XSETREF(pool->new, Py_NewRef(Py_None));
    Py_CLEAR(pool->dict);
    return 0;
}

static void pool_dealloc(PyObject *self)
{
    struct py_pool *pool = (struct py_pool *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (pool->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    Py_CLEAR(pool->dict);
    Py_CLEAR(pool->new);
    if (pool->pool != NULL) {
        struct gomem_pool *p = pool->pool;
        Py_BEGIN_ALLOW_THREADS
        gomem_pool_delete(p);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(pool->heap);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_pool *)self)->heap);
}

static PyObject *pool_repr(PyObject *self)
{
    struct py_pool *pool = (struct py_pool *)self;
    return PyUnicode_FromFormat("<gomem.Pool with%s new, in %R>", pool->new == Py_None ? "out" : "",
                                (PyObject *)pool->heap);
}

static PyGetSetDef pool_getset[] = {
    {"heap", get_heap, NULL, "The Heap it lies in.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef pool_methods[] = {
    {"get", pool_get, METH_NOARGS,
     "get($self, /)\n--\n\n"
     "Something that was put, which the pool then has no longer; else what new() makes, or None.\n"
     "Raises MemoryError, and what new() raises."},
    {"put", pool_put, METH_O,
     "put($self, value, /)\n--\n\n"
     "Gives something to the pool: a Ref, a Builder, a Buffer, a Map as they are; other values become\n"
     "objects of their own, as in Go. None is nothing. Raises TypeError for what no interface can hold,\n"
     "and MemoryError."},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef pool_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_pool, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct py_pool, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, "A pool in C; see gomem.Pool."},
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_repr, pool_repr},
    {Py_tp_traverse, pool_traverse},
    {Py_tp_clear, pool_clear},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_tp_members, pool_members},
    {0, NULL},
};

PyType_Spec pool_spec = {
    .name = "gomem._core.Pool",
    .basicsize = sizeof(struct py_pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pool_slots,
};
