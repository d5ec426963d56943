/* Allocates, and puts itself in its own place by execve. */
// RUN:
// RUN: again
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char *volatile block = malloc(40);
    if (argc > 1) {
        free(block);
        puts("again");
        return 0;
    }
    char *arguments[] = {argv[0], "again", NULL}, *environment[] = {NULL};
    execve("/proc/self/exe", arguments, environment);
    return 1;
}
