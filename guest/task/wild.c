/* Random syscalls with random arguments, seeded: whatever comes back is fine. */
// NOT ON A HOST: random syscalls
// KINDS: musl
#include "guest.h"

static uint64_t state;
static uint64_t next(void) { return state ^= state << 13, state ^= state >> 7, state ^= state << 17; }

static const short never[] = {SYS_exit, SYS_exit_group, SYS_pause, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_execve, SYS_execveat};

static long argument(char *scratch) {
    static const long odd[] = {0, 1, 2, 3, 7, 8, -1, -2, -100, 4096, 4095, 0x7fffffff, 1L << 31, 1L << 32, 1L << 47, (1L << 47) - 4096,
                               0x7fffffffffffffff, (long)(1UL << 63), -4096, 0xdead000, 0xffffffff, 0xffffff9c, 0x1000000, 65536};
    switch (next() % 8) {
    case 0: case 1: return odd[next() % (sizeof odd / sizeof *odd)];
    case 2: return (long)(next() % 64);
    case 3: return (long)(scratch + next() % (8 * PAGE));
    case 4: return (long)(scratch + PAGE * (next() % 10));
    case 5: return 1L << next() % 64;
    case 6: return (long)(next() & next() & next());
    default: return (long)next();
    }
}

int main(int argc, char **argv) {
    state = argc > 1 ? strtoul(argv[1], NULL, 10) * 0x9e3779b97f4a7c15 + 1 : 1;
    long calls = argc > 2 ? atol(argv[2]) : 1000;
    char *scratch = map_anon(8 * PAGE, RW);
    for (int i = 0; i < 64; i++) CHECK(i == SIGKILL || i == SIGSTOP || i == 0 || i == 32 || i == 33 || i == 34 || signal(i, SIG_IGN) != SIG_ERR);
    for (long i = 0; i < calls; i++) {
        long nr = (long)(next() % 470), skip = 0;
        if (next() % 64 == 0) nr = (long)next();
        for (size_t n = 0; n < sizeof never / sizeof *never; n++) skip |= (nr & 0xffffffff) == never[n];
        if (next() % 4 == 0) strcpy(scratch + PAGE * (next() % 8), next() % 2 ? "/tmp/wild" : "wild");
        if (next() % 4 == 0) *(uint64_t *)(scratch + next() % (8 * PAGE - 8)) = (uint64_t)argument(scratch);
        if (!skip) syscall(nr, argument(scratch), argument(scratch), argument(scratch), argument(scratch), argument(scratch), argument(scratch));
        if (mmap(scratch, 8 * PAGE, RW, ANON | MAP_FIXED, -1, 0) != scratch) return 2;
    }
    return 0;
}
