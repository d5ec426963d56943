/* Bench: N (3 M) times free and malloc of up to 2,000 bytes over 1,000 live slots, the first 64 bytes written. */
// KINDS: musl glibc
// RUN: 3000
// NOT COMPARED: a bench
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *slot[1000];

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 3000000;
    uint32_t state = 1;
    for (long i = 0; i < rounds; i++) {
        state = state * 1103515245u + 12345u;
        char **at = &slot[(state >> 16) % 1000];
        free(*at);
        size_t size = 64 + (state >> 7) % 1937;
        *at = malloc(size);
        memset(*at, (int)i, 64);
    }
    printf("%d\n", slot[0] ? slot[0][63] : -1);
    return 0;
}
