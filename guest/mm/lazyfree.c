/* MADV_FREE without swap: pages may go when RAM runs out, whole and to zero; one that was written again stays. */
// NOT ON A HOST: it wants a machine of 16 MiB
// KINDS: musl
#include "guest.h"

#define PAGES 2048UL /* 8 MiB */

int main(void) {
    unsigned char *m = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);
    for (unsigned long p = 0; p < PAGES; p++) memset(m + p * PAGE, (int)(p % 255 + 1), PAGE);
    CHECK(madvise(m, PAGES * PAGE, MADV_FREE) == 0);
    for (unsigned long p = 0; p < PAGES; p += 16) m[p * PAGE] = 0xFF; /* these are wanted after all */
    unsigned char *more = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);
    memset(more, 1, PAGES * PAGE); /* does not fit beside them */
    unsigned long gone = 0;
    for (unsigned long p = 0; p < PAGES; p++) {
        unsigned char *page = m + p * PAGE;
        if (p % 16 == 0) {
            CHECK(page[0] == 0xFF);
            CHECK(page[1] == p % 255 + 1 && page[PAGE - 1] == p % 255 + 1);
        } else {
            unsigned char first = page[0];
            CHECK(first == 0 || first == p % 255 + 1);
            for (unsigned long i = 1; i < PAGE; i += 511) CHECK(page[i] == first);
            gone += first == 0;
        }
    }
    CHECK(gone > 0);
    for (unsigned long i = 0; i < PAGES * PAGE; i += PAGE) CHECK(more[i] == 1);
    puts("ok");
    return 0;
}
