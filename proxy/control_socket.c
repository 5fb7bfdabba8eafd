#include "proxy/control_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/base/list.h"

struct client {
    struct control_socket *all;
    uv_pipe_t pipe;
    uv_timer_t patience;
    unsigned handles; /* open; 0: the place is free */
    size_t length;
    char request[CONTROL_SOCKET_REQUEST_MAX];
    bool asked; /* the request is whole: whatever follows is dropped */
    bool stays; /* further lines follow its answer */
    bool ends;  /* it has its whole answer */
};

struct control_socket {
    uv_pipe_t listener;
    struct control_socket_options options;
    struct client client[CONTROL_SOCKET_CLIENTS_MAX];
    bool waiting; /* a connection, for a free place */
    bool closing;
    bool listener_closed;
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    dev_t device; /* of the file, as the next: another may have taken its place */
    ino_t inode;
};

/* A write under way, with its octets behind it. */
struct parcel {
    uv_write_t request;
    char octets[];
};

/* ---- one client ---- */

static void free_if_closed(struct control_socket *c)
{
    for (size_t i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
        if (c->client[i].handles > 0)
            return;
    }
    if (c->listener_closed)
        free(c);
}

static void on_connection(uv_stream_t *listener, int status);

static void on_client_closed(uv_handle_t *handle)
{
    struct client *cl = handle->data;
    struct control_socket *c = cl->all;
    if (--cl->handles > 0)
        return;
    if (c->closing)
        free_if_closed(c);
    else if (c->waiting)
        on_connection((uv_stream_t *)&c->listener, 0);
}

static void client_close(struct client *cl)
{
    if (uv_is_closing((uv_handle_t *)&cl->pipe))
        return;
    uv_close((uv_handle_t *)&cl->pipe, on_client_closed);
    uv_close((uv_handle_t *)&cl->patience, on_client_closed);
}

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    struct client *cl = stream->data;
    free(LIST_ITEM(request, struct parcel, request));
    if (status != 0 || (cl->ends && uv_stream_get_write_queue_size(stream) == 0))
        client_close(cl); /* all is with the kernel */
}

static void client_send(struct client *cl, struct span text)
{
    uv_stream_t *stream = (uv_stream_t *)&cl->pipe;
    struct parcel *p = NULL;
    if (uv_stream_get_write_queue_size(stream) <= CONTROL_SOCKET_UNREAD_MAX)
        p = malloc(sizeof *p + text.len);
    if (p == NULL) {
        client_close(cl);
        return;
    }
    memcpy(p->octets, text.ptr, text.len);
    uv_buf_t buf = uv_buf_init(p->octets, (unsigned)text.len);
    if (uv_write(&p->request, stream, &buf, 1, on_written) != 0) {
        free(p);
        client_close(cl);
    }
}

/* ---- its request ---- */

static const struct control_socket_command *find(const struct control_socket *c, struct span name)
{
    for (size_t i = 0; i < c->options.command_count; i++) {
        if (span_is(name, span_of(c->options.commands[i].name)))
            return &c->options.commands[i];
    }
    return NULL;
}

static void refuse(struct client *cl, const char *why)
{
    cl->ends = true;
    client_send(cl, span_of(why));
}

static void give_away(struct client *cl, const struct control_socket_command *command)
{
    uv_os_fd_t own;
    int rc = uv_fileno((uv_handle_t *)&cl->pipe, &own);
    assert(rc == 0);
    (void)rc;
    int fd = fcntl(own, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        refuse(cl, "error: no descriptor is left; raise LimitNOFILE\n.\n");
        return;
    }
    client_close(cl);
    command->take(cl->all->options.arg, fd);
}

static void serve(struct client *cl, struct span line)
{
    const char *space = memchr(line.ptr, ' ', line.len);
    struct span name = {line.ptr, space != NULL ? (size_t)(space - line.ptr) : line.len};
    struct span operands = {line.ptr + name.len, line.len - name.len};
    const struct control_socket_command *command = find(cl->all, name);
    struct buf answer;
    if (command == NULL) {
        refuse(cl, "error: unknown command\n.\n");
        return;
    }
    if (command->take != NULL) {
        give_away(cl, command);
        return;
    }
    if (operands.len > 0)
        operands = (struct span){operands.ptr + 1, operands.len - 1};
    buf_init(&answer, CONTROL_SOCKET_ANSWER_MAX);
    int rc = buf_add_str(&answer, "ok\n");
    bool stays = rc == 0 && command->run(cl->all->options.arg, operands, &answer);
    if (rc == 0 && !stays)
        rc = buf_add_str(&answer, ".\n");
    cl->stays = stays; /* lines that were told until now are not for it */
    cl->ends = !stays;
    if (rc == 0)
        client_send(cl, buf_span(&answer));
    else
        refuse(cl, "error: out of memory\n.\n");
    buf_release(&answer);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *cl = handle->data;
    (void)suggested;
    if (cl->asked)
        cl->length = 0;
    *buf = uv_buf_init(cl->request + cl->length, (unsigned)(sizeof cl->request - cl->length));
}

static void on_octets(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *cl = stream->data;
    (void)buf;
    if (n < 0) {
        client_close(cl);
        return;
    }
    if (cl->asked)
        return;
    cl->length += (size_t)n;
    const char *end = memchr(cl->request, '\n', cl->length);
    if (end == NULL && cl->length < sizeof cl->request)
        return;
    cl->asked = true;
    (void)uv_timer_stop(&cl->patience);
    if (end == NULL)
        refuse(cl, "error: too long a request\n.\n");
    else
        serve(cl, (struct span){cl->request, (size_t)(end - cl->request)});
}

static void on_patience_over(uv_timer_t *timer)
{
    client_close(timer->data);
}

static struct client *find_place(struct control_socket *c)
{
    for (size_t i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
        if (c->client[i].handles == 0)
            return &c->client[i];
    }
    return NULL;
}

/* Until uv_accept() is called libuv listens no further: the next ones wait in the kernel. */
static void on_connection(uv_stream_t *listener, int status)
{
    struct control_socket *c = listener->data;
    struct client *cl = find_place(c);
    c->waiting = status == 0 && cl == NULL;
    if (status != 0 || cl == NULL)
        return;
    *cl = (struct client){.all = c, .handles = 2};
    (void)uv_pipe_init(listener->loop, &cl->pipe, 0);
    (void)uv_timer_init(listener->loop, &cl->patience);
    cl->pipe.data = cl->patience.data = cl;
    if (uv_accept(listener, (uv_stream_t *)&cl->pipe) != 0 ||
        uv_read_start((uv_stream_t *)&cl->pipe, on_room, on_octets) != 0)
        client_close(cl);
    else
        (void)uv_timer_start(&cl->patience, on_patience_over, CONTROL_SOCKET_PATIENCE_MS, 0);
}

/* ---- the socket ---- */

/* Whether `path` is a socket that nobody listens on: left behind by one that was killed. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    bool refused = rc != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return refused;
}

static int bind_file(int fd, const struct sockaddr_un *address)
{
    mode_t before = umask(0177); /* from its first moment on it is nobody else's */
    int rc = bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : -errno;
    if (rc == -EADDRINUSE && is_stale(address) && unlink(address->sun_path) == 0)
        rc = bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : -errno;
    (void)umask(before);
    return rc;
}

static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = bind_file(fd, &address);
    if (rc != 0)
        (void)close(fd);
    return rc == 0 ? fd : rc;
}

static void note_file(struct control_socket *c)
{
    struct stat st = {0};
    (void)lstat(c->path, &st);
    c->device = st.st_dev;
    c->inode = st.st_ino;
}

static bool has_file(const struct control_socket *c)
{
    struct stat st;
    return lstat(c->path, &st) == 0 && st.st_dev == c->device && st.st_ino == c->inode;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct control_socket *c = handle->data;
    c->listener_closed = true;
    free_if_closed(c);
}

int control_socket_open(struct control_socket **out, uv_loop_t *loop, const char *path,
                        const struct control_socket_options *options)
{
    int fd = open_socket(path);
    if (fd < 0)
        return fd;
    struct control_socket *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)unlink(path);
        (void)close(fd);
        return -ENOMEM;
    }
    memcpy(c->path, path, strlen(path) + 1);
    note_file(c);
    c->options = *options;
    (void)uv_pipe_init(loop, &c->listener, 0);
    c->listener.data = c;
    int rc = uv_pipe_open(&c->listener, fd);
    assert(rc == 0); /* a fresh socket of ours */
    rc = uv_listen((uv_stream_t *)&c->listener, CONTROL_SOCKET_CLIENTS_MAX, on_connection);
    if (rc != 0) {
        control_socket_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

int control_socket_rename(struct control_socket *c, const char *path)
{
    if (strlen(path) >= sizeof c->path)
        return -ENAMETOOLONG;
    if (renameat(AT_FDCWD, c->path, AT_FDCWD, path) != 0)
        return -errno;
    memcpy(c->path, path, strlen(path) + 1);
    return 0;
}

void control_socket_tell(struct control_socket *c, const char *line)
{
    struct buf text;
    buf_init(&text, CONTROL_SOCKET_ANSWER_MAX);
    bool made = buf_add_str(&text, line) == 0 && buf_add_str(&text, "\n") == 0;
    for (size_t i = 0; made && i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
        struct client *cl = &c->client[i];
        if (cl->handles > 0 && cl->stays && !uv_is_closing((uv_handle_t *)&cl->pipe))
            client_send(cl, buf_span(&text));
    }
    buf_release(&text);
}

void control_socket_close(struct control_socket *c)
{
    assert(!c->closing);
    control_socket_tell(c, ".");
    c->closing = true;
    for (size_t i = 0; i < CONTROL_SOCKET_CLIENTS_MAX; i++) {
        if (c->client[i].handles > 0)
            client_close(&c->client[i]);
    }
    if (has_file(c)) /* first: else another start might take it for stale, and lose its own */
        (void)unlink(c->path);
    uv_close((uv_handle_t *)&c->listener, on_listener_closed);
}
