/* mbind, set_mempolicy, get_mempolicy, set_mempolicy_home_node, migrate_pages and move_pages, where there is one node. */
// NOT COMPARED: strace prints what lies behind a node mask that is given too long
#include "guest.h"

enum { DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY, WEIGHTED };
enum { STATIC = 1 << 15, RELATIVE = 1 << 14, BALANCING = 1 << 13 };
enum { STRICT = 1, MOVE = 2, MOVE_ALL = 4, LAZY = 8 };
enum { F_NODE = 1, F_ADDR = 2, F_MEMS_ALLOWED = 4 };
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

static unsigned long zero = 1, other = 2, none = 0, both = 3; /* masks of nodes */

static long set(int mode, unsigned long *mask, unsigned long max) { return syscall(SYS_set_mempolicy, mode, mask, max); }
static long bind(void *at, size_t n, int mode, unsigned long *mask, unsigned flags) {
    return syscall(SYS_mbind, at, n, mode, mask, 64UL, flags);
}
static long get(int *mode, unsigned long *mask, unsigned long max, void *at, unsigned long flags) {
    return syscall(SYS_get_mempolicy, mode, mask, max, at, flags);
}
static long home(void *at, size_t n, unsigned long node, unsigned long flags) {
    return syscall(SYS_set_mempolicy_home_node, at, n, node, flags);
}

static void of_the_task(void) {
    int mode = -1;
    unsigned long mask = 7;
    CHECK(get(&mode, &mask, 64, NULL, 0) == 0 && mode == DEFAULT && mask == 0);
    static const int modes[] = {PREFERRED, BIND, INTERLEAVE, PREFERRED_MANY, WEIGHTED, BIND | STATIC, INTERLEAVE | RELATIVE,
                                BIND | BALANCING, PREFERRED_MANY | BALANCING, PREFERRED | STATIC};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        CHECK(set(modes[i], &zero, 64) == 0);
        CHECK(get(&mode, &mask, 64, NULL, 0) == 0);
        printf("%#x: %#x %#lx\n", modes[i], mode, mask);
        CHECK(set(modes[i], &both, 64) == 0 || errno == EINVAL);
        CHECK(get(&mode, &mask, 64, NULL, 0) == 0);
        printf("  of both: %#x %#lx\n", mode, mask);
    }
    CHECK(set(PREFERRED, &none, 64) == 0 && get(&mode, &mask, 64, NULL, 0) == 0 && mode == LOCAL && mask == 0);
    CHECK(set(LOCAL, NULL, 0) == 0 && set(DEFAULT, NULL, 0) == 0 && set(DEFAULT, &none, 64) == 0);
    static const struct {
        int mode;
        unsigned long *mask;
    } refused[] = {{DEFAULT, &zero}, {LOCAL, &zero}, {LOCAL | STATIC, &none}, {BIND, &none}, {BIND, &other}, {7, &zero}, {-1, &zero},
                   {INTERLEAVE, NULL}, {PREFERRED | STATIC, &none}, {BIND | STATIC | RELATIVE, &zero},
                   {INTERLEAVE | BALANCING, &zero}, {PREFERRED | BALANCING, &zero}, {DEFAULT | STATIC, &zero}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) CHECK_ERRNO(set(refused[i].mode, refused[i].mask, 64), EINVAL);
    CHECK_ERRNO(set(BIND, (unsigned long *)8, 64), EFAULT);
    CHECK_ERRNO(set(BIND, &zero, 40000), EINVAL);
    CHECK(set(INTERLEAVE, &zero, 0) == -1 && set(INTERLEAVE, &zero, 1) == -1 && set(INTERLEAVE, &zero, 2) == 0);
    CHECK(get(&mode, NULL, 0, NULL, F_NODE) == 0 && mode == 0);
    CHECK(set(DEFAULT, NULL, 0) == 0);
    CHECK_ERRNO(get(&mode, NULL, 0, NULL, F_NODE), EINVAL);
}

static void of_ranges(void) {
    char *m = map_anon(8 * PAGE, RW);
    int mode = -1;
    unsigned long mask = 7;
    CHECK(bind(m + PAGE, 2 * PAGE, BIND, &zero, 0) == 0);
    CHECK(get(&mode, &mask, 64, m + PAGE, F_ADDR) == 0 && mode == BIND && mask == 1);
    CHECK(get(&mode, NULL, 0, m, F_ADDR) == 0 && mode == DEFAULT);
    CHECK_ERRNO(get(&mode, NULL, 0, NULL, F_ADDR), EFAULT);
    CHECK_ERRNO(get(&mode, NULL, 0, m, 0), EINVAL);
    CHECK_ERRNO(get(&mode, NULL, 0, NULL, 8), EINVAL);
    CHECK_ERRNO(get(&mode, NULL, 0, m, F_MEMS_ALLOWED | F_ADDR), EINVAL);
    CHECK(get(NULL, &mask, 64, NULL, F_MEMS_ALLOWED) == 0 && mask & 1);
    CHECK_ERRNO(get(NULL, &mask, 0, NULL, F_MEMS_ALLOWED), EINVAL);
    CHECK_ERRNO(get((int *)8, NULL, 0, NULL, 0), EFAULT);
    *m = 1;
    CHECK(get(&mode, NULL, 0, m, F_NODE | F_ADDR) == 0 && mode == 0);
    CHECK_ERRNO(bind(m + 1, PAGE, BIND, &zero, 0), EINVAL);
    CHECK_ERRNO(bind(m, PAGE, BIND, &zero, 16), EINVAL);
    CHECK_ERRNO(bind(m, PAGE, BIND, &none, 0), EINVAL);
    CHECK_ERRNO(bind(m, -PAGE, BIND, &zero, 0), EINVAL);
    CHECK_ERRNO(bind(m, PAGE, BIND, (unsigned long *)8, 0), EFAULT);
    CHECK(bind(m, 0, BIND, &zero, 0) == 0);
    CHECK(munmap(m + 4 * PAGE, PAGE) == 0);
    CHECK_ERRNO(bind(m, 8 * PAGE, PREFERRED, &zero, 0), EFAULT);
    CHECK(bind(m, 8 * PAGE, DEFAULT, NULL, 0) == 0);
    CHECK(bind(m, 4 * PAGE, BIND, &zero, STRICT | MOVE) == 0);

    CHECK_ERRNO(home(m, PAGE, 0, 1), EINVAL);
    CHECK_ERRNO(home(m + 1, PAGE, 0, 0), EINVAL);
    CHECK_ERRNO(home(m, PAGE, 4096, 0), EINVAL);
    CHECK(home(m, PAGE, 0, 0) == 0 && home(m, 0, 0, 0) == 0);
    CHECK_ERRNO(home(m + 5 * PAGE, PAGE, 0, 0), ENOENT);
    CHECK(bind(m, PAGE, INTERLEAVE, &zero, 0) == 0);
    CHECK_ERRNO(home(m, PAGE, 0, 0), EOPNOTSUPP);
}

static void pages_that_move(void) {
    char *m = map_anon(5 * PAGE, RW);
    void *pages[] = {m, m + PAGE, m + 2 * PAGE, m + 4 * PAGE + 5, (void *)PAGE};
    int nodes[] = {0, 0, 0, 0, 0}, status[] = {9, 9, 9, 9, 9};
    m[0] = m[4 * PAGE] = 1;
    LOAD(m + PAGE);
    CHECK(syscall(SYS_move_pages, 0, 5UL, pages, NULL, status, 0) == 0);
    for (int i = 0; i < 5; i++) printf("%d ", status[i]);
    CHECK(syscall(SYS_move_pages, getpid(), 5UL, pages, nodes, status, MOVE) == 0);
    for (int i = 0; i < 5; i++) printf("%d ", status[i]);
    puts("");
    CHECK(syscall(SYS_move_pages, 0, 0UL, NULL, NULL, NULL, 0) == 0);
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, pages, NULL, status, 1), EINVAL);
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, pages, NULL, status, LAZY), EINVAL);
    CHECK_ERRNO(syscall(SYS_move_pages, 4194303, 1UL, pages, NULL, status, 0), ESRCH);
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, (void *)8, NULL, status, 0), EFAULT);
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, pages, NULL, (void *)8, 0), EFAULT);
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, pages, (void *)8, status, MOVE), EFAULT);
    nodes[0] = 1000;
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, pages, nodes, status, MOVE), ENODEV);
    nodes[0] = -1;
    CHECK_ERRNO(syscall(SYS_move_pages, 0, 1UL, pages, nodes, status, MOVE), ENODEV);

    CHECK(syscall(SYS_migrate_pages, 0, 64UL, &zero, &zero) == 0);
    CHECK(syscall(SYS_migrate_pages, getpid(), 64UL, &none, &zero) == 0);
    CHECK_ERRNO(syscall(SYS_migrate_pages, 4194303, 64UL, &zero, &zero), ESRCH);
    CHECK_ERRNO(syscall(SYS_migrate_pages, 0, 64UL, (void *)8, &zero), EFAULT);
    CHECK_ERRNO(syscall(SYS_migrate_pages, 0, 40000UL, &zero, &zero), EINVAL);
    CHECK_ERRNO(syscall(SYS_migrate_pages, 0, 64UL, &zero, &none), EINVAL);
}

int main(void) {
    of_the_task();
    of_ranges();
    pages_that_move();
    return 0;
}
