/* Blocks that only a syscall fills, each read whole: nothing of them is blank. And of what a call takes only that need be
 * written which it uses: not the revents of poll. */
// RUN: none
#include "guest.h"
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char page[8192];
static volatile int sum;

__attribute__((noinline)) static void use(const volatile char *p, long n) {
    while (n-- > 0)
        sum += p[n];
}

/* The syscall fills a block `p` of `size` bytes. */
#define FILLED(size, ...)                  \
    do {                                   \
        char *p = malloc(size);            \
        CHECK(syscall(__VA_ARGS__) >= 0);  \
        use(p, size);                      \
        free(p);                           \
    } while (0)

static void poll_one(void) {
    struct pollfd *p = malloc(sizeof *p);
    p->fd = 1, p->events = POLLOUT;
    CHECK(syscall(SYS_poll, p, 1, 0) == 1);
    use((char *)p, sizeof *p);
    free(p);
}

static void read_parts(int fd) {
    char *a = malloc(10), *b = malloc(10);
    struct iovec parts[2] = {{a, 10}, {b, 10}}, whole = {page, 20};
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && readv(fd, parts, 2) == 20);
    use(a, 10), use(b, 10);
    free(a), free(b);
    a = malloc(20);
    CHECK(process_vm_readv(getpid(), &(struct iovec){a, 20}, 1, &whole, 1, 0) == 20);
    use(a, 20);
    free(a);
}

int main(void) {
    int fd = open("/proc/self/maps", O_RDONLY);
    CHECK(fd >= 0 && chdir("/") == 0);
    FILLED(2, SYS_getcwd, p, 2);
    FILLED(390, SYS_uname, p);
    FILLED(144, SYS_stat, "/dev/null", p);
    FILLED(16, SYS_clock_gettime, 0, p);
    FILLED(8, SYS_pipe, p);
    FILLED(144, SYS_getrusage, 0, p);
    FILLED(16, SYS_prlimit64, 0, 7, 0, p);
    FILLED(32, SYS_rt_sigaction, 10, 0, p, 8);
    FILLED(8, SYS_rt_sigprocmask, 0, 0, p, 8);
    FILLED(64, SYS_getrandom, p, 64, 0);
    FILLED(112, SYS_sysinfo, p);
    FILLED(10, SYS_readlink, "/proc/self/exe", p, 10);
    FILLED(1, SYS_mincore, (unsigned long)page + 4095 & -4096ul, 4096, p);
    FILLED(8, SYS_sched_getaffinity, 0, 8, p);
    FILLED(20, SYS_read, fd, p, 20);
    FILLED(16, SYS_gettimeofday, p, 0);
    FILLED(32, SYS_times, p);
    FILLED(128, SYS_get_mempolicy, 0, p, 1024, 0, 0);
    poll_one();
    read_parts(fd);
    return 0;
}
