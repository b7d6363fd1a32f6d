/* Runs the frontier of the trace reader, for tests/gotrace/test_order.py.
 *
 *   frontier_test sort      a line of standard input is times of threads 0, 1, ...; prints the
 * threads in the order of the sort frontier_test heap      the same, as the threads come off the
 * heap; each comes twice: after its time, and after twice its time + 1
 *
 * Concurrency: one thread.
 * Go: internal/trace/batchcursor_test.go.
 */
#include "gotrace/frontier.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 1 << 16, MAX_THREADS = 1 << 12 };

static void print_sorted(struct frontier *f)
{
    frontier_sort(f);
    for (size_t i = 0; i < f->n; i++)
        printf("%" PRIu32 " ", f->at[i].thread);
}

static void print_heap(struct frontier *f, const uint64_t *times)
{
    bool again[MAX_THREADS] = {false};
    while (f->n > 0) {
        uint32_t thread = f->at[0].thread;
        CHECK(f->at[0].time <= frontier_limit(f));
        printf("%" PRIu32 " ", thread);
        if (again[thread])
            frontier_remove(f, 0);
        else
            frontier_update(f, 0, 2 * times[thread] + 1);
        again[thread] = true;
    }
}

int main(int argc, char **argv)
{
    static char line[MAX_LINE];
    static uint64_t times[MAX_THREADS];
    bool sort = argc > 1 && strcmp(argv[1], "sort") == 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct frontier f;
        CHECK(frontier_init(&f, MAX_THREADS));
        for (char *at = strtok(line, " \n"); at != NULL; at = strtok(NULL, " \n")) {
            times[f.n] = strtoull(at, NULL, 10);
            struct frontier_entry e = {times[f.n], (uint32_t)f.n};
            if (sort)
                f.at[f.n++] = e;
            else
                frontier_insert(&f, e);
        }
        if (sort)
            print_sorted(&f);
        else
            print_heap(&f, times);
        putchar('\n');
        frontier_free(&f);
    }
    return EXIT_SUCCESS;
}
