// churn N: N times, one of 500 blocks is freed, grown or shrunk, or made anew; each keeps its bytes till then.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../src/segfit.h"

#define BLOCKS 500

static struct {
    unsigned char *start;
    size_t size;
} blocks[BLOCKS];

static uint32_t next(void) {
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

// Mostly small, now and then a large one.
static size_t some_size(void) { return next() % 50 ? next() % 600 : 8000 + next() % 100000; }

static void check(int i, size_t size) {
    for (size_t at = 0; at < size; at++)
        if (blocks[i].start[at] != (unsigned char)i) abort();
}

static void fill(int i, void *start, size_t size) {
    if (!start || (uintptr_t)start % 16) abort();
    blocks[i].start = memset(start, i, size);
    blocks[i].size = size;
}

int main(int argc, char **argv) {
    for (int n = argc > 1 ? atoi(argv[1]) : 1000; n > 0; n--) {
        int i = next() % BLOCKS;
        size_t old = blocks[i].size, size = some_size();
        check(i, old);
        if (blocks[i].start && next() % 4 == 0) {
            void *moved = seg_realloc(blocks[i].start, size);
            blocks[i].start = moved;
            check(i, old < size ? old : size);
            fill(i, moved, size);
        } else {
            seg_free(blocks[i].start);
            fill(i, seg_alloc(size), size);
        }
    }
    for (int i = 0; i < BLOCKS; i++) seg_free(blocks[i].start);
    return 0;
}
