/* Unmasked floating-point exceptions are SIGFPE with the code of what went wrong; x87 and SSE. */
// RUN: x87
// RUN: sse
#include "guest.h"

static struct fault sse_divide(void) {
    unsigned mxcsr = 0x1f80 & ~(1u << 9), normal = 0x1f80;
    struct fault f = CATCH({
        __asm__ volatile("ldmxcsr %0; divsd %2, %1" ::"m"(mxcsr), "x"(1.0), "x"(0.0));
    });
    __asm__ volatile("ldmxcsr %0" ::"m"(normal));
    return f;
}

static struct fault x87_divide(void) {
    unsigned short control = 0x37f & ~4, normal = 0x37f;
    struct fault f = CATCH({
        __asm__ volatile("fldcw %0; fld1; fldz; fdivrp; fwait" ::"m"(control));
    });
    __asm__ volatile("fninit; fldcw %0" ::"m"(normal));
    return f;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    catch_faults();
    struct fault f = argv[1][0] == 's' ? sse_divide() : x87_divide();
    CHECK(f.sig == SIGFPE && f.code == FPE_FLTDIV);
    printf("%s division by zero\n", argv[1]);
    return 0;
}
