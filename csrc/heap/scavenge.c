/* Finding free pages that are still backed, and how often to look.
 *
 * Called through scavenge.h.
 *
 * Concurrency: see scavenge.h. While pages are being released they are marked in use, so the lock is
 * not held during the system call.
 * Go: mgcscavenge.go.
 */
#include "heap/scavenge.h"

#include <math.h>

#include "heap/mheap.h"
#include "platform/clock.h"

enum {
    RETAIN_EXTRA_PERCENT = 10,    /* the background keeps this much above the heap goal */
    REDUCE_EXTRA_PERCENT = 5,     /* and stays this much below the memory limit */
    SCAVENGE_PERCENT = 1,         /* of one CPU */
    SCAVENGE_QUANTUM = 64 << 10,  /* bytes between looks at the clock */
};

#define MIN_WORK_NS          1e6
#define STARTING_SLEEP_RATIO 0.001
#define COOLDOWN_NS          5e9

/* --- Candidates --- */

/* Pages of a word that cannot be released; whole groups of `min` pages where one page of it cannot. */
static uint64_t unavailable(const struct chunk_data *c, unsigned word, unsigned min)
{
    uint64_t x = c->alloc.w[word] | c->scavenged.w[word];
    if (min == 1)
        return x;
    uint64_t filled = 0, group = low_mask64(min);
    for (unsigned i = 0; i < 64; i += min)
        if (x >> i & group)
            filled |= group << i;
    return filled;
}

unsigned find_scavenge_candidate(const struct chunk_data *c, unsigned from, unsigned min,
                                 unsigned max, unsigned huge_pages, unsigned *start)
{
    ASSERT(is_power_of_two(min) && min <= 64);
    max = max == 0 ? min : (unsigned)align_up(max, min);
    int i = (int)(from / 64);
    while (i >= 0 && unavailable(c, (unsigned)i, min) == ~(uint64_t)0)
        i--;
    if (i < 0)
        return 0;
    uint64_t x = unavailable(c, (unsigned)i, min);
    unsigned skip = leading_zeros64(~x);
    unsigned run = 0, end = (unsigned)i * 64 + 64 - skip;
    if (x << skip != 0) {
        run = leading_zeros64(x << skip);
    } else {
        run = 64 - skip;
        for (int j = i - 1; j >= 0; j--) {
            uint64_t y = unavailable(c, (unsigned)j, min);
            run += leading_zeros64(y);
            if (y != 0)
                break;
        }
    }
    unsigned size = MIN(run, max);
    *start = end - size;
    /* Breaking a huge page costs more than releasing the rest of it. */
    if (huge_pages > 1) {
        unsigned above = (unsigned)align_up(*start, huge_pages);
        unsigned below = (unsigned)align_down(*start, huge_pages);
        if (above <= end && below >= end - run) {
            size += *start - below;
            *start = below;
        }
    }
    return size;
}

/* --- Releasing --- */

/* How many heap pages a huge page has, 0 if that is no useful number. */
static unsigned huge_page_pages(const struct mheap *h)
{
    size_t huge = h->om.huge_page_size;
    if (huge <= (size_t)1 << h->page_shift || huge <= h->om.page_size ||
        huge > (size_t)CHUNK_PAGES << h->page_shift)
        return 0;
    return (unsigned)(huge >> h->page_shift);
}

/* Releases one run of about nbytes from the chunk; 0 if it has nothing, or the OS refuses. */
static size_t scavenge_one_locked(struct mheap *h, size_t chunk, size_t nbytes, bool *refused)
{
    ASSERT_HELD(&h->lock);
    struct pagealloc *pa = &h->pages;
    size_t max = MIN(div_round_up(nbytes, (size_t)1 << h->page_shift), CHUNK_PAGES);
    unsigned min = MAX((unsigned)(h->om.page_size >> h->page_shift), 1), start;
    unsigned npages = find_scavenge_candidate(chunk_of(pa, chunk), CHUNK_PAGES - 1, min,
                                              (unsigned)max, huge_page_pages(h), &start);
    if (npages == 0) {
        scav_index_set_empty(&pa->scav, chunk);
        return 0;
    }
    uintptr_t addr = chunk_base(pa, chunk) + ((uintptr_t)start << h->page_shift);
    size_t bytes = (size_t)npages << h->page_shift;
    /* In use while the OS takes it: nobody else allocates or scavenges it meanwhile. */
    page_bits_set_range(&chunk_of(pa, chunk)->alloc, start, npages);
    pagealloc_update(pa, addr, npages, true, true);
    unlock(&h->lock);
    bool released = os_unused(&h->om, (void *)addr, bytes);
    lock(&h->lock);
    page_bits_clear_range(&chunk_of(pa, chunk)->alloc, start, npages);
    pa->search_addr = MIN(pa->search_addr, addr);
    pagealloc_update(pa, addr, npages, true, false);
    if (!released) {
        *refused = true;
        return 0;
    }
    page_bits_set_range(&chunk_of(pa, chunk)->scavenged, start, npages);
    os_stat_add(&h->bytes.heap_free, -(int64_t)bytes);
    os_stat_add(&h->bytes.heap_released, (int64_t)bytes);
    return bytes;
}

size_t scavenge(struct mheap *h, size_t nbytes, bool force)
{
    size_t released = 0, chunk;
    bool refused = false;
    lock(&h->lock);
    while (released < nbytes && !refused && (chunk = scav_index_find(&h->pages.scav, force)) != 0)
        released += scavenge_one_locked(h, chunk, nbytes - released, &refused);
    unlock(&h->lock);
    return released;
}

size_t scavenge_assist(struct mheap *h, size_t nbytes, bool force)
{
    int64_t start = clock_nanotime();
    size_t released = scavenge(h, nbytes, force);
    fetch_add_relaxed(&h->scav.released_eager, released);
    fetch_add_relaxed(&h->scav.assist_ns, clock_nanotime() - start);
    return released;
}

size_t scavenge_all(struct mheap *h)
{
    size_t released = scavenge(h, SIZE_MAX, true);
    fetch_add_relaxed(&h->scav.released_forced, released);
    return released;
}

/* --- Goals --- */

void scavenge_pace_limit(struct mheap *h, uint64_t memory_limit)
{
    uint64_t limit_goal = (uint64_t)((double)memory_limit * (1 - REDUCE_EXTRA_PERCENT / 100.0));
    bool over = load_relaxed(&h->om.mapped_ready) > limit_goal;
    store_relaxed(&h->scav.memory_limit_goal, over ? limit_goal : UINT64_MAX);
}

void scavenge_pace(struct mheap *h, uint64_t memory_limit, uint64_t heap_goal,
                   uint64_t last_heap_goal, uint64_t heap_inuse)
{
    scavenge_pace_limit(h, memory_limit);
    uint64_t goal = UINT64_MAX;
    if (last_heap_goal != 0) {
        double retain = (double)heap_inuse * ((double)heap_goal / (double)last_heap_goal);
        goal = (uint64_t)fmin(retain, 0x1p62);
        goal += goal / (100 / RETAIN_EXTRA_PERCENT);
        goal = align_up(goal, h->om.page_size);
        uint64_t retained = heap_retained(h);
        if (retained <= goal || retained - goal < h->om.page_size)
            goal = UINT64_MAX;
    }
    store_relaxed(&h->scav.gc_percent_goal, goal);
}

void scavenge_next_generation(struct mheap *h)
{
    lock(&h->lock);
    scav_index_next_gen(&h->pages.scav);
    unlock(&h->lock);
}

/* Is there nothing for the background scavenger to do? */
static bool scavenge_goals_met(struct mheap *h)
{
    return heap_retained(h) <= load_relaxed(&h->scav.gc_percent_goal) &&
           load_relaxed(&h->om.mapped_ready) <= load_relaxed(&h->scav.memory_limit_goal);
}

/* --- The background scavenger --- */

bool pi_controller_next(struct pi_controller *c, double input, double setpoint, double period,
                        double *output)
{
    double raw = c->kp * (setpoint - input) + c->integral, out = raw;
    if (!isfinite(out)) {
        c->integral = 0;
        *output = c->min;
        return false;
    }
    out = fmin(fmax(out, c->min), c->max);
    if (c->ti != 0 && c->tt != 0) {
        c->integral +=
            c->kp * period / c->ti * (setpoint - input) + period / c->tt * (out - raw);
        if (!isfinite(c->integral)) {
            c->integral = 0;
            *output = c->min;
            return false;
        }
    }
    *output = out;
    return true;
}

void scavenger_control_init(struct scavenger_control *s)
{
    /* Go's tuning: found there by Ziegler-Nichols on the scavenger's own behaviour. */
    *s = (struct scavenger_control){
        .sleep_ratio = STARTING_SLEEP_RATIO,
        .controller = {.kp = 0.3375, .ti = 3.2e6, .tt = 1e9, .min = 0.001, .max = 1000},
    };
}

size_t scavenger_step(struct mheap *h, double *worked)
{
    size_t released = 0;
    *worked = 0;
    while (*worked < MIN_WORK_NS && !scavenge_goals_met(h)) {
        int64_t start = clock_nanotime();
        size_t r = scavenge(h, SCAVENGE_QUANTUM, false);
        int64_t took = clock_nanotime() - start;
        fetch_add_relaxed(&h->scav.background_ns, took);
        *worked += (double)took;
        released += r;
        if (r < SCAVENGE_QUANTUM)
            break;
    }
    fetch_add_relaxed(&h->scav.released_background, released);
    return released;
}

double scavenger_sleep_time(const struct scavenger_control *s, double worked)
{
    return fmax(worked, MIN_WORK_NS) / s->sleep_ratio;
}

void scavenger_slept(struct scavenger_control *s, double worked, double slept, unsigned procs)
{
    worked = fmax(worked, MIN_WORK_NS);
    if (s->cooldown > 0) {
        s->cooldown = fmax(0, s->cooldown - slept - worked);
        return;
    }
    double used = worked / ((slept + worked) * procs);
    if (!pi_controller_next(&s->controller, used, SCAVENGE_PERCENT / 100.0, slept + worked,
                            &s->sleep_ratio)) {
        s->sleep_ratio = STARTING_SLEEP_RATIO;
        s->cooldown = COOLDOWN_NS;
    }
}
