/* Code that a program writes itself: by mprotect back and forth, on a page that is all three, through read(2), moved,
 * and through another mapping of the same memory. */
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

/* As compilers do that want no page to be writable and executable: one memory, mapped twice. */
static int twice(void) {
    int memory = memfd_create("code", 0);
    if (memory < 0 || ftruncate(memory, 8192)) return 1;
    unsigned char *writes = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    unsigned char *runs = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_SHARED, memory, 0);
    unsigned char *copy = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, memory, 0);
    unsigned char *later = mmap(NULL, 8192, PROT_READ, MAP_SHARED, memory, 0);
    if (writes == MAP_FAILED || runs == MAP_FAILED || copy == MAP_FAILED || later == MAP_FAILED) return 2;
    for (int i = 1; i < 5; i++) {
        put(writes, i), put(writes + 64, 10 * i);
        both("mapped twice", runs);
        writes[65]++;
        both("privately", copy);
        unsigned char code[6];
        put(code, 50 + i);
        if (pwrite(memory, code, 6, 0) != 6) return 3;
        both("by pwrite", runs);
        writes[1]++;
        if (i == 2 && mprotect(later, 8192, PROT_READ | PROT_EXEC)) return 4;
        if (i >= 2) both("executable later", later);
        if (mprotect(writes, 8192, PROT_READ) || mprotect(writes, 8192, PROT_READ | PROT_WRITE)) return 5;
        writes[65]++;
        both("writable again", runs);
    }
    return 0;
}

int main(void) {
    if (twice()) return 6;
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
