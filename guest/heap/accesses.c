/* Commits one bad access to the heap, named by its argument; without one, none, though it does what looks like one. */
// RUN: none
#include "guest.h"
#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void *(*volatile ask)(size_t) = malloc;
static void *(*volatile resize)(void *, size_t) = realloc;
static void (*volatile give)(void *) = free;
static size_t (*volatile measure)(const char *) = strlen;
static void *(*volatile fill)(void *, int, size_t) = memset;
static volatile size_t four = 4;

__attribute__((noinline)) static char *make(size_t n) {
    void *p = ask(n);
    __asm__ volatile("" : "+r"(p)); /* no tail call */
    return p;
}
__attribute__((noinline)) static void drop(void *p) {
    give(p);
    __asm__ volatile("");
}
__attribute__((noinline)) static int get(const volatile char *p) {
    int c = *p;
    __asm__ volatile("" : "+r"(c));
    return c;
}
__attribute__((noinline)) static long get8(const volatile char *p) {
    long c = *(const volatile long *)p;
    __asm__ volatile("" : "+r"(c));
    return c;
}
__attribute__((noinline)) static void put(volatile char *p) {
    *p = 1;
    __asm__ volatile("");
}
__attribute__((noinline)) static void put4(volatile char *p) {
    *(volatile int *)p = 1;
    __asm__ volatile("");
}

static char *aligned(size_t n) {
    void *p = NULL;
    return posix_memalign(&p, PAGE, n) ? NULL : p;
}
static char *zeroed(size_t n) { return fill(make(n), 0, n); }

/* What a program may do: none of it is an error. */
static void clean(void) {
    char *p = make(40), *q = make(24), *s = make(5);
    fill(p, 1, 40), fill(q, 0, 24);
    strcpy(s, "four");
    CHECK(measure(s) == four && strcmp(s, "fous") < 0 && strchr(s, 'r') == s + 3);
    size_t usable = malloc_usable_size(p);
    fill(p, 2, usable);
    char *grown = resize(p, 100), *zeroes = calloc(10, 10), *aligned = NULL;
    CHECK(grown && zeroes && posix_memalign((void **)&aligned, 64, 100) == 0);
    fill(grown, 3, 100), fill(zeroes, 3, 100), fill(aligned, 3, 100);
    char *big = make(1 << 20);
    fill(big, 4, 1 << 20);
    char *bigger = resize(big, 8 << 20);
    CHECK(bigger);
    fill(bigger, 5, 8 << 20);
    drop(bigger);
    char *own = mmap(bigger, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(own != MAP_FAILED);
    fill(own, 6, PAGE);
    bigger = resize(make(8 << 20), 100);
    drop(bigger), drop(grown), drop(zeroes), drop(aligned), drop(q), drop(s), drop(make(0));
}

/* By instructions that few programs have. */
static void unusual(const char *what, char *p) {
    long a = 0, d = 0;
    if (!strcmp(what, "long-double")) {
        __asm__ volatile("fldpi; fstpt %0" : "=m"(*(char(*)[10])(p + 16)));
    } else if (!strcmp(what, "long-double-read")) {
        drop(p);
        __asm__ volatile("fldt %0; fstp %%st(0)" : : "m"(*(char(*)[10])(p + 8)));
    } else if (!strcmp(what, "fxsave")) {
        p = zeroed(400), p += 15, p -= (unsigned long)p % 16;
        __asm__ volatile("fxsave %0" : "=m"(*(char(*)[512])(p + 16)));
    } else if (!strcmp(what, "environment")) {
        p = zeroed(20);
        __asm__ volatile("fnstenv %0" : "=m"(*(char(*)[28])p));
    } else if (!strcmp(what, "masked")) {
        __asm__ volatile("pcmpeqd %%xmm1, %%xmm1; psrldq $8, %%xmm1; maskmovdqu %%xmm1, %%xmm0"
                         : : "D"(p + 20) : "memory", "xmm0", "xmm1");
    } else if (!strcmp(what, "exchange")) {
        __asm__ volatile("cmpxchg8b %0" : "+m"(*(long *)(p + 20)), "+a"(a), "+d"(d) : "b"(1), "c"(1) : "cc");
    }
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "none";
    char *keep = make(24), *p = make(24), *after = make(24);
    int ends[2];
    fill(p, 0, 24), fill(keep, 0, 24);
    if (!strcmp(what, "read-after-free")) drop(p), get(p + 8);
    if (!strcmp(what, "write-after-free")) drop(p), put(p + 23);
    if (!strcmp(what, "read-after-realloc")) after = resize(p, 5000), get(p + 20);
    if (!strcmp(what, "overflow")) put4(p + 28);
    if (!strcmp(what, "overflow-read")) get(p + 24);
    if (!strcmp(what, "past-the-end")) p = make(20), put(p + 20);
    if (!strcmp(what, "asked")) p = make(20), fill(p, 0, malloc_usable_size(p)), drop(p), get(p + 20);
    if (!strcmp(what, "straddle")) p = make(21), put4(p + 20);
    if (!strcmp(what, "underflow")) put(p - 1);
    if (!strcmp(what, "shrunk")) p = make(1000), p = resize(p, 900), put(p + 900);
    if (!strcmp(what, "big")) p = make(1 << 20), get(p + (1 << 20) + 1);
    if (!strcmp(what, "big-unaligned")) p = make((1 << 20) + 12), get8(p + (1 << 20) + 16);
    if (!strncmp(what, "edge", 4)) { /* blocks that begin or end with a page, two after each other */
        char *low = aligned(8192), *high = aligned(8192);
        CHECK(low && high && (unsigned long)low % PAGE == 0);
        if (!strcmp(what, "edge")) put(low + 8192);
        if (!strcmp(what, "edge-before")) put(low - 1);
        if (!strcmp(what, "edge-of-freed")) drop(low), put(low + 5000);
        if (!strcmp(what, "edge-inside")) put(low + 8191), put(low + 4096), put(high), put(high + 8191);
    }
    if (!strcmp(what, "unmapped")) p = make(1 << 20), drop(p), put(p + 100);
    if (!strcmp(what, "calloc")) p = calloc(5, 4), put(p + 20);
    if (!strcmp(what, "memalign") && posix_memalign((void **)&p, 64, 20) == 0) put(p + 21);
    if (!strcmp(what, "split")) p = make(2000), make(10), drop(p), CHECK(make(30) == p), get(p + 500);
    if (!strcmp(what, "strlen-of-freed")) drop(p), measure(p);
    unusual(what, p);
    if (!strcmp(what, "memset")) fill(p, 1, 25);
    if (!strcmp(what, "often"))
        for (int i = 0; i < 1000; i++) put(p + 24);
    if (!strcmp(what, "each"))
        for (int i = 0; i < 3; i++) drop(p), get(p), p = make(24);
    if (!strcmp(what, "kernel-reads")) CHECK(pipe(ends) == 0), p = calloc(1, 24), write(ends[1], p, 25);
    if (!strcmp(what, "kernel-writes")) CHECK(pipe(ends) == 0), CHECK(write(ends[1], what, 12) == 12), drop(p), read(ends[0], p, 12);
    if (!strcmp(what, "kernel-vector")) {
        struct iovec both[2] = {{keep, 3}, {calloc(1, 20), 21}};
        CHECK(pipe(ends) == 0), writev(ends[1], both, 2);
    }
    if (!strcmp(what, "kernel-struct")) stat("/", (struct stat *)make(sizeof(struct stat) - 1));
    if (!strcmp(what, "kernel-path")) strcpy(p, "/nowhere"), drop(p), open(p, O_RDONLY);
    if (!strcmp(what, "kernel-random")) syscall(SYS_getrandom, make(40), 48, 0);
    if (!strcmp(what, "none")) clean();
    __asm__ volatile("" : : "r"(keep), "r"(after));
    _exit(0);
}
// NOT COMPARED: where realloc moves its mappings is not the matter here
