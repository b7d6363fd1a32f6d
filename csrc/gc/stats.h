/* What the collector counts: pauses, CPU time, histograms, and the line that gctrace prints.
 *
 * A cycle's own numbers are in its record (gomem.h); this is what is left of all of them.
 *
 * Called by cycle.c when a cycle's marking is done, and by the runtime for whoever asks.
 *
 * Concurrency: struct gc_stats is under the collector's lock; the rest is stateless.
 * Go: mstats.go (cpuStats, pause_ns), histogram.go, the end of gcMarkTermination in mgc.go.
 */
#ifndef GOMEM_GC_STATS_H
#define GOMEM_GC_STATS_H

#include "base/check.h"
#include "gomem.h"

/* CPU time (ns) of marking in the current cycle; atomic. */
struct gc_times {
    int64_t assist, dedicated, fractional, idle;
};

struct gc_stats {
    uint64_t num_gc, num_forced, pause_total;
    uint64_t pause_ns[GOMEM_PAUSES], pause_end[GOMEM_PAUSES];
    int64_t last_gc_unix;
    double cpu_fraction;
    int64_t assist, dedicated, idle, pause, total; /* ns of CPU; total: of the collector */
    int64_t all;                                   /* of all Ps until the last cycle ended */
    struct gomem_time_histogram pauses, stopping, marking;
};

/* A cycle has ended, `elapsed` ns after the runtime was made; fills in the record's cpu_fraction. */
void stats_record(struct gc_stats *s, struct gomem_gc_cycle *c, int64_t elapsed);
/* The line of GODEBUG=gctrace=1, with its newline; how long it is. */
enum { GCTRACE_LINE = 400 };
size_t gctrace_line(const struct gomem_gc_cycle *c, unsigned cpus, char line[GCTRACE_LINE]);

#endif
