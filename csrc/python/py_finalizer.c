/* Finalizers and cleanups: methods of Heap that gomem/finalizers.py calls, and what calls the functions.
 *
 * The core knows a function as a number, its record's in a dict of the heap, where Python's own collector
 * finds it. What is queued is called by one thread at a time: a thread that Python makes, which waits for
 * the heap's bell, or whoever calls run_finalizers. The bell outlives the heap.
 *
 * Concurrency: see py_core.h; the bell is rung by any thread, without the GIL.
 * Go: runFinalizers in mfinal.go, runCleanups in mcleanup.go.
 */
#include <errno.h>
#include <semaphore.h>

#include "python/py_values.h"

/* --- Records: (function, arguments or None for a finalizer, type or None, size) ---
 * The type is that of a Ref, or Builder or Buffer, of which a handle is made. */

static PyObject *new_key(struct py_heap *h)
{
    return PyLong_FromUnsignedLongLong(++h->last_record);
}

static void *key_data(PyObject *key)
{
    return (void *)(uintptr_t)PyLong_AsUnsignedLongLong(key);
}

/* The record under the key of a callback, out of the dict; NULL if it has none. */
static PyObject *take_record(struct py_heap *h, const struct gomem_callback *callback)
{
    PyObject *key = PyLong_FromUnsignedLongLong((uintptr_t)callback->data);
    PyObject *record = NULL;
    if (key != NULL && h->records != NULL)
        record = Py_XNewRef(PyDict_GetItemWithError(h->records, key));
    if (record != NULL && PyDict_DelItem(h->records, key) < 0)
        Py_CLEAR(record);
    Py_XDECREF(key);
    return record;
}

/* Notes a record, whose reference it takes; its key, or NULL with an exception. */
static PyObject *note_record(struct py_heap *h, PyObject *record)
{
    PyObject *key = record == NULL ? NULL : new_key(h);
    if (key != NULL && (h->records == NULL || PyDict_SetItem(h->records, key, record) < 0))
        Py_CLEAR(key);
    if (key == NULL && !PyErr_Occurred())
        raise_closed(h->state);
    Py_XDECREF(record);
    return key;
}

static void forget_record(struct py_heap *h, PyObject *key)
{
    PyObject *raised = take_exception();
    if (h->records != NULL && PyDict_DelItem(h->records, key) < 0)
        PyErr_Clear();
    give_exception(raised);
}

/* --- Attaching --- */

/* What a finalizer or cleanup is attached to: what a Ref names, or a Builder or Buffer. */
struct target {
    struct py_ref *ref;       /* or NULL */
    struct py_handle *handle; /* or NULL */
};

/* Parses a target in h and n - 1 more arguments; false with an exception. */
static bool parse_target(struct py_heap *h, const char *name, PyObject *const *args, Py_ssize_t nargs,
                         Py_ssize_t n, struct target *out)
{
    *out = (struct target){0};
    if (nargs == n && PyObject_TypeCheck(args[0], h->state->ref_type))
        out->ref = (struct py_ref *)args[0];
    else if (nargs == n && is_pointer_handle(h->state, args[0]))
        out->handle = (struct py_handle *)args[0];
    if (out->ref == NULL && out->handle == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() takes a Ref and %zd more arguments", name, n - 1);
        return false;
    }
    if ((out->ref != NULL ? out->ref->heap : out->handle->heap) != h) {
        raise_pointer(h->state, "the Ref belongs to another heap");
        return false;
    }
    return out->ref == NULL || ref_address(out->ref) != 0;
}

/* A P, and the address of the target, which is there; NULL with an exception. */
static struct gomem_proc *proc_for(struct py_heap *h, const struct target *t, void **address)
{
    struct gomem_proc *p = heap_proc(h);
    if (p == NULL)
        return NULL;
    *address = t->ref != NULL ? (void *)(uintptr_t)ref_raw_address(t->ref) : handle_address(t->handle);
    if (*address != NULL)
        return p;
    gomem_proc_release(p); /* it was freed while this waited */
    (void)ref_address(t->ref);
    return NULL;
}

/* The record of a finalizer; NULL with an exception. */
static PyObject *finalizer_record(PyObject *fn, const struct target *t)
{
    PyObject *type = t->handle != NULL      ? (PyObject *)Py_TYPE((PyObject *)t->handle)
                     : t->ref->type == NULL ? Py_None
                                            : (PyObject *)t->ref->type;
    return Py_BuildValue("(OOOK)", fn, Py_None, type,
                         (unsigned long long)(t->ref != NULL ? t->ref->size : 0));
}

PyObject *heap_set_finalizer(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_heap *h = (struct py_heap *)self;
    struct target t;
    if (!parse_target(h, "_set_finalizer", args, nargs, 2, &t))
        return NULL;
    PyObject *key = note_record(h, finalizer_record(args[1], &t));
    if (key == NULL)
        return NULL;
    struct gomem_error err;
    enum gomem_status status = GOMEM_CLOSED;
    void *address;
    struct gomem_callback callback = {.data = key_data(key)};
    struct gomem_proc *p = proc_for(h, &t, &address);
    if (p != NULL) {
        status = gomem_set_finalizer(p, address, &callback, &err);
        gomem_proc_release(p);
    }
    bool never = t.ref != NULL && t.ref->size == 0; /* it never dies */
    if (status != GOMEM_OK || never)
        forget_record(h, key);
    Py_DECREF(key);
    if (p == NULL)
        return NULL;
    if (status != GOMEM_OK)
        return raise_error(h->state, &err);
    Py_RETURN_NONE;
}

PyObject *heap_clear_finalizer(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_heap *h = (struct py_heap *)self;
    struct target t;
    void *address;
    struct gomem_callback callback;
    struct gomem_proc *p = NULL;
    if (parse_target(h, "_clear_finalizer", args, nargs, 1, &t))
        p = proc_for(h, &t, &address);
    if (p == NULL)
        return NULL;
    bool found = gomem_clear_finalizer(p, address, &callback);
    gomem_proc_release(p);
    if (found)
        Py_XDECREF(take_record(h, &callback));
    return PyErr_Occurred() ? NULL : PyBool_FromLong(found);
}

PyObject *heap_add_cleanup(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_heap *h = (struct py_heap *)self;
    struct target t;
    if (!parse_target(h, "_add_cleanup", args, nargs, 3, &t))
        return NULL;
    PyObject *key = note_record(h, Py_BuildValue("(OOOi)", args[1], args[2], Py_None, 0));
    if (key == NULL)
        return NULL;
    struct gomem_error err;
    enum gomem_status status = GOMEM_CLOSED;
    uint64_t id = 0;
    void *address = NULL;
    struct gomem_callback callback = {.data = key_data(key)};
    struct gomem_proc *p = proc_for(h, &t, &address);
    if (p != NULL) {
        status = gomem_add_cleanup(p, address, &callback, NULL, &id, &err);
        gomem_proc_release(p);
    }
    if (status != GOMEM_OK || id == 0)
        forget_record(h, key);
    Py_DECREF(key);
    if (p == NULL)
        return NULL;
    if (status != GOMEM_OK)
        return raise_error(h->state, &err);
    return Py_BuildValue("KK", (unsigned long long)(uintptr_t)address, (unsigned long long)id);
}

PyObject *heap_stop_cleanup(PyObject *self, PyObject *args)
{
    struct py_heap *h = (struct py_heap *)self;
    unsigned long long address, id;
    struct gomem_callback callback;
    if (!PyArg_ParseTuple(args, "KK:_stop_cleanup", &address, &id))
        return NULL;
    if (h->closing)
        Py_RETURN_FALSE;
    struct gomem_proc *p = heap_proc(h);
    if (p == NULL)
        return NULL;
    bool found = gomem_stop_cleanup(p, (void *)(uintptr_t)address, id, &callback);
    gomem_proc_release(p);
    if (found)
        Py_XDECREF(take_record(h, &callback));
    return PyErr_Occurred() ? NULL : PyBool_FromLong(found);
}

/* --- Calling --- */

/* What a finalizer gets, in a root, which it takes. */
static PyObject *finalized(struct py_heap *h, PyObject *record, const struct gomem_call *call,
                           uint64_t *root)
{
    PyObject *type = PyTuple_GET_ITEM(record, 2);
    if (PyType_Check(type))
        return handle_new((PyTypeObject *)type, h, root);
    uint64_t size = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(record, 3));
    return ref_found(h, (uint64_t)(uintptr_t)call->pointer, size,
                     type == Py_None ? NULL : (struct py_type *)type, root);
}

/* Function and arguments of what was taken out of the queue. The slot with its object is used up. */
static bool unpack(struct py_heap *h, const struct gomem_call *call, uint64_t *root, PyObject **fn,
                   PyObject **args)
{
    *fn = *args = NULL;
    PyObject *record = take_record(h, &call->callback);
    if (record != NULL && call->kind != GOMEM_CALL_DROPPED) {
        *fn = Py_NewRef(PyTuple_GET_ITEM(record, 0));
        if (call->kind == GOMEM_CALL_CLEANUP) {
            *args = Py_NewRef(PyTuple_GET_ITEM(record, 1));
        } else {
            PyObject *object = finalized(h, record, call, root);
            root = NULL;
            *args = object == NULL ? NULL : PyTuple_Pack(1, object);
            Py_XDECREF(object);
        }
    }
    root_give(h, root);
    Py_XDECREF(record);
    return *fn != NULL;
}

/* Takes the next call that is one; false: there is none, or it cannot be had: with an exception. */
static bool take(struct py_heap *h, PyObject **fn, PyObject **args)
{
    for (;;) {
        struct gomem_call call;
        uint64_t *root = h->closing ? NULL : root_take(h);
        struct gomem_proc *p = root == NULL ? NULL : heap_settled_proc(h);
        bool taken = p != NULL && gomem_take_call(p, root, &call);
        if (p != NULL)
            gomem_proc_release(p);
        if (!taken) {
            root_give(h, root);
            return false;
        }
        if (unpack(h, &call, root, fn, args))
            return true;
        if (PyErr_Occurred())
            PyErr_WriteUnraisable(NULL);
    }
}

/* Calls everything that is queued. How many it called. Errors go to sys.unraisablehook; but if it is told so it
 * ends with what is meant for the program: KeyboardInterrupt, SystemExit and so on. */
PyObject *heap_run_finalizers(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    PyObject *fn, *args;
    Py_ssize_t n = 0;
    bool ended = false, may_end = arg == Py_True;
    while (!ended && take(h, &fn, &args)) {
        PyObject *result = args == NULL ? NULL : PyObject_CallObject(fn, args);
        ended = result == NULL && may_end && !PyErr_ExceptionMatches(PyExc_Exception);
        if (result == NULL && !ended)
            PyErr_WriteUnraisable(fn);
        Py_XDECREF(result);
        Py_XDECREF(args);
        Py_DECREF(fn);
        n++;
    }
    /* To close the heap is a way to end this. */
    if (!ended && PyErr_Occurred() && h->closing)
        PyErr_Clear();
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(n);
}

/* --- The bell --- */

#define BELL_NAME "gomem.bell"

struct bell {
    sem_t sem;
    Py_ssize_t refs; /* under the GIL, or the heap's critical section */
    bool closed;     /* before the bell is rung, for who hears it */
};

static void ring(void *arg)
{
    struct bell *b = arg;
    int waiting = 0;
    /* Once is enough for whoever comes next. */
    if (sem_getvalue(&b->sem, &waiting) == 0 && waiting == 0)
        sem_post(&b->sem);
}

static void bell_release(struct bell *b)
{
    if (--b->refs > 0)
        return;
    sem_destroy(&b->sem);
    PyMem_RawFree(b);
}

void heap_bell_end(struct py_heap *h)
{
    if (h->bell == NULL)
        return;
    h->bell->closed = true;
    sem_post(&h->bell->sem);
}

void heap_bell_free(struct py_heap *h)
{
    heap_bell_end(h);
    if (h->bell != NULL)
        bell_release(h->bell);
    h->bell = NULL;
}

static void capsule_free(PyObject *capsule)
{
    struct bell *b = PyCapsule_GetPointer(capsule, BELL_NAME);
    if (b != NULL)
        bell_release(b);
}

PyObject *heap_bell(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    if (h->bell == NULL) {
        struct bell *b = PyMem_RawCalloc(1, sizeof *b);
        if (b == NULL)
            return PyErr_NoMemory();
        sem_init(&b->sem, 0, 0);
        b->refs = 1;
        h->bell = b;
        Py_BEGIN_ALLOW_THREADS
        gomem_on_queued(h->rt, ring, b);
        Py_END_ALLOW_THREADS
    }
    PyObject *capsule = PyCapsule_New(h->bell, BELL_NAME, capsule_free);
    if (capsule != NULL)
        h->bell->refs++;
    return capsule;
}

PyObject *wait_bell(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct bell *b = PyCapsule_GetPointer(capsule, BELL_NAME);
    if (b == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    while (sem_wait(&b->sem) != 0 && errno == EINTR)
        ;
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(!b->closed);
}
