/* The white-box door to functions without state: page bitmaps, summaries, runs of bits, ranges,
 * division by a class's size, the scavenger's candidates and its controller.
 *
 * A chunk's bitmap is a bytes object of 64 bytes, bit i of byte j standing for page 8 j + i; a
 * summary is a tuple (start, max, end).
 *
 * Concurrency: pure functions.
 * Go: export_test.go (PallocBits, PackPallocSum, FindBitRange64, FindScavengeCandidate).
 */
#include "testing/py_testing.h"

#include "heap/pagealloc.h"
#include "heap/ranges.h"
#include "heap/scavenge.h"
#include "heap/span.h"

/* For "O&": 64 bytes into a struct page_bits. */
static int arg_page_bits(PyObject *object, void *bits)
{
    if (!PyBytes_Check(object) ||
        PyBytes_GET_SIZE(object) != (Py_ssize_t)sizeof(struct page_bits)) {
        PyErr_Format(PyExc_ValueError, "a bitmap is %zu bytes, not %R", sizeof(struct page_bits),
                     object);
        return 0;
    }
    memcpy(bits, PyBytes_AS_STRING(object), sizeof(struct page_bits));
    return 1;
}

/* The arguments (bitmap, first page, number of pages). */
static bool parse_page_range(PyObject *args, struct page_bits *b, size_t *i, size_t *n)
{
    return PyArg_ParseTuple(args, "O&O&O&", arg_page_bits, b, arg_size, i, arg_size, n) &&
           check_range("first page", *i, 0, CHUNK_PAGES - 1) &&
           check_range("number of pages", *n, 1, CHUNK_PAGES - *i);
}

static PyObject *bits_bytes(const struct page_bits *b)
{
    return PyBytes_FromStringAndSize((const char *)b, sizeof *b);
}

static PyObject *bits_page_bits_set(PyObject *module, PyObject *args)
{
    (void)module;
    struct page_bits b;
    size_t i, n;
    if (!parse_page_range(args, &b, &i, &n))
        return NULL;
    page_bits_set_range(&b, (unsigned)i, (unsigned)n);
    return bits_bytes(&b);
}

static PyObject *bits_page_bits_clear(PyObject *module, PyObject *args)
{
    (void)module;
    struct page_bits b;
    size_t i, n;
    if (!parse_page_range(args, &b, &i, &n))
        return NULL;
    page_bits_clear_range(&b, (unsigned)i, (unsigned)n);
    return bits_bytes(&b);
}

static PyObject *bits_page_bits_count(PyObject *module, PyObject *args)
{
    (void)module;
    struct page_bits b;
    size_t i, n;
    if (!parse_page_range(args, &b, &i, &n))
        return NULL;
    return PyLong_FromUnsignedLong(page_bits_count_range(&b, (unsigned)i, (unsigned)n));
}

/* (page, first free page) with -1 for none. */
static PyObject *bits_page_bits_find(PyObject *module, PyObject *args)
{
    (void)module;
    struct page_bits b;
    size_t n, from;
    if (!PyArg_ParseTuple(args, "O&O&O&", arg_page_bits, &b, arg_size, &n, arg_size, &from) ||
        !check_range("number of pages", n, 1, CHUNK_PAGES) ||
        !check_range("from", from, 0, CHUNK_PAGES - 1))
        return NULL;
    unsigned first, page = page_bits_find(&b, (unsigned)n, (unsigned)from, &first);
    return Py_BuildValue("ii", page == NO_PAGE ? -1 : (int)page,
                         first == NO_PAGE ? -1 : (int)first);
}

static PyObject *summary_tuple(page_summary s)
{
    return Py_BuildValue("KKK", (unsigned long long)summary_start(s),
                         (unsigned long long)summary_max(s), (unsigned long long)summary_end(s));
}

static PyObject *bits_page_bits_summarize(PyObject *module, PyObject *args)
{
    (void)module;
    struct page_bits b;
    if (!PyArg_ParseTuple(args, "O&", arg_page_bits, &b))
        return NULL;
    return summary_tuple(page_bits_summarize(&b));
}

static bool parse_summary(PyObject *item, page_summary *out)
{
    size_t start, max, end;
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "a summary is a tuple (start, max, end)");
        return false;
    }
    if (!PyArg_ParseTuple(item, "O&O&O&", arg_size, &start, arg_size, &max, arg_size, &end) ||
        !check_range("max", max, 0, MAX_PACKED) || !check_range("start", start, 0, max) ||
        !check_range("end", end, 0, max))
        return false;
    *out = summary_pack(start, max, end);
    return true;
}

static PyObject *bits_summary_merge(PyObject *module, PyObject *args)
{
    (void)module;
    enum { MOST = 64 };
    PyObject *list;
    size_t log_pages;
    page_summary sums[MOST];
    if (!PyArg_ParseTuple(args, "O!O&", &PyList_Type, &list, arg_size, &log_pages) ||
        !check_range("log_pages", log_pages, 0, LOG_MAX_PACKED) ||
        !check_range("number of summaries", (size_t)PyList_GET_SIZE(list), 1, MOST) ||
        !check_range("pages in all", (size_t)PyList_GET_SIZE(list) << log_pages, 1, MAX_PACKED))
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++)
        if (!parse_summary(PyList_GET_ITEM(list, i), &sums[i]))
            return NULL;
    return summary_tuple(summary_merge(sums, (unsigned)PyList_GET_SIZE(list), (unsigned)log_pages));
}

static PyObject *bits_find_bit_range64(PyObject *module, PyObject *args)
{
    (void)module;
    size_t bits, n;
    if (!PyArg_ParseTuple(args, "O&O&", arg_size, &bits, arg_size, &n) ||
        !check_range("n", n, 1, 64))
        return NULL;
    return PyLong_FromUnsignedLong(find_bit_range64(bits, (unsigned)n));
}

/* What is left of the first range without the second. */
static PyObject *bits_range_subtract(PyObject *module, PyObject *args)
{
    (void)module;
    size_t v[4];
    if (!PyArg_ParseTuple(args, "(O&O&)(O&O&)", arg_size, &v[0], arg_size, &v[1], arg_size, &v[2],
                          arg_size, &v[3]))
        return NULL;
    if (v[0] >= v[1] || v[2] >= v[3] || (v[0] < v[2] && v[3] < v[1])) {
        PyErr_SetString(PyExc_ValueError,
                        "ranges must not be empty, nor the second lie strictly inside the first");
        return NULL;
    }
    struct range r = range_subtract((struct range){v[0], v[1]}, (struct range){v[2], v[3]});
    return Py_BuildValue("KK", (unsigned long long)r.base, (unsigned long long)r.limit);
}

/* (start, number of pages) of what the scavenger would release of a chunk, None for nothing. */
static PyObject *bits_scavenge_candidate(PyObject *module, PyObject *args)
{
    (void)module;
    struct chunk_data c;
    size_t from, min, max, huge;
    if (!PyArg_ParseTuple(args, "O&O&O&O&O&O&", arg_page_bits, &c.alloc, arg_page_bits,
                          &c.scavenged, arg_size, &from, arg_size, &min, arg_size, &max, arg_size,
                          &huge) ||
        !check_range("from", from, 0, CHUNK_PAGES - 1) || !check_range("min", min, 1, 64) ||
        !check_range("max", max, 0, CHUNK_PAGES) || !check_range("huge", huge, 0, CHUNK_PAGES))
        return NULL;
    if (!is_power_of_two(min) || (huge != 0 && !is_power_of_two(huge))) {
        PyErr_SetString(PyExc_ValueError, "min and huge must be powers of two");
        return NULL;
    }
    unsigned start, n = find_scavenge_candidate(&c, (unsigned)from, (unsigned)min, (unsigned)max,
                                                (unsigned)huge, &start);
    if (n == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("II", start, n);
}

/* Index of the slot an offset falls into, by multiplication. */
static PyObject *bits_span_index(PyObject *module, PyObject *args)
{
    (void)module;
    size_t size, magic, offset;
    if (!PyArg_ParseTuple(args, "O&O&O&", arg_size, &size, arg_size, &magic, arg_size, &offset) ||
        !check_range("size", size, 1, UINT32_MAX) || !check_range("magic", magic, 1, UINT32_MAX) ||
        !check_range("offset", offset, 0, UINT32_MAX))
        return NULL;
    struct mspan s = {.elem_size = size, .div_magic = (uint32_t)magic};
    return PyLong_FromUnsignedLong(span_index(&s, offset));
}

/* The sleep ratios the scavenger learns when each step works `worked` ns and sleeps as long as it
 * was told, times `delay`, on `procs` Ps. */
static PyObject *bits_scavenger_ratios(PyObject *module, PyObject *args)
{
    (void)module;
    double worked, delay;
    size_t procs, steps;
    if (!PyArg_ParseTuple(args, "ddO&O&", &worked, &delay, arg_size, &procs, arg_size, &steps) ||
        !check_range("procs", procs, 1, 1024) || !check_range("steps", steps, 0, 100000))
        return NULL;
    PyObject *list = PyList_New(0);
    struct scavenger_control control;
    scavenger_control_init(&control);
    for (size_t i = 0; list != NULL && i < steps; i++) {
        double sleep = scavenger_sleep_time(&control, worked) * delay;
        scavenger_slept(&control, worked, sleep, (unsigned)procs);
        PyObject *ratio = PyFloat_FromDouble(control.sleep_ratio);
        if (ratio == NULL || PyList_Append(list, ratio) < 0)
            Py_CLEAR(list);
        Py_XDECREF(ratio);
    }
    return list;
}

static PyMethodDef functions[] = {
    METHOD(bits, page_bits_set),       METHOD(bits, page_bits_clear),
    METHOD(bits, page_bits_count),     METHOD(bits, page_bits_find),
    METHOD(bits, page_bits_summarize), METHOD(bits, summary_merge),
    METHOD(bits, find_bit_range64),    METHOD(bits, range_subtract),
    METHOD(bits, scavenge_candidate),  METHOD(bits, span_index),
    METHOD(bits, scavenger_ratios),    {NULL, NULL, 0, NULL},
};

bool add_bits(PyObject *module)
{
    return PyModule_AddFunctions(module, functions) == 0;
}
