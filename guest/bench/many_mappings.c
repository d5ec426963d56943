/* Bench: with LIVE mappings, each with a hole of a page behind it, N times mmap and munmap of one page and of two. */
// KINDS: musl
// RUN: 60 100
// NOT COMPARED: a bench
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    long live = argc > 1 ? atol(argv[1]) : 60000, rounds = argc > 2 ? atol(argv[2]) : 10000;
    size_t page = 4096;
    char *all = mmap(NULL, (size_t)live * 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return 1;
    for (long i = 0; i < live; i++)
        if (munmap(all + (size_t)(2 * i + 1) * page, page)) return 2;
    for (long i = 0; i < rounds; i++)
        for (size_t pages = 1; pages < 3; pages++) {
            char *p = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED || munmap(p, pages * page)) return 3;
        }
    printf("%ld live, %ld rounds\n", live, rounds);
    return 0;
}
