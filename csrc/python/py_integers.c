/* Arrays of sizes and addresses from Python: buffers of any integer format, and sequences.
 *
 * Called by py_roots.c.
 *
 * Concurrency: under the GIL.
 * Go: no counterpart.
 */
#include "python/py_core.h"

static const char *const meanings[] = {"sizes", "addresses"};

uint64_t *new_integers(Py_ssize_t n)
{
    uint64_t *values = NULL;
    if ((size_t)n < PY_SSIZE_T_MAX / sizeof *values)
        values = PyMem_RawMalloc(((size_t)n + 1) * sizeof *values);
    if (values == NULL)
        PyErr_Format(PyExc_MemoryError, "no memory for a table of %zd objects", n);
    return values;
}

/* Which C integer a buffer format is: its size in bytes and sign; false for anything else. */
static bool integer_format(const char *format, Py_ssize_t itemsize, bool *is_signed)
{
    if (format == NULL)
        format = "B";
    if (*format == '<' || *format == '=' || *format == '@' || *format == '|')
        format++;
    if (format[0] == '\0' || format[1] != '\0' || strchr("bBhHiIlLqQnN", *format) == NULL)
        return false;
    *is_signed = strchr("bhilqn", *format) != NULL;
    return itemsize == 1 || itemsize == 2 || itemsize == 4 || itemsize == 8;
}

static int64_t read_signed(const char *p, Py_ssize_t itemsize)
{
    uint64_t raw = 0;
    memcpy(&raw, p, (size_t)itemsize);
    unsigned shift = 64 - 8 * (unsigned)itemsize;
    return (int64_t)(raw << shift) >> shift;
}

/* Copies a buffer of integers; false with an exception. */
static bool integers_from_buffer(struct py_heap *h, const Py_buffer *view, struct integers *out,
                                 enum meaning meaning)
{
    bool is_signed;
    const char *what = meanings[meaning];
    if (view->ndim != 1 || !integer_format(view->format, view->itemsize, &is_signed)) {
        PyErr_Format(PyExc_TypeError,
                     "%s must be a one-dimensional array of integers, not of %d dimensions and "
                     "format %s",
                     what, view->ndim, view->format == NULL ? "B" : view->format);
        return false;
    }
    Py_ssize_t n = view->shape != NULL ? view->shape[0] : view->len / view->itemsize;
    Py_ssize_t stride = view->strides != NULL ? view->strides[0] : view->itemsize;
    out->n = n;
    out->values = new_integers(n);
    if (out->values == NULL)
        return false;
    const char *p = view->buf;
    if (view->itemsize == 8 && stride == 8) {
        memcpy(out->values, p, (size_t)n * 8);
    } else {
        for (Py_ssize_t i = 0; i < n; i++, p += stride) {
            out->values[i] = 0;
            if (is_signed)
                out->values[i] = (uint64_t)read_signed(p, view->itemsize);
            else
                memcpy(&out->values[i], p, (size_t)view->itemsize);
        }
    }
    for (Py_ssize_t i = 0; is_signed && i < n; i++)
        if ((int64_t)out->values[i] < 0) {
            PyErr_Format(meaning == SIZES ? PyExc_ValueError : h->state->invalid_pointer,
                         "%s must not be negative: %lld at index %zd", what,
                         (long long)out->values[i], i);
            PyMem_RawFree(out->values);
            return false;
        }
    return true;
}

static bool integers_from_sequence(struct py_heap *h, PyObject *arg, struct integers *out,
                                   enum meaning meaning)
{
    const char *what = meanings[meaning];
    PyObject *fast = PySequence_Fast(arg, "");
    if (fast == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s must be a sequence or array of integers, not %.200s",
                         what, Py_TYPE(arg)->tp_name);
        return false;
    }
    out->n = PySequence_Fast_GET_SIZE(fast);
    out->values = new_integers(out->n);
    bool ok = out->values != NULL;
    for (Py_ssize_t i = 0; ok && i < out->n; i++) {
        /* Converting may run code that changes the list. */
        if (i >= PySequence_Fast_GET_SIZE(fast)) {
            PyErr_Format(PyExc_RuntimeError, "%s changed while they were read", what);
            ok = false;
        } else {
            PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(fast, i));
            ok = meaning == SIZES ? parse_size(item, &out->values[i])
                                  : parse_address(h, item, &out->values[i]);
            Py_DECREF(item);
        }
    }
    if (!ok)
        PyMem_RawFree(out->values);
    Py_DECREF(fast);
    return ok;
}

bool integers_from(struct py_heap *h, PyObject *arg, struct integers *out, enum meaning meaning)
{
    if (PyObject_TypeCheck(arg, h->state->ref_type)) { /* which has a buffer: the object's bytes */
        PyErr_Format(PyExc_TypeError, "%s must be a sequence or array of integers, not a Ref",
                     meanings[meaning]);
        return false;
    }
    if (!PyObject_CheckBuffer(arg) || PyBytes_Check(arg) || PyByteArray_Check(arg))
        return integers_from_sequence(h, arg, out, meaning);
    Py_buffer view;
    if (PyObject_GetBuffer(arg, &view, PyBUF_RECORDS_RO) < 0)
        return false;
    bool ok = integers_from_buffer(h, &view, out, meaning);
    PyBuffer_Release(&view);
    return ok;
}

bool integers_repeated(PyObject *size, PyObject *count, struct integers *out)
{
    if (!PyIndex_Check(count)) {
        PyErr_Format(PyExc_TypeError, "count must be an integer, not %.200s",
                     Py_TYPE(count)->tp_name);
        return false;
    }
    out->n = PyNumber_AsSsize_t(count, NULL); /* no memory would be enough for more than that */
    if (out->n == -1 && PyErr_Occurred())
        return false;
    if (out->n < 0) {
        PyErr_Format(PyExc_ValueError, "count must not be negative: %zd", out->n);
        return false;
    }
    out->values = new_integers(1);
    if (out->values == NULL)
        return false;
    if (parse_size(size, out->values))
        return true;
    PyMem_RawFree(out->values);
    return false;
}
