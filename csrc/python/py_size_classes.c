/* The type SizeClasses: a table of size classes in C; Python's gomem.SizeClasses derives from it.
 *
 * Concurrency: immutable.
 * Go: internal/runtime/gc/sizeclasses.go.
 */
#include "python/py_core.h"

/* From rules: (page_size, max_small_size, min_align, align16_from, align_max, max_waste, stretch,
 * batch_bytes, batch_max). */
static struct gomem_size_classes *from_rules(PyObject *tuple, struct gomem_error *err)
{
    struct gomem_size_class_rules r;
    int stretch;
    if (!PyArg_ParseTuple(tuple, "IIIIIdpII:rules", &r.page_size, &r.max_small_size, &r.min_align,
                          &r.align16_from, &r.align_max, &r.max_waste, &stretch, &r.batch_bytes,
                          &r.batch_max))
        return NULL;
    r.stretch = stretch != 0;
    return gomem_size_classes_make(&r, err);
}

/* From a page size and pairs (size, pages). */
static struct gomem_size_classes *from_pairs(unsigned page_size, PyObject *pairs,
                                             struct gomem_error *err)
{
    PyObject *fast = PySequence_Fast(pairs, "classes must be a sequence of (size, pages)");
    if (fast == NULL)
        return NULL;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    uint32_t *sizes = PyMem_New(uint32_t, (size_t)n + 1);
    uint32_t *npages = PyMem_New(uint32_t, (size_t)n + 1);
    struct gomem_size_classes *t = NULL;
    bool ok = sizes != NULL && npages != NULL;
    if (!ok)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; ok && i < n; i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(fast, i);
        ok = PyTuple_Check(pair) && PyArg_ParseTuple(pair, "II", &sizes[i], &npages[i]);
        if (!ok && !PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "class %zd must be a tuple (size, pages)", i + 1);
    }
    if (ok)
        t = gomem_size_classes_from(page_size, sizes, npages, (size_t)n, err);
    PyMem_Free(sizes);
    PyMem_Free(npages);
    Py_DECREF(fast);
    return t;
}

static PyObject *size_classes_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"rules", "page_size", "classes", NULL};
    PyObject *rules = Py_None, *classes = Py_None;
    unsigned page_size = 8192;
    struct state *st = state_of_type(type);
    struct gomem_error err = {.status = GOMEM_OK};
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "|OIO:SizeClasses", names, &rules,
                                                   &page_size, &classes))
        return NULL;
    struct gomem_size_classes *t;
    if (classes != Py_None) {
        t = from_pairs(page_size, classes, &err);
    } else if (PyTuple_Check(rules)) {
        t = from_rules(rules, &err);
    } else {
        struct gomem_size_class_rules r = gomem_size_class_rules_go();
        t = gomem_size_classes_make(&r, &err);
    }
    if (t == NULL)
        return PyErr_Occurred() ? NULL : raise_error(st, &err);
    struct py_size_classes *self = (struct py_size_classes *)type->tp_alloc(type, 0);
    if (self == NULL) {
        gomem_size_classes_delete(t);
        return NULL;
    }
    self->t = t;
    return (PyObject *)self;
}

static void size_classes_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    gomem_size_classes_delete(((struct py_size_classes *)self)->t);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t size_classes_length(PyObject *self)
{
    return (Py_ssize_t)gomem_size_classes_count(((struct py_size_classes *)self)->t);
}

static PyObject *size_classes_row(PyObject *self, PyObject *arg)
{
    const struct gomem_size_classes *t = ((struct py_size_classes *)self)->t;
    Py_ssize_t i = PyNumber_AsSsize_t(arg, PyExc_IndexError), n = size_classes_length(self);
    if (i == -1 && PyErr_Occurred())
        return NULL;
    if (i < 0 || i >= n) {
        PyErr_Format(PyExc_IndexError, "class %zd of %zd", i, n);
        return NULL;
    }
    struct gomem_size_class c = gomem_size_classes_get(t, (uint32_t)i);
    return Py_BuildValue("IIIIdII", c.size, c.span_bytes, c.objects, c.tail_waste, c.max_waste,
                         c.min_align, gomem_size_classes_div_magic(t, (uint32_t)i));
}

/* (size, noscan) -> (class, bytes reserved). */
static PyObject *size_classes_lookup(PyObject *self, PyObject *args)
{
    const struct gomem_size_classes *t = ((struct py_size_classes *)self)->t;
    PyObject *arg;
    int noscan;
    uint64_t size;
    if (!PyArg_ParseTuple(args, "Op:_lookup", &arg, &noscan) || !parse_size(arg, &size))
        return NULL;
    return Py_BuildValue("In", gomem_size_classes_lookup(t, size, noscan != 0),
                         (Py_ssize_t)gomem_size_classes_round_up(t, size, noscan != 0));
}

static PyObject *size_classes_tables(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct gomem_size_classes *t = ((struct py_size_classes *)self)->t;
    size_t n8, n128;
    const uint8_t *class8 = gomem_size_classes_to_class8(t, &n8);
    const uint8_t *class128 = gomem_size_classes_to_class128(t, &n128);
    return Py_BuildValue("y#y#", class8, (Py_ssize_t)n8, class128, (Py_ssize_t)n128);
}

static PyObject *get_page_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(
        gomem_size_classes_page_size(((struct py_size_classes *)self)->t));
}

static PyMethodDef size_classes_methods[] = {
    {"_row", size_classes_row, METH_O, NULL},
    {"_lookup", size_classes_lookup, METH_VARARGS, NULL},
    {"_tables", size_classes_tables, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef size_classes_getset[] = {
    {"page_size", get_page_size, NULL, "Bytes of a page.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot size_classes_slots[] = {
    {Py_tp_doc, "The table in C; see gomem.SizeClasses."},
    {Py_tp_new, size_classes_new},
    {Py_tp_dealloc, size_classes_dealloc},
    {Py_sq_length, size_classes_length},
    {Py_tp_methods, size_classes_methods},
    {Py_tp_getset, size_classes_getset},
    {0, NULL},
};

PyType_Spec size_classes_spec = {
    .name = "gomem._core.SizeClasses",
    .basicsize = sizeof(struct py_size_classes),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = size_classes_slots,
};
