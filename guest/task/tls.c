/* Thread-local variables: initial image, zeroed rest, alignment; FS base as arch_prctl sees it; one's own GS. */
// KINDS: musl glibc musl-pie glibc-pie
#include "guest.h"
#include <asm/prctl.h>

static __thread int initialised = 0x1234567;
static __thread char zeroed[300];
static __thread long aligned_to_64[8] __attribute__((aligned(64))) = {1, 2, 3};

int main(void) {
    CHECK(initialised == 0x1234567);
    CHECK(all_bytes(zeroed, sizeof zeroed, 0));
    CHECK((uintptr_t)aligned_to_64 % 64 == 0 && aligned_to_64[2] == 3 && aligned_to_64[7] == 0);
    initialised++;
    unsigned long base = 0, self;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base) == 0);
    __asm__("movq %%fs:0, %0" : "=r"(self));
    CHECK(base == self);
    long value = 77, got;
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, &value) == 0);
    __asm__ volatile("movq %%gs:0, %0" : "=r"(got));
    CHECK(got == 77);
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0 && base == (unsigned long)&value);
    CHECK_ERRNO(syscall(SYS_arch_prctl, ARCH_SET_FS, 1UL << 63), EPERM);
    CHECK_ERRNO(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
    printf("initialised %#x\n", (unsigned)initialised);
    return 0;
}
