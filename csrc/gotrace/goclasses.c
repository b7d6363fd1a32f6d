/* Go's size classes, as the traces of all versions with allocation events mean them.
 *
 * A trace names the class of a span by its number only. Used by the reader, and by whoever wants a
 * heap that puts a replayed object into a slot of the size it had. (The table Go's rules give is
 * the same; here it is a fact about a file format.)
 *
 * Concurrency: const.
 * Go: internal/runtime/gc/sizeclasses.go, from Go 1.23 to 1.26.
 */
#include "gotrace/reader.h"
#include "gotrace/tables.h"

/* clang-format off */
static const uint32_t sizes[] = {
    8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320,
    352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792,
    2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472,
    9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264,
    28672, 32768,
};

static const uint32_t npages[] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 2, 1, 2, 1, 2, 1, 3, 2, 3, 1, 3, 2, 3, 4, 5, 6, 1, 7, 6, 5, 4, 3, 5, 7, 2, 9, 7, 5,
    8, 3, 10, 7, 4,
};
/* clang-format on */

enum gomem_status gotrace_size_classes(struct size_class_table *t, struct gomem_error *err)
{
    return size_class_table_from(t, TRACE_PAGE_SIZE, sizes, npages, ARRAY_LEN(sizes), err);
}
