/* Lengths of 0, 2^31, 2^63 and 2^64-1: what Linux gives for each. */
#include "guest.h"
#include <sys/random.h>
#include <sys/uio.h>

static const size_t huge[] = {0x7ffff001, 1UL << 32, 1UL << 62, 1UL << 63, (size_t)-4096, (size_t)-1};

int main(void) {
    char buffer[64] = "";
    int fd = file_with("file", 40), null = open("/dev/null", O_WRONLY), zero = open("/dev/zero", O_RDONLY);
    CHECK(null >= 0 && zero >= 0);
    CHECK(read(fd, NULL, 0) == 0 && write(fd, NULL, 0) == 0);
    CHECK_ERRNO(syscall(SYS_read, 99, NULL, 0), EBADF);
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        CHECK(lseek(fd, 0, SEEK_SET) == 0);
        errno = 0;
        long a = syscall(SYS_read, fd, buffer, huge[i]);
        int ea = errno;
        errno = 0;
        long b = syscall(SYS_write, null, buffer, huge[i]);
        int eb = errno;
        errno = 0;
        long c = syscall(SYS_pread64, fd, buffer, huge[i], 0);
        int ec = errno;
        errno = 0;
        void *d = (void *)syscall(SYS_mmap, 0, huge[i] & ~(1UL << 32) ? huge[i] : 1UL << 48, RW, ANON, -1, 0);
        int ed = errno;
        if (d != MAP_FAILED) munmap(d, huge[i]);
        errno = 0;
        long e = syscall(SYS_mprotect, buffer - (uintptr_t)buffer % PAGE, huge[i], RW);
        int ee = errno;
        errno = 0;
        long f = syscall(SYS_munmap, 0x200000000000, huge[i]);
        int ef = errno;
        printf("%#zx: read %ld (%d), write %ld (%d), pread %ld (%d), mmap (%d), mprotect %ld (%d), munmap %ld (%d)\n", huge[i], a, ea,
               b, eb, c, ec, huge[i] > 1UL << 40 ? ed : 0, e, ee, f, ef);
    }
    struct iovec v[2] = {{buffer, 1UL << 62}, {buffer, 1UL << 62}};
    CHECK_ERRNO(writev(null, v, 2), EFAULT);
    CHECK_ERRNO(ftruncate(fd, (off_t)(1UL << 63)), EINVAL);
    CHECK_ERRNO(lseek(fd, (off_t)(1UL << 63), SEEK_SET), EINVAL);
    puts("lengths");
    return 0;
}
