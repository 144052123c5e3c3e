/* LD_PRELOAD: moves CLOCK_REALTIME of one process, and says whether NTP keeps it; the monotonic clock stays.
 * $WALL_CLOCK names a file of two int64: nanoseconds to add, and 1 where the clock counts as synchronised. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift(void) {
    static volatile int64_t none[2], *page;
    if (page) return page;
    const char *name = getenv("WALL_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *got = file < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    return page = got == MAP_FAILED ? none : got;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (failed || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return failed;
    int64_t ns = at->tv_sec * 1000000000LL + at->tv_nsec + shift()[0];
    at->tv_sec = ns / 1000000000LL - (ns % 1000000000LL < 0);
    at->tv_nsec = (ns % 1000000000LL + 1000000000LL) % 1000000000LL;
    return 0;
}

time_t time(time_t *into) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (into) *into = at.tv_sec;
    return at.tv_sec;
}

int gettimeofday(struct timeval *into, void *zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    into->tv_sec = at.tv_sec;
    into->tv_usec = at.tv_nsec / 1000;
    return 0;
}

int adjtimex(struct timex *into) {
    into->status = shift()[1] ? 0 : STA_UNSYNC;
    into->maxerror = shift()[1] ? 2000 : 16000000;
    return shift()[1] ? TIME_OK : TIME_ERROR;
}
