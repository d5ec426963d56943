/* A handler that ruins its own frame: what rt_sigreturn makes of each damage, and what the next handler sees of it. */
// RUN: cs
// RUN: cs-null
// RUN: cs-data
// RUN: cs-rpl
// RUN: ss
// RUN: ss-null
// RUN: ss-lax
// RUN: rip
// RUN: rip-kernel
// RUN: rip-null
// RUN: mxcsr
// RUN: fpstate-wild
// RUN: fpstate-odd
// RUN: fpstate-null
// RUN: stack
// RUN: altstack
// RUN: mask
// RUN: flags
// NOT COMPARED: strace knows fewer of these frames than the kernel
#include "guest.h"
#include <ucontext.h>

static char other[64 * 1024] __attribute__((aligned(16)));
static const char *damage;

static void set_segment(greg_t *csgsfs, int shift, uint64_t value) {
    *csgsfs = (greg_t)(((uint64_t)*csgsfs & ~(0xffffULL << shift)) | value << shift);
}

static void ruin(ucontext_t *uc) {
    greg_t *reg = uc->uc_mcontext.gregs;
    if (!strcmp(damage, "cs")) set_segment(&reg[REG_CSGSFS], 0, 0x123);
    if (!strcmp(damage, "cs-null")) set_segment(&reg[REG_CSGSFS], 0, 0);
    if (!strcmp(damage, "cs-data")) set_segment(&reg[REG_CSGSFS], 0, 0x2b);
    if (!strcmp(damage, "cs-rpl")) set_segment(&reg[REG_CSGSFS], 0, 0x30);
    if (!strcmp(damage, "ss")) set_segment(&reg[REG_CSGSFS], 48, 0x33);
    if (!strcmp(damage, "ss-null")) set_segment(&reg[REG_CSGSFS], 48, 0);
    if (!strcmp(damage, "ss-lax")) set_segment(&reg[REG_CSGSFS], 48, 0xb), uc->uc_flags &= ~4UL; /* UC_STRICT_RESTORE_SS */
    if (!strcmp(damage, "rip")) reg[REG_RIP] = (greg_t)(1ULL << 63);
    if (!strcmp(damage, "rip-kernel")) reg[REG_RIP] = (greg_t)0xffffffff81000000ULL;
    if (!strcmp(damage, "rip-null")) reg[REG_RIP] = 0;
    if (!strcmp(damage, "mxcsr")) uc->uc_mcontext.fpregs->mxcsr = 0xffffffff;
    if (!strcmp(damage, "fpstate-wild")) uc->uc_mcontext.fpregs = (void *)8;
    if (!strcmp(damage, "fpstate-odd")) uc->uc_mcontext.fpregs = (void *)((char *)uc->uc_mcontext.fpregs + 8);
    if (!strcmp(damage, "fpstate-null")) uc->uc_mcontext.fpregs = NULL;
    if (!strcmp(damage, "stack")) reg[REG_RSP] = 0x10;
    if (!strcmp(damage, "altstack")) uc->uc_stack.ss_sp = (void *)0x1000, uc->uc_stack.ss_size = 5, uc->uc_stack.ss_flags = 77;
    if (!strcmp(damage, "mask")) memset(&uc->uc_sigmask, 0xff, 8);
    if (!strcmp(damage, "flags")) reg[REG_EFL] = (reg[REG_EFL] | 0x3b7000) & ~0x200; /* IOPL NT RF VM VIF VIP ID, no IF: not ours to set */
}

static void handler(int sig, siginfo_t *siginfo, void *context) {
    static int called;
    ucontext_t *uc = context;
    greg_t *reg = uc->uc_mcontext.gregs;
    printf("signal %d code %d addr %s, trapno %lld err %#llx, rax %#llx csgsfs %#llx\n", sig, siginfo->si_code,
           sig == SIGUSR1 ? "-" : siginfo->si_addr ? "set" : "0", reg[REG_TRAPNO], reg[REG_ERR], reg[REG_RAX], reg[REG_CSGSFS]);
    fflush(stdout);
    if (called++) _exit(0);
    ruin(uc);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    damage = argv[1];
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other}, now;
    CHECK(sigaltstack(&stack, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    uint64_t flags, blocked = 0;
    __asm__ volatile("pushfq; pop %0" : "=r"(flags));
    CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &blocked, 8) == 0);
    CHECK(sigaltstack(NULL, &now) == 0);
    printf("back: blocked %#llx, alternate stack %s, flags %#x, size %zu, rflags %#llx\n", (unsigned long long)blocked,
           now.ss_sp == other ? "kept" : "changed", now.ss_flags, now.ss_size, (unsigned long long)flags & 0x247700);
    return 0;
}
