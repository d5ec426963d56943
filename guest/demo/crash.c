/* The demo's second program: it writes to a page that it has given back. */
// KINDS: musl
#include <stdio.h>
#include <sys/mman.h>

struct ledger {
    long entries[512];
};

static __attribute__((noinline)) void enter(struct ledger *ledger, int row, long amount) {
    ledger->entries[row] = amount;
    __asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void close_the_books(struct ledger *ledger) {
    enter(ledger, 0, 100);
    munmap(ledger, sizeof *ledger);
    enter(ledger, 1, 200);
    __asm__ volatile("" ::: "memory");
}

int main(void) {
    struct ledger *ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    close_the_books(ledger);
    puts("never reached");
    return 0;
}
