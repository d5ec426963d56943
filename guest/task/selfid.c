/* Who am I: ids, uname, limits, prctl, rusage, sysinfo. */
#include "guest.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void) {
    CHECK(getpid() > 0 && getppid() >= 0 && getpid() == syscall(SYS_gettid));
    CHECK(getuid() == geteuid() && getgid() == getegid());
    CHECK(getpgid(0) >= 0 && getsid(0) >= 0);
    uid_t r, e, s;
    CHECK(getresuid(&r, &e, &s) == 0 && r == getuid() && e == r && s == r);
    struct utsname name;
    CHECK(uname(&name) == 0);
    printf("%s %s\n", name.sysname, name.machine);
    CHECK_ERRNO(syscall(SYS_uname, 8), EFAULT);

    struct rlimit limit, changed;
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
    printf("stack limit %lu KiB\n", (unsigned long)limit.rlim_cur / 1024);
    changed = limit, changed.rlim_cur = 1 << 20;
    CHECK(setrlimit(RLIMIT_STACK, &changed) == 0 && getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur == 1 << 20);
    changed.rlim_cur = 2, changed.rlim_max = 1;
    CHECK_ERRNO(setrlimit(RLIMIT_STACK, &changed), EINVAL);
    CHECK_ERRNO(getrlimit(99, &changed), EINVAL);

    CHECK(sched_yield() == 0);
    char comm[17] = "";
    CHECK(prctl(PR_SET_NAME, "a-name-longer-than-16") == 0 && prctl(PR_GET_NAME, comm) == 0);
    printf("comm %s\n", comm);
    CHECK(prctl(PR_GET_DUMPABLE) == 1 && prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_GET_DUMPABLE) == 0);
    CHECK_ERRNO(prctl(99999, 0, 0, 0, 0), EINVAL);
    struct rusage usage;
    char *p = map_anon(64 * PAGE, RW);
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    long before = usage.ru_minflt;
    for (int i = 0; i < 64; i++) p[i * (int)PAGE] = 1;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    CHECK(usage.ru_minflt - before >= 64 && usage.ru_maxrss > 100);
    struct sysinfo memory;
    CHECK(sysinfo(&memory) == 0 && memory.totalram > 0 && memory.freeram <= memory.totalram && memory.procs > 0);
    CHECK_ERRNO(syscall(4095, 1, 2, 3, 4, 5, 6), ENOSYS);
    CHECK_ERRNO(syscall(-1L, 1, 2, 3, 4, 5, 6), ENOSYS);
    return 0;
}
