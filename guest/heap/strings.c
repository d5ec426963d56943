/* What string functions do with short strings at the ends of blocks, as they look at whole words and lines, is no error. */
// KINDS: musl glibc
// RUN: 300
// NOT COMPARED: nothing but the heap
#include "guest.h"
#include <wchar.h>

static uint32_t state = 1;
static size_t any(size_t n) { return (state = state * 1103515245u + 12345u) / 65536 % n; }

static char *word(size_t n) {
    char *s = malloc(n + 1);
    CHECK(s);
    for (size_t i = 0; i < n; i++) s[i] = 'a' + any(3);
    s[n] = 0;
    return s;
}

static wchar_t *wide(const char *s, size_t n) {
    wchar_t *w = malloc((n + 1) * sizeof *w);
    CHECK(w);
    for (size_t i = 0; i <= n; i++) w[i] = s[i];
    return w;
}

static long looks(const char *a, size_t n, const char *b, size_t m) {
    size_t least = n < m ? n : m;
    long t = strlen(a) + strnlen(a, 200) + strnlen(b, n) + (strcmp(a, b) > 0) + (strncmp(a, b, 20) > 0);
    t += (strcasecmp(a, b) > 0) + (strncasecmp(a, b, 30) > 0) + !strchr(a, 'c') + !strchr(a, 'z') + !strrchr(b, 'b');
    t += !memchr(a, 'z', n + 1) + !memrchr(a, 'q', n) + strspn(a, "ab") + strcspn(a, "c") + !strpbrk(a, "xyz");
    t += !strstr(a, "abc") + (strchrnul(a, 'z') - a) + (memcmp(a, b, least) > 0) + !memmem(a, n, b, m > 3 ? 3 : m);
    return t;
}

static long copies(const char *a, size_t n, const char *b, size_t m) {
    char *c = malloc(n + m + 1), *d, *e, *g = malloc(n + m + 1), *rest = g, *part;
    long t = 0;
    strcpy(c, a), strcat(c, b);
    d = strdup(c), e = strndup(c, n);
    stpcpy(d, b + (m > n ? m - n : 0)), strncpy(e, b, n);
    memcpy(g, c, n + m + 1), memmove(g, g + (n + m) / 2, (n + m) / 2);
    while ((part = strsep(&rest, "b"))) t += strlen(part);
    free(c), free(d), free(e), free(g);
    return t;
}

static long wides(const char *a, size_t n, const char *b, size_t m) {
    wchar_t *v = wide(a, n), *w = wide(b, m), *x = malloc((n + m + 1) * sizeof *x);
    long t = wcslen(v) + wcsnlen(v, 300) + (wcscmp(v, w) > 0) + (wcsncmp(v, w, 7) > 0) + !wcschr(v, 'c');
    t += !wcsrchr(w, 'a') + !wmemchr(v, 'z', n) + (wmemcmp(v, w, n < m ? n : m) > 0) + !wcsstr(v, w);
    wcscpy(x, v), wcscat(x, w);
    free(v), free(w), free(x);
    return t;
}

int main(int argc, char **argv) {
    long t = 0;
    CHECK(argc == 2);
    for (int rounds = atoi(argv[1]); rounds--;) {
        size_t n = any(90), m = any(90);
        char *a = word(n), *b = word(m), *between = malloc(any(50));
        t += looks(a, n, b, m) + copies(a, n, b, m) + wides(a, n, b, m);
        free(a), free(b), free(between);
    }
    printf("%ld\n", t);
    return 0;
}
