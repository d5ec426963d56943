/* /proc/self/oom_score_adj: what is a number, and that it goes up and down. */
#include "guest.h"

static int put(const char *text) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    CHECK(fd >= 0);
    ssize_t n = write(fd, text, strlen(text));
    int failed = errno;
    close(fd);
    errno = failed;
    return n < 0 ? -1 : (int)n;
}

static int now(void) {
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDONLY);
    CHECK(read(fd, text, sizeof text - 1) > 1 && text[strlen(text) - 1] == '\n');
    close(fd);
    return atoi(text);
}

int main(void) {
    CHECK(put("100") == 3 && now() == 100);
    CHECK(put("500\n") == 4 && now() == 500);
    CHECK(put(" 0x10 ") == 6 && now() == 16);
    CHECK(put("010") == 3 && now() == 8);
    CHECK(put("+9") == 2 && now() == 9);
    CHECK_ERRNO(put("1001"), EINVAL);
    CHECK_ERRNO(put("-1001"), EINVAL);
    CHECK_ERRNO(put("x"), EINVAL);
    CHECK_ERRNO(put("5 6"), EINVAL);
    CHECK_ERRNO(put(" "), EINVAL);
    CHECK(now() == 9);
    CHECK(put("0") == 1 && now() == 0); /* what nobody set lower may be had again without CAP_SYS_RESOURCE */
    puts("ok");
    return 0;
}
