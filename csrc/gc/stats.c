/* Adding up cycles, and writing them down.
 *
 * Called through stats.h.
 *
 * Concurrency: see stats.h.
 * Go: mstats.go, histogram.go, mgc.go (gcMarkTermination, fmtNSAsMS).
 */
#include "gc/stats.h"

#include <stdio.h>

#include "base/bits.h"
#include "base/time_histogram.h"

/* --- Histograms --- */

int64_t gomem_time_bucket(uint32_t i)
{
    if (i == 0)
        return INT64_MIN;
    if (i >= GOMEM_TIME_BUCKETS - 1)
        return (int64_t)1 << (MAX_BUCKET_BITS - 1);
    unsigned bucket = (i - 1) / SUB_BUCKETS, part = (i - 1) % SUB_BUCKETS;
    if (bucket == 0)
        return (int64_t)part << (MIN_BUCKET_BITS - 1 - SUB_BUCKET_BITS);
    unsigned top = bucket + MIN_BUCKET_BITS - 2;
    return ((int64_t)1 << top) + ((int64_t)part << (top - SUB_BUCKET_BITS));
}

/* --- Sums --- */

/* CPU time of a stop: of who stops while others still run, then of all Ps. */
static int64_t pause_cpu(const struct gomem_gc_cycle *c, int i)
{
    return c->stop_ns[i] + (c->pause_ns[i] - c->stop_ns[i]) * c->procs;
}

void stats_record(struct gc_stats *s, struct gomem_gc_cycle *c, int64_t elapsed)
{
    uint64_t paused = (uint64_t)(c->pause_ns[0] + c->pause_ns[1]);
    s->pause_ns[s->num_gc % GOMEM_PAUSES] = paused;
    s->pause_end[s->num_gc % GOMEM_PAUSES] = (uint64_t)c->end_unix_ns;
    s->pause_total += paused;
    s->last_gc_unix = c->end_unix_ns;
    s->num_gc++;
    s->num_forced += c->forced;
    int64_t pause = pause_cpu(c, 0) + pause_cpu(c, 1);
    s->pause += pause;
    s->assist += c->assist_ns;
    s->dedicated += c->dedicated_ns + c->fractional_ns;
    s->idle += c->idle_ns;
    s->total += pause + c->assist_ns + c->dedicated_ns + c->fractional_ns + c->idle_ns;
    s->all = elapsed * c->procs;
    s->cpu_fraction = s->all > 0 ? (double)(s->total - s->idle) / (double)s->all : 0;
    c->cpu_fraction = s->cpu_fraction;
    for (int i = 0; i < 2; i++) {
        time_histogram_record(&s->pauses, c->pause_ns[i]);
        time_histogram_record(&s->stopping, c->stop_ns[i]);
    }
    time_histogram_record(&s->marking, c->mark_ns);
}

/* --- The trace --- */

/* Milliseconds in Go's way: two digits, at most three of them decimals, and none from 10 ms on. */
static void put_ms(char out[24], int64_t ns)
{
    uint64_t us = ns < 0 ? 0 : (uint64_t)ns / 1000;
    int decimals = 3;
    if (us >= 10000) {
        snprintf(out, 24, "%llu", (unsigned long long)(us / 1000));
        return;
    }
    if (us == 0) {
        snprintf(out, 24, "0");
        return;
    }
    uint64_t unit = 1000;
    for (; us >= 100; us /= 10, unit /= 10)
        decimals--;
    if (decimals == 0)
        snprintf(out, 24, "%llu", (unsigned long long)us);
    else
        snprintf(out, 24, "%llu.%0*llu", (unsigned long long)(us / unit), decimals,
                 (unsigned long long)(us % unit));
}

size_t gctrace_line(const struct gomem_gc_cycle *c, unsigned cpus, char line[GCTRACE_LINE])
{
    int64_t stopped = MIN(c->procs, cpus);
    int64_t ns[8] = {
        c->pause_ns[0], c->mark_ns, c->pause_ns[1], c->pause_ns[0] * stopped, c->assist_ns,
        c->dedicated_ns + c->fractional_ns, c->idle_ns, c->pause_ns[1] * stopped,
    };
    char ms[8][24];
    for (int i = 0; i < 8; i++)
        put_ms(ms[i], ns[i]);
#define MB(bytes) ((unsigned long long)((bytes) >> 20))
    unsigned long long start = (unsigned long long)c->start_ns / 1000000;
    int n = snprintf(
        line, GCTRACE_LINE,
        "gc %llu @%llu.%03llus %d%%: %s+%s+%s ms clock, %s+%s/%s/%s+%s ms cpu, "
        "%llu->%llu->%llu MB, %llu MB goal, %llu MB stacks, %llu MB globals, %u P%s\n",
        (unsigned long long)c->number, start / 1000, start % 1000, (int)(c->cpu_fraction * 100),
        ms[0], ms[1], ms[2], ms[3], ms[4], ms[5], ms[6], ms[7], MB(c->heap_start), MB(c->heap_end),
        MB(c->heap_marked), MB(c->goal), MB(c->stack_scan), MB(c->globals_scan), c->procs,
        c->forced ? " (forced)" : "");
#undef MB
    return (size_t)MIN(n, GCTRACE_LINE - 1);
}
