/* Pipes: bytes in order, their ends, capacity, O_NONBLOCK, EPIPE; poll on them. */
#include "guest.h"
#include <poll.h>

static char big[128 * 1024];

int main(void) {
    int p[2];
    char text[64];
    CHECK(pipe2(p, O_CLOEXEC) == 0 && p[0] == 3 && p[1] == 4);
    CHECK(SAYS(write(p[1], "hello", 5), "write(4, \"hello\", 5)") == 5);
    struct pollfd polled[2] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}};
    CHECK(poll(polled, 2, 0) == 2 && polled[0].revents == POLLIN && polled[1].revents == POLLOUT);
    CHECK(read(p[0], text, 2) == 2 && read(p[0], text + 2, 60) == 3 && memcmp(text, "hello", 5) == 0);
    CHECK(poll(polled, 1, 0) == 0 && poll(polled, 1, 5) == 0);
    CHECK_ERRNO(lseek(p[0], 0, SEEK_SET), ESPIPE);
    CHECK_ERRNO(pread(p[0], text, 1, 0), ESPIPE);
    CHECK_ERRNO(write(p[0], "x", 1), EBADF);
    CHECK_ERRNO(read(p[1], text, 1), EBADF);
    puts("a pipe");

    CHECK(fcntl(p[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(p[1], F_SETFL, O_NONBLOCK) == 0);
    CHECK(fcntl(p[0], F_GETFL) == (O_RDONLY | O_NONBLOCK));
    CHECK_ERRNO(read(p[0], text, 1), EAGAIN);
    CHECK(write(p[1], big, sizeof big) == 65536); /* its capacity */
    CHECK_ERRNO(write(p[1], "x", 1), EAGAIN);
    CHECK(poll(polled, 2, 0) == 1 && polled[1].revents == 0);
    CHECK(read(p[0], big, sizeof big) == 65536);
    struct stat st;
    CHECK(fstat(p[0], &st) == 0 && S_ISFIFO(st.st_mode));
    puts("full and empty");

    CHECK(write(p[1], "last", 4) == 4 && close(p[1]) == 0);
    CHECK(poll(polled, 1, 0) == 1 && polled[0].revents == (POLLIN | POLLHUP));
    CHECK(read(p[0], text, 64) == 4 && read(p[0], text, 64) == 0);
    CHECK(poll(polled, 1, -1) == 1 && polled[0].revents == POLLHUP);
    CHECK(close(p[0]) == 0);
    polled[0].fd = 77;
    CHECK(poll(polled, 1, 0) == 1 && polled[0].revents == POLLNVAL);
    polled[0].fd = -1;
    CHECK(poll(polled, 1, 0) == 0);

    CHECK(pipe(p) == 0 && close(p[0]) == 0);
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    CHECK_ERRNO(write(p[1], "x", 1), EPIPE);
    polled[0].fd = p[1], polled[0].events = POLLOUT;
    CHECK(poll(polled, 1, 0) == 1 && polled[0].revents == (POLLOUT | POLLERR));
    CHECK_ERRNO(pipe2(p, 0x1), EINVAL);
    CHECK_ERRNO(syscall(SYS_pipe2, 8, 0), EFAULT);
    puts("closed ends");
    return 0;
}
