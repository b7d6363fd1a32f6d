/* Memory from the operating system, as transitions between four states of an address range:
 *
 *   None      nothing is mapped there
 *   Reserved  the range is ours, touching it faults
 *   Prepared  touching it would work, but it is not counted as in use and costs no physical memory
 *   Ready     in use; reading and writing are fine
 *
 *   os_reserve:  None -> Reserved        os_map:    Reserved -> Prepared
 *   os_used:     Prepared -> Ready       os_unused: Ready -> Prepared
 *   os_alloc:    None -> Ready           os_free:   Ready -> None
 *   os_unmap:   Ready or Prepared -> Reserved    os_unreserve: Reserved or Prepared -> None
 *
 * Called by everything in heap/ that needs pages. The only file of the library that maps memory.
 * Every call that the OS may refuse is numbered, so that a test can refuse the n-th one.
 *
 * Concurrency: every function may be called from any thread; counters are atomic, the region table
 * has its own lock. The caller owns the range it passes.
 * Go: mem.go, mem_linux.go (sysReserve, sysMap, sysUsed, sysUnused, sysAlloc, sysFree).
 */
#ifndef GOMEM_PLATFORM_OS_MEM_H
#define GOMEM_PLATFORM_OS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/check.h"
#include "platform/lock.h"

/* A MemStats byte counter (Go: sysMemStat). Atomic. */
struct os_stat {
    uint64_t bytes;
};

/* The calls the OS can refuse, for counting and for fault injection. */
enum os_call {
    OS_CALL_RESERVE = 1 << 0,
    OS_CALL_MAP = 1 << 1,
    OS_CALL_USED = 1 << 2,
    OS_CALL_ALLOC = 1 << 3,
    OS_CALL_ADVISE = 1 << 4,
    OS_CALL_ALL = (1 << 5) - 1,
};

struct os_region {
    char *base;
    size_t size;
};

/* Invariants (os_mem_verify): mapped_ready <= max_ready; no two regions overlap. */
struct os_mem {
    size_t page_size;      /* const: physical page size */
    size_t huge_page_size; /* const: transparent huge page size, 0 if there is none */
    bool dontneed;         /* const after the heap's creation: MADV_DONTNEED (true) or MADV_FREE */

    uint64_t mapped_ready; /* atomic: bytes in state Ready (Go: gcController.mappedReady) */
    uint64_t peak_ready;   /* atomic: the largest mapped_ready seen */
    uint64_t max_ready;    /* atomic: a transition to Ready beyond this is refused */

    uint64_t calls;      /* atomic: calls the OS could have refused, so far */
    uint64_t fail_first; /* atomic: refuse the calls numbered [fail_first, fail_first + fail_count) */
    uint64_t fail_count; /* atomic; 0 = refuse none */
    uint32_t fail_kinds; /* atomic: which enum os_call kinds are numbered and refused */

    struct lock regions_lock;
    struct os_region *regions; /* under regions_lock: everything mapped, to give back at the end */
    size_t nregions, regions_capacity; /* under regions_lock */
    struct os_stat *regions_stat;      /* const: where the table's own bytes are counted */
};

/* Fails only if the region table cannot be mapped. */
MUST_USE bool os_mem_init(struct os_mem *om, struct os_stat *regions_stat);
/* Returns every region to the OS. pre: nothing else uses om any more. */
void os_mem_destroy(struct os_mem *om);
/* Which numbered calls to refuse from now on; count 0 refuses none. */
void os_mem_fail(struct os_mem *om, uint64_t first, uint64_t count, uint32_t kinds);
bool os_mem_verify(struct os_mem *om);

/* NULL when refused. hint may be NULL; the result may be elsewhere. pre: size is whole pages. */
void *os_reserve(struct os_mem *om, void *hint, size_t size, const char *name);
/* As os_reserve, at a multiple of align (a power of two). */
void *os_reserve_aligned(struct os_mem *om, size_t size, size_t align, const char *name);
/* pre: [p, p + size) is a whole region. */
void os_unreserve(struct os_mem *om, void *p, size_t size);
/* pre: page aligned, Reserved. false when refused (still Reserved). stat may be NULL. */
MUST_USE bool os_map(struct os_mem *om, void *p, size_t size, struct os_stat *stat,
                     const char *name);
/* Could as much be mapped there? pre: as os_map; it stays Reserved. */
MUST_USE bool os_may_map(struct os_mem *om, void *p, size_t size);
/* Undoes os_map, and os_used for `ready` bytes of it; never fails. */
void os_unmap(struct os_mem *om, void *p, size_t size, size_t ready, struct os_stat *stat);
/* Counts `prepared` more bytes as Ready. pre: of [p, p + size) that many are Prepared, the rest are
 * Ready already. false when max_ready or an injected fault refuses (still Prepared). */
MUST_USE bool os_used(struct os_mem *om, size_t prepared);
/* Gives the physical memory back. pre: Ready, page aligned. false when the OS refused: still Ready. */
MUST_USE bool os_unused(struct os_mem *om, void *p, size_t size);
/* Zeroed Ready memory, NULL when refused. size is rounded up to whole pages. */
void *os_alloc(struct os_mem *om, size_t size, struct os_stat *stat, const char *name);
void os_free(struct os_mem *om, void *p, size_t size, struct os_stat *stat);
/* Advice on transparent huge pages; never fails. */
void os_huge_page(struct os_mem *om, void *p, size_t size);
void os_no_huge_page(struct os_mem *om, void *p, size_t size);

/* true if reused memory that went through os_unused may hold old bytes (MADV_FREE). */
static inline bool os_needs_zero_after_unused(const struct os_mem *om)
{
    return !om->dontneed;
}

/* Bytes of [p, p + size) that are in physical memory now (mincore). pre: page aligned. */
size_t os_resident(const struct os_mem *om, void *p, size_t size);

static inline void os_stat_add(struct os_stat *stat, int64_t bytes)
{
    __attribute__((unused)) uint64_t old =
        fetch_add_relaxed(&stat->bytes, (uint64_t)bytes);
    ASSERT(bytes >= 0 || old >= (uint64_t)-bytes);
}

#endif
