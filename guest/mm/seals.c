/* memfd_create and its seals; mseal; remap_file_pages. */
// NOT COMPARED: strace 6.1 does not know mseal
#include "guest.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
enum { CLOEXEC = 1, SEALING = 2, NOEXEC_SEAL = 8, EXEC = 16 };

static int memfd(const char *name, unsigned flags) { return (int)syscall(SYS_memfd_create, name, flags); }

static int sized(unsigned pages) {
    int fd = memfd("sealed", SEALING);
    CHECK(fd >= 0 && ftruncate(fd, pages * PAGE) == 0);
    return fd;
}
static int seal(int fd, int seals) { return fcntl(fd, F_ADD_SEALS, seals); }

static void flags(void) {
    char name[251];
    memset(name, 'n', sizeof name);
    name[250] = 0;
    CHECK_ERRNO(memfd(name, 0), EINVAL);
    name[249] = 0;
    CHECK(memfd(name, 0) >= 0 && memfd("", 0) >= 0);
    CHECK_ERRNO(memfd("m", 0x40), EINVAL);
    CHECK_ERRNO(memfd("m", EXEC | NOEXEC_SEAL), EINVAL);
    CHECK_ERRNO(memfd((char *)8, 0), EFAULT);
    static const unsigned all[] = {0, CLOEXEC, SEALING, NOEXEC_SEAL, EXEC, SEALING | EXEC};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct stat st;
        int fd = memfd("m", all[i]);
        CHECK(fd >= 0 && fstat(fd, &st) == 0);
        printf("%u: seals %x mode %o cloexec %d flags %x links %d\n", all[i], fcntl(fd, F_GET_SEALS), st.st_mode,
               fcntl(fd, F_GETFD), fcntl(fd, F_GETFL), (int)st.st_nlink);
    }
}

static void sealed_files(void) {
    int fd = memfd("m", 0), pipes[2];
    CHECK_ERRNO(seal(fd, F_SEAL_WRITE), EPERM);
    CHECK(pipe(pipes) == 0);
    CHECK_ERRNO(fcntl(pipes[0], F_GET_SEALS), EINVAL);
    CHECK_ERRNO(seal(pipes[1], F_SEAL_WRITE), EINVAL);
    fd = sized(2);
    CHECK_ERRNO(seal(fd, 0x80), EINVAL);
    CHECK(seal(fd, F_SEAL_SHRINK) == 0 && seal(fd, 0) == 0);
    CHECK_ERRNO(ftruncate(fd, PAGE), EPERM);
    CHECK(ftruncate(fd, 3 * PAGE) == 0 && seal(fd, F_SEAL_GROW) == 0);
    CHECK_ERRNO(ftruncate(fd, 4 * PAGE), EPERM);
    CHECK_ERRNO(pwrite(fd, "x", 1, 3 * PAGE), EPERM);
    CHECK(pwrite(fd, "xy", 2, 3 * PAGE - 2) == 2);
    CHECK_ERRNO(fallocate(fd, 0, 0, 4 * PAGE), EPERM);
    char *s = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    CHECK(s != MAP_FAILED);
    CHECK_ERRNO(seal(fd, F_SEAL_WRITE), EBUSY);
    CHECK(seal(fd, F_SEAL_FUTURE_WRITE) == 0 && (*s = 1));
    CHECK_ERRNO(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, EPERM);
    CHECK(munmap(s, PAGE) == 0 && seal(fd, F_SEAL_WRITE) == 0);
    CHECK_ERRNO(write(fd, "x", 1), EPERM);
    CHECK_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), EPERM);
    char *r = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(r != MAP_FAILED && *r == 1);
    CHECK_ERRNO(mprotect(r, PAGE, RW), EACCES);
    char *p = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED && (*p = 2) && *r == 1);
    CHECK(seal(fd, F_SEAL_SEAL) == 0);
    CHECK_ERRNO(seal(fd, F_SEAL_SHRINK), EPERM);
    printf("%x\n", fcntl(fd, F_GET_SEALS));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY);
    CHECK_ERRNO(seal(again, 0), EPERM);
    fd = memfd("m", NOEXEC_SEAL);
    CHECK_ERRNO(fchmod(fd, 0777), EPERM);
    CHECK(fchmod(fd, 0600) == 0);
    fd = memfd("m", SEALING);
    CHECK(seal(fd, F_SEAL_EXEC) == 0);
    printf("%x\n", fcntl(fd, F_GET_SEALS));
}

static void sealed_mappings(void) {
    char *m = map_anon(6 * PAGE, RW);
    CHECK_ERRNO(syscall(SYS_mseal, m + 1, PAGE, 0UL), EINVAL);
    CHECK_ERRNO(syscall(SYS_mseal, m, PAGE, 1UL), EINVAL);
    CHECK_ERRNO(syscall(SYS_mseal, m, -PAGE, 0UL), EINVAL);
    CHECK(syscall(SYS_mseal, m, 0UL, 0UL) == 0);
    CHECK(munmap(m + 4 * PAGE, PAGE) == 0);
    CHECK_ERRNO(syscall(SYS_mseal, m, 6 * PAGE, 0UL), ENOMEM);
    CHECK(mprotect(m, PAGE, PROT_READ) == 0 && mprotect(m, PAGE, RW) == 0); /* nothing was sealed */
    CHECK(syscall(SYS_mseal, m + PAGE, 2 * PAGE, 0UL) == 0 && syscall(SYS_mseal, m + PAGE, PAGE, 0UL) == 0);
    CHECK_ERRNO(munmap(m, 4 * PAGE), EPERM);
    CHECK_ERRNO(mprotect(m, 4 * PAGE, PROT_READ), EPERM);
    FAULTS(STORE(m), SIGSEGV, SEGV_ACCERR, m); /* what comes before the seal has changed */
    CHECK_ERRNO(mremap(m + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0, EPERM);
    CHECK_ERRNO(mmap(m + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0, EPERM);
    CHECK(madvise(m + PAGE, PAGE, MADV_DONTNEED) == 0); /* it may be written */
    STORE(m + PAGE);
    char *r = map_anon(PAGE, PROT_READ);
    CHECK(syscall(SYS_mseal, r, PAGE, 0UL) == 0);
    CHECK_ERRNO(madvise(r, PAGE, MADV_DONTNEED), EPERM);
    CHECK(madvise(r, PAGE, MADV_WILLNEED) == 0 && mlock(r, PAGE) == 0);
}

static long remap(void *at, size_t n, int prot, size_t pgoff, int flags_) {
    return syscall(SYS_remap_file_pages, at, n, prot, pgoff, flags_);
}

static void remapped(void) {
    int fd = sized(4);
    for (int i = 0; i < 4; i++) CHECK(pwrite(fd, &"abcd"[i], 1, i * (off_t)PAGE) == 1);
    char *s = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
    CHECK(remap(s, PAGE, 0, 3, 0) == 0 && *s == 'd' && s[PAGE] == 'b');
    CHECK(remap(s + PAGE, 2 * PAGE, 0, 0, 0) == 0 && s[PAGE] == 'a' && s[2 * PAGE] == 'b');
    s[PAGE] = 'A';
    CHECK(pread(fd, s + 2 * PAGE, 1, 0) == 1 && s[2 * PAGE] == 'A');
    CHECK_ERRNO(remap(s, PAGE, PROT_READ, 0, 0), EINVAL);
    CHECK_ERRNO(remap(s, 0, 0, 0, 0), EINVAL);
    CHECK_ERRNO(remap(map_anon(PAGE, RW), PAGE, 0, 0, 0), EINVAL);
    CHECK_ERRNO(remap((void *)PAGE, PAGE, 0, 0, 0), EINVAL);
    CHECK(remap(s, PAGE, 0, 100, 0) == 0);
    FAULTS(LOAD(s), SIGBUS, BUS_ADRERR, s);
}

int main(void) {
    catch_faults();
    flags();
    sealed_files();
    sealed_mappings();
    remapped();
    return 0;
}
