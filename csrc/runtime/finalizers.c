/* Finalizers, cleanups and weak pointers, for callers outside.
 *
 * Called through gomem.h.
 *
 * Concurrency: see gomem.h. What is called holds no P and no lock.
 * Go: runtime.SetFinalizer, AddCleanup, weak.Pointer; runFinalizers in mfinal.go.
 */
#include "base/mutate.h"
#include "gc/finalizer.h"
#include "gc/weak.h"
#include "runtime/runtime.h"

static struct gc *proc_gc(struct gomem_proc *p)
{
    return p_runtime(proc_p(p))->gc;
}

enum gomem_status gomem_set_finalizer(struct gomem_proc *p, void *object,
                                      const struct gomem_callback *callback,
                                      struct gomem_error *err)
{
    return finalizer_set(proc_gc(p), proc_p(p), (uintptr_t)object, callback, err);
}

bool gomem_clear_finalizer(struct gomem_proc *p, void *object, struct gomem_callback *callback)
{
    return finalizer_clear(proc_gc(p)->h, (uintptr_t)object, callback);
}

enum gomem_status gomem_add_cleanup(struct gomem_proc *p, void *pointer,
                                    const struct gomem_callback *callback, void *argument,
                                    uint64_t *id, struct gomem_error *err)
{
    return cleanup_add(proc_gc(p), proc_p(p), (uintptr_t)pointer, callback, (uintptr_t)argument, id,
                       err);
}

bool gomem_stop_cleanup(struct gomem_proc *p, void *pointer, uint64_t id,
                        struct gomem_callback *callback)
{
    return cleanup_stop(proc_gc(p)->h, (uintptr_t)pointer, id, callback);
}

/* --- Calling --- */

bool gomem_take_call(struct gomem_proc *p, uint64_t *root, struct gomem_call *out)
{
    struct mheap *h = proc_gc(p)->h;
    struct special *sp = specials_pop(h);
    if (sp == NULL)
        return false;
    bool finalizer = sp->kind == SPECIAL_FINALIZER;
    *out = (struct gomem_call){
        .kind = sp->dropped ? GOMEM_CALL_DROPPED
                : finalizer ? GOMEM_CALL_FINALIZER
                            : GOMEM_CALL_CLEANUP,
        .callback = sp->callback,
        .pointer = sp->dropped ? NULL : (void *)sp->pointer,
    };
    special_delete(h, sp);
    /* With its barrier: marking may not have come to the queue yet, and will not find it there. */
    if (MUTATED(SPECIALS_NO_TAKE_BARRIER))
        gomem_init_root(root, out->pointer);
    else
        gomem_write_pointer(p, (void **)root, out->pointer);
    return true;
}

/* Takes the next one; false: there is none, or the runtime is closed. */
static bool take_next(struct gomem_runtime *rt, uint64_t *root, struct gomem_call *call)
{
    struct gomem_proc *p = gomem_proc_acquire(rt);
    if (p == NULL)
        return false;
    bool taken = gomem_take_call(p, root, call);
    gomem_proc_release(p);
    return taken;
}

size_t gomem_run_finalizers(struct gomem_runtime *rt)
{
    uint64_t root = 0;
    struct gomem_root_table table = {.slots = &root, .n = 1};
    struct gomem_call call;
    size_t n = 0;
    gomem_add_roots(rt, &table);
    while (take_next(rt, &root, &call)) {
        if (call.kind != GOMEM_CALL_DROPPED) {
            n++;
            if (call.callback.fn != NULL)
                call.callback.fn(rt, call.pointer, call.callback.data);
        }
        if (call.callback.release != NULL)
            call.callback.release(call.callback.data);
    }
    gomem_remove_roots(rt, &table);
    return n;
}

void gomem_on_queued(struct gomem_runtime *rt, void (*notify)(void *arg), void *arg)
{
    struct p *p = p_acquire(&rt->sched); /* the heap stays open */
    if (p == NULL)
        return;
    lock(&rt->heap->specials.lock);
    rt->heap->specials.notify = notify;
    rt->heap->specials.notify_arg = arg;
    unlock(&rt->heap->specials.lock);
    p_release(p);
}

/* --- Weak pointers --- */

struct gomem_weak *gomem_weak_make(struct gomem_proc *p, void *pointer, struct gomem_error *err)
{
    return weak_make(proc_gc(p)->h, (uintptr_t)pointer, err);
}

void *gomem_weak_value(struct gomem_proc *p, const struct gomem_weak *w)
{
    return w == NULL ? NULL : (void *)weak_value(proc_gc(p), proc_p(p), w);
}

void gomem_weak_release(struct gomem_proc *p, struct gomem_weak *w)
{
    if (w != NULL)
        weak_release(proc_gc(p)->h, w);
}
