/* Writes down what a process does to the files below one directory, in order, with the data.
 *
 * Preloaded; $POWER_ROOT is the directory (absolute, no symbolic links), $POWER_LOG the log file,
 * which is appended to. A call that changes or syncs a file is logged when it begins and when it
 * ends, because a change may reach the disk from the first moment and is promised to be there only
 * from the last. Calls that change names are logged once they have succeeded.
 *
 * An event is a `struct event` and then `data_size` bytes: the written bytes, a path, or a mark.
 * power_mark(), for the recorded program itself, puts bytes of its own between the events.
 *
 * Calls that are not wrapped here (io_uring, pwritev2, descriptors made by dup) are not seen:
 * whoever reads the log compares what it leads to with the directory itself. Shared writable maps
 * are reported (MAP), what is stored through them is not, and so neither is msync.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    START = 1, /* a process begins to record; data: the root */
    MARK,      /* data: the program's own bytes */
    OPEN,      /* handle, offset: the flags, data: the path */
    WRITE,     /* begins: call, handle, offset, length, data */
    RESIZE,    /* begins: call, handle, length: the new size */
    GROW,      /* begins: call, handle, length: the size is at least this */
    SYNC,      /* begins: call, handle: fsync or fdatasync, of a file or a directory */
    END,       /* call, length: what it returned */
    MKDIR,     /* data: the path */
    REMOVE,    /* data: the path of a file or a directory */
    RENAME,    /* data: the old path, a zero byte, the new path */
    MAP,       /* handle: mapped shared and writable */
    HINT,      /* handle: sync_file_range, which promises nothing about power */
};

struct event {
    uint32_t kind;
    uint32_t call;
    uint32_t handle;
    uint32_t data_size;
    int64_t offset;
    int64_t length;
};

enum { DESCRIPTORS = 4096 };

static const char *root;
static size_t root_size;
static int log_file = -1;
static uint32_t last_number; /* calls and handles are numbered from one counter */
static uint32_t handles[DESCRIPTORS]; /* by descriptor; 0: not below the root */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

static uint32_t next_number(void) { return __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED); }

static void put(const void *data, size_t size)
{
    const char *rest = data;
    while (size > 0) {
        long done = syscall(SYS_write, log_file, rest, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            abort(); /* a log with a hole would prove nothing */
        rest += done;
        size -= (size_t) done;
    }
}

static void record(struct event event, const struct iovec *parts, int count)
{
    int saved = errno, i;
    pthread_mutex_lock(&guard);
    put(&event, sizeof event);
    for (i = 0; i < count; i++)
        put(parts[i].iov_base, parts[i].iov_len);
    pthread_mutex_unlock(&guard);
    errno = saved;
}

static void record_data(struct event event, const void *data, size_t size)
{
    struct iovec part = {(void *) data, size};
    event.data_size = (uint32_t) size;
    record(event, &part, 1);
}

static long end(uint32_t call, long result)
{
    record((struct event) {.kind = END, .call = call, .length = result}, NULL, 0);
    return result;
}

void power_mark(const void *data, size_t size)
{
    record_data((struct event) {.kind = MARK}, data, size);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWER_LOG");
    int file;
    root = getenv("POWER_ROOT");
    if (root == NULL || path == NULL)
        return;
    root_size = strlen(root);
    file = (int) syscall(
        SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    /* Out of the way of the low numbers that the program gets by itself. */
    log_file = fcntl(file, F_DUPFD_CLOEXEC, DESCRIPTORS / 8);
    if (log_file < 0)
        abort();
    syscall(SYS_close, file);
    record_data((struct event) {.kind = START}, root, root_size);
}

/* ---- which files are followed */

static int is_below(const char *path)
{
    return log_file >= 0 && strncmp(path, root, root_size) == 0 &&
           (path[root_size] == '/' || path[root_size] == 0);
}

static uint32_t handle_of(int file)
{
    return log_file >= 0 && file >= 0 && file < DESCRIPTORS ? handles[file] : 0;
}

/* The path of an open descriptor, without symbolic links; 0 if it has none. */
static int path_of(int file, char path[PATH_MAX])
{
    char link[64];
    ssize_t size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0;
}

/* The path that a name will have, its directory without symbolic links; 0 if not below the root. */
static int full_path(int directory, const char *name, char path[PATH_MAX])
{
    char base[PATH_MAX], joined[2 * PATH_MAX];
    char *slash;
    if (name[0] == '/')
        snprintf(joined, sizeof joined, "%s", name);
    else if (directory == AT_FDCWD ? getcwd(base, sizeof base) != NULL : path_of(directory, base))
        snprintf(joined, sizeof joined, "%s/%s", base, name);
    else
        return 0;
    slash = strrchr(joined, '/');
    *slash = 0;
    if (realpath(joined[0] ? joined : "/", base) == NULL)
        return 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, slash + 1) >= PATH_MAX)
        return 0;
    return is_below(path);
}

static int opened(int file, int flags)
{
    char path[PATH_MAX];
    int saved = errno;
    if (log_file >= 0 && file >= 0 && path_of(file, path) && is_below(path)) {
        if (file >= DESCRIPTORS)
            abort();
        handles[file] = next_number();
        record_data(
            (struct event) {.kind = OPEN, .handle = handles[file], .offset = flags},
            path, strlen(path));
    }
    errno = saved;
    return file;
}

#define WRAP_OPEN(name, arguments, call)                                                           \
    int name arguments                                                                             \
    {                                                                                              \
        int mode = 0;                                                                              \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, int);                                                              \
            va_end(rest);                                                                          \
        }                                                                                          \
        return opened(REAL(name) call, flags);                                                     \
    }

WRAP_OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
WRAP_OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

int close(int file)
{
    if (handle_of(file) != 0)
        handles[file] = 0;
    return REAL(close)(file);
}

/* ---- data and sizes */

static uint32_t begin_write(int file, const struct iovec *parts, int count, off_t offset)
{
    struct event event = {.kind = WRITE, .handle = handle_of(file), .offset = offset};
    int i;
    if (event.handle == 0)
        return 0;
    if (offset < 0) {
        int appends = fcntl(file, F_GETFL) & O_APPEND;
        struct stat status;
        event.offset = appends && fstat(file, &status) == 0 ? status.st_size
                                                            : lseek(file, 0, SEEK_CUR);
    }
    event.call = next_number();
    for (i = 0; i < count; i++)
        event.length += (int64_t) parts[i].iov_len;
    event.data_size = (uint32_t) event.length;
    record(event, parts, count);
    return event.call;
}

static uint32_t begin_other(enum kind kind, int file, off_t length)
{
    struct event event = {.kind = kind, .handle = handle_of(file), .length = length};
    if (event.handle == 0)
        return 0;
    event.call = next_number();
    record(event, NULL, 0);
    return event.call;
}

#define AND_END(call, result) (call == 0 ? (result) : end(call, (result)))

ssize_t write(int file, const void *data, size_t size)
{
    struct iovec part = {(void *) data, size};
    uint32_t call = begin_write(file, &part, 1, -1);
    return AND_END(call, REAL(write)(file, data, size));
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    uint32_t call = begin_write(file, parts, count, -1);
    return AND_END(call, REAL(writev)(file, parts, count));
}

#define WRAP_PWRITE(name)                                                                          \
    ssize_t name(int file, const void *data, size_t size, off_t offset)                            \
    {                                                                                              \
        struct iovec part = {(void *) data, size};                                                 \
        uint32_t call = begin_write(file, &part, 1, offset);                                       \
        return AND_END(call, REAL(name)(file, data, size, offset));                                \
    }

#define WRAP_PWRITEV(name)                                                                         \
    ssize_t name(int file, const struct iovec *parts, int count, off_t offset)                     \
    {                                                                                              \
        uint32_t call = begin_write(file, parts, count, offset);                                   \
        return AND_END(call, REAL(name)(file, parts, count, offset));                              \
    }

#define WRAP_FTRUNCATE(name)                                                                       \
    int name(int file, off_t size)                                                                 \
    {                                                                                              \
        uint32_t call = begin_other(RESIZE, file, size);                                           \
        return (int) AND_END(call, REAL(name)(file, size));                                        \
    }

WRAP_PWRITE(pwrite)
WRAP_PWRITE(pwrite64)
WRAP_PWRITEV(pwritev)
WRAP_PWRITEV(pwritev64)
WRAP_FTRUNCATE(ftruncate)
WRAP_FTRUNCATE(ftruncate64)

#define WRAP_FALLOCATE(name)                                                                       \
    int name(int file, int mode, off_t offset, off_t length)                                       \
    {                                                                                              \
        uint32_t call;                                                                             \
        if (mode != 0 && handle_of(file) != 0)                                                     \
            abort(); /* holes, moves: not modelled */                                              \
        call = begin_other(GROW, file, offset + length);                                           \
        return (int) AND_END(call, REAL(name)(file, mode, offset, length));                        \
    }

#define WRAP_POSIX_FALLOCATE(name)                                                                 \
    int name(int file, off_t offset, off_t length)                                                 \
    {                                                                                              \
        uint32_t call = begin_other(GROW, file, offset + length);                                  \
        return (int) AND_END(call, REAL(name)(file, offset, length));                              \
    }

WRAP_FALLOCATE(fallocate)
WRAP_FALLOCATE(fallocate64)
WRAP_POSIX_FALLOCATE(posix_fallocate)
WRAP_POSIX_FALLOCATE(posix_fallocate64)

int fdatasync(int file)
{
    uint32_t call = begin_other(SYNC, file, 0);
    return (int) AND_END(call, REAL(fdatasync)(file));
}

int fsync(int file)
{
    uint32_t call = begin_other(SYNC, file, 0);
    return (int) AND_END(call, REAL(fsync)(file));
}

int sync_file_range(int file, off_t offset, off_t length, unsigned int flags)
{
    uint32_t call = begin_other(HINT, file, length);
    return (int) AND_END(call, REAL(sync_file_range)(file, offset, length, flags));
}

static void mapped(int protection, int flags, int file)
{
    uint32_t handle = handle_of(file);
    if (handle != 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED))
        record((struct event) {.kind = MAP, .handle = handle}, NULL, 0);
}

#define WRAP_MMAP(name)                                                                            \
    void *name(void *address, size_t size, int protection, int flags, int file, off_t offset)      \
    {                                                                                              \
        mapped(protection, flags, file);                                                           \
        return REAL(name)(address, size, protection, flags, file, offset);                         \
    }

WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)

/* ---- names */

static int named(enum kind kind, int result, const char *path, int followed)
{
    if (result == 0 && followed)
        record_data((struct event) {.kind = kind}, path, strlen(path));
    return result;
}

static int renamed(int result, const char *old, const char *new, int followed)
{
    struct iovec parts[2] = {{(void *) old, strlen(old) + 1}, {(void *) new, strlen(new)}};
    struct event event = {.kind = RENAME};
    event.data_size = (uint32_t) (parts[0].iov_len + parts[1].iov_len);
    if (result == 0 && followed)
        record(event, parts, 2);
    return result;
}

#define WRAP_NAME(name, kind, arguments, call, at, given)                                          \
    int name arguments                                                                             \
    {                                                                                              \
        char path[PATH_MAX];                                                                       \
        int followed = log_file >= 0 && full_path(at, given, path);                                \
        return named(kind, REAL(name) call, path, followed);                                       \
    }

#define WRAP_RENAME(name, arguments, call, old_at, old, new_at, new)                               \
    int name arguments                                                                             \
    {                                                                                              \
        char from[PATH_MAX], to[PATH_MAX];                                                         \
        int followed = log_file >= 0 && full_path(old_at, old, from) &&                            \
                       full_path(new_at, new, to);                                                 \
        return renamed(REAL(name) call, from, to, followed);                                       \
    }

WRAP_NAME(mkdir, MKDIR, (const char *name, mode_t mode), (name, mode), AT_FDCWD, name)
WRAP_NAME(mkdirat, MKDIR, (int at, const char *name, mode_t mode), (at, name, mode), at, name)
WRAP_NAME(unlink, REMOVE, (const char *name), (name), AT_FDCWD, name)
WRAP_NAME(unlinkat, REMOVE, (int at, const char *name, int flags), (at, name, flags), at, name)
WRAP_NAME(rmdir, REMOVE, (const char *name), (name), AT_FDCWD, name)
WRAP_NAME(remove, REMOVE, (const char *name), (name), AT_FDCWD, name)
WRAP_RENAME(rename, (const char *old, const char *new), (old, new), AT_FDCWD, old, AT_FDCWD, new)
WRAP_RENAME(
    renameat, (int old_at, const char *old, int new_at, const char *new),
    (old_at, old, new_at, new), old_at, old, new_at, new)
