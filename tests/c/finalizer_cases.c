/* Finalizers, cleanups and weak pointers of C programs, case by case.
 *
 *   finalizer_cases
 *
 * Each case is a heap of its own, which is verified at its end and then closed; every callback's data is
 * to be released once by then.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/check.h"
#include "gomem.h"

enum { WORDS = 8 };

static struct gomem_runtime *rt;
static struct gomem_error err;
static uint32_t collected; /* atomic */

/* What happened to one callback. */
struct record {
    int called, released;
    uint64_t *pointer;
    uint64_t seen; /* the last word of what the object's first word leads to */
};

static void called(struct gomem_runtime *r, void *pointer, void *data)
{
    struct record *record = data;
    CHECK(r == rt);
    record->called++;
    record->pointer = pointer;
    uint64_t **object = pointer;
    if (object != NULL && object[0] != NULL)
        record->seen = object[0][WORDS - 1];
}

static void released(void *data)
{
    ((struct record *)data)->released++;
}

static struct gomem_callback callback_of(struct record *record)
{
    return (struct gomem_callback){called, released, record};
}

static void open_runtime(void)
{
    struct gomem_options o = gomem_options_default();
    o.gogc = -1;
    CHECK(gomem_runtime_new(&o, &rt, &err) == GOMEM_OK);
}

static void verify(void)
{
    if (gomem_verify(rt, &err) != GOMEM_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
}

static void collect(void)
{
    CHECK(gomem_gc(rt) == GOMEM_OK);
    verify();
}

/* A child of a new object, with a value at its end. */
static void *with_child(struct gomem_proc *p, size_t size, uint64_t value)
{
    void **object = gomem_alloc_scan(p, size);
    uint64_t *child = gomem_alloc(p, WORDS * sizeof(uint64_t));
    CHECK(object != NULL && child != NULL);
    child[WORDS - 1] = value;
    gomem_write_pointer(p, &object[0], child);
    return object;
}

static void set_finalizer(struct gomem_proc *p, void *object, struct record *record)
{
    struct gomem_callback cb = callback_of(record);
    CHECK_OP(gomem_set_finalizer(p, object, &cb, &err), ==, GOMEM_OK);
}

static uint64_t add_cleanup(struct gomem_proc *p, void *object, void *argument, struct record *record)
{
    struct gomem_callback cb = callback_of(record);
    uint64_t id;
    CHECK_OP(gomem_add_cleanup(p, object, &cb, argument, &id, &err), ==, GOMEM_OK);
    return id;
}

/* Garbage of the sizes that tests use, so that freed memory is used again. */
static void reuse_memory(void)
{
    struct gomem_proc *p = gomem_proc_acquire(rt);
    for (size_t size = 8; size <= 512; size += 8)
        for (int i = 0; i < 600; i++) {
            uint64_t *w = gomem_alloc(p, size);
            CHECK(w != NULL);
            w[size / 8 - 1] = 0xdead;
        }
    gomem_proc_release(p);
}

static void *collect_thread(void *unused)
{
    (void)unused;
    (void)!gomem_gc(rt);
    store_release(&collected, 1);
    return NULL;
}

/* Starts a cycle by another thread, and waits until it marks: the P's first word says so. */
static void begin_cycle(struct gomem_proc *p, pthread_t *thread)
{
    store_release(&collected, 0);
    CHECK(pthread_create(thread, NULL, collect_thread, NULL) == 0);
    while (!load_relaxed((uint32_t *)p))
        CHECK(gomem_safepoint(p));
}

static void end_cycle(struct gomem_proc *p, pthread_t thread)
{
    while (!load_acquire(&collected))
        CHECK(gomem_safepoint(p));
    pthread_join(thread, NULL);
}

/* A table that is scanned first, and for a while. */
static struct gomem_root_table long_table(void)
{
    struct gomem_root_table t = {.slots = calloc((size_t)1 << 24, sizeof(uint64_t)),
                                 .n = (size_t)1 << 24};
    CHECK(t.slots != NULL);
    return t;
}

/* --- The cases --- */

/* What a finalizer's object leads to is there when it is called; it is called once; sizes with a bitmap,
 * with a header, large. */
static void children_are_kept(void)
{
    static const size_t sizes[] = {8, 16, 48, 512, 1000, 30000, 400 << 10};
    struct record records[7] = {0};
    open_runtime();
    struct gomem_proc *p = gomem_proc_acquire(rt);
    for (int i = 0; i < 7; i++)
        set_finalizer(p, with_child(p, sizes[i], 100 + (uint64_t)i), &records[i]);
    gomem_proc_release(p);
    verify();
    collect();
    reuse_memory();
    collect(); /* the queue keeps them, too */
    reuse_memory();
    CHECK_OP(gomem_run_finalizers(rt), ==, 7);
    for (int i = 0; i < 7; i++) {
        CHECK(records[i].called == 1 && records[i].released == 1);
        CHECK_OP(records[i].seen, ==, 100 + (uint64_t)i);
    }
    struct gomem_memstats m;
    CHECK(gomem_read_memstats(rt, &m) == GOMEM_OK);
    uint64_t before = m.frees;
    collect();
    CHECK(gomem_read_memstats(rt, &m) == GOMEM_OK && m.frees >= before + 14);
    CHECK_OP(gomem_run_finalizers(rt), ==, 0);
    gomem_runtime_delete(rt);
}

/* More on one span, and in the queue, than is looked at under a lock at once. */
static void many(void)
{
    enum { N = 500 };
    static struct record records[3 * N];
    open_runtime();
    struct gomem_proc *p = gomem_proc_acquire(rt);
    for (int i = 0; i < N; i++) {
        void *object = with_child(p, 16, (uint64_t)i);
        void *argument = with_child(p, 24, (uint64_t)i + N);
        set_finalizer(p, object, &records[i]);
        add_cleanup(p, object, argument, &records[N + i]);
        add_cleanup(p, object, argument, &records[2 * N + i]);
    }
    gomem_proc_release(p);
    verify();
    for (int cycle = 0; cycle < 2; cycle++) {
        collect();
        reuse_memory();
        collect();
        reuse_memory();
        CHECK_OP(gomem_run_finalizers(rt), ==, cycle == 0 ? N : 2 * N);
    }
    for (int i = 0; i < 3 * N; i++) {
        CHECK(records[i].called == 1 && records[i].released == 1);
        CHECK_OP(records[i].seen, ==, (uint64_t)(i < N ? i : i % N + N));
    }
    gomem_runtime_delete(rt);
}

/* Takes out of a holder what only it leads to, and what only a weak pointer leads to. With the insertion
 * barrier nothing of that is greyed but the holder. */
static void *cut_out(struct gomem_proc *p, struct gomem_weak *w)
{
    void **holder = gomem_weak_value(p, w);
    CHECK(holder != NULL);
    void *object = holder[0];
    gomem_write_pointer(p, &holder[0], NULL);
    return object;
}

static struct gomem_weak *weak_holder_of(struct gomem_proc *p, void *object)
{
    void **holder = gomem_alloc_scan(p, 64);
    CHECK(holder != NULL);
    gomem_write_pointer(p, &holder[0], object);
    struct gomem_weak *w = gomem_weak_make(p, holder, &err);
    CHECK(w != NULL);
    return w;
}

/* A finalizer, and a cleanup with an argument, that come when marking has looked for them, to objects that
 * it has not come to: with the insertion barrier that can be. */
static void attached_while_marking(void)
{
    struct record first = {0}, records[2] = {0};
    struct gomem_options o = gomem_options_default();
    o.gogc = -1;
    o.barrier = GOMEM_BARRIER_DIJKSTRA;
    CHECK(gomem_runtime_new(&o, &rt, &err) == GOMEM_OK);
    uint64_t slot = 0;
    struct gomem_root_table t = {.slots = &slot, .n = 1}, large = long_table();
    gomem_add_roots(rt, &t);
    gomem_add_roots(rt, &large);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    set_finalizer(p, with_child(p, 16, 1), &first);
    gomem_init_root(&slot, with_child(p, 64, 1));
    struct gomem_weak *w[2] = {weak_holder_of(p, with_child(p, 64, 77)),
                               weak_holder_of(p, with_child(p, 64, 78))};
    for (int i = 0; i < 1000; i++) /* out of the window */
        CHECK(gomem_alloc_scan(p, 64) != NULL && gomem_alloc(p, 64) != NULL);
    pthread_t thread;
    begin_cycle(p, &thread);
    usleep(300000); /* it waits for us now, to end marking */
    set_finalizer(p, cut_out(p, w[0]), &records[0]);
    add_cleanup(p, (void *)(uintptr_t)slot, cut_out(p, w[1]), &records[1]);
    end_cycle(p, thread);
    gomem_weak_release(p, w[0]);
    gomem_weak_release(p, w[1]);
    gomem_init_root(&slot, NULL);
    gomem_proc_release(p);
    for (int i = 0; i < 2; i++) {
        reuse_memory();
        collect();
        (void)gomem_run_finalizers(rt);
    }
    CHECK(records[0].called == 1 && records[0].seen == 77);
    CHECK(records[1].called == 1 && records[1].seen == 78);
    gomem_remove_roots(rt, &t);
    gomem_remove_roots(rt, &large);
    gomem_runtime_delete(rt);
    free(large.slots);
}

/* A weak pointer is made strong while marking goes on, and nothing else leads to the object. */
static void strong_while_marking(void)
{
    open_runtime();
    struct gomem_root_table large = long_table();
    uint64_t slot = 0;
    struct gomem_root_table t = {.slots = &slot, .n = 1};
    struct {
        struct gomem_frame f;
        void *slots[1];
    } frame = {.f = {.n = 1}};
    struct gomem_shadow_stack stack = {.top = &frame.f};
    gomem_add_roots(rt, &large);
    gomem_add_shadow_stack(rt, &stack);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    void *object = with_child(p, 64, 5);
    struct gomem_weak *w = gomem_weak_make(p, object, &err);
    CHECK(w != NULL && gomem_weak_value(p, w) == object);
    for (int i = 0; i < 1000; i++)
        CHECK(gomem_alloc_scan(p, 64) != NULL && gomem_alloc(p, 64) != NULL);
    pthread_t thread;
    begin_cycle(p, &thread);
    frame.slots[0] = gomem_weak_value(p, w); /* frames are scanned already */
    CHECK(frame.slots[0] == object);
    end_cycle(p, thread);
    CHECK(gomem_weak_value(p, w) == object);
    gomem_proc_release(p);
    reuse_memory();
    CHECK_OP((*(uint64_t **)frame.slots[0])[WORDS - 1], ==, 5);
    frame.slots[0] = NULL;
    collect();
    p = gomem_proc_acquire(rt);
    CHECK(gomem_weak_value(p, w) == NULL);
    gomem_weak_release(p, w);
    gomem_proc_release(p);
    gomem_remove_roots(rt, &large);
    gomem_remove_shadow_stack(rt, &stack);
    (void)t;
    verify();
    gomem_runtime_delete(rt);
    free(large.slots);
}

/* What was queued is taken while marking goes on, before marking has come to the queue. */
static void taken_while_marking(void)
{
    struct record record = {0};
    open_runtime();
    struct gomem_root_table large = long_table();
    uint64_t root = 0;
    struct gomem_root_table t = {.slots = &root, .n = 1};
    struct {
        struct gomem_frame f;
        void *slots[1];
    } frame = {.f = {.n = 1}};
    struct gomem_shadow_stack stack = {.top = &frame.f};
    struct gomem_proc *p = gomem_proc_acquire(rt);
    set_finalizer(p, with_child(p, 64, 9), &record);
    gomem_proc_release(p);
    collect();
    gomem_add_roots(rt, &t);
    gomem_add_roots(rt, &large);
    gomem_add_shadow_stack(rt, &stack);
    p = gomem_proc_acquire(rt);
    pthread_t thread;
    begin_cycle(p, &thread);
    struct gomem_call call;
    CHECK(gomem_take_call(p, &root, &call) && call.kind == GOMEM_CALL_FINALIZER);
    CHECK((uint64_t)(uintptr_t)call.pointer == root);
    frame.slots[0] = call.pointer;
    gomem_init_root(&root, NULL);
    end_cycle(p, thread);
    CHECK(!gomem_take_call(p, &root, &call));
    gomem_proc_release(p);
    reuse_memory();
    CHECK_OP((*(uint64_t **)frame.slots[0])[WORDS - 1], ==, 9);
    gomem_remove_roots(rt, &large);
    gomem_remove_roots(rt, &t);
    gomem_remove_shadow_stack(rt, &stack);
    verify();
    gomem_runtime_delete(rt);
    CHECK(record.called == 0 && record.released == 0); /* the taker's */
    free(large.slots);
}

/* Freed by hand, also while marking: cleanups are queued and their arguments kept, finalizers dropped. */
static void freed_by_hand(bool marking)
{
    struct record finalizer = {0}, cleanup = {0}, stopped = {0};
    struct gomem_callback cb;
    open_runtime();
    struct gomem_root_table large = long_table();
    gomem_add_roots(rt, &large);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    static const size_t sizes[] = {64, 1000, 100 << 10};
    for (int i = 0; i < 3; i++) {
        finalizer = cleanup = stopped = (struct record){0};
        void *object = with_child(p, sizes[i], 1), *argument = with_child(p, 64, 2);
        set_finalizer(p, object, &finalizer);
        add_cleanup(p, (char *)object + 8, argument, &cleanup);
        uint64_t id = add_cleanup(p, object, NULL, &stopped);
        struct gomem_weak *w = gomem_weak_make(p, object, &err);
        struct gomem_weak *inner = gomem_weak_make(p, (char *)object + 8, &err);
        CHECK(w != NULL && inner != NULL && w != inner);
        CHECK(gomem_stop_cleanup(p, object, id, &cb) && cb.data == &stopped);
        CHECK(!gomem_stop_cleanup(p, object, id, &cb));
        pthread_t thread;
        if (marking)
            begin_cycle(p, &thread);
        CHECK(gomem_free(p, object) == GOMEM_OK);
        CHECK(gomem_free(p, object) == GOMEM_INVALID_POINTER);
        CHECK(gomem_weak_value(p, w) == NULL && gomem_weak_value(p, inner) == NULL);
        if (marking)
            end_cycle(p, thread);
        gomem_weak_release(p, w);
        gomem_weak_release(p, inner);
        gomem_proc_release(p);
        reuse_memory();
        collect();
        reuse_memory();
        CHECK_OP(gomem_run_finalizers(rt), ==, 1);
        CHECK(finalizer.called == 0 && finalizer.released == 1 && stopped.released == 0);
        CHECK(cleanup.called == 1 && cleanup.released == 1 && cleanup.seen == 2);
        p = gomem_proc_acquire(rt);
    }
    gomem_proc_release(p);
    gomem_remove_roots(rt, &large);
    verify();
    gomem_runtime_delete(rt);
    free(large.slots);
}

/* Go's messages; nothing stays attached. */
static void wrong_arguments(void)
{
    struct record r = {0};
    struct gomem_callback cb = callback_of(&r), out;
    uint64_t id;
    open_runtime();
    struct gomem_proc *p = gomem_proc_acquire(rt);
    char *object = gomem_alloc_scan(p, 64), *zero = gomem_alloc(p, 0), local;
    const struct {
        enum gomem_status got, wanted;
        const char *text;
    } cases[] = {
        {gomem_set_finalizer(p, object, &cb, &err), GOMEM_OK, ""},
        {gomem_set_finalizer(p, NULL, &cb, &err), GOMEM_INVALID_POINTER, "first argument is nil"},
        {gomem_set_finalizer(p, object, &cb, &err), GOMEM_INVALID_VALUE, "already set"},
        {gomem_set_finalizer(p, object + 8, &cb, &err), GOMEM_INVALID_POINTER, "beginning"},
        {gomem_set_finalizer(p, &local, &cb, &err), GOMEM_INVALID_POINTER, "not in allocated"},
        {gomem_set_finalizer(p, zero, &cb, &err), GOMEM_OK, ""},
        {gomem_add_cleanup(p, NULL, &cb, NULL, &id, &err), GOMEM_INVALID_POINTER, "nil"},
        {gomem_add_cleanup(p, &local, &cb, NULL, &id, &err), GOMEM_INVALID_POINTER, "not in"},
        {gomem_add_cleanup(p, object, &cb, object, &id, &err), GOMEM_INVALID_VALUE, "equal to arg"},
        {gomem_add_cleanup(p, object, &cb, object + 1, &id, &err), GOMEM_INVALID_VALUE, "within"},
        {gomem_add_cleanup(p, zero, &cb, NULL, &id, &err), GOMEM_OK, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_OP(cases[i].got, ==, cases[i].wanted);
    CHECK(id == 0 && !gomem_stop_cleanup(p, zero, id, &out));
    CHECK(!gomem_stop_cleanup(p, &local, 1, &out) && !gomem_stop_cleanup(p, NULL, 1, &out));
    CHECK(gomem_weak_make(p, NULL, &err) == NULL && err.status == GOMEM_INVALID_POINTER);
    CHECK(gomem_weak_make(p, &local, &err) == NULL && gomem_weak_value(p, NULL) == NULL);
    struct gomem_weak *w = gomem_weak_make(p, zero, &err);
    CHECK(w != NULL && gomem_weak_value(p, w) == zero);
    gomem_weak_release(p, w);
    CHECK(gomem_clear_finalizer(p, object, &out) && out.data == &r);
    CHECK(!gomem_clear_finalizer(p, object, &out) && !gomem_clear_finalizer(p, NULL, &out));
    gomem_proc_release(p);
    collect();
    CHECK_OP(gomem_run_finalizers(rt), ==, 0);
    gomem_runtime_delete(rt);
    CHECK_OP(r.released, ==, 0);
}

/* The OS refuses memory: nothing has changed. */
static void no_memory(void)
{
    static struct record records[20000];
    int refused = 0;
    open_runtime();
    struct gomem_proc *p = gomem_proc_acquire(rt);
    void *object = gomem_alloc_scan(p, 64);
    gomem_proc_release(p);
    gomem_fail_os_calls(rt, 0, UINT64_MAX / 2);
    p = gomem_proc_acquire(rt);
    for (int i = 0; i < 20000; i++) {
        struct gomem_callback cb = callback_of(&records[i]);
        uint64_t id;
        enum gomem_status status = gomem_add_cleanup(p, object, &cb, NULL, &id, &err);
        refused += status == GOMEM_OUT_OF_MEMORY;
        CHECK(status == GOMEM_OK || status == GOMEM_OUT_OF_MEMORY);
    }
    struct gomem_weak *w = gomem_weak_make(p, object, &err);
    CHECK(w != NULL || err.status == GOMEM_OUT_OF_MEMORY);
    gomem_weak_release(p, w);
    gomem_proc_release(p);
    CHECK(refused > 0);
    gomem_fail_os_calls(rt, 0, 0);
    collect();
    CHECK_OP(gomem_run_finalizers(rt), ==, (size_t)(20000 - refused));
    gomem_runtime_delete(rt);
}

/* A large object is scanned whole for its finalizer though no buffer can be had. */
static void no_memory_for_buffers(void)
{
    struct record record = {0};
    open_runtime();
    struct gomem_proc *p = gomem_proc_acquire(rt);
    void **object = gomem_alloc_scan(p, 600 << 10);
    uint64_t **middle = gomem_alloc_scan(p, 16);
    uint64_t *child = gomem_alloc(p, WORDS * sizeof(uint64_t));
    CHECK(object != NULL && middle != NULL && child != NULL);
    child[WORDS - 1] = 31;
    gomem_write_pointer(p, (void **)&middle[0], child);
    gomem_write_pointer(p, &object[(500 << 10) / 8], middle);
    set_finalizer(p, object, &record);
    gomem_proc_release(p);
    gomem_fail_os_calls(rt, 0, UINT64_MAX / 2);
    (void)!gomem_gc(rt);
    gomem_fail_os_calls(rt, 0, 0);
    reuse_memory();
    collect();
    reuse_memory();
    CHECK_OP(gomem_run_finalizers(rt), ==, 1);
    uint64_t **kept = (void *)record.pointer[(500 << 10) / 8];
    CHECK(record.called == 1 && kept == middle && kept[0][WORDS - 1] == 31);
    gomem_runtime_delete(rt);
}

/* What is attached, and what is queued, is released when the runtime closes. */
static void closing(void)
{
    struct record attached = {0}, queued = {0}, dropped = {0};
    open_runtime();
    struct gomem_proc *p = gomem_proc_acquire(rt);
    set_finalizer(p, with_child(p, 64, 1), &queued);
    void *object = with_child(p, 64, 1);
    set_finalizer(p, object, &dropped);
    CHECK(gomem_free(p, object) == GOMEM_OK);
    gomem_proc_release(p);
    collect();
    p = gomem_proc_acquire(rt);
    set_finalizer(p, with_child(p, 64, 1), &attached);
    struct gomem_weak *w = gomem_weak_make(p, with_child(p, 64, 1), &err);
    CHECK(w != NULL);
    gomem_proc_release(p);
    gomem_runtime_close(rt);
    CHECK_OP(gomem_run_finalizers(rt), ==, 0);
    CHECK(attached.released == 1 && queued.released == 1 && dropped.released == 1);
    CHECK(attached.called + queued.called + dropped.called == 0);
    gomem_runtime_delete(rt);
}

int main(void)
{
    children_are_kept();
    many();
    attached_while_marking();
    strong_while_marking();
    taken_while_marking();
    freed_by_hand(false);
    freed_by_hand(true);
    wrong_arguments();
    no_memory();
    no_memory_for_buffers();
    closing();
    printf("finalizer_cases: ok\n");
    return 0;
}
