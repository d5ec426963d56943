/* mprotect: splits, merges, what a mapping may become, partial effect before ENOMEM. */
#include "guest.h"

/* musl rounds to pages by itself: ask the kernel. */
static int protect(void *p, size_t length, int prot) { return (int)syscall(SYS_mprotect, p, length, prot); }

int main(void) {
    catch_faults();
    char *p = map_anon(6 * PAGE, RW);
    memset(p, 3, 6 * PAGE);
    CHECK(SAYS(protect(p + PAGE, 2 * PAGE, PROT_READ), "mprotect(%p, 8192, PROT_READ)", (void *)(p + PAGE)) == 0);
    FAULTS(STORE(p + PAGE), SIGSEGV, SEGV_ACCERR, p + PAGE);
    FAULTS(STORE(p + 3 * PAGE - 1), SIGSEGV, SEGV_ACCERR, p + 3 * PAGE - 1);
    CHECK(p[PAGE] == 3);
    p[0] = p[3 * PAGE] = 4;
    CHECK(protect(p + PAGE, PAGE, PROT_NONE) == 0);
    FAULTS(LOAD(p + PAGE), SIGSEGV, SEGV_ACCERR, p + PAGE);
    CHECK(p[2 * PAGE] == 3);
    CHECK(protect(p, 6 * PAGE, RW) == 0);
    CHECK(p[PAGE] == 3); /* contents outlive PROT_NONE */
    p[PAGE] = 5;
    CHECK(protect(p, 1, PROT_READ) == 0); /* a byte is a page */
    FAULTS(STORE(p + PAGE - 1), SIGSEGV, SEGV_ACCERR, p + PAGE - 1);
    CHECK(protect(p, 6 * PAGE, PROT_WRITE) == 0 && p[0] == 4);
    CHECK(protect(p, 0, PROT_NONE) == 0 && protect(p, PAGE, RW) == 0);
    puts("splits and merges");

    p[0] = (char)0xc3;
    FAULTS(__asm__ volatile("call *%0" ::"r"(p)), SIGSEGV, SEGV_ACCERR, p);
    CHECK(protect(p, PAGE, PROT_READ | PROT_EXEC) == 0);
    __asm__ volatile("call *%0" ::"r"(p));
    FAULTS(STORE(p), SIGSEGV, SEGV_ACCERR, p);
    CHECK(protect(p, PAGE, RW) == 0);
    FAULTS(__asm__ volatile("call *%0" ::"r"(p)), SIGSEGV, SEGV_ACCERR, p);
    puts("no-execute");

    CHECK(munmap(p + 3 * PAGE, PAGE) == 0);
    CHECK(SAYS(protect(p, 6 * PAGE, PROT_READ), "mprotect(%p, 24576, PROT_READ)", (void *)p) == -1);
    FAULTS(STORE(p + 2 * PAGE), SIGSEGV, SEGV_ACCERR, p + 2 * PAGE); /* before the hole it took effect */
    p[4 * PAGE] = 6;                                                /* behind it not */
    CHECK_ERRNO(protect(p + 3 * PAGE, PAGE, PROT_READ), ENOMEM);
    CHECK_ERRNO(protect(p + 1, PAGE, PROT_READ), EINVAL);
    CHECK_ERRNO(protect(p, PAGE, 0x40), EINVAL);
    CHECK_ERRNO(protect(p, -PAGE, PROT_READ), ENOMEM);
    CHECK_ERRNO(protect(p, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP), EINVAL);
    CHECK_ERRNO(protect(p, PAGE, PROT_READ | PROT_GROWSDOWN), EINVAL);
    puts("refusals");

    int fd = file_with("file", PAGE);
    close(fd);
    fd = open("file", O_RDONLY);
    char *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(shared != MAP_FAILED);
    CHECK_ERRNO(protect(shared, PAGE, RW), EACCES); /* the file was opened for reading */
    char *private = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(private != MAP_FAILED && protect(private, PAGE, RW) == 0);
    private[0] = 'X';
    CHECK(shared[0] == 'a' && private[0] == 'X' && private[1] == 'a');
    puts("files");

    static const char constant[PAGE] __attribute__((aligned(4096))) = "constant";
    CHECK(protect((void *)(uintptr_t)constant, PAGE, RW) == 0);
    *(volatile char *)(uintptr_t)constant = 'C';
    CHECK(*(volatile const char *)constant == 'C');
    return 0;
}
