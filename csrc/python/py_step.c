/* Methods of the type Heap for step mode and colours; gomem/steps.py and gomem/colors.py make them nice.
 *
 * Concurrency: see py_core.h. Steps take the world and other steps without the GIL.
 * Go: no counterpart.
 */
#include "python/py_core.h"

static PyObject *raise_status(struct py_heap *h, enum gomem_status status)
{
    if (status == GOMEM_CLOSED)
        return raise_closed(h->state);
    if (status == GOMEM_BUSY)
        return raise_busy(h->state);
    return PyErr_NoMemory();
}

PyObject *heap_step_begin(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    int assists = PyObject_IsTrue(arg);
    if (assists < 0 || !heap_usable(h))
        return NULL;
    uint64_t id;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_step_begin(h->rt, assists != 0, &id);
    Py_END_ALLOW_THREADS
    return status == GOMEM_OK ? PyLong_FromUnsignedLongLong(id) : raise_status(h, status);
}

/* A cycle's number, for one of an open heap; false with an exception. */
static bool parse_id(struct py_heap *h, PyObject *arg, uint64_t *id)
{
    *id = PyLong_AsUnsignedLongLong(arg);
    return !(*id == (uint64_t)-1 && PyErr_Occurred()) && heap_usable(h);
}

PyObject *heap_step(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t id;
    if (!parse_id(h, arg, &id))
        return NULL;
    struct gomem_gc_step step;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_step(h->rt, id, &step);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_status(h, status);
    return Py_BuildValue("iiKK", (int)step.kind, (int)step.phase, (unsigned long long)step.address,
                         (unsigned long long)step.bytes);
}

PyObject *heap_step_phase(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t id;
    if (!parse_id(h, arg, &id))
        return NULL;
    enum gomem_gc_phase phase;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_step_phase(h->rt, id, &phase);
    Py_END_ALLOW_THREADS
    return status == GOMEM_OK ? PyLong_FromLong(phase) : raise_status(h, status);
}

PyObject *heap_step_shades(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    enum { MOST_SHADES = 4096 };
    size_t n, lost, size = sizeof(struct gomem_shade);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(MOST_SHADES * size));
    if (bytes == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    n = gomem_step_shades(h->rt, (struct gomem_shade *)(void *)PyBytes_AS_STRING(bytes), MOST_SHADES,
                          &lost);
    Py_END_ALLOW_THREADS
    if (_PyBytes_Resize(&bytes, (Py_ssize_t)(n * size)) < 0)
        return NULL;
    return Py_BuildValue("Nn", bytes, (Py_ssize_t)lost);
}

PyObject *heap_graph(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    size_t most = PyLong_AsSize_t(arg);
    if ((most == (size_t)-1 && PyErr_Occurred()) || !heap_usable(h))
        return NULL;
    struct gomem_graph g;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_graph_read(h->rt, most, &g);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_status(h, status);
    PyObject *result =
        Py_BuildValue("iNN", (int)g.phase,
                      PyBytes_FromStringAndSize((const char *)g.objects,
                                                (Py_ssize_t)(g.nobjects * sizeof *g.objects)),
                      g.has_pointers ? PyBytes_FromStringAndSize(
                                           (const char *)g.pointers,
                                           (Py_ssize_t)(g.npointers * sizeof *g.pointers))
                                     : Py_NewRef(Py_None));
    gomem_graph_free(&g);
    return result;
}
