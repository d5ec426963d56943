/* mremap: in place, moving, shrinking, fixed, and its refusals. */
#include "guest.h"

int main(void) {
    catch_faults();
    char *arena = map_anon(64 * PAGE, PROT_NONE);
    CHECK(munmap(arena, 64 * PAGE) == 0); /* room that is known to be free */
    char *p = mmap(arena, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
    for (int i = 0; i < 4; i++) memset(p + i * (int)PAGE, 'a' + i, PAGE);

    CHECK(SAYS_PTR(mremap(p, 4 * PAGE, 8 * PAGE, 0), "mremap(%p, 16384, 32768, 0)", (void *)p) == p);
    CHECK(p[4 * PAGE - 1] == 'd' && all_bytes(p + 4 * PAGE, 4 * PAGE, 0));
    CHECK(mremap(p, 8 * PAGE, 2 * PAGE, 0) == p && p[PAGE] == 'b');
    FAULTS(LOAD(p + 2 * PAGE), SIGSEGV, SEGV_MAPERR, p + 2 * PAGE);
    CHECK(mremap(p, 2 * PAGE, 2 * PAGE, 0) == p);
    puts("in place");

    char *wall = mmap(p + 2 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0);
    wall[0] = 'w';
    CHECK(mprotect(wall, PAGE, PROT_READ) == 0);
    CHECK_ERRNO(mremap(p, 2 * PAGE, 4 * PAGE, 0), ENOMEM);
    char *moved = mremap(p, 2 * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved != p);
    CHECK(moved[0] == 'a' && moved[PAGE] == 'b' && all_bytes(moved + 2 * PAGE, 98 * PAGE, 0) && wall[0] == 'w');
    FAULTS(LOAD(p), SIGSEGV, SEGV_MAPERR, p);
    puts("moved");

    char *to = arena + 32 * PAGE;
    CHECK(mmap(to, 3 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == to);
    CHECK(mremap(moved, 100 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    CHECK(to[0] == 'a' && to[PAGE] == 'b' && to[2 * PAGE] == 0); /* what was at `to` is gone, beyond it stays */
    to[0] = 'A';
    FAULTS(STORE(to + 2 * PAGE), SIGSEGV, SEGV_ACCERR, to + 2 * PAGE);
    FAULTS(LOAD(moved + 50 * PAGE), SIGSEGV, SEGV_MAPERR, moved + 50 * PAGE);
    puts("fixed");

    CHECK_ERRNO(mremap(to + 1, PAGE, PAGE, 0), EINVAL);
    CHECK_ERRNO(mremap(to, PAGE, 0, 0), EINVAL);
    CHECK_ERRNO(mremap(to, PAGE, PAGE, 0x80), EINVAL);
    CHECK_ERRNO(mremap(to, PAGE, PAGE, MREMAP_FIXED, arena), EINVAL);
    CHECK_ERRNO(mremap(to, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE), EINVAL);
    CHECK_ERRNO(mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, arena + 1), EINVAL);
    CHECK_ERRNO(mremap(arena + 60 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    CHECK_ERRNO(mremap(to, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE), EFAULT);
    CHECK_ERRNO(mremap(to, PAGE, (1UL << 47) - PAGE, MREMAP_MAYMOVE), ENOMEM);
    CHECK_ERRNO(mremap(to, 0, PAGE, MREMAP_MAYMOVE), EINVAL); /* a copy of a private mapping cannot be had */
    puts("refusals");

    char *shared = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    shared[0] = 's';
    char *twin = mremap(shared, 0, 2 * PAGE, MREMAP_MAYMOVE); /* old length 0: the same pages a second time */
    CHECK(twin != MAP_FAILED && twin != shared && twin[0] == 's');
    twin[PAGE] = 't';
    CHECK(shared[PAGE] == 't');
    puts("twins");

    char *big = map_anon(PAGE, RW);
    big[0] = 1;
    size_t length = PAGE;
    for (int i = 0; i < 12; i++, length *= 2) { /* how realloc grows */
        big = mremap(big, length, 2 * length, MREMAP_MAYMOVE);
        CHECK(big != MAP_FAILED && big[0] == 1);
        big[2 * length - 1] = 2;
    }
    CHECK(munmap(big, length) == 0);

    int fd = file_with("file", 4 * PAGE);
    char *file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE);
    CHECK(file != MAP_FAILED && file[0] == 'b');
    file = mremap(file, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
    CHECK(file != MAP_FAILED && file[0] == 'b' && file[2 * PAGE] == 'd');
    puts("files");
    return 0;
}
