/* Plays a script of raw syscalls on the host and records each one's value and the memory it left.
 *
 *   recorder SCRIPT RESULTS
 *
 * SCRIPT: u64 count, then for each call u64 nr, args[6], inits, and for each init u64 offset, length, bytes (padded to 8).
 * RESULTS: for each call i64 value (as rax), then the arena. No other syscall happens between the two marker writes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA ((unsigned char *)0x10000000)
#define SIZE 16384

static long raw(const uint64_t *w) {
    register long r10 __asm__("r10") = w[4], r8 __asm__("r8") = w[5], r9 __asm__("r9") = w[6];
    long value;
    __asm__ volatile("syscall" : "=a"(value) : "a"(w[0]), "D"(w[1]), "S"(w[2]), "d"(w[3]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return value;
}

int main(int argc, char **argv) {
    struct stat st;
    int in = open(argv[1], O_RDONLY), out = open(argv[2], O_RDWR);
    fstat(in, &st);
    const uint64_t *w = mmap((void *)0x20000000, st.st_size, PROT_READ, MAP_PRIVATE | MAP_FIXED, in, 0);
    uint64_t count = *w++;
    unsigned char *results =
        mmap((void *)0x40000000, count * (SIZE + 8), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, out, 0);
    mmap(ARENA, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    close(in);
    close(out);
    write(-1, "BEGIN", 5);
    while (count--) {
        const uint64_t *call = w;
        uint64_t inits = w[7];
        memset(ARENA, 0, SIZE);
        for (w += 8; inits--; w += 2 + (w[1] + 7) / 8)
            memcpy(ARENA + w[0], w + 2, w[1]);
        long value = raw(call);
        memcpy(results, &value, 8);
        memcpy(results + 8, ARENA, SIZE);
        results += SIZE + 8;
    }
    write(-1, "END", 3);
    return 0;
}
