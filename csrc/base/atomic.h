/* Atomic operations with the memory order in the name, on plain integer and pointer objects.
 *
 * The access is atomic, not the object: a field that more than one thread touches says so where it
 * is declared, and every access to it goes through here. A release names, at the call, the acquire
 * it pairs with. Nothing else in the library uses __atomic builtins (tests/architecture checks).
 *
 * Concurrency: these are the primitives everything else's rule is written in.
 * Go: internal/runtime/atomic, with explicit orders (Go's are sequentially consistent).
 */
#ifndef GOMEM_BASE_ATOMIC_H
#define GOMEM_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define load_relaxed(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define load_seq_cst(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)

#define store_relaxed(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define store_seq_cst(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

#define exchange_acquire(p, v) __atomic_exchange_n(p, v, __ATOMIC_ACQUIRE)
#define exchange_acq_rel(p, v) __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL)
#define exchange_release(p, v) __atomic_exchange_n(p, v, __ATOMIC_RELEASE)

#define fetch_add_relaxed(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)
#define fetch_add_acq_rel(p, v) __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL)
#define fetch_add_seq_cst(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define fetch_sub_relaxed(p, v) __atomic_fetch_sub(p, v, __ATOMIC_RELAXED)
#define fetch_sub_seq_cst(p, v) __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define fetch_sub_acq_rel(p, v) __atomic_fetch_sub(p, v, __ATOMIC_ACQ_REL)
#define fetch_or_relaxed(p, v)  __atomic_fetch_or(p, v, __ATOMIC_RELAXED)
#define fetch_or_release(p, v)  __atomic_fetch_or(p, v, __ATOMIC_RELEASE)
#define fetch_or_seq_cst(p, v)  __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define fetch_and_seq_cst(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
#define fetch_and_relaxed(p, v) __atomic_fetch_and(p, v, __ATOMIC_RELAXED)

/* Compare and swap: on failure *expected receives the value found. */
#define cas_relaxed(p, expected, v)                                                                \
    __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define cas_acquire(p, expected, v)                                                                \
    __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_release(p, expected, v)                                                                \
    __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define cas_acq_rel(p, expected, v)                                                                \
    __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define cas_seq_cst(p, expected, v)                                                                \
    __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* A read-modify-write by the only writer of a field that others may read: no lock prefix needed. */
#define owner_add_relaxed(p, v) store_relaxed(p, load_relaxed(p) + (v))

#endif
