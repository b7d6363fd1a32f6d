/* The type Slice: a variable of a Go slice type, whose array is in the heap.
 *
 * Appending changes the variable, as `s = append(s, v)` does; slicing makes another that shares the array.
 *
 * Called by Python, py_values.c and py_snapshot.c.
 *
 * Concurrency: see py_values.h. A call that runs without the GIL has the array in a root of its own.
 * Go: []T, append, copy, clear.
 */
#include "python/py_values.h"

#include <structmember.h>

PyObject *slice_wrap(struct py_heap *h, struct py_type *type, struct gomem_slice s, uint64_t *root)
{
    struct py_slice *slice = (struct py_slice *)handle_new(h->state->slice_type, h, root);
    if (slice != NULL) {
        slice->type = (struct py_type *)Py_NewRef((PyObject *)type);
        slice->len = s.len;
        slice->cap = s.cap;
    }
    return (PyObject *)slice;
}

/* A handle of a part of what s shows; NULL bounds: of all. */
static PyObject *slice_part(struct py_slice *s, const struct gomem_bounds *b)
{
    struct py_heap *h = s->base.heap;
    uint64_t *root;
    struct gomem_error err;
    struct gomem_proc *p = begin_value(h, &root);
    if (p == NULL)
        return NULL;
    struct gomem_slice all = slice_of(s), part = all;
    enum gomem_status status =
        b == NULL ? GOMEM_OK : gomem_slice(elem_of(s)->t, &all, b, &part, &err);
    if (status == GOMEM_OK)
        root_write(p, root, part.array);
    return end_value(h, p, status, &err, root) ? slice_wrap(h, s->type, part, root) : NULL;
}

PyObject *slice_clone(struct py_slice *s)
{
    return slice_part(s, NULL);
}

void slice_set(struct py_slice *s, struct gomem_proc *p, struct gomem_slice value)
{
    if (value.array != handle_address(s))
        root_write(p, s->base.root, value.array);
    s->len = value.len;
    s->cap = value.cap;
}

bool slice_check_views(struct py_slice *s, int64_t n)
{
    if (s->exports == 0 || n <= s->cap - s->len)
        return true;
    PyErr_Format(PyExc_BufferError, "the slice needs another array, and %zd views of this one are in "
                 "use: append to a copy, s[:]", s->exports);
    return false;
}

static bool append_packed(struct py_slice *s, const void *values, int64_t n)
{
    struct py_heap *h = s->base.heap;
    struct gomem_error err;
    struct gomem_proc *p = slice_check_views(s, n) ? heap_proc(h) : NULL;
    if (p == NULL)
        return false;
    struct gomem_slice new = slice_of(s);
    enum gomem_status status = gomem_append(p, elem_of(s)->t, &new, values, n, &err);
    if (status == GOMEM_OK)
        slice_set(s, p, new);
    return end_value(h, p, status, &err, NULL);
}

static bool append_values(struct py_slice *s, PyObject *const *values, Py_ssize_t n)
{
    struct packed v;
    if (!heap_usable(s->base.heap) || !pack(&v, s->base.heap, elem_of(s), values, n, "an element", false))
        return false;
    bool ok;
    HEAP_LOCK(s->base.heap)
    ok = append_packed(s, v.bytes, n);
    HEAP_UNLOCK(s->base.heap)
    pack_end(&v);
    return ok;
}

/* --- Making --- */

static PyObject *make(PyTypeObject *cls, PyObject *heap, PyObject *elem, PyObject *len, PyObject *cap)
{
    struct state *st = state_of_type(cls);
    struct py_heap *h = st == NULL ? NULL : parse_heap(st, heap);
    int64_t n = 0, c = 0;
    if (h == NULL || !parse_count(len, "len", &n))
        return NULL;
    c = n;
    if (cap != Py_None && !parse_count(cap, "cap", &c))
        return NULL;
    struct py_type *type = type_slice_of((struct py_type *)elem);
    if (type == NULL || heap_keep_type(h, elem) < 0 || heap_keep_type(h, (PyObject *)type) < 0) {
        Py_XDECREF(type);
        return NULL;
    }
    uint64_t *root;
    struct gomem_slice s = {0};
    struct gomem_error err;
    PyObject *result = NULL;
    struct gomem_proc *p = begin_value(h, &root);
    if (p != NULL) {
        enum gomem_status status = gomem_make_slice(p, ((struct py_type *)elem)->t, n, c, &s, &err);
        if (status == GOMEM_OK)
            gomem_init_root(root, s.array);
        result = end_value(h, p, status, &err, root) ? slice_wrap(h, type, s, root) : NULL;
    }
    Py_DECREF(type);
    return result;
}

static PyObject *slice_make(PyObject *cls, PyObject *args)
{
    PyObject *heap, *elem, *len, *cap;
    struct state *st = state_of_type((PyTypeObject *)cls);
    if (st == NULL || !PyArg_ParseTuple(args, "OO!OO:_make", &heap, st->type_type, &elem, &len, &cap))
        return NULL;
    return make((PyTypeObject *)cls, heap, elem, len, cap);
}

/* The nil slice. */
static PyObject *slice_nil(PyObject *cls, PyObject *args)
{
    PyObject *heap, *elem;
    struct state *st = state_of_type((PyTypeObject *)cls);
    if (st == NULL || !PyArg_ParseTuple(args, "OO!:_nil", &heap, st->type_type, &elem))
        return NULL;
    struct py_heap *h = parse_heap(st, heap);
    if (h == NULL || !heap_guard(h) || heap_keep_type(h, elem) < 0)
        return NULL;
    struct py_type *type = type_slice_of((struct py_type *)elem);
    uint64_t *root = type == NULL ? NULL : root_take(h);
    PyObject *result =
        root == NULL ? NULL : slice_wrap(h, type, (struct gomem_slice){NULL, 0, 0}, root);
    Py_XDECREF(type);
    return result;
}

/* --- Elements --- */

static bool is_composite(const struct py_type *t)
{
    enum gomem_kind kind = gomem_type_kind(t->t);
    return kind == GOMEM_STRUCT || kind == GOMEM_ARRAY;
}

/* A Ref of element i, which is a struct or an array. */
static PyObject *element_ref(struct py_slice *s, int64_t i)
{
    struct py_heap *h = s->base.heap;
    struct gomem_lookup l;
    uint64_t *root = root_take(h);
    struct gomem_proc *p = root == NULL ? NULL : heap_settled_proc(h);
    if (p == NULL) {
        root_give(h, root);
        return NULL;
    }
    uint64_t address = (uint64_t)(uintptr_t)handle_address(s) + (uint64_t)i * elem_size(s);
    gomem_proc_lookup(p, address, &l);
    if (l.place == GOMEM_PLACE_OBJECT)
        root_write(p, root, (void *)(uintptr_t)l.object);
    gomem_proc_release(p);
    if (l.place != GOMEM_PLACE_OBJECT) {
        root_give(h, root);
        return ref_for(h, address, 0, elem_of(s), NULL);
    }
    bool is_new = refs_find(h, l.object) == NULL;
    struct py_ref *array = (struct py_ref *)ref_found(h, l.object, l.size, NULL, root);
    if (array == NULL)
        return NULL;
    array->found |= is_new;
    PyObject *part = ref_part(array, elem_of(s), address - l.object);
    Py_DECREF(array);
    return part;
}

static PyObject *load_element(struct py_slice *s, int64_t i)
{
    struct py_heap *h = s->base.heap;
    struct py_type *elem = elem_of(s);
    struct gomem_error err;
    struct snapshot copy;
    if (!heap_usable(h))
        return NULL;
    if (gomem_check_index(i, s->len, &err) != GOMEM_OK)
        return raise_error(h->state, &err);
    if (is_composite(elem))
        return element_ref(s, i);
    if (gomem_type_kind(elem->t) < GOMEM_POINTER)
        return number_load(elem, (char *)handle_address(s) + (size_t)i * elem_size(s));
    if (!snapshot_prepare(&copy, h, elem))
        return NULL;
    struct gomem_proc *p = heap_proc(h);
    bool there = p != NULL && i < s->len; /* still */
    if (there)
        snapshot_copy(&copy, p, (char *)handle_address(s) + (size_t)i * elem_size(s));
    if (p != NULL)
        gomem_proc_release(p);
    PyObject *value = there ? snapshot_value(&copy) : NULL;
    snapshot_end(&copy);
    if (p != NULL && !there)
        PyErr_SetString(PyExc_RuntimeError, "the slice changed while it was read");
    return value;
}

static int store_element(struct py_slice *s, int64_t i, PyObject *value)
{
    struct py_heap *h = s->base.heap;
    struct packed v;
    struct gomem_error err;
    if (!heap_usable(h) || !pack(&v, h, elem_of(s), &value, 1, "the element", false))
        return -1;
    enum gomem_status status = GOMEM_CLOSED;
    struct gomem_proc *p = heap_proc(h);
    if (p != NULL) {
        status = gomem_check_index(i, s->len, &err);
        if (status == GOMEM_OK)
            gomem_typed_copy(p, elem_of(s)->t, (char *)handle_address(s) + (size_t)i * elem_size(s),
                             v.bytes, 1);
        (void)end_value(h, p, status, &err, NULL);
    }
    pack_end(&v);
    return status == GOMEM_OK ? 0 : -1;
}

static PyObject *slice_subscript(PyObject *self, PyObject *key)
{
    struct py_slice *s = (struct py_slice *)self;
    struct gomem_bounds b;
    int64_t i;
    PyObject *result = NULL;
    bool is_slice = PySlice_Check(key);
    if (is_slice ? !parse_bounds(key, &b) : !parse_index(s->base.heap->state, key, s->len, &i))
        return NULL;
    if (is_slice && b.has_max && !b.has_high) {
        PyErr_SetString(PyExc_TypeError, "s[i:j:max] must have its second bound");
        return NULL;
    }
    HEAP_LOCK(s->base.heap)
    result = is_slice ? slice_part(s, &b) : load_element(s, i);
    HEAP_UNLOCK(s->base.heap)
    return result;
}

static int slice_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    struct py_slice *s = (struct py_slice *)self;
    int64_t i;
    int status;
    if (value == NULL || PySlice_Check(key)) {
        PyErr_SetString(PyExc_TypeError, value == NULL ? "elements cannot be deleted"
                                                       : "use copy() to set several elements");
        return -1;
    }
    if (!parse_index(s->base.heap->state, key, s->len, &i))
        return -1;
    HEAP_LOCK(s->base.heap)
    status = store_element(s, i, value);
    HEAP_UNLOCK(s->base.heap)
    return status;
}

static PyObject *slice_item(PyObject *self, Py_ssize_t i)
{
    struct py_slice *s = (struct py_slice *)self;
    PyObject *result;
    if (i >= s->len) {
        PyErr_SetNone(PyExc_IndexError);
        return NULL;
    }
    HEAP_LOCK(s->base.heap)
    result = load_element(s, i);
    HEAP_UNLOCK(s->base.heap)
    return result;
}

/* As range does: over what it was when it began. */
static PyObject *slice_iter(PyObject *self)
{
    PyObject *clone = slice_clone((struct py_slice *)self);
    PyObject *iter = clone == NULL ? NULL : PySeqIter_New(clone);
    Py_XDECREF(clone);
    return iter;
}

static Py_ssize_t slice_length(PyObject *self)
{
    return (Py_ssize_t)((struct py_slice *)self)->len;
}

/* --- Methods --- */

static PyObject *slice_append(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (!append_values((struct py_slice *)self, args, nargs))
        return NULL;
    Py_RETURN_NONE;
}

/* The other's array as it is now, in a handle of its own; NULL without an exception: it is none. */
static struct py_slice *same_kind(struct py_slice *s, PyObject *other)
{
    if (!PyObject_TypeCheck(other, s->base.heap->state->slice_type))
        return NULL;
    struct py_slice *from = (struct py_slice *)other;
    if (from->base.heap != s->base.heap || !type_identical(from->type, s->type))
        return NULL;
    return (struct py_slice *)slice_clone(from);
}

static PyObject *slice_extend(PyObject *self, PyObject *arg)
{
    struct py_slice *s = (struct py_slice *)self;
    bool ok;
    struct py_slice *from = same_kind(s, arg);
    if (from != NULL) {
        HEAP_LOCK(s->base.heap)
        ok = append_packed(s, handle_address(from), from->len);
        HEAP_UNLOCK(s->base.heap)
        Py_DECREF(from);
    } else {
        bool iterable = Py_TYPE(arg)->tp_iter != NULL || PySequence_Check(arg);
        if (!PyErr_Occurred() && !iterable)
            PyErr_Format(PyExc_TypeError, "values must be a Slice or an iterable of elements of %U, not %.200s",
                         s->type->name, Py_TYPE(arg)->tp_name);
        PyObject *values = PyErr_Occurred() ? NULL : PySequence_Tuple(arg);
        ok = values != NULL && append_values(s, &PyTuple_GET_ITEM(values, 0), PyTuple_GET_SIZE(values));
        Py_XDECREF(values);
    }
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *slice_copy(PyObject *self, PyObject *arg)
{
    struct py_slice *s = (struct py_slice *)self;
    struct py_slice *from = same_kind(s, arg);
    if (from == NULL) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "copy() takes a %U of the same heap, not %.200s",
                         s->type->name, Py_TYPE(arg)->tp_name);
        return NULL;
    }
    int64_t n = 0;
    struct gomem_proc *p = heap_proc(s->base.heap);
    if (p != NULL) {
        struct gomem_slice to = slice_of(s), source = slice_of(from);
        n = gomem_copy(p, elem_of(s)->t, &to, &source);
        gomem_proc_release(p);
    }
    Py_DECREF(from);
    return p == NULL ? NULL : PyLong_FromLongLong(n);
}

static PyObject *slice_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_slice *s = (struct py_slice *)self;
    struct gomem_proc *p = heap_proc(s->base.heap);
    if (p == NULL)
        return NULL;
    gomem_typed_clear(p, elem_of(s)->t, handle_address(s), (size_t)s->len);
    gomem_proc_release(p);
    Py_RETURN_NONE;
}

/* --- Attributes --- */

static PyObject *get_cap(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(((struct py_slice *)self)->cap);
}

static PyObject *get_type(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_slice *)self)->type);
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

static PyObject *slice_repr(PyObject *self)
{
    struct py_slice *s = (struct py_slice *)self;
    return PyUnicode_FromFormat("<gomem.Slice %U, len %lld, cap %lld>", s->type->name,
                                (long long)s->len, (long long)s->cap);
}

/* --- The object --- */

static void slice_dealloc(PyObject *self)
{
    struct py_slice *s = (struct py_slice *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (s->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    handle_end(self);
    Py_XDECREF(s->type);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef slice_getset[] = {
    {"cap", get_cap, NULL, "Capacity in elements.", NULL},
    {"type", get_type, NULL, "Its type, []T: a gomem.Type.", NULL},
    {"address", get_address, NULL, "Address of its first element; 0: nil.", NULL},
    {"heap", get_heap, NULL, "The Heap its array lies in.", NULL},
    {"is_nil", get_is_nil, NULL, "Has it no array at all?", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef slice_methods[] = {
    {"_make", slice_make, METH_VARARGS | METH_CLASS, NULL},
    {"_nil", slice_nil, METH_VARARGS | METH_CLASS, NULL},
    {"append", (PyCFunction)(void (*)(void))slice_append, METH_FASTCALL,
     "append($self, /, *values)\n--\n\n"
     "Appends values, all at once (Go: s = append(s, values...)).\n\n"
     "If the capacity is not enough the slice gets a new array, grown by Go's rule; other slices keep\n"
     "the old one. Raises MemoryError, TypeError or ValueError for what is no such element, and\n"
     "BufferError if it needs a new array while views of this one are in use."},
    {"extend", slice_extend, METH_O,
     "extend($self, values, /)\n--\n\n"
     "Appends all values of a Slice or an iterable, at once (Go: s = append(s, other...))."},
    {"append_many", (PyCFunction)(void (*)(void))slice_append_many, METH_VARARGS | METH_KEYWORDS,
     "append_many($self, /, values, *, count=None)\n--\n\n"
     "Appends the numbers of an array one after the other, as a loop of appends does, without the GIL;\n"
     "or, with count, one value so many times.\n\n"
     "values: a Slice, a one-dimensional array of the element's type, as NumPy has it, or a list. Raises\n"
     "PanicError at once if no array can have so many elements; else as append does, and what signal\n"
     "handlers raise (KeyboardInterrupt): what was appended until then stays."},
    {"copy", slice_copy, METH_O,
     "copy($self, source, /)\n--\n\n"
     "Copies as many elements as both have from another slice; returns how many (Go: copy)."},
    {"clear", slice_clear, METH_NOARGS,
     "clear($self, /)\n--\n\n"
     "Makes all elements zero; the length stays (Go: clear)."},
    {"clone", slices_clone, METH_NOARGS,
     "clone($self, /)\n--\n\n"
     "A copy with an array of its own, of the capacity that append gives (Go: slices.Clone)."},
    {"grow", slices_grow, METH_O,
     "grow($self, n, /)\n--\n\n"
     "Makes room for n more elements (Go: s = slices.Grow(s, n)). Raises PanicError for a negative n,\n"
     "or one too large, MemoryError, and BufferError as append does."},
    {"clip", slices_clip, METH_NOARGS,
     "clip($self, /)\n--\n\nGives up what is beyond the length: s[:len:len] (Go: slices.Clip)."},
    {"insert", (PyCFunction)(void (*)(void))slices_insert, METH_FASTCALL,
     "insert($self, i, /, *values)\n--\n\n"
     "Inserts values before element i (Go: s = slices.Insert(s, i, values...)). Raises BoundsError for\n"
     "an i beyond the length, and what append raises."},
    {"delete", (PyCFunction)(void (*)(void))slices_delete, METH_FASTCALL,
     "delete($self, i, j, /)\n--\n\n"
     "Removes the elements from i up to j; those left over at the end become zero, and the capacity\n"
     "stays (Go: s = slices.Delete(s, i, j)). Raises BoundsError."},
    {"replace", (PyCFunction)(void (*)(void))slices_replace, METH_FASTCALL,
     "replace($self, i, j, /, *values)\n--\n\n"
     "Puts values in the place of the elements from i up to j (Go: s = slices.Replace(s, i, j,\n"
     "values...)). Raises BoundsError, and what append raises."},
    {"__array__", (PyCFunction)(void (*)(void))slice_array, METH_VARARGS | METH_KEYWORDS,
     "__array__($self, /, dtype=None, copy=None)\n--\n\n"
     "For NumPy, which asks for it if there is no view; raises TypeError for what is no slice of numbers."},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef slice_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_slice, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slice_slots[] = {
    {Py_tp_doc,
     "A variable of a Go slice type: made by Heap.make_slice or Heap.slice, or read from memory.\n\n"
     "s[i] and s[i] = v are elements (of structs and arrays: Refs), s[i:j] and s[i:j:max] slices that\n"
     "share the array, with Go's bounds: j may go up to the capacity, and what is negative or out of\n"
     "range raises BoundsError with the text of Go's panic. Slices of numbers are buffers:\n"
     "numpy.asarray(s) is a view."},
    {Py_tp_dealloc, slice_dealloc},
    {Py_tp_repr, slice_repr},
    {Py_tp_iter, slice_iter},
    {Py_sq_item, slice_item},
    {Py_mp_length, slice_length},
    {Py_mp_subscript, slice_subscript},
    {Py_mp_ass_subscript, slice_ass_subscript},
    {Py_bf_getbuffer, slice_getbuffer},
    {Py_bf_releasebuffer, slice_releasebuffer},
    {Py_tp_methods, slice_methods},
    {Py_tp_getset, slice_getset},
    {Py_tp_members, slice_members},
    {0, NULL},
};

PyType_Spec slice_spec = {
    .name = "gomem.Slice",
    .basicsize = sizeof(struct py_slice),
    .flags = Py_TPFLAGS_DEFAULT
#if PY_VERSION_HEX >= 0x030a0000
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = slice_slots,
};
