/* The types Builder and Buffer: strings.Builder and bytes.Buffer, as objects in the heap.
 *
 * Called by Python.
 *
 * Concurrency: see py_values.h. The object is the handle's, for good.
 * Go: strings.Builder, bytes.Buffer.
 */
#include "python/py_values.h"

#include <structmember.h>

/* --- What both have --- */

static struct gomem_builder *builder_of(PyObject *self)
{
    return handle_address(self);
}

static struct gomem_buffer *buffer_of(PyObject *self)
{
    return handle_address(self);
}

static PyObject *make(PyObject *cls, PyObject *heap, void *(*new)(struct gomem_proc *))
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    struct py_heap *h = st == NULL ? NULL : parse_heap(st, heap);
    uint64_t *root;
    struct gomem_proc *p = h == NULL ? NULL : begin_value(h, &root);
    if (p == NULL)
        return NULL;
    void *object = new(p);
    gomem_init_root(root, object);
    gomem_proc_release(p);
    if (object != NULL)
        return handle_new((PyTypeObject *)cls, h, root);
    root_give(h, root);
    return raise_no_memory(h, 1);
}

static struct py_heap *heap_of(PyObject *self)
{
    return ((struct py_handle *)self)->heap;
}

static bool usable(PyObject *self)
{
    return heap_usable(heap_of(self));
}

/* Writes or grows: None, or NULL with an exception. */
static PyObject *change(PyObject *self, const void *bytes, int64_t n,
                        enum gomem_status (*f)(struct gomem_proc *, void *, const void *, int64_t,
                                               struct gomem_error *))
{
    struct gomem_error err;
    bool ok = false;
    HEAP_LOCK(heap_of(self))
    struct gomem_proc *p = heap_proc(heap_of(self));
    if (p != NULL) {
        enum gomem_status status = f(p, handle_address(self), bytes, n, &err);
        ok = end_value(heap_of(self), p, status, &err, NULL);
    }
    HEAP_UNLOCK(heap_of(self))
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

typedef enum gomem_status change_function(struct gomem_proc *, void *, const void *, int64_t,
                                          struct gomem_error *);

static PyObject *write_bytes(PyObject *self, PyObject *arg, change_function *f)
{
    Py_buffer view;
    if (!parse_bytes(arg, "what is written", &view))
        return NULL;
    PyObject *none = change(self, view.buf, view.len, f);
    Py_ssize_t n = view.len;
    PyBuffer_Release(&view);
    if (none == NULL)
        return NULL;
    Py_DECREF(none);
    return PyLong_FromSsize_t(n);
}

static PyObject *write_one(PyObject *self, PyObject *arg, change_function *f)
{
    int64_t n;
    if (!parse_count(arg, "a byte", &n))
        return NULL;
    if (n < 0 || n > 255) {
        PyErr_Format(PyExc_ValueError, "a byte must be from 0 to 255, not %lld", (long long)n);
        return NULL;
    }
    uint8_t byte = (uint8_t)n;
    return change(self, &byte, 1, f);
}

static bool rune_of(PyObject *arg, int32_t *out)
{
    int64_t n;
    if (PyUnicode_Check(arg)) {
        if (PyUnicode_GetLength(arg) == 1) {
            *out = (int32_t)PyUnicode_ReadChar(arg, 0);
            return true;
        }
        PyErr_Format(PyExc_ValueError, "a rune must be one character, not %zd", PyUnicode_GetLength(arg));
        return false;
    }
    if (!parse_count(arg, "a rune", &n))
        return false;
    *out = n < 0 || n > INT32_MAX ? -1 : (int32_t)n; /* as a rune that is none */
    return true;
}

/* Writes a rune: how many bytes, or NULL with an exception. */
static PyObject *write_one_rune(PyObject *self, PyObject *arg, bool is_builder)
{
    struct gomem_error err;
    int32_t rune;
    int size = 0;
    bool ok = false;
    if (!rune_of(arg, &rune))
        return NULL;
    HEAP_LOCK(heap_of(self))
    struct gomem_proc *p = heap_proc(heap_of(self));
    if (p != NULL) {
        enum gomem_status status =
            is_builder ? gomem_builder_write_rune(p, builder_of(self), rune, &size, &err)
                       : gomem_buffer_write_rune(p, buffer_of(self), rune, &size, &err);
        ok = end_value(heap_of(self), p, status, &err, NULL);
    }
    HEAP_UNLOCK(heap_of(self))
    return ok ? PyLong_FromLong(size) : NULL;
}

static PyObject *grow_by(PyObject *self, PyObject *arg, change_function *f)
{
    int64_t n;
    return parse_count(arg, "n", &n) ? change(self, NULL, n, f) : NULL;
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)heap_of(self));
}

static PyObject *get_address(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromVoidPtr(handle_address(self));
}

static void bytes_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (((struct py_bytes *)self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    handle_end(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* As pointers are compared: one object, however many handles. */
static PyObject *bytes_richcompare(PyObject *a, PyObject *b, int op)
{
    if ((op != Py_EQ && op != Py_NE) || !Py_IS_TYPE(b, Py_TYPE(a)))
        Py_RETURN_NOTIMPLEMENTED;
    bool same = heap_of(a) == heap_of(b) && handle_address(a) == handle_address(b);
    return PyBool_FromLong(op == Py_EQ ? same : !same);
}

static Py_hash_t bytes_hash(PyObject *self)
{
    return (Py_hash_t)((uintptr_t)handle_address(self) >> 4);
}

static PyMemberDef bytes_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_bytes, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* --- Builder --- */

static enum gomem_status do_builder_write(struct gomem_proc *p, void *b, const void *bytes,
                                          int64_t n, struct gomem_error *err)
{
    return gomem_builder_write(p, b, bytes, n, err);
}

static enum gomem_status do_builder_grow(struct gomem_proc *p, void *b, const void *unused, int64_t n,
                                         struct gomem_error *err)
{
    (void)unused;
    return gomem_builder_grow(p, b, n, err);
}

static void *do_builder_new(struct gomem_proc *p)
{
    return gomem_builder_new(p);
}

static PyObject *builder_new(PyObject *cls, PyObject *heap)
{
    return make(cls, heap, do_builder_new);
}

static PyObject *builder_write(PyObject *self, PyObject *arg)
{
    return write_bytes(self, arg, do_builder_write);
}

static PyObject *builder_write_byte(PyObject *self, PyObject *arg)
{
    return write_one(self, arg, do_builder_write);
}

static PyObject *builder_write_rune(PyObject *self, PyObject *arg)
{
    return write_one_rune(self, arg, true);
}

static PyObject *builder_grow(PyObject *self, PyObject *arg)
{
    return grow_by(self, arg, do_builder_grow);
}

static PyObject *builder_reset(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct gomem_proc *p = heap_proc(heap_of(self));
    if (p == NULL)
        return NULL;
    gomem_builder_reset(p, builder_of(self));
    gomem_proc_release(p);
    Py_RETURN_NONE;
}

static PyObject *builder_string(PyObject *self, PyObject *unused)
{
    (void)unused;
    uint64_t *root;
    struct gomem_proc *p = begin_value(heap_of(self), &root);
    if (p == NULL)
        return NULL;
    struct gomem_slice s = gomem_builder_bytes(builder_of(self));
    root_write(p, root, s.array);
    gomem_proc_release(p);
    return string_wrap(heap_of(self), s.len, root);
}

static Py_ssize_t builder_length(PyObject *self)
{
    return usable(self) ? (Py_ssize_t)gomem_builder_bytes(builder_of(self)).len : -1;
}

static PyObject *builder_cap(PyObject *self, void *unused)
{
    (void)unused;
    return usable(self) ? PyLong_FromLongLong(gomem_builder_bytes(builder_of(self)).cap) : NULL;
}

static PyGetSetDef builder_getset[] = {
    {"cap", builder_cap, NULL, "Capacity in bytes.", NULL},
    {"address", get_address, NULL, "Address of the object.", NULL},
    {"heap", get_heap, NULL, "The Heap it lies in.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef builder_methods[] = {
    {"_new", builder_new, METH_O | METH_CLASS, NULL},
    {"write", builder_write, METH_O,
     "write($self, data, /)\n--\n\n"
     "Appends a str (as UTF-8), a String, or bytes; returns how many bytes (Go: WriteString, Write).\n"
     "Raises MemoryError, TypeError."},
    {"write_byte", builder_write_byte, METH_O,
     "write_byte($self, byte, /)\n--\n\nAppends a byte. Raises ValueError if it is none."},
    {"write_rune", builder_write_rune, METH_O,
     "write_rune($self, rune, /)\n--\n\n"
     "Appends a character, given as a str of one or as its number, as UTF-8; what is none in Unicode as\n"
     "U+FFFD. Returns how many bytes (Go: WriteRune). Raises ValueError, TypeError, MemoryError."},
    {"grow", builder_grow, METH_O,
     "grow($self, n, /)\n--\n\n"
     "Makes room for n more bytes: to twice the capacity and n. Raises PanicError for a negative n."},
    {"reset", builder_reset, METH_NOARGS, "reset($self, /)\n--\n\nForgets its array."},
    {"string", builder_string, METH_NOARGS,
     "string($self, /)\n--\n\nWhat was written, sharing the array: no allocation (Go: String)."},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyObject *builder_repr(PyObject *self)
{
    if (heap_of(self)->closing)
        return PyUnicode_FromString("<gomem.Builder, closed heap>");
    struct gomem_slice s = gomem_builder_bytes(builder_of(self));
    return PyUnicode_FromFormat("<gomem.Builder, len %lld, cap %lld>", (long long)s.len, (long long)s.cap);
}

static PyType_Slot builder_slots[] = {
    {Py_tp_doc, "A strings.Builder in a Heap, made by Heap.builder. It grows as Go's does; len() is the\n"
                "number of bytes."},
    {Py_tp_dealloc, bytes_dealloc},
    {Py_tp_richcompare, bytes_richcompare},
    {Py_tp_hash, bytes_hash},
    {Py_tp_repr, builder_repr},
    {Py_mp_length, builder_length},
    {Py_tp_methods, builder_methods},
    {Py_tp_getset, builder_getset},
    {Py_tp_members, bytes_members},
    {0, NULL},
};

/* --- Buffer --- */

static enum gomem_status do_buffer_write(struct gomem_proc *p, void *b, const void *bytes, int64_t n,
                                         struct gomem_error *err)
{
    return gomem_buffer_write(p, b, bytes, n, err);
}

static enum gomem_status do_buffer_grow(struct gomem_proc *p, void *b, const void *unused, int64_t n,
                                        struct gomem_error *err)
{
    (void)unused;
    return gomem_buffer_grow(p, b, n, err);
}

static enum gomem_status do_buffer_truncate(struct gomem_proc *p, void *b, const void *unused,
                                            int64_t n, struct gomem_error *err)
{
    (void)p;
    (void)unused;
    return gomem_buffer_truncate(b, n, err);
}

static void *do_buffer_new(struct gomem_proc *p)
{
    return gomem_buffer_new(p);
}

static PyObject *buffer_new(PyObject *cls, PyObject *heap)
{
    return make(cls, heap, do_buffer_new);
}

static PyObject *buffer_write(PyObject *self, PyObject *arg)
{
    return write_bytes(self, arg, do_buffer_write);
}

static PyObject *buffer_write_byte(PyObject *self, PyObject *arg)
{
    return write_one(self, arg, do_buffer_write);
}

static PyObject *buffer_write_rune(PyObject *self, PyObject *arg)
{
    return write_one_rune(self, arg, false);
}

static PyObject *buffer_grow(PyObject *self, PyObject *arg)
{
    return grow_by(self, arg, do_buffer_grow);
}

static PyObject *buffer_truncate(PyObject *self, PyObject *arg)
{
    return grow_by(self, arg, do_buffer_truncate);
}

static PyObject *buffer_reset(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (!usable(self))
        return NULL;
    gomem_buffer_reset(buffer_of(self));
    Py_RETURN_NONE;
}

static Py_ssize_t buffer_length(PyObject *self)
{
    return usable(self) ? (Py_ssize_t)gomem_buffer_bytes(buffer_of(self)).len : -1;
}

static PyObject *buffer_cap(PyObject *self, void *unused)
{
    (void)unused;
    return usable(self) ? PyLong_FromLongLong(gomem_buffer_cap(buffer_of(self))) : NULL;
}

static PyObject *buffer_available(PyObject *self, void *unused)
{
    (void)unused;
    if (!usable(self))
        return NULL;
    struct gomem_slice s = gomem_buffer_bytes(buffer_of(self));
    return PyLong_FromLongLong(s.cap - s.len);
}

static PyGetSetDef buffer_getset[] = {
    {"cap", buffer_cap, NULL, "Capacity in bytes.", NULL},
    {"available", buffer_available, NULL, "Bytes that can be written without growing.", NULL},
    {"address", get_address, NULL, "Address of the object.", NULL},
    {"heap", get_heap, NULL, "The Heap it lies in.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef buffer_methods[] = {
    {"_new", buffer_new, METH_O | METH_CLASS, NULL},
    {"write", buffer_write, METH_O,
     "write($self, data, /)\n--\n\n"
     "Appends a str (as UTF-8), a String, or bytes; returns how many bytes (Go: WriteString, Write).\n"
     "Raises MemoryError, TypeError, and PanicError if it would be too large."},
    {"write_byte", buffer_write_byte, METH_O,
     "write_byte($self, byte, /)\n--\n\nAppends a byte. Raises ValueError if it is none."},
    {"write_rune", buffer_write_rune, METH_O,
     "write_rune($self, rune, /)\n--\n\n"
     "Appends a character, given as a str of one or as its number, as UTF-8; what is none in Unicode as\n"
     "U+FFFD. Returns how many bytes (Go: WriteRune). Raises ValueError, TypeError, MemoryError."},
    {"grow", buffer_grow, METH_O,
     "grow($self, n, /)\n--\n\n"
     "Makes room for n more bytes. Raises PanicError for a negative n, or one too large."},
    {"truncate", buffer_truncate, METH_O,
     "truncate($self, n, /)\n--\n\n"
     "Keeps the first n unread bytes. Raises PanicError if there are not as many."},
    {"reset", buffer_reset, METH_NOARGS,
     "reset($self, /)\n--\n\nMakes it empty; the array stays for later writes."},
    {"bytes", py_buffer_bytes, METH_NOARGS,
     "bytes($self, /)\n--\n\nWhat is unread, as a Slice that shares the array (Go: Bytes)."},
    {"string", py_buffer_string, METH_NOARGS,
     "string($self, /)\n--\n\nWhat is unread, as a String: one allocation (Go: String)."},
    {"next", py_buffer_next, METH_O,
     "next($self, n, /)\n--\n\n"
     "Reads the next n bytes, or as many as there are, as a Slice that shares the array (Go: Next).\n"
     "Raises BoundsError, as Go panics, for a negative n."},
    {"read", py_buffer_read, METH_O,
     "read($self, n, /)\n--\n\nReads up to n bytes, as bytes of Python; b'' at the end (Go: Read)."},
    {"peek", py_buffer_peek, METH_O,
     "peek($self, n, /)\n--\n\n"
     "The next n bytes, or as many as there are, without reading them, as a Slice that shares the array\n"
     "(Go: Peek). Raises as next does."},
    {"read_rune", py_buffer_read_rune, METH_NOARGS,
     "read_rune($self, /)\n--\n\n"
     "Reads a character of UTF-8: a str, and how many bytes it was; '\\ufffd' and 1 for a byte that begins\n"
     "none (Go: ReadRune). Raises EOFError at the end."},
    {"unread_rune", py_buffer_unread_rune, METH_NOARGS,
     "unread_rune($self, /)\n--\n\n"
     "Takes back the last character. Raises ValueError if the last call was not read_rune."},
    {"read_string", py_buffer_read_string, METH_O,
     "read_string($self, delimiter, /)\n--\n\nAs read_bytes, as a String (Go: ReadString)."},
    {"read_byte", py_buffer_read_byte, METH_NOARGS,
     "read_byte($self, /)\n--\n\nReads a byte. Raises EOFError at the end."},
    {"unread_byte", py_buffer_unread_byte, METH_NOARGS,
     "unread_byte($self, /)\n--\n\n"
     "Takes back the last byte read. Raises ValueError if the last call was no read."},
    {"read_bytes", py_buffer_read_bytes, METH_O,
     "read_bytes($self, delimiter, /)\n--\n\n"
     "Reads up to and with the delimiter, a byte, or all if there is none, as a Slice of its own (Go:\n"
     "ReadBytes)."},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyObject *buffer_repr(PyObject *self)
{
    if (heap_of(self)->closing)
        return PyUnicode_FromString("<gomem.Buffer, closed heap>");
    return PyUnicode_FromFormat("<gomem.Buffer, len %lld, cap %lld>",
                                (long long)gomem_buffer_bytes(buffer_of(self)).len,
                                (long long)gomem_buffer_cap(buffer_of(self)));
}

static PyType_Slot buffer_slots[] = {
    {Py_tp_doc, "A bytes.Buffer in a Heap, made by Heap.buffer. It grows as Go's does; len() is the\n"
                "number of unread bytes."},
    {Py_tp_dealloc, bytes_dealloc},
    {Py_tp_richcompare, bytes_richcompare},
    {Py_tp_hash, bytes_hash},
    {Py_tp_repr, buffer_repr},
    {Py_mp_length, buffer_length},
    {Py_tp_methods, buffer_methods},
    {Py_tp_getset, buffer_getset},
    {Py_tp_members, bytes_members},
    {0, NULL},
};

#if PY_VERSION_HEX >= 0x030a0000
#define NOT_BY_HAND Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION
#else
#define NOT_BY_HAND Py_TPFLAGS_DEFAULT
#endif

PyType_Spec builder_spec = {
    .name = "gomem.Builder",
    .basicsize = sizeof(struct py_bytes),
    .flags = NOT_BY_HAND,
    .slots = builder_slots,
};

PyType_Spec buffer_spec = {
    .name = "gomem.Buffer",
    .basicsize = sizeof(struct py_bytes),
    .flags = NOT_BY_HAND,
    .slots = buffer_slots,
};
