/* As logged.c, for C++: says each new and delete of its own by a raw write. */
// KINDS: musl glibc jemalloc tcmalloc mimalloc
// NOT COMPARED: prints addresses of its heap
// NOT ON A HOST: prints addresses of its heap, which another break moves
#include "say.h"
#include <cstdlib>
#include <new>

__attribute__((noinline)) static void work() {
    for (size_t n = 1; n < 5000; n = n * 3 / 2 + 1) {
        void *p = ::operator new(n), *q = ::operator new[](n), *r = ::operator new(n, std::nothrow);
        say('n', n, 0, nullptr, (uintptr_t)p), say('N', n, 0, nullptr, (uintptr_t)q), say('n', n, 0, nullptr, (uintptr_t)r);
        void *s = ::operator new(n, std::align_val_t(64)), *t = ::operator new[](n, std::align_val_t(128));
        say('n', n, 64, nullptr, (uintptr_t)s), say('N', n, 128, nullptr, (uintptr_t)t);
        say('d', 0, 0, p, 0), ::operator delete(p);
        say('D', 0, 0, q, 0), ::operator delete[](q);
        say('d', n, 0, r, 0), ::operator delete(r, n);
        say('d', n, 64, s, 0), ::operator delete(s, n, std::align_val_t(64));
        say('D', 0, 128, t, 0), ::operator delete[](t, std::align_val_t(128));
    }
    try {
        void *p = ::operator new((size_t)-1 >> 1);
        say('n', 0, 0, nullptr, (uintptr_t)p);
    } catch (const std::bad_alloc &) {
        say('x', 0, 0, nullptr, 0);
    }
    void *p = std::malloc(10);
    say('m', 10, 0, nullptr, (uintptr_t)p);
    say('f', 0, 0, p, 0), std::free(p), say('x', 0, 0, nullptr, 0);
}

int main() {
    work();
    return 0;
}
