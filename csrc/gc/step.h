/* Step mode: one cycle that its caller drives, a grey object or a phase at a time.
 *
 * The caller's thread does, through cycle.h, what the collector's thread does otherwise; that one runs no
 * cycle meanwhile. Between two steps the program runs, with the barrier on while marking goes on. Who
 * allocates marks nothing, unless asked to. What the barrier does is written down.
 *
 * Called by runtime/ and, to write down, by assist.c.
 *
 * Invariant: while `active`, started == wanted or the one cycle wanted meanwhile waits; the hook of the
 * heap is the stepper's if it does not want assists.
 *
 * Concurrency: a step holds cycle_lock; between steps nobody does. So steps by several threads take turns.
 * Go: no counterpart.
 */
#ifndef GOMEM_GC_STEP_H
#define GOMEM_GC_STEP_H

#include "gomem.h"
#include "platform/lock.h"

struct gc;
struct mcache;

enum { SHADES = 4096 }; /* remembered until they are read; the first ones, if there are more */

struct gc_step {
    bool active;    /* under the collector's lock */
    uint64_t id;    /* under cycle_lock: of the cycle that is stepped, or was last */
    uint32_t phase; /* atomic, written under cycle_lock: enum gomem_gc_phase */
    void (*on_slow_path)(void *gc, struct mcache *c, size_t bytes); /* the heap's hook meanwhile */

    struct gomem_shade *shades; /* NULL: nothing is written down; set with the world stopped */
    struct gomem_shade *buffer; /* what shades is while active; made by the first step_begin */
    struct lock lock;           /* rank GC_SHADES */
    size_t nshades, nlost;      /* under lock */
};

/* Begins a cycle, in its first phase. GOMEM_BUSY: one is stepped already. Waits for one that runs. */
MUST_USE enum gomem_status step_begin(struct gc *gc, bool assists, uint64_t *id);
/* One step of the cycle with this id; of one that is done already there is none left. */
MUST_USE enum gomem_status step_once(struct gc *gc, uint64_t id, struct gomem_gc_step *out);
/* Everything that is left of a phase, and the way into the next. */
MUST_USE enum gomem_status step_phase(struct gc *gc, uint64_t id, enum gomem_gc_phase *out);
/* Moves out what was written down; *lost: how many more there were. */
size_t step_take_shades(struct gc *gc, struct gomem_shade *out, size_t capacity, size_t *lost);
/* A pointer is about to be written, by a P's holder. */
void step_note_shade(struct gc *gc, uint32_t p, uintptr_t slot, uintptr_t old, uintptr_t new);

#endif
