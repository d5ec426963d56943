/* Thirty blocks of each of some sizes, all kept. */
// KINDS: musl musl-gcc glibc jemalloc tcmalloc mimalloc
// NOT COMPARED: what malloc asks for differs
#include "guest.h"

static void *(*volatile ask)(size_t) = malloc;

int main(void) {
    static const size_t sizes[] = {1, 24, 40, 100, 200, 1000, 3000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int n = 0; n < 30; n++) CHECK(ask(sizes[i]));
    free(ask(9000)); /* musl has another malloc for programs that never free */
    return 0;
}
