/* /proc/self/maps: mappings split and merge as Linux has them; [heap], [stack] and the program are named. */
// KINDS: musl glibc musl-pie
// NOT COMPARED: the text of /proc/self/maps has the host's vDSO, inodes and path
#include "guest.h"

/* The mappings within [from, to), by page relative to `from`. */
static void show(const char *what, const char *from, const char *to) {
    printf("%s:", what);
    for (char *line = slurp("/proc/self/maps"); *line; line = strchr(line, '\n') + 1) {
        unsigned long start, end, offset;
        char perms[5];
        CHECK(sscanf(line, "%lx-%lx %4s %lx", &start, &end, perms, &offset) == 4);
        if (start < (uintptr_t)to && end > (uintptr_t)from) {
            if (start < (uintptr_t)from) start = (uintptr_t)from;
            if (end > (uintptr_t)to) end = (uintptr_t)to;
            printf(" %lu-%lu:%s:%lx", (start - (uintptr_t)from) / PAGE, (end - (uintptr_t)from) / PAGE, perms, offset);
        }
    }
    printf("\n");
}

static const char *line_of(const void *address) {
    static char line[256];
    for (char *at = slurp("/proc/self/maps"); *at; at = strchr(at, '\n') + 1) {
        unsigned long start, end;
        CHECK(sscanf(at, "%lx-%lx", &start, &end) == 2);
        if (start <= (uintptr_t)address && (uintptr_t)address < end) {
            size_t n = strcspn(at, "\n");
            memcpy(line, at, n), line[n] = 0;
            return line;
        }
    }
    return "";
}

int main(void) {
    char *p = map_anon(16 * PAGE, PROT_NONE), *end = p + 16 * PAGE;
    show("none", p, end);
    CHECK(mprotect(p + 4 * PAGE, 4 * PAGE, RW) == 0);
    show("split in three", p, end);
    CHECK(mprotect(p + 8 * PAGE, 4 * PAGE, RW) == 0);
    show("merged with the one before", p, end);
    CHECK(mprotect(p, 16 * PAGE, RW) == 0);
    show("all one", p, end);
    CHECK(munmap(p + 7 * PAGE, 2 * PAGE) == 0);
    show("a hole", p, end);
    CHECK(mmap(p + 7 * PAGE, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == p + 7 * PAGE);
    show("filled", p, end);
    CHECK(mmap(p + 7 * PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 7 * PAGE);
    show("shared within", p, end);
    int fd = file_with("file", 8 * PAGE);
    char *f = mmap(p, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    CHECK(f == p && mprotect(f + 2 * PAGE, PAGE, RW) == 0);
    show("a file over it", p, end);
    CHECK(mmap(p + 5 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 5 * PAGE) == p + 5 * PAGE);
    show("the same page of the file again merges", p, end);
    CHECK(mmap(p + 5 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 6 * PAGE) == p + 5 * PAGE);
    show("another page of it does not", p, end);
    const char *name = strrchr(line_of(p), '/');
    printf("its name ends in %s\n", name ? name : "nothing");

    int local = 0;
    CHECK(syscall(SYS_brk, syscall(SYS_brk, 0) + 2 * (long)PAGE) > 0);
    printf("stack: %s\n", strstr(line_of(&local), "[stack]") ? "named" : "not named");
    printf("heap: %s\n", strstr(line_of((void *)(syscall(SYS_brk, 0) - 1)), "[heap]") ? "named" : "not named");
    printf("code: %.4s, constants: %.4s, data: %.4s\n", strchr(line_of((void *)(uintptr_t)main), ' ') + 1,
           strchr(line_of("constant"), ' ') + 1, strchr(line_of(guest_text), ' ') + 1);
    return 0;
}
