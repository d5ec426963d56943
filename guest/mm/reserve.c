/* Reservations: 12 TiB that cannot be touched and 256 GiB that can cost nothing until they are. */
#include "guest.h"

int main(void) {
    char *none = mmap(NULL, 12UL << 40, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    CHECK(none != MAP_FAILED);
    char *writable = mmap(NULL, 256UL << 30, RW, ANON | MAP_NORESERVE, -1, 0);
    CHECK(writable != MAP_FAILED);
    for (int i = 0; i < 256; i++) writable[(size_t)i << 30] = (char)i;
    for (int i = 0; i < 256; i++) CHECK(writable[(size_t)i << 30] == (char)i && writable[((size_t)i << 30) + 1] == 0);
    for (int i = 0; i < 12; i++) CHECK(mprotect(none + ((size_t)i << 40), PAGE, RW) == 0);
    for (int i = 0; i < 12; i++) none[(size_t)i << 40] = 'x';
    CHECK(madvise(writable, 256UL << 30, MADV_DONTNEED) == 0 && writable[5UL << 30] == 0);
    CHECK(munmap(writable, 256UL << 30) == 0 && munmap(none, 12UL << 40) == 0);
    puts("reserved, touched, given back");
    return 0;
}
