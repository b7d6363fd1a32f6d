/* Intrusive doubly-linked list: the links live in the element, so no operation can fail.
 *
 * Invariant (list_verify): walking next from the head meets every element once, each element's
 * prev->next and next->prev are the element itself, and the walk ends back at the head.
 *
 * Concurrency: none of its own; a list is guarded by whatever guards the structure it sits in.
 * Go: mSpanList.
 */
#ifndef GOMEM_BASE_LIST_H
#define GOMEM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next, *prev;
};

#define LIST_ENTRY(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

static inline void list_init(struct list_node *head)
{
    head->next = head->prev = head;
}

static inline bool list_is_empty(const struct list_node *head)
{
    return head->next == head;
}

static inline void list_insert(struct list_node *head, struct list_node *node)
{
    node->next = head->next;
    node->prev = head;
    head->next->prev = node;
    head->next = node;
}

static inline void list_remove(struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

static inline bool list_verify(const struct list_node *head)
{
    const struct list_node *n = head;
    do {
        if (n->next == NULL || n->next->prev != n)
            return false;
        n = n->next;
    } while (n != head);
    return true;
}

#endif
