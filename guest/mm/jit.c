/* Code that a program writes itself: by mprotect back and forth, on a page that is all three, through read(2), and moved. */
// KINDS: musl glibc
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int (*function)(void);

static void put(unsigned char *at, int value) {
    unsigned char code[] = {0xb8, (unsigned char)value, 0, 0, 0, 0xc3}; /* mov eax, value; ret */
    memcpy(at, code, sizeof code);
}

static void both(const char *how, unsigned char *at) {
    printf("%s: %d %d\n", how, ((function)at)(), ((function)(at + 64))());
}

int main(void) {
    unsigned char *turns = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *all = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (turns == MAP_FAILED || all == MAP_FAILED) return 1;
    for (int i = 1; i < 5; i++) {
        if (mprotect(turns, 8192, PROT_READ | PROT_WRITE)) return 2;
        put(turns, i), put(turns + 64, 10 * i);
        if (mprotect(turns, 8192, PROT_READ | PROT_EXEC)) return 2;
        both("in turns", turns);
        put(all, i), put(all + 64, 10 * i);
        both("all at once", all);
    }
    int ends[2];
    if (pipe(ends)) return 3;
    for (int i = 101; i < 104; i++) {
        unsigned char code[6];
        put(code, i);
        if (write(ends[1], code, 6) != 6 || read(ends[0], all, 6) != 6) return 4;
        both("read", all);
    }
    unsigned char *moved = mremap(all, 8192, 1 << 20, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) return 5;
    both("moved", moved);
    put(moved, 77);
    both("moved", moved);
    return 0;
}
