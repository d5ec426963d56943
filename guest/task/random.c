/* getrandom and /dev/urandom give bytes that look random, and differ between calls. */
#include "guest.h"
#include <sys/random.h>

static int distinct(const unsigned char *p, size_t n) {
    char seen[256] = {0};
    int count = 0;
    for (size_t i = 0; i < n; i++) count += !seen[p[i]], seen[p[i]] = 1;
    return count;
}

int main(void) {
    unsigned char a[4096], b[4096];
    CHECK(getrandom(a, 256, 0) == 256 && getrandom(b, 256, GRND_NONBLOCK) == 256);
    CHECK(memcmp(a, b, 256) != 0 && distinct(a, 256) > 100 && distinct(b, 256) > 100);
    int fd = open("/dev/urandom", O_RDONLY);
    CHECK(fd >= 0 && read(fd, a, sizeof a) == sizeof a && distinct(a, sizeof a) == 256);
    close(fd);
    fd = open("/dev/random", O_RDONLY);
    CHECK(fd >= 0 && read(fd, b, 64) == 64 && memcmp(a, b, 64) != 0);
    CHECK_ERRNO(getrandom(a, 16, 0x80), EINVAL);
    CHECK_ERRNO(syscall(SYS_getrandom, 8, 16, 0), EFAULT);
    puts("random enough");
    return 0;
}
