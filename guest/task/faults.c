/* Faults reach handlers with the right si_code and si_addr. */
#include "guest.h"

static char executable[PAGE] __attribute__((aligned(4096)));

int main(void) {
    catch_faults();
    FAULTS(LOAD(0), SIGSEGV, SEGV_MAPERR, 0);
    FAULTS(STORE(0xdead000), SIGSEGV, SEGV_MAPERR, 0xdead000);
    FAULTS(LOAD(0x7fffffffffff), SIGSEGV, SEGV_MAPERR, 0x7fffffffffff); /* the last user address is never mapped */
    FAULTS(LOAD(0xffffffff80000000), SIGSEGV, SEGV_MAPERR, 0xffffffff80000000); /* the kernel's half: not told apart */
    FAULTS(LOAD(0x800000000000), SIGSEGV, SI_KERNEL, 0); /* not canonical: #GP, no address */
    FAULTS(LOAD(0xfeedfacecafebeef), SIGSEGV, SI_KERNEL, 0);
    puts("wild addresses");

    char *p = map_anon(3 * PAGE, RW);
    CHECK(mprotect(p + PAGE, PAGE, PROT_READ) == 0 && mprotect(p + 2 * PAGE, PAGE, PROT_NONE) == 0);
    FAULTS(STORE(p + PAGE + 7), SIGSEGV, SEGV_ACCERR, p + PAGE + 7);
    FAULTS(LOAD(p + 2 * PAGE), SIGSEGV, SEGV_ACCERR, p + 2 * PAGE);
    FAULTS(__asm__ volatile("movq %%rax, (%0)" ::"r"(p + PAGE - 4) : "memory"), SIGSEGV, SEGV_ACCERR, p + PAGE);
    executable[0] = (char)0xc3;
    FAULTS(__asm__ volatile("call *%0" ::"r"(executable)), SIGSEGV, SEGV_ACCERR, executable);
    FAULTS(__asm__ volatile("call *%0" ::"r"(0x10L)), SIGSEGV, SEGV_MAPERR, 0x10);
    puts("protections");

    volatile int zero = 0;
    struct fault f = CATCH(__asm__ volatile("xor %%edx, %%edx; idivl %0" ::"m"(zero) : "eax", "edx"));
    CHECK(f.sig == SIGFPE && f.code == FPE_INTDIV && f.addr != 0);
    f = CATCH(__asm__ volatile("ud2"));
    CHECK(f.sig == SIGILL && f.code == ILL_ILLOPN && f.addr != 0);
    f = CATCH(__asm__ volatile("int3"));
    CHECK(f.sig == SIGTRAP && f.code == SI_KERNEL && f.addr == 0);
    f = CATCH(__asm__ volatile("hlt"));
    CHECK(f.sig == SIGSEGV && f.code == SI_KERNEL && f.addr == 0);
    f = CATCH(__asm__ volatile("cli"));
    CHECK(f.sig == SIGSEGV && f.code == SI_KERNEL);
    puts("instructions");

    int fd = file_with("file", PAGE + 10);
    char *m = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
    CHECK(m != MAP_FAILED);
    CHECK(m[0] == 'a' && m[PAGE + 9] == 'b' && m[PAGE + 10] == 0 && m[2 * PAGE - 1] == 0);
    FAULTS(LOAD(m + 2 * PAGE), SIGBUS, BUS_ADRERR, m + 2 * PAGE);
    FAULTS(STORE(m + 3 * PAGE + 5), SIGBUS, BUS_ADRERR, m + 3 * PAGE + 5);
    puts("past the end of a file");
    CHECK(munmap(m, 4 * PAGE) == 0 && close(fd) == 0 && unlink("file") == 0);
    FAULTS(LOAD(m), SIGSEGV, SEGV_MAPERR, m);
    return 0;
}
