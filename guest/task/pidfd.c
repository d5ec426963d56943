/* pidfd_send_signal and pidfd_getfd to oneself: whom a signal is for, whose siginfo it may bear, whose descriptors. */
#include "guest.h"
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_send_signal 424
#define SYS_pidfd_getfd 438
#endif
enum { OF_THREAD = 0x80, SELF_THREAD = -10000, SELF = -10001 };

static volatile int code, value;

static void on_signal(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)context;
    code = info->si_code, value = info->si_value.sival_int;
    CHECK(info->si_pid == getpid());
}

static void send(const char *what, int pidfd, int sig, siginfo_t *info, unsigned flags) {
    code = 99, value = 0;
    errno = 0;
    long result = syscall(SYS_pidfd_send_signal, pidfd, sig, info, flags);
    printf("%s %d flags %u%s: %ld, errno %d, code %d, value %d\n", what, sig, flags, info ? " with siginfo" : "", result,
           errno, code, info && code == -1 ? value : 0);
}

int main(void) {
    struct sigaction action;
    siginfo_t info;
    memset(&action, 0, sizeof action);
    memset(&info, 0, sizeof info);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && setpgid(0, 0) == 0);
    int process = (int)syscall(SYS_pidfd_open, getpid(), 0), other = open("/dev/null", O_RDONLY);
    CHECK(process >= 0 && other >= 0);
    info.si_signo = SIGUSR1, info.si_code = SI_QUEUE, info.si_pid = getpid(), info.si_value.sival_int = 7;
    for (unsigned flags = 0; flags < 9; flags++) {
        send("process", process, SIGUSR1, NULL, flags);
        send("process", process, SIGUSR1, &info, flags);
        send("thread itself", SELF_THREAD, SIGUSR1, NULL, flags);
        send("process itself", SELF, SIGUSR1, NULL, flags);
    }
    send("process", process, 0, NULL, 0);
    send("process", process, 99, NULL, 0);
    send("process", process, SIGUSR2, &info, 0);
    send("file", other, SIGUSR1, NULL, 0);
    send("nothing", 77, SIGUSR1, (siginfo_t *)BAD, 0);
    send("process", process, SIGUSR1, (siginfo_t *)BAD, 0);
    info.si_code = SI_USER;
    send("process", process, SIGUSR1, &info, 0);
    send("its group", process, SIGUSR1, &info, 4);

    int thread = (int)syscall(SYS_pidfd_open, getpid(), OF_THREAD); /* Linux 6.9 */
    if (thread >= 0) send("thread", thread, SIGUSR1, NULL, 0);

    int again = (int)syscall(SYS_pidfd_getfd, process, other, 0);
    CHECK(again > other && fcntl(again, F_GETFD) == FD_CLOEXEC && lseek(again, 0, SEEK_CUR) == 0);
    CHECK_ERRNO(syscall(SYS_pidfd_getfd, process, other, 1), EINVAL);
    CHECK_ERRNO(syscall(SYS_pidfd_getfd, process, 77, 0), EBADF);
    CHECK_ERRNO(syscall(SYS_pidfd_getfd, other, other, 0), EBADF);
    CHECK_ERRNO(syscall(SYS_pidfd_getfd, SELF, other, 0), EBADF);
    return 0;
}
