/* Pieces of the collector that a test build leaves out, to show that the tests notice.
 *
 *   if (!MUTATED(NO_DELETION_BARRIER)) ...
 *
 * A build defines GOMEM_MUTATE as one name of the list; normal builds define nothing, and the compiler
 * sees a constant. What each mutation must break, and which check says so, is in
 * tests/gc/test_mutations.py.
 *
 * Concurrency: constants.
 * Go: no counterpart.
 */
#ifndef GOMEM_BASE_MUTATE_H
#define GOMEM_BASE_MUTATE_H

enum gomem_mutation {
    MUTATE_NOTHING,
    MUTATE_NO_DELETION_BARRIER,     /* the barrier does not grey what is overwritten */
    MUTATE_NO_INSERTION_BARRIER,    /* nor what is written */
    MUTATE_NO_BLACK_WINDOWS,        /* windows taken while marking goes on are not marked */
    MUTATE_NO_BLACK_OLD_WINDOWS,    /* nor those that Ps have when it begins */
    MUTATE_NO_SCANNED_WINDOWS,      /* they are marked, but not scanned: grey, and in no queue */
    MUTATE_NO_SECOND_MARK,          /* that more of a queued span is marked is not noted */
    MUTATE_NO_OWN_ROUND,            /* what objects of a span point to in it is not scanned */
    MUTATE_NO_BLACK_LARGE,          /* large objects are allocated white */
    MUTATE_NO_TINY_RETIRE,          /* tiny objects are put into a block that is white */
    MUTATE_NO_BARRIER_FLUSH,        /* what Ps' barriers have collected is forgotten at the end */
    MUTATE_NO_WORK_FLUSH,           /* so are grey objects in the hands of Ps */
    MUTATE_NO_FRAME_SCAN,           /* frames are no roots */
    MUTATE_NO_FRAME_RESCAN,         /* with the insertion barrier alone: they are scanned once */
    MUTATE_NO_REMOVED_TABLE_SCAN,   /* a table that goes before it was scanned never is */
    MUTATE_NO_LATE_TABLE_SCAN,      /* tables that come while marking goes on are not scanned */
    MUTATE_NO_OVERFLOW_RESCAN,      /* what no buffer could hold is forgotten */
    MUTATE_NO_OBLETS,               /* only the beginning of a large object is scanned */
    MUTATE_NO_MARKS_CLEARED,        /* sweeping leaves marks behind */
    MUTATE_NO_SWEEPGEN,             /* and does not say that it was there */
    MUTATE_NO_CREDIT_TAKEN,         /* background credit is spent without being taken */
    MUTATE_NO_NEW_TRIGGER,          /* the heap is not told when the next cycle is due */

    /* Of specials: tests/gc/test_specials_mutations.py. */
    MUTATE_SPECIALS_KEEP_WEAK,           /* weak pointers stay when their object dies */
    MUTATE_SPECIALS_NO_RESURRECTION,     /* an object goes though it has a finalizer */
    MUTATE_SPECIALS_NO_MARKING,          /* what finalizers and cleanups keep is not marked */
    MUTATE_SPECIALS_NO_ARGUMENT_MARKING, /* only what finalizers keep is */
    MUTATE_SPECIALS_NO_QUEUE_MARKING,    /* what is queued is not marked */
    MUTATE_SPECIALS_NO_LATE_QUEUE,       /* nor what is queued while marking goes on */
    MUTATE_SPECIALS_NO_LATE_FINALIZER,   /* nor what a finalizer keeps that is set while it does */
    MUTATE_SPECIALS_NO_LATE_CLEANUP,     /* nor a cleanup's argument */
    MUTATE_SPECIALS_NO_TAKE_BARRIER,     /* what leaves the queue is not shaded */
    MUTATE_SPECIALS_NO_WEAK_SHADE,       /* nor what a weak pointer leads to */
    MUTATE_SPECIALS_WEAK_TO_GARBAGE,     /* weak pointers lead to garbage until it is swept */
    MUTATE_SPECIALS_NO_FREE,             /* frees by hand leave what is attached */
    MUTATE_SPECIALS_NO_OWNER_LOOK,       /* the owner of a span does not look for specials */
};

#ifndef GOMEM_MUTATE
#define GOMEM_MUTATE NOTHING
#endif

#define MUTATE_PASTE_(name)  MUTATE_##name
#define MUTATE_EXPAND_(name) MUTATE_PASTE_(name)
#define MUTATED(name)        (MUTATE_EXPAND_(GOMEM_MUTATE) == MUTATE_##name)

#endif
