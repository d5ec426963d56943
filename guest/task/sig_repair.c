/* A handler that maps or unprotects the page it was called for, and returns: the store is made again (a garbage collector's write barrier). */
#include "guest.h"

static char *area;
static int barriers;

static void barrier(int sig, siginfo_t *siginfo, void *context) {
    (void)sig, (void)context;
    char *page = (char *)((uintptr_t)siginfo->si_addr & -PAGE);
    barriers++;
    if (siginfo->si_code == SEGV_ACCERR) {
        if (mprotect(page, PAGE, RW)) _exit(4);
    } else if (mmap(page, PAGE, RW, ANON | MAP_FIXED, -1, 0) != page) {
        _exit(5);
    }
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = barrier;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    area = map_anon(64 * PAGE, PROT_READ);
    CHECK(munmap(area + 32 * PAGE, 32 * PAGE) == 0);
    long sum = 0;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 64; i++) area[i * (int)PAGE + round] = (char)(i + round);
    for (int i = 0; i < 64; i++) sum += area[i * (int)PAGE] + area[i * (int)PAGE + 1];
    printf("%d barriers, sum %ld\n", barriers, sum);
    return 0;
}
