/* What Go would panic with, as a status and a text.
 *
 * A panic is one that Go programs can recover from; the text is that of the panic's value, as Error()
 * gives it. What fails has changed nothing.
 *
 * Called by everything in this room.
 *
 * Concurrency: stateless.
 * Go: runtime/error.go, panic.go.
 */
#ifndef GOMEM_OBJECT_PANIC_H
#define GOMEM_OBJECT_PANIC_H

#include <inttypes.h>

#include "base/status.h"

#define PANIC_INDEX "runtime error: index out of range [%" PRId64 "]"
#define PANIC_SLICE "runtime error: slice bounds out of range "

static inline enum gomem_status panic_index(struct gomem_error *err, int64_t i, int64_t length)
{
    return i < 0 ? error_set(err, GOMEM_PANIC_BOUNDS, PANIC_INDEX, i)
                 : error_set(err, GOMEM_PANIC_BOUNDS, PANIC_INDEX " with length %" PRId64, i, length);
}

static inline enum gomem_status no_memory(struct gomem_error *err, uint64_t size)
{
    return error_set(err, GOMEM_OUT_OF_MEMORY, "cannot allocate %" PRIu64 " bytes", size);
}

#endif
