/* What ours is a Linux without: protection keys, secret memory, shadow stacks, userfaultfd. */
// NOT ON A HOST: which of them it has is its own affair
#include "guest.h"

int main(void) {
    char *m = map_anon(2 * PAGE, RW);
    CHECK_ERRNO(syscall(330, 1UL, 0UL), EINVAL); /* pkey_alloc: flags, rights, and no key to be had */
    CHECK_ERRNO(syscall(330, 0UL, 4UL), EINVAL);
    CHECK_ERRNO(syscall(330, 0UL, 0UL), EINVAL);
    CHECK_ERRNO(syscall(331, 0), EINVAL); /* pkey_free */
    CHECK_ERRNO(syscall(331, 1), EINVAL);
    CHECK_ERRNO(syscall(329, m, PAGE, PROT_READ, 1), EINVAL); /* pkey_mprotect */
    CHECK_ERRNO(syscall(329, m, PAGE, PROT_READ, 16), EINVAL);
    CHECK_ERRNO(syscall(329, m + 1, PAGE, PROT_READ, -1), EINVAL);
    CHECK(syscall(329, m, PAGE, PROT_READ, -1) == 0 && syscall(329, m, 0UL, PROT_READ, -1) == 0);
    catch_faults();
    FAULTS(STORE(m), SIGSEGV, SEGV_ACCERR, m);
    STORE(m + PAGE);
    CHECK_ERRNO(syscall(447, 0), ENOSYS);            /* memfd_secret */
    CHECK_ERRNO(syscall(453, 0UL, PAGE, 0), ENOSYS); /* map_shadow_stack */
    CHECK_ERRNO(syscall(323, O_CLOEXEC), ENOSYS);    /* userfaultfd */
    puts("ok");
    return 0;
}
