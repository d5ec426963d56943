/* futex, rseq, robust lists, arch_prctl, scheduling, membarrier: the refusals of each, and the small successes.
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
    TRY(rseq, area, 32, 0, 1);
    TRY(rseq, area, 31, 0, 1);
    TRY(rseq, area+4, 32, 0, 1);
    TRY(rseq, area, 32, 2, 1);
    TRY(rseq, area, 32, 1, 1);
    TRY(rseq, area, 64, 0, 1);
    TRY(set_robust_list, 0, 23);
    TRY(set_robust_list, BAD, 24);
    TRY(get_robust_list, 0, buf, buf+8);
    printf("%lx %ld\n",*(long*)buf,*(long*)(buf+8));
    TRY(get_robust_list, 99999, buf, buf);
    TRY(get_robust_list, 0, BAD, buf);
    TRY(set_robust_list, 0, 24);
    TRY(futex, w, FUTEX_WAKE, 1, 0, 0, 0);
    TRY(futex, w, FUTEX_WAIT, 1, 0, 0, 0);
    TRY(futex, (char*)w+1, FUTEX_WAIT, 1, 0, 0, 0);
    TRY(futex, BAD, FUTEX_WAIT, 1, 0, 0, 0);
    TRY(futex, BAD, FUTEX_WAKE, 1, 0, 0, 0);
    TRY(futex, BAD, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    TRY(futex, -4L, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    TRY(futex, w, 99, 1, 0, 0, 0);
    TRY(futex, w, FUTEX_FD, 1, 0, 0, 0);
    ts.tv_sec = 0;
    ts.tv_nsec = 1000;
    TRY(futex, w, FUTEX_WAIT, 0, &ts, 0, 0);
    ts.tv_nsec = -1;
    TRY(futex, w, FUTEX_WAIT, 0, &ts, 0, 0);
    ts.tv_nsec = 1000;
    TRY(futex, w, FUTEX_WAIT_BITSET, 0, &ts, 0, 0);
    TRY(futex, w, FUTEX_WAIT_BITSET, 0, &ts, 0, 1);
    TRY(futex, w, FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME, 0, &ts, 0, 1);
    TRY(futex, w, FUTEX_WAIT|FUTEX_CLOCK_REALTIME, 0, &ts, 0, 1);
    TRY(futex, w, FUTEX_WAKE|FUTEX_CLOCK_REALTIME, 0, &ts, 0, 1);
    TRY(futex, w, FUTEX_WAIT, 0, BAD, 0, 1);
    TRY(futex, w, FUTEX_WAIT, 5, BAD, 0, 1);
    TRY(futex, w, FUTEX_REQUEUE, 1, 1, w+1, 0);
    TRY(futex, w, FUTEX_CMP_REQUEUE, 1, 1, w+1, 0);
    TRY(futex, w, FUTEX_CMP_REQUEUE, 1, 1, w+1, 7);
    TRY(futex, w, FUTEX_REQUEUE, -1, 1, w+1, 0);
    TRY(futex, w, FUTEX_REQUEUE, 1, 1, BAD, 0);
    w[1] = 5;
    TRY(futex, w, FUTEX_WAKE_OP, 1, 1, w+1, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5));
    printf("%d\n",w[1]);
    TRY(futex, w, FUTEX_WAKE_OP, 1, 1, w+1, FUTEX_OP(7, 3, FUTEX_OP_CMP_EQ, 5));
    TRY(futex, w, FUTEX_WAKE_OP, 1, 1, w+1, FUTEX_OP(FUTEX_OP_XOR, 3, 9, 5));
    printf("%d\n",w[1]);
    TRY(futex, w, FUTEX_WAKE_BITSET, 1, 0, 0, 0);
    w[2] = 0;
    TRY(futex, w+2, FUTEX_LOCK_PI, 0, 0, 0, 0);
    TRY(futex, w+2, FUTEX_LOCK_PI, 0, 0, 0, 0);
    TRY(futex, w+2, FUTEX_TRYLOCK_PI, 0, 0, 0, 0);
    TRY(futex, w+2, FUTEX_UNLOCK_PI, 0, 0, 0, 0);
    TRY(futex, w+2, FUTEX_UNLOCK_PI, 0, 0, 0, 0);
    w[2] = 0x3ffffff;
    TRY(futex, w+2, FUTEX_LOCK_PI, 0, 0, 0, 0);
    TRY(arch_prctl, 0x1002, 1UL<<47);
    TRY(arch_prctl, 0x1002, (1UL<<47)-4096);
    TRY(arch_prctl, 0x1003, BAD);
    TRY(arch_prctl, 0x1001, 0x1234);
    TRY(arch_prctl, 0x1004, buf);
    printf("%lx\n",*(long*)buf);
    TRY(arch_prctl, 0x1001, -1L);
    TRY(arch_prctl, 0x1011, 0);
    TRY(arch_prctl, 7, 0);
    TRY(arch_prctl, 0x3001, buf);
    TRY(arch_prctl, 0x5001, 1);
    TRY(sched_yield, 0);
    TRY(sched_getparam, 0, w);
    TRY(sched_getparam, 0, 0);
    TRY(sched_getparam, -1, w);
    TRY(sched_getparam, 99999, w);
    TRY(sched_getparam, 0, BAD);
    TRY(sched_getscheduler, 0);
    TRY(sched_getscheduler, -5);
    TRY(sched_get_priority_max, 0);
    TRY(sched_get_priority_max, 1);
    TRY(sched_get_priority_min, 2);
    TRY(sched_get_priority_max, 9);
    TRY(sched_get_priority_max, 6);
    TRY(sched_rr_get_interval, 0, &ts);
    TRY(sched_rr_get_interval, -1, &ts);
    w[0] = 5;
    TRY(sched_setscheduler, 0, 0, w);
    w[0] = 0;
    TRY(sched_setscheduler, 0, 3, w);
    TRY(sched_getscheduler, 0);
    TRY(sched_setscheduler, 0, 0, w);
    TRY(sched_setscheduler, 0, 77, w);
    TRY(sched_setscheduler, 0, -1, w);
    TRY(sched_setparam, 0, 0);
    TRY(sched_getaffinity, 0, 0, buf);
    TRY(sched_getaffinity, 0, 4, buf);
    TRY(sched_getaffinity, 99999, 8, buf);
    TRY(sched_getaffinity, 0, 8, BAD);
    memset(buf,0,128);
    TRY(sched_setaffinity, 0, 8, buf);
    TRY(sched_setaffinity, 0, 8, BAD);
    buf[0] = 1;
    TRY(sched_setaffinity, 0, 8, buf);
    TRY(getcpu, 0, 0, 0);
    TRY(getcpu, w, w+1, 0);
    TRY(getcpu, BAD, 0, 0);
    TRY(membarrier, 0, 1, 0);
    TRY(membarrier, 1, 0, 0);
    TRY(membarrier, 8, 0, 0);
    TRY(membarrier, 16, 0, 0);
    TRY(membarrier, 8, 0, 0);
    TRY(membarrier, 3, 0, 0);
    TRY(membarrier, 1<<20, 0, 0);
    TRY(membarrier, 2, 0, 0);
    TRY(membarrier, 4, 0, 0);
    TRY(membarrier, 128, 0, 0);
    return 0;
}
