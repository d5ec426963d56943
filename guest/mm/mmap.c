/* mmap: zeroes, placement from the top down, hints, lengths, and each refusal in Linux's order. */
#include "guest.h"

static void *map(void *addr, size_t length, int prot, int flags, int fd, off_t offset) {
    return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

int main(void) {
    catch_faults();
    char *a = map(NULL, 3 * PAGE, RW, ANON, -1, 0);
    SAYS_PTR(a, "mmap(NULL, 12288, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)");
    CHECK(all_bytes(a, 3 * PAGE, 0));
    char *b = map(NULL, 1, PROT_READ, ANON, -1, 0); /* a byte is a page */
    CHECK(b == a - PAGE && b[PAGE - 1] == 0);
    char *c = map(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(c == b - 2 * PAGE);
    CHECK(munmap(b, PAGE) == 0);
    CHECK(map(NULL, PAGE, RW, ANON, -1, 0) == b); /* the highest hole that fits */
    CHECK(munmap(b, PAGE) == 0);
    CHECK(map(NULL, 2 * PAGE, RW, ANON, -1, 0) == c - 2 * PAGE);
    CHECK(munmap(c - 2 * PAGE, 2 * PAGE) == 0);
    puts("top down, best gap");

    char *hint = a - 1024 * PAGE;
    CHECK(map(hint, PAGE, RW, ANON, -1, 0) == hint);
    CHECK(map(hint, PAGE, RW, ANON, -1, 0) != hint); /* taken: elsewhere */
    CHECK(map(hint + PAGE + 123, PAGE, RW, ANON, -1, 0) == hint + PAGE); /* hints are rounded down... */
    CHECK_ERRNO(map(hint + 123, PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL); /* ...fixed addresses are not */
    char *low = map((void *)PAGE, PAGE, RW, ANON, -1, 0); /* below mmap_min_addr: moved up to it */
    CHECK(low != MAP_FAILED && low >= (char *)0x10000);
    CHECK(munmap(low, PAGE) == 0);
    puts("hints");

    CHECK(map(a + PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == a + PAGE);
    a[0] = 1, a[2 * PAGE] = 1;
    FAULTS(STORE(a + PAGE), SIGSEGV, SEGV_ACCERR, a + PAGE);
    CHECK_ERRNO(map(a + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK(munmap(a + PAGE, PAGE) == 0);
    CHECK(map(a + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == a + PAGE && a[PAGE] == 0);
    memset(a, 7, 3 * PAGE);
    CHECK(map(a - PAGE, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == a - PAGE && all_bytes(a - PAGE, 4 * PAGE, 0)); /* over all */
    puts("MAP_FIXED");

    CHECK_ERRNO(map(NULL, 0, RW, ANON, -1, 0), EINVAL);
    CHECK_ERRNO(map(NULL, -1UL, RW, ANON, -1, 0), ENOMEM);
    CHECK_ERRNO(map(NULL, 1UL << 63, RW, ANON, -1, 0), ENOMEM);
    CHECK_ERRNO(map(NULL, 1UL << 47, RW, ANON, -1, 0), ENOMEM);
    CHECK_ERRNO(map((void *)0x7ffffffff000, PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERRNO(map((void *)-PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERRNO(map(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERRNO(map(NULL, PAGE, RW, 0, -1, 0), EBADF); /* not anonymous: the file is looked at first */
    CHECK_ERRNO(map(NULL, PAGE, RW, ANON, -1, 123), EINVAL);
    CHECK_ERRNO(map(NULL, PAGE, RW, MAP_PRIVATE, 999, 0), EBADF);
    SAYS_PTR(map(NULL, PAGE, RW, MAP_PRIVATE, 999, 0), "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE, 999, 0)");
    puts("refusals without a file");

    int fd = file_with("file", 3 * PAGE), pipes[2], directory = open(".", O_RDONLY | O_DIRECTORY);
    CHECK(pipe(pipes) == 0 && directory >= 0);
    CHECK_ERRNO(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0), ENODEV);
    CHECK_ERRNO(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, directory, 0), ENODEV);
    CHECK_ERRNO(map(NULL, PAGE, PROT_READ, 0, fd, 0), EINVAL);
    CHECK_ERRNO(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1), EINVAL);
    CHECK_ERRNO(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, (off_t)(-PAGE)), EOVERFLOW);
    int writer = open("file", O_WRONLY), reader = open("file", O_RDONLY);
    CHECK(writer >= 0 && reader >= 0);
    CHECK_ERRNO(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, writer, 0), EACCES);
    CHECK_ERRNO(map(NULL, PAGE, RW, MAP_SHARED, reader, 0), EACCES);
    char *copy = map(NULL, PAGE, RW, MAP_PRIVATE, reader, 2 * PAGE);
    CHECK(copy != MAP_FAILED && all_bytes(copy, PAGE, 'c'));
    CHECK(close(reader) == 0 && close(writer) == 0 && all_bytes(copy, PAGE, 'c'));
    puts("refusals with a file");

    struct rlimit limit, little;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    little = limit, little.rlim_cur = 64 << 20;
    CHECK(setrlimit(RLIMIT_AS, &little) == 0);
    CHECK_ERRNO(map(NULL, 128 << 20, PROT_NONE, ANON, -1, 0), ENOMEM);
    CHECK(map(NULL, 16 << 20, PROT_NONE, ANON, -1, 0) != MAP_FAILED);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    puts("RLIMIT_AS");

    char *nothing = map(NULL, PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    FAULTS(LOAD(nothing), SIGSEGV, SEGV_ACCERR, nothing);
    char *write_only = map(NULL, PAGE, PROT_WRITE, ANON | MAP_POPULATE, -1, 0);
    CHECK(write_only[5] == 0); /* on x86 what can be written can be read */
    char *stack = map(NULL, 2 * PAGE, RW, ANON | MAP_STACK, -1, 0);
    CHECK(stack != MAP_FAILED);
    static const unsigned char code[] = {0x8d, 0x47, 0x01, 0xc3}; /* lea eax, [rdi+1]; ret */
    char *jit = map(NULL, PAGE, RW | PROT_EXEC, ANON, -1, 0);
    memcpy(jit, code, sizeof code);
    CHECK(((int (*)(int))(uintptr_t)jit)(41) == 42);
    jit[2] = 2; /* and code that changes itself */
    CHECK(((int (*)(int))(uintptr_t)jit)(41) == 43);
    puts("protections and code");
    return 0;
}
