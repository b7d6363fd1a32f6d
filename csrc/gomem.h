/* gomem: Go's memory system as a C library. This is its one public header.
 *
 * A runtime is a heap and the Ps (processors) that work on it; there may be many, and they share
 * nothing. A thread acquires a P, works with it, and releases it; a long computation calls
 * gomem_safepoint now and then, so that the world can be stopped. Functions that take a runtime may
 * be called by any thread, without a P. An object is a plain address.
 *
 * Concurrency: every function is thread-safe except that a P is used by one thread at a time and that
 * gomem_runtime_delete must be the last call.
 * Go: runtime, runtime/debug, runtime/metrics.
 */
#ifndef GOMEM_H
#define GOMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GOMEM_API      __attribute__((visibility("default")))
#define GOMEM_MUST_USE __attribute__((warn_unused_result))

/* --- Errors --- */

enum gomem_status {
    GOMEM_OK = 0,
    GOMEM_OUT_OF_MEMORY,   /* the OS, max_memory or an injected fault refused */
    GOMEM_INVALID_VALUE,   /* an argument out of its range */
    GOMEM_INVALID_POINTER, /* not the address of a live object of this heap */
    GOMEM_CLOSED,          /* the runtime was closed */
    GOMEM_CORRUPT,         /* a verifier found a broken invariant */
    GOMEM_BAD_FORMAT,      /* a file is not what it should be */
    GOMEM_BUSY,            /* not while a cycle of the collector is stepped */
    GOMEM_FATAL,           /* where Go stops the program with a fatal error; the message is Go's */
    GOMEM_PANIC,           /* a Go program would panic: the message is its text, */
    GOMEM_PANIC_BOUNDS,    /* an index or slice bound is out of range, */
    GOMEM_PANIC_HASH,      /* a map key cannot be hashed */
};

struct gomem_error {
    enum gomem_status status;
    char message[1024];
};

/* --- Size classes --- */

enum { GOMEM_MAX_SIZE_CLASSES = 128 };

/* The rules a table is computed from. */
struct gomem_size_class_rules {
    uint32_t page_size;      /* power of two, 4 KiB to 256 KiB (Go: 8192) */
    uint32_t max_small_size; /* the largest class, at most 256 KiB (Go: 32768) */
    uint32_t min_align;      /* 8 or 16: alignment of the smallest sizes (Go: 8) */
    uint32_t align16_from;   /* sizes from here on are multiples of 16 (Go: 32) */
    uint32_t align_max;      /* alignment is size/8 from 128 B on, up to this (Go: 256) */
    double max_waste;        /* largest share of a span lost at its tail (Go: 0.125) */
    bool stretch;            /* enlarge a class while as many objects fit (Go: true) */
    uint32_t batch_bytes;    /* TCMalloc: spans hold at least a quarter of a transfer batch, which is */
    uint32_t batch_max;      /* batch_bytes worth of objects, at most batch_max; 0 = no such rule */
};

/* One class as Go's table shows it; class 0 stands for large objects and is all zeros. */
struct gomem_size_class {
    uint32_t size, span_bytes, objects, tail_waste, min_align;
    double max_waste; /* share of a span lost in the worst case, rounding up included */
};

struct gomem_size_classes; /* a table; immutable */

GOMEM_API struct gomem_size_class_rules gomem_size_class_rules_go(void);
/* gperftools' TCMalloc with 8 KiB pages: 88 classes up to 256 KiB. */
GOMEM_API struct gomem_size_class_rules gomem_size_class_rules_tcmalloc(void);
/* NULL with err filled if the rules give no table. Free with gomem_size_classes_delete. */
GOMEM_API struct gomem_size_classes *
gomem_size_classes_make(const struct gomem_size_class_rules *rules, struct gomem_error *err);
/* From sizes and pages per span, class 1 first. */
GOMEM_API struct gomem_size_classes *gomem_size_classes_from(uint32_t page_size,
                                                             const uint32_t *sizes,
                                                             const uint32_t *npages, size_t n,
                                                             struct gomem_error *err);
GOMEM_API void gomem_size_classes_delete(struct gomem_size_classes *t);
GOMEM_API uint32_t gomem_size_classes_count(const struct gomem_size_classes *t);
GOMEM_API uint32_t gomem_size_classes_page_size(const struct gomem_size_classes *t);
GOMEM_API struct gomem_size_class gomem_size_classes_get(const struct gomem_size_classes *t,
                                                         uint32_t size_class);
/* Class of a request of size bytes (0: large), and what mallocgc would reserve for it. */
GOMEM_API uint32_t gomem_size_classes_lookup(const struct gomem_size_classes *t, size_t size,
                                             bool noscan);
GOMEM_API size_t gomem_size_classes_round_up(const struct gomem_size_classes *t, size_t size,
                                             bool noscan);
/* The raw tables Go has: size to class in steps of 8 (129 entries) and of 128, magic divisors. */
GOMEM_API const uint8_t *gomem_size_classes_to_class8(const struct gomem_size_classes *t, size_t *n);
GOMEM_API const uint8_t *gomem_size_classes_to_class128(const struct gomem_size_classes *t,
                                                        size_t *n);
GOMEM_API uint32_t gomem_size_classes_div_magic(const struct gomem_size_classes *t,
                                                uint32_t size_class);

/* --- Types --- */

enum gomem_kind {
    GOMEM_BOOL,
    GOMEM_INT8,
    GOMEM_INT16,
    GOMEM_INT32,
    GOMEM_INT64,
    GOMEM_UINT8,
    GOMEM_UINT16,
    GOMEM_UINT32,
    GOMEM_UINT64,
    GOMEM_UINTPTR,
    GOMEM_FLOAT32,
    GOMEM_FLOAT64,
    GOMEM_COMPLEX64,
    GOMEM_COMPLEX128,
    GOMEM_POINTER,
    GOMEM_ARRAY,
    GOMEM_STRUCT,
    GOMEM_STRING,
    GOMEM_SLICE,
    GOMEM_MAP,
    GOMEM_INTERFACE, /* without methods: any */
};

/* Immutable, reference counted; must outlive every runtime it was allocated in. Constructors return
 * a new reference, or NULL with err filled. */
struct gomem_type;
GOMEM_API struct gomem_type *gomem_type_basic(enum gomem_kind kind, struct gomem_error *err);
GOMEM_API struct gomem_type *gomem_type_pointer(const char *name, struct gomem_error *err);
GOMEM_API struct gomem_type *gomem_type_array(const struct gomem_type *elem, size_t length,
                                              struct gomem_error *err);
GOMEM_API struct gomem_type *gomem_type_struct(const char *name, const char *const *field_names,
                                               const struct gomem_type *const *field_types,
                                               size_t nfields, struct gomem_error *err);
GOMEM_API struct gomem_type *gomem_type_string(struct gomem_error *err);
GOMEM_API struct gomem_type *gomem_type_any(struct gomem_error *err);
GOMEM_API struct gomem_type *gomem_type_slice(const struct gomem_type *elem,
                                              struct gomem_error *err);
/* GOMEM_INVALID_VALUE if keys cannot be compared. */
GOMEM_API struct gomem_type *gomem_type_map(const struct gomem_type *key,
                                            const struct gomem_type *elem, struct gomem_error *err);
GOMEM_API void gomem_type_retain(const struct gomem_type *t);
GOMEM_API void gomem_type_release(const struct gomem_type *t);
GOMEM_API const char *gomem_type_name(const struct gomem_type *t);
GOMEM_API enum gomem_kind gomem_type_kind(const struct gomem_type *t);
GOMEM_API size_t gomem_type_size(const struct gomem_type *t);
GOMEM_API size_t gomem_type_align(const struct gomem_type *t);
/* Bytes of the prefix that can hold pointers: 0 says the type is noscan. */
GOMEM_API size_t gomem_type_pointer_bytes(const struct gomem_type *t);
GOMEM_API bool gomem_type_is_pointer_word(const struct gomem_type *t, size_t word);
GOMEM_API size_t gomem_type_nfields(const struct gomem_type *t);
GOMEM_API size_t gomem_type_field_offset(const struct gomem_type *t, size_t field);

/* --- Runtimes and Ps --- */

struct gomem_runtime;
struct gomem_proc; /* a P */

enum gomem_huge_pages {
    GOMEM_HUGE_PAGES_DEFAULT, /* as the system is configured: what Go does */
    GOMEM_HUGE_PAGES_ALWAYS,  /* MADV_HUGEPAGE on heap memory */
    GOMEM_HUGE_PAGES_NEVER,   /* MADV_NOHUGEPAGE (GODEBUG=disablethp=1) */
};

/* What a pointer write tells the collector while that marks. */
enum gomem_barrier {
    GOMEM_BARRIER_HYBRID,   /* the pointer it overwrites and the one it writes: Go's since 1.8 */
    GOMEM_BARRIER_DIJKSTRA, /* the one it writes. Frames are scanned again, in a stopped world, at the end:
                             * Go's before 1.8 */
};

/* How the collector marks objects with pointers of 16 to 512 bytes; others are always marked one by one. */
enum gomem_marker {
    GOMEM_MARKER_SPAN,   /* all of a span together (Go: GOEXPERIMENT=greenteagc, the default since 1.26) */
    GOMEM_MARKER_OBJECT, /* one by one, as Go did before */
};

struct gomem_options {
    uint32_t procs;        /* 1 to 1024 */
    int32_t gogc;          /* per cent; negative: off */
    uint64_t memory_limit; /* bytes, soft (GOMEMLIMIT); UINT64_MAX: none */
    uint64_t max_memory;   /* bytes mapped and not released, hard; UINT64_MAX: none */
    const struct gomem_size_classes *size_classes; /* NULL: Go's */
    bool madvdontneed;     /* release with MADV_DONTNEED (Go's default) or MADV_FREE */
    enum gomem_huge_pages huge_pages;
    enum gomem_barrier barrier;
    enum gomem_marker marker;
    uint32_t gc_workers;   /* threads that mark in the background, at most 16; 0: as many as Go would have */
    int32_t gctrace;       /* above 0: a line on standard error for each cycle (GODEBUG=gctrace=1) */
};

GOMEM_API struct gomem_options gomem_options_default(void);
/* Changes gogc, memory_limit and gctrace to what the variables GOGC, GOMEMLIMIT and GODEBUG=gctrace=n say,
 * where they say something. A GOGC that is no number is ignored, as in Go. A malformed GOMEMLIMIT is
 * GOMEM_FATAL: the limit is unchanged then, the others are set. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_options_from_env(struct gomem_options *options,
                                                                  struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_runtime_new(const struct gomem_options *options,
                                                             struct gomem_runtime **out,
                                                             struct gomem_error *err);
/* Waits until no P is in use and gives all memory back to the OS; calls made later answer
 * GOMEM_CLOSED. Closing twice is harmless. */
GOMEM_API void gomem_runtime_close(struct gomem_runtime *rt);
/* Closes, and frees what is left: the last call. */
GOMEM_API void gomem_runtime_delete(struct gomem_runtime *rt);
GOMEM_API bool gomem_runtime_is_closed(const struct gomem_runtime *rt);
GOMEM_API uint32_t gomem_runtime_procs(const struct gomem_runtime *rt);
/* The marker it has: by span only with pages of 8 KiB. */
GOMEM_API enum gomem_marker gomem_runtime_marker(const struct gomem_runtime *rt);

/* Around fork(): prepare stops the world, parent and child (whichever applies) start it again. */
GOMEM_API void gomem_runtime_fork_prepare(struct gomem_runtime *rt);
GOMEM_API void gomem_runtime_fork_parent(struct gomem_runtime *rt);
GOMEM_API void gomem_runtime_fork_child(struct gomem_runtime *rt);

/* A P, preferably the one this thread had last; waits while all are in use. NULL: closed. */
GOMEM_API struct gomem_proc *gomem_proc_acquire(struct gomem_runtime *rt);
/* The same without waiting: NULL if none is idle, too. */
GOMEM_API struct gomem_proc *gomem_proc_try_acquire(struct gomem_runtime *rt);
/* The P with the given index; waits for it. NULL: closed, or no such P. */
GOMEM_API struct gomem_proc *gomem_proc_acquire_id(struct gomem_runtime *rt, uint32_t id);
GOMEM_API void gomem_proc_release(struct gomem_proc *p);
GOMEM_API uint32_t gomem_proc_id(const struct gomem_proc *p);
/* Lets a waiting stop of the world happen: a thread that holds a P for long calls it often. false: the
 * runtime was closed meanwhile, and the P is gone. */
GOMEM_API GOMEM_MUST_USE bool gomem_safepoint(struct gomem_proc *p);

/* --- Objects --- */

/* A zeroed object without pointers; NULL: out of memory. (Before it says so it empties the caches of
 * all Ps, for which p is given up for a moment. If the runtime is closed then, p is gone: it may still
 * be released, but not be used.) */
GOMEM_API void *gomem_alloc(struct gomem_proc *p, size_t size);
/* A zeroed object of count elements of type t; NULL: out of memory. */
GOMEM_API void *gomem_alloc_typed(struct gomem_proc *p, const struct gomem_type *t, size_t count);
/* GOMEM_INVALID_POINTER, with nothing changed, if object is not one that is allocated. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_free(struct gomem_proc *p, void *object);

/* An object of pointers: size is rounded up to whole words. */
GOMEM_API void *gomem_alloc_scan(struct gomem_proc *p, size_t size);

/* Allocates n objects; sizes[i * stride] bytes each (stride 0: all alike), of pointers unless noscan.
 * Stops at the first that cannot be had: the result is how many objects there are. With safepoints. */
GOMEM_API size_t gomem_alloc_many(struct gomem_proc *p, const uint64_t *sizes, size_t stride,
                                  size_t n, bool noscan, uint64_t *addresses);
/* Frees n objects; addresses of 0 are skipped. Stops at the first that is none: the result is how
 * many were done. With safepoints. */
GOMEM_API size_t gomem_free_many(struct gomem_proc *p, const uint64_t *addresses, size_t n);

enum gomem_place {
    GOMEM_PLACE_OUTSIDE,   /* not in any arena of this heap */
    GOMEM_PLACE_FREE_PAGE, /* in an arena, in no span */
    GOMEM_PLACE_OBJECT,    /* inside an allocated object */
    GOMEM_PLACE_FREE_SLOT, /* inside a slot of a span that holds no object */
    GOMEM_PLACE_SPAN_TAIL, /* in a span, behind its last slot */
    GOMEM_PLACE_STACK,     /* in goroutine stack memory */
    GOMEM_PLACE_ZEROBASE,  /* the address of every object of size 0 */
};

struct gomem_lookup {
    enum gomem_place place;
    uint64_t arena; /* base of the 64 MB arena */
    uint64_t span, span_pages;
    uint32_t size_class; /* 0: large */
    bool noscan, tiny;
    uint32_t index; /* of the slot in its span */
    uint64_t object, size; /* first byte its user may use, and how many (of a slot, of a tiny part) */
};

GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_lookup(struct gomem_runtime *rt, uint64_t address,
                                                        struct gomem_lookup *out);
/* The same with a P. */
GOMEM_API void gomem_proc_lookup(struct gomem_proc *p, uint64_t address, struct gomem_lookup *out);
/* Does the object at this address have its pointers where t has them? If not, *offset is the first
 * place where they differ. false with *offset 0 if there is no such object, or it is too small. */
GOMEM_API bool gomem_proc_type_fits(struct gomem_proc *p, const struct gomem_type *t,
                                    uint64_t object, size_t *offset);

/* --- The collector ---
 *
 * Objects that no root leads to are freed by a cycle of the collector, which runs on threads of its own
 * when the heap has grown by gogc per cent. Roots are tables and frames. A P's holder is not stopped but
 * where it acquires a P or at a safepoint: what it has in variables of its own, and not in a root, is safe
 * until then and no longer. An allocation for which memory is short is a safepoint, too. */

/* An array of pointers, registered as roots. Slots are written by gomem_write_pointer. */
struct gomem_root_table {
    uint64_t *slots;
    size_t n;
    struct gomem_root_table *next, *prev; /* these are the library's */
    uint32_t unscanned, late;
};

/* A frame of a C function with n pointers that are roots; changed only by who holds a P. */
struct gomem_frame {
    struct gomem_frame *previous;
    uint32_t n;
    void *slots[];
};

/* A thread's frames. */
struct gomem_shadow_stack {
    struct gomem_frame *top;
    struct gomem_shadow_stack *next, *prev; /* the library's */
};

/* Who wants to know that a cycle begins: f is called with the world stopped, before anything is marked. It
 * must not allocate, wait, or call the library. */
struct gomem_gc_hook {
    void (*f)(void *arg);
    void *arg;
    struct gomem_gc_hook *next, *prev; /* these are the library's */
};

GOMEM_API void gomem_add_gc_hook(struct gomem_runtime *rt, struct gomem_gc_hook *hook);
GOMEM_API void gomem_remove_gc_hook(struct gomem_runtime *rt, struct gomem_gc_hook *hook);

GOMEM_API void gomem_add_roots(struct gomem_runtime *rt, struct gomem_root_table *t);
GOMEM_API void gomem_remove_roots(struct gomem_runtime *rt, struct gomem_root_table *t);
GOMEM_API void gomem_add_shadow_stack(struct gomem_runtime *rt, struct gomem_shadow_stack *s);
GOMEM_API void gomem_remove_shadow_stack(struct gomem_runtime *rt, struct gomem_shadow_stack *s);

/* *slot = value, for a pointer in an object or in a root table, with Go's write barrier. */
GOMEM_API void gomem_write_pointer_slow(struct gomem_proc *p, void **slot, void *value);
static inline void gomem_write_pointer(struct gomem_proc *p, void **slot, void *value)
{
    if (__builtin_expect(__atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED) != 0, 0))
        gomem_write_pointer_slow(p, slot, value);
    else
        __atomic_store_n(slot, value, __ATOMIC_RELEASE);
}

/* *slot = object for a slot of a registered table that held no pointer, and an object that the caller has
 * allocated with the P it still holds; NULL: for any slot whose pointer is not needed any more. */
static inline void gomem_init_root(uint64_t *slot, const void *object)
{
    __atomic_store_n(slot, (uint64_t)(uintptr_t)object, __ATOMIC_RELEASE);
}

/* A whole cycle, sweep included (runtime.GC). GOMEM_CLOSED; GOMEM_OUT_OF_MEMORY if there can be no thread;
 * GOMEM_BUSY while a cycle is stepped. The caller holds no P. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_gc(struct gomem_runtime *rt);

/* What a cycle was; times in ns, of the monotonic clock. */
struct gomem_gc_cycle {
    uint64_t number;
    int64_t start_ns;      /* since the runtime was made */
    int64_t pause_ns[2];   /* stops of the world: to begin and to end marking */
    int64_t stop_ns[2];    /* of those: until everybody had stopped */
    int64_t pause_begin[2];
    int64_t mark_ns;       /* between the two */
    /* CPU time of marking: by those who allocate, by workers that do nothing else, by those that take a
     * share of a P, and beyond that share. */
    int64_t assist_ns, dedicated_ns, fractional_ns, idle_ns;
    int64_t end_unix_ns;   /* when the second stop ended, of the wall clock */
    uint64_t heap_start, heap_end, heap_marked, goal; /* bytes; marked: alive after it */
    uint64_t trigger;      /* bytes: the heap size at which it was to begin */
    uint64_t heap_scan, stack_scan, globals_scan; /* bytes scanned: of objects, frames, tables */
    uint64_t scan_work;    /* their sum */
    double assist_ratio;   /* bytes to scan for each byte allocated, when marking began */
    double cpu_fraction;   /* of all CPU time of the Ps since the runtime was made, in the collector */
    uint32_t forced, restarts;
    uint32_t periodic;     /* 1: it began because the last was two minutes ago */
    uint32_t procs;
    uint64_t barrier_writes, barrier_shaded; /* pointers written through the barrier; objects greyed by it */
    uint64_t rescan_slots; /* of frames, scanned again at the end: GOMEM_BARRIER_DIJKSTRA */
    int64_t rescan_ns;     /* doing so, and marking what that led to; part of pause_ns[1] */
};

/* The last cycles, oldest first: how many there are; fills at most `capacity`. */
GOMEM_API size_t gomem_gc_cycles(struct gomem_runtime *rt, struct gomem_gc_cycle *out,
                                 size_t capacity);

/* --- One cycle, step by step ---
 *
 * The caller drives a cycle in place of the collector's thread. Between two steps the world runs: anybody
 * may allocate, write pointers, drop roots. No other cycle runs meanwhile, so that an allocation for
 * which memory is short may fail although there is garbage. By threads that hold no P; several take
 * turns. */

enum gomem_gc_phase {
    GOMEM_GC_OFF,
    GOMEM_GC_SWEEP_TERMINATION, /* what the last cycle left is swept; then the world stops to begin marking */
    GOMEM_GC_MARK,              /* the barrier is on, what is allocated is black */
    GOMEM_GC_MARK_TERMINATION,  /* nothing grey is in sight: the world will stop to end marking */
    GOMEM_GC_SWEEP,
};

enum gomem_step_kind {
    GOMEM_STEP_NONE,    /* the cycle is done */
    GOMEM_STEP_OBJECT,  /* a grey object was scanned, or a piece of a large one */
    GOMEM_STEP_ROOTS,   /* some slots of root tables were */
    GOMEM_STEP_BARRIER, /* what the barriers of Ps held was made grey */
    GOMEM_STEP_SPAN,    /* a span was swept */
    GOMEM_STEP_PHASE,   /* nothing was left to do in the phase: the next has begun */
};

struct gomem_gc_step {
    enum gomem_step_kind kind;
    enum gomem_gc_phase phase; /* after it */
    uint64_t address;          /* OBJECT: what was scanned */
    uint64_t bytes;            /* OBJECT, ROOTS: that were scanned */
};

/* What the barrier was told of a pointer write; *_shaded: the object was white until then. */
struct gomem_shade {
    uint64_t slot;       /* 0: a weak pointer was made strong */
    uint64_t old, value; /* old 0: there was no pointer, or the barrier does not look at it */
    uint8_t old_shaded, value_shaded;
};

/* GOMEM_BUSY if one is stepped already. Waits for a cycle that runs. assists: who allocates marks as
 * well, as it is otherwise. *id names the cycle. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_step_begin(struct gomem_runtime *rt, bool assists,
                                                            uint64_t *id);
/* One step; kind NONE when the cycle with this id is done. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_step(struct gomem_runtime *rt, uint64_t id,
                                                      struct gomem_gc_step *out);
/* All that is left of the phase, and into the next; *out: which that is. MARK_TERMINATION may be followed
 * by MARK once more, if the program has shaded something. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_step_phase(struct gomem_runtime *rt, uint64_t id,
                                                            enum gomem_gc_phase *out);
/* Moves out what the barrier was told since the last call, or the beginning: how many; *lost: how many
 * more there were than are remembered (4096), or than `capacity`. */
GOMEM_API size_t gomem_step_shades(struct gomem_runtime *rt, struct gomem_shade *out,
                                   size_t capacity, size_t *lost);

/* --- Finalizers, cleanups, weak pointers ---
 *
 * A finalizer is called with its object when the collector finds that nothing leads to it any more; the
 * object, and all it leads to, lives for that once more. A cleanup is called when its object is dead. Both
 * are queued by the collector and called by gomem_run_finalizers, or whoever takes them. To free an object
 * by hand makes its weak pointers nil and queues its cleanups; its finalizer is dropped, as there is
 * nothing to call it with. Objects of less than 16 bytes without pointers share a block, which the
 * collector sees as one (as Go's does): none of them is found dead before all are. */

struct gomem_callback {
    /* pointer: the object, or a cleanup's argument; a root while this runs. Holds no P. */
    void (*fn)(struct gomem_runtime *rt, void *pointer, void *data);
    /* NULL, or called once when data is not needed any more: after fn, or in its place. May not call
     * back: the runtime may be closing. */
    void (*release)(void *data);
    void *data;
};

/* GOMEM_INVALID_POINTER: object is not the first byte of an object; GOMEM_INVALID_VALUE: it has a finalizer;
 * GOMEM_OUT_OF_MEMORY. With Go's messages. For objects of size 0 nothing happens, as they never die. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_set_finalizer(struct gomem_proc *p, void *object, const struct gomem_callback *callback,
                    struct gomem_error *err);
/* Detaches it; false: there was none. What it was is in *callback: its data is the caller's to release. */
GOMEM_API bool gomem_clear_finalizer(struct gomem_proc *p, void *object,
                                     struct gomem_callback *callback);
/* Attaches a cleanup to what pointer points into. argument: NULL, or an object that is alive until the
 * cleanup was called. *id is for gomem_stop_cleanup; 0 for an object of size 0, which never dies. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_add_cleanup(struct gomem_proc *p, void *pointer, const struct gomem_callback *callback,
                  void *argument, uint64_t *id, struct gomem_error *err);
/* As gomem_clear_finalizer; false: it was called or is queued. pointer: as it was given, dead or alive. */
GOMEM_API bool gomem_stop_cleanup(struct gomem_proc *p, void *pointer, uint64_t id,
                                  struct gomem_callback *callback);

/* Calls what is queued, in order, until nothing is; how many were called. The caller holds no P. Go has one
 * goroutine for it: two threads may do so at the same time, if what they call does not mind. */
GOMEM_API size_t gomem_run_finalizers(struct gomem_runtime *rt);

enum gomem_call_kind {
    GOMEM_CALL_FINALIZER,
    GOMEM_CALL_CLEANUP,
    GOMEM_CALL_DROPPED, /* not to be called, only released: its object was freed by hand */
};

struct gomem_call {
    enum gomem_call_kind kind;
    struct gomem_callback callback;
    void *pointer;
};

/* Takes the first of the queue for the caller to call and release; its pointer goes into *root, a slot of a
 * registered table. false: the queue is empty. */
GOMEM_API bool gomem_take_call(struct gomem_proc *p, uint64_t *root, struct gomem_call *out);
/* notify is called whenever something was queued, by any thread, with locks held: it may wake a thread and
 * nothing else. NULL: nobody is told. */
GOMEM_API void gomem_on_queued(struct gomem_runtime *rt, void (*notify)(void *arg), void *arg);

struct gomem_finalizer_stats { /* ever; what was dropped is not counted */
    uint64_t finalizers_queued, finalizers_executed, cleanups_queued, cleanups_executed;
};

/* A weak pointer. All that were made from one address while its object lived are the same, also when it
 * is dead; one made after a finalizer was queued is another. It ends with its runtime. */
struct gomem_weak;

/* With a reference for the caller; NULL with err. pointer: into an object. */
GOMEM_API struct gomem_weak *gomem_weak_make(struct gomem_proc *p, void *pointer,
                                             struct gomem_error *err);
/* The pointer it was made from; NULL once the object is dead or its finalizer queued. The caller's like a
 * pointer he has loaded from the heap: safe until the next safepoint. NULL for NULL. */
GOMEM_API void *gomem_weak_value(struct gomem_proc *p, const struct gomem_weak *w);
GOMEM_API void gomem_weak_release(struct gomem_proc *p, struct gomem_weak *w);

/* What it points to is in use up to here: for pointers that a compiler may think are not needed any more. */
static inline void gomem_keep_alive(const void *pointer)
{
    __asm__ volatile("" : : "r"(pointer) : "memory");
}

/* --- Goroutine stacks --- */

struct gomem_stack {
    uint64_t lo, hi;
};

/* size: a power of two from 2048 to 1 GiB. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_stack_alloc(struct gomem_proc *p, size_t size,
                                                             struct gomem_stack *out);
GOMEM_API void gomem_stack_free(struct gomem_proc *p, struct gomem_stack s);
/* Moves a stack whose used part begins at *sp to one of twice (half) the size. Shrinking declines
 * (false) if a quarter or more is used. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_stack_grow(struct gomem_proc *p,
                                                            struct gomem_stack *s, uint64_t *sp);
GOMEM_API bool gomem_stack_shrink(struct gomem_proc *p, struct gomem_stack *s, uint64_t *sp);

/* --- Statistics and inspection: these stop the world --- */

enum { GOMEM_BY_SIZE = 61, GOMEM_PAUSES = 256 };

/* runtime.MemStats, Go's fields in Go's meaning; bytes unless said otherwise. */
struct gomem_memstats {
    uint64_t alloc, total_alloc, sys, lookups, mallocs, frees;
    uint64_t heap_alloc, heap_sys, heap_idle, heap_inuse, heap_released, heap_objects;
    uint64_t stack_inuse, stack_sys, mspan_inuse, mspan_sys, mcache_inuse, mcache_sys;
    uint64_t buck_hash_sys, gc_sys, other_sys;
    uint64_t next_gc, num_gc, num_forced_gc, pause_total_ns;
    uint64_t last_gc;                                      /* ns since 1970, 0: never */
    uint64_t pause_ns[GOMEM_PAUSES], pause_end[GOMEM_PAUSES]; /* rings; end: ns since 1970 */
    double gc_cpu_fraction;
    bool enable_gc; /* always true, as in Go: GOGC=off does not change it */
    struct {
        uint32_t size;
        uint64_t mallocs, frees;
    } by_size[GOMEM_BY_SIZE]; /* classes 0 to 60 of the heap's table; zeros beyond its end */
    /* Beyond Go's struct (runtime/metrics has them): */
    uint64_t tiny_allocs;
    uint64_t mapped_ready, peak_mapped_ready; /* bytes in use or ready for use: Sys - HeapReleased */
    uint64_t large_allocs, large_frees;
    struct {
        uint64_t size, mallocs, frees;
    } classes[GOMEM_MAX_SIZE_CLASSES]; /* by_size for all classes of the heap's table; size 0: there is none */
    uint64_t scavenged_background, scavenged_eager, scavenged_forced; /* bytes, ever */
    struct gomem_finalizer_stats finalizers;
};

/* Durations as runtime/metrics counts them: negative ones, 160 buckets of growing width, longer ones.
 * gomem_time_bucket says where a bucket begins. */
enum { GOMEM_TIME_BUCKETS = 162 };

struct gomem_time_histogram {
    uint64_t counts[GOMEM_TIME_BUCKETS];
};

/* What the collector has used, and what it knows; ns of CPU of all Ps since the runtime was made. */
struct gomem_gc_stats {
    int64_t assist_ns, dedicated_ns, idle_ns, pause_ns, gc_total_ns;
    int64_t scavenge_assist_ns, scavenge_background_ns;
    int64_t total_ns;          /* until the last cycle ended */
    uint64_t cycles, forced;   /* done */
    uint64_t heap_live;        /* bytes marked by the last cycle */
    uint64_t heap_scan, stack_scan, globals_scan; /* bytes that marking would have to scan now */
    uint64_t limiter_last_enabled; /* number of the cycle; 0: never */
    uint64_t threads;              /* of the runtime, now: they collect and give memory back */
    struct gomem_time_histogram pauses, stopping; /* stops of the world; until everybody had stopped */
    struct gomem_time_histogram marking;          /* from the first stop's end to the second's begin */
    struct gomem_time_histogram other_pauses, other_stopping; /* stops for anything else: to look, settings */
};

struct gomem_span {
    uint64_t base, npages, elem_size, nelems, live;
    uint32_t size_class;
    int32_t proc;     /* index of the P that owns it, -1 if none */
    uint8_t noscan;   /* 1: objects without pointers */
    uint8_t state;    /* 1: objects, 2: goroutine stacks */
    uint8_t needzero; /* 1: its memory was used before */
    uint8_t large;
};

struct gomem_arena {
    uint64_t base, size;
    uint64_t used_pages, free_pages, released_pages, unmapped_pages;
};

/* Free pages of the heap, by length of the run they lie in. */
struct gomem_free_runs {
    uint64_t pages, runs, largest_run;
    uint64_t by_log2[40]; /* runs of [2^i, 2^(i+1)) pages */
    uint64_t cached_pages; /* free, but in a P's page cache: in none of the above */
};

GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_read_memstats(struct gomem_runtime *rt,
                                                               struct gomem_memstats *out);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_read_gc_stats(struct gomem_runtime *rt,
                                                               struct gomem_gc_stats *out);
/* Where bucket i begins, in ns: 0 for i = 1; the first begins at minus infinity. */
GOMEM_API int64_t gomem_time_bucket(uint32_t i);
/* How many there are; fills at most `capacity`. */
GOMEM_API size_t gomem_spans(struct gomem_runtime *rt, struct gomem_span *out, size_t capacity);
/* The span that covers an address, and what its slots hold: 0 nothing, 1 an object, 2 nothing, and the
 * span's P will give them out next. Fills at most `capacity` of out->nelems slots, none of a span of stacks.
 * GOMEM_INVALID_POINTER if no span covers the address. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_span_at(struct gomem_runtime *rt, uint64_t address,
                                                         struct gomem_span *out, uint8_t *slots,
                                                         size_t capacity, struct gomem_error *err);
GOMEM_API size_t gomem_arenas(struct gomem_runtime *rt, struct gomem_arena *out, size_t capacity);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_free_runs(struct gomem_runtime *rt,
                                                           struct gomem_free_runs *out);
/* One byte a page, of [base, base + npages pages): 0 not in the heap, 1 free, 2 released, 3 in use or
 * cached. */
GOMEM_API void gomem_page_states(struct gomem_runtime *rt, uint64_t base, size_t npages,
                                 uint8_t *out);
/* Bytes of arenas in physical memory now. */
GOMEM_API uint64_t gomem_resident(struct gomem_runtime *rt);
enum gomem_colour {
    GOMEM_WHITE,   /* not marked: while marking goes on nothing has led there yet */
    GOMEM_GREY,    /* marked, or in the barrier's buffer, and to be scanned */
    GOMEM_BLACK,   /* marked and scanned, or without pointers */
    GOMEM_GARBAGE, /* not reached by the marking that has ended, and not swept yet */
};

/* An object, or a block of tiny ones. Between marking and sweeping its span it is black; swept, white. */
struct gomem_object {
    uint64_t address, size;
    uint32_t size_class; /* 0: large */
    uint8_t colour;      /* enum gomem_colour */
    uint8_t noscan;
    uint8_t shaded;      /* in the buffer of some P's barrier */
};

struct gomem_pointer {
    uint64_t source; /* the object it is in; 0: a root */
    uint64_t slot, target;
};

/* All objects by address, and the pointers between them. */
struct gomem_graph {
    size_t nobjects, npointers;
    struct gomem_object *objects;
    struct gomem_pointer *pointers;
    enum gomem_gc_phase phase;
    bool has_pointers;
};

/* As it is at one moment, in which nobody marks: pointers only if there are at most `most_objects` objects.
 * GOMEM_CLOSED, GOMEM_OUT_OF_MEMORY: nothing is in *out. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_graph_read(struct gomem_runtime *rt,
                                                            size_t most_objects,
                                                            struct gomem_graph *out);
GOMEM_API void gomem_graph_free(struct gomem_graph *graph);
/* Walks every structure: GOMEM_CORRUPT with what is wrong and where. While marking goes on it is looked
 * at as well: nobody marks meanwhile. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_verify(struct gomem_runtime *rt,
                                                        struct gomem_error *err);

/* --- Control --- */

/* Empties the caches of all Ps and gives all free memory back to the OS (debug.FreeOSMemory without a
 * collection); the bytes given back. */
GOMEM_API uint64_t gomem_release_os_memory(struct gomem_runtime *rt);
/* The same after a whole cycle (debug.FreeOSMemory); *released: the bytes given back. Errors as gomem_gc's. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_free_os_memory(struct gomem_runtime *rt,
                                                                uint64_t *released);
/* Empties the caches of all Ps. */
GOMEM_API void gomem_flush(struct gomem_runtime *rt);
/* Both return the old setting. They apply at once, to a cycle that marks now, too; who turns GOGC off waits until
 * no cycle marks any more (debug.SetMemoryLimit, debug.SetGCPercent). The caller holds no P. */
GOMEM_API uint64_t gomem_set_memory_limit(struct gomem_runtime *rt, uint64_t limit);
GOMEM_API uint64_t gomem_memory_limit(const struct gomem_runtime *rt);
GOMEM_API int32_t gomem_set_gogc(struct gomem_runtime *rt, int32_t percent);
GOMEM_API int32_t gomem_gogc(const struct gomem_runtime *rt);

/* For tests: refuses the calls to the OS numbered [first, first + count) from now on; count 0: none.
 * Returns how many calls were made since the last such call. */
GOMEM_API uint64_t gomem_fail_os_calls(struct gomem_runtime *rt, uint64_t first, uint64_t count);

/* For tests: puts the clock by which a cycle is forced every two minutes forward, by 2^60 ns at most. */
GOMEM_API void gomem_advance_clock(struct gomem_runtime *rt, int64_t ns);

/* --- Go execution traces --- */

/* "Exists" events come first: they describe what there was when tracing started. */
enum gomem_trace_kind {
    GOMEM_TRACE_SPAN_EXISTS,
    GOMEM_TRACE_SPAN_ALLOC,
    GOMEM_TRACE_SPAN_FREE,
    GOMEM_TRACE_OBJECT_EXISTS,
    GOMEM_TRACE_OBJECT_ALLOC,
    GOMEM_TRACE_OBJECT_FREE, /* by the sweeper: it died before the last cycle ended */
    GOMEM_TRACE_STACK_EXISTS,
    GOMEM_TRACE_STACK_ALLOC,
    GOMEM_TRACE_STACK_FREE,
    GOMEM_TRACE_GC_ACTIVE, /* a cycle marks already when tracing (a generation) starts */
    GOMEM_TRACE_GC_BEGIN,
    GOMEM_TRACE_GC_END,       /* of marking */
    GOMEM_TRACE_SWEEP_ACTIVE, /* as GC_ACTIVE, so are the other two */
    GOMEM_TRACE_SWEEP_BEGIN,
    GOMEM_TRACE_SWEEP_END,
    GOMEM_TRACE_ASSIST_ACTIVE,
    GOMEM_TRACE_ASSIST_BEGIN,
    GOMEM_TRACE_ASSIST_END,
    GOMEM_TRACE_WORKER_BEGIN, /* a background mark worker gets a P */
    GOMEM_TRACE_WORKER_END,
    GOMEM_TRACE_STW_BEGIN, /* somebody stops the world */
    GOMEM_TRACE_STW_END,
    GOMEM_TRACE_HEAP_ALLOC, /* Go's heapLive as it changes */
    GOMEM_TRACE_HEAP_GOAL,
    GOMEM_TRACE_PROCS, /* GOMAXPROCS, whenever it may have changed */
    GOMEM_TRACE_KINDS
};

#define GOMEM_TRACE_NO_LINK UINT32_MAX
/* Class of a span that holds no objects: goroutine stacks, the collector's work buffers. */
#define GOMEM_TRACE_NOT_OBJECTS 255u

/* What the fields mean depends on the kind; a field that means nothing is 0.
 *
 * SPAN_*    address, size: of the span; type: its span class (size class << 1 | noscan) or
 *           GOMEM_TRACE_NOT_OBJECTS. FREE's link: the event that announced the span.
 * OBJECT_*  address: as its user knows it (behind the malloc header, inside a tiny block, as far as
 *           the trace tells: to 8 bytes); size: of its slot, header included; type: index in the
 *           trace's types. Link: its span's event; of FREE: the event that announced the object, whose
 *           address, size and type it repeats.
 * Tiny      objects without pointers of less than 16 bytes share blocks, which are slots of 16 bytes.
 *           Each has its own ALLOC; next_part leads from one to the next in its block; size is inferred
 *           (gomem_trace_read). There is one FREE, when all have died: its link is the block's first object,
 *           from which next_part leads to the others. It frees all of these.
 * STACK_*   address, size: of the stack (EXISTS of a goroutine without one: 0); FREE's link as above.
 * GC_*      size: the sequence number. END's link: its BEGIN or ACTIVE.
 * SWEEP_*   END: size: bytes swept, address: bytes reclaimed; link: its BEGIN or ACTIVE on that P.
 * ASSIST_*  address: the goroutine, 0 unknown. END's link: its BEGIN or ACTIVE.
 * WORKER_*  type: index in the trace's labels (which mode); END's link: its BEGIN.
 * STW_*     type: index in the trace's labels (why); END's link: its BEGIN.
 * HEAP_*    size: bytes.      PROCS  size: GOMAXPROCS.
 */
struct gomem_trace_event {
    int64_t time; /* ns since the first event of the trace; never falls */
    uint64_t address;
    uint64_t size;
    uint32_t type;
    uint32_t link;      /* index of an earlier event, or GOMEM_TRACE_NO_LINK */
    uint32_t next_part; /* of a tiny object: index of the event of the next one of its block, or 0 */
    int16_t proc;       /* P it happened on, -1 unknown or none */
    uint8_t kind;       /* enum gomem_trace_kind */
    uint8_t noscan;     /* 1: object, or span of objects, without pointers */
};

struct gomem_trace_type {
    uint64_t id; /* in the first generation that has it */
    uint64_t address, size;
    uint64_t pointer_bytes;
    const char *name;
};

struct gomem_trace_facts {
    uint32_t go_minor;             /* 26: written by Go 1.26; 23 also stands for Go 1.24 */
    uint32_t generations;          /* parts of about a second that are complete in themselves */
    uint32_t complete_generations; /* fewer, if the file is truncated */
    int32_t max_proc;              /* -1: none seen */
    bool has_allocations; /* recorded with GODEBUG=traceallocfree=1: has events of objects and spans */
    bool truncated;
    uint8_t reserved[6];
    uint64_t truncated_at;         /* byte offset of the first batch that is not whole or not there */
    uint64_t frequency;            /* clock units a second */
    int64_t duration;              /* ns from first to last event */
    int64_t start_unix_ns;         /* wall clock at time 0; 0: not in the trace (before Go 1.25) */
    uint64_t gc_count;             /* cycles begun */

    /* From here on, zeros without allocation events. */
    uint64_t min_heap_address, page_size, min_align, min_stack;
    uint64_t total_allocs, total_alloc_bytes; /* by slots; tiny objects by blocks; without EXISTS */
    uint64_t peak_heap_bytes;                 /* most bytes of spans of objects */
    uint64_t peak_other_bytes;                /* and of other spans, at that moment */
    int64_t peak_time;
    uint64_t final_heap_bytes, final_other_bytes;
    uint64_t final_live_objects, final_live_bytes; /* by slots */
    uint64_t final_stacks, final_stack_bytes;
    uint64_t final_heap_alloc, final_heap_goal;

    uint64_t counts[GOMEM_TRACE_KINDS]; /* events by kind */
    /* Of events of two threads that neither a goroutine nor a P connects, the times tell the order, and
     * clocks can be apart by up to 100 us. Overlaps are allocations where something lives still, whose
     * free is matched when it comes. The others should be 0 or close: objects in no known span, frees
     * of nothing. */
    uint64_t orphans, unmatched_frees, overlaps;
};

struct gomem_trace; /* immutable */

/* Reads a trace of Go 1.23 to 1.26 from memory, which it does not keep. NULL with err filled: it is no
 * trace, of another version, broken (err says at which byte), its events can not have happened in any
 * order, or memory is out. Order and times of events are those of Go's own reader; but where a file ends
 * too early (facts.truncated) events come without those they waited for, in the order of their times.
 * Sizes of tiny objects are not in a trace, nor are their addresses but to 8 bytes. They are inferred so
 * that Go's rule puts them, in their order, into the halves of the block the trace says. */
GOMEM_API struct gomem_trace *gomem_trace_read(const void *data, size_t size,
                                               struct gomem_error *err);
GOMEM_API void gomem_trace_delete(struct gomem_trace *t);
GOMEM_API const struct gomem_trace_event *gomem_trace_events(const struct gomem_trace *t,
                                                             size_t *n);
GOMEM_API const struct gomem_trace_type *gomem_trace_types(const struct gomem_trace *t, size_t *n);
GOMEM_API const char *const *gomem_trace_labels(const struct gomem_trace *t, size_t *n);
GOMEM_API const struct gomem_trace_facts *gomem_trace_facts(const struct gomem_trace *t);

/* --- Replaying a trace --- */

/* A replayed heap at some moment of the trace, beside Go's own; bytes unless said otherwise. */
struct gomem_replay_sample {
    int64_t time;                      /* ns, of the last event replayed */
    uint64_t position;                 /* events replayed */
    uint64_t allocs, frees;            /* objects, ever */
    uint64_t alloc_bytes;              /* asked for, ever */
    uint64_t objects, live_bytes;      /* alive; as asked for; tiny objects one by one */
    uint64_t stacks, stack_bytes;      /* alive */
    uint64_t heap_inuse, stacks_inuse; /* of spans */
    uint64_t heap_free;                /* of pages in no span and not given back */
    uint64_t mapped_ready;             /* all memory, the heap's own structures included */
    uint64_t go_objects, go_live_bytes;     /* by slots; tiny objects by blocks */
    uint64_t go_heap_inuse, go_other_inuse; /* of spans: of objects, of all else */
    uint64_t go_heap_alloc, go_heap_goal;   /* the last such events */
};

struct gomem_replay;

/* A replay of n events on a runtime. Objects are allocated and freed as the events say, by the P of the
 * same number (modulo the runtime's), with the sizes and kinds they had, and as zeroed memory that
 * nobody writes to; so are stacks. When a cycle of Go's collector ends, all caches are emptied, as they
 * are there. What the events say of spans is only counted.
 * The events stay the caller's, and must stay as they are while the replay exists. NULL: out of memory. */
GOMEM_API struct gomem_replay *gomem_replay_new(struct gomem_runtime *rt,
                                                const struct gomem_trace_event *events, size_t n,
                                                struct gomem_error *err);
/* Goes on until that many events were replayed. If an event is not as it must be (GOMEM_INVALID_VALUE),
 * memory is out, or the runtime closed, it stands before the event that failed. By one thread at a time,
 * which has no P. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_replay_run(struct gomem_replay *r, size_t until,
                                                            struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_replay_sample(const struct gomem_replay *r,
                                                               struct gomem_replay_sample *out);
/* The replay no longer owns the n objects at these addresses, if it did; sorts them. */
GOMEM_API void gomem_replay_forget(struct gomem_replay *r, uint64_t *addresses, size_t n);
/* Objects that are alive: how many; fills at most `capacity` of addresses and the indices of the
 * events that announced them. */
GOMEM_API size_t gomem_replay_objects(const struct gomem_replay *r, uint64_t *addresses,
                                      uint32_t *events, size_t capacity);
/* Frees all objects and stacks that are alive. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_replay_free(struct gomem_replay *r,
                                                             struct gomem_error *err);
/* What is alive stays. */
GOMEM_API void gomem_replay_delete(struct gomem_replay *r);

/* --- Go values ---
 *
 * Slices, strings and interfaces are a few words that their user has where he likes: in variables of his
 * own, with the address they contain in a root, or in objects. Maps, builders and buffers are objects. A
 * value is used by one thread at a time, unless it says otherwise.
 *
 * Functions that allocate are safepoints if memory is short: what their arguments lead to must be in
 * roots. What they answer must be in one before the P is given up. What fails has changed nothing, and err
 * says why: GOMEM_OUT_OF_MEMORY, GOMEM_CLOSED (p is gone), or that a Go program would panic or end.
 *
 * What the words of strings, slices, maps and interfaces in objects lead to is the library's: they must
 * only be written by functions from here, and the objects behind them never be freed by hand. */

struct gomem_slice {
    void *array;
    int64_t len, cap; /* elements */
};

struct gomem_string {
    const void *data;
    int64_t len; /* bytes */
};

/* type: the address of a type, whose lowest bit says that the value is a pointer to such a value; 0: nil. */
struct gomem_interface {
    uintptr_t type;
    void *value;
};

/* Of s[low:high:max]; what is not given is what Go says it is then. */
struct gomem_bounds {
    int64_t low, high, max;
    bool has_low, has_high, has_max;
    bool of_string;
};

/* Copies or clears n values of a type, with the write barrier for all their pointers; the two may overlap.
 * (typedmemmove, typedmemclr) */
GOMEM_API void gomem_typed_copy(struct gomem_proc *p, const struct gomem_type *t, void *to,
                                const void *from, size_t n);
GOMEM_API void gomem_typed_clear(struct gomem_proc *p, const struct gomem_type *t, void *at,
                                 size_t n);

/* make([]T, len, cap) */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_make_slice(struct gomem_proc *p,
                                                            const struct gomem_type *elem,
                                                            int64_t len, int64_t cap,
                                                            struct gomem_slice *out,
                                                            struct gomem_error *err);
/* *s = append(*s, values...): n of them, which may be the slice's own. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_append(struct gomem_proc *p,
                                                        const struct gomem_type *elem,
                                                        struct gomem_slice *s, const void *values,
                                                        int64_t n, struct gomem_error *err);
/* GOMEM_PANIC if no array can have n elements more than *s: for who appends so many in pieces. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_check_append(const struct gomem_type *elem,
                                                              const struct gomem_slice *s, int64_t n,
                                                              struct gomem_error *err);
/* As gomem_append n times, a value each: values[i * stride bytes], of which there is one if stride is 0. With
 * safepoints, at which the array is in *root, a slot of a registered table; *s is where it got to. Appends
 * nothing if no array can have so many. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_append_each(struct gomem_proc *p, const struct gomem_type *elem, struct gomem_slice *s,
                  uint64_t *root, const void *values, size_t stride, int64_t n,
                  struct gomem_error *err);
/* s[i:j] becomes n values, which must not be the slice's own, in its array if they fit: slices.Replace, with
 * j == i slices.Insert, without values slices.Delete. GOMEM_PANIC_BOUNDS unless 0 <= i <= j <= len. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_slice_replace(struct gomem_proc *p, const struct gomem_type *elem, struct gomem_slice *s, int64_t i,
                    int64_t j, const void *values, int64_t n, struct gomem_error *err);
/* Room for n elements more: slices.Grow. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_slice_grow(struct gomem_proc *p,
                                                            const struct gomem_type *elem,
                                                            struct gomem_slice *s, int64_t n,
                                                            struct gomem_error *err);
/* copy(to, from): how many elements. */
GOMEM_API int64_t gomem_copy(struct gomem_proc *p, const struct gomem_type *elem,
                             const struct gomem_slice *to, const struct gomem_slice *from);
/* s[low:high:max], sharing the array. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_slice(const struct gomem_type *elem,
                                                       const struct gomem_slice *s,
                                                       const struct gomem_bounds *bounds,
                                                       struct gomem_slice *out,
                                                       struct gomem_error *err);
/* Is i an index of something of that length? */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_check_index(int64_t i, int64_t length,
                                                             struct gomem_error *err);

/* string(bytes): an object unless it is shorter than two bytes. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_string(struct gomem_proc *p, const void *bytes,
                                                        int64_t n, struct gomem_string *out,
                                                        struct gomem_error *err);
/* The sum of n strings. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_string_concat(struct gomem_proc *p,
                                                               const struct gomem_string *parts,
                                                               size_t n, struct gomem_string *out,
                                                               struct gomem_error *err);
/* []byte(s) */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_string_bytes(struct gomem_proc *p,
                                                              const struct gomem_string *s,
                                                              struct gomem_slice *out,
                                                              struct gomem_error *err);
/* A value of type t as an interface: an object, unless the value is a pointer, a map, or small. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_interface(struct gomem_proc *p,
                                                           const struct gomem_type *t,
                                                           const void *value,
                                                           struct gomem_interface *out,
                                                           struct gomem_error *err);
/* Where the value of an interface is, that is not nil. */
GOMEM_API const void *gomem_interface_value(const struct gomem_interface *i);
/* What make(chan T, n) allocates: Go's hchan, with room for n elements. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_make_chan(struct gomem_proc *p,
                                                           const struct gomem_type *elem, int64_t n,
                                                           void **out, struct gomem_error *err);

/* The types of builders and buffers, for interfaces with pointers to them. */
GOMEM_API const struct gomem_type *gomem_type_of_builder(void);
GOMEM_API const struct gomem_type *gomem_type_of_buffer(void);

/* strings.Builder. new: NULL if memory is out. */
struct gomem_builder;
GOMEM_API struct gomem_builder *gomem_builder_new(struct gomem_proc *p);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_builder_grow(struct gomem_proc *p,
                                                              struct gomem_builder *b, int64_t n,
                                                              struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_builder_write(struct gomem_proc *p,
                                                               struct gomem_builder *b,
                                                               const void *bytes, int64_t n,
                                                               struct gomem_error *err);
GOMEM_API void gomem_builder_reset(struct gomem_proc *p, struct gomem_builder *b);
/* Its bytes, of which only the first len are to be read. */
GOMEM_API struct gomem_slice gomem_builder_bytes(const struct gomem_builder *b);

/* bytes.Buffer. new: NULL if memory is out. */
struct gomem_buffer;
GOMEM_API struct gomem_buffer *gomem_buffer_new(struct gomem_proc *p);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_buffer_grow(struct gomem_proc *p,
                                                             struct gomem_buffer *b, int64_t n,
                                                             struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_buffer_write(struct gomem_proc *p,
                                                              struct gomem_buffer *b,
                                                              const void *bytes, int64_t n,
                                                              struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_buffer_truncate(struct gomem_buffer *b, int64_t n,
                                                                 struct gomem_error *err);
GOMEM_API void gomem_buffer_reset(struct gomem_buffer *b);
/* What is unread, sharing the array. */
GOMEM_API struct gomem_slice gomem_buffer_bytes(const struct gomem_buffer *b);
GOMEM_API int64_t gomem_buffer_cap(const struct gomem_buffer *b);
/* GOMEM_PANIC_BOUNDS for a negative n, which the next calls must not be given. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_buffer_check_count(const struct gomem_buffer *b, int64_t n,
                                                                    struct gomem_error *err);
/* The next n bytes, or as many as there are (Next); or up to and with a delimiter (ReadBytes, which
 * copies). They count as read. */
GOMEM_API struct gomem_slice gomem_buffer_next(struct gomem_buffer *b, int64_t n);
GOMEM_API struct gomem_slice gomem_buffer_next_until(struct gomem_buffer *b, uint8_t delimiter);
GOMEM_API int64_t gomem_buffer_read(struct gomem_buffer *b, void *to, int64_t n);
/* false: the last call was no successful read; or none of a rune. */
GOMEM_API GOMEM_MUST_USE bool gomem_buffer_unread_byte(struct gomem_buffer *b);
GOMEM_API GOMEM_MUST_USE bool gomem_buffer_unread_rune(struct gomem_buffer *b);
/* What next would give, which stays unread (Peek). */
GOMEM_API struct gomem_slice gomem_buffer_peek(const struct gomem_buffer *b, int64_t n);
/* The next rune of the UTF-8, U+FFFD for a byte that begins none; its length in bytes, 0 at the end. */
GOMEM_API int32_t gomem_buffer_read_rune(struct gomem_buffer *b, int *size);
/* Writes a rune as UTF-8, what is none as U+FFFD; *size: how many bytes. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_buffer_write_rune(struct gomem_proc *p,
                                                                   struct gomem_buffer *b,
                                                                   int32_t rune, int *size,
                                                                   struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_builder_write_rune(struct gomem_proc *p,
                                                                    struct gomem_builder *b,
                                                                    int32_t rune, int *size,
                                                                    struct gomem_error *err);

/* --- Maps --- */

/* A map; NULL is the nil map. t is the map's type everywhere. Two threads that use one at the same time, one
 * of them writing, are told so: GOMEM_FATAL, and the call that came second did nothing. */
struct gomem_map;

/* make(map[K]E, hint) */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_make_map(struct gomem_proc *p,
                                                          const struct gomem_type *t, int64_t hint,
                                                          struct gomem_map **out,
                                                          struct gomem_error *err);
GOMEM_API uint64_t gomem_map_len(const struct gomem_map *m);
/* Copies the element of the key to elem (or NULL), which must not be in an object; *found says whether there
 * is one. Until the P is given up, or an allocation, what the element points to is safe. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_map_get(struct gomem_proc *p,
                                                         const struct gomem_type *t,
                                                         struct gomem_map *m, const void *key,
                                                         void *elem, bool *found,
                                                         struct gomem_error *err);
/* m[key] = elem */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_map_set(struct gomem_proc *p,
                                                         const struct gomem_type *t,
                                                         struct gomem_map *m, const void *key,
                                                         const void *elem, struct gomem_error *err);
/* delete(m, key), clear(m) */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_map_delete(struct gomem_proc *p,
                                                            const struct gomem_type *t,
                                                            struct gomem_map *m, const void *key,
                                                            struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_map_clear(struct gomem_proc *p,
                                                           const struct gomem_type *t,
                                                           struct gomem_map *m,
                                                           struct gomem_error *err);
/* n entries from arrays; a stride of 0: always the first. With safepoints: m must be in a root. Somebody
 * else who uses the map meanwhile fails. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_map_set_many(struct gomem_proc *p, const struct gomem_type *t, struct gomem_map *m,
                   const void *keys, size_t key_stride, const void *elems, size_t elem_stride,
                   size_t n, struct gomem_error *err);
/* The elements of n keys, of types without pointers; zeros where there is none, and found[i] is 0. With
 * safepoints. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_map_get_many(struct gomem_proc *p, const struct gomem_type *t, struct gomem_map *m,
                   const void *keys, size_t key_stride, void *elems, uint8_t *found, size_t n,
                   struct gomem_error *err);

/* A copy of a map that is not nil, its tables as they are: maps.Clone. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_map_clone(struct gomem_proc *p,
                                                           const struct gomem_type *t,
                                                           struct gomem_map *m,
                                                           struct gomem_map **out,
                                                           struct gomem_error *err);
/* All entries of one map set in another of the same type: maps.Copy. With safepoints; roots: three slots of
 * registered tables, both maps must be in others. Somebody else who uses them meanwhile fails. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_map_copy(struct gomem_proc *p, const struct gomem_type *t, struct gomem_map *to,
               struct gomem_map *from, uint64_t *const roots[3], struct gomem_error *err);

/* An iteration as range makes it. */
struct gomem_map_iter {
    uint64_t state[8];
};

/* roots: three slots of registered tables, which the iteration uses until its end. */
GOMEM_API void gomem_map_iter_init(struct gomem_proc *p, struct gomem_map *m,
                                   struct gomem_map_iter *it, uint64_t *const roots[3]);
/* Where the key and the element of the next entry are; NULL: there is none. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_map_iter_next(struct gomem_proc *p, const struct gomem_type *t, struct gomem_map_iter *it,
                    uint64_t *const roots[3], const void **key, const void **elem, struct gomem_error *err);
/* Copies the keys and elements, of types without pointers, of up to n entries: how many is in *n. With
 * safepoints. */
GOMEM_API GOMEM_MUST_USE enum gomem_status
gomem_map_entries(struct gomem_proc *p, const struct gomem_type *t, struct gomem_map *m,
                  uint64_t *const roots[3], void *keys, void *elems, size_t *n, struct gomem_error *err);
/* Walks the map: GOMEM_CORRUPT with what is wrong. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_map_verify(struct gomem_proc *p,
                                                            const struct gomem_type *t,
                                                            struct gomem_map *m,
                                                            struct gomem_error *err);

/* --- Pools --- */

/* A sync.Pool, with a root of its own; used by any threads at the same time. It must be deleted before its
 * runtime is. */
struct gomem_pool;
/* The caller holds no P. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_pool_new(struct gomem_runtime *rt,
                                                          struct gomem_pool **out,
                                                          struct gomem_error *err);
GOMEM_API void gomem_pool_delete(struct gomem_pool *pool);
/* Something that was put, type 0 if there is nothing. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_pool_get(struct gomem_proc *p,
                                                          struct gomem_pool *pool,
                                                          struct gomem_interface *out,
                                                          struct gomem_error *err);
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_pool_put(struct gomem_proc *p,
                                                          struct gomem_pool *pool,
                                                          const struct gomem_interface *x,
                                                          struct gomem_error *err);

/* --- Goroutines ---
 *
 * A scheduler has the goroutines of one program and says which of them runs next; how one runs is its
 * driver's business. Who blocks on a channel has a gomem_g: a goroutine's, or a thread's own. Operations
 * never wait: they answer an outcome. After GOMEM_PARK the driver lets others run until the g is runnable
 * again (gomem_next) or awake (gomem_thread_wait), and then calls gomem_finish. */

struct gomem_scheduler;
struct gomem_g;

enum gomem_outcome {
    GOMEM_DONE,
    GOMEM_PARK,        /* somebody else will finish it: gomem_finish, when the g goes on */
    GOMEM_PANICS,      /* gomem_panic_text */
    GOMEM_WOULD_BLOCK, /* it was not to wait */
};

enum gomem_g_state {
    GOMEM_G_IDLE,
    GOMEM_G_RUNNABLE,
    GOMEM_G_RUNNING,
    GOMEM_G_WAITING,
    GOMEM_G_DEAD,
};

enum gomem_wait_reason {
    GOMEM_WAIT_NONE,
    GOMEM_WAIT_CHAN_RECEIVE_NIL,
    GOMEM_WAIT_CHAN_SEND_NIL,
    GOMEM_WAIT_SELECT,
    GOMEM_WAIT_SELECT_NO_CASES,
    GOMEM_WAIT_CHAN_RECEIVE,
    GOMEM_WAIT_CHAN_SEND,
};

/* Where something was created: the library only hands it back. */
struct gomem_site {
    void *where;
    int32_t place;
};

/* runners: how many threads may run goroutines at a time, 1 to 1024. seed: of what select chooses. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_scheduler_new(uint32_t runners, uint64_t seed,
                                                               struct gomem_scheduler **out,
                                                               struct gomem_error *err);
/* The last call: nobody runs, and no g of it waits in a queue of anything. */
GOMEM_API void gomem_scheduler_delete(struct gomem_scheduler *s);
/* A new goroutine, which a runner may take at once. by: who says `go`, or NULL. data: the driver's. NULL: out of
 * memory. A runner is used by one thread at a time. */
GOMEM_API struct gomem_g *gomem_go(struct gomem_scheduler *s, uint32_t runner, struct gomem_g *by,
                                   struct gomem_site site, void *data);
/* The goroutine that runs next, now running; NULL: there is none. */
GOMEM_API struct gomem_g *gomem_next(struct gomem_scheduler *s, uint32_t runner);
/* The running one goes behind all others: gosched. */
GOMEM_API void gomem_yield(struct gomem_g *g);
/* The running one has ended. */
GOMEM_API void gomem_end(struct gomem_g *g);
/* Sleeps until gomem_next may have one, or gomem_scheduler_wake, or timeout_ns have passed (negative: never). */
GOMEM_API void gomem_wait_for_work(struct gomem_scheduler *s, uint32_t runner, int64_t timeout_ns);
/* Is there a goroutine that could run? Another thread may ask; it is a guess then. */
GOMEM_API bool gomem_has_work(const struct gomem_scheduler *s);
GOMEM_API void gomem_scheduler_wake(struct gomem_scheduler *s);
GOMEM_API uint64_t gomem_num_goroutine(const struct gomem_scheduler *s);
/* Those that are not dead, in the order in which they were first made; the first g: NULL before it. They
 * may change meanwhile unless nobody runs. */
GOMEM_API struct gomem_g *gomem_each_g(struct gomem_scheduler *s, struct gomem_g *last);
/* Walks everything; aborts if an invariant is broken. Nobody runs. */
GOMEM_API void gomem_scheduler_verify(struct gomem_scheduler *s);

GOMEM_API void *gomem_g_data(const struct gomem_g *g);
GOMEM_API uint64_t gomem_g_id(const struct gomem_g *g);
GOMEM_API uint64_t gomem_g_parent(const struct gomem_g *g);
GOMEM_API struct gomem_site gomem_g_site(const struct gomem_g *g);
GOMEM_API enum gomem_g_state gomem_g_state(const struct gomem_g *g);
/* What Go prints between brackets: "running", "chan receive". */
GOMEM_API const char *gomem_g_status(const struct gomem_g *g);
/* After GOMEM_PANICS: the text. */
GOMEM_API const char *gomem_panic_text(const struct gomem_g *g);

/* A g for a thread that runs no goroutines, for one operation after the other. NULL: out of memory. */
GOMEM_API struct gomem_g *gomem_thread_new(uint64_t seed);
GOMEM_API void gomem_thread_delete(struct gomem_g *g);
/* Sleeps until the parked operation is finished: true; false: timeout_ns have passed, or a signal came. */
GOMEM_API GOMEM_MUST_USE bool gomem_thread_wait(struct gomem_g *g, int64_t timeout_ns);

/* What was parked is finished: DONE or PANICS. *index: the case, of a select; *ok: as of gomem_chan_recv. */
GOMEM_API enum gomem_outcome gomem_finish(struct gomem_g *g, uint32_t *index, bool *ok);
/* A parked operation will not happen: true, and the g is running. false: somebody has finished it; the g
 * becomes runnable, or awake, as ever. */
GOMEM_API GOMEM_MUST_USE bool gomem_cancel(struct gomem_g *g);

/* --- Channels ---
 *
 * A channel that is not in a heap: its elements are memory of a fixed size that is copied, without pointers
 * into any heap. NULL is a nil channel. */

struct gomem_chan;

struct gomem_case {
    struct gomem_chan *chan; /* NULL: never ready */
    void *elem;              /* what is sent, or where to */
    bool send;
};

/* GOMEM_PANIC: the buffer is larger than Go allows; GOMEM_INVALID_VALUE: elements of 64 KiB and more. */
GOMEM_API GOMEM_MUST_USE enum gomem_status gomem_chan_new(size_t elem_size, int64_t cap,
                                                          struct gomem_chan **out,
                                                          struct gomem_error *err);
/* pre: nobody uses it any more. Elements that are left are the caller's to take out (gomem_chan_drain). */
GOMEM_API void gomem_chan_delete(struct gomem_chan *c);
/* elem is read or written until the operation is finished. block: wait, rather than answer WOULD_BLOCK. */
GOMEM_API enum gomem_outcome gomem_chan_send(struct gomem_g *g, struct gomem_chan *c,
                                             const void *elem, bool block);
/* *ok: something was received; else the channel is closed, and elem zeroed. */
GOMEM_API enum gomem_outcome gomem_chan_recv(struct gomem_g *g, struct gomem_chan *c, void *elem,
                                             bool block, bool *ok);
GOMEM_API enum gomem_outcome gomem_chan_close(struct gomem_g *g, struct gomem_chan *c);
GOMEM_API uint64_t gomem_chan_len(const struct gomem_chan *c);
GOMEM_API uint64_t gomem_chan_cap(const struct gomem_chan *c);
GOMEM_API bool gomem_chan_closed(const struct gomem_chan *c);
/* The i-th element of those in the buffer; NULL: there are not as many. While nobody uses the channel. */
GOMEM_API const void *gomem_chan_peek(const struct gomem_chan *c, uint64_t i);
/* Takes the first element out of the buffer; false: empty. */
GOMEM_API bool gomem_chan_drain(struct gomem_chan *c, void *elem);
/* Aborts if an invariant is broken. */
GOMEM_API void gomem_chan_verify(struct gomem_chan *c);

/* Makes room for a select of n cases, at most 65536: before it, and none is needed after it until a larger
 * one. false: out of memory. */
GOMEM_API GOMEM_MUST_USE bool gomem_select_reserve(struct gomem_g *g, uint32_t n);
/* One of the cases that are ready, chosen at random. *index: which. The cases may go after PARK. */
GOMEM_API enum gomem_outcome gomem_select(struct gomem_g *g, const struct gomem_case *cases,
                                          uint32_t n, bool block, uint32_t *index, bool *ok);

/* --- About the library --- */

/* How the library was built: "release", "debug", "check", ... and its check level. */
GOMEM_API const char *gomem_build_profile(void);
GOMEM_API int gomem_build_check_level(void);

#ifdef __cplusplus
}
#endif

#endif
