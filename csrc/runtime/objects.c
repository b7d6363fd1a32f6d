/* Objects, stacks and lookups, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h.
 * Go: mallocgc, freegc, findObject, stackalloc.
 */
#include "heap/heapbits.h"
#include "heap/malloc.h"
#include "heap/sweep.h"
#include "runtime/runtime.h"

/* A long call looks this often whether the world should stop: objects, a power of two. */
enum { SAFEPOINT_EVERY = 1024 };

/* Memory may be refused although there is some: in the caches of other Ps, in garbage that is not swept, in
 * what only a cycle would find to be garbage. */
COLD bool reclaim_memory(struct p *p)
{
    struct gomem_runtime *rt = p_runtime(p);
    uint32_t id = p->id;
    while (sweep_one(rt->heap, p->mcache))
        ;
    p_release(p);
    if (gomem_gogc(rt) >= 0)
        (void)!gc_collect(rt->gc);
    gomem_flush(rt);
    return p_acquire_id(&rt->sched, id) != NULL;
}

/* By itself, so that the common case in gomem_alloc needs no stack. */
static NOINLINE void *alloc_uncommon(struct p *p, size_t size)
{
    void *object = malloc_noscan(p->mcache, size);
    if (UNLIKELY(object == NULL && size <= MAX_ALLOC && reclaim_memory(p)))
        object = malloc_noscan(p->mcache, size);
    return object;
}

void *gomem_alloc(struct gomem_proc *proc, size_t size)
{
    void *object = malloc_noscan_fast(proc_p(proc)->mcache, size);
    return LIKELY(object != NULL) ? object : alloc_uncommon(proc_p(proc), size);
}

static NOINLINE void *alloc_typed_uncommon(struct p *p, const struct type *t, size_t count)
{
    size_t size;
    if (__builtin_mul_overflow(t->size, count, &size))
        return NULL;
    void *object = malloc_typed(p->mcache, size, t);
    if (UNLIKELY(object == NULL && size <= MAX_ALLOC && reclaim_memory(p)))
        object = malloc_typed(p->mcache, size, t);
    return object;
}

void *gomem_alloc_typed(struct gomem_proc *proc, const struct gomem_type *type, size_t count)
{
    const struct type *t = (const struct type *)type;
    struct alloc_slot *slot = *mcache_type_slot(proc_p(proc)->mcache, t);
    if (LIKELY(count == 1 && window_is_for(slot, t, t->size)))
        return malloc_typed_window(slot);
    return alloc_typed_uncommon(proc_p(proc), t, count);
}

enum gomem_status gomem_free(struct gomem_proc *p, void *object)
{
    return free_object(proc_p(p)->mcache, (uintptr_t)object);
}

/* --- Objects of which only the size is known --- */

static const uint64_t pointer_mask = 1;

/* An array of these is an object of pointers. */
static const struct type pointer_type = {
    .size = PTR_SIZE,
    .ptr_bytes = PTR_SIZE,
    .gcmask = (uint64_t *)&pointer_mask,
    .kind = GOMEM_POINTER,
    .align = PTR_SIZE,
    .name = (char *)"unsafe.Pointer",
    .references = 1,
};

void *gomem_alloc_scan(struct gomem_proc *p, size_t size)
{
    if (size > MAX_ALLOC)
        return NULL;
    return gomem_alloc_typed(p, (const struct gomem_type *)&pointer_type,
                             div_round_up(size, PTR_SIZE));
}

/* The objects [done, end) without safepoint or reclaiming; where it got to. */
static size_t alloc_run(struct mcache *c, const uint64_t *sizes, size_t stride, size_t done,
                        size_t end, bool noscan, uint64_t *addresses)
{
    for (; done < end; done++) {
        uint64_t size = sizes[done * stride];
        void *object = noscan             ? malloc_noscan(c, size)
                       : size > MAX_ALLOC ? NULL /* rounding up would pass 2^64 */
                                          : malloc_typed(c, align_up(size, PTR_SIZE), &pointer_type);
        if (UNLIKELY(object == NULL))
            break;
        store_relaxed(&addresses[done], (uint64_t)(uintptr_t)object);
    }
    return done;
}

size_t gomem_alloc_many(struct gomem_proc *proc, const uint64_t *sizes, size_t stride, size_t n,
                        bool noscan, uint64_t *addresses)
{
    struct p *p = proc_p(proc);
    size_t done = 0;
    while (done < n) {
        size_t end = MIN(n, done + SAFEPOINT_EVERY);
        done = alloc_run(p->mcache, sizes, stride, done, end, noscan, addresses);
        if (done < end) {
            /* Once more, the long way. */
            uint64_t size = sizes[done * stride];
            void *object = noscan ? gomem_alloc(proc, size) : gomem_alloc_scan(proc, size);
            if (object == NULL)
                return done;
            store_relaxed(&addresses[done], (uint64_t)(uintptr_t)object);
            done++;
        }
        if (!p_safepoint(p))
            return done;
    }
    return done;
}

size_t gomem_free_many(struct gomem_proc *proc, const uint64_t *addresses, size_t n)
{
    struct p *p = proc_p(proc);
    for (size_t i = 0; i < n; i++) {
        if (addresses[i] != 0 &&
            UNLIKELY(gomem_free(proc, (void *)(uintptr_t)addresses[i]) != GOMEM_OK))
            return i;
        if (UNLIKELY(i % SAFEPOINT_EVERY == SAFEPOINT_EVERY - 1) && !p_safepoint(p))
            return i + 1;
    }
    return n;
}

/* --- Lookups --- */

void gomem_proc_lookup(struct gomem_proc *p, uint64_t address, struct gomem_lookup *out)
{
    struct mheap *h = proc_p(p)->mcache->heap;
    struct heap_lookup l;
    heap_lookup(h, address, &l);
    *out = (struct gomem_lookup){
        .place = l.place,
        .arena = l.arena_base,
        .span = l.span_base,
        .span_pages = l.span_pages,
        .size_class = l.span_class >> 1,
        .noscan = l.span_class & 1,
        .tiny = l.tiny,
        .index = l.index,
        .object = l.object,
        .size = l.size,
    };
    if (address == h->zerobase)
        out->place = GOMEM_PLACE_ZEROBASE;
}

enum gomem_status gomem_lookup(struct gomem_runtime *rt, uint64_t address, struct gomem_lookup *out)
{
    struct p *p = p_acquire(&rt->sched);
    if (p == NULL)
        return GOMEM_CLOSED;
    gomem_proc_lookup(p_proc(p), address, out);
    p_release(p);
    return GOMEM_OK;
}

bool gomem_proc_type_fits(struct gomem_proc *p, const struct gomem_type *type, uint64_t object,
                          size_t *offset)
{
    const struct type *t = (const struct type *)type;
    struct mheap *h = proc_p(p)->mcache->heap;
    struct heap_lookup l;
    heap_lookup(h, object, &l);
    *offset = 0;
    if (l.place != GOMEM_PLACE_OBJECT || l.object != object || l.size < t->size)
        return false;
    for (; *offset + PTR_SIZE <= t->size; *offset += PTR_SIZE) {
        size_t word = *offset / PTR_SIZE;
        bool want = *offset < t->ptr_bytes && bitmap_get(t->gcmask, word);
        if (want != (!l.tiny && object_word_is_pointer(h, l.span, l.index, *offset)))
            return false;
    }
    return true;
}

/* --- Stacks --- */

static struct stack stack_in(struct gomem_stack s)
{
    return (struct stack){s.lo, s.hi};
}

enum gomem_status gomem_stack_alloc(struct gomem_proc *p, size_t size, struct gomem_stack *out)
{
    struct stack s;
    struct mcache *c = proc_p(p)->mcache;
    enum gomem_status status = stack_alloc(c->heap, c, size, &s);
    if (status == GOMEM_OK)
        *out = (struct gomem_stack){s.lo, s.hi};
    return status;
}

void gomem_stack_free(struct gomem_proc *p, struct gomem_stack s)
{
    struct mcache *c = proc_p(p)->mcache;
    stack_free(c->heap, c, stack_in(s));
}

enum gomem_status gomem_stack_grow(struct gomem_proc *p, struct gomem_stack *s, uint64_t *sp)
{
    struct mcache *c = proc_p(p)->mcache;
    struct stack in = stack_in(*s);
    uintptr_t at = *sp;
    enum gomem_status status = stack_grow(c->heap, c, &in, &at);
    *s = (struct gomem_stack){in.lo, in.hi};
    *sp = at;
    return status;
}

bool gomem_stack_shrink(struct gomem_proc *p, struct gomem_stack *s, uint64_t *sp)
{
    struct mcache *c = proc_p(p)->mcache;
    struct stack in = stack_in(*s);
    uintptr_t at = *sp;
    bool shrunk = stack_shrink(c->heap, c, &in, &at);
    *s = (struct gomem_stack){in.lo, in.hi};
    *sp = at;
    return shrunk;
}
