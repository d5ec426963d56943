/* mimalloc's heaps, each call said as in logged.c, `y` for destroy, and `w` before it for each block that goes. argv[1]: a mistake to
 * make. */
// KINDS: mimalloc
// NOT COMPARED: prints addresses of its heap
// NOT ON A HOST: prints addresses of its heap, which another break moves
#include "say.h"
#include <mimalloc.h>
#include <stdlib.h>
#include <string.h>

#define MOST 3000
static struct { void *at; mi_heap_t *of; } blocks[MOST]; /* in the order of their making; at NULL: freed */
static int used;

/* A block was made in a heap; NULL: in the thread's first one. */
static void *in(mi_heap_t *heap, void *p) {
    if (used == MOST) abort();
    blocks[used].at = p, blocks[used++].of = heap;
    return p;
}

static mi_heap_t *out(void *p) {
    for (int i = used; i-- > 0;)
        if (blocks[i].at == p) return blocks[i].at = NULL, blocks[i].of;
    abort();
}

/* All of a heap's go, or are the first one's. */
static void over(mi_heap_t *heap, int gone) {
    for (int i = 0; i < used; i++)
        if (blocks[i].at && blocks[i].of == heap) {
            if (gone) say('w', 0, 0, blocks[i].at, 0), blocks[i].at = NULL;
            else blocks[i].of = NULL;
        }
}

static uint32_t state = 7;
static uint32_t next(uint32_t n) { return state = state * 1664525u + 1013904223u, (state >> 8) % n; }

#define MADE(heap, kind, size, alignment, call) (p = (call), say(kind, size, alignment, NULL, (uintptr_t)p), in(heap, p))

__attribute__((noinline)) static void work(int rounds) {
    mi_heap_t *heaps[4] = {0}, *chosen = NULL, *first = mi_heap_get_default(), *of;
    for (int i = 0; i < rounds; i++) {
        mi_heap_t **one = &heaps[next(4)];
        size_t n = 1 + next(next(8) ? 300 : 200000);
        void *p, *q;
        if (!*one) {
            *one = mi_heap_new();
            say('m', 0, 0, NULL, (uintptr_t)*one);
        }
        switch (next(16)) {
        case 0: MADE(chosen, 'm', n, 0, malloc(n)); break;
        case 1: MADE(chosen, 'm', n, 0, mi_malloc(n)); break;
        case 2: MADE(chosen, 'c', 3 * n, 0, calloc(3, n)); break;
        case 3: posix_memalign(&p, 64, n), say('a', n, 64, NULL, (uintptr_t)p), in(chosen, p); break;
        case 4: MADE(*one, 'c', 2 * n, 0, mi_heap_calloc(*one, 2, n)); break;
        case 5: MADE(*one, 'a', n, 128, mi_heap_malloc_aligned(*one, n, 128)); break;
        case 6: MADE(*one, 'n', n, 0, mi_heap_alloc_new(*one, n)); break;
        case 7:
        case 8: MADE(*one, 'm', n, 0, mi_heap_malloc(*one, n)); break;
        case 9: MADE(NULL, 'm', n, 0, mi_heap_malloc(first, n)); break;
        case 10: /* it stays in its heap where it stays at its place */
            MADE(*one, 'm', n, 0, mi_heap_malloc(*one, n));
            n += next(2) * 200;
            q = realloc(p, n), of = out(p);
            say('r', n, 0, p, (uintptr_t)q), in(q == p ? of : chosen, q);
            p = q, q = mi_heap_realloc(*one, p, n + 3), of = out(p);
            say('r', n + 3, 0, p, (uintptr_t)q), in(q == p ? of : *one, q);
            break;
        case 11:
            chosen = next(2) ? *one : NULL;
            if (!mi_heap_set_default(chosen ? chosen : first)) abort();
            break;
        case 12:
            over(*one, 1);
            mi_heap_destroy(*one), say('y', 0, 0, *one, 0);
            if (chosen == *one) chosen = NULL;
            *one = NULL;
            break;
        case 13:
            if (next(3)) break;
            over(*one, 0);
            mi_heap_delete(*one), say('f', 0, 0, *one, 0);
            if (chosen == *one) chosen = NULL;
            *one = NULL;
            break;
        default:
            for (int tries = 0; used && tries < 9; tries++)
                if ((p = blocks[next((uint32_t)used)].at)) {
                    out(p), free(p), say('f', 0, 0, p, 0);
                    break;
                }
        }
    }
    for (int i = 0; i < used; i++)
        if (blocks[i].at) say('l', 0, 0, blocks[i].at, 0); /* it lives */
}

__attribute__((noinline)) static char *make(mi_heap_t *heap) { return memset(mi_heap_malloc(heap, 40), 1, 40); }

__attribute__((noinline)) static int mistaken(const char *how) {
    mi_heap_t *heap = mi_heap_new();
    char *volatile p = make(heap);
    if (!strcmp(how, "free")) mi_heap_destroy(heap), free(p);
    if (!strcmp(how, "free-after-delete")) mi_heap_delete(heap), free(p);
    if (!strcmp(how, "read")) mi_heap_destroy(heap), heap = NULL, p[0]++;
    if (!strcmp(how, "destroy")) {
        mi_heap_destroy(heap);
        if (next(1) == 0) mi_heap_destroy(heap);
    }
    if (!strcmp(how, "free-heap")) free(heap);
    if (!strcmp(how, "leak")) mi_heap_delete(heap);
    if (!strcmp(how, "forget")) return 0;
    if (!strcmp(how, "clean")) mi_heap_destroy(heap);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && (argv[1][0] < '0' || argv[1][0] > '9')) return mistaken(argv[1]);
    work(argc > 1 ? atoi(argv[1]) : 600);
    return 0;
}
