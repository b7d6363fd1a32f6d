/* The type String: an immutable Go string, whose bytes are in the heap.
 *
 * Called by Python, py_values.c and py_snapshot.c.
 *
 * Concurrency: see py_values.h. The bytes never change.
 * Go: string.
 */
#include "python/py_values.h"

#include <structmember.h>

PyObject *string_wrap(struct py_heap *h, int64_t len, uint64_t *root)
{
    struct py_string *s = (struct py_string *)handle_new(h->state->string_type, h, root);
    if (s != NULL) {
        s->len = len;
        s->hash = -1;
    }
    return (PyObject *)s;
}

static struct gomem_string string_of(PyObject *self)
{
    return (struct gomem_string){handle_address(self), ((struct py_string *)self)->len};
}

/* Its bytes, for as long as the GIL is kept; false with an exception. */
static bool string_bytes(PyObject *self, struct gomem_string *out)
{
    *out = string_of(self);
    return heap_usable(((struct py_handle *)self)->heap);
}

bool parse_bytes(PyObject *arg, const char *what, Py_buffer *view)
{
    if (PyUnicode_Check(arg)) {
        Py_ssize_t n;
        const char *utf8 = PyUnicode_AsUTF8AndSize(arg, &n);
        return utf8 != NULL && PyBuffer_FillInfo(view, arg, (void *)utf8, n, 1, PyBUF_SIMPLE) == 0;
    }
    if (PyObject_CheckBuffer(arg))
        return PyObject_GetBuffer(arg, view, PyBUF_SIMPLE) == 0;
    PyErr_Format(PyExc_TypeError, "%s must be a str, a String, or bytes, not %.200s", what,
                 Py_TYPE(arg)->tp_name);
    return false;
}

static PyObject *string_make(struct py_heap *h, const void *bytes, int64_t n)
{
    struct gomem_string s;
    struct gomem_error err;
    uint64_t *root;
    struct gomem_proc *p = begin_value(h, &root);
    if (p == NULL)
        return NULL;
    enum gomem_status status = gomem_string(p, bytes, n, &s, &err);
    if (status == GOMEM_OK)
        root_write(p, root, (void *)s.data);
    return end_value(h, p, status, &err, root) ? string_wrap(h, n, root) : NULL;
}

PyObject *string_from_python(struct py_heap *h, PyObject *value)
{
    Py_buffer view;
    if (!parse_bytes(value, "a string", &view))
        return NULL;
    PyObject *s = string_make(h, view.buf, view.len);
    PyBuffer_Release(&view);
    return s;
}

static PyObject *string_new(PyObject *cls, PyObject *args)
{
    PyObject *heap, *value;
    struct state *st = state_of_type((PyTypeObject *)cls);
    if (st == NULL || !PyArg_ParseTuple(args, "OO:_new", &heap, &value))
        return NULL;
    struct py_heap *h = parse_heap(st, heap);
    return h == NULL ? NULL : string_from_python(h, value);
}

/* --- Operators --- */

static PyObject *string_concat(PyObject *a, PyObject *b)
{
    struct py_handle *one = (struct py_handle *)a;
    struct state *st = state_of_type(Py_TYPE(a));
    if (st == NULL)
        PyErr_Clear();
    if (st == NULL || !PyObject_TypeCheck(a, st->string_type)) {
        PyErr_Format(PyExc_TypeError, "a String can be added to a String, not to a %.200s",
                     Py_TYPE(a)->tp_name);
        return NULL;
    }
    struct py_heap *h = one->heap;
    PyObject *other = PyObject_TypeCheck(b, st->string_type) ? Py_NewRef(b)
                                                             : string_from_python(h, b);
    if (other == NULL)
        return NULL;
    if (((struct py_handle *)other)->heap != h) {
        Py_DECREF(other);
        return raise_pointer(st, "the String belongs to another heap");
    }
    struct gomem_string parts[2] = {string_of(a), string_of(other)}, sum;
    struct gomem_error err;
    uint64_t *root;
    PyObject *result = NULL;
    struct gomem_proc *p = begin_value(h, &root);
    if (p != NULL) {
        enum gomem_status status = gomem_string_concat(p, parts, 2, &sum, &err);
        if (status == GOMEM_OK)
            root_write(p, root, (void *)sum.data);
        result = end_value(h, p, status, &err, root) ? string_wrap(h, sum.len, root) : NULL;
    }
    Py_DECREF(other);
    return result;
}

static Py_ssize_t string_length(PyObject *self)
{
    return (Py_ssize_t)((struct py_string *)self)->len;
}

static PyObject *string_slice(PyObject *self, PyObject *key)
{
    struct py_heap *h = ((struct py_handle *)self)->heap;
    struct gomem_bounds b;
    struct gomem_slice out;
    struct gomem_error err;
    if (!parse_bounds(key, &b))
        return NULL;
    if (b.has_max) {
        PyErr_SetString(PyExc_TypeError, "a string cannot be sliced with three bounds");
        return NULL;
    }
    b.of_string = true;
    struct gomem_string s = string_of(self);
    struct gomem_slice all = {(void *)s.data, s.len, s.len};
    struct py_type *byte = type_basic(h->state, "uint8");
    if (gomem_slice(byte->t, &all, &b, &out, &err) != GOMEM_OK)
        return raise_error(h->state, &err);
    uint64_t *root;
    struct gomem_proc *p = begin_value(h, &root);
    if (p == NULL)
        return NULL;
    root_write(p, root, out.array);
    gomem_proc_release(p);
    return string_wrap(h, out.len, root);
}

static PyObject *string_subscript(PyObject *self, PyObject *key)
{
    int64_t i;
    struct gomem_string s;
    struct gomem_error err;
    struct state *st = ((struct py_handle *)self)->heap->state;
    if (PySlice_Check(key))
        return string_slice(self, key);
    if (!parse_index(st, key, ((struct py_string *)self)->len, &i) || !string_bytes(self, &s))
        return NULL;
    if (gomem_check_index(i, s.len, &err) != GOMEM_OK)
        return raise_error(st, &err);
    return PyLong_FromLong(((const uint8_t *)s.data)[i]);
}

static PyObject *string_str(PyObject *self)
{
    struct gomem_string s;
    if (!string_bytes(self, &s))
        return NULL;
    return PyUnicode_DecodeUTF8(s.len == 0 ? "" : s.data, (Py_ssize_t)s.len, "replace");
}

static PyObject *string_to_python_bytes(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct gomem_string s;
    return string_bytes(self, &s) ? PyBytes_FromStringAndSize(s.data, (Py_ssize_t)s.len) : NULL;
}

static PyObject *string_repr(PyObject *self)
{
    if (((struct py_handle *)self)->heap->closing)
        return PyUnicode_FromString("<gomem.String, closed heap>");
    PyObject *str = string_str(self);
    PyObject *repr = str == NULL ? NULL : PyUnicode_FromFormat("<gomem.String %R>", str);
    Py_XDECREF(str);
    return repr;
}

/* As the str has: so that a String finds what a str is the key of. */
static Py_hash_t string_hash(PyObject *self)
{
    struct py_string *s = (struct py_string *)self;
    if (s->hash != -1)
        return s->hash;
    PyObject *str = string_str(self);
    if (str != NULL)
        s->hash = PyObject_Hash(str);
    Py_XDECREF(str);
    return s->hash;
}

static PyObject *string_richcompare(PyObject *a, PyObject *b, int op)
{
    struct gomem_string x, y;
    Py_ssize_t n;
    if (!string_bytes(a, &x))
        return NULL;
    if (PyUnicode_Check(b)) {
        y.data = PyUnicode_AsUTF8AndSize(b, &n);
        y.len = n;
        if (y.data == NULL) { /* lone surrogates: no string is equal to it */
            PyErr_Clear();
            Py_RETURN_NOTIMPLEMENTED;
        }
    } else if (!Py_IS_TYPE(b, Py_TYPE(a))) {
        Py_RETURN_NOTIMPLEMENTED;
    } else if (!string_bytes(b, &y)) {
        return NULL;
    }
    int64_t shorter = x.len < y.len ? x.len : y.len;
    int order = shorter == 0 ? 0 : memcmp(x.data, y.data, (size_t)shorter);
    if (order == 0)
        order = (x.len > y.len) - (x.len < y.len);
    Py_RETURN_RICHCOMPARE(order, 0, op);
}

static PyObject *string_to_slice(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = ((struct py_handle *)self)->heap;
    struct py_type *type = type_slice_of(type_basic(h->state, "uint8"));
    struct gomem_string s = string_of(self);
    struct gomem_slice out;
    struct gomem_error err;
    uint64_t *root;
    PyObject *result = NULL;
    struct gomem_proc *p = type == NULL ? NULL : begin_value(h, &root);
    if (p != NULL) {
        enum gomem_status status = gomem_string_bytes(p, &s, &out, &err);
        if (status == GOMEM_OK)
            root_write(p, root, out.array);
        result = end_value(h, p, status, &err, root) ? slice_wrap(h, type, out, root) : NULL;
    }
    Py_XDECREF(type);
    return result;
}

/* --- The object --- */

static void string_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (((struct py_string *)self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    handle_end(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static int string_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    struct py_handle *handle = (struct py_handle *)self;
    struct gomem_string s;
    int status = -1;
    view->obj = NULL;
    HEAP_LOCK(handle->heap)
    if (string_bytes(self, &s))
        status = PyBuffer_FillInfo(view, self, s.len == 0 ? "" : (void *)s.data, (Py_ssize_t)s.len,
                                   1, flags);
    handle->heap->exports += status == 0;
    HEAP_UNLOCK(handle->heap)
    return status;
}

static void string_releasebuffer(PyObject *self, Py_buffer *view)
{
    (void)view;
    struct py_handle *handle = (struct py_handle *)self;
    HEAP_LOCK(handle->heap)
    handle->heap->exports--;
    HEAP_UNLOCK(handle->heap)
}

static PyObject *get_address(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromVoidPtr(handle_address(self));
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_handle *)self)->heap);
}

static PyGetSetDef string_getset[] = {
    {"address", get_address, NULL, "Address of the first byte; 0 if there is none.", NULL},
    {"heap", get_heap, NULL, "The Heap its bytes lie in.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef string_methods[] = {
    {"_new", string_new, METH_VARARGS | METH_CLASS, NULL},
    {"__bytes__", string_to_python_bytes, METH_NOARGS, NULL},
    {"to_slice", string_to_slice, METH_NOARGS,
     "to_slice($self, /)\n--\n\n"
     "The bytes as a new slice (Go: []byte(s)): one allocation. Raises MemoryError."},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef string_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_string, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot string_slots[] = {
    {Py_tp_doc,
     "An immutable Go string in a Heap: made by Heap.string, or read from memory.\n\n"
     "Its length, indexes and slices count bytes, as in Go; a slice s[i:j] shares them. Adding makes\n"
     "a new string. It equals a str with the same UTF-8. Bounds that are out of range raise\n"
     "BoundsError with the text of Go's panic; negative ones do, too."},
    {Py_tp_dealloc, string_dealloc},
    {Py_tp_repr, string_repr},
    {Py_tp_str, string_str},
    {Py_tp_hash, string_hash},
    {Py_tp_richcompare, string_richcompare},
    {Py_nb_add, string_concat},
    {Py_mp_length, string_length},
    {Py_mp_subscript, string_subscript},
    {Py_bf_getbuffer, string_getbuffer},
    {Py_bf_releasebuffer, string_releasebuffer},
    {Py_tp_methods, string_methods},
    {Py_tp_getset, string_getset},
    {Py_tp_members, string_members},
    {0, NULL},
};

PyType_Spec string_spec = {
    .name = "gomem.String",
    .basicsize = sizeof(struct py_string),
    .flags = Py_TPFLAGS_DEFAULT
#if PY_VERSION_HEX >= 0x030a0000
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = string_slots,
};
