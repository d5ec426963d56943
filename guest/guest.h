/* guest.h: what all guests share.
 *
 * CHECK(x)             end the guest with status 1 at the first surprise, saying where
 * SAYS(result, fmt...) print, on stderr, the line that a tracer must print for the call just made (strace -a1 format)
 * SAYS_PTR(...)        the same for a call whose result is an address (mmap, brk, mremap)
 * CATCH(statement)     run a statement and tell which signal it raised, if any
 * stdout               text that must be equal on every Linux: no addresses, no times, no pids
 *
 * Lines in a guest's source, read by tests/toolchain.py:
 *   // RUN: [NAME=VALUE...] [ARG...]   one run of it (default: one run without arguments or environment)
 *   // KINDS: musl glibc ...           the builds it is made in (default: musl glibc)
 *   // STDIN: text                     what it reads from standard input (default: nothing)
 *   // NOT COMPARED: why               its syscalls are not held against strace's
 *   // NOT ON A HOST: why              it runs on our machine only, where a test of its own says how it ends
 */
#ifndef GUEST_H
#define GUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define UNUSED __attribute__((unused))

static char guest_stdout[1 << 16];

/* stdout never mallocs and is written once, so that a guest's own calls stand undisturbed in its trace. */
__attribute__((constructor)) static void guest_start(void) { setvbuf(stdout, guest_stdout, _IOFBF, sizeof guest_stdout); }

static inline void guest_write(const char *text, size_t length) {
    while (length) {
        ssize_t n = write(2, text, length);
        if (n <= 0) _exit(3);
        text += n;
        length -= (size_t)n;
    }
}

UNUSED static void guest_failed(const char *file, int line, const char *what) {
    char text[512];
    int n = snprintf(text, sizeof text, "%s:%d: CHECK(%s) failed, errno %d\n", file, line, what, errno);
    fflush(stdout);
    guest_write(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    _exit(1);
}
#define CHECK(x) ((x) ? (void)0 : guest_failed(__FILE__, __LINE__, #x))
#define CHECK_ERRNO(call, expected) (errno = 0, CHECK((long)(call) == -1 && errno == (expected)))

static const char *errno_text(int number) {
    switch (number) { /* strace's own: glibc's texts, whatever libc the guest was built for */
    case EPERM: return "EPERM (Operation not permitted)";
    case ENOENT: return "ENOENT (No such file or directory)";
    case ESRCH: return "ESRCH (No such process)";
    case EBADF: return "EBADF (Bad file descriptor)";
    case EAGAIN: return "EAGAIN (Resource temporarily unavailable)";
    case ENOMEM: return "ENOMEM (Cannot allocate memory)";
    case EACCES: return "EACCES (Permission denied)";
    case EFAULT: return "EFAULT (Bad address)";
    case EEXIST: return "EEXIST (File exists)";
    case ENODEV: return "ENODEV (No such device)";
    case ENOTDIR: return "ENOTDIR (Not a directory)";
    case EISDIR: return "EISDIR (Is a directory)";
    case EINVAL: return "EINVAL (Invalid argument)";
    case EMFILE: return "EMFILE (Too many open files)";
    case ENOTTY: return "ENOTTY (Inappropriate ioctl for device)";
    case ENOSPC: return "ENOSPC (No space left on device)";
    case ESPIPE: return "ESPIPE (Illegal seek)";
    case ERANGE: return "ERANGE (Numerical result out of range)";
    case ENAMETOOLONG: return "ENAMETOOLONG (File name too long)";
    case ENOSYS: return "ENOSYS (Function not implemented)";
    case ENOTEMPTY: return "ENOTEMPTY (Directory not empty)";
    case ELOOP: return "ELOOP (Too many levels of symbolic links)";
    case EOVERFLOW: return "EOVERFLOW (Value too large for defined data type)";
    case EOPNOTSUPP: return "EOPNOTSUPP (Operation not supported)";
    default: return "E??? (add it to guest.h)";
    }
}

__attribute__((format(printf, 3, 4))) UNUSED static long guest_says(long result, const char *shape, const char *call, ...) {
    int saved = errno;
    char text[1024];
    va_list arguments;
    va_start(arguments, call);
    int n = vsnprintf(text, sizeof text, call, arguments);
    va_end(arguments);
    if (result == -1)
        n += snprintf(text + n, sizeof text - (size_t)n, " = -1 %s\n", errno_text(saved));
    else
        n += snprintf(text + n, sizeof text - (size_t)n, *shape == 'p' ? " = %#lx\n" : " = %ld\n", result);
    guest_write(text, (size_t)n);
    errno = saved;
    return result;
}
UNUSED static inline void *guest_pointer(long value) { return (void *)value; }
#define SAYS(result, ...) guest_says((long)(result), "d", __VA_ARGS__)
#define SAYS_PTR(result, ...) guest_pointer(guest_says((long)(result), "p", __VA_ARGS__))

struct fault {
    int sig, code;
    uintptr_t addr;
};
static sigjmp_buf guest_landing;
static volatile struct fault guest_fault;

UNUSED static void guest_on_fault(int sig, siginfo_t *siginfo, void *context) {
    (void)context;
    guest_fault.sig = sig;
    guest_fault.code = siginfo->si_code;
    guest_fault.addr = (uintptr_t)siginfo->si_addr;
    siglongjmp(guest_landing, 1);
}

UNUSED static void catch_faults(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = guest_on_fault;
    action.sa_flags = SA_SIGINFO;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) CHECK(sigaction(signals[i], &action, NULL) == 0);
}

#define CATCH(statement)                                                           \
    __extension__({                                                                \
        struct fault caught_ = {0, 0, 0};                                          \
        if (sigsetjmp(guest_landing, 1) == 0) {                                    \
            statement;                                                             \
        } else {                                                                   \
            caught_.sig = guest_fault.sig, caught_.code = guest_fault.code;        \
            caught_.addr = guest_fault.addr;                                       \
        }                                                                          \
        caught_;                                                                   \
    })
#define LOAD(p) ((void)*(volatile char *)(p))
#define STORE(p) ((void)(*(volatile char *)(p) = 1))

UNUSED static void check_fault(const char *file, int line, struct fault f, int sig, int code, const void *addr) {
    char text[160];
    if (f.sig == sig && f.code == code && f.addr == (uintptr_t)addr) return;
    snprintf(text, sizeof text, "signal %d code %d addr %#lx; expected signal %d code %d addr %p", f.sig, f.code,
             (unsigned long)f.addr, sig, code, addr);
    guest_failed(file, line, text);
}
#define FAULTS(statement, sig, code, addr) check_fault(__FILE__, __LINE__, CATCH(statement), sig, code, (const void *)(addr))

UNUSED static char *map_anon(size_t length, int prot) {
    char *p = mmap(NULL, length, prot, ANON, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

UNUSED static int all_bytes(const char *p, size_t length, int value) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)p[i] != value) return 0;
    return 1;
}

UNUSED static int file_with(const char *path, size_t length) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0);
    for (size_t i = 0; i < length; i++) {
        char byte = (char)('a' + i / PAGE % 26);
        if (i % PAGE == 0) {
            char page[PAGE];
            memset(page, byte, sizeof page);
            size_t n = length - i < PAGE ? length - i : PAGE;
            CHECK(write(fd, page, n) == (ssize_t)n);
            i += n - 1;
        }
    }
    return fd;
}

static char guest_text[1 << 16];

/* A whole file of /proc, until the next one is read. */
UNUSED static char *slurp(const char *path) {
    int fd = open(path, O_RDONLY);
    size_t length = 0;
    ssize_t n;
    CHECK(fd >= 0);
    while ((n = read(fd, guest_text + length, sizeof guest_text - 1 - length)) > 0) length += (size_t)n;
    CHECK(n == 0 && close(fd) == 0);
    guest_text[length] = 0;
    return guest_text;
}

/* A number of /proc/self/status. */
UNUSED static long status_field(const char *name) {
    char *at = strstr(slurp("/proc/self/status"), name);
    CHECK(at != NULL && at[strlen(name)] == ':');
    return strtol(at + strlen(name) + 1, NULL, 10);
}

/* TRY(call, argument...): print the call as it is written here, and what came of it; TRIED: only whether it failed */
#define TRY(name, ...) (errno = 0, guest_tried(#name "(" #__VA_ARGS__ ")", syscall(SYS_##name, __VA_ARGS__)))
#define TRIED(name, ...) (errno = 0, guest_tried(#name "(" #__VA_ARGS__ ")", syscall(SYS_##name, __VA_ARGS__) < 0 ? -1 : 0))
#define BAD ((char *)8)

UNUSED static void guest_tried(const char *call, long result) { printf("%s = %ld, errno %d\n", call, result, errno); }
#endif
