/* I/O ports are not for users: in and out are SIGSEGV. */
#include "guest.h"

int main(void) {
    catch_faults();
    struct fault f = CATCH(__asm__ volatile("in $0x80, %%al" ::: "eax"));
    CHECK(f.sig == SIGSEGV && f.code == SI_KERNEL && f.addr == 0);
    f = CATCH(__asm__ volatile("out %%al, $0x80" ::: "eax"));
    CHECK(f.sig == SIGSEGV && f.code == SI_KERNEL && f.addr == 0);
    puts("neither in nor out");
    return 0;
}
