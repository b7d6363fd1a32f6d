/* How large were the objects of a block of tiny ones?
 *
 * Called by reader.c through track.h, once all events are there.
 *
 * Go puts an object where the one before ended, aligned by 8, 4 or 2 if its size is a multiple of
 * that. The trace has the order, the half of the block in which each begins, and perhaps a type.
 * From the last object to the first we find out which ends of the ones before leave a way to put
 * the rest, then from the first to the last we choose sizes along such a way.
 *
 * Concurrency: none; owned by the reader.
 * Go: mallocgcTiny in malloc.go.
 */
#include "gotrace/track.h"

#include <string.h>

struct tiny_part {
    unsigned upper;     /* begins in the upper half */
    unsigned type_size; /* 0: not known, or not a tiny one */
    uint32_t event;
};

/* Where Go puts an object of size bytes when `end` are taken. */
static unsigned place(unsigned end, unsigned size)
{
    unsigned align = size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1;
    return (end + align - 1) & ~(align - 1);
}

/* For each half and each end so far: the ends that an object which begins in that half can lead to.
 */
struct rules {
    uint32_t ends[2][TINY_SIZE + 1];
};

static void make_rules(struct rules *r)
{
    *r = (struct rules){0};
    for (unsigned end = 0; end <= TINY_SIZE; end++)
        for (unsigned size = 1; size <= TINY_SIZE; size++) {
            unsigned at = place(end, size);
            if (at + size <= TINY_SIZE)
                r->ends[at / 8][end] |= 1u << (at + size);
        }
}

/* leaves[i] has bit e set if parts i and later can be put when e bytes are taken. */
static void find_ways(const struct rules *r, const struct tiny_part *parts, unsigned n,
                      uint32_t *leaves)
{
    leaves[n] = (1u << (TINY_SIZE + 1)) - 1;
    for (unsigned i = n; i-- > 0;) {
        leaves[i] = 0;
        for (unsigned end = 0; end <= TINY_SIZE; end++)
            if ((r->ends[parts[i].upper][end] & leaves[i + 1]) != 0)
                leaves[i] |= 1u << end;
    }
}

/* Can a part of size bytes follow `end`, begin in its half and leave a way for those behind it? */
static bool fits(const struct tiny_part *part, unsigned end, unsigned size, uint32_t leaves)
{
    unsigned at = place(end, size);
    return at + size <= TINY_SIZE && at / 8 == part->upper && (leaves >> (at + size) & 1) != 0;
}

/* How good size is for a part, more is better: a multiple of its type's size (one element before
 * many); else close to an even share of what is left of its half. The last takes all it can get. */
static int merit(const struct tiny_part *part, unsigned size, unsigned share, bool last)
{
    if (last)
        return (int)size;
    if (part->type_size > 0 && size % part->type_size == 0)
        return 200 - (int)size;
    return size <= share ? 100 - (int)(share - size) : 50 - (int)(size - share);
}

/* The sizes of n parts; false if Go's rule cannot have put them so. */
static bool choose_sizes(const struct rules *r, const struct tiny_part *parts, unsigned n,
                         unsigned *sizes)
{
    uint32_t leaves[MAX_PARTS + 1];
    find_ways(r, parts, n, leaves);
    if ((leaves[0] & 1) == 0)
        return false;
    unsigned end = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned more = i + 1;
        while (more < n && parts[more].upper == parts[i].upper)
            more++;
        unsigned limit = parts[i].upper ? 16 : 8;
        unsigned share = end < limit ? (limit - end) / (more - i) : 1;
        int best = -1000;
        for (unsigned size = 1; size <= TINY_SIZE; size++) {
            int m = merit(&parts[i], size, share, i + 1 == n);
            if (m > best && fits(&parts[i], end, size, leaves[i + 1])) {
                best = m;
                sizes[i] = size;
            }
        }
        end = place(end, sizes[i]) + sizes[i];
    }
    return true;
}

/* The last blocks' sizes: few kinds of blocks make up most of them. */
enum { MEMO_ENTRIES = 256, MEMO_PARTS = 12 };

enum { FAR_AHEAD = 24, MIDDLE_AHEAD = 16, NEAR_AHEAD = 8 }; /* blocks */

struct memo {
    uint64_t key; /* all that sizes depend on */
    unsigned sizes[MAX_PARTS];
};

struct inference {
    const struct tracker *tracker;
    const struct gomem_trace_type *types;
    struct rules rules;
    struct memo memo[MEMO_ENTRIES];
};

static void remember_sizes(struct inference *f, const struct tiny_part *parts, unsigned n,
                           unsigned *sizes)
{
    uint64_t key = 1;
    for (unsigned i = 0; i < n && n <= MEMO_PARTS; i++)
        key = key << 5 | parts[i].upper << 4 | parts[i].type_size;
    struct memo *m = &f->memo[key * 0x9e3779b97f4a7c15u >> 56];
    if (m->key != key || n > MEMO_PARTS) {
        if (!choose_sizes(&f->rules, parts, n, m->sizes))
            for (unsigned i = 0; i < n; i++)
                m->sizes[i] = 1;
        m->key = key;
    }
    memcpy(sizes, m->sizes, n * sizeof *sizes);
}

static void infer_block(struct inference *f, uint32_t first)
{
    struct gomem_trace_event *events = f->tracker->events;
    struct tiny_part parts[MAX_PARTS];
    unsigned sizes[MAX_PARTS], n = 0;
    uint32_t event = first;
    do {
        uint64_t type_size = f->types[events[event].type].size;
        parts[n++] = (struct tiny_part){
            .upper = events[event].address % TINY_SIZE != 0,
            .type_size = type_size < TINY_SIZE ? (unsigned)type_size : 0,
            .event = event,
        };
        event = events[event].next_part;
    } while (event != 0 && n < MAX_PARTS);
    remember_sizes(f, parts, n, sizes);
    for (unsigned i = 0; i < n; i++)
        events[parts[i].event].size = sizes[i];
}

void tiny_infer_sizes(const struct tracker *t, const struct gomem_trace_type *types)
{
    struct inference f = {.tracker = t, .types = types};
    make_rules(&f.rules);
    const struct gomem_trace_event *events = t->events;
    for (size_t i = 0; i < t->ntiny_blocks; i++) {
        /* The events are long out of the processor's caches: ask for those of later blocks now. */
        if (i + FAR_AHEAD < t->ntiny_blocks)
            __builtin_prefetch(&events[t->tiny_blocks[i + FAR_AHEAD]]);
        if (i + MIDDLE_AHEAD < t->ntiny_blocks)
            __builtin_prefetch(&events[events[t->tiny_blocks[i + MIDDLE_AHEAD]].next_part]);
        if (i + NEAR_AHEAD < t->ntiny_blocks) {
            uint32_t second = events[t->tiny_blocks[i + NEAR_AHEAD]].next_part;
            __builtin_prefetch(&events[events[second].next_part]);
        }
        infer_block(&f, t->tiny_blocks[i]);
    }
}
