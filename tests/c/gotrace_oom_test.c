/* Reads a trace while memory runs out: every allocation in turn is refused.
 *
 *   gotrace_oom_test FILE
 *
 * The reader must then say so, and have freed all it had. Replaces malloc and its like for the
 * whole program; not for sanitizers, which do that, too.
 *
 * Concurrency: one thread.
 */
#include "gotrace_check.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

static size_t calls, refused_call; /* refused_call 0: none */
static long living;

static bool refuse(void)
{
    return ++calls == refused_call;
}

static void *count(void *p)
{
    living += p != NULL;
    return p;
}

void *malloc(size_t size)
{
    return refuse() ? NULL : count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    if (p == NULL)
        return malloc(size);
    return refuse() ? NULL : __libc_realloc(p, size);
}

void free(void *p)
{
    living -= p != NULL;
    __libc_free(p);
}

static uint8_t data[1 << 16];

/* true: the n-th allocation was refused; false: there are fewer. */
static bool read_refused(size_t size, size_t n)
{
    struct gomem_error err = {.status = GOMEM_OK};
    long before = living;
    calls = 0;
    refused_call = n;
    struct gomem_trace *t = gomem_trace_read(data, size, &err);
    bool refused = calls >= n;
    refused_call = 0;
    if (t == NULL)
        CHECK(refused && err.status == GOMEM_OUT_OF_MEMORY);
    else
        check_trace(t); /* what was refused was not needed */
    gomem_trace_delete(t);
    CHECK(living == before);
    return refused;
}

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (f == NULL)
        return EXIT_FAILURE;
    size_t size = fread(data, 1, sizeof data, f), n = 1;
    fclose(f);
    while (read_refused(size, n))
        n++;
    printf("%zu\n", n - 1);
    return EXIT_SUCCESS;
}
