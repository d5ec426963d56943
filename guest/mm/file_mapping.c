/* Mappings of a file: private copies, shared writes, the zero tail, coherence with read and write, truncation, msync. */
#include "guest.h"

static char at(int fd, off_t offset) {
    char byte = '?';
    CHECK(pread(fd, &byte, 1, offset) == 1);
    return byte;
}

int main(void) {
    catch_faults();
    int fd = file_with("file", 2 * PAGE + 100);
    char *private = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, fd, 0);
    char *shared = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0);
    CHECK(private != MAP_FAILED && shared != MAP_FAILED);
    CHECK(all_bytes(private + 2 * PAGE, 100, 'c') && all_bytes(private + 2 * PAGE + 100, PAGE - 100, 0));
    private[0] = 'P';
    CHECK(shared[0] == 'a' && at(fd, 0) == 'a' && private[1] == 'a');
    shared[PAGE] = 'S';
    CHECK(at(fd, PAGE) == 'S' && private[PAGE] == 'S'); /* not yet copied: it sees the file */
    shared[1] = 'T';
    CHECK(private[1] == 'a'); /* copied */
    CHECK(pwrite(fd, "W", 1, PAGE + 1) == 1 && shared[PAGE + 1] == 'W' && private[PAGE + 1] == 'W');
    puts("copy on write, and coherence");

    shared[2 * PAGE + 500] = 'Z'; /* beyond the end of the file, within its last page */
    struct stat st;
    CHECK(fstat(fd, &st) == 0 && st.st_size == 2 * PAGE + 100);
    CHECK(msync(shared, 3 * PAGE, MS_SYNC) == 0 && msync(shared, PAGE, MS_ASYNC) == 0);
    CHECK_ERRNO(msync(shared, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    CHECK_ERRNO(msync(shared + 1, PAGE, MS_SYNC), EINVAL);
    CHECK_ERRNO(msync(shared, PAGE, 0x80), EINVAL);
    puts("msync");

    CHECK(ftruncate(fd, PAGE) == 0);
    FAULTS(LOAD(shared + PAGE), SIGBUS, BUS_ADRERR, shared + PAGE);
    FAULTS(LOAD(private + PAGE), SIGBUS, BUS_ADRERR, private + PAGE);
    CHECK(private[0] == 'P' && shared[1] == 'T');
    CHECK(ftruncate(fd, 2 * PAGE) == 0);
    CHECK(shared[PAGE] == 0 && private[PAGE] == 0);
    shared[PAGE] = 'N';
    CHECK(close(fd) == 0 && unlink("file") == 0 && shared[PAGE] == 'N'); /* the mapping keeps the file */
    puts("truncation");

    fd = file_with("file", 100);
    char *tail = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    CHECK(tail != MAP_FAILED && ftruncate(fd, 50) == 0);
    CHECK(tail[49] == 'a' && tail[50] == 0 && tail[99] == 0);
    CHECK(ftruncate(fd, 200) == 0 && tail[60] == 0);
    char *later = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    FAULTS(LOAD(later), SIGBUS, BUS_ADRERR, later);
    CHECK(ftruncate(fd, 2 * PAGE) == 0 && later[0] == 0);

    /* The kernel's own accesses fault the same pages in. */
    char *fresh = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
    CHECK(pread(fd, fresh + PAGE, 50, 0) == 50 && fresh[PAGE] == 'a');
    CHECK(write(fd, fresh, 10) == 10);
    CHECK(ftruncate(fd, 0) == 0);
    CHECK_ERRNO(write(fd, later, 10), EFAULT); /* what would be a SIGBUS is EFAULT in the kernel */
    puts("the kernel's accesses");
    return 0;
}
