/* The white-box door to a whole heap: objects of any pointer layout from given Ps, what is written
 * down about them, tiny blocks, goroutine stacks, scavenging.
 *
 * The heap is made without a runtime, all its Ps are the caller's. Stacks are known by number.
 *
 * Concurrency: under the GIL.
 * Go: export_test.go.
 */
#include "testing/py_testing.h"

#include "heap/heapbits.h"
#include "heap/malloc.h"
#include "heap/scavenge.h"
#include "heap/verify.h"

enum { MAX_TEST_PROCS = 4, MAX_WORDS = 512, MAX_STACKS = 128 };

struct test_stack {
    struct stack s; /* lo 0: none of this number */
    uintptr_t sp;
};

struct heap_object {
    PyObject_HEAD struct mheap *h;
    struct type **types; /* all that were ever allocated: they must outlive the heap */
    size_t ntypes;
    struct test_stack stacks[MAX_STACKS];
};

static int heap_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct heap_object *o = (struct heap_object *)self;
    static char *names[] = {"procs", "page_size", "max_memory", "dontneed", NULL};
    size_t procs = 1, page_size = 8192, max_memory = SIZE_MAX;
    int dontneed = 1;
    struct gomem_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&O&O&p", names, arg_size, &procs, arg_size,
                                     &page_size, arg_size, &max_memory, &dontneed) ||
        !check_range("procs", procs, 1, MAX_TEST_PROCS) ||
        !check_range("page_size", page_size, 4096, 256 * KIB))
        return -1;
    struct gomem_size_class_rules rules = size_class_rules_go();
    rules.page_size = (uint32_t)page_size;
    struct size_class_table table;
    if (size_class_table_make(&table, &rules, &err) != GOMEM_OK) {
        PyErr_SetString(PyExc_ValueError, err.message);
        return -1;
    }
    struct mheap_options options = {
        .size_classes = &table,
        .procs = (unsigned)procs,
        .max_memory = max_memory,
        .memory_limit = UINT64_MAX,
        .dontneed = dontneed != 0,
    };
    o->h = mheap_new(&options, &err);
    if (o->h == NULL) {
        PyErr_SetString(PyExc_MemoryError, err.message);
        return -1;
    }
    for (unsigned i = 0; i < o->h->nmcaches; i++)
        CHECK(mcache_try_acquire(o->h->mcaches[i]));
    return 0;
}

static PyObject *heap_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return make_object(type, args, kwargs, heap_init);
}

static void heap_dealloc(PyObject *self)
{
    struct heap_object *o = (struct heap_object *)self;
    if (o->h != NULL)
        mheap_destroy(o->h);
    for (size_t i = 0; i < o->ntypes; i++)
        type_release(o->types[i]);
    PyMem_Free(o->types);
    free_object_of_type(self);
}

/* The cache of the P of that number. */
static bool find_proc(const struct heap_object *o, size_t p, struct mcache **c)
{
    if (!check_range("P", p, 0, o->h->nmcaches - 1))
        return false;
    *c = o->h->mcaches[p];
    return true;
}

/* A method's first argument: the number of a P. */
static bool parse_proc(struct heap_object *o, PyObject *args, struct mcache **c)
{
    size_t p;
    return PyArg_ParseTuple(args, "O&", arg_size, &p) && find_proc(o, p, c);
}

/* --- Objects --- */

static PyObject *address_or_none(void *p)
{
    if (p == NULL)
        Py_RETURN_NONE;
    return PyLong_FromVoidPtr(p);
}

static PyObject *heap_malloc(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t p, size;
    struct mcache *c;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &p, arg_size, &size) || !find_proc(o, p, &c) ||
        !check_range("size", size, 0, GIB))
        return NULL;
    return address_or_none(malloc_noscan(c, size));
}

/* A struct with a field for each letter: p a pointer, anything else a word without. */
static struct type *make_type(const char *words, size_t n, struct gomem_error *err)
{
    struct type *pointer = type_new_pointer("*T", err), *word = type_new_basic(GOMEM_INT64, err);
    const struct type *fields[MAX_WORDS];
    const char *names[MAX_WORDS];
    struct type *t = NULL;
    for (size_t i = 0; i < n; i++) {
        fields[i] = words[i] == 'p' ? pointer : word;
        names[i] = "f";
    }
    if (pointer != NULL && word != NULL)
        t = type_new_struct("T", names, fields, n, err);
    if (pointer != NULL)
        type_release(pointer);
    if (word != NULL)
        type_release(word);
    return t;
}

static PyObject *heap_malloc_typed(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t p, count;
    const char *words;
    Py_ssize_t n;
    struct mcache *c;
    struct gomem_error err;
    if (!PyArg_ParseTuple(args, "O&s#O&", arg_size, &p, &words, &n, arg_size, &count) ||
        !find_proc(o, p, &c) || !check_range("number of words", (size_t)n, 1, MAX_WORDS) ||
        !check_range("count", count, 1, MIB))
        return NULL;
    struct type **grown = PyMem_Realloc(o->types, (o->ntypes + 1) * sizeof(struct type *));
    if (grown == NULL)
        return PyErr_NoMemory();
    o->types = grown;
    struct type *t = make_type(words, (size_t)n, &err);
    if (t == NULL) {
        PyErr_SetString(PyExc_ValueError, err.message);
        return NULL;
    }
    o->types[o->ntypes++] = t;
    return address_or_none(malloc_typed(c, t->size * count, t));
}

/* Was there such an object? */
static PyObject *heap_free(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t p, address;
    struct mcache *c;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &p, arg_size, &address) || !find_proc(o, p, &c))
        return NULL;
    return PyBool_FromLong(free_object(c, address) == GOMEM_OK);
}

/* The live object that begins at an address. */
static bool find_object(struct heap_object *o, size_t address, struct heap_lookup *l)
{
    heap_lookup(o->h, address, l);
    if (l->place == GOMEM_PLACE_OBJECT && l->object == address)
        return true;
    PyErr_Format(PyExc_ValueError, "%p is not the address of an object", (void *)address);
    return false;
}

static PyObject *heap_read(PyObject *self, PyObject *args)
{
    size_t address;
    struct heap_lookup l;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &address) ||
        !find_object((struct heap_object *)self, address, &l))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)address, (Py_ssize_t)l.size);
}

static PyObject *heap_write(PyObject *self, PyObject *args)
{
    size_t address;
    const char *bytes;
    Py_ssize_t n;
    struct heap_lookup l;
    if (!PyArg_ParseTuple(args, "O&y#", arg_size, &address, &bytes, &n) ||
        !find_object((struct heap_object *)self, address, &l) ||
        !check_range("number of bytes", (size_t)n, 0, l.size))
        return NULL;
    memcpy((void *)address, bytes, (size_t)n);
    Py_RETURN_NONE;
}

/* The words of an object's slot: p for one that may hold a pointer. */
static PyObject *heap_pointer_words(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t address;
    struct heap_lookup l;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &address) || !find_object(o, address, &l))
        return NULL;
    PyObject *words = PyUnicode_New((Py_ssize_t)(l.size / PTR_SIZE), 127);
    for (size_t i = 0; words != NULL && i < l.size / PTR_SIZE; i++) {
        bool pointer = object_word_is_pointer(o->h, l.span, l.index, i * PTR_SIZE);
        PyUnicode_WRITE(PyUnicode_KIND(words), PyUnicode_DATA(words), (Py_ssize_t)i,
                        pointer ? 'p' : '.');
    }
    return words;
}

/* What is written down about the span an object is in. */
static PyObject *heap_span(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t address;
    struct heap_lookup l;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &address) || !find_object(o, address, &l))
        return NULL;
    const struct mspan *s = l.span;
    return Py_BuildValue("{sksksksksIsIsNsNsk}", "base", s->base, "npages", s->npages, "elem_size",
                         s->elem_size, "first_object", s->first_object, "nelems", s->nelems,
                         "span_class", s->span_class, "heap_bits",
                         PyBool_FromLong(span_has_heap_bits(o->h, s)), "large",
                         PyBool_FromLong(span_is_large(s)), "limit", s->limit);
}

/* --- Tiny objects --- */

/* (address of the current block or 0, first unused offset, offsets where objects start, as bits).
 */
static PyObject *heap_tiny(PyObject *self, PyObject *args)
{
    struct mcache *c;
    if (!parse_proc((struct heap_object *)self, args, &c))
        return NULL;
    return Py_BuildValue("kII", (unsigned long)tiny_note_block(c->tiny), c->tiny_offset,
                         tiny_note_parts(c->tiny));
}

/* The offsets at which live objects start in the tiny block around an address, as bits. */
static PyObject *heap_tiny_parts(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t address;
    struct heap_lookup l;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &address))
        return NULL;
    heap_lookup(o->h, address, &l);
    if ((l.place != GOMEM_PLACE_OBJECT && l.place != GOMEM_PLACE_FREE_SLOT) || span_is_large(l.span) ||
        !span_has_tiny(l.span, l.index))
        return PyLong_FromLong(0);
    return PyLong_FromUnsignedLong(tiny_live_parts(o->h, l.span, l.index));
}

static PyObject *heap_flush(PyObject *self, PyObject *args)
{
    struct mcache *c;
    if (!parse_proc((struct heap_object *)self, args, &c))
        return NULL;
    mcache_flush(c);
    Py_RETURN_NONE;
}

static PyObject *heap_tiny_retire(PyObject *self, PyObject *args)
{
    struct mcache *c;
    if (!parse_proc((struct heap_object *)self, args, &c))
        return NULL;
    tiny_retire(c);
    Py_RETURN_NONE;
}

/* --- Stacks --- */

static struct test_stack *find_stack(struct heap_object *o, size_t i)
{
    if (check_range("stack", i, 0, MAX_STACKS - 1) && o->stacks[i].s.lo != 0)
        return &o->stacks[i];
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "there is no stack %zu", i);
    return NULL;
}

/* The arguments (P, number of a stack). */
static struct test_stack *parse_stack(PyObject *self, PyObject *args, struct mcache **c)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t p, i;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &p, arg_size, &i) || !find_proc(o, p, c))
        return NULL;
    return find_stack(o, i);
}

/* The number of a new stack; ValueError for a bad size, None if memory is refused. */
static PyObject *heap_stack_alloc(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t p, size, i = 0;
    struct mcache *c;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &p, arg_size, &size) || !find_proc(o, p, &c))
        return NULL;
    while (i < MAX_STACKS && o->stacks[i].s.lo != 0)
        i++;
    if (!check_range("number of stacks", i, 0, MAX_STACKS - 1))
        return NULL;
    enum gomem_status status = stack_alloc(o->h, c, size, &o->stacks[i].s);
    if (status == GOMEM_OUT_OF_MEMORY)
        Py_RETURN_NONE;
    if (status != GOMEM_OK)
        return PyErr_Format(PyExc_ValueError, "status %d", (int)status);
    o->stacks[i].sp = o->stacks[i].s.hi;
    memset((void *)o->stacks[i].s.lo, 0xa5, MIN(size, MIB));
    return PyLong_FromSize_t(i);
}

static PyObject *heap_stack_free(PyObject *self, PyObject *args)
{
    struct mcache *c;
    struct test_stack *s = parse_stack(self, args, &c);
    if (s == NULL)
        return NULL;
    stack_free(((struct heap_object *)self)->h, c, s->s);
    s->s.lo = 0;
    Py_RETURN_NONE;
}

static PyObject *heap_stack_grow(PyObject *self, PyObject *args)
{
    struct mcache *c;
    struct test_stack *s = parse_stack(self, args, &c);
    if (s == NULL)
        return NULL;
    enum gomem_status status = stack_grow(((struct heap_object *)self)->h, c, &s->s, &s->sp);
    return PyBool_FromLong(status == GOMEM_OK);
}

static PyObject *heap_stack_shrink(PyObject *self, PyObject *args)
{
    struct mcache *c;
    struct test_stack *s = parse_stack(self, args, &c);
    if (s == NULL)
        return NULL;
    return PyBool_FromLong(stack_shrink(((struct heap_object *)self)->h, c, &s->s, &s->sp));
}

/* (lo, hi, the used part's bytes). */
static PyObject *heap_stack(PyObject *self, PyObject *args)
{
    size_t i;
    if (!PyArg_ParseTuple(args, "O&", arg_size, &i))
        return NULL;
    struct test_stack *s = find_stack((struct heap_object *)self, i);
    if (s == NULL)
        return NULL;
    return Py_BuildValue("kky#", s->s.lo, s->s.hi, (const char *)s->sp,
                         (Py_ssize_t)(s->s.hi - s->sp));
}

/* Makes the given bytes the used part of a stack. */
static PyObject *heap_stack_use(PyObject *self, PyObject *args)
{
    size_t i;
    const char *bytes;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "O&y#", arg_size, &i, &bytes, &n))
        return NULL;
    struct test_stack *s = find_stack((struct heap_object *)self, i);
    if (s == NULL || !check_range("number of bytes", (size_t)n, 0, s->s.hi - s->s.lo))
        return NULL;
    s->sp = s->s.hi - (size_t)n;
    memcpy((void *)s->sp, bytes, (size_t)n);
    Py_RETURN_NONE;
}

/* Bytes of free stacks a P holds, by order. */
static PyObject *heap_stack_caches(PyObject *self, PyObject *args)
{
    struct mcache *c;
    if (!parse_proc((struct heap_object *)self, args, &c))
        return NULL;
    return Py_BuildValue("kkkk", c->stacks[0].size, c->stacks[1].size, c->stacks[2].size,
                         c->stacks[3].size);
}

/* --- The whole --- */

static PyObject *heap_scavenge(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t nbytes;
    int force;
    if (!PyArg_ParseTuple(args, "O&p", arg_size, &nbytes, &force))
        return NULL;
    return PyLong_FromSize_t(scavenge(o->h, nbytes, force != 0));
}

static PyObject *heap_next_generation(PyObject *self, PyObject *unused)
{
    (void)unused;
    scavenge_next_generation(((struct heap_object *)self)->h);
    Py_RETURN_NONE;
}

static PyObject *heap_fail(PyObject *self, PyObject *args)
{
    struct heap_object *o = (struct heap_object *)self;
    size_t first, count;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &first, arg_size, &count))
        return NULL;
    os_mem_fail(&o->h->om, first, count, OS_CALL_ALL);
    Py_RETURN_NONE;
}

/* What is wrong, None if nothing is. */
static PyObject *heap_verify_all(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct gomem_error err;
    if (heap_verify(((struct heap_object *)self)->h, &err) == GOMEM_OK)
        Py_RETURN_NONE;
    return PyUnicode_FromString(err.message);
}

static PyObject *heap_counters(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct heap_object *o = (struct heap_object *)self;
    struct gomem_memstats m;
    memstats_read(o->h, &m);
    return Py_BuildValue(
        "{sKsKsKsKsKsKsK}", "mallocs", (unsigned long long)m.mallocs, "frees",
        (unsigned long long)m.frees, "tiny_allocs", (unsigned long long)m.tiny_allocs, "heap_inuse",
        (unsigned long long)m.heap_inuse, "heap_idle", (unsigned long long)m.heap_idle,
        "heap_released", (unsigned long long)m.heap_released, "stack_inuse",
        (unsigned long long)m.stack_inuse);
}

static PyMethodDef heap_methods[] = {
    METHOD(heap, malloc),
    METHOD(heap, malloc_typed),
    METHOD(heap, free),
    METHOD(heap, read),
    METHOD(heap, write),
    METHOD(heap, pointer_words),
    METHOD(heap, span),
    METHOD(heap, tiny),
    METHOD(heap, tiny_parts),
    METHOD(heap, tiny_retire),
    METHOD(heap, flush),
    METHOD(heap, stack_alloc),
    METHOD(heap, stack_free),
    METHOD(heap, stack_grow),
    METHOD(heap, stack_shrink),
    METHOD(heap, stack),
    METHOD(heap, stack_use),
    METHOD(heap, stack_caches),
    METHOD(heap, scavenge),
    METHOD_NOARGS(heap, next_generation),
    METHOD(heap, fail),
    {"verify", heap_verify_all, METH_NOARGS, NULL},
    METHOD_NOARGS(heap, counters),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot heap_slots[] = {
    {Py_tp_new, heap_new},
    {Py_tp_dealloc, heap_dealloc},
    {Py_tp_methods, heap_methods},
    {0, NULL},
};

static PyType_Spec heap_spec = {
    .name = "gomem._testing.TestHeap",
    .basicsize = sizeof(struct heap_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = heap_slots,
};

bool add_heap(PyObject *module)
{
    return add_type(module, &heap_spec);
}
