/* The program break: grow, shrink, zeroes again, odd ends, what it refuses (it says so by the present break, never by an errno). */
#include "guest.h"

static uintptr_t set(uintptr_t to) { return (uintptr_t)syscall(SYS_brk, to); }

int main(void) {
    catch_faults();
    uintptr_t base = set(0), top = (base + PAGE - 1) & -PAGE;
    SAYS_PTR(set(top + 4 * PAGE), "brk(%#lx)", top + 4 * PAGE);
    CHECK(set(0) == top + 4 * PAGE);
    char *p = (char *)top;
    CHECK(all_bytes(p, 4 * PAGE, 0));
    memset(p, 0x5a, 4 * PAGE);
    CHECK(set(top + PAGE) == top + PAGE && set(top + 3 * PAGE) == top + 3 * PAGE);
    CHECK(all_bytes(p, PAGE, 0x5a) && all_bytes(p + PAGE, 2 * PAGE, 0));
    puts("shrunk and grown again reads zero");

    CHECK(set(top + 100) == top + 100);
    CHECK(p[PAGE - 1] == 0x5a); /* no man's land: between the break and its page's end */
    FAULTS(LOAD(p + PAGE), SIGSEGV, SEGV_MAPERR, p + PAGE);
    CHECK(set(top + 200) == top + 200 && p[150] == 0x5a);
    puts("a break within a page");

    uintptr_t now = set(0);
    SAYS_PTR(set(1), "brk(0x1)");
    CHECK(set(1) == now && set(base - 64 * PAGE) == now);
    CHECK(set(1UL << 46) == now && set(-1UL) == now && set(-PAGE) == now && set(1UL << 63) == now);
    puts("refusals");

    char *wall = mmap((void *)(top + 16 * PAGE), PAGE, RW, ANON | MAP_FIXED, -1, 0);
    CHECK(wall == (char *)(top + 16 * PAGE));
    CHECK(set(top + 32 * PAGE) == now); /* across a mapping */
    CHECK(set(top + 16 * PAGE) == now); /* nor may it touch it: Linux keeps a gap for a stack that grows, and one page here */
    CHECK(set(top + 8 * PAGE) == top + 8 * PAGE);
    CHECK(munmap(wall, PAGE) == 0 && set(top + 32 * PAGE) == top + 32 * PAGE);
    puts("other mappings are walls");

    CHECK(munmap((void *)(top + 2 * PAGE), PAGE) == 0); /* a hole in the heap */
    FAULTS(LOAD(top + 2 * PAGE), SIGSEGV, SEGV_MAPERR, top + 2 * PAGE);
    CHECK(set(top) == top && set(top + 4 * PAGE) == top + 4 * PAGE && all_bytes(p, 4 * PAGE, 0));

    struct rlimit limit, little;
    CHECK(getrlimit(RLIMIT_DATA, &limit) == 0);
    little = limit, little.rlim_cur = 64 * PAGE;
    CHECK(setrlimit(RLIMIT_DATA, &little) == 0);
    CHECK(set(top + 64 * PAGE) == top + 4 * PAGE);
    CHECK(set(top) == top); /* shrinking is free */
    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    puts("RLIMIT_DATA");

    for (int i = 0; i < 50; i++) {
        CHECK(set(top + (uintptr_t)(i % 7) * 1000 + 1) != 0);
        p[i % 7 * 1000] = 1;
    }
    return 0;
}
