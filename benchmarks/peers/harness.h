/* What the workloads share: how one is described, and the distribution of sizes.
 *
 * Called by one_thread.c, objects.c, threads.c and replay.c; run by main.c.
 *
 * Concurrency: a struct run is its thread's; a struct workload is const.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include "alloc_api.h"
#include "support.h"

enum {
    WORD_BYTES = 8,
    SIZE_TABLE = 4096, /* sizes drawn once; a power of two */
};

struct run {
    alloc_handle h;
    size_t size;       /* second argument of the program: bytes, or MiB for "live" */
    void **objects;    /* a table of the workload's own */
    uint32_t *sizes;   /* SIZE_TABLE sizes in bytes, drawn by `draw` */
    uint64_t rng;
    double seconds;    /* what run took, if it measures itself; 0: main does */
    const void *type;  /* struct gomem_type of typed workloads */
};

/* A workload of one thread. run does a repetition and returns the number of its operations; an
 * operation is one allocation and one free. */
struct workload {
    const char *name;
    void (*prepare)(struct run *r); /* or NULL */
    size_t (*run)(struct run *r);
};

extern const struct workload one_thread_workloads[]; /* both end with a name of NULL */
extern const struct workload object_workloads[];

/* Runs a workload of many threads for the given time; false if there is none of the name. Results
 * are handed to report: nanoseconds an operation, or, for "scale-...", the speed-up. */
bool run_threads(const char *name, size_t size, unsigned threads, double seconds);

/* Runs a workload on files (replay.c), which end with NULL; false if there is none of the name. */
bool run_recorded(const char *name, char **files, double seconds);

/* One repetition's result. */
void report(double value);

/* Fills r->sizes: each octave from 8 to 4096 bytes 0.65 times as likely as the one below it,
 * uniform inside; one in 100 from 4 to 32 KiB. large: one in 20 from 32 KiB to 1 MiB, too, each
 * octave as likely as any. Every second size is a multiple of 8. Mean 0.3 KiB, with large 14 KiB.
 */
void draw_sizes(struct run *r, bool large);

#endif
