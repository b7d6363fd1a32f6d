/* select: one of several channel operations, whichever can be done.
 *
 * As the operations of chan.h, with the same answers. Among cases that are ready one is chosen uniformly.
 * A case whose channel is NULL is never ready.
 *
 * Called by runtime/.
 *
 * Concurrency: takes the locks of all channels, in the order of their addresses.
 * Go: selectgo in runtime/select.go.
 */
#ifndef GOMEM_SYNC_SELECT_H
#define GOMEM_SYNC_SELECT_H

#include "base/rng.h"
#include "sync/chan.h"

enum { MAX_CASES = 1 << 16 };

/* room: g_reserve(g, n) was true. *index: the case, of those that are DONE. The cases are not needed after PARK,
 * what their elems point to is. */
enum gomem_outcome select_go(struct g *g, const struct gomem_case *cases, uint32_t n, bool block,
                             struct rng *random, uint32_t *index, bool *ok);

#endif
