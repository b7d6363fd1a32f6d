/* Runs one workload on one allocator and prints what each repetition took.
 *
 *   program NAME SIZE THREADS MILLISECONDS [FILE [FILE]]
 *   program who
 *
 * A line a repetition: nanoseconds an operation (one allocation and one free), or the speed-up for
 * workloads called "scale-..."; replay.c says what else. The first repetitions, which find out how
 * many operations fill a quarter of a millisecond, are not printed. Called by bench_alloc.py.
 *
 * Concurrency: workloads of threads start their own (threads.c); all else is one thread.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

enum { MAX_REPORTS = 4096 };

static const double REPETITION_SECONDS = 250e-6;

static double reports[MAX_REPORTS];
static size_t nreports;

void report(double value)
{
    if (nreports < MAX_REPORTS)
        reports[nreports++] = value;
}

static uint32_t uniform(uint64_t *rng, uint32_t from, uint32_t to)
{
    return from + (uint32_t)(random_next(rng) >> 33) % (to - from);
}

void draw_sizes(struct run *r, bool large)
{
    uint64_t rng = 0x9e3779b97f4a7c15u;
    r->sizes = own_memory(SIZE_TABLE * sizeof *r->sizes);
    for (unsigned i = 0; i < SIZE_TABLE; i++) {
        uint32_t octave = 8;
        while (octave < 2048 && random_next(&rng) >> 33 < (uint64_t)(0.65 * (double)(1u << 31)))
            octave *= 2;
        r->sizes[i] = uniform(&rng, octave, 2 * octave);
        if (i % 100 == 99)
            r->sizes[i] = uniform(&rng, 4096, 32768);
        if (large && i % 20 == 0) {
            octave = 32768u << (random_next(&rng) >> 33) % 5;
            r->sizes[i] = uniform(&rng, octave, 2 * octave);
        }
        if (i % 2 == 0)
            r->sizes[i] &= ~(uint32_t)(WORD_BYTES - 1);
    }
}

/* --- gomem's side of alloc_api.h --- */

#ifdef PEER_GOMEM

static struct gomem_runtime *runtime;
static struct gomem_error error;

const char *api_start(unsigned threads)
{
    struct gomem_options options = gomem_options_default();
    options.gogc = -1; /* objects are known by their addresses only */
    options.procs = threads;
    return gomem_runtime_new(&options, &runtime, &error) == GOMEM_OK ? NULL : error.message;
}

alloc_handle api_enter(unsigned thread)
{
    return gomem_proc_acquire_id(runtime, thread);
}

#endif

/* --- Running --- */

static const struct workload *find(const char *name)
{
    for (const struct workload *w = one_thread_workloads; w->name != NULL; w++)
        if (strcmp(w->name, name) == 0)
            return w;
    for (const struct workload *w = object_workloads; w->name != NULL; w++)
        if (strcmp(w->name, name) == 0)
            return w;
    return NULL;
}

/* `times` runs: the seconds they took and the operations they did. */
static double run_times(const struct workload *w, struct run *r, unsigned times, size_t *operations)
{
    *operations = 0;
    r->seconds = 0;
    double start = now();
    for (unsigned i = 0; i < times; i++)
        *operations += w->run(r);
    return r->seconds > 0 ? r->seconds : now() - start;
}

static void run_one_thread(const struct workload *w, size_t size, double seconds)
{
    struct run r = {.h = api_enter(0), .size = size, .rng = 88172645463325252u};
    unsigned times = 1;
    size_t operations;
    if (w->prepare != NULL)
        w->prepare(&r);
    while (run_times(w, &r, times, &operations) < REPETITION_SECONDS && times < 1u << 24)
        times *= 2;
    double end = now() + seconds;
    do {
        double took = run_times(w, &r, times, &operations);
        report(1e9 * took / (double)operations);
        api_safepoint(r.h);
    } while (now() < end || nreports < 3);
    api_leave(r.h);
}

/* Prints which library answers for malloc, so that the runner can see that it is the peer. */
static int who(void)
{
#ifdef PEER_GOMEM
    printf("gomem %s\n", gomem_build_profile());
#else
    Dl_info info;
    printf("%s\n", dladdr((void *)malloc, &info) != 0 ? info.dli_fname : "unknown");
#endif
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "who") == 0)
        return who();
    if (argc < 5)
        die("usage: program NAME SIZE THREADS MILLISECONDS [FILE [FILE]]");
    size_t size = strtoull(argv[2], NULL, 10);
    unsigned threads = (unsigned)strtoul(argv[3], NULL, 10);
    double seconds = 1e-3 * strtod(argv[4], NULL);
    const char *failed = api_start(threads);
    if (failed != NULL)
        die(failed);
    const struct workload *w = find(argv[1]);
    if (w != NULL)
        run_one_thread(w, size, seconds);
    else if (!run_recorded(argv[1], argv + 5, seconds) &&
             !run_threads(argv[1], size, threads, seconds))
        die("no such workload");
    for (size_t i = 0; i < nreports; i++)
        printf("%.4g\n", reports[i]);
    return 0;
}
