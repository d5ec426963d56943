/* Says each of its own calls of the malloc family by a raw write: kind, size, alignment, block in, block out, in hex. */
// KINDS: musl musl-gcc musl-pie glibc jemalloc tcmalloc mimalloc
// RUN: 400
// NOT COMPARED: prints addresses of its heap
// NOT ON A HOST: prints addresses of its heap, which another break moves
#include "say.h"
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* no compiler knows what these are, so it keeps every call */
static void *(*volatile ask)(size_t) = malloc;
static void *(*volatile ask_zeroed)(size_t, size_t) = calloc;
static void *(*volatile resize)(void *, size_t) = realloc;
static void *(*volatile ask_aligned)(size_t, size_t) = aligned_alloc;
static int (*volatile ask_posix)(void **, size_t, size_t) = posix_memalign;
static void (*volatile give)(void *) = free;
static size_t (*volatile usable)(void *) = malloc_usable_size;

static uint32_t state = 7;
static uint32_t next(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

__attribute__((noinline)) static void work(int rounds) {
    static char *slot[64];
    for (int i = 0; i < rounds; i++) {
        char **at = &slot[next() % 64], *before = *at;
        size_t size = next() % 8 ? next() % 700 : next() % 300000;
        void *aligned = NULL;
        switch (next() % 8) {
        case 0: *at = ask(size), say('m', size, 0, NULL, (uintptr_t)*at); break;
        case 1: *at = ask_zeroed(3, size), say('c', 3 * size, 0, NULL, (uintptr_t)*at); break;
        case 2: size++, *at = resize(before, size), say('r', size, 0, before, (uintptr_t)*at), before = NULL; break;
        case 3: *at = ask_aligned(64, size & ~63ul), say('a', size & ~63ul, 64, NULL, (uintptr_t)*at); break;
        case 4: ask_posix(&aligned, 4096, size), say('a', size, 4096, NULL, (uintptr_t)aligned), *at = aligned; break;
        case 5: if (before) say('u', 0, 0, before, usable(before)); continue;
        default: *at = NULL;
        }
        if (before) give(before), say('f', 0, 0, before, 0);
    }
    void *none = ask(PTRDIFF_MAX);
    say('m', PTRDIFF_MAX, 0, NULL, (uintptr_t)none);
    none = ask_zeroed((size_t)1 << 40, (size_t)1 << 40);
    say('c', (size_t)-1, 0, NULL, (uintptr_t)none);
    give(NULL), say('f', 0, 0, NULL, 0);
    none = ask(0), say('m', 0, 0, NULL, (uintptr_t)none);
}

int main(int argc, char **argv) {
    work(argc > 1 ? atoi(argv[1]) : 400);
    return 0;
}
