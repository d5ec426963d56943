/* /dev/null, zero, full; sendfile; mapping /dev/zero. */
#include "guest.h"
#include <sys/sendfile.h>

int main(void) {
    char buffer[100];
    memset(buffer, 1, sizeof buffer);
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    CHECK(null >= 0 && zero >= 0 && full >= 0);
    CHECK(read(null, buffer, 100) == 0 && write(null, buffer, 100) == 100);
    CHECK(read(zero, buffer, 100) == 100 && all_bytes(buffer, 100, 0) && write(zero, buffer, 100) == 100);
    CHECK(SAYS(write(full, buffer, 4), "write(5, \"\\0\\0\\0\\0\", 4)") == -1);
    CHECK_ERRNO(write(full, buffer, 1), ENOSPC);
    CHECK(read(full, buffer, 10) == 10 && buffer[0] == 0);
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, zero, 0);
    CHECK(p != MAP_FAILED && all_bytes(p, 2 * PAGE, 0));
    p[0] = 1;
    CHECK(read(zero, buffer, 1) == 1 && buffer[0] == 0);
    puts("devices");

    int from = file_with("from", 5000), to = open("to", O_RDWR | O_CREAT | O_TRUNC, 0644);
    CHECK(lseek(from, 0, SEEK_SET) == 0 && sendfile(to, from, NULL, 3000) == 3000);
    CHECK(sendfile(to, from, NULL, 9999) == 2000 && sendfile(to, from, NULL, 1) == 0);
    off_t offset = 4096;
    CHECK(sendfile(to, from, &offset, 10) == 10 && offset == 4106);
    CHECK(pread(to, buffer, 10, 5000) == 10 && buffer[0] == 'b' && lseek(to, 0, SEEK_END) == 5010);
    CHECK_ERRNO(sendfile(from, 99, NULL, 1), EBADF);
    puts("sendfile");
    return 0;
}
