/* The extension module gomem._core.
 *
 * Concurrency: multi-phase initialisation, all state per module: several interpreters can load it.
 * On free-threaded builds from 3.14 on it runs without the GIL.
 * Go: no counterpart.
 */
#include "python/py_goroutine.h"
#include "python/py_values.h"

static struct PyModuleDef module_def;

struct state *state_of_type(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030b0000
    PyObject *module = PyType_GetModuleByDef(type, &module_def);
    return module == NULL ? NULL : PyModule_GetState(module);
#else
    for (PyTypeObject *t = type; t != NULL; t = t->tp_base)
        if (PyType_HasFeature(t, Py_TPFLAGS_HEAPTYPE)) {
            PyObject *module = ((PyHeapTypeObject *)t)->ht_module;
            if (module != NULL && PyModule_GetDef(module) == &module_def)
                return PyModule_GetState(module);
        }
    PyErr_SetString(PyExc_TypeError, "not a type of gomem._core");
    return NULL;
#endif
}

PyObject *call_python(const char *module, const char *function, PyObject *arg)
{
    PyObject *m = PyImport_ImportModule(module);
    if (m == NULL)
        return NULL;
    PyObject *result = PyObject_CallMethod(m, function, "O", arg);
    Py_DECREF(m);
    return result;
}

static PyObject *build_info(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return Py_BuildValue("si", gomem_build_profile(), gomem_build_check_level());
}

static PyObject *rules_of(struct gomem_size_class_rules r)
{
    return Py_BuildValue("IIIIIdOII", r.page_size, r.max_small_size, r.min_align, r.align16_from,
                         r.align_max, r.max_waste, r.stretch ? Py_True : Py_False, r.batch_bytes,
                         r.batch_max);
}

static PyObject *rules(PyObject *module, PyObject *arg)
{
    (void)module;
    const char *name = PyUnicode_AsUTF8(arg);
    if (name == NULL)
        return NULL;
    if (strcmp(name, "go") == 0)
        return rules_of(gomem_size_class_rules_go());
    if (strcmp(name, "tcmalloc") == 0)
        return rules_of(gomem_size_class_rules_tcmalloc());
    PyErr_Format(PyExc_ValueError, "there are rules named 'go' and 'tcmalloc', not %R", arg);
    return NULL;
}

/* Where the buckets of durations begin, in ns. */
static PyObject *time_buckets(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *list = PyList_New(GOMEM_TIME_BUCKETS);
    for (uint32_t i = 0; list != NULL && i < GOMEM_TIME_BUCKETS; i++) {
        PyObject *bound = PyLong_FromLongLong(gomem_time_bucket(i));
        if (bound == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, bound);
    }
    return list;
}

#define RUN_DOC                                                                                    \
    "run(main, /, *args, **kwargs)\n--\n\n"                                                        \
    "Calls main as the first goroutine of a program, and gives back what it returns.\n\n"           \
    "The program is over when main returns: goroutines that still wait are then raised GreenletExit\n" \
    "where they do (Go would just stop). What a goroutine raises and does not catch ends it, too, and is\n" \
    "raised here. When all goroutines are asleep, and no other thread could wake one, FatalError is, with\n" \
    "Go's report. One program at a time runs in a thread; others may run theirs, and share channels."
#define GO_DOC                                                                                     \
    "go(function, /, *args, **kwargs)\n--\n\n"                                                    \
    "Begins a goroutine that calls the function, in a copy of the current context (contextvars). It runs\n" \
    "when this one waits, and before those begun earlier (Go: go f(x)). Raises RuntimeError outside of run."
#define GOSCHED_DOC                                                                                \
    "gosched()\n--\n\n"                                                                            \
    "Lets all other goroutines run that can; outside of run, other threads (Go: runtime.Gosched)."
#define NUM_DOC                                                                                    \
    "num_goroutine()\n--\n\n"                                                                      \
    "How many goroutines this program has; 0 outside of run (Go: runtime.NumGoroutine)."
#define SELECT_DOC                                                                                 \
    "select(*cases, default=False)\n--\n\n"                                                       \
    "Does one of several channel operations, and waits until one can be done.\n\n"                  \
    "A case is a channel to receive from, a tuple (channel, value) to send, or has None for a channel and is\n" \
    "never ready. Of those that are ready one is chosen at random, all alike. Gives (index of the case,\n" \
    "value, ok): as recv_ok does, or None and False for a send. With default=True it does not wait, and\n" \
    "the index is -1 if no case is ready. Raises as send does, TypeError for what is no case, and\n" \
    "FatalError if nobody could ever wake it."

static PyMethodDef module_methods[] = {
    {"build_info", build_info, METH_NOARGS, NULL},
    {"size_class_rules", rules, METH_O, NULL},
    {"wait_bell", wait_bell, METH_O, NULL},
    {"time_buckets", time_buckets, METH_NOARGS, NULL},
    {"run", (PyCFunction)(void (*)(void))run_program, METH_FASTCALL | METH_KEYWORDS, RUN_DOC},
    {"go", (PyCFunction)(void (*)(void))go, METH_FASTCALL | METH_KEYWORDS, GO_DOC},
    {"gosched", gosched, METH_NOARGS, GOSCHED_DOC},
    {"num_goroutine", num_goroutine, METH_NOARGS, NUM_DOC},
    {"select", (PyCFunction)(void (*)(void))select_case, METH_FASTCALL | METH_KEYWORDS, SELECT_DOC},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL && PyModule_AddObjectRef(module, name, (PyObject *)type) < 0)
        Py_CLEAR(type);
    return type;
}

static int module_exec(PyObject *module)
{
    struct state *st = PyModule_GetState(module);
    if (errors_init(module, st) < 0)
        return -1;
    struct {
        PyTypeObject **slot;
        PyType_Spec *spec;
        const char *name;
    } types[] = {
        {&st->heap_type, &heap_spec, "Heap"},
        {&st->ref_type, &ref_spec, "Ref"},
        {&st->roots_type, &roots_spec, "Roots"},
        {&st->type_type, &type_spec, "Type"},
        {&st->size_classes_type, &size_classes_spec, "SizeClasses"},
        {&st->trace_type, &trace_spec, "Trace"},
        {&st->replay_type, &replay_spec, "Replay"},
        {&st->weak_type, &weak_spec, "Weak"},
        {&st->slice_type, &slice_spec, "Slice"},
        {&st->string_type, &string_spec, "String"},
        {&st->builder_type, &builder_spec, "Builder"},
        {&st->buffer_type, &buffer_spec, "Buffer"},
        {&st->map_type, &map_spec, "Map"},
        {&st->pool_type, &pool_spec, "Pool"},
        {&st->map_iter_type, &map_iter_spec, "MapIterator"},
        {&st->chan_type, &chan_spec, "Chan"},
        {&st->send_chan_type, &send_view_spec, "SendChan"},
        {&st->recv_chan_type, &recv_view_spec, "RecvChan"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(types); i++) {
        *types[i].slot = add_type(module, types[i].spec, types[i].name);
        if (*types[i].slot == NULL)
            return -1;
    }
    return goroutines_init(st) < 0 ? -1 : types_init(module, st);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *st = PyModule_GetState(module);
    Py_VISIT(st->heap_type);
    Py_VISIT(st->ref_type);
    Py_VISIT(st->roots_type);
    Py_VISIT(st->type_type);
    Py_VISIT(st->size_classes_type);
    Py_VISIT(st->trace_type);
    Py_VISIT(st->replay_type);
    Py_VISIT(st->weak_type);
    Py_VISIT(st->slice_type);
    Py_VISIT(st->string_type);
    Py_VISIT(st->builder_type);
    Py_VISIT(st->buffer_type);
    Py_VISIT(st->map_type);
    Py_VISIT(st->pool_type);
    Py_VISIT(st->map_iter_type);
    Py_VISIT(st->error);
    Py_VISIT(st->invalid_pointer);
    Py_VISIT(st->heap_closed);
    Py_VISIT(st->corrupt_heap);
    Py_VISIT(st->busy);
    Py_VISIT(st->trace_error);
    Py_VISIT(st->fatal_error);
    Py_VISIT(st->panic);
    Py_VISIT(st->bounds);
    Py_VISIT(st->unhashable);
    Py_VISIT(st->basic_types);
    Py_VISIT(st->bystanders);
    Py_VISIT(st->chan_type);
    Py_VISIT(st->send_chan_type);
    Py_VISIT(st->recv_chan_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct state *st = PyModule_GetState(module);
    Py_CLEAR(st->heap_type);
    Py_CLEAR(st->ref_type);
    Py_CLEAR(st->roots_type);
    Py_CLEAR(st->type_type);
    Py_CLEAR(st->size_classes_type);
    Py_CLEAR(st->trace_type);
    Py_CLEAR(st->replay_type);
    Py_CLEAR(st->weak_type);
    Py_CLEAR(st->slice_type);
    Py_CLEAR(st->string_type);
    Py_CLEAR(st->builder_type);
    Py_CLEAR(st->buffer_type);
    Py_CLEAR(st->map_type);
    Py_CLEAR(st->pool_type);
    Py_CLEAR(st->map_iter_type);
    Py_CLEAR(st->error);
    Py_CLEAR(st->invalid_pointer);
    Py_CLEAR(st->heap_closed);
    Py_CLEAR(st->corrupt_heap);
    Py_CLEAR(st->busy);
    Py_CLEAR(st->trace_error);
    Py_CLEAR(st->fatal_error);
    Py_CLEAR(st->panic);
    Py_CLEAR(st->bounds);
    Py_CLEAR(st->unhashable);
    Py_CLEAR(st->basic_types);
    Py_CLEAR(st->bystanders);
    Py_CLEAR(st->chan_type);
    Py_CLEAR(st->send_chan_type);
    Py_CLEAR(st->recv_chan_type);
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
    goroutines_end(PyModule_GetState(module));
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030e0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gomem._core",
    .m_doc = "gomem in C.",
    .m_size = sizeof(struct state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_def);
}
