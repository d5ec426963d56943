/* Bench: N (10 M) reads at random places of 64 MiB that were written before. */
// KINDS: musl
// RUN: 10000
// NOT COMPARED: a bench
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES (64u << 20)
static uint32_t words[BYTES / 4];

int main(int argc, char **argv) {
    long reads = argc > 1 ? atol(argv[1]) : 10000000;
    for (uint32_t i = 0; i < BYTES / 4; i += 1024) words[i] = i * 2654435761u;
    uint32_t at = 1, sum = 0;
    for (long i = 0; i < reads; i++) {
        at = at * 1664525u + 1013904223u;
        sum += words[at >> 8 & (BYTES / 4 - 1)];
    }
    printf("%u\n", sum);
    return 0;
}
