/* Leaves allocator functions by the side, three times: by an exception of a new handler, a longjmp out of one, both of
 * them out of more calls than anyone keeps, and by a signal handler that never returns. Then allocates as usual. */
// RUN: throw
// RUN: jump
// RUN: deep
// RUN: fault
// NOT COMPARED: what malloc asks for differs
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

static const size_t HUGE = ~size_t(0) >> 1;
static jmp_buf out;
static int depth;
static void *volatile kept;
static char *volatile nowhere;

struct Left {};

extern "C" __attribute__((noinline)) void *pool_fault(size_t size) {
    *nowhere = 1;
    return malloc(size);
}

static void throws() {
    std::free(kept = std::malloc(33));
    throw Left();
}
static void jumps() { longjmp(out, 1); }
static void deeper() {
    if (++depth < 70) kept = ::operator new(HUGE);
    throws();
}
static void caught(int) { siglongjmp(out, 1); }

__attribute__((noinline)) static void *after() {
    void *block = std::malloc(77);
    __asm__ volatile("" : "+r"(block)); /* no tail call */
    return block;
}

__attribute__((noinline)) static int leave(const char *how) {
    depth = 0;
    if (sigsetjmp(out, 1)) return 1;
    try {
        kept = strcmp(how, "fault") ? ::operator new(HUGE) : pool_fault(5);
    } catch (const Left &) {
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "throw";
    std::set_new_handler(!strcmp(how, "throw") ? throws : !strcmp(how, "jump") ? jumps : deeper);
    std::signal(SIGSEGV, caught);
    int times = 0;
    for (int i = 0; i < 3; i++) {
        times += leave(how);
        kept = after();
        delete[] new int[10];
    }
    std::printf("left %d times\n", times);
    return 0;
}
