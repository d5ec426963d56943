/* Interval timers against everything that sleeps: EINTR, restarting, the rest of a sleep, SA_RESTART. */
// RUN: sleep
// RUN: real
// RUN: virtual
// RUN: prof
// RUN: alarm
// NOT COMPARED: a timer's place among the calls is the clock's to choose
#include "guest.h"
#include <sys/time.h>
#include <time.h>

static volatile int fired;
static void count(int sig) { (void)sig, fired++; }

static void on_alarm(void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
}

static void after_ms(int ms) {
    struct itimerval timer = {{0, 0}, {0, ms * 1000}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    errno = 0;
}

static void sleeps(void) {
    struct timespec rest, long_time = {10, 0}, short_time = {0, 30000000}, deadline;
    on_alarm(count, 0);
    after_ms(50);
    int result = nanosleep(&long_time, &rest);
    printf("nanosleep %d errno %d, the rest is %s\n", result, errno, rest.tv_sec == 9 && rest.tv_nsec > 900000000 ? "right" : "wrong");
    on_alarm(count, SA_RESTART);
    after_ms(10);
    result = nanosleep(&short_time, &rest);
    printf("SA_RESTART: nanosleep %d errno %d\n", result, errno);
    on_alarm(SIG_IGN, 0);
    after_ms(10);
    result = nanosleep(&short_time, &rest);
    printf("ignored: nanosleep %d errno %d\n", result, errno);
    on_alarm(count, 0);
    after_ms(10);
    result = pause();
    printf("pause %d errno %d\n", result, errno);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &deadline) == 0);
    deadline.tv_sec += 5;
    after_ms(10);
    printf("until a deadline: %d\n", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL));
    int word = 0;
    after_ms(10);
    result = (int)syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0);
    printf("futex %d errno %d\n", result, errno);
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    after_ms(10);
    result = (int)read(ends[0], &byte, 1);
    printf("read %d errno %d\n", result, errno);
    sigset_t none, alarms;
    sigemptyset(&none);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    CHECK(sigprocmask(SIG_BLOCK, &alarms, NULL) == 0);
    after_ms(10);
    result = sigsuspend(&none);
    printf("sigsuspend %d errno %d\n", result, errno);
    after_ms(10);
    siginfo_t siginfo;
    result = sigwaitinfo(&alarms, &siginfo);
    printf("sigwaitinfo %d code %d, %d handlers ran\n", result, siginfo.si_code, fired);
}

static void interval(int which, int sig) {
    struct itimerval timer = {{0, 2000}, {0, 2000}}, old;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = count;
    CHECK(sigaction(sig, &action, NULL) == 0);
    CHECK(setitimer(which, &timer, NULL) == 0);
    while (fired < 5) continue;
    timer.it_value.tv_usec = 0;
    CHECK(setitimer(which, &timer, &old) == 0);
    printf("five ticks, interval %ld\n", (long)old.it_interval.tv_usec);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    switch (argv[1][0]) {
    case 's': sleeps(); break;
    case 'r': interval(ITIMER_REAL, SIGALRM); break;
    case 'v': interval(ITIMER_VIRTUAL, SIGVTALRM); break;
    case 'p': interval(ITIMER_PROF, SIGPROF); break;
    case 'a':
        printf("%u", alarm(100));
        printf(" %u\n", alarm(0));
        break;
    }
    return 0;
}
