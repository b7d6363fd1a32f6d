/* Arrays that grow by doubling.
 *
 * Used by the reader for everything whose number is known only when the file has been read.
 *
 * Concurrency: none; owned by the reader.
 * Go: append.
 */
#ifndef GOMEM_GOTRACE_GROW_H
#define GOMEM_GOTRACE_GROW_H

#include <stdint.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/check.h"

/* The array with room for at least n + more elements, perhaps elsewhere; NULL, with nothing
 * changed, if there is no memory. */
static inline void *array_grow(void *array, size_t *capacity, size_t n, size_t more, size_t element)
{
    if (LIKELY(array != NULL && *capacity - n >= more))
        return array;
    size_t bigger = MAX(2 * *capacity, n + more);
    bigger = MAX(bigger, 16);
    if (bigger > SIZE_MAX / 2 / element)
        return NULL;
    void *grown = realloc(array, bigger * element);
    if (grown != NULL)
        *capacity = bigger;
    return grown;
}

#endif
