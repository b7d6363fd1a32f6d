/* The whole public interface once, with the core alone: no Python, nothing but gomem.h.
 *
 * Concurrency: one thread.
 * Go: no counterpart.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gomem.h"

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "smoke: line %d: %s\n", __LINE__, #cond);                              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct gomem_runtime *rt;
static struct gomem_type *pointer, *word, *node;

static void size_classes(void)
{
    struct gomem_error err;
    struct gomem_size_class_rules rules = gomem_size_class_rules_go();
    struct gomem_size_classes *t = gomem_size_classes_make(&rules, &err);
    REQUIRE(t != NULL);
    REQUIRE(gomem_size_classes_count(t) == 68 && gomem_size_classes_page_size(t) == 8192);
    REQUIRE(gomem_size_classes_get(t, 67).size == 32768);
    REQUIRE(gomem_size_classes_lookup(t, 100, true) == 9);
    REQUIRE(gomem_size_classes_round_up(t, 100, true) == 112);
    gomem_size_classes_delete(t);
    rules.page_size = 1000;
    REQUIRE(gomem_size_classes_make(&rules, &err) == NULL && err.status == GOMEM_INVALID_VALUE);
}

static void types(void)
{
    struct gomem_error err;
    pointer = gomem_type_pointer("*node", &err);
    word = gomem_type_basic(GOMEM_INT64, &err);
    REQUIRE(pointer != NULL && word != NULL);
    const char *names[] = {"left", "value"};
    const struct gomem_type *fields[] = {pointer, word};
    node = gomem_type_struct("node", names, fields, 2, &err);
    REQUIRE(node != NULL && gomem_type_size(node) == 16);
}

static void objects(struct gomem_proc *p)
{
    unsigned char *bytes = gomem_alloc(p, 100);
    void *tiny = gomem_alloc(p, 3), *nodes = gomem_alloc_typed(p, node, 10);
    void *large = gomem_alloc(p, 1 << 20);
    REQUIRE(bytes != NULL && tiny != NULL && nodes != NULL && large != NULL);
    for (int i = 0; i < 100; i++)
        REQUIRE(bytes[i] == 0);
    memset(bytes, 1, 100);

    struct gomem_lookup l;
    gomem_proc_lookup(p, (uintptr_t)bytes + 50, &l);
    REQUIRE(l.place == GOMEM_PLACE_OBJECT && l.object == (uintptr_t)bytes && l.size == 112);
    size_t offset;
    REQUIRE(gomem_proc_type_fits(p, node, (uintptr_t)nodes, &offset));

    REQUIRE(gomem_free(p, bytes + 1) == GOMEM_INVALID_POINTER);
    REQUIRE(gomem_free(p, bytes) == GOMEM_OK && gomem_free(p, bytes) == GOMEM_INVALID_POINTER);
    REQUIRE(gomem_free(p, tiny) == GOMEM_OK && gomem_free(p, nodes) == GOMEM_OK);
    REQUIRE(gomem_free(p, large) == GOMEM_OK);
}

static void many(struct gomem_proc *p)
{
    enum { N = 1000 };
    static uint64_t sizes[N], addresses[N];
    for (unsigned i = 0; i < N; i++)
        sizes[i] = 1 + i * 7 % 3000;
    REQUIRE(gomem_alloc_many(p, sizes, 1, N, true, addresses) == N);
    REQUIRE(gomem_free_many(p, addresses, N) == N);
}

static void stacks(struct gomem_proc *p)
{
    struct gomem_stack s;
    REQUIRE(gomem_stack_alloc(p, 3000, &s) == GOMEM_INVALID_VALUE);
    REQUIRE(gomem_stack_alloc(p, 4096, &s) == GOMEM_OK && s.hi - s.lo == 4096);
    uint64_t sp = s.hi - 8;
    *(uint64_t *)(uintptr_t)sp = 42;
    REQUIRE(gomem_stack_grow(p, &s, &sp) == GOMEM_OK && s.hi - s.lo == 8192);
    REQUIRE(*(uint64_t *)(uintptr_t)sp == 42);
    REQUIRE(gomem_stack_shrink(p, &s, &sp) && s.hi - s.lo == 4096);
    gomem_stack_free(p, s);
}

static void inspection(void)
{
    struct gomem_error err;
    struct gomem_memstats m;
    struct gomem_free_runs runs;
    struct gomem_span spans[100], span;
    uint8_t slots[1024];
    REQUIRE(gomem_verify(rt, &err) == GOMEM_OK);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    REQUIRE(p != NULL);
    void *object = gomem_alloc(p, 1000);
    gomem_proc_release(p);
    uint64_t address = (uintptr_t)object;
    REQUIRE(gomem_span_at(rt, address + 999, &span, slots, 1024, &err) == GOMEM_OK);
    REQUIRE(span.elem_size == 1024 && span.live == 1 && slots[(address - span.base) / 1024] == 1);
    REQUIRE(gomem_span_at(rt, 8, &span, slots, 1024, &err) == GOMEM_INVALID_POINTER);
    p = gomem_proc_acquire(rt);
    REQUIRE(p != NULL && gomem_free(p, object) == GOMEM_OK);
    gomem_proc_release(p);
    gomem_flush(rt);
    REQUIRE(gomem_read_memstats(rt, &m) == GOMEM_OK);
    REQUIRE(m.heap_objects == 0 && m.heap_inuse == 0 && m.mallocs == m.frees && m.mallocs >= 1004);
    REQUIRE(gomem_spans(rt, spans, 100) == 0);
    REQUIRE(gomem_free_runs(rt, &runs) == GOMEM_OK && runs.pages > 0);
    REQUIRE(gomem_release_os_memory(rt) > 0);
}

int main(void)
{
    struct gomem_error err;
    struct gomem_options options = gomem_options_default();
    options.gogc = -1; /* objects are known by their addresses only */
    size_classes();
    types();
    options.procs = 2;
    REQUIRE(gomem_runtime_new(&options, &rt, &err) == GOMEM_OK);
    struct gomem_proc *p = gomem_proc_acquire(rt);
    REQUIRE(p != NULL && gomem_safepoint(p));
    objects(p);
    many(p);
    stacks(p);
    gomem_proc_release(p);
    inspection();
    gomem_runtime_close(rt);
    REQUIRE(gomem_runtime_is_closed(rt) && gomem_proc_acquire(rt) == NULL);
    gomem_runtime_delete(rt);
    gomem_type_release(node);
    gomem_type_release(word);
    gomem_type_release(pointer);
    printf("smoke: ok (%s, check level %d)\n", gomem_build_profile(), gomem_build_check_level());
    return 0;
}
