/* The white-box door to the page allocator, its page caches, its ranges and its scavenge index,
 * over addresses that nothing is mapped at.
 *
 * Pages and chunks are numbers: page n is the one at address n << page_shift. What may not be done
 * (freeing a free page, growing twice into a chunk) is a ValueError.
 *
 * Concurrency: under the GIL; the allocator's lock is taken for each call.
 * Go: export_test.go (PageAlloc, PageCache, AddrRanges).
 */
#include "testing/py_testing.h"

#include "heap/pagecache.h"
#include "heap/scavenge.h"

enum { CACHES = 2, MAX_GROW_CHUNKS = 64 };

struct pages_object {
    PyObject_HEAD struct memory m;
    struct lock lock;
    struct pagealloc pa;
    struct pagecache caches[CACHES];
};

static int pages_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct pages_object *o = (struct pages_object *)self;
    static char *names[] = {"page_shift", NULL};
    size_t page_shift = 13;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&", names, arg_size, &page_shift) ||
        !check_range("page_shift", page_shift, 12, 18))
        return -1;
    if (!memory_init(&o->m))
        return -1;
    lock_init(&o->lock, RANK_MHEAP);
    if (!pagealloc_init(&o->pa, (unsigned)page_shift, &o->lock, &o->m.om, &o->m.persistent,
                        &o->m.stat)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static PyObject *pages_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, pages_init);
}

static void pages_dealloc(PyObject *self)
{
    memory_destroy(&((struct pages_object *)self)->m);
    free_object_of_type(self);
}

static uintptr_t page_address(const struct pages_object *o, size_t page)
{
    return page << o->pa.page_shift;
}

static unsigned long page_number(const struct pages_object *o, uintptr_t address)
{
    return address >> o->pa.page_shift;
}

static bool is_grown(const struct pages_object *o, size_t chunk)
{
    uintptr_t base = chunk_base(&o->pa, chunk), found;
    return ranges_find(&o->pa.in_use, base, &found) && found == base;
}

/* The arguments (first page, number of pages), all in chunks that were grown into. */
static bool parse_grown_pages(struct pages_object *o, PyObject *args, size_t *page, size_t *n)
{
    size_t all = (size_t)1 << (HEAP_ADDR_BITS - o->pa.page_shift);
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, page, arg_size, n) ||
        !check_range("first page", *page, 0, all - 1) ||
        !check_range("number of pages", *n, 1, all - *page))
        return false;
    for (size_t c = *page / CHUNK_PAGES; c <= (*page + *n - 1) / CHUNK_PAGES; c++)
        if (!is_grown(o, c)) {
            PyErr_Format(PyExc_ValueError, "chunk %zu is not there", c);
            return false;
        }
    return true;
}

static bool is_cached(const struct pages_object *o, size_t page)
{
    for (unsigned i = 0; i < CACHES; i++) {
        size_t first = page_number(o, o->caches[i].base);
        if (first <= page && page < first + PAGE_CACHE_PAGES &&
            o->caches[i].free >> (page - first) & 1)
            return true;
    }
    return false;
}

static PyObject *pages_grow(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t chunk, n, all = (size_t)1 << (HEAP_ADDR_BITS - o->pa.chunk_shift);
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &chunk, arg_size, &n) ||
        !check_range("chunk", chunk, 1, all - 2) ||
        !check_range("number of chunks", n, 1, MIN(MAX_GROW_CHUNKS, all - 1 - chunk)))
        return NULL;
    for (size_t c = chunk; c < chunk + n; c++)
        if (is_grown(o, c)) {
            PyErr_Format(PyExc_ValueError, "chunk %zu is there already", c);
            return NULL;
        }
    lock(&o->lock);
    bool ok = pagealloc_grow(&o->pa, chunk_base(&o->pa, chunk), n << o->pa.chunk_shift);
    unlock(&o->lock);
    return PyBool_FromLong(ok);
}

/* (first page, how many of the pages were scavenged), None if there is no such run. */
static PyObject *pages_alloc(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t n, scavenged = 0;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &n) ||
        !check_range("number of pages", n, 1, (size_t)1 << 30))
        return NULL;
    lock(&o->lock);
    uintptr_t search, base = pagealloc_peek(&o->pa, n, &search);
    if (base != 0) {
        scavenged = pagealloc_scavenged(&o->pa, base, n);
        pagealloc_alloc_range(&o->pa, base, n);
        pagealloc_searched(&o->pa, search);
    }
    unlock(&o->lock);
    if (base == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("kk", page_number(o, base), page_number(o, scavenged));
}

/* Where the next allocation of n pages would be, None if there is no room: by the whole tree. */
static PyObject *pages_find(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t n;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &n) ||
        !check_range("number of pages", n, 1, (size_t)1 << 30))
        return NULL;
    if (chunk_index(&o->pa, o->pa.search_addr) >= o->pa.end)
        Py_RETURN_NONE; /* nothing free: the tree may not even be mapped */
    lock(&o->lock);
    uintptr_t search, base = pagealloc_find(&o->pa, n, &search);
    unlock(&o->lock);
    if (base == 0)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLong(page_number(o, base));
}

static PyObject *pages_free(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t page, n;
    if (!parse_grown_pages(o, args, &page, &n))
        return NULL;
    for (size_t p = page; p < page + n; p++)
        if (!bitmap_get(chunk_of(&o->pa, p / CHUNK_PAGES)->alloc.w, p % CHUNK_PAGES) ||
            is_cached(o, p)) {
            PyErr_Format(PyExc_ValueError, "page %zu is free", p);
            return NULL;
        }
    lock(&o->lock);
    pagealloc_free(&o->pa, page_address(o, page), n);
    unlock(&o->lock);
    Py_RETURN_NONE;
}

/* (bitmap of pages in use, bitmap of scavenged ones) of a chunk, 64 bytes each. */
static PyObject *pages_bits(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t chunk;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &chunk) ||
        !check_range("chunk", chunk, 0, ((size_t)1 << (HEAP_ADDR_BITS - o->pa.chunk_shift)) - 1))
        return NULL;
    if (!is_grown(o, chunk))
        return PyErr_Format(PyExc_ValueError, "chunk %zu is not there", chunk);
    const struct chunk_data *d = chunk_of(&o->pa, chunk);
    return Py_BuildValue("y#y#", (const char *)&d->alloc, (Py_ssize_t)sizeof d->alloc,
                         (const char *)&d->scavenged, (Py_ssize_t)sizeof d->scavenged);
}

/* What the heap has grown into: [(first chunk, chunk behind the last)]. */
static PyObject *pages_ranges(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct pages_object *o = (struct pages_object *)self;
    PyObject *list = PyList_New((Py_ssize_t)o->pa.in_use.n);
    for (size_t i = 0; list != NULL && i < o->pa.in_use.n; i++) {
        struct range r = o->pa.in_use.ranges[i];
        PyObject *item =
            Py_BuildValue("kk", chunk_index(&o->pa, r.base), chunk_index(&o->pa, r.limit));
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

/* --- Caches --- */

static PyObject *cache_tuple(const struct pages_object *o, const struct pagecache *c)
{
    return Py_BuildValue("kkk", page_number(o, c->base), (unsigned long)c->free,
                         (unsigned long)c->scavenged);
}

/* (first page, bits of free pages, bits of scavenged ones) after filling an empty cache. */
static PyObject *pages_cache_fill(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) || !check_range("cache", i, 0, CACHES - 1) ||
        !check_range("pages in the cache", o->caches[i].free, 0, 0))
        return NULL;
    lock(&o->lock);
    pagecache_fill(&o->caches[i], &o->pa);
    unlock(&o->lock);
    return cache_tuple(o, &o->caches[i]);
}

static PyObject *pages_cache_alloc(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t i, n, scavenged;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &i, arg_size, &n) ||
        !check_range("cache", i, 0, CACHES - 1) ||
        !check_range("number of pages", n, 1, PAGE_CACHE_PAGES))
        return NULL;
    uintptr_t base = pagecache_alloc(&o->caches[i], o->pa.page_shift, (unsigned)n, &scavenged);
    if (base == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("kk", page_number(o, base), page_number(o, scavenged));
}

static PyObject *pages_cache_flush(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i) || !check_range("cache", i, 0, CACHES - 1))
        return NULL;
    lock(&o->lock);
    pagecache_flush(&o->caches[i], &o->pa);
    unlock(&o->lock);
    return cache_tuple(o, &o->caches[i]);
}

/* --- Scavenging --- */

/* The chunk to be scavenged next, 0 for none. */
static PyObject *pages_scavenge_find(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    int force;
    if (!PyArg_ParseTuple(args, "p", &force))
        return NULL;
    return PyLong_FromSize_t(scav_index_find(&o->pa.scav, force != 0));
}

/* Marks as scavenged up to n pages of the chunk to be scavenged next, as the scavenger would,
 * without releasing anything: (first page, number of pages), (chunk, 0) if it had none, None if
 * there is no chunk. */
static PyObject *pages_scavenge(PyObject *self, PyObject *args)
{
    struct pages_object *o = (struct pages_object *)self;
    int force;
    size_t n;
    unsigned start;
    if (!PyArg_ParseTuple(args, "pO&", &force, arg_size, &n) ||
        !check_range("number of pages", n, 1, CHUNK_PAGES))
        return NULL;
    size_t chunk = scav_index_find(&o->pa.scav, force != 0);
    if (chunk == 0)
        Py_RETURN_NONE;
    struct chunk_data *d = chunk_of(&o->pa, chunk);
    unsigned found = find_scavenge_candidate(d, CHUNK_PAGES - 1, 1, (unsigned)n, 0, &start);
    if (found == 0) {
        scav_index_set_empty(&o->pa.scav, chunk);
        return Py_BuildValue("kI", (unsigned long)chunk, 0);
    }
    page_bits_set_range(&d->scavenged, start, found);
    return Py_BuildValue("kI", (unsigned long)(chunk * CHUNK_PAGES + start), found);
}

static PyObject *pages_next_generation(PyObject *self, PyObject *unused)
{
    (void)unused;
    scav_index_next_gen(&((struct pages_object *)self)->pa.scav);
    Py_RETURN_NONE;
}

/* --- Checking --- */

static PyObject *pages_fail(PyObject *self, PyObject *args)
{
    return memory_fail(&((struct pages_object *)self)->m, args);
}

/* What is wrong, None if nothing is. */
static PyObject *pages_verify(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct pages_object *o = (struct pages_object *)self;
    char why[256];
    lock(&o->lock);
    bool ok = pagealloc_verify(&o->pa, why, sizeof why);
    unlock(&o->lock);
    if (ok)
        Py_RETURN_NONE;
    return PyUnicode_FromString(why);
}

static PyObject *pages_counters(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct pages_object *o = (struct pages_object *)self;
    return Py_BuildValue("{sksksksk}", "stat", (size_t)o->m.stat.bytes, "ready",
                         (size_t)(o->m.om.mapped_ready - o->m.regions.bytes - o->m.other.bytes),
                         "search", page_number(o, o->pa.search_addr), "grown_bytes",
                         o->pa.in_use.total_bytes);
}

static PyMethodDef pages_methods[] = {
    METHOD(pages, grow),
    METHOD(pages, alloc),
    METHOD(pages, find),
    METHOD(pages, free),
    METHOD(pages, bits),
    METHOD_NOARGS(pages, ranges),
    METHOD(pages, cache_fill),
    METHOD(pages, cache_alloc),
    METHOD(pages, cache_flush),
    METHOD(pages, scavenge_find),
    METHOD(pages, scavenge),
    METHOD_NOARGS(pages, next_generation),
    METHOD(pages, fail),
    METHOD_NOARGS(pages, verify),
    METHOD_NOARGS(pages, counters),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pages_slots[] = {
    {Py_tp_new, pages_new},
    {Py_tp_dealloc, pages_dealloc},
    {Py_tp_methods, pages_methods},
    {0, NULL},
};

static PyType_Spec pages_spec = {
    .name = "gomem._testing.PageAlloc",
    .basicsize = sizeof(struct pages_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = pages_slots,
};

/* --- Ranges --- */

struct ranges_object {
    PyObject_HEAD struct memory m;
    struct ranges ranges;
};

static int ranges_object_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct ranges_object *o = (struct ranges_object *)self;
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", names))
        return -1;
    if (!memory_init(&o->m))
        return -1;
    ranges_init(&o->ranges, &o->m.persistent, &o->m.stat);
    return 0;
}

static PyObject *ranges_object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, ranges_object_init);
}

static void ranges_object_dealloc(PyObject *self)
{
    memory_destroy(&((struct ranges_object *)self)->m);
    free_object_of_type(self);
}

/* False if memory is refused. */
static PyObject *ranges_object_add(PyObject *self, PyObject *args)
{
    struct ranges_object *o = (struct ranges_object *)self;
    size_t base, limit;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &base, arg_size, &limit) ||
        !check_range("limit", limit, base + 1, SIZE_MAX))
        return NULL;
    for (size_t i = 0; i < o->ranges.n; i++)
        if (base < o->ranges.ranges[i].limit && o->ranges.ranges[i].base < limit)
            return PyErr_Format(PyExc_ValueError, "overlaps range %zu", i);
    if (!ranges_reserve(&o->ranges))
        Py_RETURN_FALSE;
    ranges_add(&o->ranges, (struct range){base, limit});
    Py_RETURN_TRUE;
}

static PyObject *ranges_object_successor(PyObject *self, PyObject *args)
{
    size_t address;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &address))
        return NULL;
    return PyLong_FromSize_t(ranges_successor(&((struct ranges_object *)self)->ranges, address));
}

static PyObject *ranges_object_find(PyObject *self, PyObject *args)
{
    size_t address;
    uintptr_t found;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &address))
        return NULL;
    if (!ranges_find(&((struct ranges_object *)self)->ranges, address, &found))
        Py_RETURN_NONE;
    return PyLong_FromSize_t(found);
}

/* [(base, limit)]. */
static PyObject *ranges_object_list(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct ranges_object *o = (struct ranges_object *)self;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < o->ranges.n; i++) {
        PyObject *item = Py_BuildValue("kk", o->ranges.ranges[i].base, o->ranges.ranges[i].limit);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *ranges_object_total_bytes(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromSize_t(((struct ranges_object *)self)->ranges.total_bytes);
}

static PyObject *ranges_object_verify(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(ranges_verify(&((struct ranges_object *)self)->ranges));
}

static PyObject *ranges_object_fail(PyObject *self, PyObject *args)
{
    return memory_fail(&((struct ranges_object *)self)->m, args);
}

static PyMethodDef ranges_methods[] = {
    METHOD(ranges_object, add),
    METHOD(ranges_object, successor),
    METHOD(ranges_object, find),
    METHOD_NOARGS(ranges_object, list),
    METHOD_NOARGS(ranges_object, total_bytes),
    METHOD_NOARGS(ranges_object, verify),
    METHOD(ranges_object, fail),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot ranges_slots[] = {
    {Py_tp_new, ranges_object_new},
    {Py_tp_dealloc, ranges_object_dealloc},
    {Py_tp_methods, ranges_methods},
    {0, NULL},
};

static PyType_Spec ranges_spec = {
    .name = "gomem._testing.Ranges",
    .basicsize = sizeof(struct ranges_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = ranges_slots,
};

bool add_pages(PyObject *module)
{
    return add_type(module, &pages_spec) && add_type(module, &ranges_spec);
}
