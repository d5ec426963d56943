/* mincore, mlock, munlock, mlockall: what is in RAM, and the refusals. */
#include "guest.h"

int main(void) {
    unsigned char vec[8];
    char *p = map_anon(4 * PAGE, RW);
    p[0] = p[2 * PAGE] = 1;
    CHECK(SAYS(mincore(p, 4 * PAGE, vec), "mincore(%p, 16384, [1, 0, 1, 0])", (void *)p) == 0);
    CHECK(vec[0] == 1 && vec[1] == 0 && vec[2] == 1 && vec[3] == 0);
    CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0 && mincore(p, 1, vec) == 0 && vec[0] == 0);
    CHECK_ERRNO(mincore(p + 1, PAGE, vec), EINVAL);
    CHECK_ERRNO(mincore(p, PAGE, (void *)8), EFAULT);
    CHECK(mincore(p, 0, vec) == 0);
    CHECK_ERRNO(mincore(p, -PAGE, vec), ENOMEM);
    CHECK(munmap(p + 3 * PAGE, PAGE) == 0);
    CHECK_ERRNO(mincore(p, 4 * PAGE, vec), ENOMEM);
    puts("mincore");

    char *q = map_anon(4 * PAGE, RW);
    CHECK(SAYS(mlock(q, 2 * PAGE), "mlock(%p, 8192)", (void *)q) == 0);
    CHECK(mincore(q, 4 * PAGE, vec) == 0 && vec[0] == 1 && vec[1] == 1 && vec[2] == 0);
    CHECK_ERRNO(madvise(q, PAGE, MADV_DONTNEED), EINVAL); /* locked */
    CHECK(munlock(q, 4 * PAGE) == 0 && madvise(q, PAGE, MADV_DONTNEED) == 0);
    CHECK(mlock(q + 1, 1) == 0); /* rounded to pages */
    CHECK(mincore(q, PAGE, vec) == 0 && vec[0] == 1);
    CHECK_ERRNO(mlock(p, 4 * PAGE), ENOMEM);
    CHECK_ERRNO(munlock(p + 3 * PAGE, PAGE), ENOMEM);
    CHECK_ERRNO(mlockall(0), EINVAL);
    CHECK_ERRNO(mlockall(0x80), EINVAL);
    CHECK(munlockall() == 0 && madvise(q, PAGE, MADV_DONTNEED) == 0);
    char *locked = mmap(NULL, 2 * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
    CHECK(locked != MAP_FAILED && mincore(locked, 2 * PAGE, vec) == 0 && vec[0] == 1 && vec[1] == 1);
    char *populated = mmap(NULL, 3 * PAGE, RW, ANON | MAP_POPULATE, -1, 0);
    CHECK(populated != MAP_FAILED && mincore(populated, 3 * PAGE, vec) == 0 && vec[0] == 1 && vec[2] == 1);
    puts("mlock");
    return 0;
}
