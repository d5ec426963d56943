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
    __asm__ volatile("" : : "r"(size)); /* or callers may pass anything */
    uint32_t how = next() % 40;
    if (how == 0) return NULL;
    if (how == 1) return (void *)(uintptr_t)((uint64_t)next() << 24);
    if (how == 2) return (char *)&how; /* on the stack */
    char *p = arena + next() % (PAGES * PAGE);
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

/* So of pools: some hand out what c_malloc does, some are told of by no call, and what is in them may go at any time. */
__attribute__((noinline)) void *p_malloc(void *pool, size_t size) {
    __asm__ volatile("" : : "r"(pool));
    return next() % 2 ? c_malloc(size) : arena + next() % 64 * 16;
}
__attribute__((noinline)) void *p_realloc(void *pool, void *old, size_t size) {
    void *p = next() % 3 ? p_malloc(pool, size) : old;
    __asm__ volatile("" : : "r"(p));
    return p;
}
__attribute__((noinline)) void *p_hidden(size_t size) {
    void *p = p_malloc(arena + next() % 8, size);
    __asm__ volatile("" : : "r"(p));
    return p;
}
__attribute__((noinline)) void p_free(void *p) { __asm__ volatile("" : : "r"(p)); }
__attribute__((noinline)) void p_empty(void *pool) { __asm__ volatile("" : : "r"(pool)); }
__attribute__((noinline)) void p_end(void *pool) {
    p_empty(next() % 4 ? pool : arena + next() % 8);
    __asm__ volatile("" : : "r"(pool));
}

static int pools(void) {
    char *live[64] = {0};
    for (int i = 0; i < 3000; i++) {
        char **at = &live[next() % 64], *old = *at, *pool = next() % 3 ? arena + next() % 8 : live[next() % 64];
        size_t size = next() % 300;
        if (next() % 40 == 0) pool = arena + next() % 2000; /* many are used once */
        switch (next() % 12) {
        case 0: *at = c_malloc(size); break;
        case 1: *at = c_realloc(old, size); break;
        case 2: *at = p_hidden(size); break;
        case 3:
        case 4: *at = p_realloc(pool, old, size); break;
        case 5: p_free(old), *at = next() % 2 ? old : NULL; break;
        case 6: next() % 6 ? p_free(old) : p_empty(pool); break;
        case 7: next() % 6 ? p_free(old) : p_end(pool); break;
        default: *at = p_malloc(pool, size);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    char *live[16] = {0};
    state = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
    arena = map_anon(PAGES * PAGE, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 8 * PAGE; i += 3) arena[i] = (char)next(); /* of the rest no page is there */
    if (argc > 2) return pools();
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
