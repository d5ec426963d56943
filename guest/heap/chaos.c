/* An allocator that hands out anything: blocks over each other, across holes and mappings, of any alignment, in pages
 * that nobody touched; realloc copies or does not. For the two checkers, which must say the same of it. */
// NOT COMPARED: its faults are ours to find
// RUN: 1
#include "guest.h"

#define PAGES 64
static char *arena;
static uint32_t state;
static uint32_t next(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

__attribute__((noinline)) void *c_malloc(size_t size) {
    uint32_t how = next() % 40;
    if (how == 0) return NULL;
    if (how == 1) return (void *)(uintptr_t)((uint64_t)next() << 24);
    if (how == 2) return (char *)&how; /* on the stack */
    char *p = arena + next() % (PAGES * PAGE);
    (void)size;
    return how < 30 ? (char *)((uintptr_t)p & -16ul) : p;
}
__attribute__((noinline)) void *c_calloc(size_t n, size_t size) { return c_malloc(n * size); }
__attribute__((noinline)) void *c_realloc(char *old, size_t size) {
    char *p = c_malloc(size);
    int inside = p >= arena && old >= arena && p + 200 < arena + 8 * PAGE && old + 200 < arena + 8 * PAGE;
    if (inside && next() % 4) memmove(p, old, 200);
    return next() % 8 ? p : old;
}
__attribute__((noinline)) void *c_memalign(size_t align, size_t size) { return (void *)((uintptr_t)c_malloc(size) & -(uintptr_t)(next() % 4 ? align : 1)); }
__attribute__((noinline)) size_t c_usable(void *p) {
    __asm__ volatile("" : "+r"(p));
    return (size_t)p % 200;
}
__attribute__((noinline)) void c_free(void *p) { __asm__ volatile("" : : "r"(p)); }

int main(int argc, char **argv) {
    char *live[16] = {0};
    state = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
    arena = map_anon(PAGES * PAGE, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 8 * PAGE; i += 3) arena[i] = (char)next(); /* of the rest no page is there */
    for (int i = 0; i < 500; i++) {
        char **at = &live[next() % 16], *old = *at;
        size_t size = next() % 6 ? next() % 200 : next() % 50000;
        switch (next() % 8) {
        case 0: *at = c_malloc(size); break;
        case 1: *at = c_calloc(size, 1 + next() % 3); break;
        case 2:
        case 3: *at = c_realloc(old, size), old = NULL; break;
        case 4: *at = c_memalign(1ul << next() % 14, size); break;
        case 5: c_usable(old), old = NULL; break;
        case 6: { /* a hole, or a mapping in its place, behind what is written */
            char *page = arena + (8 + next() % (PAGES - 8)) * PAGE;
            size_t length = (1 + next() % 3) * PAGE;
            if (page + length > arena + PAGES * PAGE) length = PAGE;
            next() % 2 ? munmap(page, length) : (int)(long)mmap(page, length, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            old = NULL;
            break;
        }
        default: *at = NULL;
        }
        if (old) c_free(old);
    }
    return 0;
}
