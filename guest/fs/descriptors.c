/* Descriptors: the lowest free one, dup and its kin, shared offsets, FD_CLOEXEC, RLIMIT_NOFILE, vectors. */
#include "guest.h"
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <termios.h>

int main(void) {
    char a[8] = "", b[8] = "";
    int fd = file_with("file", 0);
    CHECK(fd == 3 && write(fd, "abcdefgh", 8) == 8 && lseek(fd, 0, SEEK_SET) == 0);
    int twin = dup(fd);
    CHECK(twin == 4 && read(fd, a, 3) == 3 && read(twin, b, 3) == 3 && memcmp(b, "def", 3) == 0); /* one offset */
    int own = open("file", O_RDONLY);
    CHECK(own == 5 && read(own, b, 1) == 1 && b[0] == 'a');
    CHECK(close(4) == 0 && dup(own) == 4); /* the lowest free */
    CHECK(SAYS(dup2(fd, 9), "dup2(3, 9)") == 9 && dup2(9, 9) == 9);
    CHECK_ERRNO(dup2(77, 5), EBADF);
    CHECK_ERRNO(dup2(3, -1), EBADF);
    CHECK_ERRNO(dup2(77, 77), EBADF);
    CHECK_ERRNO(dup3(3, 3, 0), EINVAL);
    CHECK(dup3(3, 20, O_CLOEXEC) == 20 && fcntl(20, F_GETFD) == FD_CLOEXEC && fcntl(9, F_GETFD) == 0);
    CHECK(fcntl(9, F_SETFD, FD_CLOEXEC) == 0 && fcntl(9, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(3, F_DUPFD, 30) == 30 && fcntl(3, F_DUPFD_CLOEXEC, 30) == 31);
    CHECK((fcntl(3, F_GETFL) & ~O_LARGEFILE & ~0100000) == O_RDWR && (fcntl(own, F_GETFL) & O_ACCMODE) == O_RDONLY);
    CHECK(fcntl(3, F_SETFL, O_APPEND) == 0 && fcntl(9, F_GETFL) & O_APPEND);
    CHECK_ERRNO(fcntl(77, F_GETFL), EBADF);
    CHECK_ERRNO(syscall(SYS_fcntl, 3, 9999, 0), EINVAL);
    puts("dup");

    struct rlimit limit, little;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    little = limit, little.rlim_cur = 6;
    CHECK(setrlimit(RLIMIT_NOFILE, &little) == 0);
    CHECK_ERRNO(open("file", O_RDONLY), EMFILE);
    CHECK_ERRNO(dup(3), EMFILE);
    CHECK_ERRNO(dup2(3, 6), EBADF);
    CHECK_ERRNO(fcntl(3, F_DUPFD, 6), EINVAL);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    puts("limits");

    CHECK(fcntl(3, F_SETFL, 0) == 0 && lseek(3, 0, SEEK_SET) == 0 && ftruncate(3, 0) == 0);
    char one[] = "one ", two[] = "two", c[4];
    struct iovec out[3] = {{one, 4}, {NULL, 0}, {two, 3}}, in[2] = {{a, 5}, {c, 4}};
    CHECK(SAYS(writev(3, out, 3), "writev(3, [{iov_base=\"one \", iov_len=4}, {iov_base=NULL, iov_len=0}, {iov_base=\"two\", iov_len=3}], 3)") == 7);
    CHECK(lseek(3, 0, SEEK_SET) == 0 && readv(3, in, 2) == 7 && memcmp(a, "one t", 5) == 0 && memcmp(c, "wo", 2) == 0);
    CHECK(preadv(3, in, 1, 4) == 3 && memcmp(a, "two", 3) == 0);
    CHECK(writev(3, out, 0) == 0);
    static const struct iovec many[1025];
    CHECK(writev(3, many, 1024) == 0);
    CHECK_ERRNO(writev(3, many, 1025), EINVAL);
    CHECK_ERRNO(writev(3, many, -1), EINVAL);
    out[0].iov_base = (void *)8, out[0].iov_len = (size_t)-1;
    CHECK_ERRNO(writev(3, out, 1), EINVAL);
    CHECK_ERRNO(writev(3, (void *)8, 1), EFAULT);
    puts("vectors");

    struct winsize size;
    struct termios settings;
    CHECK_ERRNO(ioctl(3, TIOCGWINSZ, &size), ENOTTY);
    CHECK_ERRNO(tcgetattr(3, &settings), ENOTTY);
    CHECK_ERRNO(ioctl(77, TIOCGWINSZ, &size), EBADF);
    CHECK(isatty(3) == 0);
    return 0;
}
