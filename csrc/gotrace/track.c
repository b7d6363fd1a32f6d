/* Spans, objects and stacks of a trace as they come and go.
 *
 * Called through track.h.
 *
 * Concurrency: see track.h.
 * Go: see track.h.
 */
#include "gotrace/track.h"

#include <stdlib.h>
#include <string.h>

#include "gotrace/grow.h"

bool tracker_init(struct tracker *t, const struct tables *tables,
                  const struct size_class_table *classes, struct gomem_trace_facts *facts)
{
    *t = (struct tracker){
        .facts = facts,
        .classes = classes,
        .min_heap_address = tables->min_heap_address,
        .min_stack = tables->has_info ? tables->min_stack : TRACE_MIN_STACK,
    };
    map_init(&t->chunk_map);
    map_init(&t->stacks);
    waiting_init(&t->waiting);
    for (unsigned i = 0; i < CHUNK_CACHE; i++)
        t->cache[i].number = UINT64_MAX;
    t->spans = array_grow(NULL, &t->spans_capacity, 0, 1, sizeof *t->spans);
    t->blocks = array_grow(NULL, &t->blocks_capacity, 0, 1, sizeof *t->blocks);
    if (t->spans == NULL || t->blocks == NULL)
        return false;
    t->nspans = t->nblocks = 1;
    memset(&t->spans[0], 0, sizeof t->spans[0]);
    memset(&t->blocks[0], 0, sizeof t->blocks[0]);
    return true;
}

void tracker_free(struct tracker *t)
{
    map_free(&t->chunk_map);
    map_free(&t->stacks);
    waiting_free(&t->waiting);
    free(t->chunks);
    free(t->spans);
    free(t->blocks);
    free(t->tiny_blocks);
    memset(t, 0, sizeof *t);
}

/* --- What waits for its free --- */

static uint64_t waiting_key(uint64_t address, enum track_what what)
{
    return (address & ~(uint64_t)7) | what;
}

static COLD bool wait_for_free(struct tracker *t, uint64_t address, enum track_what what,
                               uint32_t number)
{
    t->facts->overlaps++;
    return waiting_add(&t->waiting, waiting_key(address, what), number);
}

/* The oldest that waits under this address, no longer waiting; 0 if there is none. */
static ALWAYS_INLINE uint32_t take_waiting(struct tracker *t, uint64_t address,
                                           enum track_what what)
{
    return LIKELY(t->waiting.n == 0) ? 0 : waiting_take(&t->waiting, waiting_key(address, what));
}

static void uncover(struct tracker *t, uint32_t number)
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->ncovered; i++)
        if (t->covered[i] != number)
            t->covered[n++] = t->covered[i];
    t->ncovered = n;
}

/* A newer span was put upon this one, or upon a part of it. */
static COLD bool cover_span(struct tracker *t, uint32_t number)
{
    struct track_span *s = &t->spans[number];
    if (s->covered)
        return true;
    if (t->ncovered == MAX_COVERED)
        uncover(t, t->covered[0]);
    t->covered[t->ncovered++] = number;
    s->covered = true;
    return wait_for_free(t, s->base, TRACK_SPAN, number);
}

/* --- From address to slot --- */

static NOINLINE struct track_chunk *find_chunk_slow(struct tracker *t, uint64_t number)
{
    const uint32_t *index = map_get(&t->chunk_map, number);
    if (index == NULL)
        return NULL;
    t->cache[number % CHUNK_CACHE].number = number;
    t->cache[number % CHUNK_CACHE].chunk = *index;
    return &t->chunks[*index];
}

static ALWAYS_INLINE struct track_chunk *find_chunk(struct tracker *t, uint64_t address)
{
    uint64_t number = address >> CHUNK_SHIFT;
    if (LIKELY(t->cache[number % CHUNK_CACHE].number == number))
        return &t->chunks[t->cache[number % CHUNK_CACHE].chunk];
    return find_chunk_slow(t, number);
}

static struct track_chunk *make_chunk(struct tracker *t, uint64_t address)
{
    struct track_chunk *chunk = find_chunk(t, address);
    if (chunk != NULL)
        return chunk;
    struct track_chunk *grown =
        array_grow(t->chunks, &t->chunks_capacity, t->nchunks, 1, sizeof *grown);
    if (grown == NULL)
        return NULL;
    t->chunks = grown;
    uint32_t *index = map_put(&t->chunk_map, address >> CHUNK_SHIFT);
    if (index == NULL)
        return NULL;
    *index = (uint32_t)t->nchunks++;
    memset(&t->chunks[*index], 0, sizeof t->chunks[0]);
    return &t->chunks[*index];
}

static ALWAYS_INLINE unsigned page_in_chunk(uint64_t address)
{
    return (unsigned)(address >> TRACK_PAGE_SHIFT) % CHUNK_PAGES;
}

/* The span of objects that address lies in, NULL if there is none known. */
static ALWAYS_INLINE struct track_span *find_span(struct tracker *t, uint64_t address)
{
    struct track_chunk *chunk = find_chunk(t, address);
    uint32_t number = UNLIKELY(chunk == NULL) ? 0 : chunk->spans[page_in_chunk(address)];
    struct track_span *s = &t->spans[number];
    return LIKELY(number != 0) && s->elem_size != 0 ? s : NULL;
}

/* pre: address lies in s. May be nslots or more: behind the last slot. */
static ALWAYS_INLINE uint32_t slot_index(const struct track_span *s, uint64_t address)
{
    return (uint32_t)((address - s->base) * s->div_magic >> 32);
}

static uint32_t take_block(struct tracker *t)
{
    uint32_t block = t->free_blocks;
    if (block != 0) {
        t->free_blocks = t->blocks[block].numbers[0];
    } else {
        if (t->nblocks == UINT32_MAX)
            return 0;
        union track_block *grown =
            array_grow(t->blocks, &t->blocks_capacity, t->nblocks, 1, sizeof *grown);
        if (grown == NULL)
            return 0;
        t->blocks = grown;
        block = (uint32_t)t->nblocks++;
    }
    memset(&t->blocks[block], 0, sizeof t->blocks[block]);
    return block;
}

static void give_block(struct tracker *t, uint32_t block)
{
    t->blocks[block].numbers[0] = t->free_blocks;
    t->free_blocks = block;
}

/* Slot i of s; NULL if it was never used. */
static ALWAYS_INLINE struct track_slot *find_slot(struct tracker *t, const struct track_span *s,
                                                  uint32_t i)
{
    uint32_t block = s->slots;
    if (s->nslots > BLOCK_SLOTS)
        block = t->blocks[block].numbers[i / BLOCK_SLOTS]; /* block 0 holds zeros */
    if (UNLIKELY(block == 0))
        return NULL;
    /* Spans are filled and swept upwards: ask for the next cache line of slots now. */
    struct track_slot *slot = &t->blocks[block].slots[i % BLOCK_SLOTS];
    __builtin_prefetch((const void *)((uintptr_t)slot + SLOTS_AHEAD * sizeof *slot), 1);
    return slot;
}

static NOINLINE struct track_slot *make_slot(struct tracker *t, struct track_span *s, uint32_t i)
{
    if (s->slots == 0 && (s->slots = take_block(t)) == 0)
        return NULL;
    if (s->nslots <= BLOCK_SLOTS)
        return &t->blocks[s->slots].slots[i];
    uint32_t block = t->blocks[s->slots].numbers[i / BLOCK_SLOTS];
    if (block == 0) {
        block = take_block(t);
        if (block == 0)
            return NULL;
        t->blocks[s->slots].numbers[i / BLOCK_SLOTS] = block;
    }
    return &t->blocks[block].slots[i % BLOCK_SLOTS];
}

/* --- Spans --- */

static uint32_t take_span(struct tracker *t)
{
    uint32_t number = t->free_spans;
    if (number != 0) {
        t->free_spans = t->spans[number].slots;
        return number;
    }
    if (t->nspans == UINT32_MAX)
        return 0;
    struct track_span *grown =
        array_grow(t->spans, &t->spans_capacity, t->nspans, 1, sizeof *grown);
    if (grown == NULL)
        return 0;
    t->spans = grown;
    return (uint32_t)t->nspans++;
}

/* Pages of s that lookups may ask for: of a large object only the first. */
static uint64_t looked_up_bytes(const struct tracker *t, const struct track_span *s)
{
    uint64_t pages =
        s->elem_size == 0 || s->div_magic == 0 ? 1 : t->classes->classes[s->span_class >> 1].npages;
    return MIN(s->bytes, pages << TRACK_PAGE_SHIFT);
}

static void describe_span(const struct tracker *t, struct track_span *s)
{
    s->elem_size = s->bytes;
    s->nslots = 1;
    if (s->span_class < 2)
        return;
    const struct size_class *c = &t->classes->classes[s->span_class >> 1];
    s->elem_size = c->size;
    s->div_magic = c->div_magic;
    s->nslots = (uint32_t)(looked_up_bytes(t, s) / c->size);
    s->header = !(s->span_class & 1) && c->size > MIN_SIZE_FOR_MALLOC_HEADER;
}

static bool map_pages(struct tracker *t, uint32_t number)
{
    uint64_t base = t->spans[number].base, bytes = looked_up_bytes(t, &t->spans[number]);
    for (uint64_t at = base; at - base < bytes; at += (uint64_t)1 << TRACK_PAGE_SHIFT) {
        struct track_chunk *chunk = make_chunk(t, at);
        if (chunk == NULL)
            return false;
        uint32_t *page = &chunk->spans[page_in_chunk(at)];
        if (UNLIKELY(*page != 0) && !cover_span(t, *page))
            return false;
        *page = number;
    }
    return true;
}

static void count_span(struct tracker *t, const struct gomem_trace_event *e)
{
    struct gomem_trace_facts *f = t->facts;
    if (e->type == GOMEM_TRACE_NOT_OBJECTS) {
        f->final_other_bytes += e->size;
        return;
    }
    f->final_heap_bytes += e->size;
    if (f->final_heap_bytes > f->peak_heap_bytes) {
        f->peak_heap_bytes = f->final_heap_bytes;
        f->peak_other_bytes = f->final_other_bytes;
        f->peak_time = e->time;
    }
}

bool track_span_new(struct tracker *t, uint32_t index, uint64_t npages)
{
    struct gomem_trace_event *e = &t->events[index];
    e->address = t->min_heap_address + (e->address << TRACK_PAGE_SHIFT);
    e->size = npages << TRACK_PAGE_SHIFT;
    uint64_t class = e->type >> 1;
    bool objects = !(e->type & 1) && class >> 1 < t->classes->nclasses && e->size > 0;
    e->type = objects ? (uint32_t)class : GOMEM_TRACE_NOT_OBJECTS;
    e->noscan = objects && (class & 1);
    count_span(t, e);
    uint32_t number = take_span(t);
    if (number == 0)
        return false;
    struct track_span *s = &t->spans[number];
    *s = (struct track_span){.base = e->address, .bytes = e->size, .event = index};
    if (objects) {
        s->span_class = (uint8_t)class;
        describe_span(t, s);
    }
    return map_pages(t, number);
}

/* Objects of a covered span whose frees have not come: the span that was freed may have been the
 * newer one. false: out of memory. */
static COLD bool leave_objects(struct tracker *t, const struct track_span *s)
{
    for (uint32_t i = 0; s->elem_size != 0 && i < s->nslots; i++) {
        const struct track_slot *slot = find_slot(t, s, i);
        if (slot == NULL || slot->number == 0)
            continue;
        uint64_t key = waiting_key(s->base + i * s->elem_size, TRACK_OBJECT);
        if (!waiting_add(&t->waiting, key, slot->number))
            return false;
    }
    return true;
}

static void forget_span(struct tracker *t, uint32_t number)
{
    struct track_span *s = &t->spans[number];
    uint64_t bytes = looked_up_bytes(t, s);
    for (uint64_t at = s->base; at - s->base < bytes; at += (uint64_t)1 << TRACK_PAGE_SHIFT) {
        struct track_chunk *chunk = find_chunk(t, at);
        if (chunk != NULL && chunk->spans[page_in_chunk(at)] == number)
            chunk->spans[page_in_chunk(at)] = 0;
    }
    if (s->slots != 0 && s->nslots > BLOCK_SLOTS)
        for (unsigned i = 0; i < BLOCK_SLOTS; i++)
            if (t->blocks[s->slots].numbers[i] != 0)
                give_block(t, t->blocks[s->slots].numbers[i]);
    if (s->slots != 0)
        give_block(t, s->slots);
    if (UNLIKELY(s->covered))
        uncover(t, number);
    s->elem_size = 0;
    s->slots = t->free_spans;
    t->free_spans = number;
}

bool track_span_free(struct tracker *t, uint32_t index)
{
    struct gomem_trace_event *e = &t->events[index];
    e->address = t->min_heap_address + (e->address << TRACK_PAGE_SHIFT);
    uint32_t number = take_waiting(t, e->address, TRACK_SPAN);
    struct track_chunk *chunk = find_chunk(t, e->address);
    if (number == 0 && chunk != NULL)
        number = chunk->spans[page_in_chunk(e->address)];
    if (number == 0 || t->spans[number].base != e->address) {
        t->facts->unmatched_frees++;
        return true;
    }
    const struct gomem_trace_event *a = &t->events[t->spans[number].event];
    e->link = t->spans[number].event;
    e->size = a->size;
    e->type = a->type;
    e->noscan = a->noscan;
    if (a->type == GOMEM_TRACE_NOT_OBJECTS)
        t->facts->final_other_bytes -= a->size;
    else
        t->facts->final_heap_bytes -= a->size;
    if (UNLIKELY(t->spans[number].covered) && !leave_objects(t, &t->spans[number]))
        return false;
    forget_span(t, number);
    return true;
}

/* --- Objects --- */

/* Is the object another one of the block whose first is given? Then it lies behind those that are
 * there, as far as addresses of 8 bytes' granularity tell. Only the P that began a block fills it,
 * and only until the next sweep begins, for which Ps give up their blocks. */
static bool joins_block(struct tracker *t, uint32_t first, uint32_t index)
{
    struct gomem_trace_event *e = &t->events[index], *last = &t->events[first];
    unsigned parts = 1;
    for (; last->next_part != 0; parts++)
        last = &t->events[last->next_part];
    bool own =
        t->events[first].proc == e->proc || t->events[first].kind == GOMEM_TRACE_OBJECT_EXISTS;
    bool after = e->address % TINY_SIZE != 0 || (last->address % TINY_SIZE == 0 && own);
    if (e->kind != GOMEM_TRACE_OBJECT_ALLOC || !after || parts == MAX_PARTS ||
        first < t->last_gc_end)
        return false;
    last->next_part = index;
    return true;
}

/* Adds an object to the block in which one lives. *joined: it belongs there; else it is a new one.
 */
static NOINLINE bool track_part(struct tracker *t, uint32_t first, uint32_t index, bool *joined)
{
    bool several = t->events[first].next_part != 0;
    *joined = joins_block(t, first, index);
    if (!*joined || several)
        return true;
    uint32_t *grown =
        array_grow(t->tiny_blocks, &t->tiny_blocks_capacity, t->ntiny_blocks, 1, sizeof *grown);
    if (grown == NULL)
        return false;
    t->tiny_blocks = grown;
    t->tiny_blocks[t->ntiny_blocks++] = first;
    return true;
}

/* An object is put into a slot in which one lives: another part of its block (*joined), or the
 * older one's free comes late. */
static NOINLINE bool track_upon(struct tracker *t, const struct track_span *s, uint64_t base,
                                const struct track_slot *slot, uint32_t index, bool *joined)
{
    *joined = false;
    if (s->span_class == TINY_SPAN_CLASS && !track_part(t, slot->number - 1, index, joined))
        return false;
    return *joined || wait_for_free(t, base, TRACK_OBJECT, slot->number);
}

bool track_object_new(struct tracker *t, uint32_t index)
{
    struct gomem_trace_event *e = &t->events[index];
    uint64_t address = e->address = t->min_heap_address + TRACE_MIN_ALIGN * e->address;
    struct track_span *s = find_span(t, address);
    uint32_t i = s == NULL ? 0 : slot_index(s, address);
    if (UNLIKELY(s == NULL || i >= s->nslots)) {
        t->facts->orphans++;
        return true;
    }
    uint64_t base = s->base + i * s->elem_size;
    if (s->span_class != TINY_SPAN_CLASS) {
        bool behind_header = s->header && e->kind == GOMEM_TRACE_OBJECT_ALLOC;
        if (UNLIKELY(address != base + (behind_header ? MALLOC_HEADER_SIZE : 0))) {
            t->facts->orphans++; /* the span there now is another one */
            return true;
        }
        e->address = base + (s->header ? MALLOC_HEADER_SIZE : 0);
    }
    struct track_slot *slot = find_slot(t, s, i);
    if (UNLIKELY(slot == NULL)) {
        slot = make_slot(t, s, i);
        if (slot == NULL)
            return false;
    }
    e->size = s->elem_size;
    e->link = s->event;
    e->noscan = s->span_class & 1;
    if (UNLIKELY(slot->number != 0)) {
        bool joined;
        if (!track_upon(t, s, base, slot, index, &joined))
            return false;
        if (joined)
            return true;
    }
    *slot = (struct track_slot){index + 1, e->type};
    t->facts->final_live_objects++;
    t->facts->final_live_bytes += s->elem_size;
    if (LIKELY(e->kind == GOMEM_TRACE_OBJECT_ALLOC)) {
        t->facts->total_allocs++;
        t->facts->total_alloc_bytes += s->elem_size;
    }
    return true;
}

/* Frees the object at e->address, if the span has one there. pre: the address lies in it. */
static ALWAYS_INLINE bool free_in_span(struct tracker *t, const struct track_span *s,
                                       struct gomem_trace_event *e)
{
    uint32_t i = slot_index(s, e->address);
    struct track_slot *slot = i < s->nslots ? find_slot(t, s, i) : NULL;
    if (UNLIKELY(slot == NULL || slot->number == 0 || e->address != s->base + i * s->elem_size))
        return false;
    e->link = slot->number - 1;
    e->size = s->elem_size;
    e->type = slot->type;
    e->noscan = s->span_class & 1;
    if (s->header)
        e->address += MALLOC_HEADER_SIZE;
    slot->number = 0;
    t->facts->final_live_objects--;
    t->facts->final_live_bytes -= s->elem_size;
    return true;
}

/* A free of what its slot holds no more, or whose span is covered by a newer one. */
static COLD bool free_elsewhere(struct tracker *t, struct gomem_trace_event *e)
{
    uint32_t number = take_waiting(t, e->address, TRACK_OBJECT);
    if (number != 0) {
        const struct gomem_trace_event *a = &t->events[number - 1];
        e->link = number - 1;
        e->address = a->address;
        e->size = a->size;
        e->type = a->type;
        e->noscan = a->noscan;
        t->facts->final_live_objects--;
        t->facts->final_live_bytes -= a->size;
        return true;
    }
    for (unsigned i = 0; i < t->ncovered; i++) {
        const struct track_span *s = &t->spans[t->covered[i]];
        if (s->elem_size != 0 && e->address - s->base < looked_up_bytes(t, s) &&
            free_in_span(t, s, e))
            return true;
    }
    return false;
}

void track_object_free(struct tracker *t, uint32_t index)
{
    struct gomem_trace_event *e = &t->events[index];
    e->address = t->min_heap_address + TRACE_MIN_ALIGN * e->address;
    if (UNLIKELY(t->waiting.n > 0) && free_elsewhere(t, e))
        return;
    struct track_span *s = find_span(t, e->address);
    if (UNLIKELY(s == NULL || !free_in_span(t, s, e)))
        t->facts->unmatched_frees++;
}

/* --- Stacks --- */

bool track_stack_new(struct tracker *t, uint32_t index, uint64_t order)
{
    struct gomem_trace_event *e = &t->events[index];
    e->address = t->min_heap_address + e->address * t->min_stack;
    if (order == 0 || order > 48)
        return true; /* a goroutine that has none */
    e->size = (uint64_t)1 << (order - 1);
    uint32_t *stack = map_put(&t->stacks, e->address);
    if (stack == NULL)
        return false;
    if (UNLIKELY(*stack != 0) && !wait_for_free(t, e->address, TRACK_STACK, *stack))
        return false;
    *stack = index + 1;
    t->facts->final_stacks++;
    t->facts->final_stack_bytes += e->size;
    return true;
}

void track_stack_free(struct tracker *t, uint32_t index)
{
    struct gomem_trace_event *e = &t->events[index];
    e->address = t->min_heap_address + e->address * t->min_stack;
    uint32_t number = take_waiting(t, e->address, TRACK_STACK);
    if (number == 0) {
        const uint32_t *stack = map_get(&t->stacks, e->address);
        number = stack == NULL ? 0 : *stack;
        map_remove(&t->stacks, e->address);
    }
    if (number == 0) {
        t->facts->unmatched_frees++;
        return;
    }
    e->link = number - 1;
    e->size = t->events[number - 1].size;
    t->facts->final_stacks--;
    t->facts->final_stack_bytes -= e->size;
}
