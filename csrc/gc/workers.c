/* Marking in the background, by the collector's thread and its helpers.
 *
 * Called through workers.h.
 *
 * Concurrency: see workers.h.
 * Go: gcBgMarkWorker in mgc.go.
 */
#include "gc/workers.h"

#include "gc/greys.h"
#include "platform/park.h"

enum { DRAIN_BYTES = 256 << 10 }; /* scanned before a marker looks up */

static void credit(struct gc *gc, struct marker *m, uint64_t *last)
{
    int64_t bytes = (int64_t)(m->scanned_bytes - *last);
    fetch_add_relaxed(&gc->credit_given, bytes);
    fetch_add_relaxed(&gc->bg_credit, bytes);
    *last = m->scanned_bytes;
}

void workers_mark(struct gc *gc, struct marker *m)
{
    uint64_t last = m->scanned_bytes;
    markers_enter(gc);
    do {
        markers_look_up(gc, m);
        while (mark_drain(m, DRAIN_BYTES)) {
            credit(gc, m, &last);
            markers_look_up(gc, m);
        }
    } while (roots_scan_some(&gc->roots, m) || work_pool_has_work(&gc->pool));
    work_flush(&m->work);
    credit(gc, m, &last);
    markers_leave(gc);
}

static void *helper_run(void *arg)
{
    struct gc *gc = arg;
    for (;;) {
        uint32_t event = load_acquire(&gc->help_event); /* first: a wake after it is not missed */
        if (load_acquire(&gc->stop))
            break;
        if (!load_acquire(&gc->marking) ||
            (!work_pool_has_work(&gc->pool) && !roots_have_work(&gc->roots))) {
            park_wait(&gc->help_event, event, load_relaxed(&gc->marking) ? 50000 : PARK_FOREVER);
            continue;
        }
        fetch_add_seq_cst(&gc->helping, 1);
        if (load_seq_cst(&gc->marking)) {
            struct marker m;
            marker_init(&m, &gc->pool);
            workers_mark(gc, &m);
            fetch_add_relaxed(&gc->helper_marked, m.marked_bytes);
            fetch_add_relaxed(&gc->helper_scanned, m.scanned_bytes);
        }
        fetch_sub_seq_cst(&gc->helping, 1);
    }
    return NULL;
}

void workers_wake(struct gc *gc, bool marking)
{
    store_seq_cst(&gc->marking, marking);
    fetch_add_seq_cst(&gc->help_event, 1);
    park_wake(&gc->help_event, PARK_WAKE_ALL);
}

void workers_start(struct gc *gc)
{
    unsigned wanted = MIN((gc->sched->nusers + 3) / 4 - 1, MAX_HELPERS);
    while (gc->nhelpers < wanted) {
        if (!thread_start(&gc->helpers[gc->nhelpers], "gomem-mark", helper_run, gc))
            return;
        gc->nhelpers++;
    }
}

void workers_end(struct gc *gc)
{
    workers_wake(gc, false);
    while (gc->nhelpers > 0)
        thread_join(&gc->helpers[--gc->nhelpers]);
}
