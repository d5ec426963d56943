/* What depends on how large the machine is: CPUs, memory. */
// NOT COMPARED: the size of the kernel's CPU masks
#include "guest.h"
#include <sched.h>
#include <sys/sysinfo.h>

int main(void) {
    cpu_set_t cpus;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) >= 1);
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1 && sysconf(_SC_PHYS_PAGES) > 1000 && sysconf(_SC_PAGESIZE) == 4096);
    CHECK_ERRNO(syscall(SYS_sched_getaffinity, 0, 1, &cpus), EINVAL);
    CHECK_ERRNO(syscall(SYS_sched_getaffinity, 0x3ffffff, sizeof cpus, &cpus), ESRCH);
    puts("a machine");
    return 0;
}
