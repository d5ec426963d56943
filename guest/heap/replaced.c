/* Allocates, and puts itself in its own place by execve, N times, or the program that is named. */
// RUN:
// RUN: 2
#include "guest.h"

static char *volatile kept;

__attribute__((noinline)) void *take(size_t size) {
    void *block = malloc(size);
    __asm__ volatile("" : "+r"(block)); /* no tail call */
    return block;
}

int main(int argc, char **argv) {
    int left = argc > 1 ? atoi(argv[1]) : 1;
    char *environment[] = {NULL}, again[12];
    kept = take(40), kept = take((size_t)left), kept = take(100);
    free(kept);
    if (argc > 1 && argv[1][0] == '/') return execve(argv[1], argv + 1, environment), 1;
    printf("%d\n", left), fflush(stdout);
    if (!left) return 0;
    snprintf(again, sizeof again, "%d", left - 1);
    char *arguments[] = {argv[0], again, NULL};
    execve("/proc/self/exe", arguments, environment);
    return 1;
}
