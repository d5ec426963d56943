/* The first program: one line. */
// KINDS: musl musl-gcc glibc diet musl-pie glibc-pie
#include <stdio.h>

int main(void) {
    puts("Hello from a static ELF.");
    return 0;
}
