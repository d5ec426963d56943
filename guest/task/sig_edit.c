/* What a handler writes into its ucontext is what the program goes on with: rip, rax, xmm0, the signal mask. */
#include "guest.h"
#include <ucontext.h>

static void repair(int sig, siginfo_t *siginfo, void *context) {
    (void)sig, (void)siginfo;
    ucontext_t *u = context;
    u->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 */
    u->uc_mcontext.gregs[REG_RAX] = 0x1122334455667788;
    uint32_t lanes[4] = {1, 2, 3, 4};
    memcpy(u->uc_mcontext.fpregs->_xmm[0].element, lanes, sizeof lanes);
    sigaddset(&u->uc_sigmask, SIGUSR2);
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = repair;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
    uint64_t rax = 5;
    uint32_t lanes[4];
    __asm__ volatile("pxor %%xmm0, %%xmm0; ud2; movdqu %%xmm0, %1" : "+a"(rax), "=m"(lanes) : : "xmm0");
    CHECK(rax == 0x1122334455667788);
    CHECK(lanes[0] == 1 && lanes[1] == 2 && lanes[2] == 3 && lanes[3] == 4);
    sigset_t now;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
    CHECK(sigismember(&now, SIGUSR2) == 1 && sigismember(&now, SIGILL) == 0 && sigismember(&now, SIGUSR1) == 0);
    puts("rip, rax, xmm0 and the mask as the handler left them");
    return 0;
}
