/* Directories: mkdir, getdents in pieces, chdir, getcwd, rmdir, `.` and `..`, and their errors. */
#include "guest.h"
#include <dirent.h>

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void list(const char *path) {
    static char names[64][64];
    int count = 0;
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)); count++)
        snprintf(names[count], 64, "%.50s %s", e->d_name, e->d_type == DT_DIR ? "dir" : e->d_type == DT_REG ? "file" : e->d_type == DT_LNK ? "link" : "other");
    closedir(dir);
    qsort(names, (size_t)count, 64, by_name);
    for (int i = 0; i < count; i++) printf("  %s\n", names[i]);
}

int main(void) {
    CHECK(SAYS(mkdir("d", 0755), "mkdir(\"d\", 0755)") == 0);
    CHECK_ERRNO(mkdir("d", 0755), EEXIST);
    CHECK_ERRNO(mkdir("no/d", 0755), ENOENT);
    CHECK(mkdir("d/sub", 0700) == 0);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "d/file%02d", i);
        close(file_with(name, (size_t)i));
    }
    CHECK(symlink("file03", "d/link") == 0);
    puts("d:");
    list("d");

    char small[128];
    int fd = open("d", O_RDONLY | O_DIRECTORY), entries = 0, calls = 0;
    for (long n; (n = syscall(SYS_getdents64, fd, small, sizeof small)) != 0; calls++) {
        CHECK(n > 0);
        for (long at = 0; at < n; entries++) at += *(unsigned short *)(small + at + 16);
    }
    CHECK(entries == 24 && calls > 4); /* in pieces, nothing twice */
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && syscall(SYS_getdents64, fd, small, sizeof small) > 0);
    CHECK_ERRNO(syscall(SYS_getdents64, fd, small, 8), EINVAL);
    CHECK_ERRNO(read(fd, small, 8), EISDIR);
    int inside = openat(fd, "file05", O_RDONLY);
    CHECK(inside >= 0 && read(inside, small, 128) == 5);
    struct stat st, other;
    CHECK(fstatat(fd, "link", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) && st.st_size == 6);
    CHECK(fstatat(fd, "link", &st, 0) == 0 && S_ISREG(st.st_mode) && st.st_size == 3);
    CHECK(readlink("d/link", small, sizeof small) == 6 && memcmp(small, "file03", 6) == 0 && readlink("d/link", small, 2) == 2);
    CHECK_ERRNO(readlink("d/file03", small, 10), EINVAL);
    CHECK(unlinkat(fd, "file05", 0) == 0);
    CHECK_ERRNO(openat(fd, "file05", O_RDONLY), ENOENT);
    CHECK_ERRNO(openat(inside, "x", O_RDONLY), ENOTDIR);
    CHECK_ERRNO(open("d/file06/x", O_RDONLY), ENOTDIR);
    CHECK_ERRNO(open("d/file06", O_RDONLY | O_DIRECTORY), ENOTDIR);
    puts("openat");

    char before[4096], after[4096];
    CHECK(getcwd(before, sizeof before) == before);
    size_t length = strlen(before);
    CHECK(chdir("d/sub/.././sub") == 0 && getcwd(after, sizeof after) == after);
    CHECK(memcmp(before, after, length) == 0);
    printf("in %s\n", after + (length == 1 ? 0 : length));
    CHECK_ERRNO(syscall(SYS_getcwd, after, 2), ERANGE);
    CHECK(stat(".", &st) == 0 && stat("../sub", &other) == 0 && st.st_ino == other.st_ino && st.st_dev == other.st_dev);
    CHECK(fchdir(fd) == 0 && access("file01", F_OK) == 0 && chdir("..") == 0);
    CHECK_ERRNO(chdir("d/file01"), ENOTDIR);
    CHECK_ERRNO(chdir("nowhere"), ENOENT);
    puts("chdir");

    CHECK_ERRNO(rmdir("d"), ENOTEMPTY);
    CHECK_ERRNO(unlink("d/sub"), EISDIR);
    CHECK_ERRNO(rmdir("d/file01"), ENOTDIR);
    CHECK_ERRNO(rmdir("d/sub/."), EINVAL);
    CHECK(rmdir("d/sub") == 0 && rename("d", "e") == 0);
    CHECK(symlink("loop", "loop") == 0);
    CHECK_ERRNO(open("loop", O_RDONLY), ELOOP);
    CHECK_ERRNO(open("e/link", O_RDONLY | O_NOFOLLOW), ELOOP);
    CHECK(symlink("nowhere", "dangling") == 0);
    CHECK_ERRNO(open("dangling", O_RDONLY), ENOENT);
    puts("after:");
    list(".");
    return 0;
}
