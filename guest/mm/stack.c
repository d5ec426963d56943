/* The stack grows by being touched, to its limit and not beyond; MAP_GROWSDOWN mappings likewise, with a guard gap. */
#include "guest.h"

static uintptr_t frame(void) { return (uintptr_t)__builtin_frame_address(0); }

int main(void) {
    catch_faults();
    uintptr_t sp = frame();
    volatile char *deep = (char *)(sp - (4 << 20));
    *deep = 1; /* far below, in one step: on x86-64 Linux does not look at rsp */
    CHECK(*deep == 1);
    for (uintptr_t p = sp - 7 * (1 << 20); p < sp - PAGE; p += 16 * PAGE) *(volatile char *)p = 2;
    puts("grown to 7 MiB");
    uintptr_t beyond = (sp - (9 << 20)) & -PAGE;
    struct fault f = CATCH(LOAD(beyond));
    CHECK(f.sig == SIGSEGV && f.code == SEGV_MAPERR && f.addr == beyond);
    puts("but not to 9");

    char *area = map_anon(600 * PAGE, PROT_NONE);
    CHECK(munmap(area, 600 * PAGE) == 0);
    char *top = mmap(area + 500 * PAGE, PAGE, RW, ANON | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK(top == area + 500 * PAGE);
    top[-1] = 3;
    top[-10 * (int)PAGE] = 4;
    CHECK(top[-1] == 3 && all_bytes(top - 5 * PAGE, PAGE, 0));
    char *wall = mmap(area + 100 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0);
    CHECK(wall == area + 100 * PAGE);
    FAULTS(STORE(wall + 10 * PAGE), SIGSEGV, SEGV_MAPERR, wall + 10 * PAGE); /* within 256 pages of a neighbour: the guard gap */
    top[-100 * (int)PAGE] = 5;
    puts("MAP_GROWSDOWN and its gap");
    return 0;
}
