/* Where marking begins: tables of pointers, and frames of C programs.
 *
 * A root table is an array whose owner registers it; it is scanned while the program runs, piece by
 * piece, so that its slots are written through the barrier like pointers in the heap. A shadow stack is
 * a thread's list of frames with pointers, which the thread changes as it likes while it holds a P; it is
 * scanned with the world stopped.
 *
 * Called by cycle.c (scanning) and runtime/ (registering).
 *
 * Concurrency: the lists are under the lock; slots of tables are atomic; frames are their thread's, and
 * anybody's to read while the world is stopped.
 * Go: markroot in mgcmark.go; data and stacks.
 */
#ifndef GOMEM_GC_ROOTS_H
#define GOMEM_GC_ROOTS_H

#include "gc/mark.h"

struct roots {
    struct lock lock; /* rank GC_ROOTS */
    struct gomem_root_table *tables;   /* under lock */
    struct gomem_shadow_stack *stacks; /* under lock */
    struct gomem_root_table *next;     /* under lock: to be scanned next; NULL: all are */
    size_t at;                         /* under lock: its first slot not scanned yet */
    bool marking;                      /* under lock: tables that are added now are late; not once closed */
    size_t nlate;                      /* under lock: late tables not scanned yet */
    struct marker marker;              /* under lock: for tables that go while marking goes on */
    uint64_t slots;                    /* atomic: in all tables */
    /* atomic, written under lock: bytes of this cycle's tables and frames that have been scanned */
    uint64_t scanned_tables, scanned_frames;
};

void roots_init(struct roots *r, struct work_pool *pool);
void roots_add_table(struct roots *r, struct gomem_root_table *t);
void roots_remove_table(struct roots *r, struct gomem_root_table *t);
void roots_add_stack(struct roots *r, struct gomem_shadow_stack *s);
void roots_remove_stack(struct roots *r, struct gomem_shadow_stack *s);

/* Marking begins, or ends. pre: the world is stopped. */
void roots_start(struct roots *r, struct marker *m);
void roots_finish(struct roots *r);
/* The heap goes, perhaps while marking goes on in steps: nothing that is added or removed later is scanned. pre:
 * the world is stopped for good. */
void roots_close(struct roots *r);
/* Greys what frames point to, as roots_start does; how many slots they have. pre: the world is stopped. */
size_t roots_scan_frames(struct roots *r, struct marker *m);
/* Are there tables to scan? */
bool roots_have_work(struct roots *r);
/* Greys what some more slots of tables point to; false: none is left. */
MUST_USE bool roots_scan_some(struct roots *r, struct marker *m);

#endif
