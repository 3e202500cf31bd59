/* Preloaded into a process, its wall clock is ahead by the 8-byte count of nanoseconds in the file $CLOCK_OFFSET.
   The monotonic clocks are left alone, as they are when somebody sets a machine's clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile long long *offset;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
    offset = page == MAP_FAILED ? NULL : page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, now);
    if (!result && clock == CLOCK_REALTIME && offset) {
        long long nanoseconds = now->tv_nsec + *offset;
        now->tv_sec += nanoseconds / 1000000000LL;
        now->tv_nsec = nanoseconds % 1000000000LL;
        if (now->tv_nsec < 0) { now->tv_nsec += 1000000000LL; now->tv_sec--; }
    }
    return result;
}
