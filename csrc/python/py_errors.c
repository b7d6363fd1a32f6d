/* The exceptions, and which status becomes which.
 *
 * Called by every file of the binding.
 *
 * Concurrency: under the GIL.
 * Go: panics and throws, which gomem reports as exceptions.
 */
#include "python/py_core.h"

static const struct {
    const char *name, *doc;
    size_t slot;
    enum { VALUE, RUNTIME, PANIC_INDEX, PANIC_TYPE } base;
} exceptions[] = {
    {"gomem.InvalidPointerError",
     "An address or Ref that names no allocated object of this heap: misaligned, interior, foreign,\n"
     "or freed. Nothing has changed.",
     offsetof(struct state, invalid_pointer), VALUE},
    {"gomem.HeapClosedError", "The heap was closed; its objects are gone.",
     offsetof(struct state, heap_closed), VALUE},
    {"gomem.CorruptHeapError",
     "Heap.verify() found a broken invariant. The message says which one, and where.",
     offsetof(struct state, corrupt_heap), RUNTIME},
    {"gomem.BusyError",
     "A cycle of the collector is stepped (Heap.step_gc), so that no other can begin. Nothing has changed.",
     offsetof(struct state, busy), RUNTIME},
    {"gomem.TraceError", "A file is not the Go execution trace it should be.",
     offsetof(struct state, trace_error), VALUE},
    {"gomem.PanicError",
     "Where a Go program would panic. The message is the text of the panic.",
     offsetof(struct state, panic), RUNTIME},
    {"gomem.BoundsError", "An index or a slice bound is out of range: a panic, and an IndexError.",
     offsetof(struct state, bounds), PANIC_INDEX},
    {"gomem.UnhashableError", "A map key cannot be hashed: a panic, and a TypeError.",
     offsetof(struct state, unhashable), PANIC_TYPE},
    {"gomem.FatalError",
     "Where a Go program would stop with a fatal error. The message is what Go prints.",
     offsetof(struct state, fatal_error), RUNTIME},
};

static PyObject **slot_of(struct state *st, size_t slot)
{
    return (PyObject **)((char *)st + slot);
}

int errors_init(PyObject *module, struct state *st)
{
    st->error = PyErr_NewExceptionWithDoc("gomem.Error", "Base of gomem's own exceptions.", NULL,
                                          NULL);
    if (st->error == NULL || PyModule_AddObjectRef(module, "Error", st->error) < 0)
        return -1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(exceptions); i++) {
        PyObject *const more[] = {PyExc_ValueError, PyExc_RuntimeError, PyExc_IndexError,
                                  PyExc_TypeError};
        bool is_panic = exceptions[i].base >= PANIC_INDEX;
        PyObject *bases =
            PyTuple_Pack(2, is_panic ? st->panic : st->error, more[exceptions[i].base]);
        if (bases == NULL)
            return -1;
        PyObject *e =
            PyErr_NewExceptionWithDoc(exceptions[i].name, exceptions[i].doc, bases, NULL);
        Py_DECREF(bases);
        if (e == NULL)
            return -1;
        *slot_of(st, exceptions[i].slot) = e;
        if (PyModule_AddObjectRef(module, strchr(exceptions[i].name, '.') + 1, e) < 0)
            return -1;
    }
    return 0;
}

PyObject *raise_error(struct state *st, const struct gomem_error *err)
{
    PyObject *kind = PyExc_SystemError;
    switch (err->status) {
    case GOMEM_OK:
        break;
    case GOMEM_OUT_OF_MEMORY:
        kind = PyExc_MemoryError;
        break;
    case GOMEM_INVALID_VALUE:
        kind = PyExc_ValueError;
        break;
    case GOMEM_INVALID_POINTER:
        kind = st->invalid_pointer;
        break;
    case GOMEM_CLOSED:
        kind = st->heap_closed;
        break;
    case GOMEM_CORRUPT:
        kind = st->corrupt_heap;
        break;
    case GOMEM_BUSY:
        kind = st->busy;
        break;
    case GOMEM_BAD_FORMAT:
        kind = st->trace_error;
        break;
    case GOMEM_FATAL:
        kind = st->fatal_error;
        break;
    case GOMEM_PANIC:
        kind = st->panic;
        break;
    case GOMEM_PANIC_BOUNDS:
        kind = st->bounds;
        break;
    case GOMEM_PANIC_HASH:
        kind = st->unhashable;
        break;
    }
    /* Names in a message are the user's, and it may have been cut within a character. */
    PyObject *message =
        PyUnicode_DecodeUTF8(err->message, (Py_ssize_t)strlen(err->message), "replace");
    if (message != NULL) {
        PyErr_SetObject(kind, message);
        Py_DECREF(message);
    }
    return NULL;
}

PyObject *raise_closed(struct state *st)
{
    PyErr_SetString(st->heap_closed, "the heap is closed");
    return NULL;
}

PyObject *raise_busy(struct state *st)
{
    PyErr_SetString(st->busy, "a cycle of this heap is being stepped: finish it first");
    return NULL;
}

PyObject *raise_pointer(struct state *st, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyErr_FormatV(st->invalid_pointer, format, args);
    va_end(args);
    return NULL;
}

PyObject *no_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyErr_Format(PyExc_TypeError,
                 "a %s belongs to the memory of this process: it cannot be pickled or copied",
                 Py_TYPE(self)->tp_name);
    return NULL;
}

/* --- Exceptions as objects --- */

PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        (void)PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void give_exception(PyObject *e)
{
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(e);
#else
    if (e == NULL)
        PyErr_Clear();
    else
        PyErr_Restore(Py_NewRef(Py_TYPE(e)), e, PyException_GetTraceback(e));
#endif
}
