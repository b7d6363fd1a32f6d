/* The type Map: a variable of a Go map type, whose tables are in the heap.
 *
 * Called by Python, py_values.c and py_snapshot.c.
 *
 * Concurrency: see py_values.h. Who uses a map that a call without the GIL is using gets FatalError.
 * Go: map[K]E.
 */
#include "python/py_values.h"

#include <structmember.h>

PyObject *map_wrap(struct py_heap *h, struct py_type *type, uint64_t *root)
{
    struct py_map *m = (struct py_map *)handle_new(h->state->map_type, h, root);
    if (m != NULL)
        m->type = (struct py_type *)Py_NewRef((PyObject *)type);
    return (PyObject *)m;
}

static struct py_type *key_of(const struct py_map *m)
{
    return (struct py_type *)m->type->key;
}

static struct py_type *elem_of_map(const struct py_map *m)
{
    return (struct py_type *)m->type->elem;
}

/* The heap and the type of a new map; NULL with an exception. */
static struct py_heap *parse_make(PyObject *cls, PyObject *heap, PyObject *type)
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    struct py_heap *h = st == NULL ? NULL : parse_heap(st, heap);
    if (h == NULL)
        return NULL;
    if (!PyObject_TypeCheck(type, st->type_type) ||
        gomem_type_kind(((struct py_type *)type)->t) != GOMEM_MAP) {
        PyErr_Format(PyExc_TypeError, "%R is no map type", type);
        return NULL;
    }
    return heap_keep_type(h, type) < 0 ? NULL : h;
}

static PyObject *map_make(PyObject *cls, PyObject *args)
{
    PyObject *heap, *type, *hint;
    int64_t n;
    if (!PyArg_ParseTuple(args, "OOO:_make", &heap, &type, &hint) ||
        !parse_count(hint, "hint", &n))
        return NULL;
    struct py_heap *h = parse_make(cls, heap, type);
    struct gomem_map *m;
    struct gomem_error err;
    uint64_t *root;
    struct gomem_proc *p = h == NULL ? NULL : begin_value(h, &root);
    if (p == NULL)
        return NULL;
    enum gomem_status status = gomem_make_map(p, ((struct py_type *)type)->t, n, &m, &err);
    if (status == GOMEM_OK)
        gomem_init_root(root, m);
    return end_value(h, p, status, &err, root) ? map_wrap(h, (struct py_type *)type, root) : NULL;
}

static PyObject *map_nil(PyObject *cls, PyObject *args)
{
    PyObject *heap, *type;
    if (!PyArg_ParseTuple(args, "OO:_nil", &heap, &type))
        return NULL;
    struct py_heap *h = parse_make(cls, heap, type);
    uint64_t *root = h == NULL ? NULL : root_take(h);
    return root == NULL ? NULL : map_wrap(h, (struct py_type *)type, root);
}

/* --- Entries --- */

/* Looks a key up: 1 found, 0 not, -1 an exception. elem (or NULL) is prepared, and gets the element or
 * zeros. */
static int look_up(struct py_map *m, PyObject *key, struct snapshot *elem)
{
    struct py_heap *h = m->base.heap;
    struct packed k;
    struct gomem_error err;
    bool found = false;
    if (!pack(&k, h, key_of(m), &key, 1, "the key", true))
        return -1;
    enum gomem_status status = GOMEM_CLOSED;
    HEAP_LOCK(h)
    struct gomem_proc *p = heap_proc(h);
    if (p != NULL) {
        status = gomem_map_get(p, m->type->t, handle_address(m), k.bytes,
                               elem == NULL ? NULL : elem->bytes, &found, &err);
        if (status == GOMEM_OK && elem != NULL)
            snapshot_root(elem, p);
        (void)end_value(h, p, status, &err, NULL);
    }
    HEAP_UNLOCK(h)
    pack_end(&k);
    return status != GOMEM_OK ? -1 : found;
}

/* A tuple would be taken for the arguments of the exception. */
static void raise_key_error(PyObject *key)
{
    PyObject *args = PyTuple_Pack(1, key);
    if (args != NULL)
        PyErr_SetObject(PyExc_KeyError, args);
    Py_XDECREF(args);
}

/* The element of a key, or what missing makes of there being none. */
static PyObject *get(struct py_map *m, PyObject *key, PyObject *missing, bool zero)
{
    struct snapshot s;
    if (!heap_usable(m->base.heap) || !snapshot_prepare(&s, m->base.heap, elem_of_map(m)))
        return NULL;
    int found = look_up(m, key, &s);
    PyObject *value = NULL;
    if (found == 1 || (found == 0 && zero))
        value = snapshot_value(&s);
    else if (found == 0 && missing != NULL)
        value = Py_NewRef(missing);
    else if (found == 0)
        raise_key_error(key);
    snapshot_end(&s);
    return value;
}

static PyObject *map_subscript(PyObject *self, PyObject *key)
{
    return get((struct py_map *)self, key, NULL, false);
}

static PyObject *map_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError, "get() takes a key and a default (%zd given)", nargs);
        return NULL;
    }
    return get((struct py_map *)self, args[0], nargs == 2 ? args[1] : NULL, nargs == 1);
}

static int map_contains(PyObject *self, PyObject *key)
{
    return heap_usable(((struct py_handle *)self)->heap) ? look_up((struct py_map *)self, key, NULL)
                                                         : -1;
}

static int store(struct py_map *m, PyObject *key, PyObject *value)
{
    struct py_heap *h = m->base.heap;
    struct packed k, v;
    struct gomem_error err;
    if (!heap_usable(h) || !pack(&k, h, key_of(m), &key, 1, "the key", false))
        return -1;
    enum gomem_status status = GOMEM_CLOSED;
    if (pack(&v, h, elem_of_map(m), &value, 1, "the element", false)) {
        HEAP_LOCK(h)
        struct gomem_proc *p = heap_proc(h);
        if (p != NULL) {
            status = gomem_map_set(p, m->type->t, handle_address(m), k.bytes, v.bytes, &err);
            (void)end_value(h, p, status, &err, NULL);
        }
        HEAP_UNLOCK(h)
        pack_end(&v);
    }
    pack_end(&k);
    return status == GOMEM_OK ? 0 : -1;
}

static int delete(struct py_map *m, PyObject *key)
{
    struct py_heap *h = m->base.heap;
    struct packed k;
    struct gomem_error err;
    if (!heap_usable(h) || !pack(&k, h, key_of(m), &key, 1, "the key", true))
        return -1;
    enum gomem_status status = GOMEM_CLOSED;
    HEAP_LOCK(h)
    struct gomem_proc *p = heap_proc(h);
    if (p != NULL) {
        status = gomem_map_delete(p, m->type->t, handle_address(m), k.bytes, &err);
        (void)end_value(h, p, status, &err, NULL);
    }
    HEAP_UNLOCK(h)
    pack_end(&k);
    return status == GOMEM_OK ? 0 : -1;
}

static int map_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    struct py_map *m = (struct py_map *)self;
    if (value != NULL)
        return store(m, key, value);
    int found = map_contains(self, key);
    if (found == 0)
        raise_key_error(key);
    return found == 1 ? delete(m, key) : -1;
}

static PyObject *map_delete(PyObject *self, PyObject *key)
{
    if (delete((struct py_map *)self, key) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static Py_ssize_t map_length(PyObject *self)
{
    if (!heap_usable(((struct py_handle *)self)->heap))
        return -1;
    return (Py_ssize_t)gomem_map_len(handle_address(self));
}

/* Clears or verifies. */
static PyObject *call(PyObject *self, enum gomem_status (*f)(struct gomem_proc *,
                                                             const struct gomem_type *,
                                                             struct gomem_map *,
                                                             struct gomem_error *))
{
    struct py_map *m = (struct py_map *)self;
    struct gomem_error err;
    struct gomem_proc *p = heap_proc(m->base.heap);
    if (p == NULL)
        return NULL;
    enum gomem_status status = f(p, m->type->t, handle_address(m), &err);
    if (!end_value(m->base.heap, p, status, &err, NULL))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *map_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return call(self, gomem_map_clear);
}

static PyObject *map_verify(PyObject *self, PyObject *unused)
{
    (void)unused;
    return call(self, gomem_map_verify);
}

/* --- The object --- */

static PyObject *get_type(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_map *)self)->type);
}

static PyObject *get_address(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromVoidPtr(handle_address(self));
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_handle *)self)->heap);
}

static PyObject *get_is_nil(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(handle_address(self) == NULL);
}

static PyObject *map_repr(PyObject *self)
{
    struct py_map *m = (struct py_map *)self;
    if (m->base.heap->closing)
        return PyUnicode_FromFormat("<gomem.Map %U, closed heap>", m->type->name);
    return PyUnicode_FromFormat("<gomem.Map %U, len %zd>", m->type->name, map_length(self));
}

static void map_dealloc(PyObject *self)
{
    struct py_map *m = (struct py_map *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (m->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    handle_end(self);
    Py_XDECREF(m->type);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef map_getset[] = {
    {"type", get_type, NULL, "Its type, map[K]E: a gomem.Type.", NULL},
    {"address", get_address, NULL, "Address of the map's first object; 0: nil.", NULL},
    {"heap", get_heap, NULL, "The Heap its tables lie in.", NULL},
    {"is_nil", get_is_nil, NULL, "Is it the nil map, which is empty and cannot be written?", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef map_methods[] = {
    {"_make", map_make, METH_VARARGS | METH_CLASS, NULL},
    {"_nil", map_nil, METH_VARARGS | METH_CLASS, NULL},
    {"get", (PyCFunction)(void (*)(void))map_get, METH_FASTCALL,
     "get($self, key, default=<the zero value>, /)\n--\n\n"
     "The element of a key; if there is none the default, or without it the zero value of the element\n"
     "type, as Go's m[key]. m[key] raises KeyError instead."},
    {"delete", map_delete, METH_O,
     "delete($self, key, /)\n--\n\n"
     "Removes an entry, if there is one (Go: delete). del m[key] raises KeyError if there is none."},
    {"clear", map_clear, METH_NOARGS,
     "clear($self, /)\n--\n\nRemoves all entries; the tables stay (Go: clear)."},
    {"clone", maps_clone_of, METH_NOARGS,
     "clone($self, /)\n--\n\n"
     "A map with tables of its own, as large as these; of nil, nil (Go: maps.Clone). Raises MemoryError."},
    {"copy", maps_copy_from, METH_O,
     "copy($self, source, /)\n--\n\n"
     "Sets all entries of another map of the same type (Go: maps.Copy). Raises TypeError for another\n"
     "type, MemoryError, and PanicError if this is nil and the other has entries."},
    {"delete_func", maps_delete_func, METH_O,
     "delete_func($self, fn, /)\n--\n\n"
     "Removes the entries of which fn(key, elem) is true (Go: maps.DeleteFunc). Raises what fn does."},
    {"keys", map_keys, METH_NOARGS, "keys($self, /)\n--\n\nAn iterator over the keys."},
    {"values", map_values, METH_NOARGS, "values($self, /)\n--\n\nAn iterator over the elements."},
    {"items", map_items, METH_NOARGS,
     "items($self, /)\n--\n\nAn iterator over pairs of key and element (Go: range)."},
    {"set_many", (PyCFunction)(void (*)(void))map_set_many, METH_VARARGS | METH_KEYWORDS,
     "set_many($self, /, keys, elems=None)\n--\n\n"
     "Sets an entry for each of an array of keys, one after the other, to the elements of another array\n"
     "or to zero values; without the GIL, unless there are pointers in them.\n\n"
     "keys and elems: Slices, one-dimensional arrays of numbers as NumPy has them, lists. Raises TypeError\n"
     "and ValueError for other arrays, MemoryError, and FatalError if another thread uses the map."},
    {"get_many", map_get_many, METH_O,
     "get_many($self, keys, /)\n--\n\n"
     "The elements, which must be numbers, of an array of keys, and whether there are such: two arrays.\n"
     "Without the GIL, unless keys have pointers. Raises as set_many does."},
    {"arrays", map_arrays, METH_NOARGS,
     "arrays($self, /)\n--\n\n"
     "All keys and all elements, which must be numbers, in the order of an iteration: two arrays."},
    {"_verify", map_verify, METH_NOARGS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef map_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_map, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot map_slots[] = {
    {Py_tp_doc,
     "A Go map in a Heap: made by Heap.make_map, or read from memory. Its tables are Go's: their sizes,\n"
     "how they grow, what is allocated.\n\n"
     "It is used as a dict is, but for its iterations: these begin anywhere, may be under way while the\n"
     "map changes, and then show every entry that stays exactly once. Struct elements are read as dicts,\n"
     "which are copies. When two threads use a map at the same time and one writes, one of them gets\n"
     "FatalError."},
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_repr, map_repr},
    {Py_tp_iter, map_iter},
    {Py_sq_contains, map_contains},
    {Py_mp_length, map_length},
    {Py_mp_subscript, map_subscript},
    {Py_mp_ass_subscript, map_ass_subscript},
    {Py_tp_methods, map_methods},
    {Py_tp_getset, map_getset},
    {Py_tp_members, map_members},
    {0, NULL},
};

PyType_Spec map_spec = {
    .name = "gomem.Map",
    .basicsize = sizeof(struct py_map),
    .flags = Py_TPFLAGS_DEFAULT
#if PY_VERSION_HEX >= 0x030a0000
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = map_slots,
};
