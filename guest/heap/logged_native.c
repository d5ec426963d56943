/* As logged.c, for what an allocator has beside the C names: jemalloc's …allocx, mimalloc's mi_, tcmalloc's tc_. */
// KINDS: jemalloc tcmalloc mimalloc
// NOT COMPARED: prints addresses of its heap
// NOT ON A HOST: prints addresses of its heap, which another break moves
#include "say.h"
#include <stdlib.h>

#define MADE(kind, size, alignment, call) (p = (call), say(kind, size, alignment, NULL, (uintptr_t)p))
#define GONE(kind, call) ((call), say(kind, 0, 0, p, 0))

#if defined(ALLOCATOR_jemalloc)
void *mallocx(size_t, int), *rallocx(void *, size_t, int);
size_t xallocx(void *, size_t, size_t, int), sallocx(void *, int);
void dallocx(void *, int), sdallocx(void *, size_t, int);
enum { ZERO = 0x40, ALIGN_128 = 7 };

__attribute__((noinline)) static void work(void) {
    for (size_t n = 1; n < 60000; n = n * 2 + 3) {
        void *p, *q;
        MADE('m', n, 0, mallocx(n, 0));
        say('u', 0, 0, p, sallocx(p, 0));
        q = rallocx(p, 3 * n, 0), say('r', 3 * n, 0, p, (uintptr_t)q), p = q;
        size_t stays = xallocx(p, 3 * n, 0, 0);
        say('r', 3 * n, 0, p, stays >= 3 * n ? (uintptr_t)p : 0);
        stays = xallocx(p, 1000 * n, 0, 0);
        say('r', 1000 * n, 0, p, stays >= 1000 * n ? (uintptr_t)p : 0);
        GONE('f', dallocx(p, 0));
        MADE('m', n, 128, mallocx(n, ALIGN_128 | ZERO));
        q = rallocx(p, n + 100, ALIGN_128), say('r', n + 100, 128, p, (uintptr_t)q), p = q;
        sdallocx(p, n + 100, ALIGN_128), say('f', 0, 0, p, 0);
    }
}
#elif defined(ALLOCATOR_mimalloc)
#include <mimalloc.h>

__attribute__((noinline)) static void work(void) {
    for (size_t n = 1; n < 60000; n = n * 2 + 3) {
        void *p, *q;
        MADE('m', n, 0, mi_malloc(n)), GONE('f', mi_free(p));
        MADE('m', n, 0, mi_zalloc(n));
        q = mi_expand(p, n), say('r', n, 0, p, (uintptr_t)q);
        q = mi_rezalloc(p, n + 40), say('r', n + 40, 0, p, (uintptr_t)q), p = q;
        q = mi_recalloc(p, 2, n + 40), say('r', 2 * (n + 40), 0, p, (uintptr_t)q), p = q;
        q = mi_reallocn(p, 3, n + 40), say('r', 3 * (n + 40), 0, p, (uintptr_t)q), p = q;
        q = mi_reallocf(p, 70), say('r', 70, 0, p, (uintptr_t)q), p = q;
        say('u', 0, 0, p, mi_usable_size(p));
        GONE('f', mi_free_size(p, 70));
        MADE('c', 3 * n, 0, mi_mallocn(3, n)), GONE('f', mi_free(p));
        MADE('a', n, 256, mi_malloc_aligned(n, 256)), GONE('f', mi_free_aligned(p, 256));
        MADE('a', 3 * n, 64, mi_calloc_aligned(3, n, 64));
        q = mi_realloc_aligned(p, n + 9, 64), say('r', n + 9, 64, p, (uintptr_t)q), p = q;
        GONE('f', mi_free_size_aligned(p, n + 9, 64));
        MADE('n', n, 0, mi_new(n)), GONE('f', mi_free(p));
        mi_heap_t *heap = mi_heap_new();
        say('m', 0, 0, NULL, (uintptr_t)heap);
        MADE('m', n, 0, mi_heap_malloc(heap, n));
        q = mi_heap_realloc(heap, p, 2 * n), say('r', 2 * n, 0, p, (uintptr_t)q), p = q;
        GONE('f', mi_free(p));
        MADE('c', 5 * n, 0, mi_heap_calloc(heap, 5, n)), GONE('f', mi_free(p));
        mi_heap_delete(heap), say('f', 0, 0, heap, 0);
    }
}
#else
void *tc_malloc(size_t), *tc_new(size_t), *tc_newarray(size_t), *tc_memalign(size_t, size_t), *tc_valloc(size_t);
void *tc_calloc(size_t, size_t), *tc_realloc(void *, size_t), *tc_new_aligned(size_t, size_t);
void tc_free(void *), tc_delete(void *), tc_deletearray(void *), tc_delete_sized(void *, size_t), tc_delete_aligned(void *, size_t);
size_t tc_malloc_size(void *);

__attribute__((noinline)) static void work(void) {
    for (size_t n = 1; n < 60000; n = n * 2 + 3) {
        void *p, *q;
        MADE('m', n, 0, tc_malloc(n));
        say('u', 0, 0, p, tc_malloc_size(p));
        q = tc_realloc(p, 3 * n), say('r', 3 * n, 0, p, (uintptr_t)q), p = q;
        GONE('f', tc_free(p));
        MADE('c', 7 * n, 0, tc_calloc(7, n)), GONE('f', tc_free(p));
        MADE('a', n, 512, tc_memalign(512, n)), GONE('f', tc_free(p));
        MADE('m', n, 0, tc_valloc(n)), GONE('f', tc_free(p));
        MADE('n', n, 0, tc_new(n)), GONE('d', tc_delete(p));
        MADE('n', n, 0, tc_new(n)), GONE('d', tc_delete_sized(p, n));
        MADE('N', n, 0, tc_newarray(n)), GONE('D', tc_deletearray(p));
        MADE('n', n, 64, tc_new_aligned(n, 64)), GONE('d', tc_delete_aligned(p, 64));
    }
}
#endif

int main(void) {
    work();
    return 0;
}
