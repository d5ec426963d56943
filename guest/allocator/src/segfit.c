#define _GNU_SOURCE // mremap
#include "segfit.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define AREA 65536ul      // slabs are as large, and headers stand at its multiples
#define ALIGN 16ul
#define SMALL_MAX 8192ul  // the largest block of a slab
#define ALIGN_MAX 32768ul // a block must begin in the area of its header
#define CLASSES 32
#define LARGE CLASSES
#define MAGIC 0x7365676669740000ul

typedef struct Free {
    struct Free *next;
} Free;

typedef struct Area { // 64 bytes, at the beginning of each slab and of each large mapping
    uint64_t magic;   // MAGIC + class
    size_t length;    // of the mapping
    Free *freed;      // a slab's blocks that came back
    char *fresh;      // a slab's blocks from here on were never handed out, and never touched
    size_t live;      // blocks of a slab in use
    struct Area *next, *prev; // slabs of one class that have room
    size_t offset;    // of a large block
} Area;

_Static_assert(sizeof(Area) == 64, "blocks begin right after it");

static Area *room[CLASSES];  // by class: slabs that have a block to give
static Area *empty[CLASSES]; // by class: the one of them that is kept though nothing in it is live

// Classes: 16, 32, 48, 64, then four steps for each power of two: 80, 96, 112, 128, 160 …; no block is more than a
// quarter larger than what was asked for, or 15 bytes.
static unsigned class_of(size_t size) {
    if (size <= 64) return size ? (size - 1) / 16 : 0;
    unsigned log2 = 63 - __builtin_clzl(size - 1); // size is in (2^log2, 2^(log2+1)]
    return 4 + (log2 - 6) * 4 + (((size - 1) >> (log2 - 2)) & 3);
}

static size_t class_size(unsigned class) {
    if (class < 4) return (class + 1) * 16;
    return (5ul + (class & 3)) << (4 + (class - 4) / 4);
}

static Area *area_of(const void *block) {
    Area *area = (Area *)((uintptr_t)block & ~(AREA - 1));
    if ((area->magic & ~0xFFul) != MAGIC) abort(); // no block of ours
    return area;
}

// A mapping of `length` bytes at a multiple of AREA: map too much, give back both ends.
static Area *map_area(size_t length) {
    char *start = mmap(NULL, length + AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL; // errno is ENOMEM
    char *area = (char *)(((uintptr_t)start + AREA - 1) & ~(AREA - 1));
    if (area > start) munmap(start, area - start);
    if (area < start + AREA) munmap(area + length, start + AREA - area);
    return (Area *)area;
}

static void link_slab(Area *slab, unsigned class) {
    slab->prev = NULL;
    slab->next = room[class];
    if (slab->next) slab->next->prev = slab;
    room[class] = slab;
}

static void unlink_slab(Area *slab, unsigned class) {
    if (slab->next) slab->next->prev = slab->prev;
    *(slab->prev ? &slab->prev->next : &room[class]) = slab->next;
}

static Area *new_slab(unsigned class) {
    Area *slab = map_area(AREA);
    if (!slab) return NULL;
    slab->magic = MAGIC + class;
    slab->length = AREA;
    slab->fresh = (char *)(slab + 1);
    link_slab(slab, class);
    return slab;
}

static int has_room(Area *slab, size_t size) {
    return slab->freed || slab->fresh + size <= (char *)slab + AREA;
}

static void *take(unsigned class) {
    size_t size = class_size(class);
    Area *slab = room[class] ? room[class] : new_slab(class);
    if (!slab) return NULL;
    if (slab == empty[class]) empty[class] = NULL;
    void *block = slab->freed;
    if (block) {
        slab->freed = slab->freed->next;
    } else {
        block = slab->fresh;
        slab->fresh += size;
    }
    slab->live++;
    if (!has_room(slab, size)) unlink_slab(slab, class);
    return block;
}

static void give(Area *slab, unsigned class, void *block) {
    size_t offset = (char *)block - (char *)(slab + 1);
    if (offset % class_size(class) || (char *)block >= slab->fresh) abort(); // not where a block begins
    if (slab->freed == block) abort();                                       // freed twice in a row
    if (!has_room(slab, class_size(class))) link_slab(slab, class);
    ((Free *)block)->next = slab->freed;
    slab->freed = block;
    if (--slab->live) return;
    if (empty[class]) {
        unlink_slab(slab, class);
        munmap(slab, AREA);
    } else {
        empty[class] = slab;
    }
}

static void *map_large(size_t size, size_t offset) {
    if (size > PTRDIFF_MAX - 2 * AREA) {
        errno = ENOMEM;
        return NULL;
    }
    size_t length = (offset + size + PAGE - 1) & ~(PAGE - 1);
    Area *area = map_area(length);
    if (!area) return NULL;
    area->magic = MAGIC + LARGE;
    area->length = length;
    area->offset = offset;
    return (char *)area + offset;
}

void *seg_alloc(size_t size) {
    return size <= SMALL_MAX ? take(class_of(size)) : map_large(size, sizeof(Area));
}

void *seg_memalign(size_t alignment, size_t size) {
    if (!alignment || alignment & (alignment - 1) || alignment > ALIGN_MAX) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment <= ALIGN) return seg_alloc(size);
    return map_large(size, alignment > sizeof(Area) ? alignment : sizeof(Area));
}

void *seg_zalloc(size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = seg_alloc(total);
    if (block && total <= SMALL_MAX) memset(block, 0, total); // a large one is fresh from the kernel
    return block;
}

size_t seg_usable_size(const void *block) {
    Area *area = area_of(block);
    unsigned class = area->magic & 0xFF;
    return class == LARGE ? area->length - area->offset : class_size(class);
}

void seg_free(void *block) {
    if (!block) return;
    int saved = errno;
    Area *area = area_of(block);
    unsigned class = area->magic & 0xFF;
    if (class == LARGE)
        munmap(area, area->length);
    else
        give(area, class, block);
    errno = saved;
}

// In place, or not at all: a block must stay in the first 64 KiB behind its header.
static int resize_large(Area *area, size_t size) {
    size_t length = (area->offset + size + PAGE - 1) & ~(PAGE - 1);
    if (mremap(area, area->length, length, 0) == MAP_FAILED) return 0;
    area->length = length;
    return 1;
}

// A block that would still be more than half full stays as it is.
void *seg_realloc(void *block, size_t size) {
    if (!block) return seg_alloc(size);
    size_t usable = seg_usable_size(block);
    if (size <= usable && (size > usable / 2 || usable == ALIGN)) return block;
    Area *area = area_of(block);
    int large = (area->magic & 0xFF) == LARGE && size > SMALL_MAX && size < PTRDIFF_MAX - 2 * AREA;
    if (large && resize_large(area, size)) return block;
    void *moved = seg_alloc(size);
    if (!moved) return NULL;
    memcpy(moved, block, size < usable ? size : usable);
    seg_free(block);
    return moved;
}
