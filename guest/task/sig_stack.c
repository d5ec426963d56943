/* sigaltstack: a handler on its own stack, a caught stack overflow, SS_ONSTACK, SS_AUTODISARM's refusals and errors. */
#include "guest.h"

static char other[64 * 1024] __attribute__((aligned(16)));
static sigjmp_buf landing;
static volatile int on_other, flags_inside, faults;
static void *volatile fault_address;

static void look(int sig) {
    (void)sig;
    char here;
    stack_t now;
    on_other = &here > other && &here < other + sizeof other;
    sigaltstack(NULL, &now);
    flags_inside = now.ss_flags;
}

static void overflowed(int sig, siginfo_t *siginfo, void *context) {
    (void)sig, (void)context;
    fault_address = siginfo->si_addr;
    faults++;
    siglongjmp(landing, 1);
}

static int deeper(int depth) {
    volatile char room[1024];
    room[depth % 1024] = (char)depth;
    return deeper(depth + 1) + room[(depth + 1) % 1024];
}

int main(void) {
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other}, now;
    CHECK(SAYS(sigaltstack(NULL, &now), "sigaltstack(NULL, {ss_sp=NULL, ss_flags=SS_DISABLE, ss_size=0})") == 0);
    CHECK(now.ss_flags == SS_DISABLE);
    CHECK(sigaltstack(&stack, NULL) == 0);
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_sp == (void *)other && now.ss_size == sizeof other && now.ss_flags == 0);

    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = look;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    printf("without SA_ONSTACK: on it %d, flags %d\n", on_other, flags_inside);
    action.sa_flags = SA_ONSTACK;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
    printf("with SA_ONSTACK: on it %d, flags %d\n", on_other, flags_inside);

    action.sa_sigaction = overflowed;
    action.sa_flags = SA_ONSTACK | SA_SIGINFO;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    for (volatile int i = 0; i < 2; i++)
        if (sigsetjmp(landing, 1) == 0) deeper(1);
    char here;
    printf("stack overflow caught %d times, %s\n", faults,
           &here - (char *)fault_address > 7 << 20 && &here - (char *)fault_address < 9 << 20 ? "near the stack's limit" : "elsewhere");

    stack.ss_size = 1024;
    CHECK_ERRNO(sigaltstack(&stack, NULL), ENOMEM);
    stack.ss_size = sizeof other, stack.ss_flags = 0x40;
    CHECK_ERRNO(sigaltstack(&stack, NULL), EINVAL);
    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, NULL) == 0 && sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_DISABLE);
    return 0;
}
