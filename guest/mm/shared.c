/* Shared anonymous memory, memfd, and the shared zero page read before it is written. */
#include "guest.h"

int main(void) {
    char *p = map_anon(8 * PAGE, RW);
    for (int i = 0; i < 8; i++) CHECK(p[i * (int)PAGE + i] == 0); /* all of them the zero page */
    for (int i = 0; i < 8; i += 2) p[i * (int)PAGE] = 1;
    for (int i = 1; i < 8; i += 2) CHECK(all_bytes(p + i * (int)PAGE, PAGE, 0));

    int fd = (int)syscall(SYS_memfd_create, "name", 0);
    CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    char *a = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0), *b = mmap(NULL, PAGE, RW, MAP_SHARED, fd, PAGE);
    CHECK(a != MAP_FAILED && b != MAP_FAILED);
    a[PAGE] = 'm';
    CHECK(b[0] == 'm');
    CHECK(write(fd, "head", 4) == 4 && memcmp(a, "head", 4) == 0);
    char *c = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
    c[0] = 'H';
    CHECK(a[0] == 'h' && c[1] == 'e');
    puts("zero page, memfd");
    return 0;
}
