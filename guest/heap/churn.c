/* malloc and free over 1,000 live slots, most below 416 bytes, some up to 40 KB, contents checked: N operations (a malloc or a free each). */
// KINDS: musl musl-gcc glibc diet musl-pie
// RUN: 20000
// NOT COMPARED: the number of pages an allocator asks for depends on where its heap begins within a huge page
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 1000
static unsigned char *slot[SLOTS];
static size_t size[SLOTS];
static uint32_t state = 12345;

static uint32_t next(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

int main(int argc, char **argv) {
    long operations = argc > 1 ? atol(argv[1]) : 2000000, done = 0;
    unsigned long sum = 0;
    while (done < operations) {
        uint32_t i = next() % SLOTS;
        if (slot[i]) {
            if (slot[i][0] != (unsigned char)i || slot[i][size[i] - 1] != (unsigned char)(i + 1)) return printf("slot %u is spoiled\n", i), 1;
            sum += slot[i][size[i] / 2];
            free(slot[i]);
            slot[i] = NULL, done++;
        } else {
            size[i] = next() % 64 ? 16 + next() % 400 : 16 + next() % 40000;
            slot[i] = malloc(size[i]);
            if (!slot[i]) return printf("no memory\n"), 1;
            memset(slot[i], (int)i, size[i] < 32 ? size[i] : 32);
            slot[i][size[i] / 2] = (unsigned char)done;
            slot[i][0] = (unsigned char)i, slot[i][size[i] - 1] = (unsigned char)(i + 1), done++;
        }
    }
    printf("%ld operations, sum %lu\n", done, sum);
    return 0;
}
