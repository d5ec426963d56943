/* Standard input to standard output, byte counts by read; both are pipes. */
// STDIN: first line\nsecond line\n\nlast without newline
#include "guest.h"

int main(void) {
    char buffer[7];
    long total = 0, reads = 0;
    for (ssize_t n; (n = read(0, buffer, sizeof buffer)) != 0; total += n, reads++) {
        CHECK(n > 0);
        CHECK(write(1, buffer, (size_t)n) == n);
    }
    CHECK(read(0, buffer, 1) == 0);
    printf("\n%ld bytes\n", total);
    return 0;
}
