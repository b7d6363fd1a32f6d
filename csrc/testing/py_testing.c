/* The white-box door: extension gomem._testing.
 *
 * Rooms of the core as small Python types and functions, so that property tests can compare them
 * with models. Wrong arguments are exceptions: what an internal function may presume, its wrapper
 * checks.
 *
 * Concurrency: under the GIL.
 * Go: export_test.go.
 */
#include "testing/py_testing.h"

int arg_size(PyObject *object, void *size)
{
    size_t value = PyLong_AsSize_t(object);
    if (value == (size_t)-1 && PyErr_Occurred())
        return 0;
    *(size_t *)size = value;
    return 1;
}

bool check_range(const char *what, size_t value, size_t low, size_t high)
{
    if (low <= value && value <= high)
        return true;
    PyErr_Format(PyExc_ValueError, "%s must be from %zu to %zu, not %zu", what, low, high, value);
    return false;
}

bool memory_init(struct memory *m)
{
    memset(m, 0, sizeof *m);
    if (!os_mem_init(&m->om, &m->regions)) {
        PyErr_NoMemory();
        return false;
    }
    persistent_init(&m->persistent, &m->om, &m->other);
    return true;
}

void memory_destroy(struct memory *m)
{
    if (m->om.regions != NULL)
        os_mem_destroy(&m->om);
}

PyObject *memory_fail(struct memory *m, PyObject *args)
{
    size_t first, count, kinds = OS_CALL_ALL;
    if (!PyArg_ParseTuple(args, "O&O&|O&", arg_size, &first, arg_size, &count, arg_size, &kinds) ||
        !check_range("kinds", kinds, 0, OS_CALL_ALL))
        return NULL;
    os_mem_fail(&m->om, first, count, (uint32_t)kinds);
    Py_RETURN_NONE;
}

PyObject *make_object(PyTypeObject *type, PyObject *args, PyObject *kwargs, initproc init)
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL && init(self, args, kwargs) < 0)
        Py_CLEAR(self);
    return self;
}

void free_object_of_type(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

bool add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    bool ok = type != NULL && PyModule_AddType(module, (PyTypeObject *)type) == 0;
    Py_XDECREF(type);
    return ok;
}

static int module_exec(PyObject *module)
{
    bool ok = add_bits(module) && add_memory(module) && add_pages(module) && add_spanset(module) &&
              add_heap(module) && add_pacing(module);
    return ok ? 0 : -1;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gomem._testing",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__testing(void)
{
    return PyModuleDef_Init(&module_def);
}
