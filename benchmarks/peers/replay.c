/* Recorded programs, replayed on each allocator.
 *
 *   replay        every allocation and free of the recording, in its order; what lives at the end is
 *                 freed, so that it can be repeated. An operation is an allocation and a free.
 *   replay-peak   once; the most memory the process had resident, less what it had before: MiB
 *   trace-read    (gomem) reads the Go execution trace: MB/s
 *   trace-ops     (gomem) no measurement: writes the operations of the Go execution trace
 *
 * The file is the program's fifth argument. Operations are pairs of 32-bit words, slot and size; size
 * 0 frees what the slot holds. Slots are numbered from 0 and used again. trace-ops writes them to
 * the sixth argument. Called by main.c.
 *
 * Concurrency: one thread.
 */
#include <stdio.h>
#include <string.h>

#include "harness.h"

struct operation {
    uint32_t slot, size;
};

struct recording {
    struct operation *operations;
    size_t n, nslots;
    void **slots;
};

static void *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0)
        die("no such file");
    *size = (size_t)ftell(f);
    rewind(f);
    void *data = own_memory(*size + 1);
    if (fread(data, 1, *size, f) != *size)
        die("the file cannot be read");
    fclose(f);
    return data;
}

static struct recording open_recording(const char *path)
{
    struct recording r = {0};
    size_t size;
    r.operations = read_file(path, &size);
    r.n = size / sizeof *r.operations;
    for (size_t i = 0; i < r.n; i++)
        if (r.operations[i].slot >= r.nslots)
            r.nslots = (size_t)r.operations[i].slot + 1;
    r.slots = own_memory((r.nslots + 1) * sizeof *r.slots);
    return r;
}

static void replay(struct run *run, struct recording *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct operation op = r->operations[i];
        void **slot = &r->slots[op.slot];
        if (op.size == 0) {
            drop(run->h, *slot);
            *slot = NULL;
        } else {
            *slot = api_alloc(run->h, op.size);
            touch(*slot);
        }
    }
}

static size_t free_rest(struct run *run, struct recording *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->nslots; i++) {
        if (r->slots[i] == NULL)
            continue;
        drop(run->h, r->slots[i]);
        r->slots[i] = NULL;
        n++;
    }
    return n;
}

static void run_replay(struct run *run, const char *path, double seconds)
{
    struct recording r = open_recording(path);
    replay(run, &r);
    free_rest(run, &r);
    double end = now() + seconds;
    for (unsigned i = 0; i < 3 || now() < end; i++) {
        double start = cpu_now();
        replay(run, &r);
        size_t rest = free_rest(run, &r);
        report(1e9 * (cpu_now() - start) / (double)((r.n + rest) / 2));
    }
}

/* MiB. (getrusage would answer for what ran in this process before it became this program, too.) */
static double peak_resident(void)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtod(line + 6, NULL);
    if (kib == 0)
        die("/proc/self/status does not tell VmHWM");
    fclose(f);
    return kib / 1024;
}

static void run_peak(struct run *run, const char *path)
{
    struct recording r = open_recording(path);
    double before = peak_resident();
    replay(run, &r);
    report(peak_resident() - before);
}

/* --- Go execution traces --- */

#ifdef PEER_GOMEM

static struct gomem_error error;

static struct gomem_trace *read_trace(const void *data, size_t size)
{
    struct gomem_trace *t = gomem_trace_read(data, size, &error);
    if (t == NULL)
        die(error.message);
    return t;
}

static void run_trace_read(const char *path, double seconds)
{
    size_t size;
    void *data = read_file(path, &size);
    double end = now() + seconds;
    for (unsigned i = 0; i < 3 || now() < end; i++) {
        double start = cpu_now();
        struct gomem_trace *t = read_trace(data, size);
        report((double)size / 1e6 / (cpu_now() - start));
        gomem_trace_delete(t);
    }
}

/* Which slot an event's object has, and the slots that are free. */
struct numbering {
    uint32_t *slot_of; /* by event */
    uint32_t *spare;
    size_t nspare;
    uint32_t nslots;
    FILE *out;
};

static void put(struct numbering *n, uint32_t slot, uint64_t size)
{
    struct operation op = {slot, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size};
    if (fwrite(&op, sizeof op, 1, n->out) != 1)
        die("the operations cannot be written");
}

static void put_alloc(struct numbering *n, size_t event, uint64_t size)
{
    uint32_t slot = n->nspare > 0 ? n->spare[--n->nspare] : n->nslots++;
    n->slot_of[event] = slot;
    put(n, slot, size == 0 ? 1 : size);
}

static void put_free(struct numbering *n, const struct gomem_trace_event *events, uint32_t event)
{
    while (event != GOMEM_TRACE_NO_LINK) {
        n->spare[n->nspare++] = n->slot_of[event];
        put(n, n->slot_of[event], 0);
        event = events[event].next_part != 0 ? events[event].next_part : GOMEM_TRACE_NO_LINK;
    }
}

static void write_operations(const char *path, const char *to)
{
    size_t size, n;
    void *data = read_file(path, &size);
    struct gomem_trace *t = read_trace(data, size);
    const struct gomem_trace_event *events = gomem_trace_events(t, &n);
    struct numbering numbering = {.slot_of = own_memory((n + 1) * sizeof(uint32_t)),
                                  .spare = own_memory((n + 1) * sizeof(uint32_t)),
                                  .out = fopen(to, "wb")};
    if (numbering.out == NULL)
        die("the operations cannot be written");
    for (size_t i = 0; i < n; i++) {
        if (events[i].kind == GOMEM_TRACE_OBJECT_EXISTS ||
            events[i].kind == GOMEM_TRACE_OBJECT_ALLOC)
            put_alloc(&numbering, i, events[i].size);
        else if (events[i].kind == GOMEM_TRACE_OBJECT_FREE)
            put_free(&numbering, events, events[i].link);
    }
    if (fclose(numbering.out) != 0)
        die("the operations cannot be written");
}

static bool run_trace(const char *name, char **files, double seconds)
{
    if (strcmp(name, "trace-read") == 0)
        run_trace_read(files[0], seconds);
    else if (strcmp(name, "trace-ops") == 0 && files[1] != NULL)
        write_operations(files[0], files[1]);
    else
        return false;
    return true;
}

#else

static bool run_trace(const char *name, char **files, double seconds)
{
    (void)name;
    (void)files;
    (void)seconds;
    return false;
}

#endif

bool run_recorded(const char *name, char **files, double seconds)
{
    if (files[0] == NULL)
        return false;
    if (run_trace(name, files, seconds))
        return true;
    struct run run = {.h = api_enter(0)};
    if (strcmp(name, "replay") == 0)
        run_replay(&run, files[0], seconds);
    else if (strcmp(name, "replay-peak") == 0)
        run_peak(&run, files[0]);
    else
        return false;
    api_leave(run.h);
    return true;
}
