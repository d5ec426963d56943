/* An allocator of its own that breaks a promise, and a program that misuses it twice; then waits for its input to end. */
// RUN:
#include "guest.h"

static char *arena;

__attribute__((noinline)) void *pool_take(size_t size) { /* 8 bytes beside what malloc promises */
    if (!arena) arena = map_anon(PAGE, PROT_READ | PROT_WRITE) + 8;
    char *block = arena;
    arena += (size + 31) & ~15ul;
    return block;
}
__attribute__((noinline)) void pool_give(void *block) { __asm__ volatile("" : : "r"(block)); }

int main(void) {
    volatile char *block = pool_take(40);
    *block = 1;
    pool_give((void *)block);
    CHECK(*block == 1); /* of memory that was freed */
    pool_give((void *)block);
    printf("waits\n");
    fflush(stdout);
    char rest;
    while (read(0, &rest, 1) > 0) {
    }
    return 0;
}
