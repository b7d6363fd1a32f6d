/* A Treiber stack of spans with a tagged head.
 *
 * Called through spanset.h. Source: Treiber, "Systems programming: coping with parallelism", 1986.
 *
 * Concurrency: see spanset.h.
 * Go: mspanset.go, lfstack.go.
 */
#include "heap/spanset.h"

/* 64-byte alignment leaves 6 low bits, 48-bit addresses 16 high ones: 22 bits of tag. */
#define ADDRESS_MASK (((uint64_t)1 << 48) - 64)

static struct mspan *head_span(uint64_t head)
{
    return (struct mspan *)(head & ADDRESS_MASK);
}

static uint64_t head_make(const struct mspan *s, uint64_t old)
{
    uint64_t tag = ((old >> 48) << 6 | (old & 63)) + 1;
    return (uint64_t)s | (tag >> 6) << 48 | (tag & 63);
}

void span_set_push(struct span_set *set, enum set_kind kind, struct mspan *s)
{
    uint64_t head = load_relaxed(&set->head);
    do {
        store_relaxed(&s->set_next[kind], head_span(head));
    } while (!cas_release(&set->head, &head, head_make(s, head))); /* with pop's acquire */
    fetch_add_relaxed(&set->count, 1);
}

struct mspan *span_set_pop(struct span_set *set, enum set_kind kind)
{
    uint64_t head = load_acquire(&set->head); /* with push's release */
    struct mspan *s;
    do {
        s = head_span(head);
        if (s == NULL)
            return NULL;
        /* s may be popped by another thread right now: then next is garbage and the CAS fails. */
    } while (!cas_acq_rel(&set->head, &head,
                          head_make(load_relaxed(&s->set_next[kind]), head)));
    fetch_sub_relaxed(&set->count, 1);
    return s;
}

struct mspan *span_set_take_all(struct span_set *set, enum set_kind kind)
{
    uint64_t head = load_relaxed(&set->head);
    while (!cas_acq_rel(&set->head, &head, head_make(NULL, head))) /* with push's release */
        ;
    struct mspan *all = head_span(head);
    uint32_t n = 0;
    for (struct mspan *s = all; s != NULL; s = load_relaxed(&s->set_next[kind]))
        n++;
    fetch_sub_relaxed(&set->count, n);
    return all;
}
