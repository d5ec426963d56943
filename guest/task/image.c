/* The program as loaded: initialised data, zeroed BSS up to its last byte, alignment, what may be written. */
// KINDS: musl glibc musl-pie glibc-pie musl-gcc
#include "guest.h"

static int initialised = 0x5ca1ab1e;
static char bss[3 * 4096 + 123];
static char aligned[4096] __attribute__((aligned(8192)));
static const char constant[] = "constant";
static int (*const relocated)(const char *) = puts; /* in a static-pie: written by the program itself, then read-only (RELRO) */

int main(void) {
    catch_faults();
    CHECK(initialised == 0x5ca1ab1e && all_bytes(bss, sizeof bss, 0) && all_bytes(aligned, sizeof aligned, 0));
    CHECK((uintptr_t)aligned % 8192 == 0);
    initialised = 1, bss[sizeof bss - 1] = 1, aligned[4095] = 1;
    FAULTS(STORE((uintptr_t)constant), SIGSEGV, SEGV_ACCERR, constant);
    FAULTS(STORE((uintptr_t)main), SIGSEGV, SEGV_ACCERR, main);
    struct fault f = CATCH(*(char *)(uintptr_t)&relocated = *(volatile char *)(uintptr_t)&relocated);
    printf("RELRO: %s\n", f.sig == SIGSEGV && f.code == SEGV_ACCERR && f.addr == (uintptr_t)&relocated ? "read-only" : "writable");
    FAULTS(__asm__ volatile("call *%0" ::"r"(bss)), SIGSEGV, SEGV_ACCERR, bss);
    char local = (char)0xc3;
    FAULTS(__asm__ volatile("call *%0" ::"r"(&local)), SIGSEGV, SEGV_ACCERR, &local); /* PT_GNU_STACK */
    CHECK(*(volatile const char *)main != 0 || 1); /* code can be read */
    relocated("as linked");
    return 0;
}
