/* The type Weak: a weak pointer to an object, or to a part of one.
 *
 * Concurrency: see py_core.h.
 * Go: weak.Pointer.
 */
#include "python/py_values.h"

struct py_weak {
    PyObject_HEAD
    struct py_heap *heap;      /* NULL: made from None */
    struct gomem_weak *handle; /* NULL: made from None */
    struct py_type *type;      /* of what it was made from; NULL: bytes */
    struct py_type *object_type; /* of the object it is a part of, or the same */
    PyTypeObject *made_from;   /* Builder or Buffer; NULL: Ref */
    uint64_t object_size;
    uint64_t offset; /* of the part in the object */
    bool part;
};

/* What the Ref names, as far as it must be known to make it again. */
static void describe(struct py_weak *w, struct py_ref *ref)
{
    struct py_ref *object = ref->owner != NULL ? ref->owner : ref;
    w->heap = (struct py_heap *)Py_NewRef((PyObject *)ref->heap);
    w->type = (struct py_type *)Py_XNewRef((PyObject *)ref->type);
    w->object_type = (struct py_type *)Py_XNewRef((PyObject *)object->type);
    w->object_size = object->size;
    w->offset = ref->owner != NULL ? ref->address : 0;
    w->part = ref->owner != NULL;
}

/* The core's weak pointer to the object of a Ref or handle; false with an exception. */
static bool make_weak(struct py_weak *w, PyObject *arg)
{
    struct gomem_error err;
    struct gomem_proc *p = heap_proc(w->heap);
    if (p == NULL)
        return false;
    void *object = w->made_from != NULL
                       ? handle_address(arg)
                       : (void *)(uintptr_t)ref_raw_address((struct py_ref *)arg);
    if (object != NULL)
        w->handle = gomem_weak_make(p, object, &err);
    gomem_proc_release(p);
    if (object == NULL)
        (void)ref_address((struct py_ref *)arg); /* it was freed while this waited */
    else if (w->handle == NULL)
        raise_error(w->heap->state, &err);
    return w->handle != NULL;
}

static PyObject *weak_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *arg;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Weak() takes no keyword arguments");
        return NULL;
    }
    struct state *st = state_of_type(type);
    if (st == NULL || !PyArg_ParseTuple(args, "O:Weak", &arg))
        return NULL;
    bool is_ref = PyObject_TypeCheck(arg, st->ref_type);
    if (arg != Py_None && !is_ref && !is_pointer_handle(st, arg)) {
        PyErr_Format(PyExc_TypeError, "Weak() takes a Ref, a Builder, a Buffer, or None, not %.200s",
                     Py_TYPE(arg)->tp_name);
        return NULL;
    }
    if (is_ref && ref_address((struct py_ref *)arg) == 0)
        return NULL;
    struct py_weak *w = (struct py_weak *)type->tp_alloc(type, 0);
    if (w == NULL || arg == Py_None)
        return (PyObject *)w;
    if (is_ref) {
        describe(w, (struct py_ref *)arg);
    } else {
        w->heap = (struct py_heap *)Py_NewRef((PyObject *)((struct py_handle *)arg)->heap);
        w->made_from = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(arg));
    }
    if (!make_weak(w, arg))
        Py_CLEAR(w);
    return (PyObject *)w;
}

static void weak_dealloc(PyObject *self)
{
    struct py_weak *w = (struct py_weak *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (w->handle != NULL) {
        /* A P may have to be waited for. */
        Py_BEGIN_ALLOW_THREADS
        struct gomem_proc *p = gomem_proc_acquire(w->heap->rt);
        if (p != NULL) { /* else it is closed, and the handle gone */
            gomem_weak_release(p, w->handle);
            gomem_proc_release(p);
        }
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(w->type);
    Py_XDECREF(w->object_type);
    Py_XDECREF(w->made_from);
    Py_XDECREF(w->heap);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The Ref or handle of what lives at `address`, for which root is. */
static PyObject *make_strong(struct py_weak *w, uint64_t address, uint64_t *root)
{
    if (w->made_from != NULL)
        return handle_new(w->made_from, w->heap, root);
    PyObject *object =
        w->object_size == 0
            ? ref_for(w->heap, address, 0, w->part ? NULL : w->object_type, root)
            : ref_found(w->heap, address - w->offset, w->object_size, w->object_type, root);
    if (object == NULL || !w->part)
        return object;
    PyObject *part = ref_part((struct py_ref *)object, w->type, w->offset);
    Py_DECREF(object);
    return part;
}

static PyObject *weak_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_weak *w = (struct py_weak *)self;
    if (w->handle == NULL || w->heap->closing)
        Py_RETURN_NONE;
    uint64_t *root = root_take(w->heap);
    if (root == NULL)
        return NULL;
    struct gomem_proc *p = heap_settled_proc(w->heap);
    uint64_t address = 0;
    if (p != NULL) {
        address = (uint64_t)(uintptr_t)gomem_weak_value(p, w->handle);
        if (address != 0)
            gomem_write_pointer(p, (void **)root, (void *)(uintptr_t)(address - w->offset));
        gomem_proc_release(p);
    }
    if (address != 0)
        return make_strong(w, address, root);
    root_give(w->heap, root);
    if (PyErr_Occurred() && !w->heap->closing)
        return NULL;
    PyErr_Clear(); /* with the heap everything in it is gone */
    Py_RETURN_NONE;
}

static PyObject *weak_richcompare(PyObject *a, PyObject *b, int op)
{
    if ((op != Py_EQ && op != Py_NE) || !Py_IS_TYPE(b, Py_TYPE(a)))
        Py_RETURN_NOTIMPLEMENTED;
    const struct py_weak *x = (struct py_weak *)a, *y = (struct py_weak *)b;
    bool same = x->heap == y->heap && x->handle == y->handle && x->part == y->part &&
                x->made_from == y->made_from && (!x->part || x->type == y->type);
    return PyBool_FromLong(op == Py_EQ ? same : !same);
}

static Py_hash_t weak_hash(PyObject *self)
{
    return (Py_hash_t)((uintptr_t)((struct py_weak *)self)->handle >> 4);
}

static PyObject *weak_repr(PyObject *self)
{
    PyObject *value = weak_value(self, NULL);
    if (value == NULL)
        return NULL;
    PyObject *repr = PyUnicode_FromFormat("<gomem.Weak of %R>", value);
    Py_DECREF(value);
    return repr;
}

static PyMethodDef weak_methods[] = {
    {"value", weak_value, METH_NOARGS,
     "value($self, /)\n--\n\n"
     "What it was made from, or its equal; None once the object is dead, was freed, or its\n"
     "finalizer was queued, or the heap was closed (Go: Pointer.Value)."},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot weak_slots[] = {
    {Py_tp_doc,
     "Weak(ref, /)\n--\n\n"
     "A weak pointer: it leads to an object without keeping it alive (Go: weak.Pointer).\n\n"
     "ref: a Ref, of a part of an object too, a Builder or a Buffer; None gives one whose value is\n"
     "always None. For a Slice's array or a Map's table take a Ref: heap.lookup(address).ref. Two are\n"
     "equal if they were made from equals, and stay so when the object is dead; one that was\n"
     "made after a finalizer brought the object back is not equal to those made before. Objects of\n"
     "less than 16 bytes without pointers share a block, which the collector sees as one, as Go's\n"
     "does: it ends for all of them together.\n\n"
     "Raises TypeError for anything else, InvalidPointerError for a freed object, HeapClosedError."},
    {Py_tp_new, weak_new},
    {Py_tp_dealloc, weak_dealloc},
    {Py_tp_repr, weak_repr},
    {Py_tp_hash, weak_hash},
    {Py_tp_richcompare, weak_richcompare},
    {Py_tp_methods, weak_methods},
    {0, NULL},
};

PyType_Spec weak_spec = {
    .name = "gomem.Weak",
    .basicsize = sizeof(struct py_weak),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = weak_slots,
};
