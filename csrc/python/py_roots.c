/* The type Roots: a table of many objects, held in C, as alloc_many returns it.
 *
 * Indexing gives a Ref. An object that is freed, through its Ref or otherwise, is struck from its
 * table: a table knows where an address is by an index that is sorted when first needed.
 *
 * Concurrency: under the heap's lock (py_core.h); allocation and freeing of the objects themselves run
 * without the GIL.
 * Go: an array of pointers in a root.
 */
#include "python/py_core.h"

#include <stdlib.h>
#include <structmember.h>

/* --- The list of tables of a heap --- */

static void roots_link(struct py_heap *h, struct py_roots *r)
{
    r->prev = NULL;
    r->next = h->roots;
    if (h->roots != NULL)
        h->roots->prev = r;
    h->roots = r;
}

static void roots_unlink(struct py_heap *h, struct py_roots *r)
{
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        h->roots = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
}

static int compare_sorted(const void *a, const void *b)
{
    uint64_t x = ((const struct sorted_address *)a)->address;
    uint64_t y = ((const struct sorted_address *)b)->address;
    return x < y ? -1 : x > y;
}

/* The index of an address in the table, -1 if it is not there (any more). */
static Py_ssize_t roots_index(struct py_roots *r, uint64_t address)
{
    if (r->live == 0)
        return -1;
    if (r->sorted == NULL) {
        r->sorted = PyMem_RawMalloc(((size_t)r->n + 1) * sizeof *r->sorted);
        if (r->sorted != NULL) {
            for (Py_ssize_t i = 0; i < r->n; i++)
                r->sorted[i] = (struct sorted_address){r->addresses[i], i};
            qsort(r->sorted, (size_t)r->n, sizeof *r->sorted, compare_sorted);
        }
    }
    if (r->sorted == NULL) { /* no memory for the index: look at each */
        for (Py_ssize_t i = 0; i < r->n; i++)
            if (r->addresses[i] == address)
                return i;
        return -1;
    }
    struct sorted_address key = {address, 0};
    struct sorted_address *found =
        bsearch(&key, r->sorted, (size_t)r->n, sizeof key, compare_sorted);
    return found != NULL && r->addresses[found->index] == address ? found->index : -1;
}

void roots_forget(struct py_heap *h, uint64_t address)
{
    for (struct py_roots *r = h->roots; r != NULL; r = r->next) {
        Py_ssize_t i = roots_index(r, address);
        if (i >= 0) {
            r->addresses[i] = 0;
            r->live--;
            return;
        }
    }
}

bool roots_have_noscan(struct py_heap *h, uint64_t address)
{
    for (struct py_roots *r = h->roots; r != NULL; r = r->next)
        if (!r->scan && roots_index(r, address) >= 0)
            return true;
    return false;
}

/* Addresses and sizes of everything that Refs and tables of the heap hold, as pairs of uint64_t. */
PyObject *roots_held(struct py_heap *h)
{
    Py_ssize_t n = (Py_ssize_t)h->nrefs, at = 0;
    for (struct py_roots *r = h->roots; r != NULL; r = r->next)
        n += r->live;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, n * 2 * (Py_ssize_t)sizeof(uint64_t));
    if (bytes == NULL)
        return NULL;
    uint64_t(*pairs)[2] = (uint64_t(*)[2])PyBytes_AS_STRING(bytes);
    for (struct py_roots *r = h->roots; r != NULL; r = r->next)
        for (Py_ssize_t i = 0; !r->freeing && i < r->n; i++)
            if (r->addresses[i] != 0) {
                pairs[at][0] = r->addresses[i];
                pairs[at++][1] = r->sizes[i * r->stride];
            }
    for (size_t i = 0; i < h->refs_capacity; i++)
        for (struct py_ref *ref = h->refs[i]; ref != NULL; ref = ref->next) {
            pairs[at][0] = ref->address;
            pairs[at++][1] = ref->size;
        }
    return bytes;
}

/* --- Allocating and freeing --- */

/* A table for n objects of the sizes, which it takes; NULL with an exception. The heap knows it only
 * when its objects exist: see roots_alloc_many. */
static struct py_roots *roots_new(struct py_heap *h, struct integers sizes, Py_ssize_t stride)
{
    PyTypeObject *type = h->state->roots_type;
    struct py_roots *r = (struct py_roots *)type->tp_alloc(type, 0);
    if (r == NULL) {
        PyMem_RawFree(sizes.values);
        return NULL;
    }
    r->sizes = sizes.values;
    r->stride = stride;
    r->n = sizes.n;
    r->addresses = new_integers(sizes.n);
    if (r->addresses == NULL) {
        Py_CLEAR(r);
        return NULL;
    }
    memset(r->addresses, 0, (size_t)sizes.n * sizeof *r->addresses);
    r->table.slots = r->addresses;
    r->table.n = (size_t)sizes.n;
    return r;
}

PyObject *roots_alloc_many(struct py_heap *h, PyObject *arg, PyObject *count, bool noscan)
{
    struct integers sizes;
    bool repeated = count != Py_None;
    if (!(repeated ? integers_repeated(arg, count, &sizes) : integers_from(h, arg, &sizes, SIZES)))
        return NULL;
    if (!heap_usable(h)) {
        PyMem_RawFree(sizes.values);
        return NULL;
    }
    struct py_roots *r = roots_new(h, sizes, repeated ? 0 : 1);
    if (r == NULL)
        return NULL;
    r->scan = !noscan;
    size_t n = (size_t)r->n, done = 0;
    struct gomem_proc *p;
    Py_BEGIN_ALLOW_THREADS
    gomem_add_roots(h->rt, &r->table);
    p = gomem_proc_acquire(h->rt);
    if (p != NULL) {
        done = gomem_alloc_many(p, r->sizes, (size_t)r->stride, n, noscan, r->addresses);
        /* If the heap was closed meanwhile, the P is gone. */
        if (done < n && !gomem_runtime_is_closed(h->rt))
            (void)!gomem_free_many(p, r->addresses, done);
        gomem_proc_release(p);
    }
    Py_END_ALLOW_THREADS
    if (p == NULL)
        raise_closed(h->state);
    else if (done < n)
        raise_no_memory(h, r->sizes[done * (size_t)r->stride]);
    if (p == NULL || done < n) {
        remove_roots(h, &r->table);
        Py_DECREF(r);
        return NULL;
    }
    /* The addresses may be those of objects that are being freed just now, and not yet struck from the
     * tables that held them. */
    heap_wait_exclusive(h);
    HEAP_LOCK(h)
    r->heap = (struct py_heap *)Py_NewRef((PyObject *)h);
    r->live = r->n;
    roots_link(h, r);
    HEAP_UNLOCK(h)
    return (PyObject *)r;
}

/* Refs of objects that are about to be freed, out of the table; with their index, to put them back. */
struct taken {
    struct py_ref **refs;
    Py_ssize_t *indexes;
    Py_ssize_t n, capacity;
};

static void taken_free(struct py_heap *h, struct taken *t)
{
    for (Py_ssize_t i = 0; i < t->n; i++) {
        struct py_ref *ref = t->refs[i];
        if (ref->address == 0) {
            root_give(h, ref->root);
            ref->root = NULL;
        }
        Py_DECREF(ref);
    }
    PyMem_Free(t->refs);
    PyMem_Free(t->indexes);
}

static bool taken_add(struct taken *t, struct py_ref *ref, Py_ssize_t index)
{
    if (t->n == t->capacity) {
        Py_ssize_t capacity = t->capacity == 0 ? 64 : 2 * t->capacity;
        void *refs = PyMem_Realloc(t->refs, (size_t)capacity * sizeof *t->refs);
        if (refs != NULL)
            t->refs = refs;
        void *indexes = PyMem_Realloc(t->indexes, (size_t)capacity * sizeof *t->indexes);
        if (indexes != NULL)
            t->indexes = indexes;
        if (refs == NULL || indexes == NULL)
            return false;
        t->capacity = capacity;
    }
    t->refs[t->n] = (struct py_ref *)Py_NewRef((PyObject *)ref);
    t->indexes[t->n++] = index;
    return true;
}

enum { TAKE_OK = -1, TAKE_NO_MEMORY = -2 };

/* Invalidates the Refs of the addresses: TAKE_OK. If nothing has changed, TAKE_NO_MEMORY or the index
 * of one that has a view. */
static Py_ssize_t take_refs(struct py_heap *h, const uint64_t *addresses, Py_ssize_t n,
                            struct taken *t)
{
    for (Py_ssize_t i = 0; h->nrefs != 0 && i < n; i++) {
        struct py_ref *ref = addresses[i] == 0 ? NULL : refs_find(h, addresses[i]);
        if (ref == NULL || ref->size == 0)
            continue;
        if (ref->exports != 0)
            return i;
        if (!taken_add(t, ref, i))
            return TAKE_NO_MEMORY;
    }
    for (Py_ssize_t i = 0; i < t->n; i++) {
        if (t->refs[i]->address == 0)
            continue; /* the same address twice: the second will be found invalid */
        refs_remove(h, t->refs[i]);
        t->refs[i]->address = 0;
    }
    return TAKE_OK;
}

/* Puts back the Refs of objects from `done` on, which were not freed. */
static void put_back(struct py_heap *h, const uint64_t *addresses, Py_ssize_t done, struct taken *t)
{
    for (Py_ssize_t i = 0; i < t->n; i++) {
        struct py_ref *ref = t->refs[i];
        if (t->indexes[i] < done || ref->address != 0)
            continue;
        bool freed = false; /* the same address may have come before */
        for (Py_ssize_t k = 0; k < i; k++)
            freed |= t->refs[k] == ref && t->indexes[k] < done;
        if (freed)
            continue;
        ref->address = addresses[t->indexes[i]];
        /* It was in the table before, which has not shrunk. */
        if (refs_insert(h, ref) < 0) {
            PyErr_Clear();
            ref->address = 0;
        }
    }
}

/* Frees n addresses without the GIL; how many it got done before one was invalid, or the heap closed. */
static Py_ssize_t free_all(struct py_heap *h, const uint64_t *addresses, Py_ssize_t n)
{
    size_t done = 0;
    Py_BEGIN_ALLOW_THREADS
    struct gomem_proc *p = gomem_proc_acquire(h->rt);
    if (p != NULL) {
        done = gomem_free_many(p, addresses, (size_t)n);
        gomem_proc_release(p);
    }
    Py_END_ALLOW_THREADS
    return (Py_ssize_t)done;
}

/* After a batch: the exception for what take_refs and free_all answered; true if there is none. */
static bool batch_ended(struct py_heap *h, uint64_t failed, Py_ssize_t n, Py_ssize_t taken,
                        Py_ssize_t done)
{
    if (taken == TAKE_NO_MEMORY)
        PyErr_NoMemory();
    else if (taken != TAKE_OK)
        PyErr_Format(PyExc_BufferError, "cannot free object %zd: views of it are in use", taken);
    else if (done < n && h->closing)
        raise_closed(h->state);
    else if (done < n)
        raise_pointer(h->state, "cannot free %p at index %zd: no object begins there",
                      (void *)(uintptr_t)failed, done);
    else
        return true;
    return false;
}

static bool free_roots(struct py_heap *h, struct py_roots *r)
{
    if (r->heap != h) {
        raise_pointer(h->state, "the table belongs to another heap");
        return false;
    }
    if (h->guarded && r->scan) {
        raise_guarded(h);
        return false;
    }
    h->dangles |= r->scan;
    struct taken taken = {0};
    bool ok = heap_begin_batch(h, false);
    if (ok) {
        Py_ssize_t done = r->n, n = r->freeing ? 0 : r->n;
        Py_ssize_t took = take_refs(h, r->addresses, n, &taken);
        uint64_t failed = 0;
        if (took == TAKE_OK && !r->freeing) {
            /* The table stays a root until its objects are freed, but gives none out. */
            r->freeing = true;
            r->live = 0;
            done = free_all(h, r->addresses, n);
            failed = done < n ? r->addresses[done] : 0;
            memset(r->addresses, 0, (size_t)n * sizeof *r->addresses);
            r->freeing = false;
        }
        heap_end_batch(h);
        ok = batch_ended(h, failed, r->n, took, done);
    }
    taken_free(h, &taken);
    return ok;
}

static bool free_addresses(struct py_heap *h, PyObject *arg)
{
    struct integers a;
    struct taken taken = {0};
    if (!integers_from(h, arg, &a, ADDRESSES))
        return false;
    bool ok = heap_begin_batch(h, true);
    if (ok && h->guarded) {
        heap_end_batch(h);
        raise_guarded(h);
        ok = false;
    } else if (ok) {
        h->dangles |= a.n > 0;
        Py_ssize_t done = 0;
        Py_ssize_t took = take_refs(h, a.values, a.n, &taken);
        if (took == TAKE_OK) {
            done = free_all(h, a.values, a.n);
            put_back(h, a.values, done, &taken);
            for (Py_ssize_t i = 0; h->roots != NULL && i < done; i++)
                roots_forget(h, a.values[i]);
            for (Py_ssize_t i = 0; h->replays != NULL && i < done; i++)
                replays_forget(h, a.values[i]);
        }
        heap_end_batch(h);
        ok = batch_ended(h, done < a.n ? a.values[done] : 0, a.n, took, done);
    }
    taken_free(h, &taken);
    PyMem_RawFree(a.values);
    return ok;
}

static bool free_refs(struct py_heap *h, PyObject *sequence)
{
    PyObject *fast = PySequence_Fast(sequence, "");
    if (fast == NULL)
        return false;
    bool ok = true;
    for (Py_ssize_t i = 0; ok && i < PySequence_Fast_GET_SIZE(fast); i++) {
        PyObject *ref = Py_NewRef(PySequence_Fast_GET_ITEM(fast, i));
        if (!PyObject_TypeCheck(ref, h->state->ref_type)) {
            PyErr_Format(PyExc_TypeError, "element %zd must be a Ref like the first, not %.200s", i,
                         Py_TYPE(ref)->tp_name);
            ok = false;
        } else {
            PyObject *none = heap_free_ref(h, (struct py_ref *)ref);
            ok = none != NULL;
            Py_XDECREF(none);
        }
        Py_DECREF(ref);
    }
    Py_DECREF(fast);
    return ok;
}

static bool starts_with_ref(struct py_heap *h, PyObject *arg)
{
    if ((!PyList_Check(arg) && !PyTuple_Check(arg)) || PySequence_Fast_GET_SIZE(arg) == 0)
        return false;
    return PyObject_TypeCheck(PySequence_Fast_GET_ITEM(arg, 0), h->state->ref_type);
}

PyObject *roots_free_many(struct py_heap *h, PyObject *what)
{
    bool ok;
    if (!heap_usable(h))
        return NULL;
    HEAP_LOCK(h)
    if (PyObject_TypeCheck(what, h->state->roots_type))
        ok = free_roots(h, (struct py_roots *)what);
    else if (starts_with_ref(h, what))
        ok = free_refs(h, what);
    else
        ok = free_addresses(h, what);
    HEAP_UNLOCK(h)
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* --- The object --- */

static void roots_dealloc(PyObject *self)
{
    struct py_roots *r = (struct py_roots *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (r->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    if (r->heap != NULL) {
        HEAP_LOCK(r->heap)
        roots_unlink(r->heap, r);
        HEAP_UNLOCK(r->heap)
        remove_roots(r->heap, &r->table);
        Py_DECREF(r->heap);
    }
    PyMem_RawFree(r->addresses);
    PyMem_RawFree(r->sizes);
    PyMem_RawFree(r->sorted);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t roots_length(PyObject *self)
{
    return ((struct py_roots *)self)->n;
}

static PyObject *roots_item(PyObject *self, Py_ssize_t i)
{
    struct py_roots *r = (struct py_roots *)self;
    PyObject *ref;
    if (i < 0 || i >= r->n) {
        PyErr_Format(PyExc_IndexError, "index %zd of a table of %zd", i, r->n);
        return NULL;
    }
    if (!heap_usable(r->heap))
        return NULL;
    uint64_t *root = root_take(r->heap);
    /* While addresses are freed that anybody may know, the table still has them. */
    struct gomem_proc *p = root != NULL ? heap_settled_proc(r->heap) : NULL;
    if (p == NULL) {
        root_give(r->heap, root);
        return NULL;
    }
    HEAP_LOCK(r->heap)
    uint64_t address = r->freeing ? 0 : r->addresses[i];
    gomem_write_pointer(p, (void **)root, (void *)(uintptr_t)address);
    gomem_proc_release(p);
    if (address == 0) {
        root_give(r->heap, root);
        ref = raise_pointer(r->heap->state, "object %zd of the table was freed", i);
    } else {
        ref = ref_for(r->heap, address, r->sizes[i * r->stride], NULL, root);
        if (ref != NULL && ((struct py_ref *)ref)->type == NULL) {
            ((struct py_ref *)ref)->scan = r->scan;
            ((struct py_ref *)ref)->found = false;
        }
    }
    HEAP_UNLOCK(r->heap)
    return ref;
}

static PyObject *roots_sizes(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_roots *r = (struct py_roots *)self;
    return Py_BuildValue("y#n", (const char *)r->sizes,
                         (Py_ssize_t)sizeof(uint64_t) * (r->stride == 0 ? 1 : r->n), r->stride);
}

static int roots_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    struct py_roots *r = (struct py_roots *)self;
    if (PyBuffer_FillInfo(view, self, r->addresses, r->n * (Py_ssize_t)sizeof(uint64_t), 1, flags) <
        0)
        return -1;
    view->itemsize = sizeof(uint64_t);
    if (flags & PyBUF_FORMAT)
        view->format = "Q";
    if (view->shape != NULL)
        view->shape = &r->n;
    return 0;
}

static PyObject *roots_repr(PyObject *self)
{
    struct py_roots *r = (struct py_roots *)self;
    return PyUnicode_FromFormat("<gomem.Roots of %zd object%s, %zd live>", r->n,
                                r->n == 1 ? "" : "s", r->live);
}

static PyObject *get_live(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(((struct py_roots *)self)->live);
}

static PyObject *get_heap(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)((struct py_roots *)self)->heap);
}

static PyObject *get_addresses(PyObject *self, void *unused)
{
    (void)unused;
    return call_python("gomem._tables", "roots_addresses", self);
}

static PyObject *get_sizes(PyObject *self, void *unused)
{
    (void)unused;
    return call_python("gomem._tables", "roots_sizes", self);
}

static PyObject *roots_html(PyObject *self, PyObject *unused)
{
    (void)unused;
    return call_python("gomem.viz", "roots_html", self);
}

static PyGetSetDef roots_getset[] = {
    {"addresses", get_addresses, NULL,
     "Addresses as a NumPy array of uint64, read-only and live: 0 for what was freed.", NULL},
    {"sizes", get_sizes, NULL, "Sizes asked for, in bytes, as a NumPy array of uint64.", NULL},
    {"live", get_live, NULL, "How many of the objects were not freed yet.", NULL},
    {"heap", get_heap, NULL, "The Heap they lie in.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef roots_methods[] = {
    {"_sizes", roots_sizes, METH_NOARGS, NULL},
    {"__reduce__", no_reduce, METH_NOARGS, NULL},
    {"_repr_html_", roots_html, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef roots_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct py_roots, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot roots_slots[] = {
    {Py_tp_doc, "A table that holds the objects of one Heap.alloc_many.\n\n"
                "roots[i] is the Ref of the i-th object; len(roots) does not change when objects are\n"
                "freed, roots.live does. Freeing the table is Heap.free_many(roots)."},
    {Py_tp_dealloc, roots_dealloc},
    {Py_tp_repr, roots_repr},
    {Py_sq_length, roots_length},
    {Py_sq_item, roots_item},
    {Py_bf_getbuffer, roots_getbuffer},
    {Py_tp_methods, roots_methods},
    {Py_tp_getset, roots_getset},
    {Py_tp_members, roots_members},
    {0, NULL},
};

PyType_Spec roots_spec = {
    .name = "gomem.Roots",
    .basicsize = sizeof(struct py_roots),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = roots_slots,
};
