/* Each way to die by a signal. */
// RUN: null-read
// RUN: null-write
// RUN: null-call
// RUN: read-only
// RUN: no-exec
// RUN: non-canonical
// RUN: stack-overflow
// RUN: beyond-eof
// RUN: divide
// RUN: divide-overflow
// RUN: ud2
// RUN: int3
// RUN: hlt
// RUN: abort
// RUN: raise-term
// RUN: raise-kill
// RUN: raise-usr1
// RUN: raise-rt
// RUN: blocked-fault
// RUN: ignored-fault
// RUN: fault-in-handler
#include "guest.h"

static const char constant[64] = "constant";

static int overflow(int depth) {
    volatile char room[2048];
    room[depth % 2048] = (char)depth;
    return overflow(depth + 1) + room[(depth + 1) % 2048];
}

static void fault_again(int sig) {
    (void)sig;
    LOAD(8);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const char *how = argv[1];
    volatile int zero = 0, least = INT32_MIN;
    printf("dying by %s\n", how);
    fflush(stdout);
    if (!strcmp(how, "null-read")) LOAD(0);
    if (!strcmp(how, "null-write")) STORE(16);
    if (!strcmp(how, "null-call")) ((void (*)(void))(long)zero)();
    if (!strcmp(how, "read-only")) STORE((uintptr_t)constant);
    if (!strcmp(how, "no-exec")) {
        static char data[16] = {(char)0xc3};
        __asm__ volatile("call *%0" ::"r"(data));
    }
    if (!strcmp(how, "non-canonical")) LOAD(0x123456789abcdef0);
    if (!strcmp(how, "stack-overflow")) zero = overflow(1);
    if (!strcmp(how, "beyond-eof")) {
        int fd = file_with("short", 100);
        char *p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
        CHECK(p != MAP_FAILED);
        LOAD(p + PAGE);
    }
    if (!strcmp(how, "divide")) __asm__ volatile("xor %%edx, %%edx; idivl %0" ::"m"(zero) : "eax", "edx");
    if (!strcmp(how, "divide-overflow")) __asm__ volatile("cltd; idivl %1" ::"a"(least), "r"(-1) : "edx");
    if (!strcmp(how, "ud2")) __asm__ volatile("ud2");
    if (!strcmp(how, "int3")) __asm__ volatile("int3");
    if (!strcmp(how, "hlt")) __asm__ volatile("hlt");
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "raise-term")) raise(SIGTERM);
    if (!strcmp(how, "raise-kill")) kill(getpid(), SIGKILL);
    if (!strcmp(how, "raise-usr1")) raise(SIGUSR1);
    if (!strcmp(how, "raise-rt")) raise(40);
    if (!strcmp(how, "blocked-fault")) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
        LOAD(24); /* a forced signal does not wait */
    }
    if (!strcmp(how, "ignored-fault")) {
        CHECK(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
        LOAD(24);
    }
    if (!strcmp(how, "fault-in-handler")) {
        CHECK(signal(SIGSEGV, fault_again) != SIG_ERR);
        LOAD(24); /* SIGSEGV is blocked within its own handler */
    }
    printf("still alive\n");
    return 1;
}
