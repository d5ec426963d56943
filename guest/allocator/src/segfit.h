// segfit: a small segregated-fit allocator on mmap alone. One thread.
//
// Blocks of up to 8 KiB come from slabs of 64 KiB, each of one size class; larger ones have a mapping of their own.
// Every block lies in the first 64 KiB of an area that begins at a multiple of 64 KiB with a header, so that free finds
// the header by masking the pointer. An empty slab goes back to the kernel, but for one of each class.
#ifndef SEGFIT_H
#define SEGFIT_H

#include <stddef.h>

void *seg_alloc(size_t size);                      // 16-byte aligned; NULL and ENOMEM where memory runs out
void *seg_zalloc(size_t count, size_t size);       // zeroed; NULL and ENOMEM where the product does not fit
void *seg_realloc(void *block, size_t size);       // size 0 is a block of 1 byte, as alloc(0) is
void *seg_memalign(size_t alignment, size_t size); // a power of two up to 32 KiB, else NULL and EINVAL
void seg_free(void *block);                        // NULL is let pass; a block that is free aborts
size_t seg_usable_size(const void *block);

#endif
