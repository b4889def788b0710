/* Loaded into a program under test (LD_PRELOAD): its clock jumps and its disk fails or is slow, as the file CLEW_FAULTS says,
 * which the test changes while the program runs. Only files below CLEW_FAULTS_BELOW are concerned. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile struct {
    int64_t clock_s;  /* what the wall clock is ahead */
    int64_t slow_ms;  /* what a sync takes longer */
    int64_t sync_eio; /* syncs fail */
    int64_t write_eio;
} *faults;
static const char *below;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CLEW_FAULTS");
    int file = path ? open(path, O_RDONLY) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *faults, PROT_READ, MAP_SHARED, file, 0);
    below = getenv("CLEW_FAULTS_BELOW");
    if (map != MAP_FAILED && below)
        faults = map;
}

static int concerns(int file) {
    char link[64] = "/proc/self/fd/", path[4096], *end = link + sizeof link;
    if (!faults)
        return 0;
    *--end = 0;
    do
        *--end = '0' + file % 10;
    while (file /= 10);
    strcpy(link + 14, end);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && strncmp(path, below, strlen(below)) == 0;
}

static int sync_file(long call, int file) {
    if (concerns(file)) {
        struct timespec wait = {faults->slow_ms / 1000, faults->slow_ms % 1000 * 1000000};
        if (faults->slow_ms > 0)
            nanosleep(&wait, NULL);
        if (faults->sync_eio) {
            errno = EIO;
            return -1;
        }
    }
    return syscall(call, file);
}

int fsync(int file) { return sync_file(SYS_fsync, file); }
int fdatasync(int file) { return sync_file(SYS_fdatasync, file); }

static int write_fails(int file) {
    if (!faults || !faults->write_eio || !concerns(file))
        return 0;
    errno = EIO;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    return write_fails(file) ? -1 : syscall(SYS_write, file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return write_fails(file) ? -1 : syscall(SYS_pwrite64, file, bytes, count, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
    return write_fails(file) ? -1 : syscall(SYS_pwritev, file, parts, count, at, 0L);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { return pwritev64(file, parts, count, at); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (faults && clock == CLOCK_REALTIME)
        now->tv_sec += faults->clock_s;
    return failed;
}
