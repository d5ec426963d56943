/* process_vm_readv and process_vm_writev on oneself; /proc/self/mem: as far as pages go, and past protections. */
// NOT COMPARED: positions in /proc/self/mem are addresses
#include "guest.h"
#include <sys/uio.h>

static ssize_t get(struct iovec *to, size_t n, struct iovec *from, size_t m) {
    return process_vm_readv(getpid(), to, n, from, m, 0);
}
static ssize_t put(struct iovec *from, size_t n, struct iovec *to, size_t m) {
    return process_vm_writev(getpid(), from, n, to, m, 0);
}

static void vectors(void) {
    char *m = map_anon(4 * PAGE, RW), buffer[64];
    for (int i = 0; i < 64; i++) m[PAGE - 32 + i] = (char)('A' + i % 26);
    struct iovec here[] = {{buffer, 10}, {NULL, 0}, {buffer + 10, 54}}, there[] = {{m + PAGE - 32, 5}, {m + PAGE - 27, 40}};
    CHECK(get(here, 3, there, 2) == 45 && !memcmp(buffer, m + PAGE - 32, 45));
    CHECK(get(here, 1, there, 2) == 10 && get(here, 0, there, 2) == 0 && get(here, 3, there, 0) == 0);
    CHECK(put(here, 1, there + 1, 1) == 10 && !memcmp(m + PAGE - 27, buffer, 10));
    CHECK(mprotect(m + PAGE, PAGE, PROT_READ) == 0);
    struct iovec across = {m + PAGE - 6, 20}, hole[] = {{m, 4}, {(void *)PAGE, 4}, {m + 8, 4}};
    CHECK(put(here + 2, 1, &across, 1) == 6); /* as far as it can be written */
    CHECK(get(here, 3, hole, 3) == 4);
    CHECK(mprotect(m + PAGE, PAGE, PROT_NONE) == 0);
    CHECK(get(here, 3, &across, 1) == 6);
    struct iovec never = {m + PAGE, 4}, wild = {(void *)-PAGE, 4}, huge = {m, (size_t)-1};
    CHECK_ERRNO(get(here, 3, &never, 1), EFAULT);
    CHECK_ERRNO(put(here, 3, &never, 1), EFAULT);
    CHECK_ERRNO(get(here, 3, &wild, 1), EFAULT);
    CHECK_ERRNO(get(here, 3, &huge, 1), EINVAL);
    CHECK_ERRNO(get(&huge, 1, there, 1), EINVAL);
    CHECK_ERRNO(get((struct iovec *)8, 1, there, 1), EFAULT);
    CHECK_ERRNO(get(here, 1, (struct iovec *)8, 1), EFAULT);
    static struct iovec many[1025];
    CHECK_ERRNO(get(many, 1025, there, 1), EINVAL);
    CHECK_ERRNO(get(here, 1, many, 1025), EINVAL);
    CHECK_ERRNO(process_vm_readv(getpid(), here, 1, there, 1, 1), EINVAL);
    CHECK_ERRNO(process_vm_readv(4194303, here, 1, there, 1, 0), ESRCH);
    struct iovec fresh = {map_anon(PAGE, RW), 8};
    CHECK(get(here, 1, &fresh, 1) == 8 && all_bytes(buffer, 8, 0));
}

static void mem(void) {
    int fd = open("/proc/self/mem", O_RDWR);
    char *m = map_anon(4 * PAGE, RW), buffer[16], *big = map_anon(8 * PAGE, RW);
    CHECK(fd >= 0);
    CHECK(pwrite(fd, "hello", 5, (off_t)m + PAGE - 2) == 5 && !memcmp(m + PAGE - 2, "hello", 5));
    CHECK(mprotect(m, PAGE, PROT_NONE) == 0 && mprotect(m + PAGE, PAGE, PROT_READ) == 0 && munmap(m + 2 * PAGE, PAGE) == 0);
    CHECK(pread(fd, buffer, 5, (off_t)m + PAGE - 2) == 5 && !memcmp(buffer, "hello", 5));
    CHECK(pwrite(fd, "HELLO", 5, (off_t)m + PAGE - 2) == 5 && !memcmp(m + PAGE, "LLO", 3));
    FAULTS(STORE(m + PAGE), SIGSEGV, SEGV_ACCERR, m + PAGE);
    CHECK(pread(fd, big, 8 * PAGE, (off_t)m + PAGE) == (ssize_t)PAGE);
    CHECK(pwrite(fd, big, 8 * PAGE, (off_t)m + PAGE) == (ssize_t)PAGE);
    CHECK_ERRNO(pread(fd, buffer, 4, (off_t)m + 2 * PAGE), EIO);
    CHECK_ERRNO(pwrite(fd, buffer, 4, (off_t)m + 2 * PAGE), EIO);
    CHECK_ERRNO(pread(fd, buffer, 4, 0), EIO);
    CHECK_ERRNO(pread(fd, buffer, 4, 0x7ffffffff000), EIO);
    CHECK_ERRNO(pread(fd, buffer, 4, -1), EINVAL);
    CHECK_ERRNO(pread(fd, (char *)8, 4, (off_t)m), EFAULT);
    CHECK_ERRNO(pwrite(fd, (char *)8, 4, (off_t)m), EFAULT);
    CHECK(pread(fd, buffer, 0, 0) == 0 && pwrite(fd, buffer, 0, 0) == 0);
    CHECK_ERRNO(lseek(fd, 0, SEEK_END), EINVAL);
    CHECK(lseek(fd, (off_t)m + PAGE, SEEK_SET) == (off_t)m + (off_t)PAGE && lseek(fd, 2, SEEK_CUR) == (off_t)m + (off_t)PAGE + 2);
    int shared = (int)syscall(SYS_memfd_create, "m", 0);
    CHECK(ftruncate(shared, PAGE) == 0);
    char *s = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, shared, 0);
    CHECK_ERRNO(pwrite(fd, "x", 1, (off_t)s), EIO); /* force does not go as far as the file */
    CHECK(pread(fd, buffer, 1, (off_t)s) == 1);
    CHECK_ERRNO(pread(fd, buffer, 1, (off_t)s + PAGE), EIO);
    char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, shared, 0);
    CHECK(pwrite(fd, "p", 1, (off_t)p) == 1 && *p == 'p' && !*s);
}

int main(void) {
    catch_faults();
    vectors();
    mem();
    puts("ok");
    return 0;
}
