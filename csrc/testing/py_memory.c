/* The white-box door to memory from the OS: the states of a region, the fault plan, and the
 * metadata allocators on top of them.
 *
 * An OsMem has one region of a few pages and remembers the state of each, to refuse with ValueError
 * what the library must not do; and blocks of os_alloc, known by number.
 *
 * Concurrency: under the GIL.
 * Go: export_test.go.
 */
#include "testing/py_testing.h"

#include <stddef.h>

#include "base/bits.h"

enum { MAX_PAGES = 64, MAX_BLOCKS = 64 };

enum page_state { PAGE_NONE, PAGE_RESERVED, PAGE_PREPARED, PAGE_READY };

struct os_object {
    PyObject_HEAD struct memory m;
    char *region;
    size_t npages;
    uint8_t states[MAX_PAGES];
    struct os_region blocks[MAX_BLOCKS];
};

static int os_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct os_object *o = (struct os_object *)self;
    static char *names[] = {"npages", "dontneed", NULL};
    int dontneed = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|p", names, arg_size, &o->npages,
                                     &dontneed) ||
        !check_range("npages", o->npages, 1, MAX_PAGES))
        return -1;
    if (!memory_init(&o->m))
        return -1;
    o->m.om.dontneed = dontneed != 0;
    return 0;
}

static PyObject *os_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, os_init);
}

static void os_dealloc(PyObject *self)
{
    memory_destroy(&((struct os_object *)self)->m);
    free_object_of_type(self);
}

/* The arguments (first page, number of pages), all in a state from low to high. */
static bool parse_pages(struct os_object *o, PyObject *args, size_t *i, size_t *n,
                        enum page_state low, enum page_state high)
{
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, i, arg_size, n) ||
        !check_range("first page", *i, 0, o->npages - 1) ||
        !check_range("number of pages", *n, 1, o->npages - *i))
        return false;
    for (size_t k = *i; k < *i + *n; k++)
        if (!check_range("state of a page", o->states[k], low, high))
            return false;
    return true;
}

static char *page_at(struct os_object *o, size_t i)
{
    return o->region + i * o->m.om.page_size;
}

static void set_states(struct os_object *o, size_t i, size_t n, enum page_state state)
{
    memset(&o->states[i], state, n);
}

static size_t count_states(const struct os_object *o, size_t i, size_t n, enum page_state state)
{
    size_t count = 0;
    for (size_t k = i; k < i + n; k++)
        count += o->states[k] == state;
    return count;
}

static PyObject *os_reserve_region(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t align;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &align))
        return NULL;
    if (o->region != NULL || (align != 0 && (!is_power_of_two(align) || align > GIB))) {
        PyErr_SetString(PyExc_ValueError, "reserved already, or align is no power of two");
        return NULL;
    }
    size_t bytes = o->npages * o->m.om.page_size;
    o->region = align == 0
                    ? os_reserve(&o->m.om, NULL, bytes, "test")
                    : os_reserve_aligned(&o->m.om, bytes, MAX(align, o->m.om.page_size), "test");
    if (o->region != NULL)
        set_states(o, 0, o->npages, PAGE_RESERVED);
    return PyLong_FromVoidPtr(o->region);
}

static PyObject *os_unreserve_region(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct os_object *o = (struct os_object *)self;
    for (size_t i = 0; i < o->npages; i++)
        if (!check_range("state of a page", o->states[i], PAGE_RESERVED, PAGE_PREPARED))
            return NULL;
    os_unreserve(&o->m.om, o->region, o->npages * o->m.om.page_size);
    o->region = NULL;
    set_states(o, 0, o->npages, PAGE_NONE);
    Py_RETURN_NONE;
}

static PyObject *os_map_pages(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i, n;
    if (!parse_pages(o, args, &i, &n, PAGE_RESERVED, PAGE_RESERVED))
        return NULL;
    bool ok = os_map(&o->m.om, page_at(o, i), n * o->m.om.page_size, &o->m.stat, "test");
    if (ok)
        set_states(o, i, n, PAGE_PREPARED);
    return PyBool_FromLong(ok);
}

static PyObject *os_unmap_pages(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i, n;
    if (!parse_pages(o, args, &i, &n, PAGE_PREPARED, PAGE_READY))
        return NULL;
    os_unmap(&o->m.om, page_at(o, i), n * o->m.om.page_size,
             count_states(o, i, n, PAGE_READY) * o->m.om.page_size, &o->m.stat);
    set_states(o, i, n, PAGE_RESERVED);
    Py_RETURN_NONE;
}

static PyObject *os_used_pages(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i, n;
    if (!parse_pages(o, args, &i, &n, PAGE_PREPARED, PAGE_READY))
        return NULL;
    bool ok = os_used(&o->m.om, count_states(o, i, n, PAGE_PREPARED) * o->m.om.page_size);
    if (ok)
        set_states(o, i, n, PAGE_READY);
    return PyBool_FromLong(ok);
}

static PyObject *os_unused_pages(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i, n;
    if (!parse_pages(o, args, &i, &n, PAGE_READY, PAGE_READY))
        return NULL;
    bool ok = os_unused(&o->m.om, page_at(o, i), n * o->m.om.page_size);
    if (ok)
        set_states(o, i, n, PAGE_PREPARED);
    return PyBool_FromLong(ok);
}

/* Writes a byte all over the pages. */
static PyObject *os_fill(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i, byte;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &i, arg_size, &byte) ||
        !check_range("page", i, 0, o->npages - 1) || !check_range("byte", byte, 0, 255) ||
        !check_range("state of a page", o->states[i], PAGE_READY, PAGE_READY))
        return NULL;
    memset(page_at(o, i), (int)byte, o->m.om.page_size);
    Py_RETURN_NONE;
}

static PyObject *os_read(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) || !check_range("page", i, 0, o->npages - 1) ||
        !check_range("state of a page", o->states[i], PAGE_READY, PAGE_READY))
        return NULL;
    return PyBytes_FromStringAndSize(page_at(o, i), (Py_ssize_t)o->m.om.page_size);
}

static PyObject *os_resident_bytes(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i, n;
    if (!parse_pages(o, args, &i, &n, PAGE_RESERVED, PAGE_READY))
        return NULL;
    return PyLong_FromSize_t(os_resident(&o->m.om, page_at(o, i), n * o->m.om.page_size));
}

/* The number of a new block of os_alloc, None if it was refused. */
static PyObject *os_alloc_block(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t size, i = 0;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &size) || !check_range("size", size, 1, 16 * MIB))
        return NULL;
    while (i < MAX_BLOCKS && o->blocks[i].base != NULL)
        i++;
    if (!check_range("number of blocks", i, 0, MAX_BLOCKS - 1))
        return NULL;
    char *p = os_alloc(&o->m.om, size, &o->m.stat, "test");
    if (p == NULL)
        Py_RETURN_NONE;
    for (size_t k = 0; k < size; k++)
        if (p[k] != 0) {
            PyErr_Format(PyExc_RuntimeError, "byte %zu of new memory is not zero", k);
            return NULL;
        }
    memset(p, 0xff, size);
    o->blocks[i] = (struct os_region){p, size};
    return PyLong_FromSize_t(i);
}

static PyObject *os_free_block(PyObject *self, PyObject *args)
{
    struct os_object *o = (struct os_object *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) ||
        !check_range("block", i, 0, MAX_BLOCKS - 1) ||
        !check_range("address of the block", (size_t)o->blocks[i].base, 1, SIZE_MAX))
        return NULL;
    os_free(&o->m.om, o->blocks[i].base, o->blocks[i].size, &o->m.stat);
    o->blocks[i].base = NULL;
    Py_RETURN_NONE;
}

static PyObject *os_fail(PyObject *self, PyObject *args)
{
    return memory_fail(&((struct os_object *)self)->m, args);
}

static PyObject *os_limit(PyObject *self, PyObject *args)
{
    size_t max_ready;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &max_ready))
        return NULL;
    store_relaxed(&((struct os_object *)self)->m.om.max_ready, max_ready);
    Py_RETURN_NONE;
}

static PyObject *os_counters(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct os_object *o = (struct os_object *)self;
    return Py_BuildValue("{sksksksksksksN}", "page_size", o->m.om.page_size, "ready",
                         (size_t)o->m.om.mapped_ready, "peak", (size_t)o->m.om.peak_ready, "stat",
                         (size_t)o->m.stat.bytes, "regions_stat", (size_t)o->m.regions.bytes,
                         "regions", o->m.om.nregions, "sound",
                         PyBool_FromLong(os_mem_verify(&o->m.om)));
}

static PyMethodDef os_methods[] = {
    {"reserve", os_reserve_region, METH_VARARGS, NULL},
    {"unreserve", os_unreserve_region, METH_NOARGS, NULL},
    {"map", os_map_pages, METH_VARARGS, NULL},
    {"unmap", os_unmap_pages, METH_VARARGS, NULL},
    {"used", os_used_pages, METH_VARARGS, NULL},
    {"unused", os_unused_pages, METH_VARARGS, NULL},
    METHOD(os, fill),
    METHOD(os, read),
    {"resident", os_resident_bytes, METH_VARARGS, NULL},
    {"alloc", os_alloc_block, METH_VARARGS, NULL},
    {"free", os_free_block, METH_VARARGS, NULL},
    METHOD(os, fail),
    METHOD(os, limit),
    METHOD_NOARGS(os, counters),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot os_slots[] = {
    {Py_tp_new, os_new},
    {Py_tp_dealloc, os_dealloc},
    {Py_tp_methods, os_methods},
    {0, NULL},
};

static PyType_Spec os_spec = {
    .name = "gomem._testing.OsMem",
    .basicsize = sizeof(struct os_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = os_slots,
};

/* --- Metadata --- */

/* persistent_alloc, and one fixalloc on top of it. */
struct metadata {
    PyObject_HEAD struct memory m;
    struct os_stat fixed_stat;
    struct fixalloc fixed;
    void *objects[64]; /* what fixed handed out, by number */
};

static int metadata_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct metadata *o = (struct metadata *)self;
    static char *names[] = {"size", "align", NULL};
    size_t size, align;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&", names, arg_size, &size, arg_size,
                                     &align) ||
        !check_range("size", size, 1, MIB) || !check_range("align", align, 8, 4096))
        return -1;
    if (!is_power_of_two(align)) {
        PyErr_SetString(PyExc_ValueError, "align must be a power of two");
        return -1;
    }
    if (!memory_init(&o->m))
        return -1;
    fixalloc_init(&o->fixed, &o->m.persistent, size, align, &o->fixed_stat);
    return 0;
}

static PyObject *metadata_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, metadata_init);
}

static void metadata_dealloc(PyObject *self)
{
    memory_destroy(&((struct metadata *)self)->m);
    free_object_of_type(self);
}

/* An address, None if refused; RuntimeError unless zeroed. Then filled, to find overlaps. */
static PyObject *metadata_persistent(PyObject *self, PyObject *args)
{
    struct metadata *o = (struct metadata *)self;
    size_t size, align;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &size, arg_size, &align) ||
        !check_range("size", size, 1, MIB) || !check_range("align", align, 1, 4096))
        return NULL;
    if (!is_power_of_two(align)) {
        PyErr_SetString(PyExc_ValueError, "align must be a power of two");
        return NULL;
    }
    char *p = persistent_alloc(&o->m.persistent, size, align, &o->m.stat);
    if (p == NULL)
        Py_RETURN_NONE;
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0) {
            PyErr_Format(PyExc_RuntimeError, "byte %zu of persistent memory is not zero", i);
            return NULL;
        }
    memset(p, 0xff, size);
    return PyLong_FromVoidPtr(p);
}

/* The address of a fixed-size object, to be known by the number; None if refused. */
static PyObject *metadata_alloc(PyObject *self, PyObject *args)
{
    struct metadata *o = (struct metadata *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) ||
        !check_range("number", i, 0, ARRAY_LEN(o->objects) - 1) ||
        !check_range("object of that number", (size_t)o->objects[i], 0, 0))
        return NULL;
    void *p = fixalloc_alloc(&o->fixed);
    if (p == NULL)
        Py_RETURN_NONE;
    memset(p, 0xff, o->fixed.size);
    o->objects[i] = p;
    return PyLong_FromVoidPtr(p);
}

static PyObject *metadata_free(PyObject *self, PyObject *args)
{
    struct metadata *o = (struct metadata *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) ||
        !check_range("number", i, 0, ARRAY_LEN(o->objects) - 1) ||
        !check_range("object of that number", (size_t)o->objects[i], 1, SIZE_MAX))
        return NULL;
    fixalloc_free(&o->fixed, o->objects[i]);
    o->objects[i] = NULL;
    Py_RETURN_NONE;
}

static PyObject *metadata_fail(PyObject *self, PyObject *args)
{
    return memory_fail(&((struct metadata *)self)->m, args);
}

static PyObject *metadata_counters(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct metadata *o = (struct metadata *)self;
    return Py_BuildValue("{sksksksksk}", "ready",
                         (size_t)(o->m.om.mapped_ready - o->m.regions.bytes), "other",
                         (size_t)o->m.other.bytes, "persistent", (size_t)o->m.stat.bytes, "fixed",
                         (size_t)o->fixed_stat.bytes, "inuse", o->fixed.inuse);
}

static PyMethodDef metadata_methods[] = {
    METHOD(metadata, persistent), METHOD(metadata, alloc),           METHOD(metadata, free),
    METHOD(metadata, fail),       METHOD_NOARGS(metadata, counters), {NULL, NULL, 0, NULL},
};

static PyType_Slot metadata_slots[] = {
    {Py_tp_new, metadata_new},
    {Py_tp_dealloc, metadata_dealloc},
    {Py_tp_methods, metadata_methods},
    {0, NULL},
};

static PyType_Spec metadata_spec = {
    .name = "gomem._testing.Metadata",
    .basicsize = sizeof(struct metadata),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = metadata_slots,
};

bool add_memory(PyObject *module)
{
    return add_type(module, &os_spec) && add_type(module, &metadata_spec);
}
