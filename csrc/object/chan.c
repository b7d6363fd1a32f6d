/* The memory of channels.
 *
 * Called through chan.h.
 *
 * Concurrency: see chan.h.
 * Go: runtime/chan.go.
 */
#include "object/chan.h"

#include "base/bits.h"

enum { MAX_ELEM_SIZE = 1 << 16 };

/* The words of a channel that the collector follows: buf, timer, elemtype, those who wait, bubble. */
#define WORD(field) ((uint64_t)1 << offsetof(struct hchan, field) / PTR_SIZE)
static const uint64_t hchan_mask = WORD(buf) | WORD(timer) | WORD(elemtype) | WORD(recvq[0]) |
                                   WORD(recvq[1]) | WORD(sendq[0]) | WORD(sendq[1]) | WORD(bubble);

static const struct type hchan_type = {
    .size = sizeof(struct hchan),
    .ptr_bytes = offsetof(struct hchan, lock),
    .gcmask = (uint64_t *)&hchan_mask,
    .kind = GOMEM_STRUCT,
    .align = PTR_SIZE,
    .name = (char *)"runtime.hchan",
    .references = 1,
};

enum gomem_status chan_make(struct p *p, const struct type *elem, int64_t n, struct hchan **out,
                            struct gomem_error *err)
{
    size_t size;
    if (elem->size >= MAX_ELEM_SIZE)
        return error_set(err, GOMEM_INVALID_VALUE, "channel element type too large (>64kB)");
    if (n < 0 || __builtin_mul_overflow(elem->size, (size_t)n, &size) ||
        size > MAX_ALLOC - sizeof(struct hchan))
        return error_set(err, GOMEM_PANIC, "makechan: size out of range");
    struct hchan *c;
    void *buf = NULL;
    if (size == 0 || !type_has_pointers(elem)) {
        c = malloc_noscan(p->mcache, sizeof *c + size);
        buf = c == NULL ? NULL : size == 0 ? (void *)&c->buf : c + 1;
    } else {
        c = object_alloc(p, &hchan_type, 1);
        buf = c == NULL ? NULL : malloc_typed(p->mcache, size, elem);
    }
    if (buf == NULL)
        return no_memory(err, sizeof *c + size);
    c->buf = buf;
    c->elemsize = (uint16_t)elem->size;
    c->elemtype = elem;
    c->dataqsiz = (uint64_t)n;
    *out = c;
    return GOMEM_OK;
}
