/* What the files for Go values share: handles, and the way of a value into memory and out of it.
 *
 * A handle (Slice, String, Builder, Buffer, Map) is a variable of a Go program: it has a root.
 *
 * The library follows pointers that are in strings, slices, maps and so on without asking: nobody else may
 * write them. So a type in which there are some is `guarded`: objects of it are seen as nothing else, no
 * unsafe.Pointer leads to one, and views of them are read-only, as of everything with pointers. And a heap
 * that has had values is `guarded`: in it nothing that may be a part of one, or to which a pointer may
 * lead that then leads to one, can be freed by hand.
 *
 * Concurrency: under the GIL or the heap's critical section (py_core.h).
 * Go: no counterpart.
 */
#ifndef GOMEM_PYTHON_PY_VALUES_H
#define GOMEM_PYTHON_PY_VALUES_H

#include "python/py_core.h"

/* A handle: these come first in all of them. */
struct py_handle {
    PyObject_HEAD
    struct py_heap *heap;
    uint64_t *root; /* slot with the address of array, bytes or object; NULL: none is needed */
};

struct py_slice {
    struct py_handle base;
    struct py_type *type; /* []T */
    int64_t len, cap;
    Py_ssize_t exports;
    PyObject *weakrefs;
};

struct py_string {
    struct py_handle base;
    int64_t len;
    Py_hash_t hash; /* -1: not known yet */
    PyObject *weakrefs;
};

struct py_map {
    struct py_handle base;
    struct py_type *type; /* map[K]E */
    PyObject *weakrefs;
};

/* Builder and Buffer. */
struct py_bytes {
    struct py_handle base;
    PyObject *weakrefs;
};

/* A handle of a type, which it takes the root of; NULL with an exception, and then the root is given back. */
PyObject *handle_new(PyTypeObject *type, struct py_heap *h, uint64_t *root);
/* Ends it, up to freeing its memory. */
void handle_end(PyObject *self);
/* The first two steps of a call that makes a handle: a root, and a P. NULL with an exception. */
struct gomem_proc *begin_value(struct py_heap *h, uint64_t **root);
/* Its last: gives up the P and, unless status is GOMEM_OK, the root; false with an exception then. */
bool end_value(struct py_heap *h, struct gomem_proc *p, enum gomem_status status,
               const struct gomem_error *err, uint64_t *root);
/* The address in a handle's root. */
static inline void *handle_address(const void *handle)
{
    const struct py_handle *b = handle;
    return b->root == NULL ? NULL : (void *)(uintptr_t)*b->root;
}
/* A Builder or a Buffer: what is a pointer to an object in Go. */
static inline bool is_pointer_handle(struct state *st, PyObject *value)
{
    return PyObject_TypeCheck(value, st->builder_type) || PyObject_TypeCheck(value, st->buffer_type);
}
/* *root = pointer, which may be to something that others know. */
static inline void root_write(struct gomem_proc *p, uint64_t *root, void *pointer)
{
    gomem_write_pointer(p, (void **)root, pointer);
}
/* The heap argument of a function; NULL with an exception. */
struct py_heap *parse_heap(struct state *st, PyObject *arg);
/* A count of elements or bytes: clamped to int64_t; false with an exception if it is no integer. */
bool parse_count(PyObject *arg, const char *what, int64_t *out);

/* An index of something of that length, in range or not; false with an exception if it is no integer, or one
 * that is out of any range. */
bool parse_index(struct state *st, PyObject *arg, int64_t length, int64_t *out);

/* The bounds of s[low:high:max]; false with an exception. */
bool parse_bounds(PyObject *key, struct gomem_bounds *b);

/* --- Into memory --- */

/* n values as they will be in memory. Until pack_end what they point to is kept. Converting runs Python
 * code: the heap may be closed afterwards, but what is packed stays right. */
struct packed {
    struct py_heap *heap;
    unsigned char *bytes, few[64];
    bool borrow; /* to compare with, not to store: strings and boxed values need not be objects */
    PyObject *keep; /* list of what they point to, or NULL */
    uint64_t **roots; /* the same, without a handle */
    size_t nroots;
};

/* what: how errors call it. false with an exception: nothing is to be ended. */
bool pack(struct packed *v, struct py_heap *h, struct py_type *type, PyObject *const *values,
          Py_ssize_t n, const char *what, bool borrow);
void pack_end(struct packed *v);

/* --- Out of memory --- */

/* A value as it was at one moment, with all it points to kept. */
struct snapshot {
    struct py_heap *heap;
    struct py_type *type;
    unsigned char *bytes, few[64];
    uint64_t **roots, *few_roots[4]; /* one a pointer word, in their order */
    size_t nroots, used;             /* used: those that have become a handle's */
};

/* In this order: prepare, take a P, copy from an object that is known to be there, give up the P, value
 * (once), end. */
bool snapshot_prepare(struct snapshot *s, struct py_heap *h, struct py_type *type);
void snapshot_copy(struct snapshot *s, struct gomem_proc *p, const void *at);
/* The second half of copy, for who has filled the bytes himself. */
void snapshot_root(struct snapshot *s, struct gomem_proc *p);
/* Structs become dicts, arrays lists. */
PyObject *snapshot_value(struct snapshot *s);
void snapshot_end(struct snapshot *s);

/* --- The types --- */

extern HIDDEN PyType_Spec slice_spec, string_spec, builder_spec, buffer_spec, map_spec, map_iter_spec,
    pool_spec;

/* Handles of what is in a root, which becomes theirs. */
PyObject *slice_wrap(struct py_heap *h, struct py_type *type, struct gomem_slice s, uint64_t *root);
PyObject *map_wrap(struct py_heap *h, struct py_type *type, uint64_t *root);
PyObject *string_wrap(struct py_heap *h, int64_t len, uint64_t *root);
/* A new string of a str's UTF-8, or of bytes. */
PyObject *string_from_python(struct py_heap *h, PyObject *value);
/* The bytes of a str, of bytes and the like, of a String; ended by PyBuffer_Release. what: for errors. */
bool parse_bytes(PyObject *arg, const char *what, Py_buffer *view);
/* What a variable is now. */
static inline struct gomem_slice slice_of(const struct py_slice *s)
{
    return (struct gomem_slice){handle_address(s), s->len, s->cap};
}
static inline struct py_type *elem_of(const struct py_slice *s)
{
    return (struct py_type *)s->type->elem;
}
static inline size_t elem_size(const struct py_slice *s)
{
    return gomem_type_size(elem_of(s)->t);
}
/* *s = value. pre: p was taken without a break since s was read. */
void slice_set(struct py_slice *s, struct gomem_proc *p, struct gomem_slice value);
/* May s get another array if it must hold n more elements? Not while there are views of it: an exception. */
bool slice_check_views(struct py_slice *s, int64_t n);
/* A copy of a slice variable. */
PyObject *slice_clone(struct py_slice *s);
/* Values of a type, one behind the other: of a buffer of such numbers, of a Slice, of a list. It stays where it
 * was made. */
struct array {
    const void *values;
    size_t n;
    Py_buffer view;   /* obj NULL: none */
    PyObject *slice;  /* or NULL */
    struct packed packed;
    bool is_packed;
};
/* what: for errors. false with an exception. The heap may be closed afterwards. */
bool array_from(struct py_heap *h, struct py_type *type, PyObject *arg, const char *what,
                struct array *out);
void array_end(struct array *a);
/* py_map_iter.c, py_map_array.c: methods of Map. */
PyObject *map_iter(PyObject *self);
PyObject *map_keys(PyObject *self, PyObject *unused);
PyObject *map_items(PyObject *self, PyObject *unused);
PyObject *map_values(PyObject *self, PyObject *unused);
PyObject *map_set_many(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *map_get_many(PyObject *self, PyObject *keys);
PyObject *map_arrays(PyObject *self, PyObject *unused);
/* py_map_edit.c: the same. */
PyObject *maps_clone_of(PyObject *self, PyObject *unused);
PyObject *maps_copy_from(PyObject *self, PyObject *other);
PyObject *maps_delete_func(PyObject *self, PyObject *fn);
/* py_slice_array.c: methods of Slice. */
PyObject *slice_append_many(PyObject *self, PyObject *args, PyObject *kwargs);
int slice_getbuffer(PyObject *self, Py_buffer *view, int flags);
PyObject *slice_array(PyObject *self, PyObject *args, PyObject *kwargs);
void slice_releasebuffer(PyObject *self, Py_buffer *view);
/* py_buffer_read.c: methods of Buffer. */
PyObject *py_buffer_bytes(PyObject *self, PyObject *unused);
PyObject *py_buffer_next(PyObject *self, PyObject *n);
PyObject *py_buffer_peek(PyObject *self, PyObject *n);
PyObject *py_buffer_read_bytes(PyObject *self, PyObject *delimiter);
PyObject *py_buffer_read_string(PyObject *self, PyObject *delimiter);
PyObject *py_buffer_string(PyObject *self, PyObject *unused);
PyObject *py_buffer_read(PyObject *self, PyObject *n);
PyObject *py_buffer_read_byte(PyObject *self, PyObject *unused);
PyObject *py_buffer_unread_byte(PyObject *self, PyObject *unused);
PyObject *py_buffer_read_rune(PyObject *self, PyObject *unused);
PyObject *py_buffer_unread_rune(PyObject *self, PyObject *unused);
/* py_slice_edit.c: the same of Slice. */
PyObject *slices_clone(PyObject *self, PyObject *unused);
PyObject *slices_grow(PyObject *self, PyObject *arg);
PyObject *slices_clip(PyObject *self, PyObject *unused);
PyObject *slices_insert(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *slices_delete(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *slices_replace(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

#endif
