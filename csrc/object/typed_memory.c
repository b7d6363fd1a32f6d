/* Copying and clearing with the write barrier.
 *
 * Called through typed_memory.h.
 *
 * Concurrency: see typed_memory.h.
 * Go: mbarrier.go, mbitmap.go.
 */
#include "object/typed_memory.h"

#include "gc/assist.h"

static inline struct gc *gc_of(const struct p *p)
{
    return p->mcache->heap->gc.gc;
}

void pointer_store_slow(struct p *p, void **slot, void *value)
{
    gc_barrier(gc_of(p), p->id, (uintptr_t)slot, (uintptr_t)load_relaxed(slot), (uintptr_t)value);
    store_release(slot, value); /* with the marker's loads, in a later cycle */
}

/* Tells the collector of the pointers that n values at `to` hold, unless they are new, and of those at
 * `from` (or NULL) which replace them. */
static void bulk_barrier(struct p *p, const struct type *t, const char *to, bool is_new,
                         const char *from, size_t n)
{
    struct gc *gc = gc_of(p);
    for (size_t i = 0, at = 0; i < n; i++, at += t->size) {
        for (size_t word = 0; word < t->ptr_bytes / PTR_SIZE; word++) {
            if (!bitmap_get(t->gcmask, word))
                continue;
            size_t offset = at + word * PTR_SIZE;
            uintptr_t old = is_new ? 0 : (uintptr_t)pointer_load(to + offset);
            uintptr_t new = from == NULL ? 0 : (uintptr_t)pointer_load(from + offset);
            gc_barrier(gc, p->id, (uintptr_t)(to + offset), old, new);
        }
    }
}

static void copy_words(uint64_t *to, const uint64_t *from, size_t n)
{
    if (to <= from)
        for (size_t i = 0; i < n; i++)
            store_relaxed(&to[i], load_relaxed(&from[i]));
    else
        for (size_t i = n; i-- > 0;)
            store_relaxed(&to[i], load_relaxed(&from[i]));
}

void typed_copy(struct p *p, const struct type *t, void *to, const void *from, size_t n)
{
    if (n == 0 || t->size == 0 || to == from)
        return;
    if (!type_has_pointers(t)) {
        memmove(to, from, n * t->size);
        return;
    }
    if (p_marks(p))
        bulk_barrier(p, t, to, false, from, n);
    copy_words(to, from, n * t->size / PTR_SIZE);
}

void typed_init(struct p *p, const struct type *t, void *to, const void *from, size_t n)
{
    if (n == 0)
        return;
    if (type_has_pointers(t) && p_marks(p))
        bulk_barrier(p, t, to, true, from, n);
    memcpy(to, from, n * t->size);
}

void typed_clear(struct p *p, const struct type *t, void *at, size_t n)
{
    if (n == 0)
        return;
    if (!type_has_pointers(t)) {
        memset(at, 0, n * t->size);
        return;
    }
    if (p_marks(p))
        bulk_barrier(p, t, at, false, NULL, n);
    for (size_t i = 0; i < n * t->size / PTR_SIZE; i++)
        store_relaxed((uint64_t *)at + i, 0);
}
