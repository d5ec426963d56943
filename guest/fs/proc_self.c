/* /proc/self: exe, status, statm and maps agree with each other. */
// NOT COMPARED: the texts of /proc have the host's figures
#include "guest.h"

int main(void) {
    char exe[4096], *start;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = 0;
    struct stat st;
    CHECK(exe[0] == '/' && stat(exe, &st) == 0 && S_ISREG(st.st_mode));
    struct stat other;
    CHECK(stat("/tmp", &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 01777);
    CHECK(stat("/", &st) == 0 && stat("/..", &other) == 0 && st.st_ino == other.st_ino);
    CHECK(strstr(slurp("/proc/self/maps"), exe) != NULL);

    CHECK(status_field("Pid") == getpid() && status_field("Tgid") == getpid() && status_field("PPid") == getppid() && status_field("Uid") == (long)getuid());
    CHECK(status_field("Threads") == 1);
    long before = status_field("VmSize"), rss = status_field("RssAnon"), swap = status_field("VmSwap");
    char *p = map_anon(1 << 20, RW);
    CHECK(status_field("VmSize") == before + 1024 && status_field("RssAnon") == rss && swap == 0);
    memset(p, 1, 1 << 19);
    long grown = status_field("RssAnon") - rss;
    CHECK(grown >= 512 && grown < 640);
    CHECK(status_field("VmPeak") >= status_field("VmSize") && status_field("VmHWM") >= status_field("RssAnon"));
    CHECK(munmap(p, 1 << 20) == 0 && status_field("VmSize") == before);

    long size = strtol(slurp("/proc/self/statm"), &start, 10);
    CHECK(size * 4 == before && strtol(start, &start, 10) > 0);
    unsigned long from, to, total = 0;
    for (char *line = slurp("/proc/self/maps"); *line; line = strchr(line, '\n') + 1) {
        CHECK(sscanf(line, "%lx-%lx", &from, &to) == 2);
        if (from < 1UL << 47) total += to - from;
    }
    CHECK((long)(total / 4096) == size || (long)(total / 4096) - size <= 6); /* the vDSO's data counts in some kernels only */
    printf("comm %.4s\n", strchr(slurp("/proc/self/stat"), '(') ? "ok" : "none");
    return 0;
}
