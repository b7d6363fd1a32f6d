/* Heap.free(): by Ref or by address.
 *
 * Called through py_core.h, by the Heap's table of methods and by Ref.free.
 *
 * Concurrency: the GIL, or the heap's critical section. Exceptions are made without a P: that may run the
 * garbage collector, and that any code.
 * Go: freegc in malloc.go, for objects that a program knows to be dead.
 */
#include "python/py_core.h"

/* The address could not be freed; l says what is there. */
static PyObject *raise_not_freed(struct py_heap *h, uint64_t address, const struct gomem_lookup *l)
{
    static const char *const places[] = {
        [GOMEM_PLACE_OUTSIDE] = "it is not in this heap",
        [GOMEM_PLACE_FREE_PAGE] = "its page is free",
        [GOMEM_PLACE_OBJECT] = "it points into an object that begins at",
        [GOMEM_PLACE_FREE_SLOT] = "the object there is free already",
        [GOMEM_PLACE_SPAN_TAIL] = "it lies behind the last object of its span",
        [GOMEM_PLACE_STACK] = "it is stack memory",
        [GOMEM_PLACE_ZEROBASE] = "objects of size 0 are never freed",
    };
    char shown[20]; /* %p would show 0 as nil */
    snprintf(shown, sizeof shown, "0x%llx", (unsigned long long)address);
    if (l->place == GOMEM_PLACE_OBJECT)
        return raise_pointer(h->state, "cannot free %s: %s %p", shown, places[l->place],
                             (void *)(uintptr_t)l->object);
    return raise_pointer(h->state, "cannot free %s: %s", shown, places[l->place]);
}

/* May nobody free it, because it may be a part of a Go value, or a pointer to it would then lead to one? */
static bool ref_is_guarded(const struct py_heap *h, const struct py_ref *ref)
{
    return h->guarded && (ref->scan || ref->found);
}

/* May the Ref be freed in h? Without an exception. */
static bool is_freeable(const struct py_heap *h, const struct py_ref *ref)
{
    if (ref->heap != h || ref->size == 0)
        return ref->heap == h;
    if (ref_is_guarded(h, ref))
        return false;
    return ref->owner == NULL && ref->address != 0 && ref->exports == 0;
}

/* The Ref is not freeable: says why. */
static PyObject *raise_not_freeable(struct py_heap *h, struct py_ref *ref)
{
    if (ref->heap != h)
        return raise_pointer(h->state, "the Ref belongs to another heap");
    if (ref->owner != NULL)
        return raise_pointer(h->state, "the Ref names a part of an object, not an object");
    if (ref_address(ref) == 0)
        return NULL;
    if (ref_is_guarded(h, ref))
        return raise_guarded(h);
    PyErr_Format(PyExc_BufferError, "cannot free the object: %zd %s in use", ref->exports,
                 ref->exports == 1 ? "view of it is" : "views of it are");
    return NULL;
}

/* Frees the object at an address, of which ref (or NULL) is the Ref; false with l filled. */
static bool free_with(struct py_heap *h, struct gomem_proc *p, uint64_t address,
                      struct py_ref *ref, struct gomem_lookup *l)
{
    if (ref != NULL && ref->size == 0)
        return true; /* all objects of size 0 are one, which stays */
    if (gomem_free(p, (void *)(uintptr_t)address) != GOMEM_OK) {
        gomem_proc_lookup(p, address, l);
        return false;
    }
    h->dangles |= ref == NULL || ref->scan;
    if (ref != NULL) {
        refs_remove(h, ref);
        ref->address = 0;
        root_give(h, ref->root);
        ref->root = NULL;
    } else {
        replays_forget(h, address);
    }
    roots_forget(h, address);
    return true;
}

/* Frees and gives up the P. */
static PyObject *free_and_release(struct py_heap *h, struct gomem_proc *p, uint64_t address,
                                  struct py_ref *ref)
{
    struct gomem_lookup l;
    bool freeable = ref != NULL ? is_freeable(h, ref)
                                : !h->guarded || roots_have_noscan(h, address);
    bool freed = freeable && free_with(h, p, address, ref, &l);
    gomem_proc_release(p);
    if (!freeable)
        return ref != NULL ? raise_not_freeable(h, ref) : raise_guarded(h);
    if (!freed)
        return raise_not_freed(h, address, &l);
    Py_RETURN_NONE;
}

PyObject *heap_free_ref(struct py_heap *h, struct py_ref *ref)
{
    struct gomem_proc *p = heap_proc(h);
    return p == NULL ? NULL : free_and_release(h, p, ref->address, ref);
}

static PyObject *free_address(struct py_heap *h, uint64_t address)
{
    struct gomem_proc *p = heap_settled_proc(h);
    return p == NULL ? NULL : free_and_release(h, p, address, refs_find(h, address));
}

bool parse_address(struct py_heap *h, PyObject *arg, uint64_t *address)
{
    PyObject *index = PyNumber_Index(arg);
    if (index == NULL)
        return false;
    *address = PyLong_AsUnsignedLongLong(index);
    bool ok = *address != (uint64_t)-1 || !PyErr_Occurred();
    if (!ok) {
        PyErr_Clear();
        PyObject *shown = PyObject_Repr(index);
        if (shown != NULL) {
            raise_pointer(h->state, "%U is no address: one is from 0 to 2**64 - 1", shown);
        } else {
            /* Python refuses to show integers of thousands of digits. */
            PyErr_Clear();
            raise_pointer(h->state, "an address is from 0 to 2**64 - 1, not a longer integer");
        }
        Py_XDECREF(shown);
    }
    Py_DECREF(index);
    return ok;
}

PyObject *heap_free(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    PyObject *result;
    uint64_t address = 0;
    bool is_ref = PyObject_TypeCheck(arg, h->state->ref_type);
    if (!is_ref && !PyIndex_Check(arg)) {
        PyErr_Format(PyExc_TypeError, "free() takes a Ref or an address, not %.200s",
                     Py_TYPE(arg)->tp_name);
        return NULL;
    }
    if (!is_ref && (!heap_usable(h) || !parse_address(h, arg, &address)))
        return NULL;
    HEAP_LOCK(self)
    result = is_ref ? heap_free_ref(h, (struct py_ref *)arg) : free_address(h, address);
    HEAP_UNLOCK(self)
    return result;
}
