/* The type Ref: a handle of one object, or of a part of one.
 *
 * There is at most one Ref of an object at a time, so that `node.left is other` holds and a free is
 * seen by everyone. A part (a nested struct, an element of an array) is a Ref too, which keeps the
 * object's Ref alive and has no entry in the table.
 *
 * Concurrency: see py_core.h.
 * Go: a pointer.
 */
#include "python/py_values.h"

#include <structmember.h>

PyObject *ref_new(struct py_heap *h, uint64_t address, uint64_t size, struct py_type *type,
                  uint64_t *root)
{
    PyTypeObject *ref_type = h->state->ref_type;
    struct py_ref *ref = PyObject_New(struct py_ref, ref_type);
    if (ref == NULL) {
        root_give(h, root);
        return NULL;
    }
    ref->owner = NULL;
    ref->next = NULL;
    ref->type = (struct py_type *)Py_XNewRef((PyObject *)type);
    ref->address = address;
    ref->size = size;
    ref->root = NULL;
    ref->scan = type == NULL || gomem_type_pointer_bytes(type->t) != 0;
    ref->found = type == NULL && h->guarded; /* until somebody says that he has just allocated it */
    ref->exports = 0;
    ref->weakrefs = NULL;
    ref->heap = NULL;
    int status;
    HEAP_LOCK(h)
    status = refs_insert(h, ref);
    HEAP_UNLOCK(h)
    if (status < 0) {
        root_give(h, root);
        Py_DECREF(ref);
        return NULL;
    }
    ref->root = root;
    ref->heap = (struct py_heap *)Py_NewRef((PyObject *)h);
    return (PyObject *)ref;
}

PyObject *ref_part(struct py_ref *owner, struct py_type *type, uint64_t offset)
{
    struct py_ref *part = PyObject_New(struct py_ref, owner->heap->state->ref_type);
    if (part == NULL)
        return NULL;
    struct py_ref *object = owner->owner != NULL ? owner->owner : owner;
    part->heap = (struct py_heap *)Py_NewRef((PyObject *)owner->heap);
    part->owner = (struct py_ref *)Py_NewRef((PyObject *)object);
    part->next = NULL;
    part->type = (struct py_type *)Py_NewRef((PyObject *)type);
    part->root = NULL;
    part->scan = gomem_type_pointer_bytes(type->t) != 0;
    part->found = false;
    part->address = (owner->owner != NULL ? owner->address : 0) + offset;
    part->size = gomem_type_size(type->t);
    part->exports = 0;
    part->weakrefs = NULL;
    return (PyObject *)part;
}

/* The object of size 0, which all of them are: as a type, it is a part of the one without. */
static PyObject *ref_for_zero(struct py_heap *h, uint64_t address, struct py_type *type)
{
    struct py_ref *zero = refs_find(h, address);
    zero = (struct py_ref *)(zero == NULL ? ref_new(h, address, 0, NULL, NULL)
                                          : Py_NewRef((PyObject *)zero));
    if (zero == NULL || type == NULL)
        return (PyObject *)zero;
    PyObject *ref = ref_part(zero, type, 0);
    Py_DECREF(zero);
    return ref;
}

PyObject *ref_for(struct py_heap *h, uint64_t address, uint64_t size, struct py_type *type,
                  uint64_t *root)
{
    struct py_ref *ref = size == 0 ? NULL : refs_find(h, address);
    if (size != 0 && ref == NULL)
        return ref_new(h, address, size, type, root);
    root_give(h, root);
    if (size == 0)
        return ref_for_zero(h, address, type);
    /* It may have been looked up before anyone knew its type. */
    if (ref->type == NULL && type != NULL && ref->size >= gomem_type_size(type->t)) {
        ref->type = (struct py_type *)Py_NewRef((PyObject *)type);
        ref->size = gomem_type_size(type->t);
    }
    return Py_NewRef((PyObject *)ref);
}

PyObject *ref_found(struct py_heap *h, uint64_t address, uint64_t size, struct py_type *type,
                    uint64_t *root)
{
    PyObject *ref = ref_for(h, address, size, type, root);
    if (ref != NULL)
        replays_forget(h, address);
    return ref;
}

static void ref_dealloc(PyObject *self)
{
    struct py_ref *ref = (struct py_ref *)self;
    PyTypeObject *type = Py_TYPE(self);
    /* First: callbacks of weak references run code, which must not find it any more. */
    if (ref->heap != NULL && ref->owner == NULL && ref->address != 0) {
        HEAP_LOCK(ref->heap)
        refs_remove(ref->heap, ref);
        root_give(ref->heap, ref->root);
        HEAP_UNLOCK(ref->heap)
    }
    if (ref->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    Py_XDECREF(ref->owner);
    Py_XDECREF(ref->type);
    Py_XDECREF(ref->heap);
    PyObject_Free(self);
    Py_DECREF(type);
}

uint64_t ref_address(struct py_ref *ref)
{
    if (!heap_usable(ref->heap))
        return 0;
    uint64_t address = ref_raw_address(ref);
    if (address == 0)
        raise_pointer(ref->heap->state, "the object was freed");
    return address;
}

/* --- Attributes --- */

static PyObject *get_address(PyObject *self, void *unused)
{
    (void)unused;
    uint64_t address = ref_address((struct py_ref *)self);
    return address == 0 ? NULL : PyLong_FromUnsignedLongLong(address);
}

static PyObject *get_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((struct py_ref *)self)->size);
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_ref *)self)->heap);
}

static PyObject *get_type(PyObject *self, void *unused)
{
    (void)unused;
    struct py_ref *ref = (struct py_ref *)self;
    return Py_NewRef(ref->type == NULL ? Py_None : (PyObject *)ref->type);
}

static PyObject *get_freed(PyObject *self, void *unused)
{
    (void)unused;
    struct py_ref *ref = (struct py_ref *)self;
    struct py_ref *object = ref->owner != NULL ? ref->owner : ref;
    return PyBool_FromLong(object->address == 0 || ref->heap->closing);
}

static bool look(struct py_ref *ref, struct gomem_lookup *l)
{
    uint64_t address = ref_address(ref);
    return address != 0 && heap_look(ref->heap, address, l, NULL);
}

static PyObject *get_size_class(PyObject *self, void *unused)
{
    (void)unused;
    struct gomem_lookup l;
    return look((struct py_ref *)self, &l) ? PyLong_FromUnsignedLong(l.size_class) : NULL;
}

static PyObject *get_slot_size(PyObject *self, void *unused)
{
    (void)unused;
    struct gomem_lookup l;
    return look((struct py_ref *)self, &l) ? PyLong_FromUnsignedLongLong(l.size) : NULL;
}

/* Made in Python. */
static PyObject *get_span(PyObject *self, void *unused)
{
    (void)unused;
    struct py_ref *ref = (struct py_ref *)self;
    uint64_t address = ref_address(ref);
    if (address == 0)
        return NULL;
    if (ref->size == 0)
        Py_RETURN_NONE;
    return PyObject_CallMethod((PyObject *)ref->heap, "span", "K", address);
}

/* --- Fields --- */

/* The field's type and offset; NULL without an exception if there is no such field. */
static struct py_type *find_field(struct py_ref *ref, PyObject *name, uint64_t *offset)
{
    if (ref->type == NULL || ref->type->fields == NULL)
        return NULL;
    PyObject *field = PyDict_GetItemWithError(ref->type->fields, name);
    if (field == NULL)
        return NULL;
    *offset = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(field, 0));
    return (struct py_type *)PyTuple_GET_ITEM(field, 1);
}

static bool is_composite(const struct py_type *t)
{
    enum gomem_kind kind = gomem_type_kind(t->t);
    return kind == GOMEM_STRUCT || kind == GOMEM_ARRAY;
}

static PyObject *load_at(struct py_ref *ref, struct py_type *type, uint64_t offset)
{
    PyObject *value = NULL;
    HEAP_LOCK(ref->heap)
    if (is_composite(type))
        value = ref_address(ref) == 0 ? NULL : ref_part(ref, type, offset);
    else
        value = value_load(ref, type, offset);
    HEAP_UNLOCK(ref->heap)
    return value;
}

static int store_at(struct py_ref *ref, struct py_type *type, uint64_t offset, PyObject *value,
                    PyObject *name)
{
    if (value == NULL) {
        PyErr_Format(PyExc_TypeError, "%S cannot be deleted", name);
        return -1;
    }
    const char *what = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : "element";
    if (what == NULL)
        return -1;
    if (is_composite(type)) {
        PyErr_Format(PyExc_TypeError, "%s is of type %s: set its parts", what,
                     gomem_type_name(type->t));
        return -1;
    }
    int status;
    HEAP_LOCK(ref->heap)
    status = value_store(ref, type, offset, value, what);
    HEAP_UNLOCK(ref->heap)
    return status;
}

static PyObject *ref_getattro(PyObject *self, PyObject *name)
{
    struct py_ref *ref = (struct py_ref *)self;
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || ref->type == NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    uint64_t offset;
    struct py_type *type = find_field(ref, name, &offset);
    if (type == NULL) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_AttributeError, "%U has no field %R", ref->type->name, name);
    } else {
        value = load_at(ref, type, offset);
    }
    return value;
}

static int ref_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    struct py_ref *ref = (struct py_ref *)self;
    uint64_t offset;
    struct py_type *type = find_field(ref, name, &offset);
    if (type != NULL)
        return store_at(ref, type, offset, value, name);
    if (PyErr_Occurred())
        return -1;
    if (ref->type != NULL)
        PyErr_Format(PyExc_AttributeError, "%U has no field %R", ref->type->name, name);
    else
        PyErr_Format(PyExc_AttributeError, "an object without a type has no field %R", name);
    return -1;
}

static bool is_array(const struct py_ref *ref)
{
    return ref->type != NULL && gomem_type_kind(ref->type->t) == GOMEM_ARRAY;
}

/* The type and offset that a key names: a field's name, or an index of an array. */
static struct py_type *find_item(struct py_ref *ref, PyObject *key, uint64_t *offset)
{
    if (ref->type == NULL) {
        PyErr_SetString(PyExc_TypeError, "an object without a type has no fields or elements");
        return NULL;
    }
    if (is_array(ref)) {
        int64_t i;
        struct gomem_error err;
        struct state *st = ref->heap->state;
        if (!parse_index(st, key, ref->type->length, &i))
            return NULL;
        if (gomem_check_index(i, ref->type->length, &err) != GOMEM_OK) {
            raise_error(st, &err);
            return NULL;
        }
        struct py_type *elem = (struct py_type *)ref->type->elem;
        *offset = (uint64_t)i * gomem_type_size(elem->t);
        return elem;
    }
    struct py_type *type = find_field(ref, key, offset);
    if (type == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_KeyError, "%U has no field %R", ref->type->name, key);
    return type;
}

static PyObject *ref_subscript(PyObject *self, PyObject *key)
{
    uint64_t offset;
    struct py_type *type = find_item((struct py_ref *)self, key, &offset);
    return type == NULL ? NULL : load_at((struct py_ref *)self, type, offset);
}

static int ref_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    uint64_t offset;
    struct py_type *type = find_item((struct py_ref *)self, key, &offset);
    return type == NULL ? -1 : store_at((struct py_ref *)self, type, offset, value, key);
}

static PyObject *ref_item(PyObject *self, Py_ssize_t i)
{
    struct py_ref *ref = (struct py_ref *)self;
    if (!is_array(ref) || i < 0 || i >= ref->type->length) {
        PyErr_Format(PyExc_IndexError, "no element %zd", i);
        return NULL;
    }
    struct py_type *elem = (struct py_type *)ref->type->elem;
    return load_at(ref, elem, (uint64_t)i * gomem_type_size(elem->t));
}

static PyObject *ref_iter(PyObject *self)
{
    struct py_ref *ref = (struct py_ref *)self;
    if (is_array(ref))
        return PySeqIter_New(self);
    PyErr_Format(PyExc_TypeError, "only an array has elements to iterate over, not a Ref %s%s",
                 ref->type == NULL ? "without a type" : "of type ",
                 ref->type == NULL ? "" : gomem_type_name(ref->type->t));
    return NULL;
}

static Py_ssize_t ref_length(PyObject *self)
{
    struct py_ref *ref = (struct py_ref *)self;
    if (is_array(ref))
        return ref->type->length;
    if (ref->type != NULL && ref->type->fields != NULL)
        return PyDict_GET_SIZE(ref->type->fields);
    PyErr_SetString(PyExc_TypeError, "an object without a type has no length; see its size");
    return -1;
}

/* --- Buffers --- */

/* May the object hold pointers? Then its bytes are not for writing. */
static bool holds_pointers(struct py_ref *ref, bool *answer)
{
    if (ref->type != NULL) {
        *answer = gomem_type_pointer_bytes(ref->type->t) != 0;
        return true;
    }
    struct gomem_lookup l;
    if (!look(ref, &l))
        return false;
    *answer = l.place == GOMEM_PLACE_OBJECT && !l.noscan;
    return true;
}

static int ref_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    struct py_ref *ref = (struct py_ref *)self;
    struct py_ref *object = ref->owner != NULL ? ref->owner : ref;
    int status = -1;
    bool readonly;
    view->obj = NULL;
    HEAP_LOCK(ref->heap)
    /* Looking may let others run, so the address comes last. */
    uint64_t address = holds_pointers(ref, &readonly) ? ref_address(ref) : 0;
    if (address != 0)
        status = PyBuffer_FillInfo(view, self, (void *)(uintptr_t)address, (Py_ssize_t)ref->size,
                                   readonly, flags);
    if (status == 0) {
        object->exports++;
        ref->heap->exports++;
    }
    HEAP_UNLOCK(ref->heap)
    return status;
}

static void ref_releasebuffer(PyObject *self, Py_buffer *view)
{
    (void)view;
    struct py_ref *ref = (struct py_ref *)self;
    HEAP_LOCK(ref->heap)
    struct py_ref *object = ref->owner != NULL ? ref->owner : ref;
    object->exports--;
    ref->heap->exports--;
    HEAP_UNLOCK(ref->heap)
}

static PyObject *ref_view(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyMemoryView_FromObject(self);
}

/* May the object be seen as another type? See py_values.h. */
static bool check_castable(const struct py_ref *ref, const struct py_type *type)
{
    const struct py_type *guarded = type->guarded ? type : ref->type;
    if (ref->type != NULL && type_identical(ref->type, type))
        return true;
    if (guarded != NULL && guarded->guarded)
        PyErr_Format(PyExc_TypeError, "a %U has Go values in it: nothing else can be seen as one, "
                     "nor it as anything else", guarded->name);
    else if (ref->found && ref->heap->guarded)
        PyErr_SetString(PyExc_TypeError, "an object that was found by its address cannot be seen as "
                                         "a type, in a heap with Go values");
    else
        return true;
    return false;
}

static PyObject *ref_as_type(PyObject *self, PyObject *arg)
{
    struct py_ref *ref = (struct py_ref *)self;
    struct state *st = ref->heap->state;
    if (!PyObject_TypeCheck(arg, st->type_type)) {
        PyErr_Format(PyExc_TypeError, "as_type() takes a gomem.Type, not %.200s",
                     Py_TYPE(arg)->tp_name);
        return NULL;
    }
    struct py_type *type = (struct py_type *)arg;
    uint64_t address = ref_address(ref);
    if (address == 0 || !check_castable(ref, type))
        return NULL;
    if (gomem_type_size(type->t) > ref->size) {
        PyErr_Format(PyExc_ValueError, "%U takes %zu bytes, the object has %llu", type->name,
                     gomem_type_size(type->t), (unsigned long long)ref->size);
        return NULL;
    }
    size_t offset;
    struct gomem_proc *p = heap_proc(ref->heap);
    if (p == NULL)
        return NULL;
    bool agrees = gomem_proc_type_fits(p, type->t, address, &offset);
    gomem_proc_release(p);
    if (!agrees) {
        PyErr_Format(PyExc_TypeError, "%U and the object disagree about a pointer at offset %zu",
                     type->name, offset);
        return NULL;
    }
    return ref_part(ref, type, 0);
}

/* --- The rest --- */

static PyObject *ref_repr(PyObject *self)
{
    struct py_ref *ref = (struct py_ref *)self;
    struct py_ref *object = ref->owner != NULL ? ref->owner : ref;
    const char *name = ref->type == NULL ? "bytes" : gomem_type_name(ref->type->t);
    if (object->address == 0 || ref->heap->closing)
        return PyUnicode_FromFormat("<gomem.Ref %s, freed>", name);
    uint64_t address = ref->owner != NULL ? object->address + ref->address : ref->address;
    return PyUnicode_FromFormat("<gomem.Ref %s, %llu bytes at %p>", name,
                                (unsigned long long)ref->size, (void *)(uintptr_t)address);
}

/* Two Refs are equal if they name the same part of the same object. */
static PyObject *ref_richcompare(PyObject *a, PyObject *b, int op)
{
    if ((op != Py_EQ && op != Py_NE) || !Py_IS_TYPE(b, Py_TYPE(a)))
        Py_RETURN_NOTIMPLEMENTED;
    struct py_ref *x = (struct py_ref *)a, *y = (struct py_ref *)b;
    bool same = a == b;
    if (x->owner != NULL || y->owner != NULL) {
        struct py_ref *xo = x->owner != NULL ? x->owner : x, *yo = y->owner != NULL ? y->owner : y;
        uint64_t xa = x->owner != NULL ? x->address : 0, ya = y->owner != NULL ? y->address : 0;
        same = xo == yo && xa == ya && x->type == y->type;
    }
    return PyBool_FromLong(op == Py_EQ ? same : !same);
}

static Py_hash_t ref_hash(PyObject *self)
{
    struct py_ref *ref = (struct py_ref *)self;
    void *object = ref->owner != NULL ? ref->owner : ref;
    return (Py_hash_t)((uintptr_t)object >> 4) ^ (Py_hash_t)(ref->owner != NULL ? ref->address : 0);
}

static PyObject *ref_html(PyObject *self, PyObject *unused)
{
    (void)unused;
    return call_python("gomem.viz", "ref_html", self);
}

static PyObject *ref_dir(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_ref *ref = (struct py_ref *)self;
    PyObject *names = PyObject_CallMethod((PyObject *)&PyBaseObject_Type, "__dir__", "O", self);
    if (names == NULL || ref->type == NULL || ref->type->fields == NULL)
        return names;
    PyObject *all = PySequence_List(names);
    PyObject *fields = all == NULL ? NULL : PyDict_Keys(ref->type->fields);
    PyObject *sum = fields == NULL ? NULL : PySequence_InPlaceConcat(all, fields);
    Py_DECREF(names);
    Py_XDECREF(all);
    Py_XDECREF(fields);
    return sum;
}

static PyGetSetDef ref_getset[] = {
    {"address", get_address, NULL, "Address of the first byte.", NULL},
    {"size", get_size, NULL, "Bytes asked for.", NULL},
    {"slot_size", get_slot_size, NULL,
     "Bytes there are: of the slot, without a malloc header; of a tiny object, up to the next.",
     NULL},
    {"size_class", get_size_class, NULL, "Size class of its span; 0: large.", NULL},
    {"span", get_span, NULL, "The gomem.Span it lies in, as it is now; None for an object of size 0.", NULL},
    {"type", get_type, NULL, "Its gomem.Type, or None.", NULL},
    {"heap", get_heap, NULL, "The Heap it lies in.", NULL},
    {"freed", get_freed, NULL, "True once it was freed or the heap closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef ref_methods[] = {
    {"view", ref_view, METH_NOARGS,
     "view($self, /)\n--\n\n"
     "A memoryview of its bytes, which keeps the object alive and from being freed. Writable unless\n"
     "the object can hold pointers."},
    {"as_type", ref_as_type, METH_O,
     "as_type($self, type, /)\n--\n\n"
     "The same object seen as another type, which must fit it and have its pointers in the same\n"
     "places. Raises ValueError or TypeError otherwise."},
    {"__dir__", ref_dir, METH_NOARGS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {"_repr_html_", ref_html, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef ref_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_ref, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot ref_slots[] = {
    {Py_tp_doc, "A handle of an object in a Heap. It is made by Heap.alloc, Heap.new and the like.\n\n"
                "An object with a type has its fields as attributes (also as items, for names that\n"
                "Ref itself uses) and its elements as items, with BoundsError for an index that is\n"
                "negative or out of range; a pointer reads as a Ref or None."},
    {Py_tp_dealloc, ref_dealloc},
    {Py_tp_repr, ref_repr},
    {Py_tp_hash, ref_hash},
    {Py_tp_richcompare, ref_richcompare},
    {Py_tp_getattro, ref_getattro},
    {Py_tp_setattro, ref_setattro},
    {Py_mp_subscript, ref_subscript},
    {Py_mp_ass_subscript, ref_ass_subscript},
    {Py_mp_length, ref_length},
    {Py_sq_item, ref_item},
    {Py_tp_iter, ref_iter},
    {Py_bf_getbuffer, ref_getbuffer},
    {Py_bf_releasebuffer, ref_releasebuffer},
    {Py_tp_methods, ref_methods},
    {Py_tp_getset, ref_getset},
    {Py_tp_members, ref_members},
    {0, NULL},
};

PyType_Spec ref_spec = {
    .name = "gomem.Ref",
    .basicsize = sizeof(struct py_ref),
    .flags = Py_TPFLAGS_DEFAULT
#if PY_VERSION_HEX >= 0x030a0000
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = ref_slots,
};
