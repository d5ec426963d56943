/* Bench: N (2 M) times free and malloc of 16 B to 40 KB over 1,000 live slots, the first 64 bytes written. */
// KINDS: musl glibc
// RUN: 3000
// NOT COMPARED: a bench
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *slot[1000];

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 2000000;
    uint32_t state = 1;
    for (long i = 0; i < rounds; i++) {
        state = state * 1103515245u + 12345u;
        char **at = &slot[(state >> 16) % 1000];
        free(*at);
        size_t size = 16 + (state >> 5) % 39985;
        *at = malloc(size);
        memset(*at, (int)i, size < 64 ? size : 64);
    }
    printf("%d\n", slot[0] ? slot[0][15] : -1);
    return 0;
}
