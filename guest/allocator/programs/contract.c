// What the interface promises, checked from inside. Says "kept" and exits with 0, or names the line that is not.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../src/segfit.h"

#define KEPT(condition) \
    if (!(condition)) return printf("line %d: %s\n", __LINE__, #condition), 1

static int all_bytes(const unsigned char *block, int byte, size_t size) {
    while (size--)
        if (*block++ != byte) return 0;
    return 1;
}

static int alignment(void) {
    for (size_t align = 1; align <= 32768; align *= 2)
        for (size_t size = 0; size < 10000; size = size * 3 + 1) {
            char *block = seg_memalign(align, size);
            KEPT(block && (uintptr_t)block % align == 0 && (uintptr_t)block % 16 == 0);
            KEPT(seg_usable_size(block) >= size);
            memset(block, 1, seg_usable_size(block));
            seg_free(block);
        }
    errno = 0;
    KEPT(!seg_memalign(48, 8) && errno == EINVAL);
    KEPT(!seg_memalign(0, 8) && errno == EINVAL);
    KEPT(!seg_memalign(65536, 8) && errno == EINVAL);
    return 0;
}

static int growing(void) {
    unsigned char *block = seg_realloc(NULL, 1);
    memset(block, 7, 1);
    for (size_t size = 1; size < 1 << 20; size = size * 5 / 4 + 1) {
        block = seg_realloc(block, size * 5 / 4 + 1);
        KEPT(block && all_bytes(block, 7, size));
        memset(block, 7, size * 5 / 4 + 1);
    }
    for (size_t size = 1 << 20; size; size /= 3) {
        block = seg_realloc(block, size);
        KEPT(block && all_bytes(block, 7, size));
    }
    seg_free(block);
    return 0;
}

static int zeroes(void) {
    for (size_t size = 1; size < 100000; size *= 4) {
        void *dirty = seg_alloc(size);
        memset(dirty, 9, size);
        seg_free(dirty);
        void *clean = seg_zalloc(size, 1);
        KEPT(all_bytes(clean, 0, size));
        seg_free(clean);
    }
    return 0;
}

static int wild_sizes(void) {
    KEPT(!seg_alloc(SIZE_MAX) && errno == ENOMEM);
    errno = 0;
    KEPT(!seg_alloc(PTRDIFF_MAX) && errno == ENOMEM);
    errno = 0;
    KEPT(!seg_zalloc(SIZE_MAX / 2, 3) && errno == ENOMEM);
    void *nothing = seg_alloc(0), *more = seg_alloc(0);
    KEPT(nothing && more && nothing != more);
    errno = 77;
    seg_free(nothing), seg_free(more), seg_free(NULL);
    KEPT(errno == 77);
    return 0;
}

int main(void) {
    if (alignment() || growing() || zeroes() || wild_sizes()) return 1;
    return puts("kept"), 0;
}
