/* What the files of the white-box door share: argument conversion, and metadata memory of their
 * own.
 *
 * Each file adds its functions or types to the module; each type owns all it stands on, so that a
 * test can make many and refuse them memory one by one. Called by tests only.
 *
 * Concurrency: under the GIL.
 * Go: export_test.go.
 */
#ifndef GOMEM_TESTING_PY_TESTING_H
#define GOMEM_TESTING_PY_TESTING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "heap/persistent.h"

/* What persistent and its users need below them. */
struct memory {
    struct os_mem om;
    struct os_stat regions, other, stat; /* stat: what the structure under test counts in */
    struct persistent persistent;
};

/* Both set an exception on failure. */
MUST_USE bool memory_init(struct memory *m);
void memory_destroy(struct memory *m);
/* Refuses the calls [first, first + count) of the given kinds from now on: a method's arguments. */
PyObject *memory_fail(struct memory *m, PyObject *args);

/* For "O&": a non-negative integer, or TypeError or OverflowError. */
int arg_size(PyObject *object, void *size);
/* ValueError unless low <= value <= high. */
MUST_USE bool check_range(const char *what, size_t value, size_t low, size_t high);
/* A new object of a heap type, zeroed and then filled by init, whose answer is 0 or -1. */
PyObject *make_object(PyTypeObject *type, PyObject *args, PyObject *kwargs, initproc init);
/* Frees what an object of a heap type is made of, last of all. */
void free_object_of_type(PyObject *self);
/* Adds a type made from spec to the module. */
MUST_USE bool add_type(PyObject *module, PyType_Spec *spec);

#define METHOD(object, name)        {#name, object##_##name, METH_VARARGS, NULL}
#define METHOD_NOARGS(object, name) {#name, object##_##name, METH_NOARGS, NULL}

/* The groups. */
MUST_USE bool add_bits(PyObject *module);
MUST_USE bool add_memory(PyObject *module);
MUST_USE bool add_pages(PyObject *module);
MUST_USE bool add_spanset(PyObject *module);
MUST_USE bool add_heap(PyObject *module);
MUST_USE bool add_pacing(PyObject *module);

#endif
