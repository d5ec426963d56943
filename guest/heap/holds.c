/* Keeps a block of a megabyte, a mapping of its own and a freed block; prints where they are. */
// KINDS: musl glibc jemalloc
// NOT COMPARED: prints addresses of its heap
// NOT ON A HOST: prints addresses of its heap, which another break moves
#include "guest.h"

int main(void) {
    char *volatile block = malloc(1 << 20), *volatile freed = malloc(3 << 20), *mapping = map_anon(4 * PAGE, PROT_READ | PROT_WRITE);
    CHECK(block && freed);
    memset(block, 1, 1 << 20);
    mapping[0] = 1;
    free(freed);
    char line[64];
    int n = snprintf(line, sizeof line, "%lx %lx %lx\n", (long)block, (long)mapping, (long)freed);
    (void)!write(1, line, (size_t)n);
    return 0;
}
