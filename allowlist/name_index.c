#include "allowlist/name_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 64, LIST_FIRST = 16 };

static void slot_take(struct name_index *x, size_t index)
{
    size_t i = name_index_slot(x, x->entry[index].hash);
    while (x->slots[i] != 0)
        i = (i + 1) & (x->slot_count - 1);
    x->slots[i] = (uint32_t)(index + 1);
}

/* Keeps at least half of the slots free, so that a search ends soon. */
static int slots_grow(struct name_index *x)
{
    if ((x->count + 1) * 2 < x->slot_count)
        return 0;
    size_t slot_count = x->slot_count == 0 ? SLOTS_FIRST : x->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    free(x->slots);
    x->slots = slots;
    x->slot_count = slot_count;
    for (size_t i = 0; i < x->count; i++)
        slot_take(x, i);
    return 0;
}

static int list_grow(struct name_index *x)
{
    if (x->count < x->cap)
        return 0;
    size_t cap = x->cap == 0 ? LIST_FIRST : x->cap * 2;
    if (cap > UINT32_MAX / 4)
        return -ENOMEM;
    struct name_entry *entry = realloc(x->entry, cap * sizeof *entry);
    if (entry == NULL)
        return -ENOMEM;
    x->entry = entry;
    x->cap = cap;
    return 0;
}

int name_index_add(struct name_index *x, struct span text, const struct name_entry *e)
{
    size_t at = (size_t)(e->name.ptr - text.ptr);
    assert(at + e->name.len <= text.len);
    assert(name_index_find(x, e->kind, e->name, e->hash) == NULL);
    if (list_grow(x) != 0 || slots_grow(x) != 0)
        return -ENOMEM;
    char *copy = malloc(text.len + 1);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    struct name_entry *to = &x->entry[x->count];
    *to = *e;
    to->text = copy;
    to->name = (struct span){copy + at, e->name.len};
    slot_take(x, x->count);
    x->count++;
    return 0;
}

void name_index_release(struct name_index *x)
{
    for (size_t i = 0; i < x->count; i++)
        free(x->entry[i].text);
    free(x->entry);
    free(x->slots);
    *x = (struct name_index){0};
}
