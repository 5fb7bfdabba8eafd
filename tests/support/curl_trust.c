/*
 * Loaded before a program that uses libcurl (LD_PRELOAD): each handle trusts the CA in $TEST_CA and
 * no other, of servers and of proxies.
 *
 * uacme has no option for a CA of its own and libcurl no variable; changing the machine's trust
 * store for a test is no way. Needs no header of libcurl.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

void *curl_easy_init(void);

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

void *curl_easy_init(void)
{
    enum { CAINFO = 10065, PROXY_CAINFO = 10246 }; /* CURLOPT_...; fixed by libcurl's ABI */
    void *(*init)(void);
    int (*setopt)(void *handle, int option, ...);
    void *symbol = next("curl_easy_init");
    memcpy(&init, &symbol, sizeof init); /* ISO C has no cast from data to function pointers */
    symbol = next("curl_easy_setopt");
    memcpy(&setopt, &symbol, sizeof setopt);

    void *handle = init();
    const char *ca = getenv("TEST_CA");
    if (handle != NULL &&
        (setopt(handle, CAINFO, ca) != 0 || setopt(handle, PROXY_CAINFO, ca) != 0))
        abort();
    return handle;
}
