#include "proxy/hardening.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(char *why, size_t size, const char *what)
{
    (void)snprintf(why, size, "%s: %s", what, strerror(errno));
    return -1;
}

const struct passwd *hardening_account(const char *user, char *why, size_t size)
{
    const struct passwd *account = NULL;
    errno = 0;
    if (user[0] != '\0') {
        account = getpwnam(user);
        if (account == NULL)
            (void)snprintf(why, size,
                           "there is no user \"%s\"; make it with adduser --system, or "
                           "leave the key empty",
                           user);
        return account;
    }
    account = getpwnam("certferry");
    if (account == NULL)
        account = getpwnam("nobody");
    if (account == NULL)
        (void)snprintf(why, size, "there is neither a user certferry nor nobody; name another");
    return account;
}

static int become(const struct passwd *account, char *why, size_t size)
{
    gid_t group = account->pw_gid;
    if (account->pw_uid == 0)
        return 0; /* root was asked for */
    if (setgroups(1, &group) != 0 || setresgid(group, group, group) != 0 ||
        setresuid(account->pw_uid, account->pw_uid, account->pw_uid) != 0)
        return fail(why, size, "cannot become the service user");
    /* Worth a look: a process that thinks it is nobody and is root is the worst of all. */
    if (setuid(0) == 0 || getuid() == 0 || geteuid() == 0 || getegid() != group) {
        (void)snprintf(why, size, "the system did not take root away");
        return -1;
    }
    return 0;
}

/* The bounding set: while we may; without the right there is nothing to take from it. */
static void empty_bounding_set(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* not in old kernels */
    return (int)syscall(SYS_capset, &header, none);
}

int hardening_drop(const char *user, char *why, size_t size)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(why, size, "cannot give up new privileges");
    if (geteuid() == 0) {
        const struct passwd *account = hardening_account(user, why, size);
        if (account == NULL)
            return -1;
        if (account->pw_uid == 0)
            return 0; /* root keeps what it has: it was asked for by name */
        empty_bounding_set();
        if (become(account, why, size) != 0)
            return -1;
    }
    if (drop_capabilities() != 0)
        return fail(why, size, "cannot drop capabilities");
    return 0;
}
