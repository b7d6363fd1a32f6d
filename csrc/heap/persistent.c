/* Bump allocation and fixed-size free lists for metadata.
 *
 * Called through persistent.h.
 *
 * Concurrency: see persistent.h.
 * Go: persistentalloc in malloc.go, mfixalloc.go.
 */
#include "heap/persistent.h"

#include "base/atomic.h"
#include "base/bits.h"

void persistent_init(struct persistent *p, struct os_mem *om, struct os_stat *other_sys)
{
    lock_init(&p->lock, RANK_PERSISTENT);
    p->om = om;
    p->other_sys = other_sys;
    p->next = p->end = NULL;
}

void *persistent_alloc(struct persistent *p, size_t size, size_t align, struct os_stat *stat)
{
    ASSERT(size > 0 && is_power_of_two(align) && align <= 4096);
    if (size >= PERSISTENT_CHUNK / 4)
        return os_alloc(p->om, size, stat, "metadata");
    lock(&p->lock);
    char *start = (char *)align_up((uintptr_t)p->next, align);
    if (p->next == NULL || size > (size_t)(p->end - p->next) || start + size > p->end) {
        char *chunk = os_alloc(p->om, PERSISTENT_CHUNK, p->other_sys, "metadata");
        if (chunk == NULL) {
            unlock(&p->lock);
            return NULL;
        }
        p->end = chunk + PERSISTENT_CHUNK;
        start = chunk;
    }
    p->next = start + size;
    unlock(&p->lock);
    if (stat != p->other_sys) {
        os_stat_add(stat, (int64_t)size);
        os_stat_add(p->other_sys, -(int64_t)size);
    }
    return start;
}

void fixalloc_init(struct fixalloc *f, struct persistent *p, size_t size, size_t align,
                   struct os_stat *stat)
{
    *f = (struct fixalloc){
        .persistent = p,
        .stat = stat,
        .size = align_up(MAX(size, sizeof(void *)), align),
        .align = align,
    };
}

void *fixalloc_alloc(struct fixalloc *f)
{
    void *object = f->free_list;
    if (object != NULL) {
        f->free_list = *(void **)object;
    } else {
        if (f->chunk_left < f->size) {
            size_t bytes = f->size >= FIXALLOC_CHUNK ? f->size : FIXALLOC_CHUNK / f->size * f->size;
            char *chunk = persistent_alloc(f->persistent, bytes, f->align, f->stat);
            if (chunk == NULL)
                return NULL;
            f->chunk = chunk;
            f->chunk_left = bytes;
        }
        object = f->chunk;
        f->chunk += f->size;
        f->chunk_left -= f->size;
    }
    owner_add_relaxed(&f->inuse, f->size);
    return object;
}

void fixalloc_free(struct fixalloc *f, void *object)
{
    owner_add_relaxed(&f->inuse, -f->size);
    *(void **)object = f->free_list;
    f->free_list = object;
}
