/* Plays a script of memory operations on the real kernel and prints what happened: see test_mm_against_linux.py.
 *
 * One operation a line, numbers in hex: `s nr a b c d e f` a syscall, `r va` and `w va byte` a touch, `k va n` a write
 * by the kernel (read from /dev/zero), `m va n` mincore of n pages, `b n` brk to n bytes
 * above where it began, `l resource soft` a limit, `f n` a memfd of n
 * pages, `i uid` the end of all privileges. After
 * each one: what /proc/self/smaps says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static char script[1 << 20], smaps[1 << 22], out[1 << 25], vec[1 << 16];
static size_t used;
static sigjmp_buf back;
static volatile int sig, code;
static volatile unsigned long where;
static int zero_fd;

static void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    used += vsnprintf(out + used, sizeof out - used, format, args);
    va_end(args);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    sig = number, code = info->si_code, where = (unsigned long)info->si_addr;
    siglongjmp(back, 1);
}

static size_t slurp(const char *path, char *to, size_t room) {
    int fd = open(path, O_RDONLY);
    size_t n = 0;
    for (ssize_t got; (got = read(fd, to + n, room - 1 - n)) > 0;) n += got;
    close(fd);
    to[n] = 0;
    return n;
}

static int wanted(const char *line) {
    static const char *words[] = {"Rss:", "Pss:", "Referenced:", "Anonymous:", "LazyFree:", "Private_Dirty:", "VmFlags:", "Locked:"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(line, words[i], strlen(words[i]))) return 1;
    return (line[0] >= '0' && line[0] <= '9') || (line[0] >= 'a' && line[0] <= 'f');
}

static void show(void) {
    slurp("/proc/self/smaps", smaps, sizeof smaps);
    for (char *line = smaps; *line;) {
        char *end = strchr(line, '\n');
        if (!end) break;
        if (wanted(line)) {
            memcpy(out + used, line, end + 1 - line);
            used += end + 1 - line;
        }
        line = end + 1;
    }
    slurp("/proc/self/status", smaps, sizeof smaps);
    char *lock = strstr(smaps, "VmLck:"), *pte = strstr(smaps, "VmPTE:"), *data = strstr(smaps, "VmData:");
    say("%.*s %.*s %.*s\n", (int)(strchr(lock, '\n') - lock), lock, (int)(strchr(pte, '\n') - pte), pte,
        (int)(strchr(data, '\n') - data), data);
    say(".\n");
}

int main(int argc, char **argv) {
    static char stack[1 << 16];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    (void)argc;
    memset(vec, 1, sizeof vec);
    memset(out, 1, 1 << 22);
    sigaltstack(&alt, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    zero_fd = open("/dev/zero", O_RDONLY);
    slurp(argv[1], script, sizeof script);
    slurp("/proc/self/stat", smaps, sizeof smaps);
    say("%s", smaps);
    unsigned long start_brk = syscall(SYS_brk, 0);
    show();
    for (char *line = strtok(script, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long a[7] = {0};
        char *at = line + 1;
        for (int i = 0; i < 7; i++) a[i] = strtoul(at, &at, 16);
        if (line[0] == 's') {
            long r = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
            say("= %lx\n", r == -1 ? (unsigned long)-(long)errno : (unsigned long)r);
        } else if (line[0] == 'm') {
            memset(vec, 7, a[1]);
            long r = syscall(SYS_mincore, a[0], a[1] << 12, vec);
            say("= %lx", r == -1 ? (unsigned long)-(long)errno : (unsigned long)r);
            for (unsigned long i = 0; i < a[1]; i++) say(" %d", vec[i]);
            say("\n");
        } else if (line[0] == 'f') {
            int fd = memfd_create("m", MFD_ALLOW_SEALING);
            say("= %x\n", ftruncate(fd, a[0] << 12) ? -errno : fd);
        } else if (line[0] == 'l') {
            struct rlimit limit;
            getrlimit(a[0], &limit);
            limit.rlim_cur = a[1];
            if (limit.rlim_max < a[1]) limit.rlim_max = a[1];
            say("= %x\n", setrlimit(a[0], &limit));
        } else if (line[0] == 'i') {
            say("= %lx\n", syscall(SYS_setresuid, a[0], a[0], a[0]));
            prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        } else if (line[0] == 'b') {
            say("= %lx\n", syscall(SYS_brk, start_brk + a[0]));
        } else if (line[0] == 'k') {
            long r = read(zero_fd, (void *)a[0], a[1]);
            say("= %lx\n", r == -1 ? (unsigned long)-(long)errno : (unsigned long)r);
        } else if (!sigsetjmp(back, 1)) {
            volatile unsigned char *p = (void *)a[0];
            if (line[0] == 'w') *p = a[1], say("ok\n");
            else say("ok %x\n", *p);
        } else
            say("sig %d %d %lx\n", sig, code, where);
        show();
    }
    for (size_t n = 0; n < used;) n += write(1, out + n, used - n);
    return 0;
}
