/* mremap: several mappings at once, MREMAP_DONTUNMAP, parts of mappings, what goes along (offsets, locks, protection). */
// NOT COMPARED: it reads /proc/self/status, whose length is the host's
#include "guest.h"
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static char *remap(char *old, size_t from, size_t to, int flags, char *where) {
    return (char *)syscall(SYS_mremap, old, from, to, flags, where);
}

int main(void) {
    catch_faults();
    char *room = map_anon(64 * PAGE, PROT_NONE);
    CHECK(munmap(room, 64 * PAGE) == 0);
    char *p = mmap(room, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
    for (int i = 0; i < 4; i++) memset(p + i * (int)PAGE, 'a' + i, PAGE);

    char *middle = remap(p + PAGE, 2 * PAGE, 2 * PAGE, 3, room + 16 * PAGE); /* out of the middle */
    CHECK(middle == room + 16 * PAGE && middle[0] == 'b' && middle[PAGE] == 'c' && p[0] == 'a' && p[3 * PAGE] == 'd');
    FAULTS(LOAD(p + PAGE), SIGSEGV, SEGV_MAPERR, p + PAGE);
    CHECK(remap(middle, 2 * PAGE, 2 * PAGE, 3, p + PAGE) == p + PAGE && p[PAGE] == 'b' && p[2 * PAGE] == 'c');
    CHECK(remap(p, 4 * PAGE, 4 * PAGE, 0, NULL) == p); /* it is one mapping again */
    puts("parts");

    char *other = remap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    CHECK(other != MAP_FAILED && other != p && other[0] == 'a' && all_bytes(p, 4 * PAGE, 0)); /* the old place reads zero */
    p[0] = 'z';
    CHECK(other[0] == 'a');
    CHECK_ERRNO(remap(p, 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), EINVAL);
    CHECK_ERRNO(remap(p, 4 * PAGE, 4 * PAGE, MREMAP_DONTUNMAP, NULL), EINVAL);
    puts("DONTUNMAP");

    CHECK(mprotect(other + PAGE, PAGE, PROT_READ) == 0); /* three mappings now */
    CHECK_ERRNO(remap(other, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, NULL), EFAULT);
    CHECK(remap(other, 4 * PAGE, 4 * PAGE, 3, room + 24 * PAGE) == room + 24 * PAGE); /* without a change of size: all */
    other = room + 24 * PAGE;
    CHECK(other[0] == 'a' && other[PAGE] == 'b' && other[3 * PAGE] == 'd');
    FAULTS(STORE(other + PAGE), SIGSEGV, SEGV_ACCERR, other + PAGE);
    CHECK_ERRNO(remap(other, 2 * PAGE, 2 * PAGE, 3, other + PAGE), EINVAL);
    CHECK_ERRNO(remap(other + 8 * PAGE, PAGE, PAGE, 3, room), EFAULT);
    puts("several");

    CHECK(remap(other, 4 * PAGE, PAGE, 0, NULL) == other); /* shrinking may span them */
    FAULTS(LOAD(other + PAGE), SIGSEGV, SEGV_MAPERR, other + PAGE);
    CHECK(remap(other, PAGE, 4 * PAGE, 0, NULL) == other && all_bytes(other + PAGE, 3 * PAGE, 0) && other[0] == 'a');
    char *wall = mmap(other + 4 * PAGE, PAGE, PROT_NONE, ANON | MAP_FIXED, -1, 0);
    CHECK(wall == other + 4 * PAGE);
    CHECK_ERRNO(remap(other, 4 * PAGE, 5 * PAGE, 0, NULL), ENOMEM);
    puts("in place");

    long before = status_field("VmLck");
    CHECK(mlock(other, 4 * PAGE) == 0 && status_field("VmLck") == before + 16);
    other = remap(other, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, NULL); /* the lock goes along, what is new is there at once */
    unsigned char vec[6];
    CHECK(other != MAP_FAILED && status_field("VmLck") == before + 24 && mincore(other, 6 * PAGE, vec) == 0 && vec[5] == 1);
    CHECK(munmap(other, 6 * PAGE) == 0 && status_field("VmLck") == before);
    puts("locked");

    int fd = file_with("file", 6 * PAGE);
    char *file = mmap(room + 40 * PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, PAGE);
    char *twin = remap(file + PAGE, 0, 2 * PAGE, MREMAP_MAYMOVE, NULL); /* old length 0: a second view, from there on */
    CHECK(twin != MAP_FAILED && twin[0] == 'c' && twin[PAGE] == 'd');
    twin[0] = 'C';
    CHECK(file[PAGE] == 'C');
    file = remap(file, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, NULL);
    CHECK(file != MAP_FAILED && file[0] == 'b' && file[3 * PAGE] == 'e');
    file = remap(file, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, NULL); /* past the end of the file: granted, not there */
    CHECK(file != MAP_FAILED);
    FAULTS(LOAD(file + 5 * PAGE), SIGBUS, BUS_ADRERR, file + 5 * PAGE);
    puts("files");

    struct rlimit limit, little;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    little = limit, little.rlim_cur = 64 << 20;
    CHECK(setrlimit(RLIMIT_AS, &little) == 0);
    CHECK_ERRNO(remap(p, 4 * PAGE, 128 << 20, MREMAP_MAYMOVE, NULL), ENOMEM);
    CHECK(p[0] == 'z' && setrlimit(RLIMIT_AS, &limit) == 0);
    puts("RLIMIT_AS");
    return 0;
}
