/* The type MapIterator, and what maps do with whole arrays.
 *
 * Called by Python and as methods of Map (py_map.c).
 *
 * Concurrency: see py_values.h.
 * Go: range over a map.
 */
#include "python/py_values.h"

enum contents { KEYS, VALUES, ITEMS };

struct py_map_iter {
    PyObject_HEAD
    struct py_map *map; /* NULL: at its end */
    enum contents contents;
    uint64_t *roots[3];
    struct gomem_map_iter it;
};

/* Roots for an iteration; false with an exception. */
static bool take_roots(struct py_heap *h, uint64_t *roots[3])
{
    for (int i = 0; i < 3; i++)
        roots[i] = heap_usable(h) ? root_take(h) : NULL;
    if (roots[0] != NULL && roots[1] != NULL && roots[2] != NULL)
        return true;
    for (int i = 0; i < 3; i++)
        root_give(h, roots[i]);
    return false;
}

static void give_roots(struct py_heap *h, uint64_t *roots[3])
{
    HEAP_LOCK(h)
    for (int i = 0; i < 3; i++)
        root_give(h, roots[i]);
    HEAP_UNLOCK(h)
}

static PyObject *iterate(PyObject *self, enum contents contents)
{
    struct py_map *m = (struct py_map *)self;
    struct py_heap *h = m->base.heap;
    uint64_t *roots[3];
    if (!take_roots(h, roots))
        return NULL;
    struct py_map_iter *iter =
        (struct py_map_iter *)h->state->map_iter_type->tp_alloc(h->state->map_iter_type, 0);
    struct gomem_proc *p = iter == NULL ? NULL : heap_proc(h);
    if (p == NULL) {
        give_roots(h, roots);
        Py_XDECREF(iter);
        return NULL;
    }
    gomem_map_iter_init(p, handle_address(m), &iter->it, roots);
    gomem_proc_release(p);
    memcpy(iter->roots, roots, sizeof roots);
    iter->contents = contents;
    iter->map = (struct py_map *)Py_NewRef(self);
    return (PyObject *)iter;
}

PyObject *map_iter(PyObject *self)
{
    return iterate(self, KEYS);
}

PyObject *map_keys(PyObject *self, PyObject *unused)
{
    (void)unused;
    return iterate(self, KEYS);
}

PyObject *map_items(PyObject *self, PyObject *unused)
{
    (void)unused;
    return iterate(self, ITEMS);
}

PyObject *map_values(PyObject *self, PyObject *unused)
{
    (void)unused;
    return iterate(self, VALUES);
}

static void finish(struct py_map_iter *iter)
{
    struct py_map *m = iter->map;
    if (m == NULL)
        return;
    iter->map = NULL;
    give_roots(m->base.heap, iter->roots);
    Py_DECREF(m);
}

/* Copies the next entry: 1, 0 at the end, -1 with an exception. */
static int next_entry(struct py_map_iter *iter, struct snapshot *key, struct snapshot *elem)
{
    struct py_heap *h = iter->map->base.heap;
    const void *key_at = NULL, *elem_at;
    struct gomem_error err;
    struct gomem_proc *p = heap_proc(h);
    if (p == NULL)
        return -1;
    enum gomem_status status = gomem_map_iter_next(p, iter->map->type->t, &iter->it, iter->roots,
                                                   &key_at, &elem_at, &err);
    if (status == GOMEM_OK && key_at != NULL) {
        snapshot_copy(key, p, key_at);
        snapshot_copy(elem, p, elem_at);
    }
    if (!end_value(h, p, status, &err, NULL))
        return -1;
    return key_at != NULL;
}

static PyObject *entry_value(struct py_map_iter *iter, struct snapshot *key, struct snapshot *elem)
{
    if (iter->contents == KEYS)
        return snapshot_value(key);
    if (iter->contents == VALUES)
        return snapshot_value(elem);
    PyObject *k = snapshot_value(key);
    PyObject *v = k == NULL ? NULL : snapshot_value(elem);
    PyObject *pair = v == NULL ? NULL : PyTuple_Pack(2, k, v);
    Py_XDECREF(k);
    Py_XDECREF(v);
    return pair;
}

static PyObject *map_iter_next(PyObject *self)
{
    struct py_map_iter *iter = (struct py_map_iter *)self;
    struct snapshot key, elem;
    struct py_map *m = (struct py_map *)Py_XNewRef((PyObject *)iter->map);
    PyObject *value = NULL;
    if (m == NULL)
        return NULL;
    if (snapshot_prepare(&key, m->base.heap, (struct py_type *)m->type->key)) {
        if (snapshot_prepare(&elem, m->base.heap, (struct py_type *)m->type->elem)) {
            int found = iter->map == NULL ? 0 : next_entry(iter, &key, &elem);
            if (found == 1)
                value = entry_value(iter, &key, &elem);
            else if (found == 0)
                finish(iter);
            snapshot_end(&elem);
        }
        snapshot_end(&key);
    }
    Py_DECREF(m);
    return value;
}

static void map_iter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    finish((struct py_map_iter *)self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef map_iter_methods[] = {
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot map_iter_slots[] = {
    {Py_tp_doc, "An iteration over a Map."},
    {Py_tp_dealloc, map_iter_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, map_iter_next},
    {Py_tp_methods, map_iter_methods},
    {0, NULL},
};

PyType_Spec map_iter_spec = {
    .name = "gomem._core.MapIterator",
    .basicsize = sizeof(struct py_map_iter),
    .flags = Py_TPFLAGS_DEFAULT
#if PY_VERSION_HEX >= 0x030a0000
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = map_iter_slots,
};

/* --- Arrays --- */

static bool has_pointers(const struct py_type *t)
{
    return gomem_type_pointer_bytes(t->t) != 0;
}

/* Arrays of entries, from or for Python. */
struct entries {
    const void *keys, *elems;
    void *keys_out, *elems_out;
    uint8_t *found;
    size_t key_stride, elem_stride, n;
    uint64_t **roots;
};

typedef enum gomem_status many_function(struct gomem_proc *p, const struct gomem_type *t,
                                        struct gomem_map *m, struct entries *e,
                                        struct gomem_error *err);

static enum gomem_status do_set(struct gomem_proc *p, const struct gomem_type *t,
                                struct gomem_map *m, struct entries *e, struct gomem_error *err)
{
    return gomem_map_set_many(p, t, m, e->keys, e->key_stride, e->elems, e->elem_stride, e->n, err);
}

static enum gomem_status do_get(struct gomem_proc *p, const struct gomem_type *t,
                                struct gomem_map *m, struct entries *e, struct gomem_error *err)
{
    return gomem_map_get_many(p, t, m, e->keys, e->key_stride, e->elems_out, e->found, e->n, err);
}

static enum gomem_status do_entries(struct gomem_proc *p, const struct gomem_type *t,
                                    struct gomem_map *m, struct entries *e, struct gomem_error *err)
{
    return gomem_map_entries(p, t, m, e->roots, e->keys_out, e->elems_out, &e->n, err);
}

/* Calls f, without the GIL unless there are pointers, which somebody might change; false with an exception. */
static bool run(struct py_map *m, struct entries *e, many_function *f)
{
    struct py_heap *h = m->base.heap;
    struct gomem_error err;
    enum gomem_status status = GOMEM_CLOSED;
    bool pointers =
        has_pointers((struct py_type *)m->type->key) || has_pointers((struct py_type *)m->type->elem);
    if (!heap_usable(h))
        return false;
    PyThreadState *saved = pointers ? NULL : PyEval_SaveThread();
    struct gomem_proc *p = gomem_proc_acquire(h->rt);
    if (p != NULL) {
        status = f(p, m->type->t, handle_address(m), e, &err);
        gomem_proc_release(p);
    }
    if (saved != NULL)
        PyEval_RestoreThread(saved);
    if (status == GOMEM_CLOSED)
        raise_closed(h->state);
    else if (status != GOMEM_OK)
        raise_error(h->state, &err);
    return status == GOMEM_OK;
}

static bool set_arrays(struct py_map *m, struct array *keys, PyObject *elems)
{
    struct py_type *key = (struct py_type *)m->type->key, *elem = (struct py_type *)m->type->elem;
    struct entries e = {.keys = keys->values, .key_stride = gomem_type_size(key->t), .n = keys->n};
    struct array a = {0};
    PyObject *zero = NULL;
    bool ok;
    if (elems == Py_None) {
        zero = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)gomem_type_size(elem->t) + 1);
        ok = zero != NULL;
        if (ok) {
            memset(PyByteArray_AS_STRING(zero), 0, (size_t)PyByteArray_GET_SIZE(zero));
            e.elems = PyByteArray_AS_STRING(zero);
        }
    } else {
        ok = array_from(m->base.heap, elem, elems, "elems", &a);
        e.elems = a.values;
        e.elem_stride = gomem_type_size(elem->t);
        if (ok && a.n != keys->n) {
            PyErr_Format(PyExc_ValueError, "there are %zu keys and %zu elems", keys->n, a.n);
            array_end(&a);
            return false;
        }
    }
    ok = ok && run(m, &e, do_set);
    array_end(&a);
    Py_XDECREF(zero);
    return ok;
}

PyObject *map_set_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"keys", "elems", NULL};
    struct py_map *m = (struct py_map *)self;
    PyObject *keys, *elems = Py_None;
    struct array k;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:set_many", names, &keys, &elems) ||
        !heap_usable(m->base.heap) ||
        !array_from(m->base.heap, (struct py_type *)m->type->key, keys, "keys", &k))
        return NULL;
    bool ok = set_arrays(m, &k, elems);
    array_end(&k);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* Are these numbers, of which NumPy makes arrays? Else an exception. */
static bool check_numbers(const struct py_type *t, const char *what)
{
    if (gomem_type_kind(t->t) < GOMEM_POINTER)
        return true;
    PyErr_Format(PyExc_TypeError, "%s of type %U make no array", what, t->name);
    return false;
}

/* Room for n values of a type; NULL with an exception. */
static PyObject *room_for(const struct py_type *t, size_t n)
{
    size_t size = gomem_type_size(t->t);
    if (size != 0 && n > PY_SSIZE_T_MAX / size - 1)
        return PyErr_NoMemory();
    return PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(n * size));
}

/* Two arrays, of the types of that name. */
static PyObject *as_arrays(PyObject *a, PyObject *a_type, PyObject *b, PyObject *b_type)
{
    PyObject *parts = Py_BuildValue("(OO)(OO)", a, a_type, b, b_type);
    PyObject *arrays = parts == NULL ? NULL : call_python("gomem.values", "as_arrays", parts);
    Py_XDECREF(parts);
    return arrays;
}

PyObject *map_get_many(PyObject *self, PyObject *keys)
{
    struct py_map *m = (struct py_map *)self;
    struct py_type *key = (struct py_type *)m->type->key, *elem = (struct py_type *)m->type->elem;
    struct py_type *flag = type_basic(m->base.heap->state, "bool");
    struct array k;
    PyObject *result = NULL;
    if (!check_numbers(elem, "elements") || !heap_usable(m->base.heap) ||
        !array_from(m->base.heap, key, keys, "keys", &k))
        return NULL;
    PyObject *elems = room_for(elem, k.n), *found = room_for(flag, k.n);
    if (elems != NULL && found != NULL) {
        struct entries e = {.keys = k.values,
                            .key_stride = gomem_type_size(key->t),
                            .n = k.n,
                            .elems_out = PyByteArray_AS_STRING(elems),
                            .found = (uint8_t *)PyByteArray_AS_STRING(found)};
        if (run(m, &e, do_get))
            result = as_arrays(elems, elem->name, found, flag->name);
    }
    array_end(&k);
    Py_XDECREF(elems);
    Py_XDECREF(found);
    return result;
}

PyObject *map_arrays(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_map *m = (struct py_map *)self;
    struct py_heap *h = m->base.heap;
    struct py_type *key = (struct py_type *)m->type->key, *elem = (struct py_type *)m->type->elem;
    uint64_t *roots[3];
    PyObject *result = NULL;
    if (!check_numbers(key, "keys") || !check_numbers(elem, "elements") || !take_roots(h, roots))
        return NULL;
    size_t n = (size_t)gomem_map_len(handle_address(m));
    PyObject *keys = room_for(key, n), *elems = room_for(elem, n);
    if (keys != NULL && elems != NULL) {
        struct entries e = {.keys_out = PyByteArray_AS_STRING(keys),
                            .elems_out = PyByteArray_AS_STRING(elems),
                            .n = n,
                            .roots = roots};
        if (run(m, &e, do_entries) &&
            PyByteArray_Resize(keys, (Py_ssize_t)(e.n * gomem_type_size(key->t))) == 0 &&
            PyByteArray_Resize(elems, (Py_ssize_t)(e.n * gomem_type_size(elem->t))) == 0)
            result = as_arrays(keys, key->name, elems, elem->name);
    }
    give_roots(h, roots);
    Py_XDECREF(keys);
    Py_XDECREF(elems);
    return result;
}
