/* What the files for Go values share: calling again what has failed for lack of memory.
 *
 * Included by values.c and its like.
 *
 * Concurrency: the caller holds p.
 * Go: no counterpart; a Go program ends when memory is out.
 */
#ifndef GOMEM_RUNTIME_VALUES_H
#define GOMEM_RUNTIME_VALUES_H

#include "base/status.h"
#include "runtime/runtime.h"

/* A long call looks this often whether the world should stop. */
enum { VALUES_A_SAFEPOINT = 1024 };

MUST_USE static inline enum gomem_status values_safepoint(struct p *p, struct gomem_error *err)
{
    return LIKELY(p_safepoint(p)) ? GOMEM_OK : error_set(err, GOMEM_CLOSED, "the heap is closed");
}

/* After a first failure: may the call be tried again? If not, *status is what to answer. */
static inline bool try_again(struct p *p, enum gomem_status *status, struct gomem_error *err)
{
    if (LIKELY(*status != GOMEM_OUT_OF_MEMORY))
        return false;
    if (reclaim_memory(p))
        return true;
    *status = error_set(err, GOMEM_CLOSED, "the heap is closed");
    return false;
}

/* The status of a call that may fail for lack of memory, and is then made once more. */
#define WITH_MEMORY(p, err, call)                                                                  \
    ({                                                                                             \
        enum gomem_status status_ = (call);                                                        \
        if (UNLIKELY(try_again(p, &status_, err)))                                                 \
            status_ = (call);                                                                      \
        status_;                                                                                   \
    })

#endif
