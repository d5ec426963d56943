/* Ten small programs in one, named by the argument, each leaning on a part of libc that allocates; none leaks or errs. */
// KINDS: musl glibc jemalloc tcmalloc mimalloc
// RUN: words
// RUN: regex
// RUN: tree
// RUN: table
// RUN: stream
// RUN: files
// RUN: folder
// RUN: sort
// RUN: format
// RUN: environ
// NOT COMPARED: what malloc asks for differs
#define _GNU_SOURCE
#include "guest.h"
#include <dirent.h>
#include <glob.h>
#include <limits.h>
#include <regex.h>
#include <search.h>
#include <wchar.h>

static uint32_t state = 42;
static uint32_t next(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

static char *text(size_t words) { /* as many words, of 2,000 */
    char *all = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&all, &size);
    for (size_t i = 0; i < words; i++) fprintf(f, "w%u%c", next() % 2000, i % 9 ? ' ' : '\n');
    fclose(f);
    return all;
}

static void words(void) { /* a list of lines and a growing array of words */
    char *all = text(3000), *line = NULL, **list = NULL;
    size_t size = 0, n = 0, room = 0, length = 0;
    FILE *f = fmemopen(all, strlen(all), "r");
    while (getline(&line, &size, f) > 0)
        for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
            if (n == room) list = realloc(list, (room = room * 3 / 2 + 4) * sizeof *list);
            list[n++] = strdup(word);
        }
    for (size_t i = 0; i < n; i++) length += strlen(list[i]), free(list[i]);
    printf("%zu words, %zu bytes\n", n, length);
    free(list), free(line), fclose(f), free(all);
}

static void regex(void) {
    static const char *patterns[] = {"w(1[0-9]*|2.?3)", "(w[0-9]+ ){3}", "[^ ]{5,}$", "(a|b)*c|w7+", "w1?2?3?4?"};
    char *all = text(400);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        regex_t re;
        regmatch_t where[4];
        CHECK(regcomp(&re, patterns[i], REG_EXTENDED | REG_NEWLINE) == 0);
        int found = 0;
        for (char *at = all; found < 50 && !regexec(&re, at, 4, where, 0) && where[0].rm_eo; at += where[0].rm_eo) found++;
        printf("%s: %d\n", patterns[i], found);
        regfree(&re);
    }
    free(all);
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }
static size_t visited;
static void visit(const void *node, VISIT order, int depth) { visited += order == leaf || order == postorder, (void)node, (void)depth; }

static void tree(void) {
    void *root = NULL;
    char *all = text(3000), *rest = NULL;
    size_t gone = 0;
    for (char *word = strtok_r(all, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        char **at = tfind(word, &root, by_text), *own = at ? *at : NULL;
        if (own && next() % 3 == 0) tdelete(word, &root, by_text), free(own), gone++;
        else if (!own) tsearch(strdup(word), &root, by_text);
    }
    twalk(root, visit);
    printf("%zu words stand, %zu went\n", visited, gone);
    while (root) {
        char *own = *(char **)root;
        tdelete(own, &root, by_text), free(own);
    }
    free(all);
}

static void table(void) {
    struct hsearch_data index = {0};
    char *all = text(2000), *rest = NULL;
    size_t known = 0, fresh = 0;
    CHECK(hcreate_r(4000, &index));
    for (char *word = strtok_r(all, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        ENTRY *found, wanted = {word, word};
        hsearch_r(wanted, FIND, &found, &index) ? known++ : (hsearch_r(wanted, ENTER, &found, &index), fresh++);
    }
    printf("%zu new, %zu known\n", fresh, known);
    hdestroy_r(&index), free(all);
}

static void stream(void) { /* streams in memory, and one with buffers of all sizes */
    for (size_t n = 1; n < 100000; n *= 7) {
        char *out = NULL, *buffer = malloc(n);
        size_t size;
        FILE *f = open_memstream(&out, &size), *null = fopen("/dev/null", "w");
        setvbuf(null, buffer, _IOFBF, n);
        for (size_t i = 0; i < 1000; i++) fprintf(f, "%zu,", i * n), fprintf(null, "%zu,", i);
        fclose(f), fclose(null);
        printf("%zu\n", size);
        free(out), free(buffer);
    }
}

static void files(void) {
    char name[] = "/tmp/programs-XXXXXX", *line = NULL;
    size_t size = 0, lines = 0;
    FILE *f = fdopen(mkstemp(name), "w+");
    for (int i = 0; i < 2000; i++) fprintf(f, "%0*d\n", (int)(next() % 300) + 1, i);
    rewind(f);
    while (getdelim(&line, &size, '\n', f) > 0) lines++;
    char *real = realpath(name, NULL);
    printf("%zu lines, %s\n", lines, !strncmp(real, "/tmp/programs-", 14) ? "in /tmp" : real);
    fclose(f), free(line), free(real), unlink(name);
}

static int hidden(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void folder(void) {
    char name[400], folder[] = "/tmp/folder-XXXXXX";
    struct dirent **list;
    glob_t found;
    CHECK(mkdtemp(folder));
    for (int i = 0; i < 60; i++) snprintf(name, sizeof name, "%s/%d.%s", folder, i, i % 3 ? "c" : "h"), fclose(fopen(name, "w"));
    int n = scandir(folder, &list, hidden, alphasort);
    printf("%d files, first %s\n", n, list[0]->d_name);
    snprintf(name, sizeof name, "%s/*.h", folder);
    CHECK(glob(name, 0, NULL, &found) == 0);
    printf("%zu headers\n", found.gl_pathc);
    for (int i = 0; i < n; i++) snprintf(name, sizeof name, "%s/%s", folder, list[i]->d_name), unlink(name), free(list[i]);
    free(list), globfree(&found), rmdir(folder);
}

typedef struct { uint32_t key; char rest[60]; } record;
static int by_key(const void *a, const void *b) {
    uint32_t x = ((const record *)a)->key, y = ((const record *)b)->key;
    return (x > y) - (x < y);
}

static void sort(void) { /* glibc's qsort sorts large ones in a buffer of its own */
    size_t n = 3000;
    record *all = calloc(n, sizeof *all), **each = reallocarray(NULL, n, sizeof *each);
    for (size_t i = 0; i < n; i++) all[i].key = next();
    qsort(all, n, sizeof *all, by_key);
    for (size_t i = 0; i < n; i++) each[i] = memcpy(malloc(sizeof *all), &all[i], sizeof *all);
    for (size_t i = 1; i < n; i++) CHECK(each[i - 1]->key <= each[i]->key);
    for (size_t i = 0; i < n; i++) free(each[(i * 7) % n]), each[(i * 7) % n] = NULL;
    printf("%zu records\n", n);
    free(each), free(all);
}

static void format(void) {
    size_t total = 0;
    for (int width = 1; width < 20000; width = width * 5 / 3 + 1) {
        char *out = NULL;
        total += (size_t)asprintf(&out, "%*d %-*s %.*f", width, width, width, "x", width % 400, 1.0 / width);
        wchar_t *wide = calloc(total + 1, sizeof *wide);
        mbstowcs(wide, out, total);
        total += wcslen(wide) % 7;
        wchar_t *copy = wcsdup(wide);
        free(out), free(wide), free(copy);
    }
    printf("%zu\n", total);
}

static void environ_(void) {
    char name[20], value[400];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "NAME%d", i % 90), snprintf(value, sizeof value, "%0*d", 1 + (int)(next() % 300), i);
        i % 5 ? setenv(name, value, 1) : unsetenv(name);
    }
    size_t length = 0;
    for (int i = 0; i < 90; i++) snprintf(name, sizeof name, "NAME%d", i), length += getenv(name) ? strlen(getenv(name)) : 0;
    printf("%zu\n", length);
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } all[] = {
        {"words", words}, {"regex", regex}, {"tree", tree}, {"table", table}, {"stream", stream},
        {"files", files}, {"folder", folder}, {"sort", sort}, {"format", format}, {"environ", environ_},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (argc > 1 && !strcmp(argv[1], all[i].name)) return all[i].run(), 0;
    return 2;
}
