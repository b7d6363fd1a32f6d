/* The heap's table from address to Ref: one handle an object, so that a free is seen by all.
 *
 * Called by py_ref.c, py_heap.c and py_roots.c.
 *
 * Concurrency: under the GIL or the heap's critical section. References are borrowed: a Ref takes
 * itself out when it dies.
 * Go: no counterpart; a root set for the collector.
 */
#include "python/py_core.h"

enum { REFS_INITIAL = 64 };

static size_t bucket_of(uint64_t address, size_t capacity)
{
    return (size_t)((address * 0x9e3779b97f4a7c15u) >> 32) & (capacity - 1);
}

struct py_ref *refs_find(struct py_heap *h, uint64_t address)
{
    if (h->nrefs == 0)
        return NULL;
    struct py_ref *r = h->refs[bucket_of(address, h->refs_capacity)];
    while (r != NULL && r->address != address)
        r = r->next;
    return r;
}

static int grow(struct py_heap *h)
{
    size_t capacity = h->refs_capacity == 0 ? REFS_INITIAL : 2 * h->refs_capacity;
    struct py_ref **refs = PyMem_Calloc(capacity, sizeof *refs);
    if (refs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < h->refs_capacity; i++)
        for (struct py_ref *r = h->refs[i], *next; r != NULL; r = next) {
            next = r->next;
            struct py_ref **bucket = &refs[bucket_of(r->address, capacity)];
            r->next = *bucket;
            *bucket = r;
        }
    PyMem_Free(h->refs);
    h->refs = refs;
    h->refs_capacity = capacity;
    return 0;
}

int refs_insert(struct py_heap *h, struct py_ref *ref)
{
    if (h->nrefs == h->refs_capacity && grow(h) < 0)
        return -1;
    struct py_ref **bucket = &h->refs[bucket_of(ref->address, h->refs_capacity)];
    ref->next = *bucket;
    *bucket = ref;
    h->nrefs++;
    return 0;
}

void refs_remove(struct py_heap *h, struct py_ref *ref)
{
    struct py_ref **link = &h->refs[bucket_of(ref->address, h->refs_capacity)];
    while (*link != ref)
        link = &(*link)->next;
    *link = ref->next;
    h->nrefs--;
}

/* --- Roots --- */

enum { CHUNK_ROOTS = 500 };

struct root_chunk {
    struct root_chunk *next;
    struct gomem_root_table table;
    uint64_t slots[CHUNK_ROOTS];
};

static bool add_chunk(struct py_heap *h)
{
    struct root_chunk *chunk = PyMem_RawCalloc(1, sizeof *chunk);
    if (chunk == NULL)
        return false;
    chunk->table.slots = chunk->slots;
    chunk->table.n = CHUNK_ROOTS;
    add_roots(h, &chunk->table);
    chunk->next = h->root_chunks;
    h->root_chunks = chunk;
    for (size_t i = 0; i < CHUNK_ROOTS; i++)
        root_give(h, &chunk->slots[i]);
    return true;
}

uint64_t *root_take(struct py_heap *h)
{
    uint64_t *root = NULL;
    HEAP_LOCK(h)
    while (h->free_roots == NULL && add_chunk(h))
        ; /* others may take all of it while this waits for the GIL */
    if (h->free_roots != NULL) {
        root = h->free_roots;
        h->free_roots = (uint64_t *)(uintptr_t)*root;
        gomem_init_root(root, NULL);
    }
    HEAP_UNLOCK(h)
    if (root == NULL)
        PyErr_NoMemory();
    return root;
}

void root_give(struct py_heap *h, uint64_t *root)
{
    if (root == NULL)
        return;
    gomem_init_root(root, h->free_roots); /* the collector finds no object there */
    h->free_roots = root;
}

void roots_end(struct py_heap *h)
{
    struct root_chunk *chunk = h->root_chunks, *next;
    for (; chunk != NULL; chunk = next) {
        next = chunk->next;
        PyMem_RawFree(chunk);
    }
    h->root_chunks = NULL;
}
