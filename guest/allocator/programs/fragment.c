// fragment: 20,000 blocks of 16 to 271 bytes; all but every tenth are freed; then as many bytes again, in blocks of
// other sizes. An allocator that cannot use what came back needs twice the memory.
#include <string.h>

#include "../src/segfit.h"

#define BLOCKS 20000

static void *first[BLOCKS], *second[BLOCKS];

int main(void) {
    for (int i = 0; i < BLOCKS; i++) first[i] = memset(seg_alloc(16 + i * 37 % 256), 1, 16);
    for (int i = 0; i < BLOCKS; i++)
        if (i % 10) seg_free(first[i]), first[i] = 0;
    for (int i = 0; i < BLOCKS * 9 / 10; i++) second[i] = memset(seg_alloc(16 + i * 41 % 256), 2, 16);
    for (int i = 0; i < BLOCKS; i++) seg_free(first[i]), seg_free(second[i]);
    return 0;
}
