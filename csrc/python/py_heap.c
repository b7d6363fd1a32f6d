/* The type Heap: a runtime, its Refs and root tables.
 *
 * Python's gomem.Heap derives from it and adds what is better said in Python.
 *
 * Concurrency: see py_core.h. Between the check that the heap is open and the use of its memory the
 * GIL (or the critical section) is kept, and closing sets `closing` under it first.
 * Go: runtime, runtime/debug.
 */
#include "python/py_core.h"

#include <structmember.h>

/* --- Helpers --- */

bool heap_usable(struct py_heap *h)
{
    if (h->rt != NULL && !h->closing)
        return true;
    if (h->rt == NULL)
        PyErr_SetString(PyExc_RuntimeError, "Heap.__init__ was not called");
    else
        raise_closed(h->state);
    return false;
}

struct gomem_proc *heap_proc(struct py_heap *h)
{
    struct gomem_proc *p = NULL;
    while (heap_usable(h) && (p = gomem_proc_try_acquire(h->rt)) == NULL) {
        /* Nobody waits for the GIL while he holds a P: who has the GIL may be waiting for all Ps. So
         * this waits until there is one, and then tries again. */
        Py_BEGIN_ALLOW_THREADS
        struct gomem_proc *idle = gomem_proc_acquire(h->rt);
        if (idle != NULL)
            gomem_proc_release(idle);
        Py_END_ALLOW_THREADS
    }
    return p;
}

bool parse_size(PyObject *arg, uint64_t *size)
{
    int overflow;
    if (!PyLong_Check(arg)) {
        PyObject *index = PyNumber_Index(arg);
        if (index == NULL) {
            if (!PyIndex_Check(arg))
                PyErr_Format(PyExc_TypeError, "a size in bytes must be an integer, not %.200s",
                             Py_TYPE(arg)->tp_name);
            return false;
        }
        bool ok = parse_size(index, size);
        Py_DECREF(index);
        return ok;
    }
    long long value = PyLong_AsLongLongAndOverflow(arg, &overflow);
    if (overflow < 0 || (overflow == 0 && value < 0)) {
        PyErr_Format(PyExc_ValueError, "a size in bytes must not be negative: %R", arg);
        return false;
    }
    *size = (uint64_t)value;
    if (overflow > 0) {
        *size = PyLong_AsUnsignedLongLong(arg); /* all ones if it is longer still */
        PyErr_Clear();
    }
    return true;
}

PyObject *raise_no_memory(struct py_heap *h, uint64_t size)
{
    if (gomem_runtime_is_closed(h->rt))
        return raise_closed(h->state);
    PyErr_Format(PyExc_MemoryError, "cannot allocate %llu bytes%s", (unsigned long long)size,
                 size == UINT64_MAX ? " or more" : "");
    return NULL;
}

/* --- Making and closing --- */

static PyObject *heap_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    struct py_heap *h = (struct py_heap *)type->tp_alloc(type, 0);
    if (h == NULL)
        return NULL;
    h->state = state_of_type(type);
    h->types = PyDict_New();
    h->records = PyDict_New();
    if (h->state == NULL || h->types == NULL || h->records == NULL) {
        Py_DECREF(h);
        return NULL;
    }
    return (PyObject *)h;
}

/* None means no limit, and so does what is beyond Go's largest. */
bool parse_limit(PyObject *arg, uint64_t *out)
{
    *out = UINT64_MAX;
    if (arg != NULL && arg != Py_None && !parse_size(arg, out))
        return false;
    if (*out > INT64_MAX)
        *out = UINT64_MAX;
    return true;
}

static int heap_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"procs",        "gogc",         "memory_limit", "max_memory",
                            "size_classes", "madvdontneed", "huge_pages",   "barrier",
                            "marker",       "gc_workers",   "gctrace",      NULL};
    struct py_heap *h = (struct py_heap *)self;
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    /* What is not given is as the environment says. */
    enum gomem_status status = gomem_options_from_env(&o, &err);
    PyObject *limit = NULL, *max = NULL, *classes = Py_None;
    int procs = 1, gogc = o.gogc, dontneed = 1, huge = GOMEM_HUGE_PAGES_DEFAULT;
    int barrier = GOMEM_BARRIER_HYBRID, marker = GOMEM_MARKER_SPAN, workers = 0, trace = o.gctrace;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$iiOOOpiiiii:Heap", names, &procs, &gogc, &limit,
                                     &max, &classes, &dontneed, &huge, &barrier, &marker, &workers,
                                     &trace))
        return -1;
    if (status != GOMEM_OK && limit == NULL) {
        raise_error(h->state, &err);
        return -1;
    }
    if (h->rt != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Heap.__init__ was called before");
        return -1;
    }
    if ((limit != NULL && !parse_limit(limit, &o.memory_limit)) || !parse_limit(max, &o.max_memory))
        return -1;
    if (classes != Py_None) {
        if (!PyObject_TypeCheck(classes, h->state->size_classes_type)) {
            PyErr_Format(PyExc_TypeError, "size_classes must be a SizeClasses or None, not %.200s",
                         Py_TYPE(classes)->tp_name);
            return -1;
        }
        o.size_classes = ((struct py_size_classes *)classes)->t;
    }
    o.procs = procs < 0 ? 0 : (uint32_t)procs;
    o.gogc = gogc;
    o.madvdontneed = dontneed != 0;
    o.huge_pages = (enum gomem_huge_pages)huge;
    o.barrier = (enum gomem_barrier)barrier;
    o.marker = (enum gomem_marker)marker;
    o.gc_workers = workers < 0 ? UINT32_MAX : (uint32_t)workers;
    o.gctrace = trace;
    struct gomem_runtime *rt;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_runtime_new(&o, &rt, &err);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK) {
        raise_error(h->state, &err);
        return -1;
    }
    if (h->rt != NULL) { /* by another thread, or by an __index__ above */
        gomem_runtime_delete(rt);
        PyErr_SetString(PyExc_RuntimeError, "Heap.__init__ was called before");
        return -1;
    }
    h->rt = rt;
    return 0;
}

static int heap_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(h->types);
    Py_VISIT(h->records);
    Py_VISIT(h->dict);
    return 0;
}

static int heap_clear(PyObject *self)
{
    struct py_heap *h = (struct py_heap *)self;
    Py_CLEAR(h->dict);
    Py_CLEAR(h->records);
    return 0;
}

static void heap_dealloc(PyObject *self)
{
    struct py_heap *h = (struct py_heap *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (h->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    heap_clear(self);
    if (h->rt != NULL) {
        Py_BEGIN_ALLOW_THREADS
        gomem_runtime_delete(h->rt);
        Py_END_ALLOW_THREADS
    }
    heap_bell_free(h);
    roots_end(h);
    Py_CLEAR(h->types);
    PyMem_Free(h->refs);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *heap_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (h->rt == NULL || h->closing)
        Py_RETURN_NONE;
    Py_ssize_t exports;
    HEAP_LOCK(self)
    exports = h->exports;
    h->closing = exports == 0;
    HEAP_UNLOCK(self)
    if (exports != 0) {
        PyErr_Format(PyExc_BufferError,
                     "cannot close the heap: %zd %s still in use", exports,
                     exports == 1 ? "view of its objects is" : "views of its objects are");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    gomem_runtime_close(h->rt);
    Py_END_ALLOW_THREADS
    heap_bell_end(h);
    Py_CLEAR(h->records); /* none of them will be called any more */
    Py_RETURN_NONE;
}

static PyObject *heap_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (!heap_usable((struct py_heap *)self))
        return NULL;
    return Py_NewRef(self);
}

static PyObject *heap_exit(PyObject *self, PyObject *args)
{
    (void)args;
    return heap_close(self, NULL);
}

/* --- Objects --- */

/* Parses (size, *, noscan=True). */
static bool parse_alloc(PyObject *const *args, Py_ssize_t nargs, PyObject *names, uint64_t *size,
                        int *noscan)
{
    *noscan = 1;
    if (nargs != 1) {
        PyErr_Format(PyExc_TypeError, "alloc() takes a size and the keyword noscan (%zd given)",
                     nargs);
        return false;
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "noscan") != 0) {
            PyErr_Format(PyExc_TypeError, "alloc() got an unexpected keyword argument %R", name);
            return false;
        }
        *noscan = PyObject_IsTrue(args[nargs + i]);
        if (*noscan < 0)
            return false;
    }
    return parse_size(args[0], size);
}

/* The Ref of a new object; if there can be none, the collector will find the object. */
static PyObject *handle_of(struct py_heap *h, void *object, uint64_t size, struct py_type *type,
                           uint64_t *root)
{
    if (object == NULL) {
        root_give(h, root);
        return raise_no_memory(h, size);
    }
    uint64_t address = (uint64_t)(uintptr_t)object;
    PyObject *ref = size == 0 ? ref_for(h, address, 0, type, root)
                              : ref_new(h, address, size, type, root);
    return ref;
}

static PyObject *heap_alloc(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t size;
    int noscan;
    if (!parse_alloc(args, nargs, names, &size, &noscan))
        return NULL;
    uint64_t *root = heap_usable(h) ? root_take(h) : NULL;
    struct gomem_proc *p = root != NULL ? heap_proc(h) : NULL;
    if (p == NULL) {
        root_give(h, root);
        return NULL;
    }
    void *object = noscan ? gomem_alloc(p, size) : gomem_alloc_scan(p, size);
    gomem_init_root(root, object);
    gomem_proc_release(p);
    PyObject *ref = handle_of(h, object, size, NULL, root);
    if (ref != NULL) {
        ((struct py_ref *)ref)->scan = !noscan;
        ((struct py_ref *)ref)->found = false;
    }
    return ref;
}

static PyObject *heap_new_object(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    if (PyUnicode_Check(arg)) {
        PyObject *made = call_python("gomem.types", "type_of", arg);
        PyObject *ref = made == NULL ? NULL : heap_new_object(self, made); /* the heap keeps the type */
        Py_XDECREF(made);
        return ref;
    }
    if (!PyObject_TypeCheck(arg, h->state->type_type)) {
        PyErr_Format(PyExc_TypeError, "new() takes a gomem.Type or Go's notation of one, not %.200s",
                     Py_TYPE(arg)->tp_name);
        return NULL;
    }
    struct py_type *type = (struct py_type *)arg;
    if (!heap_usable(h) || heap_keep_type(h, arg) < 0)
        return NULL;
    uint64_t *root = root_take(h);
    struct gomem_proc *p = root != NULL ? heap_proc(h) : NULL;
    if (p == NULL) {
        root_give(h, root);
        return NULL;
    }
    void *object = gomem_alloc_typed(p, type->t, 1);
    gomem_init_root(root, object);
    gomem_proc_release(p);
    return handle_of(h, object, gomem_type_size(type->t), type, root);
}

/* --- Many objects --- */

static PyObject *heap_alloc_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"sizes", "count", "noscan", NULL};
    PyObject *sizes, *count = Py_None;
    int noscan = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$Op:alloc_many", names, &sizes, &count,
                                     &noscan))
        return NULL;
    return roots_alloc_many((struct py_heap *)self, sizes, count, noscan != 0);
}

static PyObject *heap_free_many(PyObject *self, PyObject *arg)
{
    return roots_free_many((struct py_heap *)self, arg);
}

/* --- Attributes --- */

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    return PyBool_FromLong(h->rt == NULL || h->closing);
}

static PyObject *get_procs(PyObject *self, void *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    return PyLong_FromUnsignedLong(h->rt == NULL ? 0 : gomem_runtime_procs(h->rt));
}

static PyObject *get_memory_limit(PyObject *self, void *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    return heap_usable(h) ? limit_object(gomem_memory_limit(h->rt)) : NULL;
}

static PyObject *get_gogc(PyObject *self, void *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    return heap_usable(h) ? PyLong_FromLong(gomem_gogc(h->rt)) : NULL;
}

static PyObject *get_marker(PyObject *self, void *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    return heap_usable(h) ? PyLong_FromLong(gomem_runtime_marker(h->rt)) : NULL;
}

static PyGetSetDef heap_getset[] = {
    {"closed", get_closed, NULL, "True once close() was called.", NULL},
    {"procs", get_procs, NULL, "Number of Ps (GOMAXPROCS).", NULL},
    {"_memory_limit", get_memory_limit, NULL, NULL, NULL},
    {"_gogc", get_gogc, NULL, NULL, NULL},
    {"_marker", get_marker, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define KEYWORDS(f) ((PyCFunction)(void (*)(void))(f))

static PyMethodDef heap_methods[] = {
    {"alloc", KEYWORDS(heap_alloc), METH_FASTCALL | METH_KEYWORDS,
     "alloc($self, size, /, *, noscan=True)\n--\n\n"
     "Allocates a zeroed object of size bytes and returns its Ref (Go: mallocgc).\n\n"
     "noscan says that it will hold no pointers; otherwise every word of it can. Objects below 16\n"
     "bytes without pointers share a block of 16, and all objects of size 0 are one. Raises\n"
     "ValueError for a negative size, MemoryError if max_memory or the system refuses."},
    {"new", heap_new_object, METH_O,
     "new($self, type, /)\n--\n\n"
     "Allocates a zeroed object of a gomem.Type, or of Go's notation of one ('[4]int64'), and returns its\n"
     "Ref (Go: new). Raises TypeError or ValueError for what is no type, MemoryError."},
    {"free", heap_free, METH_O,
     "free($self, object, /)\n--\n\n"
     "Frees an object at once, given its Ref or its address (Go: runtime.freegc).\n\n"
     "Its Ref and its entry in a root table are invalid from then on. Raises InvalidPointerError\n"
     "if there is no such object, BufferError while a view of it is in use."},
    {"alloc_many", KEYWORDS(heap_alloc_many), METH_VARARGS | METH_KEYWORDS,
     "alloc_many($self, sizes, *, count=None, noscan=True)\n--\n\n"
     "Allocates one object for each size and returns a Roots table that holds them.\n\n"
     "sizes: integers in bytes, as anything with a buffer of integers (a NumPy array) or a\n"
     "sequence; or one integer together with count. Runs without the GIL. If memory runs out,\n"
     "MemoryError is raised and nothing stays allocated."},
    {"free_many", heap_free_many, METH_O,
     "free_many($self, objects, /)\n--\n\n"
     "Frees many objects: a Roots table, a sequence of Refs, or an array of addresses.\n\n"
     "Runs without the GIL. Addresses of 0 (what a table has for freed objects) are skipped. Others\n"
     "are checked as free() does; at the first that is invalid\n"
     "InvalidPointerError is raised, naming its index: those before it are freed."},
    {"close", heap_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Gives all memory back to the system. Refs and tables become invalid; closing twice is\n"
     "harmless. Waits for calls under way in other threads; raises BufferError while views are in\n"
     "use."},
    {"__enter__", heap_enter, METH_NOARGS, NULL},
    {"__exit__", heap_exit, METH_VARARGS, NULL},
    {"verify", heap_verify_all, METH_NOARGS,
     "verify($self, /)\n--\n\n"
     "Walks every structure of the heap; raises CorruptHeapError with what is wrong and where.\n\n"
     "While the collector marks, who marks stands still for it, and what must hold in that phase is\n"
     "checked as well: no black object points to a white one that no barrier knows of."},
    {"gc", heap_gc, METH_NOARGS,
     "gc($self, /)\n--\n\n"
     "Runs a whole cycle of the collector and waits for it, sweep included (Go: runtime.GC).\n\n"
     "Frees every object that no Ref, table or replay leads to. Raises HeapClosedError; BusyError\n"
     "while a cycle is stepped (step_gc)."},
    {"_gc_cycles", heap_gc_cycles, METH_NOARGS, NULL},
    {"_gc_stats", heap_gc_stats, METH_NOARGS, NULL},
    {"_advance_clock", heap_advance_clock, METH_O, NULL},
    {"free_os_memory", heap_free_os_memory, METH_NOARGS,
     "free_os_memory($self, /)\n--\n\n"
     "Runs a whole cycle of the collector, then gives all free memory back to the system; returns how\n"
     "many bytes that were (Go: debug.FreeOSMemory). Raises HeapClosedError."},
    {"_step_begin", heap_step_begin, METH_O, NULL},
    {"_step", heap_step, METH_O, NULL},
    {"_step_phase", heap_step_phase, METH_O, NULL},
    {"_step_shades", heap_step_shades, METH_NOARGS, NULL},
    {"_graph", heap_graph, METH_O, NULL},
    {"_set_finalizer", KEYWORDS(heap_set_finalizer), METH_FASTCALL, NULL},
    {"_clear_finalizer", KEYWORDS(heap_clear_finalizer), METH_FASTCALL, NULL},
    {"_add_cleanup", KEYWORDS(heap_add_cleanup), METH_FASTCALL, NULL},
    {"_stop_cleanup", heap_stop_cleanup, METH_VARARGS, NULL},
    {"_run_finalizers", heap_run_finalizers, METH_O, NULL},
    {"_bell", heap_bell, METH_NOARGS, NULL},
    {"release_os_memory", heap_release_os_memory, METH_NOARGS,
     "release_os_memory($self, /)\n--\n\n"
     "Empties the caches of all Ps and gives all free memory back to the system; returns how many\n"
     "bytes that were (Go: debug.FreeOSMemory, without its collection)."},
    {"flush", heap_flush, METH_NOARGS,
     "flush($self, /)\n--\n\n"
     "Empties the caches of all Ps, as Go does at the start of each collection."},
    {"_lookup", heap_lookup_tuple, METH_O, NULL},
    {"_ref_at", heap_ref_at, METH_O, NULL},
    {"_memstats", heap_memstats, METH_NOARGS, NULL},
    {"_spans", heap_spans, METH_NOARGS, NULL},
    {"_span_at", heap_span_at, METH_O, NULL},
    {"_arenas", heap_arenas, METH_NOARGS, NULL},
    {"_free_runs", heap_free_runs, METH_NOARGS, NULL},
    {"_page_states", heap_page_states, METH_VARARGS, NULL},
    {"_held", heap_held, METH_NOARGS, NULL},
    {"_resident", heap_resident, METH_NOARGS, NULL},
    {"_set_memory_limit", heap_set_memory_limit, METH_O, NULL},
    {"_set_gogc", heap_set_gogc, METH_O, NULL},
    {"_fail_os_calls", heap_fail_os_calls, METH_VARARGS, NULL},
    {"_fork", heap_fork, METH_O, NULL},
    {"_make_chan", heap_make_chan, METH_VARARGS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef heap_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_heap, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct py_heap, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot heap_slots[] = {
    {Py_tp_doc, "The heap in C; see gomem.Heap."},
    {Py_tp_new, heap_new},
    {Py_tp_init, heap_init},
    {Py_tp_dealloc, heap_dealloc},
    {Py_tp_traverse, heap_traverse},
    {Py_tp_clear, heap_clear},
    {Py_tp_methods, heap_methods},
    {Py_tp_getset, heap_getset},
    {Py_tp_members, heap_members},
    {0, NULL},
};

PyType_Spec heap_spec = {
    .name = "gomem._core.Heap",
    .basicsize = sizeof(struct py_heap),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = heap_slots,
};
