/* Go values under threads while collections run: each thread has slices, maps, strings, a builder and a
 * buffer of its own, beside plain copies of what must be in them, and all share two pools.
 *
 *   values_stress [threads] [operations] [seed]
 *
 * Every object has a number and its complement. An object in a pool has no owner: who gets it writes to it
 * with plain stores, so that the thread sanitizer sees whether what the one thread did comes before what
 * the other does.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/rng.h"
#include "gomem.h"

enum { MOST_ELEMS = 600, KEYS = 300, MOST_BYTES = 5000, PIECE = 90, HELD = 8 };

struct node {
    struct node *next;
    uint64_t number, complement;
    uint64_t uses; /* its owner's */
};

struct program {
    struct gomem_runtime *rt;
    struct gomem_type *pointer, *word, *string, *any, *node, *by_number, *by_text;
    struct gomem_pool *pools[2]; /* of nodes, and of buffers */
    uint64_t numbers, pooled;    /* atomic */
};

/* The variables of a thread: what the collector sees of them. */
struct frame {
    struct gomem_frame f;
    void *array, *any;
    struct gomem_map *by_number, *by_text;
    struct gomem_builder *builder;
    struct gomem_buffer *buffer;
    const void *text;
    const void *temps[3];
    struct node *held[HELD]; /* cut off from a slice or a map, or about to be put into one */
};

#define FRAME_SLOTS ((sizeof(struct frame) - sizeof(struct gomem_frame)) / sizeof(void *))

struct thread {
    pthread_t handle;
    struct program *program;
    struct rng rng;
    unsigned operations, number;
    struct gomem_proc *p;
    struct frame frame;
    uint64_t iterating[3]; /* roots */

    struct gomem_slice slice; /* []*node, its array in the frame */
    struct gomem_string text; /* its bytes in the frame */
    struct gomem_interface boxed; /* its value in the frame */
    /* What must be in them; numbers of nodes. */
    uint64_t elems[MOST_ELEMS], by_number[KEYS], by_text[KEYS], boxed_number, held[HELD];
    size_t by_numbers, by_texts;
    int64_t built, read, written; /* bytes: of the builder, and of the buffer */
    int64_t text_from;
};

static uint32_t below(struct thread *t, uint32_t n)
{
    return rng_below(&t->rng, n);
}

static void ok(enum gomem_status status, const struct gomem_error *err)
{
    if (status != GOMEM_OK) {
        fprintf(stderr, "values_stress: %d: %s\n", status, err->message);
        abort();
    }
}

/* Byte i of what a thread writes. */
static uint8_t byte_at(const struct thread *t, int64_t i)
{
    return (uint8_t)(i * 7 + i / 251 + t->number);
}

static void check_bytes(const struct thread *t, const void *bytes, int64_t from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        CHECK_OP(((const uint8_t *)bytes)[i], ==, byte_at(t, from + i));
}

static int64_t piece(struct thread *t, int64_t from, uint8_t out[PIECE])
{
    int64_t n = below(t, PIECE);
    for (int64_t i = 0; i < n; i++)
        out[i] = byte_at(t, from + i);
    return n;
}

/* --- Nodes --- */

static void check_node(const struct node *n, uint64_t number)
{
    if (number == 0) {
        CHECK(n == NULL);
        return;
    }
    CHECK_OP(n->number, ==, number);
    CHECK_OP(n->complement, ==, ~number);
    if (n->next != NULL)
        CHECK_OP(n->next->number, ==, ~n->next->complement);
}

/* pre: nothing that allocates comes between this and a place for it. */
static struct node *new_node(struct thread *t)
{
    struct node *next = gomem_alloc_typed(t->p, t->program->node, 1);
    struct node *n = gomem_alloc_typed(t->p, t->program->node, 1);
    CHECK(n != NULL && next != NULL);
    uint64_t number = fetch_add_relaxed(&t->program->numbers, 2) + 1;
    *next = (struct node){.number = number + 1, .complement = ~(number + 1)};
    n->number = number;
    n->complement = ~number;
    gomem_write_pointer(t->p, (void **)&n->next, next);
    return n;
}

/* --- Slices --- */

static struct node **slot(struct thread *t, int64_t i)
{
    return (struct node **)t->slice.array + i;
}

static void set_slice(struct thread *t, struct gomem_slice s)
{
    t->slice = s;
    t->frame.array = s.array;
}

static void append_nodes(struct thread *t)
{
    struct gomem_error err;
    struct node *fresh[8];
    struct gomem_slice s = t->slice;
    int64_t n = MIN(1 + (int64_t)below(t, 8), MOST_ELEMS - s.len);
    for (int64_t i = 0; i < n; i++) {
        fresh[i] = new_node(t);
        t->elems[s.len + i] = fresh[i]->number;
    }
    ok(gomem_append(t->p, t->program->pointer, &s, fresh, n, &err), &err);
    set_slice(t, s);
}

static void reslice(struct thread *t)
{
    struct gomem_error err;
    struct gomem_slice s;
    int64_t low = below(t, (uint32_t)t->slice.len + 1);
    struct gomem_bounds b = {.low = low, .has_low = true};
    if (below(t, 2))
        b = (struct gomem_bounds){.high = low, .has_high = true, .max = low, .has_max = below(t, 2)};
    ok(gomem_slice(t->program->pointer, &t->slice, &b, &s, &err), &err);
    if (b.has_low)
        memmove(t->elems, t->elems + low, (size_t)s.len * sizeof t->elems[0]);
    set_slice(t, s);
}

static void move_elements(struct thread *t)
{
    struct gomem_slice to = t->slice, from = t->slice;
    int64_t a = below(t, (uint32_t)to.len + 1), b = below(t, (uint32_t)to.len + 1);
    to.array = slot(t, a);
    to.len -= a;
    from.array = slot(t, b);
    from.len -= b;
    int64_t n = gomem_copy(t->p, t->program->pointer, &to, &from);
    CHECK_OP(n, ==, MIN(to.len, from.len));
    memmove(t->elems + a, t->elems + b, (size_t)n * sizeof t->elems[0]);
}

/* As slices.Insert, Delete and Replace do. */
static void replace(struct thread *t)
{
    struct gomem_error err;
    struct node *fresh[8];
    struct gomem_slice s = t->slice;
    int64_t i = below(t, (uint32_t)s.len + 1), j = i + below(t, (uint32_t)MIN(s.len - i, 8) + 1);
    int64_t n = MIN((int64_t)below(t, 8), MOST_ELEMS - s.len), tail = s.len - j;
    for (int64_t k = 0; k < n; k++)
        fresh[k] = new_node(t);
    memmove(t->elems + i + n, t->elems + j, (size_t)tail * sizeof t->elems[0]);
    for (int64_t k = 0; k < n; k++)
        t->elems[i + k] = fresh[k]->number;
    ok(gomem_slice_replace(t->p, t->program->pointer, &s, i, j, fresh, n, &err), &err);
    CHECK_OP(s.len, ==, i + n + tail);
    set_slice(t, s);
}

static void use_slice(struct thread *t)
{
    int64_t i = t->slice.len == 0 ? 0 : below(t, (uint32_t)t->slice.len);
    switch (below(t, 8)) {
    case 0:
        reslice(t);
        break;
    case 1:
        if (t->slice.len > 0)
            move_elements(t);
        break;
    case 2:
        if (t->slice.len > 0) {
            struct node *n = new_node(t);
            t->elems[i] = n->number;
            gomem_write_pointer(t->p, (void **)slot(t, i), n);
        }
        break;
    case 3:
        if (t->slice.len > 0) {
            gomem_typed_clear(t->p, t->program->pointer, slot(t, i), 1);
            t->elems[i] = 0;
        }
        break;
    case 4:
    case 5:
        append_nodes(t);
        break;
    case 6:
        replace(t);
        break;
    default:
        if (t->slice.len > 0)
            check_node(*slot(t, i), t->elems[i]);
    }
}

/* --- Maps --- */

static void count(size_t *n, uint64_t *entry, uint64_t value)
{
    *n += (value != 0) - (*entry != 0);
    *entry = value;
}

static void iterate(struct thread *t)
{
    struct gomem_error err;
    struct gomem_map_iter it;
    const void *key, *elem;
    uint64_t *roots[3] = {&t->iterating[0], &t->iterating[1], &t->iterating[2]};
    size_t n = 0;
    gomem_map_iter_init(t->p, t->frame.by_number, &it, roots);
    for (;;) {
        ok(gomem_map_iter_next(t->p, t->program->by_number, &it, roots, &key, &elem, &err), &err);
        if (key == NULL)
            break;
        uint64_t k = *(const uint64_t *)key;
        CHECK(k < KEYS && t->by_number[k] != 0);
        check_node(*(struct node *const *)elem, t->by_number[k]);
        n++;
        if (n % 16 == 0)
            CHECK(gomem_safepoint(t->p));
    }
    CHECK_OP(n, ==, t->by_numbers);
}

static void use_map(struct thread *t)
{
    struct gomem_error err;
    const struct gomem_type *type = t->program->by_number;
    struct gomem_map *m = t->frame.by_number;
    uint64_t key = below(t, KEYS);
    struct node *n = NULL;
    bool found;
    switch (below(t, 16)) {
    case 0:
        iterate(t);
        break;
    case 1:
        if (below(t, 20) == 0) {
            ok(gomem_map_clear(t->p, type, m, &err), &err);
            memset(t->by_number, 0, sizeof t->by_number);
            t->by_numbers = 0;
        } else {
            ok(gomem_map_clone(t->p, type, m, &m, &err), &err);
            t->frame.by_number = m;
        }
        break;
    case 2:
    case 3:
    case 4:
        ok(gomem_map_delete(t->p, type, m, &key, &err), &err);
        count(&t->by_numbers, &t->by_number[key], 0);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        n = new_node(t);
        t->frame.temps[0] = n;
        count(&t->by_numbers, &t->by_number[key], n->number);
        ok(gomem_map_set(t->p, type, m, &key, &n, &err), &err);
        break;
    default:
        ok(gomem_map_get(t->p, type, m, &key, &n, &found, &err), &err);
        CHECK_OP(found, ==, t->by_number[key] != 0);
        check_node(n, t->by_number[key]);
    }
    CHECK_OP(gomem_map_len(m), ==, t->by_numbers);
}

static struct gomem_string text_of(struct thread *t, const char *what, uint64_t number, unsigned temp)
{
    struct gomem_error err;
    struct gomem_string s;
    char text[40];
    int n = snprintf(text, sizeof text, "%s %llu", what, (unsigned long long)number);
    ok(gomem_string(t->p, text, n, &s, &err), &err);
    t->frame.temps[temp] = s.data;
    return s;
}

/* map[string]string: the value says which number it is of. */
static void use_texts(struct thread *t)
{
    struct gomem_error err;
    const struct gomem_type *type = t->program->by_text;
    struct gomem_map *m = t->frame.by_text;
    uint64_t k = below(t, KEYS), number = below(t, 1000000) + 1;
    struct gomem_string key = text_of(t, "the key", k, 0), elem = {0};
    bool found;
    switch (below(t, 4)) {
    case 0:
        ok(gomem_map_delete(t->p, type, m, &key, &err), &err);
        count(&t->by_texts, &t->by_text[k], 0);
        break;
    case 1:
    case 2:
        elem = text_of(t, "value", number, 1);
        count(&t->by_texts, &t->by_text[k], number);
        ok(gomem_map_set(t->p, type, m, &key, &elem, &err), &err);
        break;
    default:
        ok(gomem_map_get(t->p, type, m, &key, &elem, &found, &err), &err);
        CHECK_OP(found, ==, t->by_text[k] != 0);
        if (found) {
            char expected[40];
            int n = snprintf(expected, sizeof expected, "value %llu", (unsigned long long)t->by_text[k]);
            CHECK(elem.len == n && memcmp(elem.data, expected, (size_t)n) == 0);
        }
    }
    CHECK_OP(gomem_map_len(m), ==, t->by_texts);
}

/* Moves a node between a variable, which has no barrier, and a slice or a map. */
static void move_node(struct thread *t)
{
    struct gomem_error err;
    const struct gomem_type *type = t->program->by_number;
    uint64_t key = below(t, KEYS);
    int64_t i = t->slice.len == 0 ? -1 : (int64_t)below(t, (uint32_t)t->slice.len);
    unsigned k = below(t, HELD);
    bool found;
    struct node **held = &t->frame.held[k];
    check_node(*held, t->held[k]);
    if (below(t, 2) && t->held[k] != 0 && i >= 0) {
        gomem_write_pointer(t->p, (void **)slot(t, i), *held);
        t->elems[i] = t->held[k];
    } else if (t->held[k] != 0) {
        ok(gomem_map_set(t->p, type, t->frame.by_number, &key, held, &err), &err);
        count(&t->by_numbers, &t->by_number[key], t->held[k]);
    }
    if (below(t, 2) && i >= 0) {
        *held = *slot(t, i);
        t->held[k] = t->elems[i];
        gomem_typed_clear(t->p, t->program->pointer, slot(t, i), 1);
        t->elems[i] = 0;
    } else {
        key = below(t, KEYS);
        ok(gomem_map_get(t->p, type, t->frame.by_number, &key, held, &found, &err), &err);
        t->held[k] = t->by_number[key];
        ok(gomem_map_delete(t->p, type, t->frame.by_number, &key, &err), &err);
        count(&t->by_numbers, &t->by_number[key], 0);
    }
}

/* --- Bytes --- */

static void use_builder(struct thread *t)
{
    struct gomem_error err;
    uint8_t bytes[PIECE];
    int64_t n = piece(t, t->built, bytes);
    if (below(t, 4) == 0)
        ok(gomem_builder_grow(t->p, t->frame.builder, below(t, 300), &err), &err);
    ok(gomem_builder_write(t->p, t->frame.builder, bytes, n, &err), &err);
    t->built += n;
    struct gomem_slice s = gomem_builder_bytes(t->frame.builder);
    CHECK_OP(s.len, ==, t->built);
    check_bytes(t, s.array, 0, s.len);
    if (t->built > MOST_BYTES) {
        gomem_builder_reset(t->p, t->frame.builder);
        t->built = 0;
    }
}

static void use_buffer(struct thread *t)
{
    struct gomem_error err;
    uint8_t bytes[PIECE];
    int64_t n;
    struct gomem_buffer *b = t->frame.buffer;
    struct gomem_slice s;
    switch (below(t, 6)) {
    case 0:
        n = gomem_buffer_read(b, bytes, below(t, PIECE));
        check_bytes(t, bytes, t->read, n);
        t->read += n;
        break;
    case 1:
        s = gomem_buffer_next(b, below(t, 4) ? below(t, PIECE) : MOST_BYTES);
        check_bytes(t, s.array, t->read, s.len);
        t->read += s.len;
        if (s.len > 0 && below(t, 2)) {
            CHECK(gomem_buffer_unread_byte(b));
            t->read--;
        }
        break;
    case 2:
        s = gomem_buffer_next_until(b, (uint8_t)below(t, 256));
        check_bytes(t, s.array, t->read, s.len);
        t->read += s.len;
        break;
    default:
        n = piece(t, t->written, bytes);
        ok(gomem_buffer_write(t->p, b, bytes, n, &err), &err);
        t->written += n;
    }
    s = gomem_buffer_bytes(b);
    CHECK_OP(s.len, ==, t->written - t->read);
    check_bytes(t, s.array, t->read, s.len);
}

static void use_text(struct thread *t)
{
    struct gomem_error err;
    uint8_t bytes[PIECE];
    struct gomem_string parts[2] = {t->text};
    int64_t n = piece(t, t->text_from + t->text.len, bytes);
    if (t->text.len > MOST_BYTES / 2 || below(t, 8) == 0) { /* as s[low:] */
        int64_t low = below(t, (uint32_t)t->text.len + 1);
        t->text.data = t->text.len == low ? NULL : (const char *)t->text.data + low;
        t->text.len -= low;
        t->text_from += low;
    } else { /* if one of the two is empty the sum is the other */
        ok(gomem_string(t->p, bytes, n, &parts[1], &err), &err);
        t->frame.temps[0] = parts[1].data;
        ok(gomem_string_concat(t->p, parts, 2, &t->text, &err), &err);
    }
    t->frame.text = t->text.data;
    check_bytes(t, t->text.data, t->text_from, t->text.len);
}

/* --- Interfaces and pools --- */

static void use_interface(struct thread *t)
{
    struct gomem_error err;
    struct gomem_interface i;
    if (t->boxed.type != 0) {
        CHECK_OP(((const struct node *)gomem_interface_value(&t->boxed))->number, ==, t->boxed_number);
        check_node(gomem_interface_value(&t->boxed), t->boxed_number);
    }
    struct node *n = new_node(t);
    t->frame.temps[0] = n;
    ok(gomem_interface(t->p, t->program->node, n, &i, &err), &err);
    t->boxed = i;
    t->boxed_number = n->number;
    t->frame.any = i.value;
}

static void use_pool(struct thread *t)
{
    struct gomem_error err;
    struct program *g = t->program;
    struct gomem_interface x;
    unsigned which = below(t, 2);
    ok(gomem_pool_get(t->p, g->pools[which], &x, &err), &err);
    t->frame.temps[0] = x.value;
    if (x.type == 0) {
        x = which == 0
                ? (struct gomem_interface){(uintptr_t)g->node | 1, new_node(t)}
                : (struct gomem_interface){(uintptr_t)gomem_type_of_buffer() | 1, gomem_buffer_new(t->p)};
        t->frame.temps[0] = x.value;
    } else {
        fetch_add_relaxed(&g->pooled, 1);
    }
    if (which == 0) {
        struct node *n = x.value;
        check_node(n, n->number);
        n->uses++;
    } else {
        struct gomem_slice s = gomem_buffer_bytes(x.value);
        CHECK(s.len % 8 == 0);
        for (int64_t i = 0; i < s.len; i += 8)
            CHECK_OP(((uint8_t *)s.array)[i], ==, 'p');
        if (s.len > 400)
            gomem_buffer_reset(x.value);
        ok(gomem_buffer_write(t->p, x.value, "pool of.", 8, &err), &err);
    }
    if (below(t, 8))
        ok(gomem_pool_put(t->p, g->pools[which], &x, &err), &err);
}

/* --- Threads --- */

static void step(struct thread *t)
{
    static void (*const uses[])(struct thread *) = {
        use_slice, use_slice,  use_map,       use_map,  use_texts,
        use_text,  use_buffer, use_interface, use_pool, use_builder,
        move_node, move_node,
    };
    uses[below(t, ARRAY_LEN(uses))](t);
    memset(t->frame.temps, 0, sizeof t->frame.temps);
}

static void check_all(struct thread *t)
{
    struct gomem_error err;
    for (int64_t i = 0; i < t->slice.len; i++)
        check_node(*slot(t, i), t->elems[i]);
    for (unsigned k = 0; k < HELD; k++)
        check_node(t->frame.held[k], t->held[k]);
    iterate(t);
    ok(gomem_map_verify(t->p, t->program->by_number, t->frame.by_number, &err), &err);
    ok(gomem_map_verify(t->p, t->program->by_text, t->frame.by_text, &err), &err);
}

static void begin(struct thread *t)
{
    struct gomem_error err;
    ok(gomem_make_map(t->p, t->program->by_number, 0, &t->frame.by_number, &err), &err);
    ok(gomem_make_map(t->p, t->program->by_text, KEYS, &t->frame.by_text, &err), &err);
    t->frame.builder = gomem_builder_new(t->p);
    t->frame.buffer = gomem_buffer_new(t->p);
    CHECK(t->frame.builder != NULL && t->frame.buffer != NULL);
}

static void verify(struct gomem_runtime *rt)
{
    struct gomem_error err;
    ok(gomem_verify(rt, &err), &err);
}

static void *run(void *arg)
{
    struct thread *t = arg;
    struct gomem_runtime *rt = t->program->rt;
    struct gomem_shadow_stack stack = {.top = &t->frame.f};
    struct gomem_root_table roots = {.slots = t->iterating, .n = 3};
    gomem_add_shadow_stack(rt, &stack);
    gomem_add_roots(rt, &roots);
    t->p = gomem_proc_acquire(rt);
    begin(t);
    for (unsigned i = 0; i < t->operations; i++) {
        step(t);
        if (i % 64 == 0 && below(t, 4) == 0) {
            gomem_proc_release(t->p);
            if (below(t, 100) == 0)
                CHECK(gomem_gc(rt) == GOMEM_OK);
            if (below(t, 100) == 0)
                verify(rt);
            t->p = gomem_proc_acquire(rt);
        } else if (i % 8 == 0) {
            CHECK(gomem_safepoint(t->p));
        }
        if (i % 1000 == 0)
            check_all(t);
    }
    check_all(t);
    gomem_proc_release(t->p);
    gomem_remove_roots(rt, &roots);
    gomem_remove_shadow_stack(rt, &stack);
    return NULL;
}

static void make_types(struct program *g)
{
    struct gomem_error err;
    g->pointer = gomem_type_pointer("*node", &err);
    g->word = gomem_type_basic(GOMEM_UINT64, &err);
    g->string = gomem_type_string(&err);
    const char *names[] = {"next", "number", "complement", "uses"};
    const struct gomem_type *types[] = {g->pointer, g->word, g->word, g->word};
    g->node = gomem_type_struct("node", names, types, 4, &err);
    g->by_number = gomem_type_map(g->word, g->pointer, &err);
    g->by_text = gomem_type_map(g->string, g->string, &err);
    CHECK(g->node != NULL && g->by_number != NULL && g->by_text != NULL);
    CHECK_OP(gomem_type_size(g->node), ==, sizeof(struct node));
}

static void end(struct program *g)
{
    const struct gomem_type *types[] = {g->pointer, g->word, g->string, g->node, g->by_number, g->by_text};
    struct gomem_memstats m;
    for (unsigned i = 0; i < 2; i++)
        gomem_pool_delete(g->pools[i]);
    for (unsigned i = 0; i < 2; i++)
        CHECK(gomem_gc(g->rt) == GOMEM_OK);
    verify(g->rt);
    CHECK(gomem_read_memstats(g->rt, &m) == GOMEM_OK);
    CHECK_OP(m.heap_objects, ==, 0);
    CHECK_OP(m.heap_inuse, ==, 0);
    printf("values_stress: %llu cycles, %llu mallocs, %llu times something from a pool\n",
           (unsigned long long)m.num_gc, (unsigned long long)m.mallocs,
           (unsigned long long)load_relaxed(&g->pooled));
    CHECK(load_relaxed(&g->pooled) > 0 && m.num_gc > 2);
    gomem_runtime_delete(g->rt);
    for (unsigned i = 0; i < ARRAY_LEN(types); i++)
        gomem_type_release(types[i]);
}

static void round_of(unsigned nthreads, unsigned operations, uint64_t seed)
{
    static struct thread threads[16];
    struct program g = {0};
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    o.procs = nthreads + 1;
    o.gogc = 20;
    o.marker = seed % 2 ? GOMEM_MARKER_SPAN : GOMEM_MARKER_OBJECT;
    ok(gomem_runtime_new(&o, &g.rt, &err), &err);
    make_types(&g);
    for (unsigned i = 0; i < 2; i++)
        ok(gomem_pool_new(g.rt, &g.pools[i], &err), &err);
    for (unsigned i = 0; i < nthreads; i++) {
        threads[i] = (struct thread){.program = &g,
                                     .rng = {.state = seed * 1000 + i},
                                     .operations = operations,
                                     .number = i,
                                     .frame = {.f = {.n = FRAME_SLOTS}}};
        CHECK(pthread_create(&threads[i].handle, NULL, run, &threads[i]) == 0);
    }
    for (unsigned i = 0; i < nthreads; i++)
        pthread_join(threads[i].handle, NULL);
    verify(g.rt);
    end(&g);
}

int main(int argc, char **argv)
{
    unsigned nthreads = argc > 1 ? (unsigned)atoi(argv[1]) : 3;
    unsigned operations = argc > 2 ? (unsigned)atoi(argv[2]) : 100000;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    CHECK(nthreads >= 1 && nthreads <= 16);
    for (unsigned i = 0; i < 2; i++)
        round_of(nthreads, operations, seed + i);
    return 0;
}
