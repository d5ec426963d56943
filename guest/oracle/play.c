/* Plays scripts of memory operations and prints what happened: the same on every Linux, and on ours.
 *
 * Standard input: for each script eight hex digits (the length of its text), a newline, and its text. A script is played
 * by a process image of its own: at its end the guest undoes what survives execve(2), and executes itself again.
 *
 *     mmap a+3000 2000 3 22 -1 0     a syscall by name; numbers are hex
 *     load a+3000 | store a+3000 c3  touch a byte           call a+3000      execute what is there
 *     peek s+8    | poke s+8 a+3000  a word of 8 bytes      resident a+0 10  mincore of so many pages
 *     pagemap a+0 10                 the bits of /proc/self/pagemap above the frame, a page each
 *     vmread s+0 a+0 1000            process_vm_readv of itself: to, from, bytes           vmwrite a+0 s+0 1000
 *     memfd 5                        a file of 5 pages, page n full of 'a'+n; descriptors count from 3
 *     open path flags                a file by name         limit 8 10000    a soft limit
 *     many 1000                      so many mappings at 2^45, none of which merge
 *     drop                           be uid 1000            maps | smaps | status | faults   what the system says
 *
 * An address is relative to a region: a the arena, t the top of the space for mmap, h where the heap begins, s two
 * scratch pages of the guest's own. Printed are `= value` (an errno negative), `ok`, or `! signal si_code address`;
 * the texts of /proc come as they are, between their name and a line with a dot.
 */
// NOT COMPARED: on a host it turns randomisation off by personality(2), which is off in ours
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#define ARENA (0x100000000000UL - 0x8000) /* a boundary of all levels of page tables lies 8 pages in */
#define MANY 0x200000000000UL
#define NEAR (1L << 32)

typedef unsigned long word;

static const struct {
    const char *name;
    int nr;
} calls[] = {
    {"mmap", SYS_mmap}, {"munmap", SYS_munmap}, {"mprotect", SYS_mprotect}, {"mremap", SYS_mremap},
    {"madvise", SYS_madvise}, {"brk", SYS_brk}, {"mlock", SYS_mlock}, {"munlock", SYS_munlock}, {"mlock2", 325},
    {"mlockall", SYS_mlockall}, {"munlockall", SYS_munlockall}, {"msync", SYS_msync}, {"mincore", SYS_mincore},
    {"mseal", 462}, {"remap_file_pages", SYS_remap_file_pages}, {"mbind", SYS_mbind},
    {"set_mempolicy", SYS_set_mempolicy}, {"get_mempolicy", SYS_get_mempolicy}, {"set_mempolicy_home_node", 450},
    {"migrate_pages", SYS_migrate_pages}, {"move_pages", SYS_move_pages}, {"pkey_mprotect", 329}, {"pkey_alloc", 330},
    {"pkey_free", 331}, {"process_vm_readv", SYS_process_vm_readv}, {"process_vm_writev", SYS_process_vm_writev},
    {"process_madvise", 440}, {"ftruncate", SYS_ftruncate}, {"fallocate", SYS_fallocate}, {"pread64", SYS_pread64},
    {"pwrite64", SYS_pwrite64}, {"fcntl", SYS_fcntl}, {"close", SYS_close}, {"prctl", SYS_prctl},
    {"personality", SYS_personality}, {"getrlimit", SYS_getrlimit}, {"setrlimit", SYS_setrlimit},
    {"prlimit64", SYS_prlimit64}, {"membarrier", SYS_membarrier}, {"memfd_create", SYS_memfd_create},
    {"map_shadow_stack", 453}, {"userfaultfd", 323}, {"memfd_secret", 447}, {"pipe2", SYS_pipe2}, {"dup", SYS_dup}, {"getrusage", SYS_getrusage}, {"sysinfo", SYS_sysinfo},
};

static char script[1 << 14], out[1 << 15], text[1 << 13];
static size_t used;
static char scratch[8192] __attribute__((aligned(4096))); /* no call of a script reads or writes past it */
static unsigned char vec[1 << 12];
static word top, heap;
static word recover, stack_pointer;
static int limited, dropped, policed; /* what has been changed that execve(2) would hand on … */
static word personality = -1UL;       /* … and what it was, if that was changed */
static int sig, code;
static word where;

static long sys(long nr, word a, word b, word c, word d, word e, word f) {
    register word r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define SYS3(nr, a, b, c) sys(nr, (word)(a), (word)(b), (word)(c), 0, 0, 0)

static void flush(void) {
    for (size_t n = 0; n < used;) {
        long wrote = SYS3(SYS_write, 1, out + n, used - n);
        if (wrote <= 0) SYS3(SYS_exit_group, 3, 0, 0);
        n += (size_t)wrote;
    }
    used = 0;
}

static void put(const char *from, size_t n) {
    if (used + n > sizeof out) flush();
    memcpy(out + used, from, n);
    used += n;
}
static void say(const char *words) { put(words, strlen(words)); }

static void say_hex(word value) {
    char digits[16];
    int at = 16;
    do digits[--at] = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    put(digits + at, (size_t)(16 - at));
}

/* A value, relative to the region that it lies near to. */
static void say_word(word value) {
    const struct {
        char name;
        word base;
    } regions[] = {{'a', ARENA}, {'t', top}, {'h', heap}, {'s', (word)scratch}};
    for (size_t i = 0; i < 4; i++) {
        long distance = (long)(value - regions[i].base);
        if (value < 1UL << 20 || distance >= NEAR || distance <= -NEAR || (i > 1 && (distance < 0 || value > 1UL << 40)))
            continue;
        char head[2] = {regions[i].name, distance < 0 ? '-' : '+'};
        put(head, 2);
        say_hex(distance < 0 ? (word)-distance : (word)distance);
        return;
    }
    say_hex(value);
}

static void say_result(long result) {
    say("= ");
    if (result < 0 && result > -4096) {
        say("-");
        say_hex((word)-result);
    } else
        say_word((word)result);
    say("\n");
}

/* A fault goes on where the operation that caused it says. */
static void on_fault(int number, siginfo_t *info, void *context) {
    if (!recover) SYS3(SYS_exit_group, 7, 0, 0); /* not an operation's: the script has unmapped its player */
    sig = number, code = info->si_code, where = (word)info->si_addr;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)recover;
}

static void say_fault(void) {
    say("! ");
    say_hex((word)sig);
    say(" ");
    say_hex((word)code);
    say(" ");
    say_word(where);
    say("\n");
}

/* One access with a way back: `%0` tells whether it went through. */
#define GUARDED(access, ...)                                                                                      \
    __asm__ volatile("lea 1f(%%rip), %%rcx\n\tmov %%rcx, %[recover]\n\tmov %%rsp, %[sp]\n\t" access               \
                     "\n\tmov $1, %%edx\n\tjmp 2f\n1:\tmov %[sp], %%rsp\n\txor %%edx, %%edx\n2:"                  \
                     : "=&d"(ok), "+a"(value), [recover] "=m"(recover), [sp] "+m"(stack_pointer)                  \
                     : [va] "r"(va)                                                                               \
                     : "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory")

static void touch(const char *how, word va, word value) {
    int ok;
    if (!strcmp(how, "load")) GUARDED("movzbl (%[va]), %%eax");
    else if (!strcmp(how, "peek")) GUARDED("mov (%[va]), %%rax");
    else if (!strcmp(how, "store")) GUARDED("movb %%al, (%[va])");
    else if (!strcmp(how, "poke")) GUARDED("mov %%rax, (%[va])");
    else {
        value = 1UL << 63; /* what bytes of zero would add to: a #GP */
        GUARDED("sub $256, %%rsp\n\tcall *%[va]\n\tadd $256, %%rsp");
        value = 0;
    }
    recover = 0;
    if (!ok) {
        say_fault();
        return;
    }
    say("ok");
    if (how[0] == 'l' || !strcmp(how, "peek")) {
        say(" ");
        say_word(value);
    }
    say("\n");
}

static void resident(word va, word pages) {
    memset(vec, 7, sizeof vec);
    long result = SYS3(SYS_mincore, va, pages << 12, vec);
    for (word i = 0; i < pages && i < sizeof vec; i++) put(&"01......"[vec[i] & 7], 1);
    say(" ");
    say_result(result);
}

static void pagemap(word va, word pages) {
    long fd = SYS3(SYS_open, "/proc/self/pagemap", O_RDONLY, 0), n;
    n = sys(SYS_pread64, (word)fd, (word)text, pages << 3, va >> 12 << 3, 0, 0);
    for (long i = 0; i < n; i += 8) {
        word entry;
        memcpy(&entry, text + i, 8);
        say_hex(entry >> 55);
        say(" ");
    }
    SYS3(SYS_close, fd, 0, 0);
    say_result(n);
}

/* process_vm_readv or _writev of itself. */
static void vm_copy(long nr, word to, word from, word n) {
    struct iovec ends[2] = {{(void *)to, n}, {(void *)from, n}};
    int writes = nr == SYS_process_vm_writev;
    say_result(sys(nr, (word)SYS3(SYS_getpid, 0, 0, 0), (word)(ends + writes), 1, (word)(ends + !writes), 1, 0));
}

static void memfd(word pages) {
    long fd = SYS3(SYS_memfd_create, "m", MFD_ALLOW_SEALING | MFD_CLOEXEC, 0);
    for (word i = 0; i < pages; i++) {
        memset(text, 'a' + (int)i, 4096);
        sys(SYS_pwrite64, (word)fd, (word)text, 4096, i << 12, 0, 0);
    }
    say_result(fd);
}

/* As many mappings of a page, none of which merge; tells how many there were room for. */
static void many(word n) {
    word done = 0;
    while (done < n && sys(SYS_mmap, MANY + (done << 12), 4096, done & 1, 0x32, -1UL, 0) > 0) done++;
    say_result((long)done);
}

static void limit(word resource, word soft) {
    struct rlimit both;
    limited = 1;
    SYS3(SYS_getrlimit, resource, &both, 0);
    both.rlim_cur = soft;
    if (both.rlim_max < soft) both.rlim_max = soft;
    say_result(SYS3(SYS_setrlimit, resource, &both, 0));
}

static void proc(const char *name) {
    char path[32] = "/proc/self/";
    strcat(path, name);
    long fd = SYS3(SYS_open, path, O_RDONLY, 0), n;
    say(name);
    say("\n");
    while ((n = SYS3(SYS_read, fd, text, sizeof text)) > 0) put(text, (size_t)n);
    if (n < 0) say_result(n);
    SYS3(SYS_close, fd, 0, 0);
    say(".\n");
}

static void faults(int quiet) {
    static long before[2];
    struct rusage usage;
    SYS3(SYS_getrusage, RUSAGE_SELF, &usage, 0);
    if (!quiet) {
        say("faults ");
        say_hex((word)(usage.ru_minflt - before[0]));
        say(" ");
        say_hex((word)(usage.ru_majflt - before[1]));
        say("\n");
    }
    before[0] = usage.ru_minflt, before[1] = usage.ru_majflt;
}

static word number(const char *from) {
    word base = 0, value = 0;
    int negative = 0;
    if (from[0] && (from[1] == '+' || from[1] == '-')) {
        base = from[0] == 'a' ? ARENA : from[0] == 't' ? top : from[0] == 'h' ? heap : (word)scratch;
        negative = from[1] == '-';
        from += 2;
    } else if (*from == '-')
        negative = 1, from++;
    for (; *from; from++) value = value << 4 | (word)(*from <= '9' ? *from - '0' : *from - 'a' + 10);
    return base + (negative ? -value : value);
}

static void play(char *words[], int n) {
    word a[6] = {0};
    const char *what = words[0];
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (*what == *calls[i].name && !strcmp(what, calls[i].name)) {
            for (int k = 1; k < n; k++) a[k - 1] = number(words[k]);
            limited |= calls[i].nr == SYS_setrlimit || calls[i].nr == SYS_prlimit64;
            policed |= calls[i].nr == SYS_set_mempolicy;
            if (calls[i].nr == SYS_personality && personality == -1UL) personality = (word)SYS3(SYS_personality, -1U, 0, 0);
            say_result(sys(calls[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]));
            return;
        }
    if (!strcmp(what, "open")) {
        say_result(SYS3(SYS_open, words[1], number(words[2]) | O_CLOEXEC, 0600));
        return;
    }
    for (int k = 1; k < n; k++) a[k - 1] = number(words[k]);
    if (!strcmp(what, "resident")) resident(a[0], a[1]);
    else if (!strcmp(what, "memfd")) memfd(a[0]);
    else if (!strcmp(what, "pagemap")) pagemap(a[0], a[1]);
    else if (!strcmp(what, "vmread")) vm_copy(SYS_process_vm_readv, a[0], a[1], a[2]);
    else if (!strcmp(what, "vmwrite")) vm_copy(SYS_process_vm_writev, a[0], a[1], a[2]);
    else if (!strcmp(what, "many")) many(a[0]);
    else if (!strcmp(what, "limit")) limit(a[0], a[1]);
    else if (!strcmp(what, "drop")) {
        dropped = 1;
        say_result(SYS3(SYS_setresuid, 1000, 1000, 0));
        SYS3(SYS_prctl, PR_SET_DUMPABLE, 1, 0);
    } else if (!strcmp(what, "faults")) faults(0);
    else if (strstr("maps smaps status numa_maps limits statm", what)) proc(what);
    else touch(what, a[0], a[1]);
}

/* Unmap what a kernel may have put where the other has nothing. */
static void unmap_vdso(void) {
    long fd = SYS3(SYS_open, "/proc/self/maps", O_RDONLY, 0), n, size = 0;
    while ((n = SYS3(SYS_read, fd, text + size, sizeof text - 1 - (size_t)size)) > 0) size += n;
    SYS3(SYS_close, fd, 0, 0);
    text[size] = 0;
    for (char *line = text, *end; *line && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (!strstr(line, "[vdso]") && !strstr(line, "[vvar")) continue;
        char *dash = strchr(line, '-');
        *dash = *strchr(dash + 1, ' ') = 0;
        word low = number(line);
        if (SYS3(SYS_munmap, low, number(dash + 1) - low, 0)) SYS3(SYS_exit_group, 4, 0, 0);
    }
}

/* Have all of the player present, so that only a script faults. */
static void settle(void) {
    if (getauxval(AT_SYSINFO_EHDR)) unmap_vdso();
    const Elf64_Phdr *segment = (const Elf64_Phdr *)getauxval(AT_PHDR);
    for (word n = getauxval(AT_PHNUM); n--; segment++) {
        if (segment->p_type != PT_LOAD) continue;
        word low = segment->p_vaddr & -4096UL, high = (segment->p_vaddr + segment->p_memsz + 4095) & -4096UL;
        if (SYS3(SYS_madvise, low, high - low, segment->p_flags & PF_W ? 23 : 22)) SYS3(SYS_exit_group, 4, 0, 0);
    }
}

static const struct {
    int resource;
    word soft;
} usual[] = {{RLIMIT_DATA, -1UL}, {RLIMIT_STACK, 8 << 20}, {RLIMIT_MEMLOCK, 8 << 20}, {RLIMIT_AS, -1UL}};

/* What execve(2) would hand on to the next script. */
static void undo(void) {
    if (dropped) SYS3(SYS_setresuid, 0, 0, 0);
    for (size_t i = 0; i < 4 && limited; i++) {
        struct rlimit both;
        SYS3(SYS_getrlimit, usual[i].resource, &both, 0);
        both.rlim_cur = usual[i].soft < both.rlim_max ? usual[i].soft : both.rlim_max;
        SYS3(SYS_setrlimit, usual[i].resource, &both, 0);
    }
    if (policed) SYS3(SYS_set_mempolicy, 0, 0, 0);
    if (personality != -1UL) SYS3(SYS_personality, personality, 0, 0);
    sys(SYS_close_range, 3, -1U, 0, 0, 0, 0);
}

static size_t read_all(char *to, size_t n) {
    size_t got = 0;
    for (long r; got < n && (r = SYS3(SYS_read, 0, to + got, n - got)) > 0;) got += (size_t)r;
    return got;
}

int main(int argc, char **argv) {
    static char stack[1 << 13];
    char *words[8];
    (void)argv;
    if (argc == 1) { /* the first of them all prepares for the second, as each does for the next */
        SYS3(SYS_prctl, PR_SET_THP_DISABLE, 1, 0);
        limited = 1;
    } else {
        char head[10] = {0};
        if (read_all(head, 9) < 9) return 0;
        head[8] = 0;
        size_t size = number(head);
        if (size >= sizeof script || read_all(script, size) < size) return 5;
        heap = (word)sys(SYS_brk, 0, 0, 0, 0, 0, 0);
        settle();
        top = (word)sys(SYS_mmap, 0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1UL, 0) + 4096;
        SYS3(SYS_munmap, top - 4096, 4096, 0);
        stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
        struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        sigaltstack(&alt, NULL);
        static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
        for (size_t i = 0; i < 5; i++) sigaction(signals[i], &action, NULL);
        faults(1);
        for (char *line = script, *end; *line && (end = strchr(line, '\n')); line = end + 1) {
            int n = 0;
            *end = 0;
            for (char *at = line; n < 8 && *at;) {
                words[n++] = at;
                while (*at && *at != ' ') at++;
                if (*at) *at++ = 0;
            }
            if (n) play(words, n);
        }
        say("end\n");
        flush();
    }
    undo();
    char *again[] = {"play", "again", NULL}, *none[] = {NULL};
    SYS3(SYS_execve, "/proc/self/exe", again, none);
    return 6;
}
