/* mmap: where things go (hints, MAP_FIXED over several, MAP_32BIT, the first page), and what files behind them do. */
#include "guest.h"
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static char *at(void *hint, size_t length, int prot, int flags) { return mmap(hint, length, prot, ANON | flags, -1, 0); }

int main(void) {
    catch_faults();
    char *room = map_anon(64 * PAGE, PROT_NONE);
    CHECK(munmap(room, 64 * PAGE) == 0);
    CHECK(at(room + 8 * PAGE, PAGE, RW, 0) == room + 8 * PAGE);           /* free: kept */
    CHECK(at(room + 9 * PAGE + 123, PAGE, RW, 0) == room + 9 * PAGE);     /* rounded down */
    char *moved = at(room + 8 * PAGE, PAGE, RW, 0);                       /* taken: elsewhere */
    CHECK(moved != MAP_FAILED && moved != room + 8 * PAGE);
    CHECK(room[8 * PAGE] == 0 && at((void *)8, PAGE, RW, 0) != MAP_FAILED); /* below vm.mmap_min_addr: raised, not refused */
    CHECK(at((void *)0x7ffffffff000, PAGE, RW, 0) != MAP_FAILED);         /* beyond: a hint is only a hint */
    CHECK((uintptr_t)at(NULL, PAGE, RW, MAP_32BIT) < 1UL << 31);
    CHECK((uintptr_t)at(NULL, PAGE, RW, MAP_STACK | MAP_NORESERVE) > 1UL << 32);
    puts("hints");

    for (int i = 0; i < 3; i++) CHECK(at(room + (16 + 2 * i) * PAGE, PAGE, i ? PROT_READ : RW, MAP_FIXED) != MAP_FAILED);
    room[16 * PAGE] = 1;
    CHECK_ERRNO(at(room + 15 * PAGE, 8 * PAGE, RW, MAP_FIXED_NOREPLACE), EEXIST);
    CHECK(room[16 * PAGE] == 1);
    CHECK(at(room + 15 * PAGE, 8 * PAGE, RW, MAP_FIXED) == room + 15 * PAGE && all_bytes(room + 15 * PAGE, 8 * PAGE, 0));
    CHECK(at(room + 32 * PAGE, PAGE, RW, MAP_FIXED_NOREPLACE) == room + 32 * PAGE);
    puts("MAP_FIXED");

    char *vast = at(NULL, 12UL << 40, PROT_NONE, MAP_NORESERVE);
    CHECK(vast != MAP_FAILED);
    FAULTS(LOAD(vast + (6UL << 40)), SIGSEGV, SEGV_ACCERR, vast + (6UL << 40));
    CHECK(mprotect(vast + (6UL << 40), PAGE, RW) == 0);
    vast[6UL << 40] = 1;
    CHECK(munmap(vast, 12UL << 40) == 0);
    char *writeonly = at(NULL, PAGE, PROT_WRITE, 0); /* which on x86 can be read */
    writeonly[1] = 2;
    CHECK(writeonly[1] == 2);
    puts("reservations, and write-only");

    int fd = file_with("file", 2 * PAGE + 100);
    char *file = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0), byte;
    CHECK(file != MAP_FAILED && file[2 * PAGE + 99] == 'c' && all_bytes(file + 2 * PAGE + 100, PAGE - 100, 0));
    FAULTS(LOAD(file + 3 * PAGE), SIGBUS, BUS_ADRERR, file + 3 * PAGE);
    file[2 * PAGE + 100] = 'z'; /* past the end, in its page: never in the file */
    CHECK(pread(fd, &byte, 1, 2 * PAGE + 100) == 0 && file[2 * PAGE + 100] == 'z');
    CHECK(ftruncate(fd, 2 * PAGE + 200) == 0 && pread(fd, &byte, 1, 2 * PAGE + 100) == 1);
    file[5] = 'X';
    CHECK(pread(fd, &byte, 1, 5) == 1 && byte == 'X' && pwrite(fd, "Y", 1, 6) == 1 && file[6] == 'Y');
    char *mine = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
    mine[0] = 'm';
    CHECK(file[0] == 'a' && mine[6] == 'Y');
    CHECK(ftruncate(fd, PAGE) == 0); /* under both of them */
    FAULTS(LOAD(file + PAGE), SIGBUS, BUS_ADRERR, file + PAGE);
    FAULTS(STORE(mine + 2 * PAGE), SIGBUS, BUS_ADRERR, mine + 2 * PAGE);
    CHECK(mine[0] == 'm');
    CHECK(ftruncate(fd, 3 * PAGE) == 0 && file[PAGE] == 0 && mine[2 * PAGE] == 0);
    CHECK(close(fd) == 0 && msync(file, 3 * PAGE, MS_SYNC) == 0 && file[5] == 'X');
    puts("files");

    fd = open("file", O_RDWR);
    CHECK_ERRNO(mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
    CHECK(mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE, fd, 0) != MAP_FAILED);
    CHECK_ERRNO(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 1L << 62 | 1), EINVAL);
    CHECK_ERRNO(mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, (off_t)((1UL << 63) - PAGE)), EOVERFLOW);
    puts("refusals");
    return 0;
}
