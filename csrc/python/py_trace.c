/* The type Trace: a Go execution trace in C; Python's gomem.gotrace.Trace derives from it.
 *
 * Its buffer is the array of events, as it lies in C (struct gomem_trace_event).
 *
 * Concurrency: immutable; reading runs without the GIL.
 * Go: internal/trace.
 */
#include "python/py_core.h"

#include <structmember.h>

static PyObject *trace_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", NULL};
    struct state *st = state_of_type(type);
    Py_buffer view;
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "y*:Trace", names, &view))
        return NULL;
    struct gomem_error err;
    struct gomem_trace *trace;
    Py_BEGIN_ALLOW_THREADS
    trace = gomem_trace_read(view.buf, (size_t)view.len, &err);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    if (trace == NULL)
        return raise_error(st, &err);
    struct py_trace *self = (struct py_trace *)type->tp_alloc(type, 0);
    if (self == NULL)
        gomem_trace_delete(trace);
    else
        self->trace = trace;
    return (PyObject *)self;
}

static void trace_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    gomem_trace_delete(((struct py_trace *)self)->trace);
    Py_CLEAR(((struct py_trace *)self)->dict);
    type->tp_free(self);
    Py_DECREF(type);
}

static int trace_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct py_trace *)self)->dict);
    return 0;
}

static int trace_clear(PyObject *self)
{
    Py_CLEAR(((struct py_trace *)self)->dict);
    return 0;
}

static int trace_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    size_t n;
    const struct gomem_trace_event *events =
        gomem_trace_events(((struct py_trace *)self)->trace, &n);
    return PyBuffer_FillInfo(view, self, (void *)events, (Py_ssize_t)(n * sizeof *events), 1,
                             flags);
}

/* Names in a trace are whatever bytes its program had. */
static PyObject *decode(const char *name)
{
    return PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
}

static PyObject *trace_types(PyObject *self, PyObject *unused)
{
    (void)unused;
    size_t n;
    const struct gomem_trace_type *types = gomem_trace_types(((struct py_trace *)self)->trace, &n);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *row =
            Py_BuildValue("KKKKN", (unsigned long long)types[i].id,
                          (unsigned long long)types[i].address, (unsigned long long)types[i].size,
                          (unsigned long long)types[i].pointer_bytes, decode(types[i].name));
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, row);
    }
    return list;
}

static PyObject *trace_labels(PyObject *self, PyObject *unused)
{
    (void)unused;
    size_t n;
    const char *const *labels = gomem_trace_labels(((struct py_trace *)self)->trace, &n);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *label = decode(labels[i]);
        if (label == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, label);
    }
    return list;
}

/* Adds value, whose reference it takes; false with an exception. */
static bool add_fact(PyObject *dict, const char *name, PyObject *value)
{
    bool ok = value != NULL && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return ok;
}

static PyObject *count_list(const struct gomem_trace_facts *f)
{
    PyObject *list = PyList_New(GOMEM_TRACE_KINDS);
    for (Py_ssize_t i = 0; list != NULL && i < GOMEM_TRACE_KINDS; i++) {
        PyObject *n = PyLong_FromUnsignedLongLong(f->counts[i]);
        if (n == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, n);
    }
    return list;
}

static PyObject *trace_facts(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct gomem_trace_facts *f = gomem_trace_facts(((struct py_trace *)self)->trace);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"go_minor", f->go_minor},
        {"generations", f->generations},
        {"complete_generations", f->complete_generations},
        {"truncated_at", f->truncated_at},
        {"frequency", f->frequency},
        {"gc_count", f->gc_count},
        {"min_heap_address", f->min_heap_address},
        {"page_size", f->page_size},
        {"min_align", f->min_align},
        {"min_stack", f->min_stack},
        {"total_allocs", f->total_allocs},
        {"total_alloc_bytes", f->total_alloc_bytes},
        {"peak_heap_bytes", f->peak_heap_bytes},
        {"peak_other_bytes", f->peak_other_bytes},
        {"final_heap_bytes", f->final_heap_bytes},
        {"final_other_bytes", f->final_other_bytes},
        {"final_live_objects", f->final_live_objects},
        {"final_live_bytes", f->final_live_bytes},
        {"final_stacks", f->final_stacks},
        {"final_stack_bytes", f->final_stack_bytes},
        {"final_heap_alloc", f->final_heap_alloc},
        {"final_heap_goal", f->final_heap_goal},
        {"orphans", f->orphans},
        {"unmatched_frees", f->unmatched_frees},
        {"overlaps", f->overlaps},
    };
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    bool ok = add_fact(dict, "max_proc", PyLong_FromLong(f->max_proc)) &&
              add_fact(dict, "has_allocations", PyBool_FromLong(f->has_allocations)) &&
              add_fact(dict, "truncated", PyBool_FromLong(f->truncated)) &&
              add_fact(dict, "duration", PyLong_FromLongLong(f->duration)) &&
              add_fact(dict, "start_unix_ns", PyLong_FromLongLong(f->start_unix_ns)) &&
              add_fact(dict, "peak_time", PyLong_FromLongLong(f->peak_time)) &&
              add_fact(dict, "counts", count_list(f));
    for (size_t i = 0; ok && i < Py_ARRAY_LENGTH(numbers); i++)
        ok = add_fact(dict, numbers[i].name, PyLong_FromUnsignedLongLong(numbers[i].value));
    if (!ok)
        Py_CLEAR(dict);
    return dict;
}

static PyMethodDef trace_methods[] = {
    {"_types", trace_types, METH_NOARGS, NULL},
    {"_labels", trace_labels, METH_NOARGS, NULL},
    {"_facts", trace_facts, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef trace_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct py_trace, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot trace_slots[] = {
    {Py_tp_doc, "Trace(data)\n--\n\nA Go execution trace, read from bytes."},
    {Py_tp_new, trace_new},
    {Py_tp_dealloc, trace_dealloc},
    {Py_tp_traverse, trace_traverse},
    {Py_tp_clear, trace_clear},
    {Py_bf_getbuffer, trace_getbuffer},
    {Py_tp_methods, trace_methods},
    {Py_tp_members, trace_members},
    {0, NULL},
};

PyType_Spec trace_spec = {
    .name = "gomem._core.Trace",
    .basicsize = sizeof(struct py_trace),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = trace_slots,
};
