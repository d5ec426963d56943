/* madvise: DONTNEED drops, hints change nothing one can see, holes are ENOMEM but both sides are advised. */
#include "guest.h"
#ifndef MADV_COLD
#define MADV_COLD 20
#endif

int main(void) {
    char *p = map_anon(4 * PAGE, RW);
    memset(p, 9, 4 * PAGE);
    CHECK(SAYS(madvise(p + PAGE, 2 * PAGE, MADV_DONTNEED), "madvise(%p, 8192, MADV_DONTNEED)", (void *)(p + PAGE)) == 0);
    CHECK(all_bytes(p, PAGE, 9) && all_bytes(p + PAGE, 2 * PAGE, 0) && all_bytes(p + 3 * PAGE, PAGE, 9));
    p[PAGE] = 1;
    CHECK(p[PAGE] == 1);
    puts("DONTNEED");

    static const int hints[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        CHECK(madvise(p, 4 * PAGE, hints[i]) == 0);
        CHECK(p[0] == 9 && p[PAGE] == 1);
    }
    CHECK(madvise(p, PAGE, MADV_FREE) == 0);
    CHECK(p[0] == 9 || p[0] == 0);
    p[0] = 8;
    CHECK(p[0] == 8); /* written after MADV_FREE: kept */
    puts("hints");

    CHECK(munmap(p + 2 * PAGE, PAGE) == 0);
    CHECK(SAYS(madvise(p, 4 * PAGE, MADV_DONTNEED), "madvise(%p, 16384, MADV_DONTNEED)", (void *)p) == -1);
    CHECK(p[0] == 0 && p[PAGE] == 0 && p[3 * PAGE] == 0);
    CHECK_ERRNO(madvise(p + 1, PAGE, MADV_DONTNEED), EINVAL);
    CHECK_ERRNO(madvise(p, -1UL, MADV_DONTNEED), EINVAL);
    CHECK_ERRNO(madvise(p, PAGE, 99), EINVAL);
    SAYS(madvise(p, PAGE, 99), "madvise(%p, 4096, 0x63 /* MADV_??? */)", (void *)p);
    CHECK(madvise(p, 0, MADV_DONTNEED) == 0);
    CHECK_ERRNO(madvise(p, 0, 99), EINVAL);
    puts("refusals");

    int fd = file_with("file", 2 * PAGE);
    char *m = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
    CHECK(m != MAP_FAILED);
    m[0] = 'X';
    CHECK(madvise(m, 2 * PAGE, MADV_DONTNEED) == 0 && m[0] == 'a'); /* the file again */
    char *s = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    s[0] = 5;
    CHECK(madvise(s, PAGE, MADV_DONTNEED) == 0 && s[0] == 5); /* shared pages are not lost */
    CHECK_ERRNO(madvise(s, PAGE, MADV_FREE), EINVAL);
    puts("files and shared memory");
    return 0;
}
