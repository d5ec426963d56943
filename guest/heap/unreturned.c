/* Allocator functions that are left without a return, entered in their middle, and nested deeper than anyone keeps. The
 * test names pool_take, pool_throw and pool_nest by rules. */
// RUN:
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

static jmp_buf out;
static volatile int throws = 1;

void *pool_take(size_t size);   /* malloc(size) */
void *pool_middle(size_t size); /* jumps into pool_take, behind its first instructions */
asm(".text\n"
    ".globl pool_take\n.type pool_take, @function\n"
    "pool_take: push %rbx\n mov %rdi, %rbx\n"
    "inside: mov %rbx, %rdi\n call malloc\n pop %rbx\n ret\n"
    ".size pool_take, . - pool_take\n"
    ".globl pool_middle\n.type pool_middle, @function\n"
    "pool_middle: push %rbx\n mov %rdi, %rbx\n jmp inside\n"
    ".size pool_middle, . - pool_middle\n");

__attribute__((noinline)) void *pool_throw(size_t size) {
    void *volatile block = malloc(size);
    free(block);
    if (throws) longjmp(out, 1);
    return block;
}

__attribute__((noinline)) void *pool_nest(size_t depth) {
    void *block = depth ? pool_nest(depth - 1) : malloc(1);
    asm volatile("" : "+r"(block)); /* no tail call */
    return block;
}

int main(void) {
    free(pool_take(24));
    for (int i = 0; i < 3; i++)
        if (!setjmp(out)) printf("%p returned\n", pool_throw(100 + i));
    free(pool_take(40));
    free(pool_middle(56));
    free(pool_nest(99));
    free(pool_take(72));
    puts("done");
    return 0;
}
