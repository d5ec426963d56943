/* Blocking, pending, the order of delivery, nesting, SA_NODEFER, SA_RESETHAND, sa_mask, SIG_IGN. */
#include "guest.h"

static volatile int order[16], count; /* volatile: glibc declares raise() a leaf, which calls nothing of ours */
static void note(int sig) { order[count++] = sig; }

static void note_nested(int sig) {
    order[count++] = sig;
    if (sig == SIGUSR1) {
        raise(SIGUSR2);
        order[count++] = -sig;
    }
}

static void twice(int sig) {
    order[count++] = sig;
    if (count < 3) raise(sig);
    order[count++] = -sig;
}

static void show(const char *what) {
    printf("%s:", what);
    for (int i = 0; i < count; i++) printf(" %d", order[i]);
    printf("\n");
    count = 0;
}

static void on(int sig, void (*handler)(int), int flags, int masked) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    if (masked) sigaddset(&action.sa_mask, masked);
    CHECK(sigaction(sig, &action, NULL) == 0);
}

int main(void) {
    sigset_t set, old, pending;
    on(SIGUSR1, note, 0, 0), on(SIGUSR2, note, 0, 0), on(SIGHUP, note, 0, 0), on(40, note, 0, 0);
    sigfillset(&set);
    CHECK(sigprocmask(SIG_SETMASK, &set, &old) == 0);
    raise(SIGUSR2), raise(SIGUSR1), raise(SIGHUP), raise(SIGUSR1), raise(40), raise(40);
    CHECK(count == 0);
    CHECK(sigpending(&pending) == 0);
    printf("pending: hup %d usr1 %d usr2 %d term %d rt %d\n", sigismember(&pending, SIGHUP), sigismember(&pending, SIGUSR1),
           sigismember(&pending, SIGUSR2), sigismember(&pending, SIGTERM), sigismember(&pending, 40));
    CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0);
    printf("kill and stop cannot be blocked: %d %d\n", sigismember(&set, SIGKILL), sigismember(&set, SIGSTOP));
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    show("unblocked, lowest frame first");

    on(SIGUSR1, note_nested, 0, 0), on(SIGUSR2, note_nested, 0, 0);
    raise(SIGUSR1);
    show("nested");
    on(SIGUSR1, note_nested, 0, SIGUSR2);
    raise(SIGUSR1);
    show("sa_mask delays");
    on(SIGUSR1, twice, SA_NODEFER, 0);
    raise(SIGUSR1);
    show("nodefer");
    on(SIGUSR1, twice, 0, 0);
    raise(SIGUSR1);
    show("deferred");
    on(SIGUSR1, note, (int)SA_RESETHAND, 0);
    raise(SIGUSR1);
    struct sigaction now;
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    show("once");
    on(SIGUSR1, SIG_IGN, 0, 0);
    raise(SIGUSR1), raise(SIGCHLD), raise(SIGWINCH), raise(SIGURG), raise(SIGCONT);
    show("ignored");
    CHECK_ERRNO(sigaction(SIGKILL, &now, NULL), EINVAL);
    CHECK_ERRNO(syscall(SYS_rt_sigprocmask, 7, &set, NULL, 8), EINVAL);
    CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4), EINVAL);
    CHECK_ERRNO(kill(getpid(), 65), EINVAL);
    CHECK(kill(getpid(), 0) == 0);
    CHECK_ERRNO(kill(0x3fffffff, 0), ESRCH);
    return 0;
}
