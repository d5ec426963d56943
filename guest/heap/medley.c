/* Calls of an allocator that only says addresses: of live blocks, of any alignment, far from each other or nowhere; its
 * functions call each other, the kernel and untouched pages, jump to each other and are left by longjmp; what is released
 * was often not made. For the short way of the hooks and the long one, which must say the same of it. */
// NOT COMPARED: its faults are ours to find
// RUN: 1
#include "guest.h"
#include <setjmp.h>

static jmp_buf out;
static uint32_t state;
static char *fresh; /* pages that nobody has touched */
static uint32_t next(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

static void *say(void) {
    uint64_t slot = next() % 48;
    switch (slot & 15) {
    case 0: return (void *)(slot << 43);           /* few of these are addresses */
    case 1: return (void *)(0x7f0000000000 + slot * 8);
    case 2: return (void *)(0x5000 + slot * 8 + next() % 2 * 3);
    case 3: return NULL;
    default: return (void *)(0x10000000 + (slot << (slot & 1 ? 4 : 22)));
    }
}

void m_free(void *p);
__attribute__((noinline)) void *m_malloc(size_t size) {
    switch (next() % 40) {
    case 0: getpid(); break;
    case 1: *fresh = 1, fresh += PAGE; break;
    case 2: m_free(say()); break;
    case 3: return m_malloc(size / 2);
    case 4: longjmp(out, 1);
    case 5: getpid(), *fresh = 1, fresh += PAGE, getpid(); break;
    }
    return say();
}
__attribute__((noinline)) void m_free(void *p) {
    __asm__ volatile("" : : "r"(p));
    switch (next() % 60) {
    case 0: getpid(); break;
    case 1: *fresh = 1, fresh += PAGE; break;
    case 2: longjmp(out, 1);
    case 3: m_malloc(1); break;
    }
}
__attribute__((noinline)) void *m_calloc(size_t n, size_t size) { return next() % 2 ? m_malloc(n * size) : say(); }
__attribute__((noinline)) void *m_realloc(void *p, size_t size) { return size % 3 ? say() : p; }
__attribute__((noinline)) void *m_new(size_t size) { return next() % 2 ? m_malloc(size) : say(); }
__attribute__((noinline)) void m_delete(void *p) { m_free(p); }
void m_also(void *p); /* a jump to m_free, as in musl */
__asm__(".globl m_also\n.type m_also, @function\nm_also: jmp m_free\n.size m_also, . - m_also\n");

int main(int argc, char **argv) {
    void *live[16] = {0};
    state = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
    fresh = map_anon(4096 * PAGE, PROT_READ | PROT_WRITE);
    for (volatile int i = 0; i < 4000; i++) {
        void **at = &live[next() % 16], *old = *at;
        if (setjmp(out)) continue;
        switch (next() % 16) {
        case 0: *at = m_calloc(next() % 50, 1 + next() % 3); break;
        case 1: *at = m_realloc(old, next() % 100); continue;
        case 2: *at = m_new(next() % 100); break;
        case 3: m_delete(old); continue;
        case 4: m_free(say()); continue;
        case 5: m_free(old); continue; /* often twice */
        case 6: m_also(old); break;
        default: *at = m_malloc(next() % 5000);
        }
        if (old) next() % 8 ? m_free(old) : m_also(old);
    }
    printf("done\n");
    return 0;
}
