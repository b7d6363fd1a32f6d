/* When to collect, and how much of the work whoever allocates must do.
 *
 * The goal is a heap size at which marking should be done: live heap plus GOGC per cent of live heap and
 * roots, or what a memory limit leaves. The trigger is the size at which marking begins: the goal less
 * what the program will allocate meanwhile, judged by the last cycles (cons/mark). While marking goes on,
 * the assist ratio says how many bytes must be scanned for each byte allocated, so that scanning ends
 * before the heap reaches the goal.
 *
 * Arithmetic only: inputs are numbers, so that tests can simulate programs.
 *
 * Called by cycle.c.
 *
 * Invariant: heap_marked <= trigger <= goal, when there is a goal above what is marked.
 *
 * Concurrency: the two assist ratios are atomic (as bits); the rest changes with the world stopped, or
 * under the lock of the collector.
 * Go: mgcpacer.go. Source: Knyszek, "GC pacer redesign", 2021.
 */
#ifndef GOMEM_GC_PACER_H
#define GOMEM_GC_PACER_H

#include <stdbool.h>
#include <stdint.h>

#define BACKGROUND_UTILIZATION 0.25 /* of all Ps, for marking in the background; the goal, too */

enum { CONS_MARK_HISTORY = 4 };

/* What the memory limit's goal is computed from; bytes. */
struct pacer_memory {
    uint64_t limit;        /* UINT64_MAX: none */
    uint64_t mapped_ready; /* all memory in use or ready */
    uint64_t heap_free;    /* of it, in free pages */
    uint64_t heap_alloc;   /* of it, in objects */
};

/* Bytes, of what has pointers in it: to be scanned, or scanned. */
struct pacer_scan {
    uint64_t heap, stacks, globals;
};

/* Who marks in the background of a cycle. */
struct pacer_workers {
    unsigned dedicated; /* Ps that do nothing else */
    double fractional;  /* share of each P, beside them; 0: none */
    unsigned max_idle;  /* Ps that may mark while nobody needs them */
};

struct pacer {
    int32_t gc_percent; /* negative: off */
    uint64_t heap_minimum;
    uint64_t heap_marked;       /* by the last cycle */
    uint64_t triggered;         /* heap_live when the current cycle began; UINT64_MAX: none runs */
    uint64_t sweep_min_trigger; /* while sweeping is under way no cycle begins below this */
    uint64_t percent_goal;      /* UINT64_MAX: none */
    uint64_t last_heap_goal;    /* of the last cycle; 0: there was none */
    uint64_t runway;            /* bytes the program is expected to allocate during a cycle */
    struct pacer_scan last_scan; /* by the last cycle; globals: as they are now */
    uint64_t max_stack_scan;    /* stacks as large as they are now */
    double cons_mark, last_cons_mark[CONS_MARK_HISTORY];
    struct pacer_workers workers;   /* of the current cycle */
    uint64_t assist_work_per_byte;  /* atomic: bits of a double */
    uint64_t assist_bytes_per_work; /* atomic: bits of a double */
    struct pacer_memory memory;
};

/* How a cycle begins. */
struct pacer_start {
    uint64_t heap_live, heap_scan; /* bytes; scan: of it, with pointers */
    uint64_t stacks, globals;      /* bytes to be scanned */
    unsigned procs;
    bool periodic; /* because the last was long ago: nobody is in a hurry */
};

/* What a cycle turned out to be. */
struct pacer_cycle {
    int64_t duration;    /* ns, of marking */
    int64_t assist_time; /* ns of CPU: by those who allocate */
    int64_t idle_time;   /* ns of CPU: by markers on Ps nobody needed */
    uint64_t heap_live;  /* at its end */
    struct pacer_scan work;
    unsigned procs;
};

void pacer_init(struct pacer *p, int32_t gc_percent, uint64_t memory_limit);
void pacer_set_gc_percent(struct pacer *p, int32_t gc_percent);
/* Computes goal and runway anew, for changed settings or after a cycle. heap_live matters while sweeping
 * is not done. */
void pacer_commit(struct pacer *p, bool sweep_done, uint64_t heap_live);
uint64_t pacer_heap_goal(const struct pacer *p);
uint64_t pacer_trigger(const struct pacer *p);

/* A quarter of all Ps: as whole Ps, and a share of each for what these miss. */
struct pacer_workers pacer_share_workers(unsigned procs, bool periodic);
void pacer_start_cycle(struct pacer *p, const struct pacer_start *s);
/* New estimates: heap_live, bytes with pointers that may have to be scanned at worst, and what has been
 * scanned so far in this cycle. */
void pacer_revise(struct pacer *p, uint64_t heap_live, uint64_t heap_scan,
                  const struct pacer_scan *work);
void pacer_end_cycle(struct pacer *p, const struct pacer_cycle *c);
/* Marking is done: this much is alive, and so much was scanned. */
void pacer_reset_live(struct pacer *p, uint64_t marked, const struct pacer_scan *work);
/* Bytes to scan for each byte allocated, and the reverse. */
double pacer_assist_ratio(const struct pacer *p);
double pacer_assist_bytes(const struct pacer *p);

static inline uint64_t pacer_scan_sum(const struct pacer_scan *s)
{
    return s->heap + s->stacks + s->globals;
}

#endif
