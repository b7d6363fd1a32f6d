/* Interfaces.
 *
 * Called through interface.h.
 *
 * Concurrency: see interface.h.
 * Go: runtime/iface.go.
 */
#include "object/interface.h"

#include "object/strings.h"

static const uint64_t zeros[3]; /* an empty string or slice */

/* A value that is kept outside of the heap, NULL if there is none like it. */
static const void *static_value(const struct type *t, const void *value)
{
    uint64_t n = 0;
    if (t->kind == GOMEM_STRING)
        return ((const struct gomem_string *)value)->len == 0 ? zeros : NULL;
    if (t->kind == GOMEM_SLICE)
        return ((const struct gomem_slice *)value)->array == NULL ? zeros : NULL;
    if (type_has_pointers(t) || t->size > sizeof n || t->align != t->size)
        return NULL;
    memcpy(&n, value, t->size);
    return n < ARRAY_LEN(small_integers) ? &small_integers[n] : NULL;
}

enum gomem_status interface_of(struct p *p, const struct type *t, const void *value,
                               struct gomem_interface *out, struct gomem_error *err)
{
    out->type = (uintptr_t)t;
    if (type_is_direct(t)) {
        out->value = pointer_load(value);
        return GOMEM_OK;
    }
    out->value = t->size == 0 ? (void *)p->mcache->heap->zerobase : (void *)static_value(t, value);
    if (out->value != NULL)
        return GOMEM_OK;
    out->value = object_alloc(p, t, 1);
    if (out->value == NULL)
        return no_memory(err, t->size);
    typed_init(p, t, out->value, value, 1);
    return GOMEM_OK;
}
