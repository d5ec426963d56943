/* What programs seldom do to memory: garbage above an int, private mappings of /dev/zero, droppable memory paged out. */
// NOT COMPARED: strace 6.1 prints the garbage of some ints, and does not know MAP_DROPPABLE
#include "guest.h"
#define HIGH 0xdead00000000UL
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define DROPPABLE 8

static char *at = (char *)0x200000000000UL;

/* The mappings of the arena, as maps has them, without their devices and inodes. */
static void show(void) {
    unsigned long start, end, offset;
    char perms[5], name[64];
    for (char *line = slurp("/proc/self/maps"); *line; line = strchr(line, '\n') + 1) {
        *name = 0;
        if (sscanf(line, "%lx-%lx %4s %lx %*s %*s%63[^\n]", &start, &end, perms, &offset, name) >= 4 &&
            start - (unsigned long)at < 64 * PAGE)
            printf("  %lx-%lx %s %lx %s\n", start - (unsigned long)at, end - (unsigned long)at, perms, offset,
                   name + strspn(name, " "));
    }
}

/* The high half of an argument that is an int is not seen. */
static void ints(void) {
    char *p = mmap(at, 8 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
    CHECK(p == at);
    printf("msync %ld\n", syscall(SYS_msync, p, PAGE, HIGH | MS_SYNC));
    printf("mlock2 %ld\n", syscall(SYS_mlock2, p, PAGE, HIGH | 1));
    printf("mlockall %ld\n", syscall(SYS_mlockall, HIGH | MCL_CURRENT));
    CHECK(munlockall() == 0);
    printf("mbind %ld\n", syscall(SYS_mbind, p, PAGE, 0, NULL, 0, HIGH));
    printf("move_pages %ld\n", syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, HIGH));
    printf("madvise %ld\n", syscall(SYS_madvise, p, PAGE, HIGH | MADV_DONTNEED));
    printf("membarrier %ld\n", syscall(SYS_membarrier, HIGH | 4, HIGH, HIGH));
    CHECK_ERRNO(syscall(SYS_mprotect, p, PAGE, HIGH | PROT_READ), EINVAL); /* a long */
    CHECK_ERRNO(syscall(SYS_mremap, p, PAGE, PAGE, HIGH), EINVAL);
    CHECK(munmap(p, 8 * PAGE) == 0);
}

static void zero_file(void) {
    int fd = open("/dev/zero", O_RDWR);
    CHECK(fd >= 0);
    CHECK(mmap(at, 2 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, PAGE) == at);
    CHECK(mmap(at + 2 * PAGE, 2 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 3 * PAGE) == at + 2 * PAGE);
    CHECK(mmap(at + 4 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == at + 4 * PAGE);
    memset(at, 5, 5 * PAGE);
    show();
    CHECK_ERRNO(madvise(at, PAGE, MADV_REMOVE), EACCES);
    CHECK_ERRNO(madvise(at, PAGE, 18 /* MADV_WIPEONFORK */), EINVAL);
    /* it is not moved together with its neighbour, but alone */
    CHECK(mremap(at, 5 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 16 * PAGE) == MAP_FAILED && errno == EFAULT);
    CHECK(mremap(at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 16 * PAGE) == at + 16 * PAGE);
    CHECK(all_bytes(at + 16 * PAGE, 4 * PAGE, 5));
    show();
    CHECK(munmap(at, 32 * PAGE) == 0 && close(fd) == 0);
}

/* Two mappings of a file, of one kind each, move together. */
static void files_together(void) {
    int fd = file_with("two", 4 * PAGE);
    CHECK(mmap(at, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == at);
    CHECK(mmap(at + 2 * PAGE, 2 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 0) == at + 2 * PAGE);
    CHECK(mremap(at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 16 * PAGE) == at + 16 * PAGE);
    CHECK(at[16 * PAGE] == 'a' && at[19 * PAGE] == 'b');
    CHECK(munmap(at, 32 * PAGE) == 0 && close(fd) == 0 && unlink("two") == 0);
}

/* There is no swap, but droppable pages go without. */
static void droppable(void) {
    char *p = mmap(at, 4 * PAGE, RW, DROPPABLE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (p == MAP_FAILED) return; /* Linux 6.11 has it */
    CHECK(p == at);
    memset(p, 7, 4 * PAGE);
    CHECK(madvise(p + PAGE, 2 * PAGE, MADV_PAGEOUT) == 0);
    CHECK(p[0] == 7 && all_bytes(p + PAGE, 2 * PAGE, 0) && p[3 * PAGE] == 7);
    CHECK(munmap(p, 4 * PAGE) == 0);
}

/* A mask longer than the machine's: its first word comes back, the rest is cleared. */
static void long_masks(void) {
    unsigned long mask[16] = {1, 1, [8] = 1}, back[17];
    int mode;
    memset(back, 0x55, sizeof back);
    CHECK(syscall(SYS_set_mempolicy, 2 | 1 << 15, mask, 1024UL) == 0);
    CHECK(syscall(SYS_get_mempolicy, &mode, back, 1024UL, NULL, 0) == 0);
    printf("%#x %lx %lx %lx %lx\n", mode, back[0], back[1], back[8], back[16]);
    CHECK(syscall(SYS_get_mempolicy, &mode, BAD, -1UL, NULL, 0) == 0); /* rounds up to nothing */
    CHECK(syscall(SYS_set_mempolicy, 0, NULL, 0UL) == 0);
}

int main(void) {
    ints();
    zero_file();
    files_together();
    droppable();
    long_masks();
    return 0;
}
