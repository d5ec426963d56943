/* The demo's first program: an ordinary C program, and nothing special about it, that makes its memory move. */
// KINDS: musl
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(void) {
    /* Small blocks: malloc asks the kernel for a few pages and shares them out. */
    char *words[100];
    for (int i = 0; i < 100; i++) {
        words[i] = malloc(24);
        snprintf(words[i], 24, "word %d", i);
    }

    /* A large block, grown: realloc moves page tables, not bytes. */
    size_t megabyte = 1 << 20;
    char *book = malloc(megabyte);
    memset(book, 'a', megabyte);
    book = realloc(book, 3 * megabyte);
    memset(book + megabyte, 'b', megabyte); /* the third megabyte is never touched, so it is never there */

    /* A file, in the guest's own /tmp. */
    FILE *file = fopen("/tmp/words", "w+");
    for (int i = 0; i < 100; i++)
        fprintf(file, "%s\n", words[i]);
    rewind(file);
    char line[24];
    int lines = 0;
    while (fgets(line, sizeof line, file))
        lines++;
    fclose(file);

    /* A mistake: no address for a page. */
    if (mmap((void *)0x1001, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        printf("no page for us: %s\n", strerror(errno));

    printf("%d lines, the last is %s", lines, line);
    fwrite(book + megabyte - 4, 1, 8, stdout);
    puts(" is where the book was grown");
    free(book);
    for (int i = 0; i < 100; i++)
        free(words[i]);
    return 0;
}
