/* madvise: what is lost and what is kept, guard pages, populating, and what locked memory, files and sharing allow. */
#include "guest.h"
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#define MADV_KEEPONFORK 19
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

int main(void) {
    unsigned char vec[4];
    catch_faults();
    char *p = map_anon(4 * PAGE, RW);
    memset(p, 7, 4 * PAGE);
    CHECK(madvise(p, 4 * PAGE, MADV_FREE) == 0);
    p[0] = 8;
    CHECK(all_bytes(p + 1, PAGE - 1, 7) || all_bytes(p + 1, PAGE - 1, 0)); /* all of a page, or nothing */
    CHECK(madvise(p, 4 * PAGE, MADV_DONTNEED) == 0 && all_bytes(p, 4 * PAGE, 0));
    puts("FREE");

    memset(p, 7, 4 * PAGE);
    CHECK(madvise(p + PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0);
    FAULTS(LOAD(p + PAGE), SIGSEGV, SEGV_MAPERR, p + PAGE);
    FAULTS(STORE(p + 3 * PAGE - 1), SIGSEGV, SEGV_MAPERR, p + 3 * PAGE - 1);
    CHECK(p[PAGE - 1] == 7 && p[3 * PAGE] == 7);
    CHECK_ERRNO(write(open("/dev/null", O_WRONLY), p, 1) == 1 ? read(open("/dev/zero", O_RDONLY), p + PAGE, 1) : 0, EFAULT);
    CHECK(mprotect(p, 4 * PAGE, PROT_READ) == 0 && mprotect(p, 4 * PAGE, RW) == 0);
    FAULTS(LOAD(p + 2 * PAGE), SIGSEGV, SEGV_MAPERR, p + 2 * PAGE); /* guards outlive mprotect */
    CHECK(madvise(p + PAGE, PAGE, MADV_DONTNEED) == 0);
    FAULTS(LOAD(p + PAGE), SIGSEGV, SEGV_MAPERR, p + PAGE); /* and MADV_DONTNEED */
    CHECK_ERRNO(madvise(p, 4 * PAGE, MADV_POPULATE_READ), EFAULT);
    CHECK(madvise(p, 4 * PAGE, MADV_GUARD_REMOVE) == 0 && p[PAGE] == 0 && p[0] == 7); /* the rest is not lost */
    puts("guard pages");

    CHECK(madvise(p, 4 * PAGE, MADV_DONTNEED) == 0 && madvise(p, 2 * PAGE, MADV_POPULATE_WRITE) == 0);
    CHECK(mincore(p, 4 * PAGE, vec) == 0 && vec[0] == 1 && vec[1] == 1 && vec[2] == 0);
    CHECK(mprotect(p, PAGE, PROT_READ) == 0);
    CHECK_ERRNO(madvise(p, 2 * PAGE, MADV_POPULATE_WRITE), EINVAL);
    CHECK(madvise(p, 2 * PAGE, MADV_POPULATE_READ) == 0 && mprotect(p, PAGE, PROT_NONE) == 0);
    CHECK_ERRNO(madvise(p, PAGE, MADV_POPULATE_READ), EINVAL);
    CHECK(mprotect(p, PAGE, RW) == 0 && munmap(p + 3 * PAGE, PAGE) == 0);
    CHECK_ERRNO(madvise(p, 4 * PAGE, MADV_POPULATE_WRITE), ENOMEM);
    CHECK(mincore(p, 3 * PAGE, vec) == 0 && vec[2] == 1); /* up to the hole it was done */
    puts("POPULATE");

    CHECK(mlock(p, PAGE) == 0);
    p[0] = 5;
    CHECK_ERRNO(madvise(p, 2 * PAGE, MADV_DONTNEED), EINVAL);
    CHECK_ERRNO(madvise(p, PAGE, MADV_GUARD_INSTALL), EINVAL);
    CHECK_ERRNO(madvise(p, PAGE, 20 /* MADV_COLD */), EINVAL);
    CHECK(p[0] == 5 && madvise(p, PAGE, MADV_DONTNEED_LOCKED) == 0 && p[0] == 0 && munlock(p, PAGE) == 0);
    puts("locked");

    int fd = file_with("file", 4 * PAGE);
    char byte, *shared = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0), *private = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
    private[PAGE] = 'P';
    CHECK(madvise(shared + PAGE, PAGE, MADV_REMOVE) == 0); /* a hole in the file */
    CHECK(all_bytes(shared + PAGE, PAGE, 0) && pread(fd, &byte, 1, PAGE + 1) == 1 && byte == 0);
    CHECK(shared[2 * PAGE] == 'c');
    CHECK_ERRNO(madvise(private, PAGE, MADV_REMOVE), EACCES);
    CHECK_ERRNO(madvise(p, PAGE, MADV_REMOVE), EINVAL);
    CHECK_ERRNO(madvise(private, PAGE, MADV_WIPEONFORK), EINVAL);
    CHECK_ERRNO(madvise(shared, PAGE, MADV_WIPEONFORK), EINVAL);
    CHECK(madvise(p, PAGE, MADV_WIPEONFORK) == 0 && madvise(p, PAGE, MADV_KEEPONFORK) == 0);
    CHECK(madvise(private, 4 * PAGE, MADV_DONTNEED) == 0 && private[PAGE] == 0 && private[0] == 'a');
    CHECK(madvise(shared, 4 * PAGE, MADV_DONTNEED) == 0 && shared[2 * PAGE] == 'c');
    puts("files");
    return 0;
}
