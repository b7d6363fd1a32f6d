/* Channels, select and goroutines by gomem.h alone, with goroutines that are functions called step by step.
 *
 *   program ITEMS
 *   program who
 *
 * A line a figure: its name and ns an item. Called by bench_sync.py; peers/gosync has the same work.
 *
 * Concurrency: one thread, as with GOMAXPROCS=1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gomem.h"
#include "support.h"

enum { REPETITIONS = 7, BUFFER = 100 };

static uint64_t items;

struct task {
    bool (*step)(struct task *t, struct gomem_g *g); /* false: it has parked */
    struct gomem_chan *chan, *other;
    uint64_t left, slot;
    bool parked;
};

static struct gomem_chan *make_chan(int64_t cap)
{
    struct gomem_error err;
    struct gomem_chan *c;
    if (gomem_chan_new(sizeof(uint64_t), cap, &c, &err) != GOMEM_OK)
        die(err.message);
    return c;
}

static bool send_all(struct task *t, struct gomem_g *g)
{
    while (t->left > 0) {
        t->slot = t->left--;
        if (gomem_chan_send(g, t->chan, &t->slot, true) == GOMEM_PARK)
            return false;
    }
    return true;
}

static bool receive_all(struct task *t, struct gomem_g *g)
{
    bool ok;
    while (t->left > 0) {
        t->left--;
        if (gomem_chan_recv(g, t->chan, &t->slot, true, &ok) == GOMEM_PARK)
            return false;
    }
    return true;
}

static bool nothing(struct task *t, struct gomem_g *g)
{
    (void)t;
    (void)g;
    return true;
}

/* Until nobody can run. */
static void run_all(struct gomem_scheduler *s)
{
    struct gomem_g *g;
    uint32_t index;
    bool ok;
    while ((g = gomem_next(s, 0)) != NULL) {
        struct task *t = gomem_g_data(g);
        if (t->parked)
            (void)gomem_finish(g, &index, &ok);
        t->parked = !t->step(t, g);
        if (!t->parked)
            gomem_end(g);
    }
}

static double pipe_of(struct gomem_scheduler *s, int64_t cap)
{
    struct gomem_chan *c = make_chan(cap);
    struct task tasks[2] = {{.step = send_all, .chan = c, .left = items},
                            {.step = receive_all, .chan = c, .left = items}};
    double start = cpu_now();
    for (int i = 0; i < 2; i++)
        (void)gomem_go(s, 0, NULL, (struct gomem_site){0}, &tasks[i]);
    run_all(s);
    double took = cpu_now() - start;
    gomem_chan_delete(c);
    return took;
}

static double unbuffered(struct gomem_scheduler *s)
{
    return pipe_of(s, 0);
}

static double buffered(struct gomem_scheduler *s)
{
    return pipe_of(s, BUFFER);
}

/* A send and a receive count as two. */
static double uncontended(struct gomem_scheduler *s)
{
    struct gomem_g *g = gomem_thread_new(1);
    struct gomem_chan *c = make_chan(BUFFER);
    uint64_t v = 0;
    bool ok;
    (void)s;
    double start = cpu_now();
    for (uint64_t i = 0; i < items / BUFFER; i++) {
        for (int j = 0; j < BUFFER; j++)
            (void)gomem_chan_send(g, c, &v, true);
        for (int j = 0; j < BUFFER; j++)
            (void)gomem_chan_recv(g, c, &v, true, &ok);
    }
    double took = (cpu_now() - start) / 2;
    gomem_chan_delete(c);
    gomem_thread_delete(g);
    return took;
}

/* Of two channels one has an element: it is received and sent to the other. */
static double selecting(struct gomem_scheduler *s)
{
    struct gomem_g *g = gomem_thread_new(1);
    struct gomem_chan *a = make_chan(1), *b = make_chan(1);
    uint64_t v = 0;
    uint32_t index;
    bool ok;
    (void)s;
    if (!gomem_select_reserve(g, 2))
        die("out of memory");
    (void)gomem_chan_send(g, a, &v, true);
    double start = cpu_now();
    for (uint64_t i = 0; i < items; i++) {
        struct gomem_case cases[2] = {{a, &v, false}, {b, &v, false}};
        (void)gomem_select(g, cases, 2, true, &index, &ok);
        (void)gomem_chan_send(g, index == 0 ? b : a, &v, true);
    }
    double took = cpu_now() - start;
    gomem_chan_delete(a);
    gomem_chan_delete(b);
    gomem_thread_delete(g);
    return took;
}

static double going(struct gomem_scheduler *s)
{
    struct task t = {.step = nothing};
    double start = cpu_now();
    for (uint64_t i = 0; i < items / BUFFER; i++) {
        for (int j = 0; j < BUFFER; j++)
            (void)gomem_go(s, 0, NULL, (struct gomem_site){0}, &t);
        run_all(s);
    }
    return cpu_now() - start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        double (*run)(struct gomem_scheduler *s);
    } figures[] = {
        {"unbuffered", unbuffered}, {"buffered", buffered}, {"uncontended", uncontended},
        {"select", selecting},      {"go", going},
    };
    struct gomem_error err;
    struct gomem_scheduler *s;
    if (argc == 2 && strcmp(argv[1], "who") == 0)
        return printf("gomem %s\n", gomem_build_profile()) < 0;
    items = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    if (items < BUFFER)
        die("program ITEMS, at least 100");
    if (gomem_scheduler_new(1, 1, &s, &err) != GOMEM_OK)
        die(err.message);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        double times[REPETITIONS];
        for (int j = 0; j < REPETITIONS; j++)
            times[j] = figures[i].run(s);
        qsort(times, REPETITIONS, sizeof times[0], by_value);
        printf("%s %.9g\n", figures[i].name, times[REPETITIONS / 2] * 1e9 / (double)items);
    }
    gomem_scheduler_delete(s);
}
