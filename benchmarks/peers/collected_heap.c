/* gomem, Boehm's collector, or neither, behind collected.h.
 *
 * Called through collected.h.
 *
 * Concurrency: see collected.h.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "collected.h"

void *roots[ROOTS];

#if defined PEER_GOMEM

struct gomem_shadow_stack shadow_stack;
struct gomem_runtime *runtime;
static struct gomem_root_table root_table = {.slots = (uint64_t *)roots, .n = ROOTS};
static struct gomem_error error;

void heap_start(bool collecting, unsigned workers)
{
    struct gomem_options options = gomem_options_default();
    options.gogc = collecting ? 100 : -1;
    options.procs = 2;
    options.gc_workers = workers;
    if (gomem_runtime_new(&options, &runtime, &error) != GOMEM_OK)
        die(error.message);
    gomem_add_roots(runtime, &root_table);
    gomem_add_shadow_stack(runtime, &shadow_stack);
}

heap_handle heap_enter(void)
{
    return gomem_proc_acquire(runtime);
}

void heap_leave(heap_handle h)
{
    gomem_proc_release(h);
}

void heap_collect(void)
{
    if (gomem_gc(runtime) != GOMEM_OK)
        die("no collection");
}

static const struct gomem_type *checked(const struct gomem_type *t)
{
    if (t == NULL)
        die(error.message);
    return t;
}

void shape_prepare(struct shape *s)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    const struct gomem_type *words[4];
    for (unsigned i = 0; i < s->words; i++)
        words[i] = checked(s->pointers >> i & 1 ? gomem_type_pointer("*object", &error)
                                                : gomem_type_basic(GOMEM_UINT64, &error));
    s->type = checked(gomem_type_struct("shape", names, words, s->words, &error));
}

size_t heap_pauses(uint64_t pauses[MAX_PAUSES])
{
    static struct gomem_gc_cycle cycles[MAX_PAUSES / 2];
    size_t n = gomem_gc_cycles(runtime, cycles, MAX_PAUSES / 2);
    for (size_t i = 0; i < n; i++) {
        pauses[2 * i] = (uint64_t)cycles[i].pause_ns[0];
        pauses[2 * i + 1] = (uint64_t)cycles[i].pause_ns[1];
    }
    return 2 * n;
}

static struct gomem_gc_cycle last_cycle(void)
{
    static struct gomem_gc_cycle cycles[MAX_PAUSES / 2];
    size_t n = gomem_gc_cycles(runtime, cycles, MAX_PAUSES / 2);
    return n > 0 ? cycles[n - 1] : (struct gomem_gc_cycle){0};
}

uint64_t heap_collections(void)
{
    return last_cycle().number;
}

uint64_t heap_mark_time(void)
{
    return (uint64_t)last_cycle().mark_ns;
}

const char *heap_library(void)
{
    return gomem_build_profile();
}

#else

heap_handle heap_enter(void)
{
    return 0;
}

void heap_leave(heap_handle h)
{
    (void)h;
}

void shape_prepare(struct shape *s)
{
    (void)s;
}

uint64_t heap_mark_time(void)
{
    return 0;
}

static const char *library_of(void *function)
{
    Dl_info info;
    return dladdr(function, &info) != 0 ? info.dli_fname : "unknown";
}

#ifdef PEER_BOEHM

static uint64_t stopped_at, stops[MAX_PAUSES];
static size_t nstops;

/* Under the collector's lock. */
static void on_event(GC_EventType event)
{
    if (event == GC_EVENT_PRE_STOP_WORLD)
        stopped_at = nanoseconds();
    if (event == GC_EVENT_POST_START_WORLD)
        stops[nstops++ % MAX_PAUSES] = nanoseconds() - stopped_at;
}

static bool disabled;

void heap_start(bool collecting, unsigned workers)
{
    (void)workers;
    GC_INIT();
    GC_set_on_collection_event(on_event);
    disabled = !collecting;
    if (disabled)
        GC_disable();
}

void heap_collect(void)
{
    if (disabled)
        GC_enable(); /* else it would do nothing */
    GC_gcollect();
    if (disabled)
        GC_disable();
}

size_t heap_pauses(uint64_t pauses[MAX_PAUSES])
{
    memcpy(pauses, stops, sizeof stops);
    return nstops < MAX_PAUSES ? nstops : MAX_PAUSES;
}

uint64_t heap_collections(void)
{
    return GC_get_gc_no();
}

const char *heap_library(void)
{
    return library_of((void *)GC_malloc);
}

#else

void heap_start(bool collecting, unsigned workers)
{
    (void)collecting;
    (void)workers;
}

void heap_collect(void)
{
}

size_t heap_pauses(uint64_t pauses[MAX_PAUSES])
{
    (void)pauses;
    return 0;
}

uint64_t heap_collections(void)
{
    return 0;
}

const char *heap_library(void)
{
    return library_of((void *)malloc);
}

#endif
#endif
