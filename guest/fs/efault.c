/* Wild pointers are EFAULT, never a crash: every call that takes an address; the part before the edge is done. */
#include "guest.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

static const uintptr_t wild[] = {8, 0xdead000, 0x7fffffffffff, 0x7ffffffffff8, 0x800000000000, 0xffffffff81000000, (uintptr_t)-8};

int main(void) {
    char *edge = map_anon(2 * PAGE, RW) + PAGE, *read_only = map_anon(PAGE, PROT_READ);
    CHECK(munmap(edge, PAGE) == 0);
    int fd = file_with("file", 100), zero = open("/dev/zero", O_RDONLY), directory = open(".", O_RDONLY);
    CHECK(zero >= 0 && directory >= 0);

    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        long p = (long)wild[i];
        CHECK(lseek(fd, 0, SEEK_SET) == 0);
        CHECK_ERRNO(syscall(SYS_read, fd, p, 10), EFAULT);
        CHECK_ERRNO(syscall(SYS_read, zero, p, 10), EFAULT);
        CHECK_ERRNO(syscall(SYS_write, fd, p, 10), EFAULT);
        CHECK_ERRNO(syscall(SYS_pread64, fd, p, 10, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_pwrite64, fd, p, 10, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_readv, fd, p, 1), EFAULT);
        CHECK_ERRNO(syscall(SYS_writev, fd, p, 1), EFAULT);
        CHECK_ERRNO(syscall(SYS_open, p, O_RDONLY), EFAULT);
        CHECK_ERRNO(syscall(SYS_openat, AT_FDCWD, p, O_RDONLY), EFAULT);
        CHECK_ERRNO(syscall(SYS_stat, p, &fd), EFAULT);
        CHECK_ERRNO(syscall(SYS_stat, ".", p), EFAULT);
        CHECK_ERRNO(syscall(SYS_fstat, fd, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_newfstatat, AT_FDCWD, ".", p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_statx, AT_FDCWD, ".", 0, 0xfff, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_access, p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_readlink, "/proc/self/exe", p, 100), EFAULT);
        CHECK_ERRNO(syscall(SYS_readlink, p, &fd, 1), EFAULT);
        CHECK_ERRNO(syscall(SYS_getcwd, p, 4096), EFAULT);
        CHECK_ERRNO(syscall(SYS_getdents64, directory, p, 4096), EFAULT);
        CHECK_ERRNO(syscall(SYS_rename, p, "x"), EFAULT);
        CHECK_ERRNO(syscall(SYS_unlink, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_mkdir, p, 0700), EFAULT);
        CHECK_ERRNO(syscall(SYS_chdir, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_pipe2, p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_poll, p, 1, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_uname, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_sysinfo, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_getrlimit, 0, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, 0, p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, 0, 0, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_getrusage, 0, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_clock_getres, CLOCK_MONOTONIC, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_gettimeofday, p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_time, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_nanosleep, p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_getrandom, p, 8, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, p, 0, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, 0, p, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, 0, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, p, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_rt_sigpending, p, 8), EFAULT);
        CHECK_ERRNO(syscall(SYS_sigaltstack, p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_sigaltstack, 0, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_mincore, edge - PAGE, PAGE, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_sched_getaffinity, 0, 128, p), EFAULT);
        CHECK_ERRNO(syscall(SYS_futex, p & ~3L, 0, 0, 0, 0, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_utimensat, AT_FDCWD, ".", p, 0), EFAULT);
        CHECK_ERRNO(syscall(SYS_arch_prctl, 0x1003, p), EFAULT);
    }
    puts("wild pointers");

    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    CHECK_ERRNO(read(fd, read_only, 10), EFAULT);
    CHECK_ERRNO(read(zero, read_only, 10), EFAULT);
    CHECK(pread(fd, edge - 40, 100, 0) == 40 && edge[-1] == 'a'); /* up to the edge */
    CHECK(read(zero, edge - 40, 100) == 40 && edge[-1] == 0);
    memset(edge - 40, 'z', 40);
    CHECK(pwrite(fd, edge - 40, 100, 0) == 40);
    struct iovec vectors[2] = {{edge - 40, 20}, {edge, 20}};
    CHECK(pwritev(fd, vectors, 2, 0) == 20);
    strcpy(edge - 5, "file");
    CHECK(access(edge - 5, F_OK) == 0); /* a string up to the last byte */
    memset(edge - 5, 'f', 5);
    CHECK_ERRNO(access(edge - 5, F_OK), EFAULT); /* and one that runs over it */
    struct stat *straddling = (struct stat *)(edge - 8);
    CHECK_ERRNO(syscall(SYS_fstat, fd, straddling), EFAULT);
    puts("edges");
    return 0;
}
