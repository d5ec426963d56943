/* An allocator that breaks one promise, named by its argument, once; without one, none. guest/heap/broken.toml says what
 * its functions are. */
// KINDS: musl musl-gcc glibc
// NOT COMPARED: its faults are ours to find
// RUN: none
#include "guest.h"
#include <errno.h>
#include <stdint.h>

#define ARENA (256 * PAGE)
static char *arena, *next, *last;
static size_t last_size;
static const char *fault = "none";

static int is(const char *name) {
    if (strcmp(fault, name)) return 0;
    fault = "none"; /* once */
    return 1;
}

static void *take(size_t size, size_t align) {
    if (!arena) {
        arena = next = mmap(NULL, ARENA + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(arena + ARENA, PAGE); /* nothing is behind it */
    }
    char *p = (char *)(((uintptr_t)next + align - 1) & -align);
    if (size > (size_t)(arena + ARENA - p)) return NULL;
    next = p + (size ? size : 1);
    last = p, last_size = size;
    return p;
}

__attribute__((noinline)) void *b_malloc(size_t size) {
    if (size >= ARENA) {
        if (is("impossible-size")) return take(16, 16);
        if (!is("no-errno")) errno = ENOMEM;
        return NULL;
    }
    char *before = last, *p = take(size, 16);
    if (is("overlap")) return before + 16;
    if (is("same-block")) return before;
    if (is("misaligned")) return p + 8;
    if (is("outside")) return next = p, arena + ARENA - 16;
    if (is("unmapped")) return next = p, arena + ARENA;
    return p;
}
__attribute__((noinline)) void *b_calloc(size_t n, size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(n, size, &bytes) && !is("wrapped-product")) return errno = ENOMEM, NULL;
    char *p = b_malloc(bytes);
    if (p) memset(p, 0, bytes);
    if (p && is("not-zero")) p[bytes - 1] = 1;
    return p;
}
__attribute__((noinline)) void *b_realloc(char *old, size_t size) {
    size_t kept = last_size < size ? last_size : size; /* old is the last one */
    if (size >= ARENA) {
        if (is("spoiled-by-failure")) old[kept / 2] ^= 1;
        return errno = ENOMEM, NULL;
    }
    char *p = take(size, 16);
    memcpy(p, old, kept);
    if (is("lost-bytes")) p[kept - 1] ^= 1;
    return p;
}
__attribute__((noinline)) void *b_memalign(size_t align, size_t size) {
    char *p = take(size + 16, align);
    return is("misaligned-memalign") ? p + 16 : p;
}
__attribute__((noinline)) int b_posix_memalign(void **out, size_t align, size_t size) {
    if (size >= ARENA) return is("wrong-error") ? -1 : ENOMEM;
    *out = take(size, align);
    return 0;
}
__attribute__((noinline)) size_t b_usable(void *p) { return p == last ? last_size - is("too-small") : 0; }
__attribute__((noinline)) void b_free(void *p) { __asm__ volatile("" : : "r"(p)); }
/* operator new(size_t), as a C++ compiler names it */
__attribute__((noinline)) void *_Znwm(size_t size) { return is("null") ? NULL : take(size, 16); }

__attribute__((noinline)) static void work(void) {
    char *volatile p = b_malloc(100);
    memset(p, 1, 100);
    p = b_malloc(100);
    memset(p, 2, 64);
    p = b_malloc(0);
    b_free(p);
    p = b_malloc(5000);
    memset(p, 3, 5000);
    CHECK(b_usable(p));
    CHECK(!b_realloc(p, 1ul << 40));
    p = b_realloc(p, 9000);
    p = b_realloc(p, 70);
    p = b_calloc(30, 300);
    p = b_memalign(256, 100);
    void *out = NULL;
    b_posix_memalign(&out, 64, 100), b_posix_memalign(&out, 64, 1ul << 40);
    errno = 0;
    p = b_malloc((size_t)PTRDIFF_MAX + 1);
    p = b_calloc(1ul << 61, 24);
    p = _Znwm(40);
}

int main(int argc, char **argv) {
    char *volatile first = b_malloc(40); /* a block that stays */
    fault = argc > 1 ? argv[1] : "none";
    work();
    CHECK(first && !strcmp(fault, "none"));
    return 0;
}
