/* Runs one workload on one collected heap and prints what it measured.
 *
 *   program NAME ARGUMENT ...
 *   program who
 *
 * A line a figure: its name and its value. Called by bench_gc.py.
 *
 * Concurrency: workloads may start threads of their own.
 */
#include <stdio.h>
#include <stdlib.h>

#include "collected.h"

void figure(const char *name, double value)
{
    printf("%s %.9g\n", name, value);
}

static int doubles_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, doubles_by_value);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void figure_mark_time(void)
{
    double times[COLLECTIONS];
    for (unsigned i = 0; i < COLLECTIONS; i++) {
        heap_collect();
        times[i] = 1e-6 * (double)heap_mark_time();
    }
    figure("mark", median(times, COLLECTIONS));
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest pause that `share` of all do not exceed. */
static double quantile_us(const uint64_t *sorted, size_t n, double share)
{
    size_t i = (size_t)(share * (double)n);
    return 1e-3 * (double)sorted[i < n ? i : n - 1];
}

void figures_of_pauses(void)
{
    static uint64_t pauses[MAX_PAUSES];
    size_t n = heap_pauses(pauses);
    if (n == 0)
        return;
    qsort(pauses, n, sizeof *pauses, by_value);
    figure("pauses", (double)n);
    figure("pause_p50", quantile_us(pauses, n, 0.5));
    figure("pause_p999", quantile_us(pauses, n, 0.999));
    figure("pause_max", quantile_us(pauses, n, 1));
}

static bool run(const struct workload *w, char **arguments)
{
    for (; w->name != NULL; w++)
        if (strcmp(w->name, arguments[0]) == 0) {
            w->run(arguments + 1);
            return true;
        }
    return false;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "who") == 0) {
        printf("%s\n", heap_library());
        return 0;
    }
    if (argc < 3)
        die("usage: program NAME ARGUMENT ...");
    if (!run(tree_workloads, argv + 1) && !run(graph_workloads, argv + 1))
        die("no such workload");
    return 0;
}
