/* Scanning roots.
 *
 * Called through roots.h.
 *
 * Concurrency: see roots.h.
 * Go: markroot in mgcmark.go.
 */
#include "gc/roots.h"

enum { SLOTS_AT_A_TIME = 512 };

void roots_init(struct roots *r)
{
    *r = (struct roots){0};
    lock_init(&r->lock, RANK_GC_ROOTS);
}

void roots_add_table(struct roots *r, struct gomem_root_table *t)
{
    lock(&r->lock);
    t->prev = NULL;
    t->next = r->tables;
    if (r->tables != NULL)
        r->tables->prev = t;
    r->tables = t; /* before where scanning is: its objects are new, or reached otherwise */
    fetch_add_relaxed(&r->slots, t->n);
    unlock(&r->lock);
}

void roots_remove_table(struct roots *r, struct gomem_root_table *t)
{
    lock(&r->lock);
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

void roots_start(struct roots *r, struct marker *m)
{
    lock(&r->lock);
    r->next = r->tables;
    r->at = 0;
    for (struct gomem_shadow_stack *s = r->stacks; s != NULL; s = s->next)
        for (struct gomem_frame *f = s->top; f != NULL; f = f->previous)
            for (uint32_t i = 0; i < f->n; i++)
                if (f->slots[i] != NULL)
                    mark_grey(m, (uintptr_t)f->slots[i]);
    unlock(&r->lock);
}

bool roots_scan_some(struct roots *r, struct marker *m)
{
    lock(&r->lock);
    struct gomem_root_table *t = r->next;
    if (t == NULL) {
        unlock(&r->lock);
        return false;
    }
    size_t end = MIN(t->n, r->at + SLOTS_AT_A_TIME);
    for (size_t i = r->at; i < end; i++) {
        uint64_t p = load_relaxed(&t->slots[i]);
        if (p != 0)
            mark_grey(m, p);
    }
    m->scanned_bytes += (end - r->at) * sizeof(uint64_t);
    r->at = end;
    if (end == t->n) {
        r->next = t->next;
        r->at = 0;
    }
    unlock(&r->lock);
    return true;
}
