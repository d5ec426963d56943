/* say(): a guest's own log of a call, by a raw write: kind, size, alignment, block in, block out, in hex. */
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static void say(char kind, uint64_t size, uint64_t alignment, void *in, uint64_t out) {
    char line[80], *at = line;
    const uint64_t values[] = {size, alignment, (uint64_t)(uintptr_t)in, out};
    *at++ = kind;
    for (int i = 0; i < 4; i++) {
        *at++ = ' ';
        for (int shift = 60; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[values[i] >> shift & 15];
    }
    *at++ = '\n';
    (void)!write(1, line, (size_t)(at - line));
}
