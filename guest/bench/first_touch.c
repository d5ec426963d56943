/* Bench: one store into each page of N (1024) MiB. */
// KINDS: musl
// RUN: 2
// NOT COMPARED: a bench
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    size_t bytes = (size_t)(argc > 1 ? atol(argv[1]) : 1024) << 20;
    char *p = bytes ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : NULL;
    if (p == MAP_FAILED) return 1;
    if (bytes) madvise(p, bytes, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
    printf("%zu pages\n", bytes / 4096);
    return 0;
}
