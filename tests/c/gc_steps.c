/* Programs drawn at random, in which mutators and one marker take turns, a step at a time, beside a model.
 *
 *   gc_steps seeds FIRST LAST      programs drawn from these seeds
 *   gc_steps bytes HEX             the one program that these bytes choose
 *
 * Two heaps. In each, objects with three pointers, large ones and pieces with headers among them, hang in
 * a frame, in root tables that come and go, and in each other; the model is the same graph, by number.
 * After each operation the heap verifies itself in the phase it is in, and what can be reached in the
 * model is there in the heap. A whole cycle without operations in between leaves exactly that.
 *
 * Built with GOMEM_MUTATE it must fail: see tests/gc/test_mutations.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/rng.h"
#include "gomem.h"

enum { HEAPS = 2, CHILDREN = 3, FRAME = 4, TABLES = 3, SLOTS = 3, TINIES = 3, MOST = 4000, LENGTH = 220 };

struct node {
    struct node *child[CHILDREN];
    uint64_t number, complement;
};

/* An object of the model; 0 is none. */
struct model {
    uint32_t child[CHILDREN];
    struct node *at;
    struct node *last; /* of an array of nodes, which at is the first of: its pointers are used */
    bool reached;
};

struct frame {
    struct gomem_frame f;
    struct node *slots[FRAME];
    uint32_t *tinies[TINIES]; /* without pointers, sharing blocks; each has its index and 7 */
};

struct table {
    struct gomem_root_table t;
    uint64_t slots[SLOTS];
    uint32_t holds[SLOTS];
    bool added;
};

struct world {
    struct gomem_runtime *rt;
    struct gomem_proc *p;
    struct frame frame;
    struct gomem_shadow_stack stack;
    uint32_t frame_holds[FRAME];
    struct table tables[TABLES];
    struct model models[MOST];
    uint32_t n;
    uint64_t id; /* of the cycle that is stepped */
    bool stepping;
};

static struct world worlds[HEAPS];
static struct gomem_type *node_type, *pointer_type;

/* --- Choices --- */

static struct rng rng;
static const uint8_t *bytes; /* NULL: from rng */
static size_t nbytes;

static uint32_t below(uint32_t n)
{
    if (bytes == NULL)
        return (uint32_t)(rng_next(&rng) >> 33) % n;
    if (nbytes == 0)
        return 0;
    nbytes--;
    return *bytes++ % n;
}

/* --- The model --- */

static void reach(struct world *w, uint32_t number)
{
    static uint32_t todo[MOST * CHILDREN];
    size_t n = 0;
    todo[n++] = number;
    while (n > 0) {
        struct model *m = &w->models[todo[--n]];
        if (m == w->models || m->reached)
            continue;
        m->reached = true;
        for (unsigned i = 0; i < CHILDREN; i++)
            todo[n++] = m->child[i];
    }
}

static void reach_all(struct world *w)
{
    for (uint32_t i = 0; i <= w->n; i++)
        w->models[i].reached = false;
    for (unsigned i = 0; i < FRAME; i++)
        reach(w, w->frame_holds[i]);
    for (unsigned t = 0; t < TABLES; t++)
        for (unsigned i = 0; i < SLOTS; i++)
            reach(w, w->tables[t].holds[i]);
}

/* What the model can reach is there, and is what it was. */
static uint64_t compare(struct world *w)
{
    uint64_t reached = 0;
    reach_all(w);
    for (uint32_t i = 0; i < TINIES; i++)
        if (w->frame.tinies[i] != NULL && *w->frame.tinies[i] != i + 7) {
            fprintf(stderr, "lost: tiny object %u is overwritten\n", i);
            exit(3);
        }
    for (uint32_t i = 1; i <= w->n; i++) {
        const struct model *m = &w->models[i];
        if (!m->reached)
            continue;
        struct gomem_lookup l;
        gomem_proc_lookup(w->p, (uint64_t)(uintptr_t)m->at, &l);
        if (l.place != GOMEM_PLACE_OBJECT || m->at->number != i || m->at->complement != ~(uint64_t)i) {
            fprintf(stderr, "lost: object %u, which can be reached, is gone\n", i);
            exit(3);
        }
        for (unsigned k = 0; k < CHILDREN; k++)
            CHECK(m->last->child[k] == w->models[m->child[k]].at);
        reached++;
    }
    return reached;
}

/* --- The world runs, or not --- */

static void leave(struct world *w)
{
    gomem_proc_release(w->p);
    w->p = NULL;
}

static void enter(struct world *w)
{
    w->p = gomem_proc_acquire(w->rt);
    CHECK(w->p != NULL);
}

static void verify(struct world *w)
{
    struct gomem_error err;
    leave(w);
    if (gomem_verify(w->rt, &err) != GOMEM_OK) {
        fprintf(stderr, "verify: %s\n", err.message);
        exit(4);
    }
    enter(w);
}

/* --- Operations --- */

static void **slot_of_frame(struct world *w, unsigned i)
{
    return (void **)&w->frame.slots[i];
}

/* An object that a root leads to: some steps from one; 0: there is none. */
static uint32_t walk(struct world *w)
{
    unsigned at = below(FRAME + TABLES * SLOTS);
    uint32_t number = at < FRAME ? w->frame_holds[at]
                                 : w->tables[(at - FRAME) / SLOTS].holds[(at - FRAME) % SLOTS];
    for (unsigned steps = below(4); number != 0 && steps > 0; steps--) {
        uint32_t next = w->models[number].child[below(CHILDREN)];
        number = next != 0 ? next : number;
    }
    return number;
}

/* Frames are changed without a barrier, tables with one. */
static void hold(struct world *w, uint32_t number, bool fresh)
{
    unsigned at = below(FRAME + TABLES * SLOTS);
    struct node *object = w->models[number].at;
    if (at < FRAME) {
        *slot_of_frame(w, at) = object;
        w->frame_holds[at] = number;
        return;
    }
    struct table *t = &w->tables[(at - FRAME) / SLOTS];
    unsigned i = (at - FRAME) % SLOTS;
    if (!t->added)
        return;
    if (fresh && t->slots[i] == 0)
        gomem_init_root(&t->slots[i], object);
    else
        gomem_write_pointer(w->p, (void **)&t->slots[i], object);
    t->holds[i] = number;
}

static void new_object(struct world *w)
{
    static const size_t counts[] = {1, 1, 1, 1, 1, 20, 1, 9000};
    if (w->n + 1 >= MOST)
        return;
    size_t count = counts[below(8)];
    struct node *object = gomem_alloc_typed(w->p, node_type, count);
    if (object == NULL)
        return; /* see refuse */
    CHECK(object->number == 0 && object->child[0] == NULL);
    uint32_t number = ++w->n;
    object->number = number;
    object->complement = ~(uint64_t)number;
    w->models[number] = (struct model){.at = object, .last = object + count - 1};
    hold(w, number, true);
}

static void link_objects(struct world *w, bool cut)
{
    uint32_t from = walk(w), to = cut ? 0 : walk(w);
    unsigned i = below(CHILDREN);
    if (from == 0)
        return;
    gomem_write_pointer(w->p, (void **)&w->models[from].last->child[i], w->models[to].at);
    w->models[from].child[i] = to;
}

/* What hangs somewhere is moved into a frame, and cut off: only what was overwritten tells the collector.
 * */
static void steal(struct world *w)
{
    uint32_t from = walk(w);
    unsigned i = below(CHILDREN), at = below(FRAME);
    if (from == 0)
        return;
    uint32_t child = w->models[from].child[i];
    *slot_of_frame(w, at) = w->models[child].at;
    w->frame_holds[at] = child;
    gomem_write_pointer(w->p, (void **)&w->models[from].last->child[i], NULL);
    w->models[from].child[i] = 0;
}

static void drop(struct world *w)
{
    unsigned at = below(FRAME + TABLES * SLOTS);
    if (at < FRAME) {
        *slot_of_frame(w, at) = NULL;
        w->frame_holds[at] = 0;
        return;
    }
    struct table *t = &w->tables[(at - FRAME) / SLOTS];
    gomem_init_root(&t->slots[(at - FRAME) % SLOTS], NULL);
    t->holds[(at - FRAME) % SLOTS] = 0;
}

static void add_table(struct world *w, struct table *t)
{
    t->t = (struct gomem_root_table){.slots = t->slots, .n = SLOTS};
    gomem_add_roots(w->rt, &t->t);
    t->added = true;
}

/* A table goes, what it held moves into the frame first; or comes, with something from another in it. */
static void change_table(struct world *w)
{
    struct table *t = &w->tables[below(TABLES)];
    unsigned at = below(FRAME), i = below(SLOTS);
    if (!t->added) {
        struct table *from = &w->tables[below(TABLES)];
        t->slots[i] = from->slots[i];
        t->holds[i] = from->holds[i];
        gomem_init_root(&from->slots[i], NULL);
        from->holds[i] = 0;
        add_table(w, t);
        return;
    }
    *slot_of_frame(w, at) = (void *)(uintptr_t)t->slots[i];
    w->frame_holds[at] = t->holds[i];
    gomem_remove_roots(w->rt, &t->t);
    memset(t->slots, 0, sizeof t->slots);
    memset(t->holds, 0, sizeof t->holds);
    t->added = false;
}

/* Objects of 4 bytes share blocks of 16: the others go, one is held. */
static void tiny_objects(struct world *w)
{
    uint32_t at = below(TINIES), *object = gomem_alloc(w->p, 4);
    for (unsigned i = below(3); i > 0; i--)
        (void)gomem_alloc(w->p, 4);
    w->frame.tinies[at] = object;
    if (object != NULL)
        *object = at + 7;
}

static void garbage(struct world *w)
{
    static const size_t sizes[] = {40, 40, 200, 5000};
    for (unsigned i = below(40); i > 0; i--)
        (void)gomem_alloc_scan(w->p, sizes[below(4)]);
}

static void step(struct world *w)
{
    leave(w);
    if (!w->stepping) {
        if (below(3) == 0) /* without memory for buffers of grey objects, if it is the first cycle */
            gomem_fail_os_calls(w->rt, 0, UINT64_MAX / 2);
        CHECK(gomem_step_begin(w->rt, below(4) == 0, &w->id) == GOMEM_OK);
        uint64_t other;
        CHECK(gomem_step_begin(w->rt, false, &other) == GOMEM_BUSY && gomem_gc(w->rt) == GOMEM_BUSY);
        w->stepping = true;
    }
    struct gomem_gc_step s = {.kind = GOMEM_STEP_PHASE};
    for (unsigned i = 1 + below(4); i > 0 && s.kind != GOMEM_STEP_NONE; i--)
        CHECK(gomem_step(w->rt, w->id, &s) == GOMEM_OK);
    w->stepping = s.phase != GOMEM_GC_OFF;
    enter(w);
}

static void next_phase(struct world *w)
{
    enum gomem_gc_phase phase = GOMEM_GC_OFF;
    if (!w->stepping)
        return;
    leave(w);
    CHECK(gomem_step_phase(w->rt, w->id, &phase) == GOMEM_OK);
    w->stepping = phase != GOMEM_GC_OFF;
    enter(w);
}

/* Memory is refused for a while, or again given. */
static void refuse(struct world *w)
{
    leave(w);
    gomem_fail_os_calls(w->rt, 0, below(2) ? 3 : 0);
    enter(w);
}

static void finish(struct world *w)
{
    while (w->stepping)
        next_phase(w);
}

/* Two cycles with nothing in between: what is left is what can be reached. */
static void collect(struct world *w)
{
    struct gomem_memstats m;
    finish(w);
    memset(w->frame.tinies, 0, sizeof w->frame.tinies);
    leave(w);
    gomem_fail_os_calls(w->rt, 0, 0);
    for (int i = 0; i < 2; i++)
        CHECK(gomem_gc(w->rt) == GOMEM_OK);
    CHECK(gomem_read_memstats(w->rt, &m) == GOMEM_OK);
    enter(w);
    uint64_t reached = compare(w);
    if (m.heap_objects != reached) {
        fprintf(stderr, "floating: %llu objects after two cycles, %llu can be reached\n",
                (unsigned long long)m.heap_objects, (unsigned long long)reached);
        exit(5);
    }
}

static void operation(struct world *w)
{
    switch (below(24)) {
    case 0: case 1: case 2: case 3: new_object(w); break;
    case 4: case 5: case 6: case 7: link_objects(w, false); break;
    case 8: link_objects(w, true); break;
    case 9: case 10: case 11: case 12: steal(w); break;
    case 13: if (below(2)) drop(w); else hold(w, walk(w), false); break;
    case 14: change_table(w); break;
    case 15: garbage(w); break;
    case 16: tiny_objects(w); break;
    case 17: next_phase(w); break;
    case 18: if (below(12) == 0) collect(w); break;
    case 19: refuse(w); break;
    default: step(w); break;
    }
    verify(w);
    compare(w);
}

/* --- A program --- */

static void open_world(struct world *w)
{
    struct gomem_options o = gomem_options_default();
    struct gomem_error err;
    memset(w, 0, sizeof *w);
    o.gogc = below(2) ? -1 : 1000; /* no cycle by itself: the programs are small */
    o.marker = below(2) ? GOMEM_MARKER_OBJECT : GOMEM_MARKER_SPAN;
    o.barrier = below(3) == 0 ? GOMEM_BARRIER_DIJKSTRA : GOMEM_BARRIER_HYBRID;
    CHECK(gomem_runtime_new(&o, &w->rt, &err) == GOMEM_OK);
    w->frame.f.n = FRAME + TINIES;
    w->stack.top = &w->frame.f;
    gomem_add_shadow_stack(w->rt, &w->stack);
    for (unsigned t = 0; t < TABLES; t++)
        add_table(w, &w->tables[t]);
    enter(w);
    for (unsigned i = below(2) ? 15 : 0; i > 0; i--) {
        new_object(w);
        link_objects(w, false);
    }
}

static void close_world(struct world *w)
{
    collect(w);
    leave(w);
    gomem_runtime_delete(w->rt);
}

static void program(void)
{
    for (unsigned i = 0; i < HEAPS; i++)
        open_world(&worlds[i]);
    for (unsigned i = 0; i < LENGTH && (bytes == NULL || nbytes > 0); i++)
        operation(&worlds[below(8) == 0]);
    for (unsigned i = 0; i < HEAPS; i++)
        close_world(&worlds[i]);
}

static void make_types(void)
{
    struct gomem_error err;
    struct gomem_type *word = gomem_type_basic(GOMEM_UINT64, &err);
    pointer_type = gomem_type_pointer("*node", &err);
    const char *names[] = {"a", "b", "c", "number", "complement"};
    const struct gomem_type *types[] = {pointer_type, pointer_type, pointer_type, word, word};
    node_type = gomem_type_struct("node", names, types, 5, &err);
    CHECK(node_type != NULL && gomem_type_size(node_type) == sizeof(struct node));
    gomem_type_release(word);
}

static uint8_t hex(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    make_types();
    if (strcmp(argv[1], "bytes") == 0) {
        nbytes = strlen(argv[2]) / 2;
        uint8_t *given = malloc(nbytes + 1);
        for (size_t i = 0; i < nbytes; i++)
            given[i] = (uint8_t)(hex(argv[2][2 * i]) << 4 | hex(argv[2][2 * i + 1]));
        bytes = given;
        program();
        free(given);
    } else {
        CHECK(argc == 4);
        for (uint64_t seed = strtoull(argv[2], NULL, 0); seed <= strtoull(argv[3], NULL, 0); seed++) {
            rng = (struct rng){.state = seed * 7919};
            program();
        }
    }
    gomem_type_release(node_type);
    gomem_type_release(pointer_type);
    printf("gc_steps: ok\n");
    return 0;
}
