/* Methods of the type Heap that look at it and steer it; the others are in py_heap.c.
 *
 * Concurrency: see py_core.h. What stops the world does so without the GIL.
 * Go: runtime.ReadMemStats, runtime/debug.
 */
#include "python/py_core.h"

/* --- Looking: raw bytes, which Python turns into tables --- */

static PyObject *ring_bytes(const uint64_t ring[GOMEM_PAUSES])
{
    return PyBytes_FromStringAndSize((const char *)ring, GOMEM_PAUSES * sizeof ring[0]);
}

PyObject *heap_memstats(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    struct gomem_memstats m;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_read_memstats(h->rt, &m);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_closed(h->state);
    PyObject *by_size = PyList_New(GOMEM_BY_SIZE);
    for (Py_ssize_t i = 0; by_size != NULL && i < GOMEM_BY_SIZE; i++) {
        PyObject *row = Py_BuildValue("IKK", m.by_size[i].size, m.by_size[i].mallocs,
                                      m.by_size[i].frees);
        if (row == NULL)
            Py_CLEAR(by_size);
        else
            PyList_SET_ITEM(by_size, i, row);
    }
    if (by_size == NULL)
        return NULL;
#define FIELD(name) #name, (unsigned long long)m.name
    PyObject *pauses = ring_bytes(m.pause_ns), *ends = ring_bytes(m.pause_end);
    PyObject *classes = PyBytes_FromStringAndSize((const char *)m.classes, sizeof m.classes);
    if (pauses == NULL || ends == NULL || classes == NULL) {
        Py_XDECREF(classes);
        Py_XDECREF(pauses);
        Py_XDECREF(ends);
        Py_DECREF(by_size);
        return NULL;
    }
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsKsK"
        "sKsdsNsNsNsNsN}",
        FIELD(alloc),
        FIELD(total_alloc), FIELD(sys), FIELD(lookups), FIELD(mallocs), FIELD(frees),
        FIELD(heap_alloc), FIELD(heap_sys), FIELD(heap_idle), FIELD(heap_inuse),
        FIELD(heap_released), FIELD(heap_objects), FIELD(stack_inuse), FIELD(stack_sys),
        FIELD(mspan_inuse), FIELD(mspan_sys), FIELD(mcache_inuse), FIELD(mcache_sys),
        FIELD(buck_hash_sys), FIELD(gc_sys), FIELD(other_sys), FIELD(next_gc), FIELD(num_gc),
        FIELD(num_forced_gc), FIELD(pause_total_ns), FIELD(tiny_allocs),
        FIELD(mapped_ready), FIELD(peak_mapped_ready), FIELD(large_allocs), FIELD(large_frees),
        FIELD(scavenged_background), FIELD(scavenged_eager), FIELD(scavenged_forced),
        "finalizers_queued", (unsigned long long)m.finalizers.finalizers_queued,
        "finalizers_executed", (unsigned long long)m.finalizers.finalizers_executed,
        "cleanups_queued", (unsigned long long)m.finalizers.cleanups_queued, "cleanups_executed",
        (unsigned long long)m.finalizers.cleanups_executed, FIELD(last_gc), "gc_cpu_fraction",
        m.gc_cpu_fraction, "enable_gc", PyBool_FromLong(m.enable_gc), "pause_ns", pauses,
        "pause_end", ends, "by_size", by_size, "classes", classes);
#undef FIELD
}

/* Calls list until its answer fits; bytes of an array of structs. */
static PyObject *list_bytes(struct py_heap *h,
                            size_t (*list)(struct gomem_runtime *, void *, size_t), size_t item)
{
    if (!heap_usable(h))
        return NULL;
    size_t capacity = 256;
    for (;;) {
        void *buffer = PyMem_RawMalloc(capacity * item);
        if (buffer == NULL)
            return PyErr_NoMemory();
        size_t n;
        Py_BEGIN_ALLOW_THREADS
        n = list(h->rt, buffer, capacity);
        Py_END_ALLOW_THREADS
        PyObject *bytes = NULL;
        if (n <= capacity)
            bytes = PyBytes_FromStringAndSize(buffer, (Py_ssize_t)(n * item));
        PyMem_RawFree(buffer);
        if (n <= capacity && gomem_runtime_is_closed(h->rt)) {
            Py_XDECREF(bytes); /* closed in between: there was nothing to list */
            return raise_closed(h->state);
        }
        if (n <= capacity)
            return bytes;
        capacity = n + n / 8;
    }
}

static size_t list_spans(struct gomem_runtime *rt, void *out, size_t capacity)
{
    return gomem_spans(rt, out, capacity);
}

static size_t list_arenas(struct gomem_runtime *rt, void *out, size_t capacity)
{
    return gomem_arenas(rt, out, capacity);
}

PyObject *heap_spans(PyObject *self, PyObject *unused)
{
    (void)unused;
    return list_bytes((struct py_heap *)self, list_spans, sizeof(struct gomem_span));
}

PyObject *heap_span_at(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t address;
    if (!parse_address(h, arg, &address) || !heap_usable(h))
        return NULL;
    enum { MOST_SLOTS = 65535 };
    PyObject *slots = PyBytes_FromStringAndSize(NULL, MOST_SLOTS);
    if (slots == NULL)
        return NULL;
    struct gomem_span span;
    struct gomem_error err;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_span_at(h->rt, address, &span, (uint8_t *)PyBytes_AS_STRING(slots), MOST_SLOTS,
                           &err);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK) {
        Py_DECREF(slots);
        return raise_error(h->state, &err);
    }
    _PyBytes_Resize(&slots, span.state == 1 ? (Py_ssize_t)Py_MIN(span.nelems, MOST_SLOTS) : 0);
    return Py_BuildValue("y#N", (const char *)&span, (Py_ssize_t)sizeof span, slots);
}

PyObject *heap_arenas(PyObject *self, PyObject *unused)
{
    (void)unused;
    return list_bytes((struct py_heap *)self, list_arenas, sizeof(struct gomem_arena));
}

PyObject *heap_free_runs(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    struct gomem_free_runs r;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_free_runs(h->rt, &r);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_closed(h->state);
    PyObject *by_log2 = PyList_New(Py_ARRAY_LENGTH(r.by_log2));
    for (size_t i = 0; by_log2 != NULL && i < Py_ARRAY_LENGTH(r.by_log2); i++) {
        PyObject *n = PyLong_FromUnsignedLongLong(r.by_log2[i]);
        if (n == NULL)
            Py_CLEAR(by_log2);
        else
            PyList_SET_ITEM(by_log2, (Py_ssize_t)i, n);
    }
    if (by_log2 == NULL)
        return NULL;
    return Py_BuildValue("KKKKN", r.pages, r.runs, r.largest_run, r.cached_pages, by_log2);
}

PyObject *heap_page_states(PyObject *self, PyObject *args)
{
    struct py_heap *h = (struct py_heap *)self;
    unsigned long long base, npages;
    if (!PyArg_ParseTuple(args, "KK:_page_states", &base, &npages) || !heap_usable(h))
        return NULL;
    if (npages > (unsigned long long)1 << 32) {
        PyErr_Format(PyExc_ValueError, "too many pages: %llu", npages);
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)npages);
    if (bytes == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    gomem_page_states(h->rt, base, npages, (uint8_t *)PyBytes_AS_STRING(bytes));
    Py_END_ALLOW_THREADS
    return bytes;
}

/* A number of bytes that the heap tells, or was asked to do something with. */
static PyObject *bytes_of(PyObject *self, uint64_t (*ask)(struct gomem_runtime *))
{
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    uint64_t bytes;
    Py_BEGIN_ALLOW_THREADS
    bytes = ask(h->rt);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(bytes);
}

PyObject *heap_resident(PyObject *self, PyObject *unused)
{
    (void)unused;
    return bytes_of(self, gomem_resident);
}

PyObject *heap_verify_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    struct gomem_error err;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_verify(h->rt, &err);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_error(h->state, &err);
    Py_RETURN_NONE;
}

PyObject *heap_held(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    PyObject *bytes = NULL;
    HEAP_LOCK(self)
    if (heap_usable(h))
        bytes = roots_held(h);
    HEAP_UNLOCK(self)
    return bytes;
}

/* A struct of eight-byte fields, as bytes. */
PyObject *heap_gc_stats(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    struct gomem_gc_stats stats;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_read_gc_stats(h->rt, &stats);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_closed(h->state);
    return PyBytes_FromStringAndSize((const char *)&stats, sizeof stats);
}

/* --- Control --- */

/* A cycle was asked for, and there was none. */
static PyObject *raise_no_cycle(struct py_heap *h, enum gomem_status status)
{
    if (status == GOMEM_CLOSED)
        return raise_closed(h->state);
    if (status == GOMEM_BUSY)
        return raise_busy(h->state);
    PyErr_SetString(PyExc_MemoryError, "the system refused a thread for the collector");
    return NULL;
}

PyObject *heap_gc(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_gc(h->rt);
    Py_END_ALLOW_THREADS
    if (status != GOMEM_OK)
        return raise_no_cycle(h, status);
    Py_RETURN_NONE;
}

PyObject *heap_gc_cycles(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    enum { MOST_CYCLES = 256 };
    size_t n, size = sizeof(struct gomem_gc_cycle);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(MOST_CYCLES * size));
    if (bytes == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    n = gomem_gc_cycles(h->rt, (struct gomem_gc_cycle *)(void *)PyBytes_AS_STRING(bytes),
                        MOST_CYCLES);
    Py_END_ALLOW_THREADS
    _PyBytes_Resize(&bytes, (Py_ssize_t)(Py_MIN(n, MOST_CYCLES) * size));
    return bytes;
}

PyObject *heap_release_os_memory(PyObject *self, PyObject *unused)
{
    (void)unused;
    return bytes_of(self, gomem_release_os_memory);
}

PyObject *heap_free_os_memory(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    uint64_t bytes = 0;
    enum gomem_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gomem_free_os_memory(h->rt, &bytes);
    Py_END_ALLOW_THREADS
    return status != GOMEM_OK ? raise_no_cycle(h, status) : PyLong_FromUnsignedLongLong(bytes);
}

PyObject *heap_flush(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct py_heap *h = (struct py_heap *)self;
    if (!heap_usable(h))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    gomem_flush(h->rt);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyObject *limit_object(uint64_t limit)
{
    if (limit == UINT64_MAX)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(limit);
}

PyObject *heap_set_memory_limit(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t limit;
    if (!parse_limit(arg, &limit) || !heap_usable(h))
        return NULL;
    uint64_t old;
    Py_BEGIN_ALLOW_THREADS
    old = gomem_set_memory_limit(h->rt, limit);
    Py_END_ALLOW_THREADS
    return limit_object(old);
}

PyObject *heap_set_gogc(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    long percent = PyLong_AsLong(arg);
    if ((percent == -1 && PyErr_Occurred()) || !heap_usable(h))
        return NULL;
    if (percent > INT32_MAX)
        percent = INT32_MAX;
    int32_t old;
    Py_BEGIN_ALLOW_THREADS
    old = gomem_set_gogc(h->rt, percent < 0 ? -1 : (int32_t)percent);
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(old);
}

PyObject *heap_fail_os_calls(PyObject *self, PyObject *args)
{
    struct py_heap *h = (struct py_heap *)self;
    unsigned long long first, count;
    if (!PyArg_ParseTuple(args, "KK:_fail_os_calls", &first, &count) || !heap_usable(h))
        return NULL;
    uint64_t calls;
    Py_BEGIN_ALLOW_THREADS
    calls = gomem_fail_os_calls(h->rt, first, count);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(calls);
}

PyObject *heap_advance_clock(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    long long ns = PyLong_AsLongLong(arg);
    if ((ns == -1 && PyErr_Occurred()) || !heap_usable(h))
        return NULL;
    gomem_advance_clock(h->rt, ns);
    Py_RETURN_NONE;
}

PyObject *heap_fork(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    long stage = PyLong_AsLong(arg);
    if (stage == -1 && PyErr_Occurred())
        return NULL;
    if (h->rt == NULL)
        Py_RETURN_NONE;
    if (stage == 0) {
        /* A batch that is under way would stay so in the child for ever. With the GIL from here on:
         * who holds what this waits for does not need the GIL to give it up. */
        while (h->batches != 0)
            nap();
        gomem_runtime_fork_prepare(h->rt);
    } else if (stage == 1) {
        gomem_runtime_fork_parent(h->rt);
    } else {
        /* Batches that began since then have freed nothing, and their threads are not here. */
        h->batches = 0;
        h->batch_exclusive = false;
        gomem_runtime_fork_child(h->rt);
    }
    Py_RETURN_NONE;
}

/* --- Lookups --- */

bool heap_look(struct py_heap *h, uint64_t address, struct gomem_lookup *l, uint64_t *root)
{
    struct gomem_proc *p = heap_settled_proc(h);
    if (p == NULL)
        return false;
    gomem_proc_lookup(p, address, l);
    if (root != NULL && l->place == GOMEM_PLACE_OBJECT)
        gomem_write_pointer(p, (void **)root, (void *)(uintptr_t)l->object);
    gomem_proc_release(p);
    return true;
}

PyObject *heap_lookup_tuple(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t address = PyLong_AsUnsignedLongLong(arg);
    if (address == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    struct gomem_lookup l;
    if (!heap_look(h, address, &l, NULL))
        return NULL;
    return Py_BuildValue("iKKKIiiIKK", (int)l.place, l.arena, l.span, l.span_pages, l.size_class,
                         (int)l.noscan, (int)l.tiny, l.index, l.object, l.size);
}

PyObject *heap_ref_at(PyObject *self, PyObject *arg)
{
    struct py_heap *h = (struct py_heap *)self;
    uint64_t address = PyLong_AsUnsignedLongLong(arg);
    if (address == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    struct gomem_lookup l;
    uint64_t *root = heap_usable(h) ? root_take(h) : NULL;
    if (root == NULL)
        return NULL;
    bool found = heap_look(h, address, &l, root);
    if (found && l.place == GOMEM_PLACE_OBJECT) {
        bool is_new = refs_find(h, l.object) == NULL;
        PyObject *ref = ref_found(h, l.object, l.size, NULL, root);
        if (ref != NULL && is_new)
            ((struct py_ref *)ref)->found = true;
        return ref;
    }
    root_give(h, root);
    if (found && l.place == GOMEM_PLACE_ZEROBASE)
        return ref_for(h, address, 0, NULL, NULL);
    if (found)
        raise_pointer(h->state, "there is no object at %p", (void *)(uintptr_t)address);
    return NULL;
}
