/* Size classes: which small object sizes exist, and how many pages a span of each class has.
 *
 * A table is computed from rules: alignment grows with size, the tail a span cannot use is at most a
 * given share of it, neighbours that fit equally often into equally many pages merge. Go's rules
 * give Go's table of 68 (class 0 stands for large objects); other rules give other tables, and a heap
 * can be built on any of them. Called by heap construction and by the public generator.
 *
 * Concurrency: a table is const once made.
 * Go: _mkmalloc/mksizeclasses.go, internal/runtime/gc/sizeclasses.go, msize.go.
 */
#ifndef GOMEM_HEAP_SIZECLASS_H
#define GOMEM_HEAP_SIZECLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/status.h"

enum {
    MAX_SIZE_CLASSES = GOMEM_MAX_SIZE_CLASSES, /* a span class (class << 1 | noscan) fits in a byte */
    SMALL_SIZE_DIV = 8,     /* sizes up to SMALL_SIZE_MAX are looked up in steps of this */
    SMALL_SIZE_MAX = 1024,
    LARGE_SIZE_DIV = 128, /* larger small sizes, in steps of this */
    MAX_SMALL_SIZE_LIMIT = 256 << 10,
    MIN_PAGE_SHIFT = 12,
    MAX_PAGE_SHIFT = 18,
    MAX_OBJECTS_PER_SPAN = 65535,
    MAX_SPAN_BYTES = 4 << 20, /* a span never needs more than a chunk of the page allocator */
    TINY_SIZE = 16,           /* pointer-free objects below this share blocks of this size */
    MALLOC_HEADER_SIZE = 8,
    MIN_SIZE_FOR_MALLOC_HEADER = 512, /* pointerful objects above it carry a header, others a bitmap */
};

struct size_class {
    uint32_t size;      /* bytes of an object */
    uint32_t npages;    /* pages of a span */
    uint32_t nobjects;  /* objects in a span that spends nothing on bitmaps */
    uint32_t div_magic; /* (n * div_magic) >> 32 == n / size for every multiple n of size in a span,
                         * and n / size or one more for other offsets (Go's table: never more) */
};

/* Invariants (size_class_table_verify): sizes strictly increase; size_to_class is the smallest class
 * that fits for every size up to max_small_size. */
struct size_class_table {
    uint32_t page_shift;
    uint32_t max_small_size;
    uint32_t nclasses;   /* class 0 (large) included: 68 for Go */
    uint32_t tiny_class; /* class of TINY_SIZE, 0 if there is none */
    uint32_t max_bitmap_size; /* largest class whose spans keep the pointer bitmap themselves */
    struct size_class classes[MAX_SIZE_CLASSES];
    uint8_t size_to_class8[SMALL_SIZE_MAX / SMALL_SIZE_DIV + 1];
    uint8_t size_to_class128[(MAX_SMALL_SIZE_LIMIT - SMALL_SIZE_MAX) / LARGE_SIZE_DIV + 1];
};

struct gomem_size_class_rules size_class_rules_go(void);
/* The rules of gperftools' TCMalloc with 8 KiB pages: 88 classes up to 256 KiB. */
struct gomem_size_class_rules size_class_rules_tcmalloc(void);

/* Computes a table from rules. GOMEM_INVALID_VALUE (with a sentence) if they give none. */
MUST_USE enum gomem_status size_class_table_make(struct size_class_table *t,
                                                 const struct gomem_size_class_rules *rules,
                                                 struct gomem_error *err);
/* A table from given sizes and pages per span, class 1 first. */
MUST_USE enum gomem_status size_class_table_from(struct size_class_table *t, uint32_t page_size,
                                                 const uint32_t *sizes, const uint32_t *npages,
                                                 size_t n, struct gomem_error *err);
bool size_class_table_verify(const struct size_class_table *t);

/* What Go's table comment shows of a class. */
struct gomem_size_class size_class_info(const struct size_class_table *t, unsigned size_class);

/* pre: size <= max_small_size. Class of a small size; class 1 for size 0. */
static inline unsigned size_to_class(const struct size_class_table *t, size_t size)
{
    if (size <= SMALL_SIZE_MAX - 8)
        return t->size_to_class8[(size + SMALL_SIZE_DIV - 1) / SMALL_SIZE_DIV];
    return t->size_to_class128[(size - SMALL_SIZE_MAX + LARGE_SIZE_DIV - 1) / LARGE_SIZE_DIV];
}

/* Bytes mallocgc would reserve for a request (Go: roundupsize): a class's size without header, or
 * whole pages; 0 if that overflows. */
size_t round_up_size(const struct size_class_table *t, size_t size, bool noscan);

#endif
