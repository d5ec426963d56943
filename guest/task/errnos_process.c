/* Limits, getrandom, prctl, wait, process groups: the refusals of each, and the small successes.
 *
 * Each line is a call's source text and its outcome; Linux's own is what it must be. */
#include "guest.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

UNUSED static char buf[4096], area[64] __attribute__((aligned(32)));
UNUSED static int w[4];
UNUSED static struct timespec ts;
UNUSED static struct rlimit rl;

int main(void) {
    char *edge = map_anon(2 * PAGE, RW) + PAGE - 2; /* two bytes, then nothing */
    CHECK(munmap(edge + 2, PAGE) == 0);
    TRY(getrlimit, 16, &rl);
    TRY(getrlimit, 7, BAD);
    TRY(getrlimit, -1, &rl);
    TRY(setrlimit, 16, &rl);
    TRY(setrlimit, 7, BAD);
    rl.rlim_cur = 5;
    rl.rlim_max = 4;
    TRY(setrlimit, 7, &rl);
    TRY(setrlimit, 7, &rl);
    rl.rlim_cur = rl.rlim_max = 512;
    TRY(setrlimit, 7, &rl);
    TRY(prlimit64, 0, 7, 0, &rl);
    printf("%ld %ld\n", (long)rl.rlim_cur, (long)rl.rlim_max);
    TRY(prlimit64, 99999, 7, 0, 0);
    TRY(prlimit64, -1, 7, 0, 0);
    TRY(prlimit64, 0, 99, 0, 0);
    TRY(prlimit64, 0, 99, BAD, 0);
    TRY(prlimit64, 0, 7, 0, BAD);
    TRY(getrusage, 0, buf);
    TRY(getrusage, 1, buf);
    TRY(getrusage, -1, buf);
    TRY(getrusage, -2, buf);
    TRY(getrusage, 2, buf);
    TRY(getrusage, 0, BAD);
    TRY(uname, BAD);
    TRY(sysinfo, BAD);
    TRY(getrandom, buf, 16, 0);
    TRY(getrandom, buf, 16, 8);
    TRY(getrandom, buf, 16, 6);
    TRY(getrandom, BAD, 16, 0);
    TRY(getrandom, edge, 16, 0);
    TRY(getrandom, -8L, 16, 0);
    TRY(getrandom, BAD, 0, 0);
    TRY(getrandom, buf, 16, 7);
    TRY(getpriority, 0, 0);
    TRY(getpriority, 3, 0);
    TRY(getpriority, 0, 99999);
    TRY(getpriority, 1, 0);
    TRY(setpriority, 0, 0, 5);
    TRY(getpriority, 0, 0);
    TRY(setpriority, 0, 0, 100);
    TRY(getpriority, 0, 0);
    TRY(setpriority, 3, 0, 1);
    TRY(prctl, PR_SET_NAME, "abcdefghijklmnopqrst", 0, 0, 0);
    TRY(prctl, PR_GET_NAME, buf, 0, 0, 0);
    printf("%s\n",buf);
    TRY(prctl, PR_SET_NAME, BAD);
    TRY(prctl, PR_SET_NAME, edge);
    TRY(prctl, PR_GET_NAME, BAD);
    TRY(prctl, PR_GET_DUMPABLE);
    TRY(prctl, PR_SET_DUMPABLE, 2);
    TRY(prctl, PR_SET_DUMPABLE, 0);
    TRY(prctl, PR_GET_DUMPABLE);
    TRY(prctl, PR_SET_DUMPABLE, 1);
    TRY(prctl, PR_SET_PDEATHSIG, 65);
    TRY(prctl, PR_SET_PDEATHSIG, 9);
    TRY(prctl, PR_GET_PDEATHSIG, w);
    printf("%d\n",w[0]);
    TRY(prctl, PR_GET_PDEATHSIG, BAD);
    TRY(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    TRY(prctl, PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0);
    TRY(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 1);
    TRY(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    TRY(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    TRY(prctl, PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0);
    TRY(prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
    TRY(prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
    TRY(prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
    TRY(prctl, PR_GET_THP_DISABLE, 1, 0, 0, 0);
    TRY(prctl, PR_SET_THP_DISABLE, 1, 0, 0, 3);
    TRY(prctl, PR_SET_THP_DISABLE, 1, 2, 0, 0);
    TRY(prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
    TRY(prctl, PR_SET_THP_DISABLE, 0, 0, 0, 0);
    TRY(prctl, PR_GET_TIMERSLACK);
    TRY(prctl, PR_SET_TIMERSLACK, 7);
    TRY(prctl, PR_GET_TIMERSLACK);
    TRY(prctl, PR_SET_TIMERSLACK, 0);
    TRY(prctl, PR_GET_TIMERSLACK);
    TRY(prctl, PR_SET_TIMERSLACK, -1);
    TRY(prctl, PR_GET_TIMERSLACK);
    TRY(prctl, PR_GET_KEEPCAPS);
    TRY(prctl, PR_SET_KEEPCAPS, 2);
    TRY(prctl, PR_SET_KEEPCAPS, 1);
    TRY(prctl, PR_GET_KEEPCAPS);
    TRY(prctl, PR_SET_CHILD_SUBREAPER, 1);
    TRY(prctl, PR_GET_CHILD_SUBREAPER, w);
    printf("%d\n",w[0]);
    TRY(prctl, PR_GET_CHILD_SUBREAPER, BAD);
    TRY(prctl, PR_CAPBSET_READ, 0);
    TRY(prctl, PR_CAPBSET_READ, 40);
    TRY(prctl, PR_CAPBSET_READ, 41);
    TRY(prctl, PR_GET_TSC, w);
    printf("%d\n",w[0]);
    TRY(prctl, PR_SET_TSC, 3);
    TRY(prctl, PR_GET_TIMING);
    TRY(prctl, PR_SET_TIMING, 0);
    TRY(prctl, PR_SET_TIMING, 1);
    TRY(prctl, PR_GET_SECCOMP);
    TRY(prctl, PR_GET_SECUREBITS);
    TRY(prctl, 9999);
    TRY(prctl, PR_SET_VMA, 0, edge - 4094, 4096, "x");
    TRY(prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);
    TRY(prctl, PR_MCE_KILL_GET, 1, 0, 0, 0);
    TRIED(prctl, PR_GET_TID_ADDRESS, buf);
    TRY(prctl, PR_GET_UNALIGN, w);
    TRY(prctl, PR_GET_FPEMU, w);
    TRY(prctl, PR_GET_ENDIAN, w);
    TRY(prctl, PR_TASK_PERF_EVENTS_DISABLE);
    TRY(wait4, -1, 0, 0, 0);
    TRY(wait4, -1, 0, 0x100, 0);
    TRY(wait4, 0x80000000, 0, 0, 0);
    TRY(waitid, 0, 0, 0, 4, 0);
    TRY(waitid, 0, 0, 0, 0, 0);
    TRY(waitid, 9, 0, 0, 4, 0);
    TRY(waitid, 1, 0, 0, 4, 0);
    TRY(waitid, 1, -1, 0, 4, 0);
    TRY(waitid, 2, -1, 0, 4, 0);
    TRY(waitid, 3, -1, 0, 4, 0);
    TRY(waitid, 3, 99, 0, 4, 0);
    TRY(waitid, 0, 0, 0, 0x104, 0);
    TRY(waitid, 2, 0, 0, 4, 0);
    TRY(waitid, 3, 0, 0, 4, 0);
    TRY(getpgid, 99999);
    TRY(getsid, 99999);
    TRY(setpgid, 0, -1);
    TRY(setpgid, 99999, 0);
    TRY(setpgid, 0, 99999);
    TRY(getresuid, w, w, w);
    TRY(getresuid, BAD, w, w);
    w[0] = 7;
    w[0] = 0x20080522;
    w[1] = 0;
    w[0] = 1;
    printf("%x\n",w[0]);
    w[0] = 1;
    w[0] = 0x20080522;
    w[1] = -1;
    w[1] = 99999;
    w[1] = 0;
    TRY(setrlimit, 7, &rl);
    w[0] = 1;
    TRY(setrlimit, 99, &rl);
    return 0;
}
