/* Methods of Buffer that read.
 *
 * Called by Python.
 *
 * Concurrency: see py_values.h. The object is the handle's, for good.
 * Go: bytes.Buffer.
 */
#include "python/py_values.h"

static struct gomem_buffer *buffer_of(PyObject *self)
{
    return handle_address(self);
}

static struct py_heap *heap_of(PyObject *self)
{
    return ((struct py_handle *)self)->heap;
}

static bool usable(PyObject *self)
{
    return heap_usable(heap_of(self));
}

/* A Slice of the array, in a root of its own. */
static PyObject *slice_from(PyObject *self, struct gomem_slice (*f)(void *, int64_t), int64_t n)
{
    struct py_heap *h = heap_of(self);
    struct py_type *byte = type_basic(h->state, "uint8"), *type = type_slice_of(byte);
    uint64_t *root = NULL;
    PyObject *result = NULL;
    struct gomem_proc *p = type == NULL ? NULL : begin_value(h, &root);
    if (p != NULL) {
        struct gomem_slice s = f(handle_address(self), n);
        root_write(p, root, s.array);
        gomem_proc_release(p);
        result = slice_wrap(h, type, s, root);
    }
    Py_XDECREF(type);
    return result;
}

static struct gomem_slice do_bytes(void *b, int64_t unused)
{
    (void)unused;
    return gomem_buffer_bytes(b);
}

static struct gomem_slice do_next(void *b, int64_t n)
{
    return gomem_buffer_next(b, n);
}

static struct gomem_slice do_peek(void *b, int64_t n)
{
    return gomem_buffer_peek(b, n);
}

PyObject *py_buffer_bytes(PyObject *self, PyObject *unused)
{
    (void)unused;
    return slice_from(self, do_bytes, 0);
}

static PyObject *next_bytes(PyObject *self, PyObject *arg, struct gomem_slice (*f)(void *, int64_t))
{
    int64_t n;
    struct gomem_error err;
    if (!parse_count(arg, "n", &n) || !usable(self))
        return NULL;
    if (gomem_buffer_check_count(buffer_of(self), n, &err) != GOMEM_OK)
        return raise_error(heap_of(self)->state, &err);
    return slice_from(self, f, n);
}

PyObject *py_buffer_next(PyObject *self, PyObject *arg)
{
    return next_bytes(self, arg, do_next);
}

PyObject *py_buffer_peek(PyObject *self, PyObject *arg)
{
    return next_bytes(self, arg, do_peek);
}

static bool parse_delimiter(PyObject *arg, int64_t *out)
{
    if (!parse_count(arg, "a delimiter", out))
        return false;
    if (*out >= 0 && *out <= 255)
        return true;
    PyErr_Format(PyExc_ValueError, "a delimiter must be a byte, from 0 to 255, not %lld",
                 (long long)*out);
    return false;
}

/* What is unread, up to and with the delimiter; NULL: all. */
static struct gomem_slice up_to(PyObject *self, const int64_t *delimiter)
{
    struct gomem_slice s = gomem_buffer_bytes(buffer_of(self));
    const char *found = delimiter == NULL || s.len == 0
                            ? NULL
                            : memchr(s.array, (int)*delimiter, (size_t)s.len);
    if (found != NULL)
        s.len = found + 1 - (const char *)s.array;
    return s;
}

/* The same as a String, or as a Slice with an array of its own; with a delimiter it counts as read, once
 * nothing can fail any more. */
static PyObject *copy_of(PyObject *self, const int64_t *delimiter, bool as_string)
{
    struct py_heap *h = heap_of(self);
    struct py_type *byte = type_basic(h->state, "uint8");
    struct py_type *type = as_string ? NULL : type_slice_of(byte);
    struct gomem_string text = {0};
    struct gomem_slice copy = {0};
    struct gomem_error err;
    uint64_t *root = NULL;
    PyObject *result = NULL;
    struct gomem_proc *p = as_string || type != NULL ? begin_value(h, &root) : NULL;
    if (p != NULL) {
        struct gomem_slice s = up_to(self, delimiter);
        enum gomem_status status = as_string
                                       ? gomem_string(p, s.array, s.len, &text, &err)
                                       : gomem_append(p, byte->t, &copy, s.array, s.len, &err);
        if (status == GOMEM_OK) {
            root_write(p, root, as_string ? (void *)(uintptr_t)text.data : copy.array);
            if (delimiter != NULL)
                (void)gomem_buffer_next_until(buffer_of(self), (uint8_t)*delimiter);
        }
        if (end_value(h, p, status, &err, root))
            result = as_string ? string_wrap(h, text.len, root) : slice_wrap(h, type, copy, root);
    }
    Py_XDECREF(type);
    return result;
}

PyObject *py_buffer_read_bytes(PyObject *self, PyObject *arg)
{
    int64_t delimiter;
    return parse_delimiter(arg, &delimiter) ? copy_of(self, &delimiter, false) : NULL;
}

PyObject *py_buffer_read_string(PyObject *self, PyObject *arg)
{
    int64_t delimiter;
    return parse_delimiter(arg, &delimiter) ? copy_of(self, &delimiter, true) : NULL;
}

PyObject *py_buffer_string(PyObject *self, PyObject *unused)
{
    (void)unused;
    return copy_of(self, NULL, true);
}

PyObject *py_buffer_read(PyObject *self, PyObject *arg)
{
    int64_t n;
    if (!parse_count(arg, "n", &n) || !usable(self))
        return NULL;
    if (n < 0) {
        PyErr_Format(PyExc_ValueError, "n must not be negative: %lld", (long long)n);
        return NULL;
    }
    struct gomem_slice unread = gomem_buffer_bytes(buffer_of(self));
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(n < unread.len ? n : unread.len));
    if (bytes == NULL || !usable(self)) {
        Py_XDECREF(bytes);
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    Py_ssize_t got = (Py_ssize_t)gomem_buffer_read(buffer_of(self), PyBytes_AS_STRING(bytes), size);
    if (got < size) /* making the object has let others read */
        (void)_PyBytes_Resize(&bytes, got);
    return bytes;
}

PyObject *py_buffer_read_byte(PyObject *self, PyObject *unused)
{
    (void)unused;
    uint8_t byte;
    if (!usable(self))
        return NULL;
    if (gomem_buffer_read(buffer_of(self), &byte, 1) == 1)
        return PyLong_FromLong(byte);
    PyErr_SetString(PyExc_EOFError, "EOF");
    return NULL;
}

PyObject *py_buffer_unread_byte(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (!usable(self))
        return NULL;
    if (gomem_buffer_unread_byte(buffer_of(self)))
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError,
                    "bytes.Buffer: UnreadByte: previous operation was not a successful read");
    return NULL;
}

PyObject *py_buffer_read_rune(PyObject *self, PyObject *unused)
{
    (void)unused;
    int size;
    if (!usable(self))
        return NULL;
    int32_t rune = gomem_buffer_read_rune(buffer_of(self), &size);
    if (size > 0)
        return Py_BuildValue("Ci", (int)rune, size);
    PyErr_SetString(PyExc_EOFError, "EOF");
    return NULL;
}

PyObject *py_buffer_unread_rune(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (!usable(self))
        return NULL;
    if (gomem_buffer_unread_rune(buffer_of(self)))
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError,
                    "bytes.Buffer: UnreadRune: previous operation was not a successful ReadRune");
    return NULL;
}
