/* fdatasync that a test can make fail or wait: files in $SYNC_SHIM_DIR are the switches.
 *
 * hold: every sync waits until the file is gone; before it waits, it makes the file `waiting`.
 * fail: every sync fails with EIO; each failed call adds one byte to the file `failed`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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
    if (switched_on("fail")) {
        add_byte("failed");
        errno = EIO;
        return -1;
    }
    return real(file);
}
