/* Clocks, sleeping, interval timers: what each refuses, and which clocks there are.
 *
 * Each line is a call's source text and its outcome; Linux's own is what it must be. */
#include "guest.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

UNUSED static char buf[4096], area[64] __attribute__((aligned(32)));
UNUSED static int w[4];
UNUSED static struct timespec ts;
UNUSED static struct rlimit rl;

int main(void) {
    char *edge = map_anon(2 * PAGE, RW) + PAGE - 2; /* two bytes, then nothing */
    CHECK(munmap(edge + 2, PAGE) == 0);
    TRY(clock_gettime, 99, &ts);
    TRY(clock_gettime, 0, BAD);
    for (int c = 0; c < 12; c++) {
        TRIED(clock_gettime, c, &ts);
        TRY(clock_getres, c, &ts);
        printf("resolution %ld\n", ts.tv_nsec);
    }
    TRIED(clock_gettime, -6, &ts);
    TRIED(clock_gettime, -2, &ts);
    TRY(clock_gettime, -1, &ts);
    TRY(clock_gettime, -5, &ts);
    TRY(clock_gettime, -3, &ts);
    TRY(clock_gettime, -799998, &ts);
    TRY(clock_getres, 0, 0);
    TRY(clock_getres, 0, BAD);
    TRY(clock_getres, 77, BAD);
    ts.tv_sec = 0;
    ts.tv_nsec = 10;
    for (int c = 0; c < 12; c++)
        if (c != 2) TRY(clock_nanosleep, c, 0, &ts, 0);
    TRY(clock_nanosleep, -6, 0, BAD, 0);
    TRY(clock_nanosleep, 3, 0, BAD, 0);
    TRY(clock_nanosleep, 4, 0, BAD, 0);
    TRY(clock_nanosleep, 0, 1, &ts, 0);
    TRY(clock_nanosleep, 1, 99, &ts, 0);
    ts.tv_nsec = 1000000000;
    TRY(nanosleep, &ts, 0);
    ts.tv_nsec = 0;
    ts.tv_sec = -1;
    TRY(nanosleep, &ts, 0);
    TRY(nanosleep, BAD, 0);
    TRY(clock_nanosleep, 77, 0, BAD, 0);
    TRY(clock_nanosleep, 1, 0, &ts, 0);
    TRIED(gettimeofday, buf, buf);
    TRY(gettimeofday, 0, 0);
    TRY(gettimeofday, BAD, 0);
    TRY(gettimeofday, 0, BAD);
    TRIED(time, 0);
    TRY(time, BAD);
    TRIED(times, 0);
    TRY(times, BAD);
    memset(buf, 0, sizeof buf);
    TRY(getitimer, 3, buf);
    TRY(getitimer, 0, BAD);
    TRY(setitimer, 3, buf, 0);
    TRY(setitimer, 0, BAD, 0);
    ((long*)buf)[3]=1000000;
    ((long*)buf)[0]=0;
    ((long*)buf)[1]=0;
    ((long*)buf)[2]=0;
    TRY(setitimer, 0, buf, 0);
    ((long*)buf)[3]=0;
    TRY(setitimer, 0, buf, BAD);
    TRY(setitimer, 0, 0, 0);
    return 0;
}
