/* A file's life: create, write, seek, read, append, truncate, rename, unlink; and errors of each. */
#include "guest.h"

int main(void) {
    char text[64] = "";
    struct stat st;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "one", O_RDWR | O_CREAT | O_EXCL, 0666);
    SAYS(fd, "openat(AT_FDCWD, \"one\", O_RDWR|O_CREAT|O_EXCL, 0666)");
    CHECK(fd == 3);
    CHECK_ERRNO(open("one", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
    CHECK(SAYS(write(fd, "0123456789", 10), "write(3, \"0123456789\", 10)") == 10);
    CHECK(SAYS(lseek(fd, 4, SEEK_SET), "lseek(3, 4, SEEK_SET)") == 4);
    CHECK(SAYS(read(fd, text, 3), "read(3, \"456\", 3)") == 3 && memcmp(text, "456", 3) == 0);
    CHECK(lseek(fd, -2, SEEK_CUR) == 5 && lseek(fd, -1, SEEK_END) == 9 && read(fd, text, 64) == 1 && text[0] == '9');
    CHECK(read(fd, text, 64) == 0);
    CHECK_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERRNO(lseek(fd, 0, 99), EINVAL);
    CHECK(lseek(fd, 100, SEEK_SET) == 100 && write(fd, "!", 1) == 1);
    CHECK(fstat(fd, &st) == 0 && st.st_size == 101 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0644 && st.st_nlink == 1);
    CHECK(pread(fd, text, 2, 99) == 2 && text[0] == 0 && text[1] == '!');
    CHECK(pwrite(fd, "AB", 2, 0) == 2 && lseek(fd, 0, SEEK_CUR) == 101);
    CHECK_ERRNO(pread(fd, text, 1, -1), EINVAL);
    CHECK_ERRNO(pwrite(fd, text, 1, -1), EINVAL);
    CHECK(ftruncate(fd, 5) == 0 && lseek(fd, 0, SEEK_END) == 5);
    CHECK_ERRNO(ftruncate(fd, -1), EINVAL);
    CHECK(close(fd) == 0);
    CHECK_ERRNO(close(fd), EBADF);
    CHECK_ERRNO(read(fd, text, 1), EBADF);
    puts("one file");

    fd = open("one", O_WRONLY | O_APPEND);
    CHECK(write(fd, "cd", 2) == 2 && lseek(fd, 0, SEEK_SET) == 0 && write(fd, "e", 1) == 1);
    CHECK_ERRNO(read(fd, text, 1), EBADF); /* opened for writing */
    close(fd);
    fd = open("one", O_RDONLY);
    CHECK(read(fd, text, 64) == 8 && memcmp(text, "AB234cde", 8) == 0);
    CHECK_ERRNO(write(fd, text, 1), EBADF);
    CHECK_ERRNO(ftruncate(fd, 0), EINVAL);
    close(fd);
    fd = open("one", O_RDWR | O_TRUNC);
    CHECK(fstat(fd, &st) == 0 && st.st_size == 0);
    close(fd);
    puts("append and truncate");

    CHECK(rename("one", "two") == 0 && access("one", F_OK) == -1 && errno == ENOENT && access("two", R_OK | W_OK) == 0);
    CHECK_ERRNO(rename("one", "three"), ENOENT);
    close(file_with("one", 10));
    CHECK(rename("one", "two") == 0 && stat("two", &st) == 0 && st.st_size == 10); /* replaces */
    fd = open("two", O_RDONLY);
    CHECK(unlink("two") == 0 && read(fd, text, 64) == 10 && fstat(fd, &st) == 0 && st.st_nlink == 0); /* still open */
    close(fd);
    CHECK_ERRNO(unlink("two"), ENOENT);
    CHECK_ERRNO(open("two", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("no/such", O_CREAT | O_RDWR, 0600), ENOENT);
    CHECK_ERRNO(open(".", O_WRONLY), EISDIR);
    char longer[300];
    memset(longer, 'x', 299), longer[299] = 0;
    CHECK_ERRNO(open(longer, O_RDONLY), ENAMETOOLONG);
    char longest[5000];
    memset(longest, '/', 4999), longest[4999] = 0;
    CHECK_ERRNO(open(longest, O_RDONLY), ENAMETOOLONG);
    puts("names");

    CHECK(umask(077) == 022);
    close(file_with("private", 1));
    CHECK(stat("private", &st) == 0 && (st.st_mode & 0777) == 0600 && umask(022) == 077);
    CHECK(chmod("private", 0640) == 0 && stat("private", &st) == 0 && (st.st_mode & 07777) == 0640);
    struct timespec times[2] = {{1000000000, 123456789}, {1500000000, 5}};
    CHECK(utimensat(AT_FDCWD, "private", times, 0) == 0 && stat("private", &st) == 0);
    CHECK(st.st_atim.tv_sec == 1000000000 && st.st_atim.tv_nsec == 123456789 && st.st_mtim.tv_sec == 1500000000);
    times[0].tv_nsec = UTIME_OMIT, times[1].tv_sec = 7;
    CHECK(utimensat(AT_FDCWD, "private", times, 0) == 0 && stat("private", &st) == 0);
    CHECK(st.st_atim.tv_sec == 1000000000 && st.st_mtim.tv_sec == 7);
    times[1].tv_nsec = 1000000000;
    CHECK_ERRNO(utimensat(AT_FDCWD, "private", times, 0), EINVAL);
    CHECK(truncate("private", 5000) == 0 && stat("private", &st) == 0 && st.st_size == 5000);
    puts("modes and times");
    return 0;
}
