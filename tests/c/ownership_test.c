/* Scenarios of span ownership, step by step, that random tests meet once in a million operations.
 *
 * Each takes the parts of several Ps in one thread: with the caches acquired, that is what the library
 * cannot tell from threads.
 *
 * Concurrency: one thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "heap/malloc.h"
#include "heap/verify.h"

enum { SIZE = 512, PER_SPAN = 15, PROCS = 3 };

static struct mheap *h;
static struct mcache *p0, *p1;

static void begin(void)
{
    struct size_class_table table;
    struct gomem_size_class_rules rules = size_class_rules_go();
    struct gomem_error err;
    if (size_class_table_make(&table, &rules, &err) != GOMEM_OK)
        abort();
    h = mheap_new(
        &(struct mheap_options){
            .size_classes = &table,
            .procs = PROCS,
            .max_memory = UINT64_MAX,
            .memory_limit = UINT64_MAX,
            .dontneed = true,
        },
        &err);
    p0 = h->mcaches[0];
    p1 = h->mcaches[1];
    CHECK(h != NULL && mcache_try_acquire(p0) && mcache_try_acquire(p1));
}

static void verify(const char *where)
{
    struct gomem_error err;
    if (heap_verify(h, &err) != GOMEM_OK) {
        fprintf(stderr, "ownership_test: %s: %s\n", where, err.message);
        abort();
    }
}

static void end(void)
{
    verify("end");
    mcache_release(p0);
    mcache_release(p1);
    mheap_destroy(h);
}

static void fill(struct mcache *c, uintptr_t *objects, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        objects[i] = (uintptr_t)malloc_noscan(c, SIZE);
        CHECK(objects[i] != 0);
    }
}

static void release(struct mcache *c, uintptr_t object)
{
    CHECK(free_object(c, object) == GOMEM_OK);
}

static uint64_t live_objects(void)
{
    struct gomem_memstats m;
    memstats_read(h, &m);
    return m.heap_objects;
}

/* A P that frees in another's span enters it in the owner's remote set after it has let go of the
 * span's lock. By then the owner may have merged the free on another occasion, used the slot, and
 * found the span full: the late entry must not make it partial. */
static void late_remote_entry(void)
{
    uintptr_t a[2 * PER_SPAN];
    begin();
    fill(p0, a, 2 * PER_SPAN);
    struct mspan *s = span_of(h, a[0]);
    CHECK(s->live == s->nelems && p0->slots[s->span_class].span != s);
    spin_lock(&s->lock);
    s->in_set[SET_REMOTE] = true;
    spin_unlock(&s->lock);
    span_set_push(&p0->remote, SET_REMOTE, s);
    mcache_collect_remote(p0);
    verify("collected");
    fill(p0, a, PER_SPAN);
    end();
}

/* All objects of a span are freed by another P while its owner is not at work: the last free gives the
 * span back. */
static void remote_frees_of_idle_owner(void)
{
    uintptr_t a[2 * PER_SPAN];
    begin();
    fill(p0, a, 2 * PER_SPAN);
    mcache_release(p0);
    for (unsigned i = 0; i < PER_SPAN; i++)
        release(p1, a[i]);
    verify("freed");
    CHECK_OP(live_objects(), ==, PER_SPAN);
    CHECK_OP(h->bytes.heap_inuse.bytes, ==, 8192);
    CHECK(mcache_try_acquire(p0));
    end();
}

/* The same while the owner is at work: the owner gives the span back when it releases its P. */
static void remote_frees_of_busy_owner(void)
{
    uintptr_t a[2 * PER_SPAN];
    begin();
    fill(p0, a, 2 * PER_SPAN);
    for (unsigned i = 0; i < PER_SPAN; i++)
        release(p1, a[i]);
    verify("freed");
    CHECK_OP(h->bytes.heap_inuse.bytes, ==, 2 * 8192);
    mcache_release(p0);
    CHECK_OP(h->bytes.heap_inuse.bytes, ==, 8192);
    CHECK(mcache_try_acquire(p0));
    end();
}

/* A P takes the spare spans of one that is not at work before it asks for new memory. */
static void spare_spans_are_shared(void)
{
    uintptr_t a[4 * PER_SPAN], b[3];
    begin();
    fill(p0, a, 4 * PER_SPAN);
    for (unsigned i = 0; i < 3; i++)
        release(p0, a[i * PER_SPAN]);
    mcache_release(p0);
    uint64_t inuse = h->bytes.heap_inuse.bytes;
    fill(p1, b, 3);
    CHECK_OP(h->bytes.heap_inuse.bytes, ==, inuse);
    verify("shared");
    CHECK(mcache_try_acquire(p0));
    end();
}

/* A flush drops full spans without touching them; frees in them find that out, whoever does them. */
static void frees_after_flush(void)
{
    uintptr_t a[3 * PER_SPAN];
    begin();
    fill(p0, a, 3 * PER_SPAN);
    release(p1, a[2]); /* remote, not collected when the token changes */
    mcache_flush(p0);
    verify("flushed");
    release(p0, a[0]);
    release(p1, a[1]);
    CHECK_OP(live_objects(), ==, 3 * PER_SPAN - 3);
    verify("freed");
    for (unsigned i = 3; i < 3 * PER_SPAN; i++)
        release(i % 2 ? p0 : p1, a[i]);
    mcache_flush(p0);
    mcache_flush(p1);
    CHECK_OP(live_objects(), ==, 0);
    CHECK_OP(h->bytes.heap_inuse.bytes, ==, 0);
    end();
}

/* Freed twice, by whomever, in whatever state the span is: the second is refused. */
static void double_frees(void)
{
    uintptr_t a[2 * PER_SPAN];
    begin();
    fill(p0, a, 2 * PER_SPAN);
    struct mcache *by[] = {p0, p1};
    unsigned i = 0;
    for (int first = 0; first < 2; first++)
        for (int second = 0; second < 2; second++, i++) {
            release(by[first], a[i]);
            CHECK_OP(free_object(by[second], a[i]), ==, GOMEM_INVALID_POINTER);
            CHECK_OP(free_object(by[second], a[PER_SPAN + i] + 8), ==, GOMEM_INVALID_POINTER);
        }
    mcache_flush(p0);
    for (unsigned k = 0; k < i; k++)
        CHECK_OP(free_object(p1, a[k]), ==, GOMEM_INVALID_POINTER);
    CHECK_OP(live_objects(), ==, 2 * PER_SPAN - i);
    end();
}

/* Parts of tiny blocks freed by Ps that do not fill them, while they are filled and after. */
static void tiny_parts_across_ps(void)
{
    uintptr_t a[4];
    begin();
    for (unsigned i = 0; i < 4; i++)
        a[i] = (uintptr_t)malloc_noscan(p0, 4);
    CHECK_OP(a[3], ==, a[0] + 12);
    uintptr_t next = (uintptr_t)malloc_noscan(p0, 4); /* retires the block */
    release(p1, next);                                /* p0 still fills this one */
    CHECK_OP(free_object(p1, next), ==, GOMEM_INVALID_POINTER);
    CHECK_OP(free_object(p0, next + 4), ==, GOMEM_INVALID_POINTER);
    uintptr_t second = (uintptr_t)malloc_noscan(p0, 8);
    CHECK_OP(second, ==, next + 8);
    release(p0, a[0]);
    release(p1, a[1]);
    release(p0, a[2]);
    CHECK_OP(free_object(p0, a[1]), ==, GOMEM_INVALID_POINTER);
    release(p1, a[3]);
    release(p1, second);
    verify("freed");
    tiny_retire(p0);
    mcache_flush(p0);
    mcache_flush(p1);
    CHECK_OP(live_objects(), ==, 0);
    end();
}

int main(void)
{
    late_remote_entry();
    remote_frees_of_idle_owner();
    remote_frees_of_busy_owner();
    spare_spans_are_shared();
    frees_after_flush();
    double_frees();
    tiny_parts_across_ps();
    puts("ownership_test: ok");
    return 0;
}
