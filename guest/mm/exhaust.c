/* Touches memory until none is left: 64 MiB at a time, for ever. With an argument, after one of two settings by which
 * nobody is killed for that. */
// NOT ON A HOST: it takes all memory
// KINDS: musl
#include "guest.h"

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "oom_score_adj")) put("/proc/self/oom_score_adj", "-1000");
    if (argc > 1 && !strcmp(argv[1], "panic_on_oom")) put("/proc/sys/vm/panic_on_oom", "1");
    for (;;) {
        char *p = mmap(NULL, 64 << 20, RW, ANON | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return 5;
        for (size_t i = 0; i < 64 << 20; i += PAGE) p[i] = 1;
    }
}
