/* Bench: N (200 M) steps of integer arithmetic with a data-dependent branch; no memory. */
// KINDS: musl
// RUN: 100000
// NOT COMPARED: a bench
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    long steps = argc > 1 ? atol(argv[1]) : 200000000;
    uint64_t x = 88172645463325252u, sum = 0;
    for (long i = 0; i < steps; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        sum += x >> 60 == 3 ? x * 3 : x + (uint64_t)i;
    }
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
