/* Methods of Map that do what Go's package maps does: clone, copy, delete_func.
 *
 * Called by Python.
 *
 * Concurrency: see py_values.h. Functions of the user's are called with nothing held.
 * Go: package maps.
 */
#include "python/py_values.h"

PyObject *maps_clone_of(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_map *m = (struct py_map *)self;
    struct py_heap *h = m->base.heap;
    struct gomem_map *old, *copy = NULL;
    struct gomem_error err;
    uint64_t *root;
    PyObject *result = NULL;
    HEAP_LOCK(h)
    struct gomem_proc *p = begin_value(h, &root);
    if (p != NULL) {
        old = handle_address(m);
        enum gomem_status status =
            old == NULL ? GOMEM_OK : gomem_map_clone(p, m->type->t, old, &copy, &err);
        if (status == GOMEM_OK)
            gomem_init_root(root, copy);
        result = end_value(h, p, status, &err, root) ? map_wrap(h, m->type, root) : NULL;
    }
    HEAP_UNLOCK(h)
    return result;
}

static bool same_kind(struct py_map *m, PyObject *other)
{
    if (!PyObject_TypeCheck(other, m->base.heap->state->map_type)) {
        PyErr_Format(PyExc_TypeError, "a Map is copied from another, not from %.200s",
                     Py_TYPE(other)->tp_name);
        return false;
    }
    struct py_map *from = (struct py_map *)other;
    if (from->base.heap != m->base.heap) {
        raise_pointer(m->base.heap->state, "the Map belongs to another heap");
        return false;
    }
    if (type_identical(from->type, m->type))
        return true;
    PyErr_Format(PyExc_TypeError, "a Map of type %U cannot be copied to one of type %U",
                 from->type->name, m->type->name);
    return false;
}

PyObject *maps_copy_from(PyObject *self, PyObject *other)
{
    struct py_map *m = (struct py_map *)self;
    struct py_heap *h = m->base.heap;
    uint64_t *roots[3] = {NULL, NULL, NULL};
    struct gomem_error err;
    bool ok = false;
    if (!same_kind(m, other) || !heap_usable(h))
        return NULL;
    for (int i = 0; i < 3 && (i == 0 || roots[i - 1] != NULL); i++)
        roots[i] = root_take(h);
    if (roots[2] != NULL) {
        HEAP_LOCK(h)
        struct gomem_proc *p = heap_proc(h);
        if (p != NULL)
            ok = end_value(h, p, gomem_map_copy(p, m->type->t, handle_address(m), handle_address(other),
                                                roots, &err), &err, NULL);
        HEAP_UNLOCK(h)
    }
    for (int i = 0; i < 3; i++)
        root_give(h, roots[i]);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *maps_delete_func(PyObject *self, PyObject *fn)
{
    if (!PyCallable_Check(fn)) {
        PyErr_Format(PyExc_TypeError, "delete_func() takes a function, not %.200s", Py_TYPE(fn)->tp_name);
        return NULL;
    }
    PyObject *iter = map_items(self, NULL), *pair;
    bool ok = iter != NULL;
    while (ok && (pair = PyIter_Next(iter)) != NULL) {
        PyObject *gone = PyObject_CallObject(fn, pair), *done = NULL;
        int truth = gone == NULL ? -1 : PyObject_IsTrue(gone);
        if (truth > 0)
            done = PyObject_CallMethod(self, "delete", "O", PyTuple_GET_ITEM(pair, 0));
        ok = truth == 0 || done != NULL;
        Py_XDECREF(done);
        Py_XDECREF(gone);
        Py_DECREF(pair);
    }
    Py_XDECREF(iter);
    if (!ok || PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}
