/* Strings.
 *
 * Called through strings.h.
 *
 * Concurrency: see strings.h.
 * Go: runtime/string.go (slicebytetostring, concatstrings, rawbyteslice).
 */
#include "object/strings.h"

#define EIGHT(n)  n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
#define SIXTY(n)  EIGHT(n), EIGHT(n + 8), EIGHT(n + 16), EIGHT(n + 24), \
                  EIGHT(n + 32), EIGHT(n + 40), EIGHT(n + 48), EIGHT(n + 56)

const uint64_t small_integers[256] = {SIXTY(0), SIXTY(64), SIXTY(128), SIXTY(192)};

/* Room for a string of n bytes. */
static enum gomem_status new_bytes(struct p *p, int64_t n, char **out, struct gomem_error *err)
{
    *out = (uint64_t)n > MAX_ALLOC ? NULL : malloc_unzeroed(p->mcache, (size_t)n);
    return *out == NULL ? no_memory(err, (uint64_t)n) : GOMEM_OK;
}

enum gomem_status string_from(struct p *p, const void *bytes, int64_t n, struct gomem_string *out,
                              struct gomem_error *err)
{
    char *data = NULL;
    if (n == 1) {
        data = (char *)&small_integers[*(const uint8_t *)bytes];
    } else if (n > 1) {
        enum gomem_status status = new_bytes(p, n, &data, err);
        if (status != GOMEM_OK)
            return status;
        memcpy(data, bytes, (size_t)n);
    }
    *out = (struct gomem_string){data, n};
    return GOMEM_OK;
}

enum gomem_status string_concat(struct p *p, const struct gomem_string *parts, size_t n,
                                struct gomem_string *out, struct gomem_error *err)
{
    int64_t len = 0;
    size_t count = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len == 0)
            continue;
        if (__builtin_add_overflow(len, parts[i].len, &len))
            return error_set(err, GOMEM_FATAL, "string concatenation too long");
        count++;
        last = i;
    }
    if (count <= 1) {
        *out = count == 0 ? (struct gomem_string){NULL, 0} : parts[last];
        return GOMEM_OK;
    }
    char *data;
    enum gomem_status status = new_bytes(p, len, &data, err);
    if (status != GOMEM_OK)
        return status;
    *out = (struct gomem_string){data, len};
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len > 0)
            memcpy(data, parts[i].data, (size_t)parts[i].len);
        data += parts[i].len;
    }
    return GOMEM_OK;
}

enum gomem_status string_to_bytes(struct p *p, const struct gomem_string *s,
                                  struct gomem_slice *out, struct gomem_error *err)
{
    char *data;
    size_t cap = s->len == 0 ? 0 : round_up_size(&p->mcache->size_classes, (size_t)s->len, true);
    enum gomem_status status = new_bytes(p, (int64_t)cap, &data, err);
    if (status != GOMEM_OK)
        return status;
    if (s->len > 0)
        memcpy(data, s->data, (size_t)s->len);
    *out = (struct gomem_slice){data, s->len, (int64_t)cap};
    return GOMEM_OK;
}
