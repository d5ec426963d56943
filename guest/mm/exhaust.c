/* Touches memory until none is left: 64 MiB at a time, for ever. */
// NOT ON A HOST: it takes all memory
// KINDS: musl
#include "guest.h"

int main(void) {
    for (;;) {
        char *p = mmap(NULL, 64 << 20, RW, ANON | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return 5;
        for (size_t i = 0; i < 64 << 20; i += PAGE) p[i] = 1;
    }
}
