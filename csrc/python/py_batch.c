/* Batches: calls that free objects without the GIL. While one is under way nobody makes Refs of objects that
 * he finds by their addresses, or frees by address.
 *
 * Called by all that find objects by their addresses (py_heap.c, py_fields.c, py_roots.c, py_replay.c).
 *
 * Concurrency: the counts change under the GIL or the heap's critical section.
 * Go: no counterpart.
 */
#include "python/py_core.h"

#include <time.h>

void nap(void)
{
    const struct timespec pause = {.tv_nsec = 50000};
    Py_BEGIN_ALLOW_THREADS
    nanosleep(&pause, NULL);
    Py_END_ALLOW_THREADS
}

bool heap_settled(struct py_heap *h)
{
    while (h->batches != 0)
        nap();
    return heap_usable(h);
}

void heap_wait_exclusive(struct py_heap *h)
{
    while (h->batch_exclusive)
        nap();
}

struct gomem_proc *heap_settled_proc(struct py_heap *h)
{
    struct gomem_proc *p = NULL;
    while (heap_settled(h) && (p = heap_proc(h)) != NULL && h->batches != 0) {
        gomem_proc_release(p); /* waiting for the P let a batch begin */
        p = NULL;
    }
    return p;
}

bool heap_begin_batch(struct py_heap *h, bool exclusive)
{
    while (h->batch_exclusive || (exclusive && h->batches != 0))
        nap();
    if (!heap_usable(h))
        return false;
    h->batches++;
    h->batch_exclusive = exclusive;
    return true;
}

void heap_end_batch(struct py_heap *h)
{
    h->batches--;
    h->batch_exclusive = false;
}
