/* Cases in which the collector once went wrong, one by one.
 *
 *   gc_cases
 *
 * Each names what it is about; all run, with both markers, and each ends with the heap verified, unless it
 * closes it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/check.h"
#include "gomem.h"

static struct gomem_runtime *rt;
static enum gomem_marker marker;
static uint32_t collected; /* atomic */

static void open_runtime(int32_t gogc)
{
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    o.gogc = gogc;
    o.marker = marker;
    CHECK(gomem_runtime_new(&o, &rt, &err) == GOMEM_OK);
}

static void verify_and_delete(void)
{
    struct gomem_error err;
    CHECK(gomem_verify(rt, &err) == GOMEM_OK);
    gomem_runtime_delete(rt);
}

static void *collect(void *unused)
{
    (void)unused;
    (void)!gomem_gc(rt);
    store_release(&collected, 1);
    return NULL;
}

static void *close_runtime(void *unused)
{
    (void)unused;
    gomem_runtime_close(rt);
    return NULL;
}

/* Starts a cycle by another thread, and waits until it marks: the P's first word says so. */
static void begin_cycle(struct gomem_proc *p, pthread_t *thread)
{
    store_release(&collected, 0);
    CHECK(pthread_create(thread, NULL, collect, NULL) == 0);
    while (!load_relaxed((uint32_t *)p))
        CHECK(gomem_safepoint(p));
}

/* A table that is scanned first, and for a while. */
static struct gomem_root_table large_table(size_t n)
{
    struct gomem_root_table t = {.slots = calloc(n, sizeof(uint64_t)), .n = n};
    CHECK(t.slots != NULL);
    return t;
}

/* A pointer is copied from a table that is not scanned yet to a frame that is, and the table goes. */
static void table_goes_while_marking(void)
{
    open_runtime(100);
    uint64_t slot = 0;
    struct gomem_root_table t = {.slots = &slot, .n = 1}, large = large_table((size_t)1 << 24);
    gomem_add_roots(rt, &t);
    gomem_add_roots(rt, &large);
    struct {
        struct gomem_frame f;
        void *slots[1];
    } frame = {.f = {.n = 1}};
    struct gomem_shadow_stack stack = {.top = &frame.f};
    gomem_add_shadow_stack(rt, &stack);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    gomem_init_root(&slot, gomem_alloc(p, 100));
    for (int i = 0; i < 1000; i++) /* out of the window */
        CHECK(gomem_alloc(p, 100) != NULL);
    pthread_t thread;
    begin_cycle(p, &thread);
    frame.slots[0] = (void *)(uintptr_t)slot;
    gomem_remove_roots(rt, &t);
    while (!load_acquire(&collected))
        CHECK(gomem_safepoint(p));
    struct gomem_lookup l;
    gomem_proc_lookup(p, (uint64_t)(uintptr_t)frame.slots[0], &l);
    CHECK_OP(l.place, ==, GOMEM_PLACE_OBJECT);
    gomem_proc_release(p);
    pthread_join(thread, NULL);
    gomem_remove_roots(rt, &large);
    free(large.slots);
    gomem_remove_shadow_stack(rt, &stack);
    verify_and_delete();
}

/* Two threads close it while it marks. */
static void closing_twice(void)
{
    open_runtime(100);
    struct gomem_root_table large = large_table(1 << 18);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    for (size_t i = 0; i < large.n; i++)
        gomem_init_root(&large.slots[i], gomem_alloc_scan(p, 64));
    gomem_add_roots(rt, &large);
    pthread_t cycle, closers[2];
    begin_cycle(p, &cycle);
    gomem_proc_release(p);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&closers[i], NULL, close_runtime, NULL) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(closers[i], NULL);
    pthread_join(cycle, NULL);
    CHECK(gomem_set_gogc(rt, 50) == 100 && gomem_gc(rt) == GOMEM_CLOSED);
    gomem_runtime_delete(rt);
    free(large.slots);
}

/* A large object is scanned in pieces, which no buffer can hold. */
static void no_memory_for_buffers(void)
{
    open_runtime(-1);
    uint64_t slot = 0;
    struct gomem_root_table t = {.slots = &slot, .n = 1};
    gomem_add_roots(rt, &t);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    gomem_init_root(&slot, gomem_alloc_scan(p, 300 << 10));
    gomem_proc_release(p);
    gomem_fail_os_calls(rt, 0, UINT64_MAX / 2);
    (void)!gomem_gc(rt); /* the thread may have been refused */
    gomem_fail_os_calls(rt, 0, 0);
    gomem_remove_roots(rt, &t);
    verify_and_delete();
}

/* Pointers behind the last object of a span are no pointers to objects. */
static void pointers_behind_the_last_object(void)
{
    open_runtime(-1);
    struct gomem_root_table t = large_table(16 * 4096), ends = large_table(16 * 4096);
    gomem_add_roots(rt, &t);
    gomem_add_roots(rt, &ends);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    for (size_t i = 0; i < t.n; i++) {
        gomem_init_root(&t.slots[i], gomem_alloc_scan(p, 480));
        gomem_init_root(&ends.slots[i], (void *)(uintptr_t)(t.slots[i] | 8191));
    }
    gomem_proc_release(p);
    for (int i = 0; i < 2; i++)
        CHECK(gomem_gc(rt) == GOMEM_OK);
    gomem_remove_roots(rt, &t);
    gomem_remove_roots(rt, &ends);
    verify_and_delete();
    free(t.slots);
    free(ends.slots);
}

/* With the insertion barrier alone what is cut off while marking goes on, and held by a frame only, is
 * found when frames are scanned once more; what nobody holds is freed at once. */
static void frames_are_scanned_again(enum gomem_barrier barrier)
{
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    o.barrier = barrier;
    o.marker = marker;
    CHECK(gomem_runtime_new(&o, &rt, &err) == GOMEM_OK);
    struct {
        struct gomem_frame f;
        void **slots[3];
    } frame = {.f = {.n = 3}};
    struct gomem_shadow_stack stack = {.top = &frame.f};
    struct gomem_root_table large = large_table(1 << 12);
    gomem_add_shadow_stack(rt, &stack);
    gomem_add_roots(rt, &large);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    for (int i = 0; i < 2; i++) {
        void **holder = gomem_alloc_scan(p, 64);
        gomem_init_root(&large.slots[large.n - 1 - (size_t)i], holder);
        gomem_write_pointer(p, &holder[0], gomem_alloc(p, 100));
    }
    gomem_proc_release(p);
    uint64_t id;
    enum gomem_gc_phase phase;
    CHECK(gomem_step_begin(rt, false, &id) == GOMEM_OK);
    CHECK(gomem_step_phase(rt, id, &phase) == GOMEM_OK && phase == GOMEM_GC_MARK);
    p = gomem_proc_acquire(rt);
    for (int i = 0; i < 2; i++) {
        void **holder = (void **)(uintptr_t)large.slots[large.n - 1 - (size_t)i];
        frame.slots[i] = i == 0 ? holder[0] : NULL;
        gomem_write_pointer(p, &holder[0], NULL);
    }
    gomem_proc_release(p);
    while (phase != GOMEM_GC_OFF) {
        CHECK(gomem_verify(rt, &err) == GOMEM_OK);
        CHECK(gomem_step_phase(rt, id, &phase) == GOMEM_OK);
    }
    struct gomem_gc_cycle cycle;
    struct gomem_memstats m;
    CHECK(gomem_gc_cycles(rt, &cycle, 1) == 1 && gomem_read_memstats(rt, &m) == GOMEM_OK);
    bool dijkstra = barrier == GOMEM_BARRIER_DIJKSTRA;
    CHECK_OP(m.heap_objects, ==, dijkstra ? 3 : 4);
    CHECK_OP(cycle.rescan_slots, ==, dijkstra ? 3 : 0);
    CHECK(dijkstra == (cycle.rescan_ns > 0));
    CHECK_OP(cycle.barrier_writes, ==, 2);
    CHECK_OP(cycle.barrier_shaded, ==, dijkstra ? 0 : 2);
    gomem_remove_shadow_stack(rt, &stack);
    gomem_remove_roots(rt, &large);
    free(large.slots);
    verify_and_delete();
}

int main(void)
{
    for (marker = GOMEM_MARKER_SPAN; marker <= GOMEM_MARKER_OBJECT; marker++) {
        table_goes_while_marking();
        closing_twice();
        no_memory_for_buffers();
        pointers_behind_the_last_object();
        frames_are_scanned_again(GOMEM_BARRIER_HYBRID);
        frames_are_scanned_again(GOMEM_BARRIER_DIJKSTRA);
    }
    printf("gc_cases: ok\n");
    return 0;
}
