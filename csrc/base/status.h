/* The library's errors: a status code every fallible function returns, and a message for people.
 *
 * A status says which family of Python exception the caller deserves; struct gomem_error adds the
 * sentence (what was given, what was expected). Functions on a fast path return the bare status and
 * leave the sentence to the boundary that still knows what was asked.
 *
 * Concurrency: stateless; a struct gomem_error belongs to the caller that passed it.
 * Go: no counterpart; Go panics or throws where gomem answers with a status.
 */
#ifndef GOMEM_BASE_STATUS_H
#define GOMEM_BASE_STATUS_H

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "gomem.h"

/* Fills *err (which may be NULL) and returns status, so that `return error_set(...)` reads well. */
__attribute__((format(printf, 3, 4))) static inline enum gomem_status
error_set(struct gomem_error *err, enum gomem_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

#endif
