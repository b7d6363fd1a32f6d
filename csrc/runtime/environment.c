/* Settings from the environment: GOGC, GOMEMLIMIT, GODEBUG=gctrace.
 *
 * Called through gomem.h, by who makes a runtime and wants what a Go program would have.
 *
 * Concurrency: getenv; as everywhere, nobody may change the environment meanwhile.
 * Go: readGOGC, readGOMEMLIMIT in mgcpacer.go; parseByteCount in string.go; parsedebugvars.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

/* The n characters as a decimal number with or without a sign, from low to high; false: it is none. */
static bool parse_int(const char *s, size_t n, int64_t low, int64_t high, int64_t *out)
{
    bool negative = n > 0 && s[0] == '-';
    size_t i = negative || (n > 0 && s[0] == '+');
    uint64_t value = 0;
    if (i == n)
        return false;
    for (; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s[i] - '0'), &value))
            return false;
    }
    if (value > (uint64_t)INT64_MAX)
        return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return low <= *out && *out <= high;
}

/* Bytes, with B, KiB, MiB, GiB or TiB behind them or without. */
static bool parse_bytes(const char *s, uint64_t *out)
{
    size_t n = strlen(s);
    unsigned shift = 0;
    if (n > 0 && s[n - 1] == 'B') {
        n--;
        if (n > 0 && s[n - 1] == 'i') {
            const char *unit = n > 1 ? strchr("KMGT", s[n - 2]) : NULL;
            if (unit == NULL)
                return false;
            shift = 10 * (unsigned)(unit - "KMGT" + 1);
            n -= 2;
        }
    }
    int64_t value;
    if (!parse_int(s, n, 0, INT64_MAX >> shift, &value))
        return false;
    *out = (uint64_t)value << shift;
    return true;
}

/* What a variable that is a list of key=value has for the key, the last time; or unchanged. */
static void parse_debug(const char *list, const char *key, int32_t *out)
{
    size_t length = strlen(key);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        size_t n = strcspn(at, ",");
        int64_t value;
        if (n > length && strncmp(at, key, length) == 0 && at[length] == '=' &&
            parse_int(at + length + 1, n - length - 1, INT32_MIN, INT32_MAX, &value))
            *out = (int32_t)value;
    }
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

enum gomem_status gomem_options_from_env(struct gomem_options *o, struct gomem_error *err)
{
    const char *gogc = variable("GOGC"), *limit = variable("GOMEMLIMIT");
    int64_t percent;
    uint64_t bytes;
    if (strcmp(gogc, "off") == 0)
        o->gogc = -1;
    else if (parse_int(gogc, strlen(gogc), INT32_MIN, INT32_MAX, &percent))
        o->gogc = (int32_t)MAX(percent, -1);
    parse_debug(variable("GODEBUG"), "gctrace", &o->gctrace);
    if (limit[0] == '\0' || strcmp(limit, "off") == 0)
        return GOMEM_OK;
    if (!parse_bytes(limit, &bytes))
        return error_set(err, GOMEM_FATAL,
                         "GOMEMLIMIT=%.500s\nfatal error: malformed GOMEMLIMIT; see `go doc "
                         "runtime/debug.SetMemoryLimit`",
                         limit);
    o->memory_limit = bytes == INT64_MAX ? UINT64_MAX : bytes;
    return GOMEM_OK;
}
