/* Uses more memory than there is RAM: every byte must come back from swap. MADV_FREE and MADV_PAGEOUT under pressure. */
// NOT ON A HOST: it wants a machine of 16 MiB and 64 MiB of swap
// KINDS: musl
#include "guest.h"

#define PAGES 10240UL /* 40 MiB */

static long field(const char *path, const char *name)
{
    char line[256];
    long value = -1;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)))
            sscanf(line + strlen(name), "%ld", &value);
    if (f)
        fclose(f);
    return value;
}

static uint64_t stamp(uint64_t page, int round)
{
    return (page + 1) * 0x9E3779B97F4A7C15u + (uint64_t)round;
}

int main(void)
{
    unsigned char *m = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(m != MAP_FAILED);
    unsigned char *locked = mmap(0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mlock(locked, 64 * PAGE) == 0);
    memset(locked, 0x5A, 64 * PAGE);
    for (int round = 0; round < 2; round++) {
        for (uint64_t p = 0; p < PAGES; p++)
            for (int at = 0; at < (int)PAGE; at += 1024)
                *(uint64_t *)(m + p * PAGE + at) = stamp(p, round) + at;
        for (uint64_t p = 0; p < PAGES; p++)
            for (int at = 0; at < (int)PAGE; at += 1024)
                CHECK(*(uint64_t *)(m + p * PAGE + at) == stamp(p, round) + at);
    }
    long swapped = field("/proc/self/status", "VmSwap:");
    CHECK(swapped > 20 << 10);
    CHECK(swapped + field("/proc/self/status", "RssAnon:") > (long)PAGES * 4);
    CHECK(field("/proc/meminfo", "SwapTotal:") == 64 << 10);
    CHECK(field("/proc/meminfo", "SwapTotal:") - field("/proc/meminfo", "SwapFree:") >= swapped - 256);
    unsigned char vec[64];
    CHECK(mincore(locked, 64 * PAGE, vec) == 0);
    for (int i = 0; i < 64; i++)
        CHECK(vec[i] == 1 && locked[i * PAGE] == 0x5A);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    CHECK(usage.ru_majflt > (long)PAGES);

    /* MADV_PAGEOUT takes a page out at once; a touch is a major fault and brings it back. */
    unsigned char *one = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(one, 7, 4 * PAGE);
    CHECK(madvise(one, 4 * PAGE, 21 /* MADV_PAGEOUT */) == 0);
    CHECK(mincore(one, 4 * PAGE, vec) == 0 && !vec[0] && !vec[3]);
    getrusage(RUSAGE_SELF, &usage);
    long before = usage.ru_majflt;
    CHECK(one[PAGE] == 7);
    getrusage(RUSAGE_SELF, &usage);
    CHECK(usage.ru_majflt == before + 1);

    CHECK(munmap(m, PAGES * PAGE) == 0);
    CHECK(field("/proc/self/status", "VmSwap:") < 1024);
    puts("ok");
    return 0;
}
