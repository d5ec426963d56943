/* A write to a pipe that nobody reads is death by SIGPIPE. */
// KINDS: musl
#include "guest.h"

int main(void) {
    int p[2];
    CHECK(pipe(p) == 0 && close(p[0]) == 0);
    puts("before");
    fflush(stdout);
    write(p[1], "x", 1);
    puts("after");
    return 0;
}
