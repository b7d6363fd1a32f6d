/* Workloads that only gomem has: objects with pointers, and the loop alloc_many is compared with.
 *
 *   typed-pair, typed-fifo   a struct of SIZE bytes of pointers, as Go's BenchmarkMallocTypeInfo8,
 *                            16, 32; SIZE 768: Go's [2]LargeStruct, 32 slices of bytes
 *   collected, collected-typed
 *                            objects that nobody frees but the collector, in a heap of its own with
 *                            GOGC=100; time is CPU of all threads
 *   loop-fresh               a million objects of SIZE bytes, allocated in a loop into a new table,
 *                            in a new heap; operations are allocations alone
 *   loop-warm                the same in a heap that has had as many before
 *   unloop                   frees them in a loop
 *
 * Called through harness.h. In programs for other allocators the table is empty.
 *
 * Concurrency: one thread.
 */
#include <sys/mman.h>

#include "harness.h"

#ifdef PEER_GOMEM

enum {
    BATCH = 1000,
    MILLION = 1000000,
    TABLE_BYTES = MILLION * sizeof(uint64_t),
    LARGE_STRUCT_SLICES = 16,
};

static struct gomem_error error;

static const struct gomem_type *checked(const struct gomem_type *t)
{
    if (t == NULL)
        die(error.message);
    return t;
}

/* A struct with one array of n pointers: struct { p [n]*int }. */
static const struct gomem_type *struct_of_pointers(size_t n)
{
    const struct gomem_type *field =
        checked(gomem_type_array(checked(gomem_type_pointer("*int", &error)), n, &error));
    return checked(gomem_type_struct("typeinfo", (const char *[]){"p"}, &field, 1, &error));
}

/* struct { x [16][]byte }; a slice is a pointer and two integers. */
static const struct gomem_type *large_struct(void)
{
    const struct gomem_type *integer = checked(gomem_type_basic(GOMEM_INT64, &error));
    const struct gomem_type *parts[] = {checked(gomem_type_pointer("*byte", &error)), integer,
                                        integer};
    const struct gomem_type *slice = checked(gomem_type_struct(
        "[]byte", (const char *[]){"array", "len", "cap"}, parts, 3, &error));
    const struct gomem_type *field =
        checked(gomem_type_array(slice, LARGE_STRUCT_SLICES, &error));
    return checked(gomem_type_struct("LargeStruct", (const char *[]){"x"}, &field, 1, &error));
}

static void prepare_typed(struct run *r)
{
    r->objects = own_memory(BATCH * sizeof *r->objects);
    const struct gomem_type *large = large_struct();
    bool is_large = r->size == 2 * gomem_type_size(large);
    r->type = is_large ? large : struct_of_pointers(r->size / WORD_BYTES);
    r->size = is_large ? 2 : 1;
}

static size_t run_typed_pair(struct run *r)
{
    for (unsigned i = 0; i < BATCH; i++) {
        void *object = gomem_alloc_typed(r->h, r->type, r->size);
        touch(object);
        drop(r->h, object);
    }
    return BATCH;
}

static size_t run_typed_fifo(struct run *r)
{
    for (unsigned i = 0; i < BATCH; i++) {
        r->objects[i] = gomem_alloc_typed(r->h, r->type, r->size);
        touch(r->objects[i]);
    }
    for (unsigned i = 0; i < BATCH; i++)
        drop(r->h, r->objects[i]);
    return BATCH;
}

/* --- What only the collector frees --- */

enum { COLLECTED = 4000000, SAFEPOINT_EVERY = 256 };

/* Made by the first repetition, and never deleted: later ones find the collector at work. */
static struct gomem_runtime *collected_runtime;

static struct gomem_proc *enter_collected(void)
{
    if (collected_runtime == NULL) {
        struct gomem_options options = gomem_options_default();
        if (gomem_runtime_new(&options, &collected_runtime, &error) != GOMEM_OK)
            die(error.message);
    }
    return gomem_proc_acquire(collected_runtime);
}

static size_t run_collected(struct run *r)
{
    struct gomem_proc *p = enter_collected();
    double start = process_cpu_now();
    for (unsigned i = 0; i < COLLECTED; i++) {
        touch(gomem_alloc(p, r->size));
        if (i % SAFEPOINT_EVERY == 0)
            api_safepoint(p);
    }
    r->seconds = process_cpu_now() - start;
    gomem_proc_release(p);
    return COLLECTED;
}

static size_t run_collected_typed(struct run *r)
{
    struct gomem_proc *p = enter_collected();
    double start = process_cpu_now();
    for (unsigned i = 0; i < COLLECTED; i++) {
        (void)gomem_alloc_typed(p, r->type, r->size); /* zeroed: a first byte would be no pointer */
        if (i % SAFEPOINT_EVERY == 0)
            api_safepoint(p);
    }
    r->seconds = process_cpu_now() - start;
    gomem_proc_release(p);
    return COLLECTED;
}

/* --- The loop behind alloc_many --- */

/* A million addresses in a table of its own, like alloc_many's: its new pages are part of the cost. */
static uint64_t *loop(alloc_handle p, size_t size, double *seconds)
{
    double start = cpu_now();
    uint64_t *addresses = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (addresses == MAP_FAILED)
        die("no memory for a million addresses");
    for (size_t i = 0; i < MILLION; i++)
        addresses[i] = (uint64_t)(uintptr_t)gomem_alloc(p, size);
    *seconds += cpu_now() - start;
    return addresses;
}

static void unloop(alloc_handle p, uint64_t *addresses, double *seconds)
{
    double start = cpu_now();
    for (size_t i = 0; i < MILLION; i++)
        api_free(p, (void *)(uintptr_t)addresses[i]);
    *seconds += cpu_now() - start;
    munmap(addresses, TABLE_BYTES);
}

static size_t run_loop_fresh(struct run *r)
{
    struct gomem_options options = gomem_options_default();
    options.gogc = -1; /* objects are known by their addresses only */
    struct gomem_runtime *rt;
    if (gomem_runtime_new(&options, &rt, &error) != GOMEM_OK)
        die(error.message);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    munmap(loop(p, r->size, &r->seconds), TABLE_BYTES);
    gomem_proc_release(p);
    gomem_runtime_delete(rt);
    return MILLION;
}

static size_t run_loop_warm(struct run *r)
{
    double other = 0;
    unloop(r->h, loop(r->h, r->size, &r->seconds), &other);
    return MILLION;
}

static size_t run_unloop(struct run *r)
{
    double other = 0;
    unloop(r->h, loop(r->h, r->size, &other), &r->seconds);
    return MILLION;
}

const struct workload object_workloads[] = {
    {"typed-pair", prepare_typed, run_typed_pair},
    {"typed-fifo", prepare_typed, run_typed_fifo},
    {"collected", NULL, run_collected},
    {"collected-typed", prepare_typed, run_collected_typed},
    {"loop-fresh", NULL, run_loop_fresh},
    {"loop-warm", NULL, run_loop_warm},
    {"unloop", NULL, run_unloop},
    {NULL, NULL, NULL},
};

#else

const struct workload object_workloads[] = {{NULL, NULL, NULL}};

#endif
