/* mlock, mlock2, mlockall, mincore, msync, mseal: VmLck to the kilobyte, residency to the page. */
// NOT COMPARED: it reads /proc/self/status, whose length is the host's
#include "guest.h"
#ifndef SYS_mlock2
#define SYS_mlock2 325
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

int main(void) {
    unsigned char vec[8];
    catch_faults();
    char *p = map_anon(8 * PAGE, RW);
    CHECK(mlock(p + 2 * PAGE, 2 * PAGE) == 0 && status_field("VmLck") == 8);
    CHECK(mlock(p + 3 * PAGE + 5, PAGE) == 0 && status_field("VmLck") == 12); /* what is locked is not counted twice */
    CHECK(mincore(p, 8 * PAGE, vec) == 0 && memcmp(vec, "\0\0\1\1\1\0\0\0", 8) == 0);
    CHECK(munlock(p + 3 * PAGE, PAGE) == 0 && status_field("VmLck") == 8 && mincore(p, 8 * PAGE, vec) == 0 && vec[3] == 1);
    CHECK(mlock(p, 0) == 0 && munlock(p, 8 * PAGE) == 0 && status_field("VmLck") == 0); /* munlock of what is not locked is none */
    puts("mlock");

    CHECK(syscall(SYS_mlock2, p, 8 * PAGE, 1) == 0 && status_field("VmLck") == 32);
    CHECK(mincore(p, 8 * PAGE, vec) == 0 && memcmp(vec, "\0\0\1\1\1\0\0\0", 8) == 0); /* MLOCK_ONFAULT: nothing comes by itself */
    p[0] = 1;
    CHECK_ERRNO(madvise(p, PAGE, MADV_DONTNEED), EINVAL);
    CHECK_ERRNO(syscall(SYS_mlock2, p, PAGE, 2), EINVAL);
    CHECK(munmap(p + PAGE, 7 * PAGE) == 0 && status_field("VmLck") == 4);
    CHECK_ERRNO(mlock(p, 2 * PAGE), ENOMEM);
    CHECK(munlock(p, PAGE) == 0 && mprotect(p, PAGE, PROT_NONE) == 0);
    CHECK_ERRNO(mlock(p, PAGE), ENOMEM); /* cannot be made present, and is locked all the same */
    CHECK(status_field("VmLck") == 4 && munlock(p, PAGE) == 0 && mprotect(p, PAGE, RW) == 0 && p[0] == 1);
    puts("ONFAULT, and partial effects");

    CHECK(mlockall(MCL_FUTURE) == 0 && status_field("VmLck") == 0);
    char *later = map_anon(2 * PAGE, RW);
    CHECK(status_field("VmLck") == 8 && mincore(later, 2 * PAGE, vec) == 0 && vec[0] == 1 && vec[1] == 1);
    CHECK(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0);
    char *lazy = map_anon(PAGE, RW); /* which Linux merges with nothing: another flag */
    CHECK(mincore(lazy, PAGE, vec) == 0 && vec[0] == 0 && status_field("VmLck") == 12);
    CHECK_ERRNO(msync(later, PAGE, MS_INVALIDATE), EBUSY);
    CHECK(munlockall() == 0 && status_field("VmLck") == 0 && msync(later, PAGE, MS_INVALIDATE) == 0);
    CHECK_ERRNO(mlockall(MCL_ONFAULT), EINVAL);
    puts("mlockall");

    int fd = file_with("file", 2 * PAGE);
    char *file = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0);
    CHECK(mincore(file, 3 * PAGE, vec) == 0 && vec[0] == 1 && vec[1] == 1 && vec[2] == 0); /* what the page cache has */
    CHECK_ERRNO(mlock(file, 3 * PAGE), ENOMEM); /* SIGBUS would be on its last page */
    CHECK(munlock(file, 3 * PAGE) == 0);
    CHECK(msync(file, 3 * PAGE, MS_ASYNC) == 0 && msync(file, 0, MS_SYNC) == 0 && msync(file, 1, 0) == 0);
    CHECK_ERRNO(msync(file, PAGE, MS_ASYNC | MS_SYNC), EINVAL);
    CHECK(munmap(file + PAGE, PAGE) == 0);
    CHECK_ERRNO(msync(file, 3 * PAGE, MS_SYNC), ENOMEM);
    CHECK(mincore(file, 1, vec) == 0);
    CHECK_ERRNO(mincore(file, 3 * PAGE, vec), ENOMEM);
    puts("msync and mincore");

    char *sealed = map_anon(3 * PAGE, RW);
    sealed[PAGE] = 9;
    CHECK(syscall(SYS_mseal, sealed + PAGE, PAGE, 0) == 0 && syscall(SYS_mseal, sealed + PAGE, PAGE, 0) == 0);
    CHECK_ERRNO(munmap(sealed, 3 * PAGE), EPERM);
    CHECK_ERRNO(syscall(SYS_mprotect, sealed + PAGE, PAGE, PROT_READ), EPERM);
    CHECK_ERRNO(mremap(sealed + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EPERM);
    CHECK_ERRNO(mmap(sealed, 3 * PAGE, RW, ANON | MAP_FIXED, -1, 0), EPERM);
    sealed[PAGE + 1] = 8; /* writing goes on */
    CHECK(madvise(sealed + PAGE, PAGE, MADV_DONTNEED) == 0 && sealed[PAGE] == 0); /* its owner may write: may discard */
    CHECK(munmap(sealed, PAGE) == 0 && munmap(sealed + 2 * PAGE, PAGE) == 0);
    CHECK_ERRNO(syscall(SYS_mseal, sealed, 2 * PAGE, 0), ENOMEM);
    puts("mseal");
    return 0;
}
