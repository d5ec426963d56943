/* Every register lives through a handler that ruins them all: integer, flags, SSE, MXCSR, x87. The handler sees them too. */
#include "guest.h"
#include <ucontext.h>

struct registers {
    uint64_t r[16]; /* rax rbx rcx rdx rsi rdi rbp - r8..r15 */
    uint64_t flags;
    unsigned char xmm[16][16];
    uint32_t mxcsr;
    uint16_t control, status;
    double st[3];
};

static struct registers before, after;
static volatile int handled, wrong;
static uintptr_t resume_at;

static void ruin(int sig, siginfo_t *siginfo, void *context) {
    ucontext_t *u = context;
    greg_t *g = u->uc_mcontext.gregs;
    static const struct {
        int reg, slot;
    } map[] = {{REG_RAX, 0}, {REG_RBX, 1}, {REG_RCX, 2}, {REG_RDX, 3}, {REG_RSI, 4}, {REG_RDI, 5}, {REG_RBP, 6}, {REG_R8, 8},
               {REG_R9, 9}, {REG_R10, 10}, {REG_R11, 11}, {REG_R12, 12}, {REG_R13, 13}, {REG_R14, 14}, {REG_R15, 15}};
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) wrong += (uint64_t)g[map[i].reg] != before.r[map[i].slot];
    wrong += sig != SIGILL || siginfo->si_code != ILL_ILLOPN || (uintptr_t)siginfo->si_addr != (uintptr_t)g[REG_RIP];
    wrong += (g[REG_EFL] & 0x8d5) != (before.flags & 0x8d5);
    wrong += u->uc_mcontext.fpregs == NULL || memcmp(u->uc_mcontext.fpregs->_xmm, before.xmm, sizeof before.xmm) != 0;
    wrong += u->uc_mcontext.fpregs->mxcsr != before.mxcsr || u->uc_mcontext.fpregs->cwd != before.control;
    wrong += (uintptr_t)context % 16 != 0 && (uintptr_t)context % 8 != 0;
    uint32_t now;
    __asm__ volatile("stmxcsr %0" : "=m"(now));
    uint16_t fcw;
    __asm__ volatile("fnstcw %0" : "=m"(fcw));
    wrong += now != 0x1f80 || fcw != 0x37f; /* a handler starts with a fresh FPU */
    uint64_t efl;
    __asm__ volatile("pushfq; popq %0" : "=r"(efl));
    wrong += (efl & 0x400) != 0; /* and with DF clear */

    uint32_t other = 0x5f80;
    __asm__ volatile(
        "ldmxcsr %0; fninit; fldpi; fldl2e\n"
        "pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm1; movdqa %%xmm0, %%xmm2; movdqa %%xmm0, %%xmm3\n"
        "movdqa %%xmm0, %%xmm4; movdqa %%xmm0, %%xmm5; movdqa %%xmm0, %%xmm6; movdqa %%xmm0, %%xmm7\n"
        "movdqa %%xmm0, %%xmm8; movdqa %%xmm0, %%xmm9; movdqa %%xmm0, %%xmm10; movdqa %%xmm0, %%xmm11\n"
        "movdqa %%xmm0, %%xmm12; movdqa %%xmm0, %%xmm13; movdqa %%xmm0, %%xmm14; movdqa %%xmm0, %%xmm15\n"
        "mov $-1, %%rbx; mov $-1, %%r12; mov $-1, %%r13; mov $-1, %%r14; mov $-1, %%r15; mov $-1, %%r8; mov $-1, %%r9" ::"m"(other)
        : "rbx", "r8", "r9", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
          "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc");
    handled++;
    g[REG_RIP] += 2; /* past the ud2 */
}

/* void through(const struct registers *in, struct registers *out): load all, ud2, store all. */
__asm__(
    ".text\n.type through, @function\nthrough:\n"
    "pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15; pushq %rsi; pushq %rdi\n"
    "movq %rdi, %rax\n"
    "ldmxcsr 392(%rax); fninit; fldcw 396(%rax)\n"
    "fldl 400(%rax); fldl 408(%rax); fldl 416(%rax)\n"
    "movdqu 136(%rax), %xmm0; movdqu 152(%rax), %xmm1; movdqu 168(%rax), %xmm2; movdqu 184(%rax), %xmm3\n"
    "movdqu 200(%rax), %xmm4; movdqu 216(%rax), %xmm5; movdqu 232(%rax), %xmm6; movdqu 248(%rax), %xmm7\n"
    "movdqu 264(%rax), %xmm8; movdqu 280(%rax), %xmm9; movdqu 296(%rax), %xmm10; movdqu 312(%rax), %xmm11\n"
    "movdqu 328(%rax), %xmm12; movdqu 344(%rax), %xmm13; movdqu 360(%rax), %xmm14; movdqu 376(%rax), %xmm15\n"
    "movq 8(%rax), %rbx; movq 16(%rax), %rcx; movq 24(%rax), %rdx; movq 32(%rax), %rsi; movq 40(%rax), %rdi\n"
    "movq 48(%rax), %rbp; movq 64(%rax), %r8; movq 72(%rax), %r9; movq 80(%rax), %r10; movq 88(%rax), %r11\n"
    "movq 96(%rax), %r12; movq 104(%rax), %r13; movq 112(%rax), %r14; movq 120(%rax), %r15\n"
    "pushq 128(%rax); movq 0(%rax), %rax; popfq\n"
    "ud2\n"
    "pushq %rax; movq 16(%rsp), %rax; popq 0(%rax)\n"
    "pushfq; popq 128(%rax)\n"
    "movq %rbx, 8(%rax); movq %rcx, 16(%rax); movq %rdx, 24(%rax); movq %rsi, 32(%rax); movq %rdi, 40(%rax)\n"
    "movq %rbp, 48(%rax); movq %r8, 64(%rax); movq %r9, 72(%rax); movq %r10, 80(%rax); movq %r11, 88(%rax)\n"
    "movq %r12, 96(%rax); movq %r13, 104(%rax); movq %r14, 112(%rax); movq %r15, 120(%rax)\n"
    "movdqu %xmm0, 136(%rax); movdqu %xmm1, 152(%rax); movdqu %xmm2, 168(%rax); movdqu %xmm3, 184(%rax)\n"
    "movdqu %xmm4, 200(%rax); movdqu %xmm5, 216(%rax); movdqu %xmm6, 232(%rax); movdqu %xmm7, 248(%rax)\n"
    "movdqu %xmm8, 264(%rax); movdqu %xmm9, 280(%rax); movdqu %xmm10, 296(%rax); movdqu %xmm11, 312(%rax)\n"
    "movdqu %xmm12, 328(%rax); movdqu %xmm13, 344(%rax); movdqu %xmm14, 360(%rax); movdqu %xmm15, 376(%rax)\n"
    "stmxcsr 392(%rax); fnstcw 396(%rax); fnstsw 398(%rax)\n"
    "fstpl 416(%rax); fstpl 408(%rax); fstpl 400(%rax); fninit; cld\n"
    "popq %rdi; popq %rsi; popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
    "pushq $0x1f80; ldmxcsr (%rsp); popq %rax\n"
    "ret\n.size through, . - through\n");
extern void through(const struct registers *in, struct registers *out);

int main(void) {
    _Static_assert(__builtin_offsetof(struct registers, xmm) == 136 && __builtin_offsetof(struct registers, mxcsr) == 392 &&
                       __builtin_offsetof(struct registers, st) == 400,
                   "the offsets in through()");
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = ruin;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGILL, &action, NULL) == 0);
    for (int i = 0; i < 16; i++) before.r[i] = 0x0123456789abcdef * (uint64_t)(i + 3);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) before.xmm[i][j] = (unsigned char)(17 * i + j + 1);
    before.flags = 0x202 | 0x8c5 | 0x400; /* CF PF ZF SF OF, and DF */
    before.mxcsr = 0x1f80 | 0x6000 | 0x8000; /* round to zero, flush to zero */
    before.control = 0x0f7f;                 /* x87: round to zero */
    before.st[0] = 1.5, before.st[1] = -2.25e100, before.st[2] = 3.0e-300;
    through(&before, &after);
    CHECK(handled == 1);
    CHECK(wrong == 0);
    before.r[7] = after.r[7] = 0;
    CHECK(memcmp(before.r, after.r, sizeof before.r) == 0);
    CHECK(((before.flags ^ after.flags) & 0xcd5) == 0);
    CHECK(memcmp(before.xmm, after.xmm, sizeof before.xmm) == 0);
    CHECK(before.mxcsr == after.mxcsr && before.control == after.control);
    CHECK(((after.status >> 11) & 7) == 5); /* three values on the x87 stack */
    CHECK(memcmp(before.st, after.st, sizeof before.st) == 0);
    (void)resume_at;
    puts("integer registers, flags, SSE and x87 state lived through a handler");
    return 0;
}
