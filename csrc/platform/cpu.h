/* What the processor offers: a pause for spin loops, prefetch, the size of a cache line.
 *
 * Concurrency: stateless.
 * Go: procyield, sys.Prefetch, cpu.CacheLineSize.
 */
#ifndef GOMEM_PLATFORM_CPU_H
#define GOMEM_PLATFORM_CPU_H

#define CACHE_LINE    64
#define CACHE_ALIGNED __attribute__((aligned(CACHE_LINE)))

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#define cpu_prefetch(p) __builtin_prefetch(p)

#endif
