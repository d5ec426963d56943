/* The malloc family: alignment, calloc's zeroes after reuse, realloc's contents, sizes from 0 to absurd. */
#include "guest.h"
#include <malloc.h>

int main(void) {
    map_anon(PAGE, PROT_NONE); /* the topmost place: on Linux the vDSO is above it, here nothing is, where mremap could grow to */
    for (size_t n = 0; n < 3000; n = n * 5 / 4 + 1) {
        char *p = malloc(n), *q = malloc(n);
        CHECK(p && q && p != q && (uintptr_t)p % 16 == 0 && malloc_usable_size(p) >= n);
        memset(p, 0xaa, n);
        free(p);
        char *z = calloc(1, n ? n : 1);
        CHECK(z && all_bytes(z, n, 0));
        free(z), free(q);
    }
    puts("small blocks");
    char *p = NULL;
    size_t before = 0;
    for (size_t n = 1; n < 8 << 20; before = n, n = n * 3 / 2 + 1) {
        p = realloc(p, n);
        CHECK(p && all_bytes(p, before, 0x55));
        memset(p, 0x55, n);
    }
    for (size_t n = before; n > 1; n /= 3) {
        p = realloc(p, n);
        CHECK(p && all_bytes(p, n, 0x55));
    }
    free(p);
    puts("realloc");
    for (size_t align = 16; align <= 1 << 20; align *= 4) {
        void *a = NULL;
        CHECK(posix_memalign(&a, align, 1000) == 0 && (uintptr_t)a % align == 0);
        memset(a, 1, 1000);
        free(a);
    }
    volatile size_t absurd = (size_t)-1;
    void *(*volatile ask)(size_t) = malloc; /* a compiler may assume that malloc succeeds where nobody uses the block */
    CHECK(ask(absurd) == NULL && errno == ENOMEM && ask(absurd / 2) == NULL);
    void *live = malloc(100);
    void *(*volatile again)(void *, size_t) = realloc;
    CHECK(again(live, absurd) == NULL);
    free(live);
    free(NULL);
    puts("alignment and refusals");
    char *big[20];
    for (int i = 0; i < 20; i++) CHECK((big[i] = malloc(1 << 20)) && memset(big[i], i, 1 << 20));
    for (int i = 0; i < 20; i++) CHECK(all_bytes(big[i], 1 << 20, i));
    for (int i = 0; i < 20; i += 2) free(big[i]);
    for (int i = 1; i < 20; i += 2) CHECK(all_bytes(big[i], 1 << 20, i));
    puts("big blocks");
    return 0;
}
