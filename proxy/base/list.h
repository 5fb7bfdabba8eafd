/*
 * list.h - intrusive doubly linked list: nodes live inside the objects they chain.
 *
 * A node on no list points to itself, so taking it off twice is harmless. One thread at a time.
 */
#ifndef CERTFERRY_BASE_LIST_H
#define CERTFERRY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ITEM(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* `at` may not be taken off inside LIST_EACH; it may inside LIST_EACH_SAFE, but not `after`. */
#define LIST_EACH(at, head) for (struct list *at = (head)->next; at != (head); at = at->next)
#define LIST_EACH_SAFE(at, after, head)                                                            \
    for (struct list *at = (head)->next, *after = at->next; at != (head);                          \
         at = after, after = at->next)

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#endif
