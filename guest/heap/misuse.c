/* What an allocator does by itself about misuse: glibc says why and aborts, musl stops at a hlt. */
// RUN: double-free
// RUN: wild-free
// RUN: overflow
#include "guest.h"

int main(int argc, char **argv) {
    CHECK(argc == 2);
    volatile size_t inside = 8;
    char *volatile p = malloc(40), *volatile q = malloc(40);
    puts(argv[1]);
    fflush(stdout);
    if (!strcmp(argv[1], "double-free")) free(p), free(p);
    if (!strcmp(argv[1], "wild-free")) free(p + inside);
    if (!strcmp(argv[1], "overflow")) {
        memset(p, 0xff, 64);
        free(q), free(p);
        for (int i = 0; i < 100; i++) p = malloc(2000);
        free(p);
    }
    return 9;
}
