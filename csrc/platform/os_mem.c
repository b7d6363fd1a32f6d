/* Linux's mmap and madvise behind the states of os_mem.h, with accounting and fault injection.
 *
 * Called through os_mem.h.
 *
 * Concurrency: see os_mem.h. The region table is the only shared structure and has its own lock.
 * Go: mem.go, mem_linux.go, set_vma_name_linux.go.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/os_mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/bits.h"

/* From Linux 5.17's headers, which the build machine may not have. */
enum { PR_SET_VMA_ = 0x53564d41, PR_SET_VMA_ANON_NAME_ = 0 };

/* Without MAP_NORESERVE: what is far more than the machine has is refused at once, as Go's is. */
enum { ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS };

/* Is this call, of the given kind, one of those the fault plan refuses? */
static bool refused(struct os_mem *om, enum os_call kind)
{
    if (!(load_relaxed(&om->fail_kinds) & kind))
        return false;
    uint64_t n = fetch_add_relaxed(&om->calls, 1);
    uint64_t first = load_relaxed(&om->fail_first);
    return UNLIKELY(n >= first && n - first < load_relaxed(&om->fail_count));
}

void os_mem_fail(struct os_mem *om, uint64_t first, uint64_t count, uint32_t kinds)
{
    store_relaxed(&om->fail_count, 0);
    store_relaxed(&om->calls, 0);
    store_relaxed(&om->fail_first, first);
    store_relaxed(&om->fail_kinds, kinds);
    store_relaxed(&om->fail_count, count);
}

/* Shows the purpose of a mapping in /proc/self/maps, where the kernel can. */
static void set_name(void *p, size_t size, const char *name)
{
    char full[80];
    snprintf(full, sizeof full, "gomem: %s", name);
    prctl(PR_SET_VMA_, PR_SET_VMA_ANON_NAME_, p, size, full);
}

static void *map_anonymous(void *hint, size_t size, int prot, int flags)
{
    void *p = mmap(hint, size, prot, ANONYMOUS | flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static size_t read_huge_page_size(void)
{
    size_t size = 0;
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "r");
    if (f != NULL) {
        if (fscanf(f, "%zu", &size) != 1 || !is_power_of_two(size))
            size = 0;
        fclose(f);
    }
    return size;
}

bool os_mem_init(struct os_mem *om, struct os_stat *regions_stat)
{
    memset(om, 0, sizeof *om);
    om->page_size = (size_t)sysconf(_SC_PAGESIZE);
    om->huge_page_size = read_huge_page_size();
    om->dontneed = true;
    om->max_ready = UINT64_MAX;
    om->fail_kinds = OS_CALL_ALL;
    om->regions_stat = regions_stat;
    lock_init(&om->regions_lock, RANK_REGIONS);
    om->regions = map_anonymous(NULL, om->page_size, PROT_READ | PROT_WRITE, 0);
    if (om->regions == NULL)
        return false;
    om->regions_capacity = om->page_size / sizeof om->regions[0];
    om->mapped_ready = om->peak_ready = om->page_size;
    os_stat_add(regions_stat, (int64_t)om->page_size);
    return true;
}

void os_mem_destroy(struct os_mem *om)
{
    for (size_t i = 0; i < om->nregions; i++)
        munmap(om->regions[i].base, om->regions[i].size);
    munmap(om->regions, om->regions_capacity * sizeof om->regions[0]);
    om->regions = NULL;
    om->nregions = om->regions_capacity = 0;
    store_relaxed(&om->mapped_ready, 0);
}

/* Counts bytes more as Ready, unless that would pass max_ready. */
static bool ready_add(struct os_mem *om, uint64_t bytes)
{
    uint64_t now = load_relaxed(&om->mapped_ready);
    do {
        if (bytes > load_relaxed(&om->max_ready) - MIN(now, load_relaxed(&om->max_ready)))
            return false;
    } while (!cas_relaxed(&om->mapped_ready, &now, now + bytes));
    uint64_t peak = load_relaxed(&om->peak_ready);
    while (now + bytes > peak && !cas_relaxed(&om->peak_ready, &peak, now + bytes))
        ;
    return true;
}

static void ready_sub(struct os_mem *om, uint64_t bytes)
{
    __attribute__((unused)) uint64_t old = fetch_sub_relaxed(&om->mapped_ready, bytes);
    ASSERT_OP(old, >=, bytes);
}

static bool regions_grow_locked(struct os_mem *om)
{
    ASSERT_HELD(&om->regions_lock);
    size_t old_size = om->regions_capacity * sizeof om->regions[0], size = 2 * old_size;
    if (!ready_add(om, old_size))
        return false;
    void *p = mremap(om->regions, old_size, size, MREMAP_MAYMOVE);
    if (p == MAP_FAILED) {
        ready_sub(om, old_size);
        return false;
    }
    os_stat_add(om->regions_stat, (int64_t)old_size);
    om->regions = p;
    om->regions_capacity = size / sizeof om->regions[0];
    return true;
}

static bool regions_add(struct os_mem *om, void *p, size_t size)
{
    lock(&om->regions_lock);
    bool ok = om->nregions < om->regions_capacity || regions_grow_locked(om);
    if (ok)
        om->regions[om->nregions++] = (struct os_region){p, size};
    unlock(&om->regions_lock);
    return ok;
}

static void regions_remove(struct os_mem *om, void *p, size_t size)
{
    lock(&om->regions_lock);
    size_t i = om->nregions;
    while (i > 0 && om->regions[i - 1].base != p)
        i--;
    CHECK(i > 0 && om->regions[i - 1].size == size);
    om->regions[i - 1] = om->regions[--om->nregions];
    unlock(&om->regions_lock);
}

bool os_mem_verify(struct os_mem *om)
{
    lock(&om->regions_lock);
    bool ok = load_relaxed(&om->mapped_ready) <= load_relaxed(&om->max_ready);
    for (size_t i = 0; ok && i < om->nregions; i++)
        for (size_t j = 0; ok && j < i; j++)
            ok = om->regions[i].base >= om->regions[j].base + om->regions[j].size ||
                 om->regions[j].base >= om->regions[i].base + om->regions[i].size;
    unlock(&om->regions_lock);
    return ok;
}

static void *reserve_raw(struct os_mem *om, void *hint, size_t size)
{
    if (refused(om, OS_CALL_RESERVE))
        return NULL;
    return map_anonymous(hint, size, PROT_NONE, 0);
}

/* Enters a fresh mapping into the table, or undoes it. */
static void *keep(struct os_mem *om, void *p, size_t size, const char *name)
{
    if (p == NULL)
        return NULL;
    if (!regions_add(om, p, size)) {
        munmap(p, size);
        return NULL;
    }
    set_name(p, size, name);
    return p;
}

void *os_reserve(struct os_mem *om, void *hint, size_t size, const char *name)
{
    ASSERT_OP(size % om->page_size, ==, 0);
    return keep(om, reserve_raw(om, hint, size), size, name);
}

void *os_reserve_aligned(struct os_mem *om, size_t size, size_t align, const char *name)
{
    ASSERT(is_power_of_two(align));
    char *p = reserve_raw(om, NULL, size + align);
    if (p == NULL)
        return NULL;
    char *aligned = (char *)align_up((uintptr_t)p, align);
    size_t before = (size_t)(aligned - p), after = align - before;
    if (before > 0)
        munmap(p, before);
    if (after > 0)
        munmap(aligned + size, after);
    return keep(om, aligned, size, name);
}

void os_unreserve(struct os_mem *om, void *p, size_t size)
{
    regions_remove(om, p, size);
    munmap(p, size);
}

bool os_map(struct os_mem *om, void *p, size_t size, struct os_stat *stat, const char *name)
{
    ASSERT_OP((uintptr_t)p % om->page_size, ==, 0);
    if (refused(om, OS_CALL_MAP) || map_anonymous(p, size, PROT_READ | PROT_WRITE, MAP_FIXED) != p)
        return false;
    if (stat != NULL)
        os_stat_add(stat, (int64_t)size);
    set_name(p, size, name);
    return true;
}

bool os_may_map(struct os_mem *om, void *p, size_t size)
{
    if (refused(om, OS_CALL_MAP) || map_anonymous(p, size, PROT_READ | PROT_WRITE, MAP_FIXED) != p)
        return false;
    (void)map_anonymous(p, size, PROT_NONE, MAP_FIXED);
    return true;
}

void os_unmap(struct os_mem *om, void *p, size_t size, size_t ready, struct os_stat *stat)
{
    /* If the kernel will not split the mapping, it stays accessible; nobody will touch it. */
    (void)map_anonymous(p, size, PROT_NONE, MAP_FIXED);
    os_stat_add(stat, -(int64_t)size);
    ready_sub(om, ready);
}

bool os_used(struct os_mem *om, size_t prepared)
{
    if (prepared == 0)
        return true;
    return !refused(om, OS_CALL_USED) && ready_add(om, prepared);
}

bool os_unused(struct os_mem *om, void *p, size_t size)
{
    ASSERT_OP((uintptr_t)p % om->page_size, ==, 0);
    ASSERT_OP(size % om->page_size, ==, 0);
    if (refused(om, OS_CALL_ADVISE))
        return false;
    /* MADV_FREE is unknown to kernels before 4.5; DONTNEED does what is needed everywhere. */
    bool done = !om->dontneed && madvise(p, size, MADV_FREE) == 0;
    if (!done && madvise(p, size, MADV_DONTNEED) != 0)
        return false;
    ready_sub(om, size);
    return true;
}

void *os_alloc(struct os_mem *om, size_t size, struct os_stat *stat, const char *name)
{
    size = align_up(size, om->page_size);
    if (refused(om, OS_CALL_ALLOC) || !ready_add(om, size))
        return NULL;
    void *p = keep(om, map_anonymous(NULL, size, PROT_READ | PROT_WRITE, 0), size, name);
    if (p == NULL) {
        ready_sub(om, size);
        return NULL;
    }
    os_stat_add(stat, (int64_t)size);
    return p;
}

void os_free(struct os_mem *om, void *p, size_t size, struct os_stat *stat)
{
    size = align_up(size, om->page_size);
    regions_remove(om, p, size);
    munmap(p, size);
    os_stat_add(stat, -(int64_t)size);
    ready_sub(om, size);
}

void os_huge_page(struct os_mem *om, void *p, size_t size)
{
    if (om->huge_page_size == 0)
        return;
    uintptr_t begin = align_up((uintptr_t)p, om->huge_page_size);
    uintptr_t end = align_down((uintptr_t)p + size, om->huge_page_size);
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

void os_no_huge_page(struct os_mem *om, void *p, size_t size)
{
    ASSERT_OP((uintptr_t)p % om->page_size, ==, 0);
    madvise(p, align_up(size, om->page_size), MADV_NOHUGEPAGE);
}

size_t os_resident(const struct os_mem *om, void *p, size_t size)
{
    unsigned char present[1024];
    size_t resident = 0, step = sizeof present * om->page_size;
    for (size_t done = 0; done < size; done += step) {
        size_t n = MIN(step, size - done);
        if (mincore((char *)p + done, n, present) != 0)
            return resident;
        for (size_t i = 0; i < n / om->page_size; i++)
            resident += (present[i] & 1) * om->page_size;
    }
    return resident;
}
