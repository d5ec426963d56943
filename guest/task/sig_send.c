/* kill, tgkill, tkill, raise, rt_sigqueueinfo to oneself: what siginfo says. */
#include "guest.h"

static siginfo_t last;
#define FRESH() __asm__ volatile("" ::: "memory") /* glibc declares raise() a leaf, which calls nothing of ours */
static void keep(int sig, siginfo_t *siginfo, void *context) {
    (void)sig, (void)context;
    last = *siginfo;
}

int main(void) {
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = keep;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaddset(&action.sa_mask, SIGTERM);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
    CHECK(old.sa_sigaction == keep && (old.sa_flags & (SA_SIGINFO | SA_RESTART)) == (SA_SIGINFO | SA_RESTART));
    CHECK(sigismember(&old.sa_mask, SIGTERM) == 1 && sigismember(&old.sa_mask, SIGINT) == 0);

    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(last.si_signo == SIGUSR1 && last.si_code == SI_USER && last.si_pid == getpid() && last.si_uid == getuid());
    memset(&last, 0, sizeof last);
    CHECK(syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGUSR1) == 0);
    CHECK(last.si_code == SI_TKILL && last.si_pid == getpid());
    memset(&last, 0, sizeof last);
    CHECK(raise(SIGUSR1) == 0); FRESH();
    CHECK(last.si_code == SI_TKILL);
    CHECK_ERRNO(syscall(SYS_tgkill, getpid(), 0x3ffffff, SIGUSR1), ESRCH);
    CHECK_ERRNO(syscall(SYS_tgkill, -1, getpid(), SIGUSR1), EINVAL);
    puts("kill, tgkill, raise");
    return 0;
}
