/* Methods of Slice that do what Go's package slices does: clone, grow, clip, insert, delete, replace.
 *
 * Those that change the slice change the variable, as s = slices.Insert(s, i, v) does.
 *
 * Called by Python.
 *
 * Concurrency: see py_values.h.
 * Go: package slices.
 */
#include "python/py_values.h"

/* A slice with an array of its own. */
PyObject *slices_clone(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_slice *s = (struct py_slice *)self;
    struct py_heap *h = s->base.heap;
    struct gomem_error err;
    uint64_t *root;
    PyObject *result = NULL;
    HEAP_LOCK(h)
    struct gomem_proc *p = begin_value(h, &root);
    if (p != NULL) {
        struct gomem_slice copy = {handle_address(s), 0, 0};
        enum gomem_status status = gomem_append(p, elem_of(s)->t, &copy, copy.array, s->len, &err);
        if (status == GOMEM_OK)
            root_write(p, root, copy.array);
        result = end_value(h, p, status, &err, root) ? slice_wrap(h, s->type, copy, root) : NULL;
    }
    HEAP_UNLOCK(h)
    return result;
}

PyObject *slices_grow(PyObject *self, PyObject *arg)
{
    struct py_slice *s = (struct py_slice *)self;
    struct py_heap *h = s->base.heap;
    struct gomem_error err;
    int64_t n;
    bool ok = false;
    if (!parse_count(arg, "n", &n))
        return NULL;
    HEAP_LOCK(h)
    struct gomem_proc *p = slice_check_views(s, n) ? heap_proc(h) : NULL;
    if (p != NULL) {
        struct gomem_slice new = slice_of(s);
        enum gomem_status status = gomem_slice_grow(p, elem_of(s)->t, &new, n, &err);
        if (status == GOMEM_OK)
            slice_set(s, p, new);
        ok = end_value(h, p, status, &err, NULL);
    }
    HEAP_UNLOCK(h)
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *slices_clip(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_slice *s = (struct py_slice *)self;
    if (!heap_usable(s->base.heap))
        return NULL;
    s->cap = s->len;
    Py_RETURN_NONE;
}

/* s[i:j] = values */
static PyObject *replace(struct py_slice *s, int64_t i, int64_t j, PyObject *const *values, Py_ssize_t n)
{
    struct py_heap *h = s->base.heap;
    struct gomem_error err;
    struct packed v;
    bool ok = false;
    if (!heap_usable(h) || !pack(&v, h, elem_of(s), values, n, "an element", false))
        return NULL;
    HEAP_LOCK(h)
    struct gomem_proc *p = slice_check_views(s, n - (j - i)) ? heap_proc(h) : NULL;
    if (p != NULL) {
        struct gomem_slice new = slice_of(s);
        enum gomem_status status = gomem_slice_replace(p, elem_of(s)->t, &new, i, j, v.bytes, n, &err);
        if (status == GOMEM_OK)
            slice_set(s, p, new);
        ok = end_value(h, p, status, &err, NULL);
    }
    HEAP_UNLOCK(h)
    pack_end(&v);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

static bool parse_bound(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t least, const char *what,
                        Py_ssize_t at, int64_t *out)
{
    if (nargs >= least)
        return parse_count(args[at], "an index", out);
    PyErr_Format(PyExc_TypeError, "%s", what);
    return false;
}

PyObject *slices_insert(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct py_slice *s = (struct py_slice *)self;
    int64_t i;
    struct gomem_error err;
    if (!parse_bound(args, nargs, 1, "insert() takes an index and values", 0, &i))
        return NULL;
    const struct gomem_bounds b = {.low = i, .has_low = true};
    const struct gomem_slice all = slice_of(s);
    struct gomem_slice part;
    if (gomem_slice(elem_of(s)->t, &all, &b, &part, &err) != GOMEM_OK)
        return raise_error(s->base.heap->state, &err);
    return replace(s, i, i, args + 1, nargs - 1);
}

PyObject *slices_delete(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    int64_t i, j;
    static const char what[] = "delete() takes two indices";
    if (nargs > 2) {
        PyErr_SetString(PyExc_TypeError, what);
        return NULL;
    }
    if (!parse_bound(args, nargs, 2, what, 0, &i) || !parse_bound(args, nargs, 2, what, 1, &j))
        return NULL;
    return replace((struct py_slice *)self, i, j, NULL, 0);
}

PyObject *slices_replace(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    int64_t i, j;
    static const char what[] = "replace() takes two indices and values";
    struct py_slice *s = (struct py_slice *)self;
    struct gomem_error err;
    if (!parse_bound(args, nargs, 2, what, 0, &i) || !parse_bound(args, nargs, 2, what, 1, &j))
        return NULL;
    /* Go looks at s[i:j], then at s[j:]. */
    const struct gomem_slice all = slice_of(s);
    struct gomem_bounds b = {.low = i, .high = j, .has_low = true, .has_high = true};
    struct gomem_slice part;
    bool ok = gomem_slice(elem_of(s)->t, &all, &b, &part, &err) == GOMEM_OK;
    b = (struct gomem_bounds){.low = j, .has_low = true};
    if (!ok || gomem_slice(elem_of(s)->t, &all, &b, &part, &err) != GOMEM_OK)
        return raise_error(s->base.heap->state, &err);
    return replace(s, i, j, args + 2, nargs - 2);
}
