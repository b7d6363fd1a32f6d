/* What the files of the binding share: module state, object layouts, conversions.
 *
 * A Heap owns a runtime. A Ref is the one handle of an object: the heap keeps a table from address to
 * Ref, so that freeing an object invalidates whatever names it. A Roots table holds many objects of
 * one alloc_many. Nothing here has logic of its own: parse, call gomem.h, convert.
 *
 * Concurrency: under the GIL, or on free-threaded builds under the heap's critical section. A call
 * that may wait or run long gives up the GIL.
 * Go: no counterpart.
 */
#ifndef GOMEM_PYTHON_PY_CORE_H
#define GOMEM_PYTHON_PY_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "gomem.h"

#if PY_VERSION_HEX >= 0x030d0000
#define HEAP_LOCK(h)   Py_BEGIN_CRITICAL_SECTION(h)
#define HEAP_UNLOCK(h) Py_END_CRITICAL_SECTION()
#else
#define HEAP_LOCK(h)   {
#define HEAP_UNLOCK(h) }
#endif

#define HIDDEN __attribute__((visibility("hidden")))

struct state {
    PyTypeObject *heap_type, *ref_type, *roots_type, *type_type, *size_classes_type, *trace_type,
        *replay_type, *weak_type, *slice_type, *string_type, *builder_type, *buffer_type,
        *map_type, *map_iter_type, *pool_type, *chan_type, *send_chan_type, *recv_chan_type;
    PyObject *error;           /* gomem.Error */
    PyObject *invalid_pointer; /* gomem.InvalidPointerError */
    PyObject *heap_closed;     /* gomem.HeapClosedError */
    PyObject *corrupt_heap;    /* gomem.CorruptHeapError */
    PyObject *busy;            /* gomem.BusyError */
    PyObject *trace_error;     /* gomem.TraceError */
    PyObject *fatal_error;     /* gomem.FatalError */
    PyObject *panic;           /* gomem.PanicError, and its kinds: */
    PyObject *bounds, *unhashable;
    PyObject *basic_types;     /* dict: name -> Type */
    PyObject *bystanders;      /* set of ids of threads that were here first and have not used a channel */
    struct caller *callers;    /* that can be used again, by any thread */
    struct sleeper *sleepers;  /* threads that sleep in an operation, and programs that do */
    uint64_t seed;             /* of what selects choose */
    bool has_greenlet;         /* it was imported */
#ifdef Py_GIL_DISABLED
    PyMutex mutex;             /* of callers, sleepers, seed */
#endif
};

struct py_ref;
struct py_roots;
struct py_replay;
struct bell;

struct py_heap {
    PyObject_HEAD
    struct state *state;
    struct gomem_runtime *rt; /* NULL before __init__; stays when closed */
    bool closing;             /* no use of its memory from now on */
    Py_ssize_t exports;       /* buffers handed out over its memory */
    int batches;              /* frees of many objects under way without the GIL */
    bool batch_exclusive;     /* one of them is of addresses that anybody may know */
    struct py_ref **refs;     /* hash table by address, chained through next; borrowed */
    size_t nrefs, refs_capacity;
    struct py_roots *roots;   /* list of all root tables; borrowed */
    struct root_chunk *root_chunks; /* slots that hold the addresses of Refs, for the collector */
    uint64_t *free_roots;     /* unused ones, each with the address of the next */
    struct py_replay *replays; /* list of all replays; borrowed */
    PyObject *records;        /* dict: what finalizers and cleanups are to call; NULL when closed */
    uint64_t last_record;     /* key of the last one */
    struct bell *bell;        /* rung when something is to be called; NULL: nobody listens */
    PyObject *types;          /* dict: address -> type allocated here, which must outlive the heap */
    bool guarded;             /* there are Go values: see py_values.h */
    bool dangles;             /* an object with pointers was freed */
    PyObject *last_type;      /* borrowed from types: the one used last */
    PyObject *weakrefs, *dict;
};

struct py_ref {
    PyObject_HEAD
    struct py_heap *heap;
    struct py_ref *owner; /* of a part of an object: the object; else NULL */
    struct py_ref *next;  /* in the heap's table */
    struct py_type *type; /* NULL: bytes */
    uint64_t address;     /* 0: freed. Of a part: offset into the owner */
    uint64_t size;        /* bytes asked for */
    uint64_t *root;       /* slot with the address; NULL: none is needed */
    bool scan;            /* the object has, or may have, pointers */
    bool found;           /* by its address or a pointer that says nothing of what it is */
    Py_ssize_t exports;
    PyObject *weakrefs;
};

struct sorted_address {
    uint64_t address;
    Py_ssize_t index;
};

struct py_roots {
    PyObject_HEAD
    struct py_heap *heap;
    struct py_roots *next, *prev;
    Py_ssize_t n;
    uint64_t *addresses; /* 0: freed */
    uint64_t *sizes;     /* as asked for */
    Py_ssize_t stride;   /* 0: one size for all */
    struct sorted_address *sorted; /* made when first needed */
    Py_ssize_t live;
    bool freeing; /* its objects are being freed: none is given out any more */
    bool scan;    /* its objects can have pointers */
    struct gomem_root_table table; /* of addresses, registered while heap is set */
    PyObject *weakrefs;
};

struct py_type {
    PyObject_HEAD
    struct state *state;
    struct gomem_type *t;
    PyObject *name;
    PyObject *elem;   /* of a pointer: Type, or its name until it is known, or None (unsafe.Pointer);
                       * of an array, a slice, a map: Type */
    PyObject *key;    /* of a map: Type */
    PyObject *slice;  /* the type of slices of it, once there is one */
    bool guarded;     /* it has strings, slices, maps or interfaces, or pointers to what has some: see
                       * py_values.h */
    PyObject *fields; /* of a struct: dict name -> (offset, Type) */
    Py_ssize_t length; /* of an array */
    PyObject *weakrefs;
};

struct py_size_classes {
    PyObject_HEAD
    struct gomem_size_classes *t;
};

struct py_trace {
    PyObject_HEAD
    struct gomem_trace *trace;
    PyObject *dict;
};

struct py_replay {
    PyObject_HEAD
    struct py_heap *heap;
    struct py_replay *next, *prev;
    struct gomem_replay *replay;
    PyObject *trace;                      /* whose events these are, or NULL: */
    struct gomem_trace_event *copy;       /* our own */
    const struct gomem_trace_event *events;
    size_t n;
    uint64_t *forgotten; /* addresses that were freed or got a Ref since the last slice */
    size_t nforgotten, forgotten_capacity;
    bool lost; /* there was no memory to note one */
    PyObject *dict;
};

/* py_module.c */
struct state *state_of_type(PyTypeObject *type);

/* Calls a function of a Python module of the package with one argument, or those in a tuple. */
PyObject *call_python(const char *module, const char *function, PyObject *arg);

/* py_errors.c: sets the exception for a status, and returns NULL. */
PyObject *raise_error(struct state *st, const struct gomem_error *err);
/* Sets the exception that is raised aside, NULL if none is; and raises it again, taking the reference. */
PyObject *take_exception(void);
void give_exception(PyObject *e);
PyObject *raise_closed(struct state *st);
PyObject *raise_busy(struct state *st);
PyObject *raise_pointer(struct state *st, const char *format, ...);
int errors_init(PyObject *module, struct state *st);
/* A __reduce__ that refuses, for what cannot be pickled or copied. */
PyObject *no_reduce(PyObject *self, PyObject *unused);

/* py_heap.c */
extern HIDDEN PyType_Spec heap_spec;
/* A P for a short call in which no Python code runs and no exception is made: gives up the GIL if it
 * must wait. NULL with an exception if closed. */
struct gomem_proc *heap_proc(struct py_heap *h);
bool heap_usable(struct py_heap *h); /* false with an exception */
/* Converts a size argument; false with an exception. */
bool parse_size(PyObject *arg, uint64_t *size);
/* Converts an address; false with InvalidPointerError if it is none, TypeError if it is no integer. */
bool parse_address(struct py_heap *h, PyObject *arg, uint64_t *address);
PyObject *raise_no_memory(struct py_heap *h, uint64_t size);
/* What is at an address, and stays there for as long as the GIL is kept; false with an exception. */
bool heap_look(struct py_heap *h, uint64_t address, struct gomem_lookup *l, uint64_t *root);
/* Frees what a Ref names: None, or NULL with an exception that says what is wrong with it. */
PyObject *heap_free_ref(struct py_heap *h, struct py_ref *ref);
/* Heap.free(ref or address). */
PyObject *heap_free(PyObject *self, PyObject *arg);
/* Waits, without the GIL, until no batch of frees is under way: then what is at an address stays there
 * for as long as the GIL is kept. false with an exception if the heap is closed. */
bool heap_settled(struct py_heap *h);
/* Waits only for a batch of addresses that anybody may know, until it has struck them from the tables. */
void heap_wait_exclusive(struct py_heap *h);
/* As heap_settled, and a P. */
struct gomem_proc *heap_settled_proc(struct py_heap *h);
/* Begins and ends a batch of frees; exclusive: with no other at the same time. In between no Python
 * code may run in this thread, nor an exception be made: it could wait for the batch to end. */
bool heap_begin_batch(struct py_heap *h, bool exclusive);
void heap_end_batch(struct py_heap *h);

/* py_refs.c: the table from address to Ref. */
struct py_ref *refs_find(struct py_heap *h, uint64_t address); /* borrowed, NULL if there is none */
int refs_insert(struct py_heap *h, struct py_ref *ref);
void refs_remove(struct py_heap *h, struct py_ref *ref);

/* Registering roots takes a lock that a fork may hold while it waits for the GIL. */
static inline void add_roots(struct py_heap *h, struct gomem_root_table *t)
{
    Py_BEGIN_ALLOW_THREADS
    gomem_add_roots(h->rt, t);
    Py_END_ALLOW_THREADS
}
static inline void remove_roots(struct py_heap *h, struct gomem_root_table *t)
{
    Py_BEGIN_ALLOW_THREADS
    gomem_remove_roots(h->rt, t);
    Py_END_ALLOW_THREADS
}

/* Sleeps for a moment without the GIL. */
void nap(void);
/* A limit in bytes; None is none. false with an exception. */
bool parse_limit(PyObject *arg, uint64_t *out);

/* py_inspect.c: methods of Heap. */
PyObject *limit_object(uint64_t limit);
PyObject *heap_memstats(PyObject *self, PyObject *arg);
PyObject *heap_spans(PyObject *self, PyObject *arg);
PyObject *heap_span_at(PyObject *self, PyObject *arg);
PyObject *heap_arenas(PyObject *self, PyObject *arg);
PyObject *heap_lookup_tuple(PyObject *self, PyObject *arg);
PyObject *heap_ref_at(PyObject *self, PyObject *arg);
PyObject *heap_free_runs(PyObject *self, PyObject *arg);
PyObject *heap_page_states(PyObject *self, PyObject *arg);
PyObject *heap_resident(PyObject *self, PyObject *arg);
PyObject *heap_verify_all(PyObject *self, PyObject *arg);
PyObject *heap_held(PyObject *self, PyObject *arg);
PyObject *heap_gc(PyObject *self, PyObject *arg);
PyObject *heap_gc_cycles(PyObject *self, PyObject *arg);
PyObject *heap_gc_stats(PyObject *self, PyObject *arg);
PyObject *heap_free_os_memory(PyObject *self, PyObject *arg);
PyObject *heap_advance_clock(PyObject *self, PyObject *arg);
PyObject *heap_release_os_memory(PyObject *self, PyObject *arg);
PyObject *heap_flush(PyObject *self, PyObject *arg);
PyObject *heap_set_memory_limit(PyObject *self, PyObject *arg);
PyObject *heap_set_gogc(PyObject *self, PyObject *arg);
PyObject *heap_fail_os_calls(PyObject *self, PyObject *arg);
PyObject *heap_fork(PyObject *self, PyObject *arg);

/* py_step.c: methods of Heap. */
PyObject *heap_step_begin(PyObject *self, PyObject *arg);
PyObject *heap_step(PyObject *self, PyObject *arg);
PyObject *heap_step_phase(PyObject *self, PyObject *arg);
PyObject *heap_step_shades(PyObject *self, PyObject *arg);
PyObject *heap_graph(PyObject *self, PyObject *arg);
/* py_values.c */
/* Keeps the type alive as long as the heap; -1 with an exception. */
int heap_keep_type(struct py_heap *h, PyObject *type);
/* From now on there may be Go values in the heap; false with an exception. */
bool heap_guard(struct py_heap *h);
PyObject *raise_guarded(struct py_heap *h); /* what cannot be freed for that */
PyObject *heap_make_chan(PyObject *self, PyObject *args);

/* py_refs.c: slots that are roots. An object that exists is safe from the collector only while a root
 * leads to it: its address is put into the slot (gomem_init_root) before the P is given up that allocated or
 * found it. */
uint64_t *root_take(struct py_heap *h); /* NULL with an exception */
void root_give(struct py_heap *h, uint64_t *root);
void roots_end(struct py_heap *h);

/* py_ref.c */
extern HIDDEN PyType_Spec ref_spec;
/* The Ref of an object: the one there is, or a new one. type may be NULL. root has the address and becomes
 * the Ref's, or is given back; NULL if size is 0. */
PyObject *ref_for(struct py_heap *h, uint64_t address, uint64_t size, struct py_type *type,
                  uint64_t *root);
/* A part of what owner names, at offset. */
PyObject *ref_part(struct py_ref *owner, struct py_type *type, uint64_t offset);
/* The same for an object that was found by its address, or by a pointer. */
PyObject *ref_found(struct py_heap *h, uint64_t address, uint64_t size, struct py_type *type,
                    uint64_t *root);
PyObject *ref_new(struct py_heap *h, uint64_t address, uint64_t size, struct py_type *type,
                  uint64_t *root);
/* Does what it names, or is a part of, exist? */
static inline bool ref_is_there(const struct py_ref *ref)
{
    return (ref->owner != NULL ? ref->owner : ref)->address != 0;
}
/* Address of what the Ref names; 0 if it was freed. */
static inline uint64_t ref_raw_address(const struct py_ref *ref)
{
    if (ref->owner == NULL)
        return ref->address;
    return ref->owner->address == 0 ? 0 : ref->owner->address + ref->address;
}
/* Address of what the Ref names; 0 with an exception if it was freed or the heap closed. */
uint64_t ref_address(struct py_ref *ref);

/* py_finalizer.c: methods of Heap, and a function of the module. */
PyObject *heap_set_finalizer(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *heap_clear_finalizer(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *heap_add_cleanup(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *heap_stop_cleanup(PyObject *self, PyObject *args);
PyObject *heap_run_finalizers(PyObject *self, PyObject *may_end);
PyObject *heap_bell(PyObject *self, PyObject *unused);
PyObject *wait_bell(PyObject *module, PyObject *capsule);
/* Tells who waits for the bell that there is nothing to wait for; and gives it up. */
void heap_bell_end(struct py_heap *h);
void heap_bell_free(struct py_heap *h);

/* py_weak.c */
extern HIDDEN PyType_Spec weak_spec;

/* py_fields.c: values in memory. */
/* A value of one word or two as it will be in memory. */
struct value {
    unsigned char bytes[16];
    size_t size;
};
/* Converts a number, a bool or a pointer; -1 with an exception. It may run Python code. */
int value_convert(struct value *out, struct py_heap *h, struct py_type *type, PyObject *value,
                  const char *what);
int wrong_type(const char *what, struct py_type *type, PyObject *value); /* raises TypeError */
/* A number or a bool at an address in memory. */
PyObject *number_load(struct py_type *type, const void *at);
/* The Ref of what a pointer leads to, whose address is in root, which becomes the Ref's or is given back. */
PyObject *pointer_load(struct py_heap *h, struct py_type *type, uint64_t address, uint64_t *root);
/* The same of a pointer to t; NULL: unsafe.Pointer. */
PyObject *pointer_to_load(struct py_heap *h, struct py_type *t, uint64_t address, uint64_t *root);
PyObject *value_load(struct py_ref *ref, struct py_type *type, uint64_t offset);
int value_store(struct py_ref *ref, struct py_type *type, uint64_t offset, PyObject *value,
                const char *what);

/* py_integers.c */
/* Integers from outside, as uint64_t: ours to free. */
struct integers {
    uint64_t *values;
    Py_ssize_t n;
};
/* What the integers are. Addresses that are negative are no addresses, sizes are no sizes. */
enum meaning { SIZES, ADDRESSES };
uint64_t *new_integers(Py_ssize_t n); /* NULL with an exception */
/* false with an exception. */
bool integers_from(struct py_heap *h, PyObject *arg, struct integers *out, enum meaning meaning);
/* One size, `count` times. */
bool integers_repeated(PyObject *size, PyObject *count, struct integers *out);

/* py_roots.c */
extern HIDDEN PyType_Spec roots_spec;
PyObject *roots_alloc_many(struct py_heap *h, PyObject *sizes, PyObject *count, bool noscan);
PyObject *roots_free_many(struct py_heap *h, PyObject *what);
PyObject *roots_held(struct py_heap *h);
/* Has a table this object, which can have no pointers? */
bool roots_have_noscan(struct py_heap *h, uint64_t address);
/* Strikes an address that is being freed from all tables. */
void roots_forget(struct py_heap *h, uint64_t address);

/* py_trace.c */
extern HIDDEN PyType_Spec trace_spec;

/* py_replay.c */
extern HIDDEN PyType_Spec replay_spec;
/* Whoever frees an object by its address, or makes a Ref of one he has found, says so between slices of
 * replays: it may be a replay's, and is not from now on. */
void replays_forget(struct py_heap *h, uint64_t address);

/* py_type.c */
extern HIDDEN PyType_Spec type_spec;
int types_init(PyObject *module, struct state *st);
/* One of the types that need no definition; borrowed. */
struct py_type *type_basic(struct state *st, const char *name);
/* The type []elem: a new reference, NULL with an exception. */
struct py_type *type_slice_of(struct py_type *elem);
/* Resolves the name of a pointer's element; borrowed, Py_None for unsafe.Pointer. */
PyObject *type_elem(struct py_type *t);
/* Are they identical in Go's sense: the same, or pointers or arrays of identical types? */
bool type_identical(const struct py_type *a, const struct py_type *b);

/* py_size_classes.c */
extern HIDDEN PyType_Spec size_classes_spec;

#endif
