/* Checking the collector: plain traversals beside the marks, and sums that must come out.
 *
 * Called by cycle.c at the end of every marking of check builds, and through the runtime in any phase.
 *
 * Concurrency: the world is stopped. gc_verify lets those who mark without a P stand still.
 * Go: mcheckmark.go.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "gc/graph.h"
#include "gc/greys.h"
#include "heap/heapbits.h"
#include "heap/malloc.h"
#include "heap/sweep.h"
#include "heap/verify.h"

/* A look at all pointers. */
struct look {
    struct gc *gc;
    struct greys greys;         /* while marking */
    struct address_set covered; /* white objects that something grey leads to; made when it is needed */
    bool has_covered, no_memory;
    bool ended; /* marking has: what specials keep alive is marked */
    /* May a root or a black object, which src names, point to slot i of s, an object or garbage? */
    bool (*may_point_to)(struct look *l, struct mspan *s, unsigned i, bool frame);
    char *why;
    size_t why_size;
};

/* src: an object's address, or "root" and the like with it. */
static bool check_pointer(struct look *l, uintptr_t p, const char *kind, uintptr_t source, size_t at)
{
    struct mspan *s = p == 0 ? NULL : span_of(l->gc->h, p);
    if (s == NULL || load_acquire(&s->state) != SPAN_IN_USE || p < s->first_object || p >= s->limit)
        return true;
    unsigned i = span_is_large(s) ? 0 : span_index(s, p);
    if (l->may_point_to(l, s, i, kind[0] == 'f') || l->no_memory)
        return true;
    snprintf(l->why, l->why_size, "%s 0x%zx points, at %zu, to 0x%zx, which is %s", kind,
             (size_t)source, at, (size_t)p,
             load_relaxed(&l->gc->h->gc.phase) == GC_MARK ? "white" : "garbage to the sweeper");
    return false;
}

static bool check_object(struct look *l, const struct mspan *s, unsigned i)
{
    uintptr_t object = span_object(s, i);
    size_t size = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
    for (size_t at = 0; at + PTR_SIZE <= size; at += PTR_SIZE)
        if (object_word_is_pointer(l->gc->h, s, i, at) &&
            !check_pointer(l, load_relaxed((uintptr_t *)(object + at)), "black object", object, at))
            return false;
    return true;
}

/* What a finalizer's object leads to, itself apart, stays for it, and what a cleanup is to be called with. */
static bool check_specials(struct look *l, const struct mspan *s)
{
    for (const struct special *sp = s->specials; sp != NULL; sp = sp->next) {
        unsigned i = special_index(s, sp->offset);
        uintptr_t object = span_object(s, i), p;
        size_t size = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
        for (size_t at = 0; sp->kind == SPECIAL_FINALIZER && at + PTR_SIZE <= size; at += PTR_SIZE) {
            if (!object_word_is_pointer(l->gc->h, s, i, at))
                continue;
            p = load_relaxed((uintptr_t *)(object + at));
            if (p - object >= size && !check_pointer(l, p, "object with a finalizer", object, at))
                return false;
        }
        if (sp->kind == SPECIAL_CLEANUP && !check_pointer(l, sp->pointer, "cleanup of", object, 0))
            return false;
    }
    return true;
}

/* So does what is in the queue. */
static bool check_queue(struct look *l)
{
    for (const struct special *sp = l->gc->h->specials.queue; sp != NULL; sp = sp->next)
        if (!sp->dropped && !check_pointer(l, sp->pointer, "queue entry", sp->id, 0))
            return false;
    return true;
}

/* Has marking been to all slots up to i of the table? */
static bool is_scanned_locked(const struct roots *r, const struct gomem_root_table *t, size_t i)
{
    return !t->unscanned || (t == r->next && i < r->at);
}

static bool check_roots_locked(struct look *l)
{
    struct roots *r = &l->gc->roots;
    ASSERT_HELD(&r->lock);
    for (struct gomem_root_table *t = r->tables; t != NULL; t = t->next)
        for (size_t i = 0; i < t->n; i++)
            if (is_scanned_locked(r, t, i) &&
                !check_pointer(l, load_relaxed(&t->slots[i]), "root table", (uintptr_t)t->slots, i))
                return false;
    for (struct gomem_shadow_stack *s = r->stacks; s != NULL; s = s->next)
        for (struct gomem_frame *f = s->top; f != NULL; f = f->previous)
            for (uint32_t i = 0; i < f->n; i++)
                if (!check_pointer(l, (uintptr_t)f->slots[i], "frame", (uintptr_t)f, i))
                    return false;
    return true;
}

/* All that black objects and roots point to. */
static bool check_pointers_locked(struct look *l)
{
    struct mheap *h = l->gc->h;
    bool marking = load_relaxed(&h->gc.phase) == GC_MARK;
    struct mspan *s;
    for (uintptr_t from = 0; (s = heap_next_span(h, from)) != NULL; from = span_end(s, h->page_shift)) {
        if (s->state == SPAN_IN_USE && l->ended && !check_specials(l, s))
            return false;
        if (s->state != SPAN_IN_USE || span_noscan(s))
            continue;
        for (unsigned i = 0; i < s->nelems; i++) {
            bool black = graph_slot(h, s, i) == HOLDS_OBJECT;
            if (marking)
                black = black && object_is_marked(s, i) && !l->greys.overflowed &&
                        !address_set_has(&l->greys.objects, span_object(s, i));
            if (black && !check_object(l, s, i))
                return false;
        }
    }
    return (!l->ended || check_queue(l)) && check_roots_locked(l);
}

/* --- While marking goes on --- */

/* What leads on from grey objects through white ones. */
struct pending {
    uintptr_t *objects;
    size_t n, capacity;
};

static void cover(struct look *l, struct pending *todo, uintptr_t p)
{
    struct mspan *s;
    unsigned i;
    bool added;
    uintptr_t object = p == 0 ? 0 : greys_object_at(l->gc->h, p, &s, &i);
    if (object == 0 || l->no_memory)
        return;
    if (!address_set_add(&l->covered, object, &added)) {
        l->no_memory = true;
        return;
    }
    if (!added || span_noscan(s))
        return;
    if (todo->n == todo->capacity) {
        size_t wider = MAX(2 * todo->capacity, (size_t)64);
        uintptr_t *more = realloc(todo->objects, wider * sizeof *more);
        if (more == NULL) {
            l->no_memory = true;
            return;
        }
        todo->objects = more;
        todo->capacity = wider;
    }
    todo->objects[todo->n++] = object;
}

static void cover_from(struct look *l, struct pending *todo)
{
    struct mheap *h = l->gc->h;
    while (todo->n > 0 && !l->no_memory) {
        uintptr_t object = todo->objects[--todo->n];
        struct mspan *s = span_of(h, object);
        unsigned i = span_is_large(s) ? 0 : span_index(s, object);
        size_t size = span_is_large(s) ? s->limit - s->base : span_usable_size(s);
        for (size_t at = 0; at + PTR_SIZE <= size; at += PTR_SIZE)
            if (object_word_is_pointer(h, s, i, at))
                cover(l, todo, load_relaxed((uintptr_t *)(object + at)));
    }
}

/* Everything that marking will still come to by itself. */
static void cover_all_locked(struct look *l)
{
    struct pending todo = {0};
    struct roots *r = &l->gc->roots;
    const struct address_set *sets[] = {&l->greys.objects, &l->greys.shaded};
    for (unsigned k = 0; k < ARRAY_LEN(sets); k++)
        for (size_t i = 0; i < sets[k]->capacity; i++)
            cover(l, &todo, sets[k]->slots[i]);
    for (struct gomem_root_table *t = r->tables; t != NULL; t = t->next)
        for (size_t i = 0; i < t->n; i++)
            if (!is_scanned_locked(r, t, i))
                cover(l, &todo, load_relaxed(&t->slots[i]));
    cover_from(l, &todo);
    free(todo.objects);
    l->has_covered = true;
}

/* No black object and no root that was scanned points to a white object that no barrier knows of. A frame
 * may, as its pointers are read without a barrier, if something grey leads there as well; with the
 * insertion barrier it is scanned once more in any case. */
static bool marking_may_point_to(struct look *l, struct mspan *s, unsigned i, bool frame)
{
    uintptr_t object = span_object(s, i);
    if (graph_slot(l->gc->h, s, i) != HOLDS_OBJECT || object_is_marked(s, i) ||
        address_set_has(&l->greys.shaded, object))
        return true;
    if (!frame)
        return false;
    if (l->gc->barrier == GOMEM_BARRIER_DIJKSTRA || l->greys.overflowed)
        return true;
    if (!l->has_covered)
        cover_all_locked(l);
    return address_set_has(&l->covered, object);
}

static bool verify_marking(struct look *l)
{
    l->may_point_to = marking_may_point_to;
    lock(&l->gc->roots.lock);
    l->no_memory = !greys_collect_locked(l->gc, &l->greys);
    bool good = l->no_memory || check_pointers_locked(l);
    unlock(&l->gc->roots.lock);
    greys_free(&l->greys);
    address_set_free(&l->covered);
    return good;
}

/* --- When it has ended --- */

static bool marked_may_point_to(struct look *l, struct mspan *s, unsigned i, bool frame)
{
    (void)frame;
    return graph_slot(l->gc->h, s, i) != HOLDS_OBJECT || object_is_marked(s, i);
}

/* With marking by span: is nothing in the span grey any more, and is it off the queue? */
static bool check_scan_bits(struct look *l, const struct mspan *s)
{
    struct mheap *h = l->gc->h;
    if (l->gc->pool.scan_span == NULL || span_noscan(s) || !class_has_page_marks(h, s->span_class))
        return true;
    const uint64_t *scans = page_scan_bits(h, s->mark_bits);
    for (unsigned w = 0; w < PAGE_MARK_WORDS; w++) {
        if (s->mark_bits[w] == scans[w])
            continue;
        snprintf(l->why, l->why_size,
                 "span 0x%zx: word %u of the marks is 0x%llx, of the scan bits 0x%llx", (size_t)s->base,
                 w, (unsigned long long)s->mark_bits[w], (unsigned long long)scans[w]);
        return false;
    }
    return true;
}

static bool check_all_scan_bits(struct look *l)
{
    struct mheap *h = l->gc->h;
    struct mspan *s;
    bool good = true;
    for (uintptr_t from = 0; good && (s = heap_next_span(h, from)) != NULL;
         from = span_end(s, h->page_shift))
        good = s->state != SPAN_IN_USE || check_scan_bits(l, s);
    return good;
}

/* Every object that is marked and allocated leads to marked ones only: with the roots marked, that is all
 * that can be reached. */
bool gc_verify_marks(struct gc *gc, char *why, size_t why_size)
{
    struct look l = {
        .gc = gc, .may_point_to = marked_may_point_to, .ended = true, .why = why, .why_size = why_size};
    lock(&gc->roots.lock);
    bool good = check_pointers_locked(&l) && check_all_scan_bits(&l);
    unlock(&gc->roots.lock);
    return good;
}

static bool swept_may_point_to(struct look *l, struct mspan *s, unsigned i, bool frame)
{
    (void)frame;
    return graph_slot(l->gc->h, s, i) != HOLDS_GARBAGE;
}

/* --- Spans, and sums --- */

/* A swept span has no marks, but while marking goes on; then everything is swept. */
static bool verify_spans(struct gc *gc, char *why, size_t size)
{
    struct mheap *h = gc->h;
    bool marking = load_relaxed(&h->gc.phase) == GC_MARK, done = sweep_done(h);
    struct mspan *s;
    for (uintptr_t from = 0; (s = heap_next_span(h, from)) != NULL; from = span_end(s, h->page_shift)) {
        if (s->state != SPAN_IN_USE)
            continue;
        bool swept = span_is_swept(h, s);
        if (!swept && (marking || done || load_relaxed(&s->sweepgen) != h->sweepgen - 2)) {
            snprintf(why, size, "span 0x%zx: sweep generation %u, the heap's is %u, %s",
                     (size_t)s->base, s->sweepgen, h->sweepgen, done ? "all is swept" : "sweeping");
            return false;
        }
        for (unsigned w = 0; swept && !marking && w < s->nwords; w++)
            if (load_relaxed(&s->mark_bits[w]) != 0) {
                snprintf(why, size, "span 0x%zx: it is swept, and has marks", (size_t)s->base);
                return false;
            }
    }
    return true;
}

/* What the background has scanned in advance is there for whoever allocates, or was taken. */
static bool verify_credit(struct gc *gc, char *why, size_t size)
{
    int64_t given = load_relaxed(&gc->credit_given), left = load_relaxed(&gc->bg_credit), taken = 0;
    for (uint32_t i = 0; i < gc->sched->nps; i++)
        taken += gc->procs[i].credit_taken;
    if (given == left + taken && left >= 0)
        return true;
    snprintf(why, size, "credit: %lld bytes were given, %lld taken, %lld are left", (long long)given,
             (long long)taken, (long long)left);
    return false;
}

/* heap_marked <= trigger <= goal, and the heap was told of the trigger; while marking goes on the goal
 * lies beyond where it began. */
static bool verify_pacer(struct gc *gc, char *why, size_t size)
{
    const struct pacer *p = &gc->pacer;
    lock(&gc->lock);
    uint64_t trigger = load_relaxed(&gc->h->gc.trigger), goal = pacer_heap_goal(p);
    bool marking = load_relaxed(&gc->h->gc.phase) == GC_MARK, good;
    if (marking)
        good = p->triggered == gc->cycle.heap_start && pacer_assist_ratio(p) > 0;
    else
        good = p->heap_marked <= trigger && trigger <= goal && trigger == pacer_trigger(p) &&
               p->triggered == UINT64_MAX;
    if (!good)
        snprintf(why, size, "pacer: %llu bytes marked, trigger %llu, goal %llu, triggered at %llu",
                 (unsigned long long)p->heap_marked, (unsigned long long)trigger,
                 (unsigned long long)goal, (unsigned long long)p->triggered);
    unlock(&gc->lock);
    return good;
}

enum gomem_status gc_verify(struct gc *gc, struct gomem_error *err)
{
    char why[250] = "";
    struct look l = {.gc = gc, .why = why, .why_size = sizeof why};
    markers_pause(gc);
    bool good = verify_spans(gc, why, sizeof why) && verify_credit(gc, why, sizeof why) &&
                verify_pacer(gc, why, sizeof why);
    if (good && load_relaxed(&gc->h->gc.phase) == GC_MARK) {
        good = verify_marking(&l);
    } else if (good && !sweep_done(gc->h)) {
        l.may_point_to = swept_may_point_to;
        l.ended = true;
        lock(&gc->roots.lock);
        good = check_pointers_locked(&l);
        unlock(&gc->roots.lock);
    }
    markers_resume(gc);
    if (l.no_memory)
        return error_set(err, GOMEM_OUT_OF_MEMORY, "no memory to verify the collector");
    return good ? GOMEM_OK : error_set(err, GOMEM_CORRUPT, "collector: %s", why);
}
