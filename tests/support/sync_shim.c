/* fdatasync that a test can make fail, wait or slow, and writes that it can make fail: files in
 * $SYNC_SHIM_DIR are the switches.
 *
 * hold: every sync waits until the file is gone; before it waits, it makes the file `waiting`.
 * fail: every sync fails with EIO; each failed call adds one byte to the file `failed`.
 * fail-write: every pwrite into a directory of the name log fails the same way.
 * slow: every sync takes half a second longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int path_of(char *path, size_t size, const char *name)
{
    const char *directory = getenv("SYNC_SHIM_DIR");
    return directory != NULL && snprintf(path, size, "%s/%s", directory, name) < (int) size;
}

static int switched_on(const char *name)
{
    char path[4096];
    return path_of(path, sizeof path, name) && access(path, F_OK) == 0;
}

static void add_byte(const char *name)
{
    char path[4096];
    int file;
    if (!path_of(path, sizeof path, name))
        return;
    file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file >= 0) {
        if (write(file, "x", 1) != 1)
            abort();
        close(file);
    }
}

int fdatasync(int file)
{
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    if (switched_on("hold")) {
        add_byte("waiting");
        while (switched_on("hold"))
            usleep(1000);
    }
    if (switched_on("slow"))
        usleep(500 * 1000);
    if (switched_on("fail")) {
        add_byte("failed");
        errno = EIO;
        return -1;
    }
    return real(file);
}

static int is_of_log(int file)
{
    char link[64], path[4096];
    ssize_t size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return strstr(path, "/log/") != NULL;
}

static ssize_t write_at(const char *name, int file, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t)
        = (ssize_t (*)(int, const void *, size_t, off_t)) dlsym(RTLD_NEXT, name);
    if (switched_on("fail-write") && is_of_log(file)) {
        add_byte("failed");
        errno = EIO;
        return -1;
    }
    return real(file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    return write_at("pwrite", file, data, size, offset);
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t offset)
{
    return write_at("pwrite64", file, data, size, offset);
}
