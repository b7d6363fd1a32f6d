/* Slices and arrays from outside: many appends without the GIL, views of slices of numbers.
 *
 * Methods of Slice (py_slice.c).
 *
 * Concurrency: see py_values.h. The loop works on a variable of its own, which then becomes the slice.
 * Go: no counterpart.
 */
#include "python/py_values.h"

/* n appends of one value each, without the GIL; where it got to is in *s. */
static enum gomem_status append_each(struct py_slice *s, struct gomem_slice *new, uint64_t *root,
                                     const void *values, size_t stride, int64_t n,
                                     struct gomem_error *err)
{
    enum gomem_status status = GOMEM_CLOSED;
    struct gomem_proc *p;
    /* With pointers: nobody may change what is read. */
    PyThreadState *saved = gomem_type_pointer_bytes(elem_of(s)->t) == 0 ? PyEval_SaveThread() : NULL;
    p = gomem_proc_acquire(s->base.heap->rt);
    if (p != NULL) {
        status = gomem_append_each(p, elem_of(s)->t, new, root, values, stride, n, err);
        gomem_proc_release(p);
    }
    if (saved != NULL)
        PyEval_RestoreThread(saved);
    if (p == NULL)
        snprintf(err->message, sizeof err->message, "the heap is closed");
    err->status = status;
    return status;
}

/* s becomes what was appended to. An exception that is set stays: then it is done if it can be. */
static bool become(struct py_slice *s, struct gomem_slice new)
{
    PyObject *raised = take_exception();
    struct gomem_proc *p = slice_check_views(s, INT64_MAX) ? heap_proc(s->base.heap) : NULL;
    if (p != NULL) {
        slice_set(s, p, new);
        gomem_proc_release(p);
    }
    if (raised != NULL)
        give_exception(raised);
    return p != NULL && raised == NULL;
}

/* So many values are appended between two looks for signals: some hundredths of a second. */
enum { PIECE = 1 << 18 };

/* The loop, on a variable of its own that then becomes s. */
static bool append_many(struct py_slice *s, const void *values, size_t stride, int64_t n)
{
    struct py_heap *h = s->base.heap;
    struct gomem_error err;
    if (s->exports > 0)
        return slice_check_views(s, INT64_MAX);
    struct py_slice *own = (struct py_slice *)slice_clone(s);
    if (own == NULL)
        return false;
    struct gomem_slice new = slice_of(own);
    enum gomem_status status = gomem_check_append(elem_of(s)->t, &new, n, &err);
    int64_t i = 0, piece = elem_size(s) == 0 ? n : PIECE;
    while (i < n && status == GOMEM_OK && (i == 0 || PyErr_CheckSignals() == 0)) {
        piece = n - i < piece ? n - i : piece;
        status = append_each(s, &new, own->base.root, (const char *)values + (size_t)i * stride, stride,
                             piece, &err);
        i += piece;
    }
    if (status != GOMEM_OK)
        raise_error(h->state, &err);
    bool ok = become(s, new);
    Py_DECREF(own);
    return ok;
}

/* Buffer formats of numbers, by kind. */
static const char *const formats[GOMEM_POINTER] = {
    [GOMEM_BOOL] = "?",    [GOMEM_INT8] = "b",     [GOMEM_INT16] = "h",
    [GOMEM_INT32] = "i",   [GOMEM_INT64] = "l",    [GOMEM_UINT8] = "B",
    [GOMEM_UINT16] = "H",  [GOMEM_UINT32] = "I",   [GOMEM_UINT64] = "L",
    [GOMEM_UINTPTR] = "L", [GOMEM_FLOAT32] = "f",  [GOMEM_FLOAT64] = "d",
    [GOMEM_COMPLEX64] = "Zf", [GOMEM_COMPLEX128] = "Zd",
};

static const char *format_of(const struct py_type *t)
{
    enum gomem_kind kind = gomem_type_kind(t->t);
    return kind < GOMEM_POINTER ? formats[kind] : NULL;
}

/* Are the elements of a buffer such numbers? */
static bool same_format(const struct py_type *t, const Py_buffer *view)
{
    const char *have = view->format == NULL ? "B" : view->format, *want = format_of(t);
    have += *have == '=' || *have == '@' || *have == '<';
    if (want == NULL || (size_t)view->itemsize != gomem_type_size(t->t))
        return false;
    const char *longs = "lq", *unsigned_longs = "LQ";
    if (*want == 'l' || *want == 'L')
        return have[0] != 0 && strchr(*want == 'l' ? longs : unsigned_longs, have[0]) != NULL &&
               have[1] == 0;
    return strcmp(have, want) == 0;
}

/* The values of a list or a tuple. */
static bool array_pack(struct py_heap *h, struct py_type *type, PyObject *arg, struct array *out)
{
    PyObject *items = PySequence_Tuple(arg); /* converting may change a list */
    bool ok = items != NULL && pack(&out->packed, h, type, &PyTuple_GET_ITEM(items, 0),
                                    PyTuple_GET_SIZE(items), "an element", false);
    out->is_packed = ok;
    out->values = ok ? out->packed.bytes : NULL;
    out->n = ok ? (size_t)PyTuple_GET_SIZE(items) : 0;
    Py_XDECREF(items);
    return ok;
}

bool array_from(struct py_heap *h, struct py_type *type, PyObject *arg, const char *what,
                struct array *out)
{
    *out = (struct array){0};
    if (PyObject_TypeCheck(arg, h->state->slice_type) &&
        type_identical(elem_of((struct py_slice *)arg), type) &&
        ((struct py_handle *)arg)->heap == h) {
        out->slice = slice_clone((struct py_slice *)arg);
        out->values = handle_address(out->slice);
        out->n = out->slice == NULL ? 0 : (size_t)((struct py_slice *)out->slice)->len;
        return out->slice != NULL;
    }
    if (PyList_Check(arg) || PyTuple_Check(arg))
        return array_pack(h, type, arg, out);
    if (!PyObject_CheckBuffer(arg)) {
        PyErr_Format(PyExc_TypeError,
                     "%s must be a Slice, a list or a contiguous one-dimensional array of %U, not %.200s",
                     what, type->name, Py_TYPE(arg)->tp_name);
        return false;
    }
    if (PyObject_GetBuffer(arg, &out->view, PyBUF_FORMAT | PyBUF_ND) < 0)
        return false;
    if (out->view.ndim != 1 || !same_format(type, &out->view)) {
        PyErr_Format(PyExc_TypeError,
                     "%s must be a Slice, a list or a contiguous one-dimensional array of %U, not of "
                     "%d dimensions and format %s",
                     what, type->name, out->view.ndim,
                     out->view.format == NULL ? "B" : out->view.format);
        PyBuffer_Release(&out->view);
        return false;
    }
    out->values = out->view.buf;
    out->n = (size_t)(out->view.len / out->view.itemsize);
    return true;
}

void array_end(struct array *a)
{
    if (a->view.obj != NULL)
        PyBuffer_Release(&a->view);
    if (a->is_packed)
        pack_end(&a->packed);
    Py_XDECREF(a->slice);
}

static bool append_array(struct py_slice *s, PyObject *arg)
{
    struct array a;
    if (!array_from(s->base.heap, elem_of(s), arg, "values", &a))
        return false;
    bool ok = append_many(s, a.values, elem_size(s), (int64_t)a.n);
    array_end(&a);
    return ok;
}

PyObject *slice_append_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"values", "count", NULL};
    struct py_slice *s = (struct py_slice *)self;
    PyObject *values, *count = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:append_many", names, &values, &count) ||
        !heap_usable(s->base.heap))
        return NULL;
    bool ok;
    if (count == Py_None) {
        ok = append_array(s, values);
    } else {
        int64_t n;
        struct packed v;
        if (!parse_count(count, "count", &n))
            return NULL;
        if (n < 0) {
            PyErr_Format(PyExc_ValueError, "count must not be negative: %lld", (long long)n);
            return NULL;
        }
        if (!pack(&v, s->base.heap, elem_of(s), &values, 1, "an element", false))
            return NULL;
        ok = heap_usable(s->base.heap) && append_many(s, v.bytes, 0, n);
        pack_end(&v);
    }
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* --- Views --- */

int slice_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    struct py_slice *s = (struct py_slice *)self;
    const char *format = format_of(elem_of(s));
    view->obj = NULL;
    if (format == NULL) {
        PyErr_Format(PyExc_BufferError, "only slices of numbers have views, not %U", s->type->name);
        return -1;
    }
    int status = -1;
    HEAP_LOCK(s->base.heap)
    if (heap_usable(s->base.heap)) {
        void *array = handle_address(s);
        Py_ssize_t size = (Py_ssize_t)elem_size(s);
        status = PyBuffer_FillInfo(view, self, array == NULL ? "" : array,
                                   (Py_ssize_t)s->len * size, 0, flags & ~PyBUF_FORMAT);
        if (status == 0) {
            Py_ssize_t *shape = PyMem_Malloc(2 * sizeof *shape);
            if (shape == NULL) {
                PyErr_NoMemory();
                PyBuffer_Release(view);
                status = -1;
            } else {
                shape[0] = (Py_ssize_t)s->len;
                shape[1] = size;
                view->internal = shape;
                view->itemsize = size;
                view->format = flags & PyBUF_FORMAT ? (char *)format : NULL;
                view->shape = flags & PyBUF_ND ? &shape[0] : NULL;
                view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? &shape[1] : NULL;
                s->exports++;
                s->base.heap->exports++;
            }
        }
    }
    HEAP_UNLOCK(s->base.heap)
    return status;
}

PyObject *slice_array(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"dtype", "copy", NULL};
    struct py_slice *s = (struct py_slice *)self;
    PyObject *dtype = Py_None, *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:__array__", names, &dtype, &copy))
        return NULL;
    if (format_of(elem_of(s)) == NULL) {
        PyErr_Format(PyExc_TypeError, "only slices of numbers are arrays, not %U: use a list of it",
                     s->type->name);
        return NULL;
    }
    PyObject *parts = Py_BuildValue("(OOO)", self, dtype, copy);
    PyObject *array = parts == NULL ? NULL : call_python("gomem.values", "slice_array", parts);
    Py_XDECREF(parts);
    return array;
}

void slice_releasebuffer(PyObject *self, Py_buffer *view)
{
    struct py_slice *s = (struct py_slice *)self;
    if (view->internal == NULL)
        return;
    PyMem_Free(view->internal);
    HEAP_LOCK(s->base.heap)
    s->exports--;
    s->base.heap->exports--;
    HEAP_UNLOCK(s->base.heap)
}

