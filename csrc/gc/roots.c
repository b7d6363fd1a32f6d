/* Scanning roots.
 *
 * Called through roots.h.
 *
 * Concurrency: see roots.h.
 * Go: markroot in mgcmark.go.
 */
#include "gc/roots.h"

#include "base/mutate.h"
#include "gc/finalizer.h"

enum { SLOTS_AT_A_TIME = 512 };

void roots_init(struct roots *r, struct work_pool *pool)
{
    *r = (struct roots){0};
    lock_init(&r->lock, RANK_GC_ROOTS);
    marker_init(&r->marker, pool);
}

static void scan_slots_locked(struct roots *r, struct marker *m, const struct gomem_root_table *t,
                              size_t begin, size_t end)
{
    ASSERT_HELD(&r->lock);
    uintptr_t found[SLOTS_AT_A_TIME];
    size_t n = 0;
    for (size_t i = begin; i < end; i++) {
        uint64_t p = load_relaxed(&t->slots[i]);
        found[n] = p;
        n += p != 0;
        if (n == SLOTS_AT_A_TIME || i + 1 == end) {
            mark_grey_many(m, found, n);
            n = 0;
        }
    }
    owner_add_relaxed(&r->scanned_tables, (end - begin) * sizeof(uint64_t));
    m->root_bytes += (end - begin) * sizeof(uint64_t);
}

void roots_add_table(struct roots *r, struct gomem_root_table *t)
{
    lock(&r->lock);
    t->prev = NULL;
    t->next = r->tables;
    if (r->tables != NULL)
        r->tables->prev = t;
    r->tables = t;
    /* Before where scanning is; and what it holds may have been in a slot that was not scanned yet. */
    t->late = t->unscanned = r->marking && !MUTATED(NO_LATE_TABLE_SCAN);
    r->nlate += t->late;
    fetch_add_relaxed(&r->slots, t->n);
    unlock(&r->lock);
}

void roots_remove_table(struct roots *r, struct gomem_root_table *t)
{
    lock(&r->lock);
    /* Somebody may have copied a pointer from it to where no barrier is. */
    if (r->marking && t->unscanned && !MUTATED(NO_REMOVED_TABLE_SCAN)) {
        scan_slots_locked(r, &r->marker, t, 0, t->n);
        work_flush(&r->marker.work);
    }
    r->nlate -= t->late;
    if (r->next == t) {
        r->next = t->next;
        r->at = 0;
    }
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        r->tables = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    fetch_sub_relaxed(&r->slots, t->n);
    unlock(&r->lock);
}

void roots_add_stack(struct roots *r, struct gomem_shadow_stack *s)
{
    lock(&r->lock);
    s->prev = NULL;
    s->next = r->stacks;
    if (r->stacks != NULL)
        r->stacks->prev = s;
    r->stacks = s;
    unlock(&r->lock);
}

void roots_remove_stack(struct roots *r, struct gomem_shadow_stack *s)
{
    lock(&r->lock);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        r->stacks = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    unlock(&r->lock);
}

static size_t scan_frames_locked(struct roots *r, struct marker *m)
{
    ASSERT_HELD(&r->lock);
    size_t n = 0;
    for (struct gomem_shadow_stack *s = r->stacks; s != NULL && !MUTATED(NO_FRAME_SCAN); s = s->next)
        for (struct gomem_frame *f = s->top; f != NULL; f = f->previous) {
            for (uint32_t i = 0; i < f->n; i++)
                if (f->slots[i] != NULL)
                    mark_grey(m, (uintptr_t)f->slots[i]);
            n += f->n;
        }
    owner_add_relaxed(&r->scanned_frames, n * sizeof(uint64_t));
    return n;
}

void roots_start(struct roots *r, struct marker *m)
{
    lock(&r->lock);
    r->next = r->tables;
    r->at = 0;
    r->marking = true;
    finalizers_start(m->h);
    marker_init(&r->marker, m->work.pool);
    for (struct gomem_root_table *t = r->tables; t != NULL; t = t->next)
        t->unscanned = 1;
    store_relaxed(&r->scanned_tables, 0);
    store_relaxed(&r->scanned_frames, 0);
    (void)scan_frames_locked(r, m);
    unlock(&r->lock);
}

size_t roots_scan_frames(struct roots *r, struct marker *m)
{
    lock(&r->lock);
    size_t n = scan_frames_locked(r, m);
    unlock(&r->lock);
    return n;
}

void roots_close(struct roots *r)
{
    lock(&r->lock);
    r->marking = false;
    unlock(&r->lock);
}

void roots_finish(struct roots *r)
{
    lock(&r->lock);
    CHECK(r->next == NULL && !finalizers_have_work(r->marker.h));
    r->marking = false;
    /* Tables that came since the last look: what they hold was in another, or is new. */
    for (struct gomem_root_table *t = r->tables; r->nlate > 0; t = t->next) {
        r->nlate -= t->late;
        t->late = 0;
    }
    unlock(&r->lock);
}

static bool scan_late_locked(struct roots *r, struct marker *m)
{
    ASSERT_HELD(&r->lock);
    if (r->nlate == 0)
        return false;
    struct gomem_root_table *t = r->tables;
    while (!t->late)
        t = t->next;
    t->late = t->unscanned = 0;
    r->nlate--;
    scan_slots_locked(r, m, t, 0, t->n);
    return true;
}

bool roots_have_work(struct roots *r)
{
    lock(&r->lock);
    bool have = r->next != NULL || r->nlate > 0 || finalizers_have_work(r->marker.h);
    unlock(&r->lock);
    return have;
}

bool roots_scan_some(struct roots *r, struct marker *m)
{
    lock(&r->lock);
    struct gomem_root_table *t = r->next;
    if (t == NULL) {
        bool late = scan_late_locked(r, m);
        unlock(&r->lock);
        return late || finalizers_scan_some(m);
    }
    size_t end = MIN(t->n, r->at + SLOTS_AT_A_TIME);
    scan_slots_locked(r, m, t, r->at, end);
    r->at = end;
    if (end == t->n) {
        t->unscanned = 0;
        r->next = t->next;
        r->at = 0;
    }
    unlock(&r->lock);
    return true;
}
