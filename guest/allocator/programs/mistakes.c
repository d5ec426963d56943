// mistakes HOW: one thing that a program must not do.
#include <string.h>

#include "../src/segfit.h"

__attribute__((noinline)) static void forget(size_t size) { memset(seg_alloc(size), 1, size); }

int main(int argc, char **argv) {
    char *block = seg_alloc(100), *other = seg_alloc(100);
    if (argc < 2) return 2;
    if (!strcmp(argv[1], "forget")) forget(5000);
    if (!strcmp(argv[1], "twice")) seg_free(block);
    seg_free(block);
    seg_free(strcmp(argv[1], "inside") ? other : other + 16);
    return 0;
}
