/* A pool over malloc: its blocks lie in a chunk that is a block itself, end at any byte, and go with the chunk. */
// NOT COMPARED: what malloc asks for differs
#include "guest.h"

static char *chunk, *next;
__attribute__((noinline)) void *pool_get(size_t size) {
    char *p = next;
    next += size;
    return p;
}
__attribute__((noinline)) static void pool_open(void) { chunk = malloc(4096), next = chunk + 3; }
__attribute__((noinline)) static void pool_close(void) { free(chunk); }

int main(void) {
    for (int round = 0; round < 3; round++) {
        pool_open();
        for (int i = 1; i < 40; i++) memset(pool_get((size_t)i), i, (size_t)i);
        pool_close();
        char *volatile other = malloc(4096); /* where the chunk was, as likely as not */
        memset(other, 1, 4096);
        free(other);
    }
    return 0;
}
