/* Bench: one call over MIB (1024) touched MiB, after the same over one. A byte on stdout says that the touching is done,
 * that the TLB is at rest, that the call is done; each waits for a byte on stdin, so that who sits there can tell what the
 * call alone cost. */
// KINDS: musl
// RUN: munmap 2
// RUN: mprotect 2
// RUN: mremap 2
// RUN: shifted 2
// RUN: nothing 2
// STDIN: ......
// NOT COMPARED: a bench
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MIB (1ul << 20)

static int stop(void) {
    char byte = '.';
    return write(1, &byte, 1) != 1 || read(0, &byte, 1) != 1;
}

/* An emulated TLB grows when it is flushed full, and shrinks when it is flushed after 0.1 s of little use: both are of
 * the touching. */
static int flush(char *p) { return mprotect(p, 4096, PROT_READ) || mprotect(p, 4096, PROT_READ | PROT_WRITE); }

/* To where page tables can be taken over whole; or, shifted, to where none can. */
static int move(char *p, size_t bytes, char *room, int shifted) {
    char *there = (char *)(((size_t)room + 2 * MIB - 1) & -(2 * MIB)) + (shifted ? 4096 : 0);
    return mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, there) != there;
}

static int bench(const char *what, size_t bytes) {
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *room = mmap(NULL, bytes + 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || room == MAP_FAILED) return 1;
    for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
    if (flush(p) || stop() || flush(p) || stop()) return 2;
    int failed = !strcmp(what, "munmap")     ? munmap(p, bytes)
                 : !strcmp(what, "mprotect") ? mprotect(p, bytes, PROT_READ)
                 : !strcmp(what, "mremap")   ? move(p, bytes, room, 0)
                 : !strcmp(what, "shifted")  ? move(p, bytes, room, 1)
                                             : strcmp(what, "nothing");
    return failed || stop() ? 3 : 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "munmap";
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* pages of 4 KiB, here as there */
    int failed = bench(what, MIB);
    return failed ? failed : bench(what, (size_t)(argc > 2 ? atol(argv[2]) : 1024) * MIB);
}
