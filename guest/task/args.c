/* argv and envp, and where the kernel put their strings. */
// KINDS: musl glibc diet musl-pie glibc-pie
// RUN:
// RUN: one two=2 three
// RUN: HOME=/nowhere EMPTY= LONG=0123456789012345678901234567890123456789 x
#include <stdio.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
    printf("argc %d\n", argc);
    for (int i = 1; i < argc; i++) printf("argv[%d] %s\n", i, argv[i]);
    printf("argv[argc] %s\n", argv[argc] ? "is not NULL" : "is NULL");
    for (int i = 0; environ[i]; i++) printf("envp[%d] %s\n", i, environ[i]);
    printf("envp follows argv: %d\n", environ == argv + argc + 1);
    const char *end = argv[0] + strlen(argv[0]) + 1;
    for (int i = 1; i < argc; end += strlen(argv[i]) + 1, i++) printf("argv[%d] is adjacent: %d\n", i, argv[i] == end);
    for (int i = 0; environ[i]; end += strlen(environ[i]) + 1, i++) printf("envp[%d] is adjacent: %d\n", i, environ[i] == end);
    printf("stack pointer below its strings: %d\n", (char *)argv < argv[0]);
    return 0;
}
