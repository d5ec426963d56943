/* Commits one misuse of the heap, named by its argument, and ends at once; without one, none. */
// RUN: none
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <unistd.h>

static char in_data[64];
static void *(*volatile ask)(size_t) = malloc;
static void *(*volatile resize)(void *, size_t) = realloc;
static void (*volatile give)(void *) = free;

__attribute__((noinline)) static char *make(size_t n) {
    void *p = ask(n);
    __asm__ volatile("" : "+r"(p)); /* no tail call */
    return static_cast<char *>(p);
}
__attribute__((noinline)) static void drop(void *p) {
    give(p);
    __asm__ volatile("");
}

int main(int, char **argv) {
    const char *what = argv[1] ? argv[1] : "none";
    char on_stack[64] = "";
    char *keep = make(40), *p = make(40), *after = make(40);
    if (!strcmp(what, "double-free")) drop(p), drop(p);
    if (!strcmp(what, "interior")) drop(p + 16);
    if (!strcmp(what, "interior-of-freed")) drop(p), drop(p + 16);
    if (!strcmp(what, "stack")) drop(on_stack + 16);
    if (!strcmp(what, "data")) drop(in_data + 16);
    if (!strcmp(what, "wild")) drop(reinterpret_cast<void *>(0x123456789000));
    if (!strcmp(what, "realloc-of-freed")) drop(p), p = static_cast<char *>(resize(p, 100));
    if (!strcmp(what, "realloc-of-interior")) p = static_cast<char *>(resize(p + 16, 100));
    if (!strcmp(what, "free-of-new")) drop(::operator new(40));
    if (!strcmp(what, "delete-of-malloc")) ::operator delete(p);
    if (!strcmp(what, "delete-of-array")) ::operator delete(::operator new[](40));
    if (!strcmp(what, "array-delete-of-new")) ::operator delete[](::operator new(40));
    if (!strcmp(what, "delete-of-aligned")) ::operator delete(::operator new(40, std::align_val_t{64}));
    if (!strcmp(what, "aligned-delete-of-new")) ::operator delete[](::operator new[](40), std::align_val_t{64});
    if (!strcmp(what, "wrong-size")) ::operator delete(::operator new(40), 48);
    if (!strcmp(what, "leak")) p = make(1000), keep[0] = p[0];
    if (!strcmp(what, "none")) drop(p), drop(keep), drop(after);
    _exit(0);
}
