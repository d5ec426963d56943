/* Clocks run forward and agree with each other; sleeps last at least as long as asked. */
#include "guest.h"
#include <sys/time.h>
#include <time.h>

static int64_t ns(clockid_t clock) {
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void) {
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW};
    for (size_t i = 0; i < 4; i++) {
        int64_t last = ns(clocks[i]);
        for (int j = 0; j < 1000; j++) {
            int64_t now = ns(clocks[i]);
            CHECK(now >= last);
            last = now;
        }
    }
    puts("monotone");
    struct timespec nap = {0, 20000000}, left, resolution;
    int64_t start = ns(CLOCK_MONOTONIC);
    CHECK(nanosleep(&nap, &left) == 0);
    int64_t slept = ns(CLOCK_MONOTONIC) - start;
    CHECK(slept >= 20000000 && slept < 10000000000);
    start = ns(CLOCK_MONOTONIC);
    int64_t wake = start + 15000000;
    struct timespec until = {wake / 1000000000, wake % 1000000000};
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
    CHECK(ns(CLOCK_MONOTONIC) >= wake);
    CHECK(usleep(1000) == 0);
    nap.tv_nsec = 1000000000;
    CHECK_ERRNO(nanosleep(&nap, NULL), EINVAL);
    nap.tv_nsec = 0, nap.tv_sec = -1;
    CHECK_ERRNO(nanosleep(&nap, NULL), EINVAL);
    puts("sleeps");
    CHECK(clock_getres(CLOCK_MONOTONIC, &resolution) == 0 && resolution.tv_sec == 0 && resolution.tv_nsec == 1);
    struct timeval tv;
    time_t t = time(NULL);
    CHECK(gettimeofday(&tv, NULL) == 0 && tv.tv_sec - t >= 0 && tv.tv_sec - t < 10);
    CHECK(ns(CLOCK_REALTIME) / 1000000000 - tv.tv_sec < 10);
    CHECK(t > 1600000000);
    CHECK(ns(CLOCK_PROCESS_CPUTIME_ID) >= 0 && ns(CLOCK_THREAD_CPUTIME_ID) >= 0 && clock() != (clock_t)-1);
    CHECK_ERRNO(clock_gettime(99, &resolution), EINVAL);
    puts("agree");
    return 0;
}
