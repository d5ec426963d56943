/* CPUID and RDTSC: a CPU that a portable program can live with, and a counter that goes forward. */
#include "guest.h"
#include <cpuid.h>

static uint64_t rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

int main(void) {
    unsigned a, b, c, d;
    CHECK(__get_cpuid(0, &a, &b, &c, &d) && a >= 1);
    CHECK(__get_cpuid(1, &a, &b, &c, &d));
    CHECK(d & (1 << 0) && d & (1 << 15) && d & (1 << 25) && d & (1 << 26)); /* FPU CMOV SSE SSE2 */
    CHECK(c & (1 << 0) && c & (1 << 9) && c & (1 << 13) && c & (1 << 19) && c & (1 << 20) && c & (1 << 23)); /* x86-64-v2 */
    CHECK(__get_cpuid(0x80000001, &a, &b, &c, &d) && d & (1u << 29)); /* long mode */
    if (__get_cpuid(1, &a, &b, &c, &d) && c & (1 << 27)) {
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        CHECK((low & 3) == 3);
    }
    uint64_t last = rdtsc();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = rdtsc();
        CHECK(now > last);
        last = now;
    }
    puts("an x86-64-v2 with a working clock");
    return 0;
}
