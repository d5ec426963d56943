/* munmap: holes, edges, many mappings at once, nothing there, refusals. */
#include "guest.h"

int main(void) {
    catch_faults();
    char *p = map_anon(5 * PAGE, RW);
    memset(p, 1, 5 * PAGE);
    CHECK(SAYS(munmap(p + 2 * PAGE, PAGE), "munmap(%p, 4096)", (void *)(p + 2 * PAGE)) == 0);
    FAULTS(LOAD(p + 2 * PAGE), SIGSEGV, SEGV_MAPERR, p + 2 * PAGE);
    FAULTS(STORE(p + 3 * PAGE - 1), SIGSEGV, SEGV_MAPERR, p + 3 * PAGE - 1);
    CHECK(all_bytes(p, 2 * PAGE, 1) && all_bytes(p + 3 * PAGE, 2 * PAGE, 1));
    CHECK(munmap(p + 2 * PAGE, PAGE) == 0); /* again: nothing there is fine */
    CHECK(munmap(p, 1) == 0);               /* a byte is a page */
    FAULTS(LOAD(p + PAGE - 1), SIGSEGV, SEGV_MAPERR, p + PAGE - 1);
    CHECK(p[PAGE] == 1);
    CHECK(munmap(p + 4 * PAGE, PAGE) == 0 && p[4 * PAGE - 1] == 1);
    CHECK(munmap(p - PAGE, 6 * PAGE) == 0); /* across holes and neighbours */
    FAULTS(LOAD(p + PAGE), SIGSEGV, SEGV_MAPERR, p + PAGE);
    puts("holes");
    CHECK(SAYS(munmap(p + 1, PAGE), "munmap(%p, 4096)", (void *)(p + 1)) == -1);
    CHECK_ERRNO(munmap(p, 0), EINVAL);
    CHECK_ERRNO(syscall(SYS_munmap, p, -1UL), EINVAL);
    CHECK_ERRNO(syscall(SYS_munmap, p, 1UL << 63), EINVAL);
    CHECK_ERRNO(munmap((void *)0x7ffffffff000, PAGE), EINVAL);
    CHECK_ERRNO(munmap((void *)-PAGE, PAGE), EINVAL);
    CHECK(munmap((void *)0x10000, PAGE) == 0);
    puts("refusals");

    char *many = map_anon(256 * PAGE, PROT_NONE);
    for (int i = 0; i < 256; i += 2) CHECK(mprotect(many + i * (int)PAGE, PAGE, RW) == 0);
    for (int i = 0; i < 256; i += 2) many[i * (int)PAGE] = (char)i;
    CHECK(munmap(many + 10 * PAGE, 100 * PAGE) == 0);
    FAULTS(LOAD(many + 10 * PAGE), SIGSEGV, SEGV_MAPERR, many + 10 * PAGE);
    FAULTS(LOAD(many + 9 * PAGE), SIGSEGV, SEGV_ACCERR, many + 9 * PAGE);
    CHECK(many[8 * PAGE] == 8 && many[110 * PAGE] == 110);
    char *again = mmap(many + 10 * PAGE, 100 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(again == many + 10 * PAGE && all_bytes(again, 100 * PAGE, 0));
    puts("many at once");
    return 0;
}
