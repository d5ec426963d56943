/* Bench: N (200,000) times mmap of a page, one store into it, munmap. */
// KINDS: musl
// RUN: 100
// NOT COMPARED: a bench
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 200000;
    for (long i = 0; i < rounds; i++) {
        char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return 1;
        *p = 1;
        if (munmap(p, 4096)) return 2;
    }
    printf("%ld rounds\n", rounds);
    return 0;
}
