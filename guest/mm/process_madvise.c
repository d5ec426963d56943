/* pidfd_open and process_madvise on oneself: what is advised before a refusal counts. */
#include "guest.h"
#include <poll.h>
#include <sys/uio.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
enum { DONTNEED = 4, COLD = 20, SELF_THREAD = -10000, SELF = -10001 };

static long advise(int pidfd, struct iovec *vec, size_t n, int advice, unsigned flags) {
    return syscall(SYS_process_madvise, pidfd, vec, n, advice, flags);
}

int main(void) {
    CHECK_ERRNO(syscall(SYS_pidfd_open, 0, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_pidfd_open, -1, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_pidfd_open, getpid(), 1), EINVAL);
    CHECK_ERRNO(syscall(SYS_pidfd_open, 4194303, 0), ESRCH);
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFL) == O_RDWR);
    int waiting = (int)syscall(SYS_pidfd_open, getpid(), O_NONBLOCK);
    CHECK(waiting >= 0 && fcntl(waiting, F_GETFL) == (O_RDWR | O_NONBLOCK));
    char byte;
    CHECK_ERRNO(read(fd, &byte, 1), EINVAL);
    CHECK_ERRNO(write(fd, "x", 1), EINVAL);
    CHECK_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
    CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), ENODEV);
    struct pollfd ready = {.fd = fd, .events = POLLIN | POLLOUT};
    CHECK(poll(&ready, 1, 0) == 0);
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(readlink(path, name, sizeof name - 1) > 0 && !strcmp(name, "anon_inode:[pidfd]"));

    char *m = map_anon(4 * PAGE, RW);
    struct iovec vec[] = {{m, PAGE}, {m + 2 * PAGE, PAGE}, {(void *)PAGE, PAGE}};
    int selves[] = {fd, SELF_THREAD, SELF};
    for (int i = 0; i < 3; i++) {
        memset(m, 7, 4 * PAGE);
        CHECK(advise(selves[i], vec, 2, DONTNEED, 0) == 2 * (long)PAGE);
        CHECK(!m[0] && m[PAGE] == 7 && !m[2 * PAGE] && m[3 * PAGE] == 7);
    }
    memset(m, 7, 4 * PAGE);
    CHECK(advise(fd, vec, 3, DONTNEED, 0) == 2 * (long)PAGE);
    CHECK(!m[0] && !m[2 * PAGE]);
    CHECK_ERRNO(advise(fd, vec + 2, 1, DONTNEED, 0), ENOMEM);
    CHECK_ERRNO(advise(fd, vec, 1, 99, 0), EINVAL);
    CHECK_ERRNO(advise(fd, vec, 1, COLD, 1), EINVAL);
    static struct iovec many[1025];
    CHECK_ERRNO(advise(fd, many, 1025, COLD, 0), EINVAL);
    CHECK_ERRNO(advise(fd, (struct iovec *)8, 1, COLD, 0), EFAULT);
    CHECK_ERRNO(advise(0, vec, 1, COLD, 0), EBADF);
    CHECK_ERRNO(advise(99, vec, 1, COLD, 0), EBADF);
    CHECK_ERRNO(advise(-10002, vec, 1, COLD, 0), EBADF);
    CHECK(advise(fd, vec, 0, COLD, 0) == 0);
    puts("ok");
    return 0;
}
