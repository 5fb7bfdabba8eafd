#include "tests/support/faults.h"

#include <dirent.h>
#include <errno.h>
#include <idn2.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/base/buf.h"

/* What the linker calls the functions behind ours. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t max);
int __real_vasprintf(char **out, const char *format, va_list args);
int __real_scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **));
int __real_socket(int family, int type, int protocol);
int __real_epoll_create1(int flags);
int __real_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main_)(void *), void *arg);
ssize_t __real_send(int fd, const void *from, size_t size, int flags);
ssize_t __real_recv(int fd, void *to, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_read(int fd, void *to, size_t size);
ssize_t __real_write(int fd, const void *from, size_t size);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
/* Weak: only some tests link libidn2, which has no allocator to choose. */
int __real_idn2_lookup_u8(const uint8_t *text, uint8_t **out, int flags) __attribute__((weak));
int __real_idn2_to_unicode_8z8z(const char *text, char **out, int flags) __attribute__((weak));

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);
int __wrap_vasprintf(char **out, const char *format, va_list args);
int __wrap_asprintf(char **out, const char *format, ...);
int __wrap___vasprintf_chk(char **out, int flag, const char *format, va_list args);
int __wrap___asprintf_chk(char **out, int flag, const char *format, ...);
int __wrap_scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **));
int __wrap_socket(int family, int type, int protocol);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main_)(void *), void *arg);
ssize_t __wrap_send(int fd, const void *from, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *to, size_t size, int flags);
ssize_t __wrap___recv_chk(int fd, void *to, size_t size, size_t room, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_read(int fd, void *to, size_t size);
ssize_t __wrap___read_chk(int fd, void *to, size_t size, size_t room);
ssize_t __wrap_write(int fd, const void *from, size_t size);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_idn2_lookup_u8(const uint8_t *text, uint8_t **out, int flags);
int __wrap_idn2_to_unicode_8z8z(const char *text, char **out, int flags);

enum { BLOCKS_MAX = 1 << 17, FD_MAX = 1024, REQUESTS_MAX = 100000 };

/* One lock for all that follows: the line writer asks for memory on its own thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- live blocks: open addressing, so that looking after memory needs none ---- */

static void *blocks[BLOCKS_MAX];
static size_t block_count;

static size_t block_home(const void *block)
{
    return (size_t)(((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15U >> 40) % BLOCKS_MAX;
}

static size_t block_find(const void *block)
{
    size_t at = block_home(block);
    while (blocks[at] != NULL && blocks[at] != block)
        at = (at + 1) % BLOCKS_MAX;
    return at;
}

static void *block_note(void *block)
{
    if (block == NULL)
        return NULL;
    (void)pthread_mutex_lock(&lock);
    if (block_count == BLOCKS_MAX / 2)
        abort();
    size_t at = block_find(block);
    block_count += blocks[at] == NULL;
    blocks[at] = block;
    (void)pthread_mutex_unlock(&lock);
    return block;
}

/* Whoever stands behind the gap and could not have its own place because of it moves up. */
static void gap_close(size_t gap)
{
    for (size_t at = (gap + 1) % BLOCKS_MAX; blocks[at] != NULL; at = (at + 1) % BLOCKS_MAX) {
        size_t home = block_home(blocks[at]);
        bool before = gap <= at ? home <= gap || home > at : home <= gap && home > at;
        if (!before)
            continue;
        blocks[gap] = blocks[at];
        blocks[at] = NULL;
        gap = at;
    }
}

/* Blocks that a library allocated in its own way are not known here. */
static void block_forget(const void *block)
{
    if (block == NULL)
        return;
    (void)pthread_mutex_lock(&lock);
    size_t at = block_find(block);
    if (blocks[at] != NULL) {
        blocks[at] = NULL;
        block_count--;
        gap_close(at);
    }
    (void)pthread_mutex_unlock(&lock);
}

size_t faults_live_blocks(void)
{
    (void)pthread_mutex_lock(&lock);
    size_t count = block_count;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

/* ---- requests ---- */

static struct {
    bool armed;
    bool lasting; /* the refused one and all behind it */
    unsigned paused;
    size_t number;  /* the one to refuse, from 1 */
    size_t counted; /* so far */
    bool struck;
} want;

static bool refused(void)
{
    (void)pthread_mutex_lock(&lock);
    bool counts = want.armed && want.paused == 0;
    if (counts)
        want.counted++;
    bool no = counts && (want.lasting ? want.counted >= want.number : want.counted == want.number);
    want.struck = want.struck || no;
    (void)pthread_mutex_unlock(&lock);
    return no;
}

/* The answer to a request that is refused. */
static int refuse(int error)
{
    errno = error;
    return -1;
}

void faults_pause(void)
{
    (void)pthread_mutex_lock(&lock);
    want.paused++;
    (void)pthread_mutex_unlock(&lock);
}

void faults_resume(void)
{
    (void)pthread_mutex_lock(&lock);
    want.paused--;
    (void)pthread_mutex_unlock(&lock);
}

bool faults_struck(void)
{
    (void)pthread_mutex_lock(&lock);
    bool struck = want.struck;
    (void)pthread_mutex_unlock(&lock);
    return struck;
}

void *faults_malloc(size_t size)
{
    if (refused()) {
        errno = ENOMEM;
        return NULL;
    }
    return block_note(__real_malloc(size));
}

void *faults_calloc(size_t count, size_t size)
{
    if (refused()) {
        errno = ENOMEM;
        return NULL;
    }
    return block_note(__real_calloc(count, size));
}

/* The old block is forgotten first: another thread may get its address as soon as it is free. */
void *faults_realloc(void *block, size_t size)
{
    if (refused()) {
        errno = ENOMEM;
        return NULL;
    }
    block_forget(block);
    void *moved = __real_realloc(block, size);
    if (moved == NULL && size > 0)
        (void)block_note(block);
    return block_note(moved);
}

void faults_free(void *block)
{
    block_forget(block);
    __real_free(block);
}

void *__wrap_malloc(size_t size)
{
    return faults_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return faults_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return faults_realloc(block, size);
}

void __wrap_free(void *block)
{
    faults_free(block);
}

char *__wrap_strdup(const char *text)
{
    return refused() ? (errno = ENOMEM, NULL) : block_note(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t max)
{
    return refused() ? (errno = ENOMEM, NULL) : block_note(__real_strndup(text, max));
}

/* What `*out` holds after a failure is not said: garbage finds those who look. */
int __wrap_vasprintf(char **out, const char *format, va_list args)
{
    int saved = errno; /* for %m */
    if (refused()) {
        *out = (char *)(uintptr_t)16;
        return refuse(ENOMEM);
    }
    errno = saved;
    int n = __real_vasprintf(out, format, args);
    if (n >= 0)
        (void)block_note(*out);
    return n;
}

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = __wrap_vasprintf(out, format, args);
    va_end(args);
    return n;
}

int __wrap___vasprintf_chk(char **out, int flag, const char *format, va_list args)
{
    (void)flag;
    return __wrap_vasprintf(out, format, args);
}

int __wrap___asprintf_chk(char **out, int flag, const char *format, ...)
{
    va_list args;
    (void)flag;
    va_start(args, format);
    int n = __wrap_vasprintf(out, format, args);
    va_end(args);
    return n;
}

int __wrap_scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **))
{
    return refused() ? refuse(ENOMEM) : __real_scandir(dir, list, filter, compare);
}

int __wrap_socket(int family, int type, int protocol)
{
    return refused() ? refuse(ENOMEM) : __real_socket(family, type, protocol);
}

int __wrap_epoll_create1(int flags)
{
    return refused() ? refuse(ENOMEM) : __real_epoll_create1(flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main_)(void *), void *arg)
{
    return refused() ? EAGAIN : __real_pthread_create(thread, attributes, main_, arg);
}

int __wrap_idn2_lookup_u8(const uint8_t *text, uint8_t **out, int flags)
{
    return refused() ? IDN2_MALLOC : __real_idn2_lookup_u8(text, out, flags);
}

int __wrap_idn2_to_unicode_8z8z(const char *text, char **out, int flags)
{
    return refused() ? IDN2_MALLOC : __real_idn2_to_unicode_8z8z(text, out, flags);
}

/* ---- short reads and writes ---- */

static struct {
    bool set;
    struct faults_io plan;
    size_t calls, struck;
} io;

/* Who watches a descriptor, and for what. */
static struct {
    int epoll_fd; /* 0: nobody */
    struct epoll_event event;
} watch[FD_MAX];

void faults_io_set(const struct faults_io *plan)
{
    (void)pthread_mutex_lock(&lock);
    io.set = plan != NULL;
    io.calls = io.struck = 0;
    if (plan != NULL)
        io.plan = *plan;
    (void)pthread_mutex_unlock(&lock);
}

size_t faults_io_struck(void)
{
    (void)pthread_mutex_lock(&lock);
    size_t struck = io.struck;
    (void)pthread_mutex_unlock(&lock);
    return struck;
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    if (operation == EPOLL_CTL_ADD && refused())
        return refuse(ENOMEM);
    int rc = __real_epoll_ctl(epoll_fd, operation, fd, event);
    if (rc == 0 && fd < FD_MAX) {
        (void)pthread_mutex_lock(&lock);
        watch[fd].epoll_fd = operation == EPOLL_CTL_DEL ? 0 : epoll_fd;
        if (operation != EPOLL_CTL_DEL)
            watch[fd].event = *event;
        (void)pthread_mutex_unlock(&lock);
    }
    return rc;
}

/* A modification looks at the state anew, and what is possible makes an edge. */
static void edge_again(int fd)
{
    if (fd < FD_MAX && watch[fd].epoll_fd > 0)
        (void)__real_epoll_ctl(watch[fd].epoll_fd, EPOLL_CTL_MOD, fd, &watch[fd].event);
}

/* How this call behaves. */
static enum faults_step step_next(void)
{
    if (!io.set)
        return FAULTS_WHOLE;
    if (io.calls++ >= io.plan.steps)
        return io.plan.most > 0 ? FAULTS_STEP_COUNT : FAULTS_WHOLE;
    enum faults_step step = (enum faults_step)(io.plan.pattern % FAULTS_STEP_COUNT);
    io.plan.pattern /= FAULTS_STEP_COUNT;
    return step;
}

/* The octets that this call may move of `size`, or -1 with errno. */
static ssize_t portion(int fd, size_t size)
{
    (void)pthread_mutex_lock(&lock);
    enum faults_step step = step_next();
    size_t most = step == FAULTS_WHOLE ? size : step == FAULTS_ONE ? 1 : io.plan.most;
    bool fails = step == FAULTS_AGAIN || step == FAULTS_INTERRUPTED;
    bool lies = fails || most < size;
    io.struck += lies;
    if (lies && step != FAULTS_INTERRUPTED)
        edge_again(fd);
    (void)pthread_mutex_unlock(&lock);
    if (fails)
        return refuse(step == FAULTS_AGAIN ? EAGAIN : EINTR);
    return (ssize_t)(most < size ? most : size);
}

ssize_t __wrap_send(int fd, const void *from, size_t size, int flags)
{
    ssize_t n = portion(fd, size);
    return n < 0 ? n : __real_send(fd, from, (size_t)n, flags);
}

/* A look without taking has no short form, and "nothing there" would be a lie the kernel never
 * tells. */
ssize_t __wrap_recv(int fd, void *to, size_t size, int flags)
{
    ssize_t n = (flags & MSG_PEEK) != 0 ? (ssize_t)size : portion(fd, size);
    return n < 0 ? n : __real_recv(fd, to, (size_t)n, flags);
}

ssize_t __wrap___recv_chk(int fd, void *to, size_t size, size_t room, int flags)
{
    (void)room;
    return __wrap_recv(fd, to, size, flags);
}

/* Of several pieces at most the first one. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t size = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        size += message->msg_iov[i].iov_len;
    ssize_t n = portion(fd, size);
    if (n < 0 || (size_t)n == size)
        return n < 0 ? n : __real_sendmsg(fd, message, flags);
    struct iovec first = message->msg_iov[0];
    struct msghdr cut = *message;
    first.iov_len = first.iov_len < (size_t)n ? first.iov_len : (size_t)n;
    cut.msg_iov = &first;
    cut.msg_iovlen = 1;
    return __real_sendmsg(fd, &cut, flags);
}

ssize_t __wrap_read(int fd, void *to, size_t size)
{
    ssize_t n = portion(fd, size);
    return n < 0 ? n : __real_read(fd, to, (size_t)n);
}

ssize_t __wrap___read_chk(int fd, void *to, size_t size, size_t room)
{
    (void)room;
    return __wrap_read(fd, to, size);
}

ssize_t __wrap_write(int fd, const void *from, size_t size)
{
    ssize_t n = portion(fd, size);
    return n < 0 ? n : __real_write(fd, from, (size_t)n);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    if (refused())
        return refuse(ENFILE);
    return portion(fd, 1) < 0 ? -1 : __real_accept4(fd, address, size, flags);
}

/* ---- the loop over all requests ---- */

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    assert_non_null(fds);
    while (readdir(fds) != NULL)
        count++;
    (void)closedir(fds);
    return count;
}

static void arm(size_t number, bool lasting)
{
    (void)pthread_mutex_lock(&lock);
    memset(&want, 0, sizeof want);
    want.armed = number > 0;
    want.number = number;
    want.lasting = lasting;
    (void)pthread_mutex_unlock(&lock);
}

/* Says in which run an assertion failed, which cmocka cannot know. */
static int after_test(void **state)
{
    const struct faults_scenario *s = *state;
    if (want.armed)
        print_error("%s: in the run in which request %zu%s was refused (%s)\n", s->name,
                    want.number, want.lasting ? " and all behind it" : "",
                    want.struck ? "it was" : "it had not come yet");
    arm(0, false);
    faults_io_set(NULL);
    return 0;
}

/* True while there was a request to refuse. */
static bool run_once(const struct faults_scenario *s, size_t number, bool lasting)
{
    size_t blocks_before = faults_live_blocks(), fds_before = open_descriptors();
    size_t budget_before = buf_budget_used();
    arm(number, lasting);
    bool done = s->run();
    bool struck = want.struck;
    want.paused = 1;
    if (!struck)
        assert_true(done);
    else if (!s->copes)
        assert_false(done);
    assert_int_equal(faults_live_blocks(), blocks_before);
    assert_int_equal(open_descriptors(), fds_before);
    assert_int_equal(buf_budget_used(), budget_before);
    arm(0, false);
    return struck;
}

static void test_scenario(void **state)
{
    const struct faults_scenario *s = *state;
    /* What libraries keep for ever they get in a first run. */
    assert_true(s->run());
    for (int lasting = 0; lasting < 2; lasting++) {
        size_t number = 1;
        while (run_once(s, number, lasting != 0))
            assert_true(++number < REQUESTS_MAX);
        assert_true(number > 1); /* or the linker was not told */
        if (lasting == 0)
            print_message("%s: %zu requests\n", s->name, number - 1);
    }
}

int faults_main(const char *name, const struct faults_scenario *scenario, size_t count)
{
    struct CMUnitTest *test = calloc(count, sizeof *test);
    if (test == NULL)
        return 1;
    for (size_t i = 0; i < count; i++)
        test[i] = (struct CMUnitTest){.name = scenario[i].name,
                                      .test_func = test_scenario,
                                      .teardown_func = after_test,
                                      .initial_state = (void *)(uintptr_t)&scenario[i]};
    int failed = _cmocka_run_group_tests(name, test, count, NULL, NULL);
    free(test);
    return failed;
}
