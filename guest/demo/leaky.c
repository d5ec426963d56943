/* The demo's third program: it throws one letter away twice, and another one never. */
// KINDS: musl
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((noinline)) char *write_to(const char *name) {
    char *letter = malloc(strlen("Dear !") + strlen(name) + 1);
    sprintf(letter, "Dear %s!", name);
    return letter;
}

static __attribute__((noinline)) void throw_away(char *letter) {
    free(letter);
    __asm__ volatile("" ::: "memory");
}

int main(void) {
    char *first = write_to("Ada"), *second = write_to("Grace"), *third = write_to("Barbara");
    printf("%s %s %s\n", first, second, third);
    fflush(stdout);
    throw_away(first);
    throw_away(second);
    throw_away(second); // which musl does not survive
    return 0;
}
