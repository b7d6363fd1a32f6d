/* The memory of channels.
 *
 * Called through chan.h.
 *
 * Concurrency: see chan.h.
 * Go: runtime/chan.go.
 */
#include "object/chan.h"

#include "base/bits.h"

/* The words of a channel that the collector follows: buf, timer, elemtype, those who wait, bubble. */
#define WORD(field) ((uint64_t)1 << offsetof(struct hchan, field) / PTR_SIZE)
static const uint64_t hchan_mask =
    WORD(buf) | WORD(timer) | WORD(elemtype) | WORD(recvq.first) | WORD(recvq.last) |
    WORD(sendq.first) | WORD(sendq.last) | WORD(bubble);

static const struct type hchan_type = {
    .size = sizeof(struct hchan),
    .ptr_bytes = offsetof(struct hchan, lock_word),
    .gcmask = (uint64_t *)&hchan_mask,
    .kind = GOMEM_STRUCT,
    .align = PTR_SIZE,
    .name = (char *)"runtime.hchan",
    .references = 1,
};

bool chan_size(size_t elem_size, int64_t n, size_t *size)
{
    return n >= 0 && !__builtin_mul_overflow(elem_size, (size_t)n, size) &&
           *size <= MAX_ALLOC - sizeof(struct hchan);
}

void chan_init(struct hchan *c, void *buf, size_t elem_size, const struct type *elem, int64_t n)
{
    c->buf = buf;
    c->elemsize = (uint16_t)elem_size;
    c->elemtype = elem;
    c->dataqsiz = (uint64_t)n;
    spin_init(&c->lock, RANK_CHAN);
}

enum gomem_status chan_make(struct p *p, const struct type *elem, int64_t n, struct hchan **out,
                            struct gomem_error *err)
{
    size_t size;
    if (elem->size >= MAX_ELEM_SIZE)
        return error_set(err, GOMEM_INVALID_VALUE, "channel element type too large (>64kB)");
    if (!chan_size(elem->size, n, &size))
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
    chan_init(c, buf, elem->size, elem, n);
    *out = c;
    return GOMEM_OK;
}
