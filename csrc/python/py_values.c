/* Values on their way from Python objects into memory, and handles in general.
 *
 * Called by the files of the types (py_slice.c and the like) and by py_fields.c.
 *
 * Concurrency: see py_values.h.
 * Go: assignment; conversion to any.
 */
#include "python/py_values.h"

/* --- Heaps that have had values --- */

bool heap_guard(struct py_heap *h)
{
    /* A batch of frees that began before may be of anything. */
    if (!h->guarded && !heap_settled(h))
        return false;
    h->guarded = true;
    return true;
}

int heap_keep_type(struct py_heap *h, PyObject *type)
{
    if (h->last_type == type)
        return 0;
    PyObject *address = PyLong_FromVoidPtr(((struct py_type *)type)->t);
    if (address == NULL)
        return -1;
    int failed = PyDict_SetItem(h->types, address, type);
    Py_DECREF(address);
    if (failed)
        return -1;
    if (((struct py_type *)type)->guarded && !heap_guard(h))
        return -1;
    h->last_type = type;
    return 0;
}

PyObject *raise_guarded(struct py_heap *h)
{
    return raise_pointer(h->state, "in a heap with Go values only objects without pointers can be "
                                   "freed, by a Ref or table that has had them from the start");
}

/* --- Handles --- */

PyObject *handle_new(PyTypeObject *type, struct py_heap *h, uint64_t *root)
{
    struct py_handle *handle = (struct py_handle *)type->tp_alloc(type, 0);
    if (handle == NULL) {
        root_give(h, root);
        return NULL;
    }
    handle->heap = (struct py_heap *)Py_NewRef((PyObject *)h);
    handle->root = root;
    return (PyObject *)handle;
}

void handle_end(PyObject *self)
{
    struct py_handle *handle = (struct py_handle *)self;
    if (handle->heap == NULL)
        return;
    HEAP_LOCK(handle->heap)
    root_give(handle->heap, handle->root);
    HEAP_UNLOCK(handle->heap)
    Py_CLEAR(handle->heap);
}

struct gomem_proc *begin_value(struct py_heap *h, uint64_t **root)
{
    *root = heap_usable(h) && heap_guard(h) ? root_take(h) : NULL;
    struct gomem_proc *p = *root != NULL ? heap_proc(h) : NULL;
    if (p == NULL)
        root_give(h, *root);
    return p;
}

bool end_value(struct py_heap *h, struct gomem_proc *p, enum gomem_status status,
               const struct gomem_error *err, uint64_t *root)
{
    gomem_proc_release(p);
    if (status == GOMEM_OK)
        return true;
    root_give(h, root);
    raise_error(h->state, err);
    return false;
}

struct py_heap *parse_heap(struct state *st, PyObject *arg)
{
    if (!PyObject_TypeCheck(arg, st->heap_type)) {
        PyErr_Format(PyExc_TypeError, "heap must be a gomem.Heap, not %.200s", Py_TYPE(arg)->tp_name);
        return NULL;
    }
    return heap_usable((struct py_heap *)arg) ? (struct py_heap *)arg : NULL;
}

bool parse_count(PyObject *arg, const char *what, int64_t *out)
{
    if (!PyIndex_Check(arg)) {
        PyErr_Format(PyExc_TypeError, "%s must be an integer, not %.200s", what,
                     Py_TYPE(arg)->tp_name);
        return false;
    }
    *out = PyNumber_AsSsize_t(arg, NULL);
    return *out != -1 || !PyErr_Occurred();
}

bool parse_index(struct state *st, PyObject *arg, int64_t length, int64_t *out)
{
    if (!parse_count(arg, "an index", out))
        return false;
    if (*out != INT64_MAX && *out != INT64_MIN)
        return true;
    /* It may have been clamped: then only Python's integer can say what was given. */
    PyObject *index = PyNumber_Index(arg);
    PyObject *shown = index == NULL ? NULL : call_python("gomem.sizeclasses", "shown", index);
    if (shown != NULL && *out < 0)
        PyErr_Format(st->bounds, "runtime error: index out of range [%U]", shown);
    else if (shown != NULL)
        PyErr_Format(st->bounds, "runtime error: index out of range [%U] with length %lld", shown,
                     (long long)length);
    Py_XDECREF(shown);
    Py_XDECREF(index);
    return false;
}

bool parse_bounds(PyObject *key, struct gomem_bounds *b)
{
    PySliceObject *slice = (PySliceObject *)key;
    *b = (struct gomem_bounds){.has_low = slice->start != Py_None,
                               .has_high = slice->stop != Py_None,
                               .has_max = slice->step != Py_None};
    return (!b->has_low || parse_count(slice->start, "a slice bound", &b->low)) &&
           (!b->has_high || parse_count(slice->stop, "a slice bound", &b->high)) &&
           (!b->has_max || parse_count(slice->step, "a slice bound", &b->max));
}

PyObject *heap_make_chan(PyObject *self, PyObject *args)
{
    struct py_heap *h = (struct py_heap *)self;
    PyObject *elem, *size;
    struct gomem_error err;
    struct gomem_lookup l = {0};
    int64_t n;
    void *chan;
    uint64_t *root;
    if (!PyArg_ParseTuple(args, "O!O:_make_chan", h->state->type_type, &elem, &size) ||
        !parse_count(size, "size", &n) || !heap_usable(h) || heap_keep_type(h, elem) < 0)
        return NULL;
    struct gomem_proc *p = begin_value(h, &root);
    if (p == NULL)
        return NULL;
    enum gomem_status status =
        gomem_make_chan(p, ((struct py_type *)elem)->t, n, &chan, &err);
    if (status == GOMEM_OK) {
        gomem_init_root(root, chan);
        gomem_proc_lookup(p, (uint64_t)(uintptr_t)chan, &l);
    }
    if (!end_value(h, p, status, &err, root))
        return NULL;
    PyObject *ref = ref_new(h, l.object, l.size, NULL, root);
    if (ref != NULL)
        ((struct py_ref *)ref)->found = true;
    return ref;
}

/* --- Into memory --- */

static bool pack_one(struct packed *v, struct py_type *type, PyObject *value, unsigned char *out,
                     const char *what);

/* Keeps an object, whose reference it takes, until pack_end. */
static bool keep(struct packed *v, PyObject *object)
{
    if (object == NULL)
        return false;
    if (v->keep == NULL)
        v->keep = PyList_New(0);
    bool ok = v->keep != NULL && PyList_Append(v->keep, object) == 0;
    Py_DECREF(object);
    return ok;
}

static bool keep_roots(struct packed *v, uint64_t **roots, size_t n)
{
    uint64_t **more = PyMem_Realloc(v->roots, (v->nroots + n) * sizeof *more);
    if (more == NULL) {
        PyErr_NoMemory();
        return false;
    }
    v->roots = more;
    memcpy(more + v->nroots, roots, n * sizeof *more);
    v->nroots += n;
    return true;
}

/* A handle of the right type and heap; else an exception. */
static bool check_handle(struct packed *v, struct py_type *type, PyObject *value, bool is_handle,
                         const char *what)
{
    if (!is_handle) {
        wrong_type(what, type, value);
        return false;
    }
    if (((struct py_handle *)value)->heap != v->heap) {
        raise_pointer(v->heap->state, "%s cannot point into another heap", what);
        return false;
    }
    return true;
}

static bool pack_string(struct packed *v, struct py_type *type, PyObject *value,
                        struct gomem_string *out, const char *what)
{
    struct state *st = v->heap->state;
    if (PyUnicode_Check(value) || PyBytes_Check(value)) {
        if (v->borrow && PyBytes_Check(value)) {
            *out = (struct gomem_string){PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)};
            return keep(v, Py_NewRef(value));
        }
        if (v->borrow) {
            Py_ssize_t n;
            out->data = PyUnicode_AsUTF8AndSize(value, &n);
            out->len = n;
            return out->data != NULL && keep(v, Py_NewRef(value));
        }
        value = string_from_python(v->heap, value);
        if (value == NULL)
            return false;
    } else if (check_handle(v, type, value, PyObject_TypeCheck(value, st->string_type), what)) {
        Py_INCREF(value);
    } else {
        return false;
    }
    *out = (struct gomem_string){handle_address(value), ((struct py_string *)value)->len};
    return keep(v, value);
}

static bool pack_slice(struct packed *v, struct py_type *type, PyObject *value,
                       struct gomem_slice *out, const char *what)
{
    if (value == Py_None)
        return true;
    bool is_slice = PyObject_TypeCheck(value, v->heap->state->slice_type) &&
                    type_identical(((struct py_slice *)value)->type, type);
    if (!check_handle(v, type, value, is_slice, what))
        return false;
    /* The variable may change before the value is stored. */
    struct py_slice *s = (struct py_slice *)slice_clone((struct py_slice *)value);
    if (s == NULL)
        return false;
    *out = (struct gomem_slice){handle_address(s), s->len, s->cap};
    return keep(v, (PyObject *)s);
}

static bool pack_map(struct packed *v, struct py_type *type, PyObject *value, void **out,
                     const char *what)
{
    if (value == Py_None)
        return true;
    bool is_map = PyObject_TypeCheck(value, v->heap->state->map_type) &&
                  type_identical(((struct py_map *)value)->type, type);
    if (!check_handle(v, type, value, is_map, what))
        return false;
    *out = handle_address(value);
    return keep(v, Py_NewRef(value));
}

/* The fields of a struct from a mapping; those it lacks are zero. */
static bool pack_fields(struct packed *v, struct py_type *type, PyObject *value, unsigned char *out)
{
    Py_ssize_t at = 0, found = 0;
    PyObject *name, *field;
    while (PyDict_Next(type->fields, &at, &name, &field)) {
        PyObject *item = PyObject_GetItem(value, name);
        if (item == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_KeyError))
                return false;
            PyErr_Clear();
            continue;
        }
        found++;
        const char *what = PyUnicode_AsUTF8(name);
        bool ok = what != NULL && pack_one(v, (struct py_type *)PyTuple_GET_ITEM(field, 1), item,
                                           out + PyLong_AsSize_t(PyTuple_GET_ITEM(field, 0)), what);
        Py_DECREF(item);
        if (!ok)
            return false;
    }
    Py_ssize_t n = PyMapping_Size(value);
    if (n > found)
        PyErr_Format(PyExc_ValueError, "%U has not all of the %zd fields that were given",
                     type->name, n);
    return n >= 0 && n <= found;
}

static bool pack_elements(struct packed *v, struct py_type *type, PyObject *value,
                          unsigned char *out, const char *what)
{
    PyObject *items = PySequence_Tuple(value);
    struct py_type *elem = (struct py_type *)type->elem;
    size_t size = gomem_type_size(elem->t);
    bool ok = items != NULL;
    if (ok && PyTuple_GET_SIZE(items) != type->length) {
        PyErr_Format(PyExc_ValueError, "%s is a %U, not of %zd elements", what, type->name,
                     PyTuple_GET_SIZE(items));
        ok = false;
    }
    for (Py_ssize_t i = 0; ok && i < type->length; i++)
        ok = pack_one(v, elem, PyTuple_GET_ITEM(items, i), out + (size_t)i * size, what);
    Py_XDECREF(items);
    return ok;
}

/* A copy of what a Ref names. */
static bool pack_ref(struct packed *v, struct py_type *type, struct py_ref *ref,
                     unsigned char *out, const char *what)
{
    struct snapshot s;
    if (ref->heap != v->heap || ref->type == NULL || !type_identical(ref->type, type)) {
        wrong_type(what, type, (PyObject *)ref);
        return false;
    }
    if (ref_address(ref) == 0 || !snapshot_prepare(&s, v->heap, type))
        return false;
    struct gomem_proc *p = heap_proc(v->heap);
    bool ok = p != NULL && ref_is_there(ref);
    if (ok)
        snapshot_copy(&s, p, (const void *)(uintptr_t)ref_raw_address(ref));
    if (p != NULL)
        gomem_proc_release(p);
    if (p != NULL && !ok)
        raise_pointer(v->heap->state, "the object was freed");
    if (ok && s.nroots > 0)
        ok = keep_roots(v, s.roots, s.nroots);
    if (ok) {
        s.used = s.nroots;
        memcpy(out, s.bytes, gomem_type_size(type->t));
    }
    snapshot_end(&s);
    return ok;
}

/* --- any --- */

/* The type that a Python object has in an interface; borrowed, NULL without an exception: it has none. */
static struct py_type *dynamic_type(struct state *st, PyObject *value)
{
    if (PyBool_Check(value))
        return type_basic(st, "bool");
    if (PyLong_Check(value))
        return type_basic(st, "int64");
    if (PyFloat_Check(value))
        return type_basic(st, "float64");
    if (PyComplex_Check(value))
        return type_basic(st, "complex128");
    if (PyUnicode_Check(value) || PyObject_TypeCheck(value, st->string_type))
        return type_basic(st, "string");
    if (PyObject_TypeCheck(value, st->slice_type))
        return ((struct py_slice *)value)->type;
    if (PyObject_TypeCheck(value, st->map_type))
        return ((struct py_map *)value)->type;
    return NULL;
}

static bool is_pointed_to(struct state *st, PyObject *value, PyObject **type)
{
    *type = NULL;
    if (PyObject_TypeCheck(value, st->ref_type))
        *type = (PyObject *)((struct py_ref *)value)->type;
    return *type != NULL;
}

/* The box of a value, which is an object, or a bytes object of Python if it is only to compare with. */
static bool box(struct packed *v, struct py_type *type, const void *value,
                struct gomem_interface *out)
{
    if (gomem_type_kind(type->t) == GOMEM_MAP) {
        *out = (struct gomem_interface){(uintptr_t)type->t, *(void *const *)value};
        return true;
    }
    if (v->borrow) {
        PyObject *bytes = PyBytes_FromStringAndSize(value, (Py_ssize_t)gomem_type_size(type->t));
        if (bytes == NULL)
            return false;
        *out = (struct gomem_interface){(uintptr_t)type->t, PyBytes_AS_STRING(bytes)};
        return keep(v, bytes);
    }
    struct gomem_error err;
    uint64_t *root;
    struct gomem_proc *p = begin_value(v->heap, &root);
    if (p == NULL)
        return false;
    enum gomem_status status = gomem_interface(p, type->t, value, out, &err);
    if (status == GOMEM_OK)
        gomem_init_root(root, out->value);
    if (!end_value(v->heap, p, status, &err, root))
        return false;
    if (keep_roots(v, &root, 1))
        return true;
    root_give(v->heap, root);
    return false;
}

static bool pack_any(struct packed *v, struct py_type *type, PyObject *value,
                     struct gomem_interface *out, const char *what)
{
    struct py_heap *h = v->heap;
    PyObject *elem;
    if (value == Py_None)
        return true;
    if (is_pointed_to(h->state, value, &elem)) {
        struct py_ref *ref = (struct py_ref *)value;
        if (ref->heap != h || ref->owner != NULL) {
            raise_pointer(h->state, "%s cannot point into another heap, or to a part of an object",
                          what);
            return false;
        }
        uint64_t address = ref_address(ref);
        if (address == 0 || heap_keep_type(h, elem) < 0)
            return false;
        *out = (struct gomem_interface){(uintptr_t)((struct py_type *)elem)->t | 1,
                                        (void *)(uintptr_t)address};
        return keep(v, Py_NewRef(value));
    }
    bool is_builder = PyObject_TypeCheck(value, h->state->builder_type);
    if (is_builder || PyObject_TypeCheck(value, h->state->buffer_type)) {
        const struct gomem_type *t = is_builder ? gomem_type_of_builder() : gomem_type_of_buffer();
        *out = (struct gomem_interface){(uintptr_t)t | 1, handle_address(value)};
        return check_handle(v, type, value, true, what) && keep(v, Py_NewRef(value));
    }
    struct py_type *dynamic = dynamic_type(h->state, value);
    if (dynamic == NULL) {
        wrong_type(what, type, value);
        return false;
    }
    uint64_t inner[3] = {0}; /* none of them is larger */
    return heap_keep_type(h, (PyObject *)dynamic) == 0 &&
           pack_one(v, dynamic, value, (unsigned char *)inner, what) &&
           box(v, dynamic, inner, out);
}

/* --- All of it --- */

static bool pack_one(struct packed *v, struct py_type *type, PyObject *value, unsigned char *out,
                     const char *what)
{
    struct value number;
    switch (gomem_type_kind(type->t)) {
    case GOMEM_STRUCT:
        if (PyObject_TypeCheck(value, v->heap->state->ref_type))
            return pack_ref(v, type, (struct py_ref *)value, out, what);
        if (PyMapping_Check(value) && !PySequence_Check(value))
            return pack_fields(v, type, value, out);
        wrong_type(what, type, value);
        return false;
    case GOMEM_ARRAY:
        if (PyObject_TypeCheck(value, v->heap->state->ref_type))
            return pack_ref(v, type, (struct py_ref *)value, out, what);
        if (PySequence_Check(value) && !PyUnicode_Check(value))
            return pack_elements(v, type, value, out, what);
        wrong_type(what, type, value);
        return false;
    case GOMEM_STRING:
        return pack_string(v, type, value, (struct gomem_string *)out, what);
    case GOMEM_SLICE:
        return pack_slice(v, type, value, (struct gomem_slice *)out, what);
    case GOMEM_MAP:
        return pack_map(v, type, value, (void **)out, what);
    case GOMEM_INTERFACE:
        return pack_any(v, type, value, (struct gomem_interface *)out, what);
    case GOMEM_POINTER:
        return value_convert(&number, v->heap, type, value, what) == 0 &&
               (value == Py_None || keep(v, Py_NewRef(value))) &&
               memcpy(out, number.bytes, number.size) != NULL;
    default:
        if (value_convert(&number, v->heap, type, value, what) < 0)
            return false;
        memcpy(out, number.bytes, number.size);
        return true;
    }
}

bool pack(struct packed *v, struct py_heap *h, struct py_type *type, PyObject *const *values,
          Py_ssize_t n, const char *what, bool borrow)
{
    size_t size = gomem_type_size(type->t), bytes;
    *v = (struct packed){.heap = h, .borrow = borrow};
    v->bytes = v->few;
    if (__builtin_mul_overflow(size, (size_t)n, &bytes) || bytes > sizeof v->few)
        v->bytes = PyMem_Calloc((size_t)n, size);
    if (v->bytes == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (!pack_one(v, type, values[i], v->bytes + (size_t)i * size, what)) {
            pack_end(v);
            return false;
        }
    return true;
}

void pack_end(struct packed *v)
{
    if (v->bytes != v->few)
        PyMem_Free(v->bytes);
    HEAP_LOCK(v->heap)
    for (size_t i = 0; i < v->nroots; i++)
        root_give(v->heap, v->roots[i]);
    HEAP_UNLOCK(v->heap)
    PyMem_Free(v->roots);
    Py_XDECREF(v->keep);
}
