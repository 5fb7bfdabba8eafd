#include "proxy/net/poller.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { POLLER_BATCH = 128, OWNERS_STEP = 1024, TICK_MS = 5 };

struct poller {
    uv_poll_t watch; /* of the epoll descriptor */
    uv_idle_t idle;  /* active while a slot is resumed, so that the loop does not sleep */
    int epoll_fd;
    uv_timer_t tick;  /* active while a slot awaits */
    unsigned handles; /* open ones; the last close frees */
    struct list resumed;
    struct list awaiting, overdue; /* since this tick; since the one before */
    struct poll_slot **owner;      /* by descriptor; NULL: not watched */
    size_t owner_count;
    struct epoll_event batch[POLLER_BATCH];
    int batch_count; /* events of the present batch; 0 outside dispatch */
    int batch_at;
};

static unsigned events_of(uint32_t epoll_events)
{
    unsigned events = 0;
    if (epoll_events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        events |= POLL_READABLE;
    if (epoll_events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        events |= POLL_WRITABLE;
    if (epoll_events & EPOLLRDHUP)
        events |= POLL_FIN;
    if (epoll_events & (EPOLLHUP | EPOLLERR))
        events |= POLL_BROKEN;
    return events;
}

static void on_epoll_readable(uv_poll_t *handle, int status, int uv_events)
{
    struct poller *p = handle->data;
    (void)status;
    (void)uv_events;
    int n = epoll_wait(p->epoll_fd, p->batch, POLLER_BATCH, 0);
    p->batch_count = n > 0 ? n : 0;
    for (p->batch_at = 0; p->batch_at < p->batch_count; p->batch_at++) {
        int fd = p->batch[p->batch_at].data.fd;
        struct poll_slot *slot = fd >= 0 ? p->owner[fd] : NULL;
        if (slot != NULL)
            slot->on_ready(slot, events_of(p->batch[p->batch_at].events));
    }
    p->batch_count = 0;
}

static void on_idle(uv_idle_t *handle)
{
    struct poller *p = handle->data;
    /* Only those resumed so far: a slot that resumes itself again waits for the next round. */
    struct list last;
    list_append(&p->resumed, &last);
    while (p->resumed.next != &last) {
        struct poll_slot *slot = LIST_ITEM(p->resumed.next, struct poll_slot, called);
        list_remove(&slot->called);
        slot->on_ready(slot, POLL_READABLE | POLL_WRITABLE);
    }
    list_remove(&last);
    if (list_empty(&p->resumed))
        (void)uv_idle_stop(&p->idle);
}

static void on_tick(uv_timer_t *handle)
{
    struct poller *p = handle->data;
    while (!list_empty(&p->overdue)) {
        struct poll_slot *slot = LIST_ITEM(p->overdue.next, struct poll_slot, called);
        list_remove(&slot->called);
        slot->on_ready(slot, POLL_READABLE | POLL_LATE);
    }
    while (!list_empty(&p->awaiting)) {
        struct list *node = p->awaiting.next;
        list_remove(node);
        list_append(&p->overdue, node);
    }
    if (list_empty(&p->overdue))
        (void)uv_timer_stop(&p->tick);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct poller *p = handle->data;
    if (--p->handles > 0)
        return;
    (void)close(p->epoll_fd);
    free(p->owner);
    free(p);
}

int poller_create(struct poller **out, uv_loop_t *loop)
{
    struct poller *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    list_init(&p->resumed);
    list_init(&p->awaiting);
    list_init(&p->overdue);
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = p->epoll_fd < 0 ? -errno : uv_poll_init(loop, &p->watch, p->epoll_fd);
    if (rc != 0) {
        if (p->epoll_fd >= 0)
            (void)close(p->epoll_fd);
        free(p);
        return rc;
    }
    (void)uv_idle_init(loop, &p->idle);
    (void)uv_timer_init(loop, &p->tick);
    p->handles = 3;
    p->watch.data = p->idle.data = p->tick.data = p;
    rc = uv_poll_start(&p->watch, UV_READABLE, on_epoll_readable);
    if (rc != 0) {
        poller_destroy(p);
        return rc;
    }
    *out = p;
    return 0;
}

void poller_destroy(struct poller *p)
{
    assert(list_empty(&p->resumed) && list_empty(&p->awaiting) && list_empty(&p->overdue));
    uv_close((uv_handle_t *)&p->tick, on_handle_closed);
    uv_close((uv_handle_t *)&p->watch, on_handle_closed);
    uv_close((uv_handle_t *)&p->idle, on_handle_closed);
}

void poll_slot_init(struct poll_slot *slot, poll_cb on_ready)
{
    slot->on_ready = on_ready;
    list_init(&slot->called);
}

/* Room for an owner of `fd`. 0 or -ENOMEM. */
static int make_room(struct poller *p, int fd)
{
    if ((size_t)fd < p->owner_count)
        return 0;
    size_t count = ((size_t)fd / OWNERS_STEP + 1) * OWNERS_STEP;
    struct poll_slot **owner = realloc(p->owner, count * sizeof(struct poll_slot *));
    if (owner == NULL)
        return -ENOMEM;
    for (size_t i = p->owner_count; i < count; i++)
        owner[i] = NULL;
    p->owner = owner;
    p->owner_count = count;
    return 0;
}

int poller_add(struct poller *p, struct poll_slot *slot, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    int rc = make_room(p, fd);
    if (rc != 0)
        return rc;
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return -errno;
    assert(p->owner[fd] == NULL);
    p->owner[fd] = slot;
    return 0;
}

void poller_move(struct poller *p, struct poll_slot *from, struct poll_slot *to, int fd)
{
    assert(p->owner[fd] == from);
    poller_unresume(from);
    p->owner[fd] = to;
}

void poller_remove(struct poller *p, struct poll_slot *slot, int fd)
{
    assert(p->owner[fd] == slot);
    poller_unresume(slot);
    p->owner[fd] = NULL;
    /* The number may be another connection's before this batch is delivered. */
    for (int i = p->batch_at; i < p->batch_count; i++) {
        if (p->batch[i].data.fd == fd)
            p->batch[i].data.fd = -1;
    }
}

void poller_unwatch(struct poller *p, struct poll_slot *slot, int fd)
{
    poller_remove(p, slot, fd);
    (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void poller_resume(struct poller *p, struct poll_slot *slot)
{
    list_remove(&slot->called);
    list_append(&p->resumed, &slot->called);
    (void)uv_idle_start(&p->idle, on_idle);
}

void poller_await(struct poller *p, struct poll_slot *slot)
{
    if (!list_empty(&slot->called))
        return;
    list_append(&p->awaiting, &slot->called);
    if (!uv_is_active((uv_handle_t *)&p->tick))
        (void)uv_timer_start(&p->tick, on_tick, TICK_MS, TICK_MS);
}

void poller_unresume(struct poll_slot *slot)
{
    list_remove(&slot->called);
}
