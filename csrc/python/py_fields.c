/* Values in memory: from bytes to Python objects and back, by type.
 *
 * Called by py_ref.c.
 *
 * Concurrency: under the heap's lock (py_core.h): the heap is not closed between the check and the
 * access.
 * Go: assignment and dereferencing, with the checks of a language that is not checked at compile time.
 */
#include "python/py_values.h"

#include <math.h>

/* Range of an integer kind; false for other kinds. */
static bool int_range(enum gomem_kind kind, bool *is_signed, unsigned *bits)
{
    switch (kind) {
    case GOMEM_INT8:
    case GOMEM_UINT8:
        *bits = 8;
        break;
    case GOMEM_INT16:
    case GOMEM_UINT16:
        *bits = 16;
        break;
    case GOMEM_INT32:
    case GOMEM_UINT32:
        *bits = 32;
        break;
    case GOMEM_INT64:
    case GOMEM_UINT64:
    case GOMEM_UINTPTR:
        *bits = 64;
        break;
    default:
        return false;
    }
    *is_signed = kind >= GOMEM_INT8 && kind <= GOMEM_INT64;
    return true;
}

/* May the object, whose type says so, be something else in truth? */
static bool is_doubtful(struct py_heap *h, const struct py_type *t, uint64_t address)
{
    return h->guarded && h->dangles && t != NULL && gomem_type_pointer_bytes(t->t) != 0 &&
           refs_find(h, address) == NULL;
}

PyObject *pointer_load(struct py_heap *h, struct py_type *type, uint64_t address, uint64_t *root)
{
    PyObject *elem = type_elem(type);
    if (elem != NULL)
        return pointer_to_load(h, elem == Py_None ? NULL : (struct py_type *)elem, address, root);
    root_give(h, root);
    return NULL;
}

PyObject *pointer_to_load(struct py_heap *h, struct py_type *t, uint64_t address, uint64_t *root)
{
    struct gomem_proc *p = heap_settled_proc(h);
    if (p == NULL) {
        root_give(h, root);
        return NULL;
    }
    struct gomem_lookup l;
    size_t offset;
    gomem_proc_lookup(p, address, &l);
    bool there = l.place == GOMEM_PLACE_OBJECT && l.object == address;
    bool fits = t == NULL || gomem_proc_type_fits(p, t->t, address, &offset);
    gomem_proc_release(p);
    if (there && fits && !is_doubtful(h, t, address))
        return ref_found(h, address, t == NULL ? l.size : gomem_type_size(t->t), t, root);
    root_give(h, root);
    if (address == 0)
        Py_RETURN_NONE;
    if (l.place == GOMEM_PLACE_ZEROBASE)
        return ref_for(h, address, 0, t, NULL);
    if (!there)
        return raise_pointer(h->state, "the pointer %p dangles: there is no object any more",
                             (void *)(uintptr_t)address);
    if (fits)
        return raise_pointer(h->state,
                             "the pointer %p may dangle: objects with pointers were freed before "
                             "there were Go values in this heap",
                             (void *)(uintptr_t)address);
    return raise_pointer(h->state, "the pointer %p dangles: the object there is no %s any more",
                         (void *)(uintptr_t)address, gomem_type_name(t->t));
}

PyObject *number_load(struct py_type *type, const void *at)
{
    bool is_signed;
    unsigned bits;
    enum gomem_kind kind = gomem_type_kind(type->t);
    if (int_range(kind, &is_signed, &bits)) {
        uint64_t raw = 0;
        memcpy(&raw, at, bits / 8);
        if (!is_signed)
            return PyLong_FromUnsignedLongLong(raw);
        return PyLong_FromLongLong((int64_t)(raw << (64 - bits)) >> (64 - bits));
    }
    float f[2];
    double d[2];
    switch (kind) {
    case GOMEM_BOOL:
        return PyBool_FromLong(*(const char *)at != 0);
    case GOMEM_FLOAT32:
        memcpy(f, at, sizeof f[0]);
        return PyFloat_FromDouble((double)f[0]);
    case GOMEM_FLOAT64:
        memcpy(d, at, sizeof d[0]);
        return PyFloat_FromDouble(d[0]);
    case GOMEM_COMPLEX64:
        memcpy(f, at, sizeof f);
        return PyComplex_FromDoubles((double)f[0], (double)f[1]);
    case GOMEM_COMPLEX128:
        memcpy(d, at, sizeof d);
        return PyComplex_FromDoubles(d[0], d[1]);
    default:
        PyErr_Format(PyExc_SystemError, "kind %d is no number", (int)kind);
        return NULL;
    }
}

/* What comes into memory of a Ref that needs more than a look: a pointer, a string ... */
static PyObject *load_rooted(struct py_ref *ref, struct py_type *type, uint64_t offset)
{
    struct py_heap *h = ref->heap;
    struct snapshot s;
    if (!snapshot_prepare(&s, h, type))
        return NULL;
    struct gomem_proc *p = heap_settled_proc(h);
    bool there = p != NULL && ref_is_there(ref);
    /* Only now: while the P is held nobody collects what the pointers lead to. */
    if (there)
        snapshot_copy(&s, p, (const char *)(uintptr_t)(ref_raw_address(ref) + offset));
    if (p != NULL)
        gomem_proc_release(p);
    PyObject *value = there ? snapshot_value(&s) : NULL;
    snapshot_end(&s);
    if (p != NULL && !there)
        raise_pointer(h->state, "the object was freed");
    return value;
}

PyObject *value_load(struct py_ref *ref, struct py_type *type, uint64_t offset)
{
    uint64_t address = ref_address(ref);
    if (address == 0)
        return NULL;
    if (gomem_type_kind(type->t) >= GOMEM_POINTER)
        return load_rooted(ref, type, offset);
    return number_load(type, (const char *)(uintptr_t)(address + offset));
}

/* --- Storing --- */

/* Converting runs Python code, which may free the object or close the heap: the address is looked at only
 * afterwards. */

static void value_set(struct value *v, const void *bytes, size_t size)
{
    memcpy(v->bytes, bytes, size);
    v->size = size;
}

/* What an error adds about two types of which one was wanted: their names may be the same. */
static const char *same_name(const struct py_type *wanted, const struct py_type *given)
{
    return strcmp(gomem_type_name(wanted->t), gomem_type_name(given->t)) != 0
               ? ""
               : " (another type of that name: gomem.struct makes a new one with each call)";
}

/* The same of a Ref, which says more of itself. */
static int wrong_ref(const char *what, struct py_type *type, const struct py_ref *ref)
{
    if (ref->type == NULL)
        PyErr_Format(PyExc_TypeError, "%s is of type %s and cannot be set to a Ref that has no type; "
                     "as_type() gives it one", what, gomem_type_name(type->t));
    else
        PyErr_Format(PyExc_TypeError, "%s is of type %s and cannot be set to a Ref of type %s%s", what,
                     gomem_type_name(type->t), gomem_type_name(ref->type->t),
                     type_identical(type, ref->type) ? " in another heap" : same_name(type, ref->type));
    return -1;
}

int wrong_type(const char *what, struct py_type *type, PyObject *value)
{
    if (PyObject_TypeCheck(value, type->state->ref_type))
        return wrong_ref(what, type, (struct py_ref *)value);
    PyErr_Format(PyExc_TypeError, "%s is of type %s and cannot be set to a value of type %.200s", what,
                 gomem_type_name(type->t), Py_TYPE(value)->tp_name);
    return -1;
}

static int not_in_range(const char *what, struct py_type *type, PyObject *value)
{
    PyErr_Format(PyExc_ValueError, "%s is of type %s, which cannot hold %R", what,
                 gomem_type_name(type->t), value);
    return -1;
}

/* Converting a number failed: says so, unless it was its own code that failed. */
static int wrong_number(const char *what, struct py_type *type, PyObject *value)
{
    if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        return not_in_range(what, type, value);
    }
    if (!PyErr_ExceptionMatches(PyExc_TypeError))
        return -1;
    PyErr_Clear();
    return wrong_type(what, type, value);
}

static int convert_int(struct value *out, struct py_type *type, PyObject *value, const char *what,
                       bool is_signed, unsigned bits)
{
    PyObject *index = PyNumber_Index(value);
    if (index == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError))
            return -1;
        PyErr_Clear();
        return wrong_type(what, type, value);
    }
    bool fits;
    uint64_t raw;
    if (is_signed) {
        int overflow;
        int64_t v = PyLong_AsLongLongAndOverflow(index, &overflow);
        fits = overflow == 0 && v >> (bits - 1) == (v < 0 ? -1 : 0);
        raw = (uint64_t)v;
    } else {
        raw = PyLong_AsUnsignedLongLong(index);
        fits = !(raw == (uint64_t)-1 && PyErr_Occurred()) && (bits == 64 || raw >> bits == 0);
        PyErr_Clear();
    }
    Py_DECREF(index);
    if (!fits)
        return not_in_range(what, type, value);
    value_set(out, &raw, bits / 8);
    return 0;
}

/* May an unsafe.Pointer lead to it? See py_values.h. */
static bool check_unsafe(struct py_heap *h, const struct py_ref *target, const char *what)
{
    if (target->type != NULL && target->type->guarded)
        PyErr_Format(PyExc_TypeError, "%s is an unsafe.Pointer and cannot point to a %s, which has "
                     "Go values in it", what, gomem_type_name(target->type->t));
    else if (h->guarded && target->found)
        PyErr_Format(PyExc_TypeError, "%s cannot point to an object that was found by its address, in "
                     "a heap with Go values", what);
    else
        return true;
    return false;
}

static int convert_pointer(struct value *out, struct py_heap *h, struct py_type *type,
                           PyObject *value, const char *what)
{
    uint64_t address = 0;
    PyObject *elem = type_elem(type);
    if (elem == NULL)
        return -1;
    if (value != Py_None) {
        if (!PyObject_TypeCheck(value, h->state->ref_type))
            return wrong_type(what, type, value);
        struct py_ref *target = (struct py_ref *)value;
        if (target->heap != h) {
            raise_pointer(h->state, "%s cannot point into another heap", what);
            return -1;
        }
        if (target->owner != NULL && target->size != 0) {
            PyErr_Format(PyExc_TypeError, "%s cannot point to a part of an object", what);
            return -1;
        }
        if (elem != Py_None && (target->type == NULL ||
                                !type_identical(target->type, (struct py_type *)elem))) {
            PyErr_Format(PyExc_TypeError, "%s is of type %s and cannot point to an object %s%s%s",
                         what, gomem_type_name(type->t),
                         target->type == NULL ? "without a type" : "of type ",
                         target->type == NULL ? "" : gomem_type_name(target->type->t),
                         target->type == NULL ? "" : same_name((struct py_type *)elem, target->type));
            return -1;
        }
        if (elem == Py_None && !check_unsafe(h, target, what))
            return -1;
        address = ref_address(target);
        if (address == 0)
            return -1;
    }
    value_set(out, &address, sizeof address);
    return 0;
}

static int convert_float(struct value *out, struct py_type *type, PyObject *value,
                         const char *what, enum gomem_kind kind)
{
    double d = PyFloat_AsDouble(value);
    if (d == -1 && PyErr_Occurred())
        return wrong_number(what, type, value);
    float f = (float)d;
    if (kind == GOMEM_FLOAT64)
        value_set(out, &d, sizeof d);
    else
        value_set(out, &f, sizeof f);
    return 0;
}

static int convert_complex(struct value *out, struct py_type *type, PyObject *value,
                           const char *what, enum gomem_kind kind)
{
    Py_complex z = PyComplex_AsCComplex(value);
    if (z.real == -1 && PyErr_Occurred())
        return wrong_number(what, type, value);
    double d[2] = {z.real, z.imag};
    float f[2] = {(float)z.real, (float)z.imag};
    if (kind == GOMEM_COMPLEX128)
        value_set(out, d, sizeof d);
    else
        value_set(out, f, sizeof f);
    return 0;
}

int value_convert(struct value *out, struct py_heap *h, struct py_type *type, PyObject *value,
                  const char *what)
{
    enum gomem_kind kind = gomem_type_kind(type->t);
    bool is_signed;
    unsigned bits;
    if (int_range(kind, &is_signed, &bits))
        return convert_int(out, type, value, what, is_signed, bits);
    switch (kind) {
    case GOMEM_BOOL:
        if (!PyBool_Check(value))
            return wrong_type(what, type, value);
        value_set(out, value == Py_True ? "\1" : "\0", 1);
        return 0;
    case GOMEM_FLOAT32:
    case GOMEM_FLOAT64:
        return convert_float(out, type, value, what, kind);
    case GOMEM_COMPLEX64:
    case GOMEM_COMPLEX128:
        return convert_complex(out, type, value, what, kind);
    case GOMEM_POINTER:
        return convert_pointer(out, h, type, value, what);
    default:
        PyErr_Format(PyExc_SystemError, "kind %d has no value", (int)kind);
        return -1;
    }
}

/* With the write barrier. The Ref keeps the object; what it is to point to, the packed value does. */
static int store_rooted(struct py_ref *ref, struct py_type *type, uint64_t offset, PyObject *value,
                        const char *what)
{
    struct packed packed;
    struct py_heap *h = ref->heap;
    if (!pack(&packed, h, type, &value, 1, what, false))
        return -1;
    struct gomem_proc *p = ref_address(ref) != 0 ? heap_proc(h) : NULL;
    /* Waiting for the P may have let somebody free the object. */
    bool there = p != NULL && ref_is_there(ref);
    if (there)
        gomem_typed_copy(p, type->t, (char *)(uintptr_t)(ref_raw_address(ref) + offset), packed.bytes, 1);
    if (p != NULL)
        gomem_proc_release(p);
    pack_end(&packed);
    if (p != NULL && !there)
        raise_pointer(h->state, "the object was freed");
    return there ? 0 : -1;
}

int value_store(struct py_ref *ref, struct py_type *type, uint64_t offset, PyObject *value,
                const char *what)
{
    struct value v;
    if (gomem_type_kind(type->t) >= GOMEM_POINTER)
        return store_rooted(ref, type, offset, value, what);
    if (value_convert(&v, ref->heap, type, value, what) < 0)
        return -1;
    uint64_t address = ref_address(ref);
    if (address == 0)
        return -1;
    memcpy((void *)(uintptr_t)(address + offset), v.bytes, v.size);
    return 0;
}
