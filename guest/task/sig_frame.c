/* The rt_sigframe of a signal, word by word: where it lies, what is in it, and that the FPU starts afresh in the handler.
 *
 * What XSAVE adds (UC_FP_XSTATE, the software-reserved bytes) is masked: it depends on the CPU. */
// RUN: segv
// RUN: segv altstack
// RUN: usr1
// RUN: usr1 altstack
// RUN: fpe
// RUN: hlt
// RUN: kernel
// RUN: jump
#include "guest.h"
#include <ucontext.h>

static char other[64 * 1024] __attribute__((aligned(64)));

static void words(const char *what, const void *at, int n) {
    const uint64_t *word = at;
    printf("%s:", what);
    for (int i = 0; i < n; i++) printf(" %#llx", (unsigned long long)word[i]);
    printf("\n");
}

static void handler(int sig, siginfo_t *siginfo, void *context) {
    ucontext_t *uc = context;
    greg_t *reg = uc->uc_mcontext.gregs;
    uintptr_t frame = (uintptr_t)context - 8, fpstate = (uintptr_t)uc->uc_mcontext.fpregs;
    uint32_t mxcsr;
    uint16_t control;
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(control));
    printf("signal %d, frame %% 16 = %ld, siginfo at +%ld, fpstate %% 64 = %ld and at most 64 + 8 above\n", sig,
           (long)(frame % 16), (long)((uintptr_t)siginfo - frame), (long)(fpstate % 64));
    CHECK(fpstate - (frame + 440) < 64 + 8);
    if (!uc->uc_stack.ss_size) CHECK((uintptr_t)reg[REG_RSP] - 128 >= fpstate + 512);
    printf("uc_flags %#lx, uc_link %p, uc_stack.ss_flags %#x, size %zu\n", uc->uc_flags & ~1UL, (void *)uc->uc_link,
           uc->uc_stack.ss_flags, uc->uc_stack.ss_size);
    printf("rbx %#llx r12 %#llx r13 %#llx, eflags %#llx, csgsfs %#llx\n", reg[REG_RBX], reg[REG_R12], reg[REG_R13],
           reg[REG_EFL], reg[REG_CSGSFS]);
    printf("err %#llx trapno %lld oldmask %#llx cr2 %s\n", reg[REG_ERR], reg[REG_TRAPNO], reg[REG_OLDMASK],
           !reg[REG_CR2] ? "0" : reg[REG_CR2] == (greg_t)(uintptr_t)siginfo->si_addr ? "si_addr" : "other");
    printf("si_code %d, si_addr is %s\n", siginfo->si_code,
           sig == SIGUSR1 ? "a pid" : !siginfo->si_addr ? "0" : siginfo->si_addr == (void *)reg[REG_RIP] ? "rip" : "other");
    words("uc_sigmask", &uc->uc_sigmask, 1);
    printf("fcw %#x mxcsr %#x mask %d\n", uc->uc_mcontext.fpregs->cwd, uc->uc_mcontext.fpregs->mxcsr,
           uc->uc_mcontext.fpregs->mxcr_mask != 0);
    words("st0", &uc->uc_mcontext.fpregs->_st[0], 1);
    words("xmm3", &uc->uc_mcontext.fpregs->_xmm[3], 2);
    printf("in the handler: mxcsr %#x control %#x\n", mxcsr, control);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaddset(&action.sa_mask, SIGHUP);
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGFPE, &action, NULL) == 0);
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};
    if (argc > 2) CHECK(sigaltstack(&stack, NULL) == 0);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
    uint32_t mxcsr = 0x1f80 | 0x6000;
    uint16_t control = 0x27f;
    __asm__ volatile("ldmxcsr %0; fldcw %1; fld1; movl $0x1234, %%eax; movd %%eax, %%xmm3" ::"m"(mxcsr), "m"(control) : "eax", "xmm3");
    switch (argv[1][0] == 'u' ? 'u' : argv[1][0]) {
    case 's': /* a write to nothing */
        __asm__ volatile("mov $0x1122334455667788, %%rbx; mov $7, %%r12; mov $8, %%r13; mov $0xdead000, %%rax; cmp %%rax, %%rax;"
                         "movb $1, (%%rax)" ::: "rax", "rbx", "r12", "r13");
        break;
    case 'u':
        __asm__ volatile("mov $1, %%ebx; mov $2, %%r12d; mov $3, %%r13d; xor %%esi, %%esi; mov $39, %%eax; syscall; mov %%eax, %%edi;"
                         "mov $10, %%esi; mov $62, %%eax; test %%eax, %%eax; syscall" ::: "rax", "rbx", "rcx", "rsi", "rdi", "r11", "r12", "r13", "memory");
        break;
    case 'f':
        __asm__ volatile("mov $1, %%ebx; mov $2, %%r12d; mov $3, %%r13d; xor %%ecx, %%ecx; mov $1, %%eax; cltd; cmp %%ecx, %%ecx; idiv %%ecx"
                         ::: "rax", "rbx", "rcx", "rdx", "r12", "r13");
        break;
    case 'h':
        __asm__ volatile("mov $1, %%ebx; mov $2, %%r12d; mov $3, %%r13d; cmp %%ebx, %%ebx; hlt" ::: "rbx", "r12", "r13");
        break;
    case 'k':
        __asm__ volatile("mov $1, %%ebx; mov $2, %%r12d; mov $3, %%r13d; mov $0xffffffff81000000, %%rax; cmp %%ebx, %%ebx; mov (%%rax), %%rcx"
                         ::: "rax", "rbx", "rcx", "r12", "r13");
        break;
    case 'j':
        __asm__ volatile("mov $1, %%ebx; mov $2, %%r12d; mov $3, %%r13d; lea %0, %%rax; cmp %%ebx, %%ebx; jmp *%%rax" ::"m"(other)
                         : "rax", "rbx", "r12", "r13");
        break;
    }
    return 1;
}
