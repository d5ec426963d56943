/* As logged.c, for C++: says each new and delete of its own by a raw write. */
// KINDS: musl glibc jemalloc tcmalloc mimalloc
// NOT COMPARED: prints addresses of its heap
// NOT ON A HOST: prints addresses of its heap, which another break moves
#include <cstdint>
#include <cstdlib>
#include <new>
#include <unistd.h>

static void say(char kind, uint64_t size, uint64_t alignment, void *in, void *out) {
    char line[80], *at = line;
    uint64_t values[] = {size, alignment, (uintptr_t)in, (uintptr_t)out};
    *at++ = kind;
    for (uint64_t value : values) {
        *at++ = ' ';
        for (int shift = 60; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[value >> shift & 15];
    }
    *at++ = '\n';
    (void)!write(1, line, (size_t)(at - line));
}

__attribute__((noinline)) static void work() {
    for (size_t n = 1; n < 5000; n = n * 3 / 2 + 1) {
        void *p = ::operator new(n), *q = ::operator new[](n), *r = ::operator new(n, std::nothrow);
        say('n', n, 0, nullptr, p), say('N', n, 0, nullptr, q), say('n', n, 0, nullptr, r);
        void *s = ::operator new(n, std::align_val_t(64)), *t = ::operator new[](n, std::align_val_t(128));
        say('n', n, 64, nullptr, s), say('N', n, 128, nullptr, t);
        say('d', 0, 0, p, nullptr), ::operator delete(p);
        say('D', 0, 0, q, nullptr), ::operator delete[](q);
        say('d', n, 0, r, nullptr), ::operator delete(r, n);
        say('d', n, 64, s, nullptr), ::operator delete(s, n, std::align_val_t(64));
        say('D', 0, 128, t, nullptr), ::operator delete[](t, std::align_val_t(128));
    }
    try {
        void *p = ::operator new((size_t)-1 >> 1);
        say('n', 0, 0, nullptr, p);
    } catch (const std::bad_alloc &) {
        say('x', 0, 0, nullptr, nullptr);
    }
    void *p = std::malloc(10);
    say('m', 10, 0, nullptr, p);
    say('f', 0, 0, p, nullptr), std::free(p), say('x', 0, 0, nullptr, nullptr);
}

int main() {
    work();
    return 0;
}
