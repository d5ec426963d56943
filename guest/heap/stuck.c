/* Allocates, says so, and allocates again; then waits for its input to end, or, told to spin, for nothing. */
// RUN:
#include "guest.h"

static void *volatile kept[8];

static void work(int rounds) {
    for (int i = 0; i < rounds; i++) {
        free(kept[i % 8]);
        kept[i % 8] = malloc(16 + (size_t)i % 100);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    work(500);
    printf("worked\n"), fflush(stdout);
    work(500);
    for (volatile int spins = argc > 1; spins;) continue;
    for (char rest; read(0, &rest, 1) > 0;) continue;
    return 0;
}
