/* The type Type: a Go type, as the heap lays it out.
 *
 * Python's gomem.types builds them from names and strings; here are the constructors it needs.
 *
 * Concurrency: immutable, but for a pointer's element, which is set once, when it becomes known.
 * Go: reflect.Type.
 */
#include "python/py_core.h"

#include <structmember.h>

static const char *const kind_names[] = {
    "bool",   "int8",    "int16",   "int32",     "int64",      "uint8",   "uint16", "uint32", "uint64",
    "uintptr", "float32", "float64", "complex64", "complex128", "pointer", "array",  "struct",
    "string", "slice",   "map",     "interface",
};

/* Wraps t, whose reference it takes; NULL with an exception if t is NULL. */
static struct py_type *type_wrap(struct state *st, struct gomem_type *t,
                                 const struct gomem_error *err)
{
    if (t == NULL) {
        raise_error(st, err);
        return NULL;
    }
    struct py_type *type = (struct py_type *)st->type_type->tp_alloc(st->type_type, 0);
    if (type == NULL) {
        gomem_type_release(t);
        return NULL;
    }
    type->state = st;
    type->t = t;
    type->name = PyUnicode_FromString(gomem_type_name(t));
    if (type->name == NULL)
        Py_CLEAR(type);
    return type;
}

PyObject *type_elem(struct py_type *t)
{
    if (t->elem == NULL)
        PyErr_Format(PyExc_TypeError, "%U points to a type that is not defined", t->name);
    return t->elem;
}

bool type_identical(const struct py_type *a, const struct py_type *b)
{
    while (a != b) {
        enum gomem_kind kind = gomem_type_kind(a->t);
        bool unnamed = kind == GOMEM_POINTER || kind == GOMEM_ARRAY || kind == GOMEM_SLICE ||
                       kind == GOMEM_MAP;
        if (!unnamed || gomem_type_kind(b->t) != kind || a->length != b->length)
            return false;
        if (kind == GOMEM_MAP &&
            !type_identical((const struct py_type *)a->key, (const struct py_type *)b->key))
            return false;
        if (a->elem == b->elem)
            return a->elem != NULL;
        if (a->elem == NULL || a->elem == Py_None || b->elem == NULL || b->elem == Py_None)
            return false;
        a = (const struct py_type *)a->elem;
        b = (const struct py_type *)b->elem;
    }
    return true;
}

/* Adds a type to those that need no definition. */
static int add_basic(struct state *st, const char *name, struct gomem_type *t,
                     const struct gomem_error *err)
{
    struct py_type *type = type_wrap(st, t, err);
    if (type == NULL)
        return -1;
    type->guarded = gomem_type_kind(t) > GOMEM_STRUCT;
    int failed = PyDict_SetItemString(st->basic_types, name, (PyObject *)type);
    Py_DECREF(type);
    return failed;
}

int types_init(PyObject *module, struct state *st)
{
    struct gomem_error err;
    st->basic_types = PyDict_New();
    if (st->basic_types == NULL || PyModule_AddObjectRef(module, "basic_types", st->basic_types) < 0)
        return -1;
    for (int kind = GOMEM_BOOL; kind < GOMEM_POINTER; kind++) {
        struct gomem_type *t = gomem_type_basic((enum gomem_kind)kind, &err);
        if (add_basic(st, t == NULL ? "" : gomem_type_name(t), t, &err) < 0)
            return -1;
    }
    if (add_basic(st, "string", gomem_type_string(&err), &err) < 0)
        return -1;
    return add_basic(st, "any", gomem_type_any(&err), &err);
}

struct py_type *type_basic(struct state *st, const char *name)
{
    return (struct py_type *)PyDict_GetItemString(st->basic_types, name);
}

/* --- Constructors, as class methods --- */

static PyObject *type_pointer(PyObject *cls, PyObject *args)
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    const char *name;
    PyObject *elem = NULL;
    struct gomem_error err;
    if (st == NULL || !PyArg_ParseTuple(args, "s|O:_pointer", &name, &elem))
        return NULL;
    if (elem != NULL && elem != Py_None && !PyObject_TypeCheck(elem, st->type_type)) {
        PyErr_SetString(PyExc_TypeError, "the element of a pointer must be a Type or None");
        return NULL;
    }
    struct py_type *type = type_wrap(st, gomem_type_pointer(name, &err), &err);
    if (type != NULL) {
        type->elem = Py_XNewRef(elem);
        type->guarded = elem != NULL && elem != Py_None && ((struct py_type *)elem)->guarded;
    }
    return (PyObject *)type;
}

static PyObject *type_array(PyObject *cls, PyObject *args)
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    PyObject *elem, *n;
    struct gomem_error err;
    if (st == NULL || !PyArg_ParseTuple(args, "O!O:_array", st->type_type, &elem, &n))
        return NULL;
    if (!PyIndex_Check(n)) {
        PyErr_Format(PyExc_TypeError, "an array's length must be an integer, not %.200s",
                     Py_TYPE(n)->tp_name);
        return NULL;
    }
    Py_ssize_t length = PyNumber_AsSsize_t(n, NULL); /* longer: no array can have that many */
    if (length == -1 && PyErr_Occurred())
        return NULL;
    if (length < 0) {
        PyErr_Format(PyExc_ValueError, "an array's length must not be negative: %zd", length);
        return NULL;
    }
    const struct gomem_type *t = ((struct py_type *)elem)->t;
    struct py_type *type = type_wrap(st, gomem_type_array(t, (size_t)length, &err), &err);
    if (type != NULL) {
        type->elem = Py_NewRef(elem);
        type->length = length;
        type->guarded = ((struct py_type *)elem)->guarded;
    }
    return (PyObject *)type;
}

struct py_type *type_slice_of(struct py_type *elem)
{
    struct gomem_error err;
    if (elem->slice == NULL) {
        struct py_type *type =
            type_wrap(elem->state, gomem_type_slice(elem->t, &err), &err);
        if (type == NULL)
            return NULL;
        type->guarded = true;
        type->elem = Py_NewRef((PyObject *)elem);
        if (elem->slice == NULL) /* still */
            elem->slice = (PyObject *)type;
        else
            Py_DECREF(type);
    }
    return (struct py_type *)Py_NewRef(elem->slice);
}

static PyObject *type_slice(PyObject *cls, PyObject *elem)
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    if (st == NULL)
        return NULL;
    if (!PyObject_TypeCheck(elem, st->type_type)) {
        PyErr_Format(PyExc_TypeError, "the element of a slice must be a Type, not %.200s",
                     Py_TYPE(elem)->tp_name);
        return NULL;
    }
    return (PyObject *)type_slice_of((struct py_type *)elem);
}

static PyObject *type_map(PyObject *cls, PyObject *args)
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    PyObject *key, *elem;
    struct gomem_error err;
    if (st == NULL ||
        !PyArg_ParseTuple(args, "O!O!:_map", st->type_type, &key, st->type_type, &elem))
        return NULL;
    struct py_type *type = type_wrap(
        st, gomem_type_map(((struct py_type *)key)->t, ((struct py_type *)elem)->t, &err), &err);
    if (type != NULL) {
        type->guarded = true;
        type->key = Py_NewRef(key);
        type->elem = Py_NewRef(elem);
    }
    return (PyObject *)type;
}

/* Fills type->fields: name -> (offset, Type). */
static int set_fields(struct py_type *type, PyObject *names, PyObject *types)
{
    type->fields = PyDict_New();
    if (type->fields == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *field = Py_BuildValue("nO", gomem_type_field_offset(type->t, (size_t)i),
                                        PyTuple_GET_ITEM(types, i));
        if (field == NULL)
            return -1;
        type->guarded |= ((struct py_type *)PyTuple_GET_ITEM(types, i))->guarded;
        int failed = PyDict_SetItem(type->fields, PyTuple_GET_ITEM(names, i), field);
        Py_DECREF(field);
        if (failed)
            return -1;
    }
    return 0;
}

static PyObject *type_struct(PyObject *cls, PyObject *args)
{
    struct state *st = state_of_type((PyTypeObject *)cls);
    const char *name;
    PyObject *names, *types;
    struct gomem_error err;
    if (st == NULL || !PyArg_ParseTuple(args, "sO!O!:_struct", &name, &PyTuple_Type, &names,
                                        &PyTuple_Type, &types))
        return NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(names);
    if (PyTuple_GET_SIZE(types) != n) {
        PyErr_SetString(PyExc_ValueError, "as many names as types are needed");
        return NULL;
    }
    const char **field_names = PyMem_New(const char *, (size_t)n + 1);
    const struct gomem_type **field_types = PyMem_New(const struct gomem_type *, (size_t)n + 1);
    struct py_type *type = NULL;
    if (field_names == NULL || field_types == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *t = PyTuple_GET_ITEM(types, i);
        field_names[i] = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, i));
        if (field_names[i] == NULL)
            goto done;
        if (!PyObject_TypeCheck(t, st->type_type)) {
            PyErr_Format(PyExc_TypeError, "field %s must be a Type, not %.200s", field_names[i],
                         Py_TYPE(t)->tp_name);
            goto done;
        }
        field_types[i] = ((struct py_type *)t)->t;
    }
    type = type_wrap(st, gomem_type_struct(name, field_names, field_types, (size_t)n, &err), &err);
    if (type != NULL && set_fields(type, names, types) < 0)
        Py_CLEAR(type);
done:
    PyMem_Free(field_names);
    PyMem_Free(field_types);
    return (PyObject *)type;
}

static PyObject *type_set_elem(PyObject *self, PyObject *elem)
{
    struct py_type *type = (struct py_type *)self;
    if (gomem_type_kind(type->t) != GOMEM_POINTER || type->elem != NULL ||
        !PyObject_TypeCheck(elem, type->state->type_type)) {
        PyErr_Format(PyExc_TypeError, "the element of %U cannot be set to %R", type->name, elem);
        return NULL;
    }
    type->elem = Py_NewRef(elem);
    Py_RETURN_NONE;
}

/* --- The object --- */

static int type_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct py_type *type = (struct py_type *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(type->elem);
    Py_VISIT(type->key);
    Py_VISIT(type->slice);
    Py_VISIT(type->fields);
    return 0;
}

static int type_clear(PyObject *self)
{
    struct py_type *type = (struct py_type *)self;
    Py_CLEAR(type->elem);
    Py_CLEAR(type->key);
    Py_CLEAR(type->slice);
    Py_CLEAR(type->fields);
    return 0;
}

static void type_dealloc(PyObject *self)
{
    struct py_type *type = (struct py_type *)self;
    PyTypeObject *tp = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, type_dealloc)
    if (type->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    /* Before its parts, each of which keeps its own: so a long chain of types is not freed by as deep
     * a recursion. */
    gomem_type_release(type->t);
    type_clear(self);
    Py_XDECREF(type->name);
    tp->tp_free(self);
    Py_DECREF(tp);
    Py_TRASHCAN_END
}

static PyObject *type_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<gomem.Type %U>", ((struct py_type *)self)->name);
}

static PyObject *type_str(PyObject *self)
{
    return Py_NewRef(((struct py_type *)self)->name);
}

static PyObject *get_name(PyObject *self, void *unused)
{
    (void)unused;
    return type_str(self);
}

static PyObject *get_kind(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(kind_names[gomem_type_kind(((struct py_type *)self)->t)]);
}

static PyObject *get_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(gomem_type_size(((struct py_type *)self)->t));
}

static PyObject *get_align(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(gomem_type_align(((struct py_type *)self)->t));
}

static PyObject *get_pointer_bytes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(gomem_type_pointer_bytes(((struct py_type *)self)->t));
}

static PyObject *get_pointer_mask(PyObject *self, void *unused)
{
    (void)unused;
    const struct gomem_type *t = ((struct py_type *)self)->t;
    Py_ssize_t n = (Py_ssize_t)(gomem_type_pointer_bytes(t) / 8);
    PyObject *mask = PyTuple_New(n);
    for (Py_ssize_t i = 0; mask != NULL && i < n; i++)
        PyTuple_SET_ITEM(mask, i, PyBool_FromLong(gomem_type_is_pointer_word(t, (size_t)i)));
    return mask;
}

static PyObject *get_elem(PyObject *self, void *unused)
{
    (void)unused;
    struct py_type *type = (struct py_type *)self;
    return Py_NewRef(type->elem == NULL ? Py_None : type->elem);
}

static PyObject *get_key(PyObject *self, void *unused)
{
    (void)unused;
    struct py_type *type = (struct py_type *)self;
    return Py_NewRef(type->key == NULL ? Py_None : type->key);
}

static PyObject *get_fields(PyObject *self, void *unused)
{
    (void)unused;
    struct py_type *type = (struct py_type *)self;
    return type->fields == NULL ? PyDict_New() : PyDictProxy_New(type->fields);
}

static PyObject *get_length(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(((struct py_type *)self)->length);
}

static PyGetSetDef type_getset[] = {
    {"name", get_name, NULL, "As Go writes it.", NULL},
    {"kind", get_kind, NULL,
     "'bool', 'int8', ... 'pointer', 'array', 'struct', 'string', 'slice', 'map' or 'interface'.",
     NULL},
    {"size", get_size, NULL, "Bytes (unsafe.Sizeof).", NULL},
    {"align", get_align, NULL, "Alignment in bytes (unsafe.Alignof).", NULL},
    {"pointer_bytes", get_pointer_bytes, NULL,
     "Bytes of the prefix that can hold pointers; 0: the type is noscan.", NULL},
    {"pointer_mask", get_pointer_mask, NULL,
     "For each word of that prefix, whether it is a pointer: a tuple of bools.", NULL},
    {"elem", get_elem, NULL,
     "What a pointer points to, an array or slice consists of, a map leads to; else None.", NULL},
    {"key", get_key, NULL, "What the keys of a map are; else None.", NULL},
    {"fields", get_fields, NULL, "Fields of a struct: name -> (offset in bytes, Type).", NULL},
    {"length", get_length, NULL, "Elements of an array.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef type_methods[] = {
    {"_pointer", type_pointer, METH_VARARGS | METH_CLASS, NULL},
    {"_array", type_array, METH_VARARGS | METH_CLASS, NULL},
    {"_struct", type_struct, METH_VARARGS | METH_CLASS, NULL},
    {"_slice", type_slice, METH_O | METH_CLASS, NULL},
    {"_map", type_map, METH_VARARGS | METH_CLASS, NULL},
    {"_set_elem", type_set_elem, METH_O, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef type_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_type, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "A Go type: size, alignment, and which words are pointers. Made by gomem.struct,\n"
                "gomem.pointer, gomem.array and gomem.type_of; immutable."},
    {Py_tp_dealloc, type_dealloc},
    {Py_tp_traverse, type_traverse},
    {Py_tp_clear, type_clear},
    {Py_tp_repr, type_repr},
    {Py_tp_str, type_str},
    {Py_tp_methods, type_methods},
    {Py_tp_getset, type_getset},
    {Py_tp_members, type_members},
    {0, NULL},
};

PyType_Spec type_spec = {
    .name = "gomem.Type",
    .basicsize = sizeof(struct py_type),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
#if PY_VERSION_HEX >= 0x030a0000
             | Py_TPFLAGS_DISALLOW_INSTANTIATION
#endif
    ,
    .slots = type_slots,
};
