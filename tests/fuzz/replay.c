/*
 * replay.c - runs a fuzz harness over kept inputs, where libFuzzer is not linked: each argument is
 * a file or a folder.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return -1;
    }
    static uint8_t octets[1 << 20];
    size_t n = fread(octets, 1, sizeof octets, f);
    (void)fclose(f);
    /* A copy of exactly that size, so that a sanitizer sees one octet too far. */
    uint8_t *exact = malloc(n > 0 ? n : 1);
    if (exact == NULL)
        return -1;
    memcpy(exact, octets, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 0;
}

static long replay_folder(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL) {
        perror(path);
        return -1;
    }
    long count = 0;
    struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        char file[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (replay_file(file) == 0)
            count++;
    }
    (void)closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    long count = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) != 0) {
            perror(argv[i]);
            return 1;
        }
        if (S_ISDIR(st.st_mode)) {
            long n = replay_folder(argv[i]);
            if (n < 0)
                return 1;
            count += n;
        } else if (replay_file(argv[i]) == 0) {
            count++;
        }
    }
    printf("%ld inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
