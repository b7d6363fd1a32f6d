/* Feeds bytes to the trace reader, and checks what it makes of them.
 *
 * With libFuzzer, from the root of the project:
 *
 *   clang-19 -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
 *       -DGOMEM_LIBFUZZER -DGOMEM_CHECK_LEVEL=2 -DGOMEM_BUILD_PROFILE='"fuzz"' -Icsrc -pthread \
 *       csrc/{platform,heap,sched,gotrace,runtime}/[a-z]*.c tests/c/gotrace_fuzz.c -lm -o
 * gotrace_fuzz mkdir found
 *   ./gotrace_fuzz -max_len=8192 -timeout=5 -use_value_profile=1 found tests/corpus/gotrace
 *
 * The corpus is the least set of files with the same coverage; to make it anew:
 *
 *   ./gotrace_fuzz -set_cover_merge=1 -use_counters=0 -max_len=4096 smallest found
 * tests/corpus/gotrace
 *
 * Without GOMEM_LIBFUZZER it is a program that runs the files given, or with --mutate SEED N each
 * of them N times with a few bytes changed (tests/gotrace/test_reader.py).
 *
 * Concurrency: one thread.
 * Go: internal/trace, FuzzReader.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "gotrace_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gomem_error err = {.status = GOMEM_OK};
    struct gomem_trace *t = gomem_trace_read(data, size, &err);
    if (t == NULL) {
        CHECK(err.status == GOMEM_BAD_FORMAT && err.message[0] != '\0');
        CHECK(memchr(err.message, '\0', sizeof err.message) != NULL);
        return 0;
    }
    check_trace(t);
    gomem_trace_delete(t);
    return 0;
}

#ifndef GOMEM_LIBFUZZER

/* A copy of the data with up to 8 bytes changed, alone in its block of memory. */
static void run_mutated(const uint8_t *data, size_t size, struct rng *rng)
{
    uint8_t *copy = malloc(size + (size == 0));
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    for (uint64_t n = 1 + rng_next(rng) % 8; n > 0 && size > 0; n--) {
        uint8_t *at = &copy[rng_next(rng) % size];
        uint64_t how = rng_next(rng);
        *at = how % 3 == 0 ? (uint8_t)(how >> 8) : *at ^ (uint8_t)(1 << (how >> 8) % 8);
    }
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_file(const char *path, struct rng *rng, unsigned long mutations)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    size_t size = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(size + (size == 0));
    CHECK(data != NULL && fread(data, 1, size, f) == size);
    fclose(f);
    (void)LLVMFuzzerTestOneInput(data, size);
    for (; mutations > 0; mutations--)
        run_mutated(data, size, rng);
    free(data);
}

int main(int argc, char **argv)
{
    struct rng rng = {.state = 0};
    unsigned long mutations = 0;
    int i = 1;
    if (argc > 3 && strcmp(argv[1], "--mutate") == 0) {
        rng.state = strtoull(argv[2], NULL, 10);
        mutations = strtoul(argv[3], NULL, 10);
        i = 4;
    }
    for (; i < argc; i++)
        run_file(argv[i], &rng, mutations);
    return EXIT_SUCCESS;
}

#endif
