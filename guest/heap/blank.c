/* Hands the kernel bytes of the heap that nobody has written, as its argument says; without one, only written ones. */
// RUN: none
#include "guest.h"
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static void *(*volatile ask)(size_t) = malloc;
static void *(*volatile zeroed)(size_t, size_t) = calloc;
static void *(*volatile resize)(void *, size_t) = realloc;
static void *(*volatile fill)(void *, int, size_t) = memset;
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
static int sink;

__attribute__((noinline)) static char *make(size_t n) {
    void *p = ask(n);
    __asm__ volatile("" : "+r"(p)); /* no tail call */
    return p;
}
__attribute__((noinline)) static void say(const void *p, size_t n) {
    CHECK(write(sink, p, n) == (ssize_t)n && lseek(sink, 0, SEEK_SET) == 0);
}

__attribute__((noinline)) static int get(const volatile char *p) {
    int c = *p;
    __asm__ volatile("" : "+r"(c));
    return c;
}

/* Stores of each kind, each of which writes what it should. */
static void clean(void) {
    char *p = make(1024) + 15;
    p -= (unsigned long)p % 16; /* 16 bytes aligned */
    __asm__ volatile("fldpi; fstpt %0" : "=m"(*(char(*)[10])p));
    say(p, 10);
    __asm__ volatile("fldpi; fbstp %0" : "=m"(*(char(*)[10])(p + 10)));
    say(p + 10, 10);
    __asm__ volatile("fnstenv %0" : "=m"(*(char(*)[28])(p + 20)));
    say(p + 20, 28);
    __asm__ volatile("fnsave %0" : "=m"(*(char(*)[108])(p + 48)));
    say(p + 48, 108);
    __asm__ volatile("fxsave %0" : "=m"(*(char(*)[512])(p + 160)));
    say(p + 160, 464);
    long long old[2] = {0, 0};
    p = make(64), fill(p, 0, 0);
    p += 15 - ((unsigned long)p + 15) % 16;
    __asm__ volatile("lock cmpxchg16b %0" : "+m"(*(char(*)[16])p), "+a"(old[0]), "+d"(old[1]) : "b"(1L), "c"(2L) : "cc");
    say(p, 16);
    __asm__ volatile("pcmpeqd %%xmm1, %%xmm1; psrldq $8, %%xmm1; maskmovdqu %%xmm1, %%xmm0" : : "D"(p + 17) : "memory", "xmm0", "xmm1");
    say(p + 17, 8);
    __asm__ volatile("movbe %1, %0" : "=m"(*(int *)(p + 25)) : "r"(5));
    __asm__ volatile("movbe %1, %0" : "=m"(*(long *)(p + 29)) : "r"(5L));
    say(p + 25, 12);
    p = make(40);
    __asm__ volatile("lock xaddl %0, %1" : : "r"(1), "m"(*(int *)p) : "memory", "cc");
    __asm__ volatile("xchgq %0, %1" : : "r"(1L), "m"(*(long *)(p + 4)) : "memory");
    __asm__ volatile("rep stosb" : : "D"(p + 12), "c"(10L), "a"(1) : "memory");
    __asm__ volatile("movups %%xmm0, %0" : "=m"(*(char(*)[16])(p + 22)));
    say(p, 38);
    int ends[2];
    CHECK(pipe(ends) == 0 && write(ends[1], "12345", 5) == 5);
    p = make(8), CHECK(read(ends[0], p, 8) == 5), say(p, 5);
    p = zeroed(10, 10), p = resize(p, 60), say(p, 60);
    p = make(24), fill(p, 1, 24), p = resize(p, 50000), say(p, 24), p = resize(p, 400000), say(p, 24);
    p = resize(p, 10), say(p, 10);
    p = make(20);
    size_t usable = malloc_usable_size(p);
    fill(p, 1, usable), p = resize(p, 5000), say(p, usable);
    char *q = make(24);
    copy(q, make(24), 24), say(q, 24);
    struct iovec *both = (void *)make(2 * sizeof *both);
    both[0] = (struct iovec){q, 24}, both[1] = (struct iovec){p, 20};
    CHECK(writev(sink, both, 2) == 44);
    strcpy(q, "/nowhere"), CHECK(open(q, O_RDONLY) < 0);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "none";
    sink = memfd_create("sink", 0);
    char *p = make(24);
    if (!strcmp(what, "none")) clean();
    if (!strcmp(what, "all")) say(p, 24);
    if (!strcmp(what, "tail")) fill(p, 1, 20), say(p, 24);
    if (!strcmp(what, "resized")) fill(p, 1, 24), p = resize(p, 5000), say(p, 5000);
    if (!strcmp(what, "moved")) fill(p, 1, 8), p = resize(p, 5000), say(p, 20);
    if (!strcmp(what, "big")) p = make(1 << 20), fill(p, 1, 5000), p = resize(p, 2 << 20), say(p + 4096, 4096);
    if (!strcmp(what, "again")) fill(p, 1, 24), free(p), p = make(24), say(p + 8, 2);
    if (!strcmp(what, "masked")) {
        __asm__ volatile("pcmpeqd %%xmm1, %%xmm1; psrldq $8, %%xmm1; maskmovdqu %%xmm1, %%xmm0" : : "D"(p) : "memory", "xmm0", "xmm1");
        say(p, 16);
    }
    if (!strcmp(what, "path")) CHECK(open(p, O_RDONLY) < 0);
    if (!strcmp(what, "vector")) {
        struct iovec both[2] = {{"12", 2}, {p, 3}};
        CHECK(writev(sink, both, 2) == 5);
    }
    if (!strcmp(what, "load")) get(p + 3);
    if (!strcmp(what, "branch")) fill(p, 1, 8), get(p + 8) ? (void)get(p) : (void)get(p + 4);
    if (!strcmp(what, "swapped")) __asm__ volatile("movbe %0, %%eax" : : "m"(*(int *)(p + 8)) : "eax");
    if (!strcmp(what, "x87")) __asm__ volatile("fldt %0; fstp %%st(0)" : : "m"(*(char(*)[10])p));
    if (!strcmp(what, "often"))
        for (int i = 0; i < 100; i++) say(p, 24);
    _exit(0);
}
// NOT COMPARED: where realloc moves its mappings is not the matter here
