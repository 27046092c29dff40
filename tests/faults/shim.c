/* Stands between a process and libc (LD_PRELOAD), and does to it what disks and clocks do.
 *
 * A file named by FAULT_SHIM is mapped and shared with the test, which arms one fault at a time: calls of certain kinds
 * on files whose path holds a text fail with an errno, come back short, or take long. The wall clock may be shifted.
 * The layout of `struct control` is that of shim.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, CREATE = 4, ALLOCATE = 8, RENAME = 16 };

struct control {
    _Atomic int64_t kinds;        /* which calls; 0: none */
    _Atomic int64_t skip;         /* so many are let through first */
    _Atomic int64_t times;        /* then so many fail; below 0: all */
    _Atomic int64_t error;        /* errno; 0: they succeed */
    _Atomic int64_t delay_us;     /* and take this much longer */
    _Atomic int64_t torn;         /* a write brings half of its bytes to the file before it fails */
    _Atomic int64_t fired;        /* how many have met the fault */
    _Atomic int64_t wall_ns;      /* added to the wall clock */
    char path[256];               /* part of the path */
};

static struct control *control;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULT_SHIM");
    int (*real_open)(const char *, int, ...) = next("open");
    int fd = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(fd);
}

/* Whether this call meets the fault; then errno is set, and 1 says that it has to fail. */
static int met(const char *path) {
    if (!path || !strstr(path, control->path)) return 0;
    if (atomic_fetch_sub(&control->skip, 1) > 0) return 0;
    int64_t times = control->times;
    if (times == 0) return 0;
    if (times > 0 && atomic_fetch_sub(&control->times, 1) <= 0) return 0;
    atomic_fetch_add(&control->fired, 1);
    if (control->delay_us) usleep((useconds_t)control->delay_us);
    errno = (int)control->error;
    return control->error != 0;
}

static int fails(int kind, const char *path) {
    if (!control || !(control->kinds & kind)) return 0;
    return met(path);
}

static int fails_fd(int kind, int fd) {
    if (!control || !(control->kinds & kind)) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return met(path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = next(#name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (fails_fd(WRITE, fd)) {
        int error = errno;
        if (control->torn && size > 1) return real(fd, data, size / 2);
        errno = error;
        return -1;
    }
    return real(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    if (fails_fd(WRITE, fd)) {
        int error = errno;
        if (control->torn && size > 1) return real(fd, data, size / 2, at);
        errno = error;
        return -1;
    }
    return real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (fails_fd(WRITE, fd)) return -1;
    return real(fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(pwritev64);
    if (fails_fd(WRITE, fd)) {
        int error = errno;
        if (control->torn && count > 1) return real(fd, parts, count / 2, at);
        errno = error;
        return -1;
    }
    return real(fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }


ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    REAL(pwritev64v2);
    if (fails_fd(WRITE, fd)) {
        int error = errno;
        if (control->torn && count > 1) return real(fd, parts, count / 2, at, flags);
        errno = error;
        return -1;
    }
    return real(fd, parts, count, at, flags);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    return pwritev64v2(fd, parts, count, at, flags);
}

int fsync(int fd) {
    REAL(fsync);
    return fails_fd(SYNC, fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return fails_fd(SYNC, fd) ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return fails_fd(WRITE, fd) ? -1 : real(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    REAL(posix_fallocate64);
    return fails_fd(ALLOCATE, fd) ? errno : real(fd, at, size);
}

int posix_fallocate(int fd, off_t at, off_t size) { return posix_fallocate64(fd, at, size); }

int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    REAL(fallocate64);
    return fails_fd(ALLOCATE, fd) ? -1 : real(fd, mode, at, size);
}

int fallocate(int fd, int mode, off_t at, off_t size) { return fallocate64(fd, mode, at, size); }

static int creates(const char *path, int flags) { return (flags & O_CREAT) && access(path, F_OK) != 0; }

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (control && creates(path, flags) && fails(CREATE, path)) return -1;
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails(CREATE, path) ? -1 : real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return fails(RENAME, to) ? -1 : real(from, to);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (result == 0 && control && control->wall_ns && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t all = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + control->wall_ns;
        now->tv_sec = all / 1000000000;
        now->tv_nsec = all % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
