/* Exit statuses: from main, exit, _exit and the low eight bits of a long one; atexit in reverse order. */
// RUN: return 0
// RUN: return 42
// RUN: return 256
// RUN: exit 255
// RUN: _exit 7
// RUN: thread 9
#include "guest.h"

static void first(void) { printf("registered first\n"); }
static void second(void) { printf("registered second\n"); }

int main(int argc, char **argv) {
    CHECK(argc == 3);
    int status = atoi(argv[2]);
    atexit(first);
    atexit(second);
    if (!strcmp(argv[1], "exit")) exit(status);
    if (!strcmp(argv[1], "_exit")) _exit(status);
    if (!strcmp(argv[1], "thread")) syscall(SYS_exit, status); /* the only thread: its status is the process's */
    return status;
}
