/* Arenas over malloc, whose blocks go together: with the arena, or where it is emptied. What rules can tell of them.
 * argv[1]: a mistake to make. */
#include "guest.h"

#define CHUNK 4000

struct chunk { struct chunk *next; size_t used; char bytes[CHUNK]; };
struct arena { struct chunk *chunks; };

__attribute__((noinline)) static struct arena *arena_new(void) {
    struct arena *arena = malloc(sizeof *arena);
    arena->chunks = NULL;
    return arena;
}

__attribute__((noinline)) static void *arena_alloc(struct arena *arena, size_t size) {
    struct chunk *chunk = arena->chunks;
    if (!chunk || chunk->used + size > CHUNK) {
        chunk = malloc(sizeof *chunk);
        chunk->next = arena->chunks, chunk->used = 0, arena->chunks = chunk;
    }
    char *p = chunk->bytes + chunk->used;
    chunk->used += (size + 15) & -16ul;
    return p;
}

/* One chunk stays, for what comes next. */
__attribute__((noinline)) static void arena_reset(struct arena *arena) {
    struct chunk *first = arena->chunks;
    if (!first) return;
    for (struct chunk *next; first->next; first->next = next) next = first->next->next, free(first->next);
    first->used = 0;
}

__attribute__((noinline)) static void arena_free(struct arena *arena) {
    arena_reset(arena);
    free(arena->chunks);
    free(arena);
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    struct arena *one = arena_new(), *other = arena_new();
    char *volatile p = arena_alloc(other, 70);
    for (int round = 0; round < 5; round++) {
        for (int i = 1; i < 200; i++) memset(arena_alloc(one, (size_t)i), 1, (size_t)i);
        arena_reset(one);
    }
    if (!strcmp(how, "reset")) arena_reset(other), p[0]++;
    for (int i = 1; i < 50; i++) memset(arena_alloc(one, 24), 1, 24);
    arena_free(one);
    if (strcmp(how, "forget")) arena_free(other);
    return 0;
}
