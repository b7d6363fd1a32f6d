/* Values on their way from memory to Python objects.
 *
 * A value is copied while a P is held, and what it points to is put into roots; then Python objects are
 * made of the copy, of which each takes over the root it needs.
 *
 * Called by py_fields.c and the files of the types.
 *
 * Concurrency: see py_values.h.
 * Go: evaluating an expression.
 */
#include "python/py_values.h"

/* Words of the type that are pointers. */
static size_t count_pointers(const struct gomem_type *t)
{
    size_t n = 0;
    for (size_t word = 0; word < gomem_type_pointer_bytes(t) / 8; word++)
        n += gomem_type_is_pointer_word(t, word);
    return n;
}

bool snapshot_prepare(struct snapshot *s, struct py_heap *h, struct py_type *type)
{
    size_t size = gomem_type_size(type->t), n = count_pointers(type->t);
    s->heap = h;
    s->type = type;
    s->nroots = s->used = 0;
    s->bytes = size > sizeof s->few ? PyMem_Malloc(size) : s->few;
    s->roots = n > Py_ARRAY_LENGTH(s->few_roots) ? PyMem_New(uint64_t *, n) : s->few_roots;
    if (s->bytes == NULL || s->roots == NULL)
        PyErr_NoMemory();
    bool ok = s->bytes != NULL && s->roots != NULL && heap_usable(h);
    for (; ok && s->nroots < n; s->nroots += ok) {
        s->roots[s->nroots] = root_take(h);
        ok = s->roots[s->nroots] != NULL;
    }
    if (!ok)
        snapshot_end(s);
    return ok;
}

void snapshot_copy(struct snapshot *s, struct gomem_proc *p, const void *at)
{
    memcpy(s->bytes, at, gomem_type_size(s->type->t));
    snapshot_root(s, p);
}

void snapshot_root(struct snapshot *s, struct gomem_proc *p)
{
    const struct gomem_type *t = s->type->t;
    for (size_t word = 0, root = 0; root < s->nroots; word++) {
        void *pointer;
        if (!gomem_type_is_pointer_word(t, word))
            continue;
        memcpy(&pointer, s->bytes + word * 8, sizeof pointer);
        root_write(p, s->roots[root++], pointer);
    }
}

void snapshot_end(struct snapshot *s)
{
    HEAP_LOCK(s->heap)
    for (; s->used < s->nroots; s->used++)
        root_give(s->heap, s->roots[s->used]);
    HEAP_UNLOCK(s->heap)
    if (s->bytes != s->few)
        PyMem_Free(s->bytes);
    if (s->roots != s->few_roots)
        PyMem_Free(s->roots);
}

static PyObject *take_value(struct snapshot *s, struct py_type *type, const unsigned char *at);

static PyObject *take_fields(struct snapshot *s, struct py_type *type, const unsigned char *at)
{
    PyObject *dict = PyDict_New(), *name, *field;
    for (Py_ssize_t i = 0; dict != NULL && PyDict_Next(type->fields, &i, &name, &field);) {
        size_t offset = PyLong_AsSize_t(PyTuple_GET_ITEM(field, 0));
        PyObject *value =
            take_value(s, (struct py_type *)PyTuple_GET_ITEM(field, 1), at + offset);
        if (value == NULL || PyDict_SetItem(dict, name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *take_elements(struct snapshot *s, struct py_type *type, const unsigned char *at)
{
    struct py_type *elem = (struct py_type *)type->elem;
    PyObject *list = PyList_New(type->length);
    for (Py_ssize_t i = 0; list != NULL && i < type->length; i++) {
        PyObject *value = take_value(s, elem, at + (size_t)i * gomem_type_size(elem->t));
        if (value == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, value);
    }
    return list;
}

/* The value in a box, whose address is in box_root. */
static PyObject *unbox(struct snapshot *s, struct py_type *type, uint64_t *box_root)
{
    struct snapshot inner;
    if (!snapshot_prepare(&inner, s->heap, type))
        return NULL;
    struct gomem_proc *p = heap_proc(s->heap);
    if (p != NULL) {
        snapshot_copy(&inner, p, (const void *)(uintptr_t)*box_root);
        gomem_proc_release(p);
    }
    PyObject *value = p == NULL ? NULL : snapshot_value(&inner);
    snapshot_end(&inner);
    return value;
}

/* The type of the handle that such a pointer makes, NULL if it makes none. */
static PyTypeObject *handle_type(struct state *st, uintptr_t type)
{
    if (type == ((uintptr_t)gomem_type_of_builder() | 1))
        return st->builder_type;
    return type == ((uintptr_t)gomem_type_of_buffer() | 1) ? st->buffer_type : NULL;
}

static PyObject *take_any(struct snapshot *s, const struct gomem_interface *i)
{
    struct py_heap *h = s->heap;
    uint64_t **roots = &s->roots[s->used];
    s->used += 2;
    PyObject *result = NULL, *address = NULL;
    root_give(h, roots[0]); /* of the word for the type */
    PyTypeObject *handle = handle_type(h->state, i->type);
    if (handle != NULL)
        return handle_new(handle, h, roots[1]);
    if (i->type == 0) {
        result = Py_NewRef(Py_None);
    } else if ((address = PyLong_FromSize_t(i->type & ~(uintptr_t)1)) != NULL) {
        struct py_type *type = (struct py_type *)PyDict_GetItemWithError(h->types, address);
        if (type == NULL && !PyErr_Occurred())
            PyErr_SetString(h->state->corrupt_heap, "an interface has a type that nobody knows");
        Py_DECREF(address);
        if (type != NULL && (i->type & 1))
            return pointer_to_load(h, type, (uint64_t)(uintptr_t)i->value, roots[1]);
        if (type != NULL && gomem_type_kind(type->t) == GOMEM_MAP)
            return map_wrap(h, type, roots[1]);
        result = type == NULL ? NULL : unbox(s, type, roots[1]);
    }
    root_give(h, roots[1]);
    return result;
}

static PyObject *take_value(struct snapshot *s, struct py_type *type, const unsigned char *at)
{
    uint64_t address;
    const struct gomem_slice *slice = (const struct gomem_slice *)at;
    switch (gomem_type_kind(type->t)) {
    case GOMEM_STRUCT:
        return take_fields(s, type, at);
    case GOMEM_ARRAY:
        return take_elements(s, type, at);
    case GOMEM_POINTER:
        memcpy(&address, at, sizeof address);
        return pointer_load(s->heap, type, address, s->roots[s->used++]);
    case GOMEM_STRING:
        return string_wrap(s->heap, ((const struct gomem_string *)at)->len, s->roots[s->used++]);
    case GOMEM_SLICE:
        return slice_wrap(s->heap, type, *slice, s->roots[s->used++]);
    case GOMEM_MAP:
        return map_wrap(s->heap, type, s->roots[s->used++]);
    case GOMEM_INTERFACE:
        return take_any(s, (const struct gomem_interface *)at);
    default:
        return number_load(type, at);
    }
}

PyObject *snapshot_value(struct snapshot *s)
{
    return take_value(s, s->type, s->bytes);
}
