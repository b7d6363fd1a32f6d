/* Where primitives tell who listens what orders what: one line an operation, one branch if nobody does.
 *
 * A primitive that makes one goroutine's past visible to another calls hb_event at the place where that
 * happens, with its lock held. The detector and the explorer will listen; so far nobody but tests does.
 * Tables of what each event means are the listener's.
 *
 * Called by sync/ and sched/.
 *
 * Concurrency: the pointer is const once its scheduler runs; a listener is called by any thread, with the
 * primitive's lock held, and takes no lock that comes before it.
 * Go: raceacquire, racerelease, racenotify, racesync behind `if raceenabled`.
 */
#ifndef GOMEM_HB_GATE_H
#define GOMEM_HB_GATE_H

#include <stdint.h>

#include "base/check.h"

struct g;

enum hb_kind {
    HB_GO,          /* g starts another: release, and the other's acquire */
    HB_CHAN_SLOT,   /* g puts into the slot of a buffer, or takes from it: acquire and release of the slot */
    HB_CHAN_MEET,   /* g and another hand over without a buffer: each acquires what the other releases */
    HB_CHAN_CLOSE,  /* g closes: release */
    HB_CHAN_CLOSED, /* g has received because it is closed: acquire */
};

struct hb_event {
    enum hb_kind kind;
    struct g *g, *other;
    const void *object; /* a channel */
    uint64_t slot;      /* HB_CHAN_SLOT: which */
};

struct hb {
    void (*on_event)(struct hb *hb, const struct hb_event *e);
};

/* The marked line. hb: NULL while nobody listens. */
#define HB_EVENT(hb, ...)                                                                          \
    do {                                                                                           \
        if (UNLIKELY((hb) != NULL))                                                                \
            (hb)->on_event((hb), &(const struct hb_event){__VA_ARGS__});                           \
    } while (0)

#endif
