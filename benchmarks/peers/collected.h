/* A heap with a collector as the workloads of bench_gc.py see it: objects of a few words with pointers,
 * pointers stored and rooted, a collection asked for.
 *
 * With PEER_GOMEM it is gomem through its public header, with shadow stacks and its write barrier; with
 * PEER_BOEHM Boehm's collector, which finds roots by itself; without either malloc and free, the floor:
 * there, and only there, heap_drop does something. peers/gocollected is the same in Go.
 *
 * Called by collected_main.c and the workloads.
 *
 * Concurrency: a handle belongs to one thread; heap_collect by any thread that has none.
 */
#ifndef COLLECTED_H
#define COLLECTED_H

#include <string.h>

#include "support.h"

#if defined PEER_GOMEM
#include "gomem.h"
typedef struct gomem_proc *heap_handle;
#elif defined PEER_BOEHM
#define GC_THREADS
#include <gc.h>
typedef char heap_handle;
#else
#include <stdlib.h>
typedef char heap_handle;
#endif

enum {
    WORD_BYTES = 8,
    FRAME_SLOTS = 2,
    ROOTS = 2,
    MAX_PAUSES = 4096,
    COLLECTIONS = 6, /* how often a workload asks for one, if nobody says */
};

/* A kind of object. */
struct shape {
    unsigned words;
    uint32_t pointers; /* bit i: word i is a pointer */
    const void *type;  /* struct gomem_type */
};

/* A C function's pointers that are roots. */
#ifdef PEER_GOMEM
struct frame {
    struct gomem_frame header;
    void *slots[FRAME_SLOTS];
};
extern struct gomem_shadow_stack shadow_stack;
extern struct gomem_runtime *runtime;
#else
struct frame {
    void *slots[FRAME_SLOTS];
};
#endif

/* Pointers that are roots as long as the program runs. */
extern void *roots[ROOTS];

/* collecting: by itself, when the heap has grown; workers: gomem's marking threads, 0: as many as it likes. */
void heap_start(bool collecting, unsigned workers);
heap_handle heap_enter(void);
void heap_leave(heap_handle h);
/* A whole collection. pre: the caller has no handle. */
void heap_collect(void);
void shape_prepare(struct shape *s);
/* How long the world was stopped, each time, in ns; the last MAX_PAUSES at most. How many. */
size_t heap_pauses(uint64_t pauses[MAX_PAUSES]);
/* Collections so far, and how long the last one marked, in ns; 0 where nobody says. */
uint64_t heap_collections(void);
uint64_t heap_mark_time(void);
const char *heap_library(void);

#if defined PEER_GOMEM

static inline void heap_safepoint(heap_handle h)
{
    if (!gomem_safepoint(h))
        die("the heap is closed");
}

/* A zeroed array of n objects of a shape. */
static inline void *heap_new_array(heap_handle h, const struct shape *s, size_t n)
{
    return gomem_alloc_typed(h, s->type, n);
}

/* Memory without pointers, zeroed or not. */
static inline void *heap_new_bytes(heap_handle h, size_t size)
{
    return gomem_alloc(h, size);
}

static inline void heap_write(heap_handle h, void *slot, void *value)
{
    gomem_write_pointer(h, slot, value);
}

/* Do stores of pointers tell the collector now? (gomem_write_pointer looks at the same.) */
static inline bool heap_barrier_is_on(heap_handle h)
{
    return __atomic_load_n((const uint32_t *)h, __ATOMIC_RELAXED) != 0;
}

static inline void heap_drop(void *object)
{
    (void)object;
}

static inline void frame_push(struct frame *f)
{
    f->header.previous = shadow_stack.top;
    f->header.n = FRAME_SLOTS;
    for (unsigned i = 0; i < FRAME_SLOTS; i++)
        f->slots[i] = NULL;
    shadow_stack.top = &f->header;
}

static inline void frame_pop(struct frame *f)
{
    shadow_stack.top = f->header.previous;
}

#else

static inline void heap_safepoint(heap_handle h)
{
    (void)h;
}

static inline bool heap_barrier_is_on(heap_handle h)
{
    (void)h;
    return false;
}

static inline void heap_write(heap_handle h, void *slot, void *value)
{
    (void)h;
    *(void **)slot = value;
}

static inline void frame_push(struct frame *f)
{
    for (unsigned i = 0; i < FRAME_SLOTS; i++)
        f->slots[i] = NULL;
}

static inline void frame_pop(struct frame *f)
{
    (void)f;
}

#ifdef PEER_BOEHM

static inline void *heap_new_array(heap_handle h, const struct shape *s, size_t n)
{
    (void)h;
    return GC_MALLOC(n * s->words * WORD_BYTES);
}

static inline void *heap_new_bytes(heap_handle h, size_t size)
{
    (void)h;
    return GC_MALLOC_ATOMIC(size);
}

static inline void heap_drop(void *object)
{
    (void)object;
}

#else

static inline void *heap_new_array(heap_handle h, const struct shape *s, size_t n)
{
    (void)h;
    return n == 1 ? malloc(s->words * WORD_BYTES) : calloc(n, s->words * WORD_BYTES);
}

static inline void *heap_new_bytes(heap_handle h, size_t size)
{
    (void)h;
    return malloc(size);
}

static inline void heap_drop(void *object)
{
    free(object);
}

#endif
#endif

static inline void *heap_new(heap_handle h, const struct shape *s)
{
    return heap_new_array(h, s, 1);
}

/* --- What a program prints --- */

/* One figure: a line of its name and its value. */
void figure(const char *name, double value);
/* Lines pauses, pause_p50, pause_p999 and pause_max, in microseconds; none without pauses. */
void figures_of_pauses(void);

/* Collects COLLECTIONS times. Line mark: milliseconds of marking, the median. pre: as heap_collect. */
void figure_mark_time(void);
/* Sorts the values. */
double median(double *values, size_t n);

struct workload {
    const char *name;
    void (*run)(char **arguments); /* which end with NULL */
};

extern const struct workload tree_workloads[]; /* all end with a name of NULL */
extern const struct workload graph_workloads[];

#endif
