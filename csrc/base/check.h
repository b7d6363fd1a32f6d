/* Three grades of assertion, and the only way this library ends the process.
 *
 *   CHECK        always compiled in: the heap is corrupt and going on would make it worse.
 *   ASSERT       debug builds and up: a caller inside the library broke a stated rule.
 *   ASSERT_SLOW  check builds only: walkers and other tests that cost more than the work they guard.
 *
 * User mistakes never reach these: they are statuses (status.h). The binary forms print both values.
 *
 * Concurrency: stateless, callable from anywhere.
 * Go: throw() for CHECK; the `const debug... = false` blocks for the other two.
 */
#ifndef GOMEM_BASE_CHECK_H
#define GOMEM_BASE_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* 0 = release, 1 = debug, 2 = check; set by the build table in setup.py. */
#ifndef GOMEM_CHECK_LEVEL
#define GOMEM_CHECK_LEVEL 0
#endif

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE    __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD        __attribute__((noinline, cold))
/* For thread-local variables: in the memory a thread has from the start. Otherwise a shared library's are
 * allocated when a thread first uses them. */
#define INITIAL_EXEC __attribute__((tls_model("initial-exec")))
#define MUST_USE    __attribute__((warn_unused_result))

_Noreturn static inline __attribute__((cold)) void check_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "gomem: %s:%d: check failed: %s\n", file, line, what);
    abort();
}

_Noreturn static inline __attribute__((cold)) void check_fail_op(const char *file, int line, const char *what,
                                                uint64_t left, uint64_t right)
{
    fprintf(stderr, "gomem: %s:%d: check failed: %s (left %llu = 0x%llx, right %llu = 0x%llx)\n",
            file, line, what, (unsigned long long)left, (unsigned long long)left,
            (unsigned long long)right, (unsigned long long)right);
    abort();
}

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (UNLIKELY(!(cond)))                                                                     \
            check_fail(__FILE__, __LINE__, #cond);                                                 \
    } while (0)

#define CHECK_OP(a, op, b)                                                                         \
    do {                                                                                           \
        uint64_t check_a_ = (uint64_t)(a), check_b_ = (uint64_t)(b);                               \
        if (UNLIKELY(!(check_a_ op check_b_)))                                                     \
            check_fail_op(__FILE__, __LINE__, #a " " #op " " #b, check_a_, check_b_);              \
    } while (0)

#if GOMEM_CHECK_LEVEL >= 1
#define ASSERT(cond)        CHECK(cond)
#define ASSERT_OP(a, op, b) CHECK_OP(a, op, b)
#else
#define ASSERT(cond)        ((void)0)
#define ASSERT_OP(a, op, b) ((void)0)
#endif

#if GOMEM_CHECK_LEVEL >= 2
#define ASSERT_SLOW(cond) CHECK(cond)
#else
#define ASSERT_SLOW(cond) ((void)0)
#endif

#endif
