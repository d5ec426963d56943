/* stat, lstat, fstat, newfstatat, statx and access agree with each other; sizes, blocks and kinds. */
#include "guest.h"

struct statx_timestamp_ { int64_t sec; uint32_t nsec; int32_t pad; };
struct statx_ {
    uint32_t mask, blksize; uint64_t attributes; uint32_t nlink, uid, gid; uint16_t mode, pad; uint64_t ino, size, blocks, attributes_mask;
    struct statx_timestamp_ atime, btime, ctime, mtime; uint32_t rdev_major, rdev_minor, dev_major, dev_minor; uint64_t more[14];
};

int main(void) {
    int fd = file_with("file", 10000);
    CHECK(symlink("file", "link") == 0 && mkdir("dir", 0750) == 0);
    struct stat a, b, c, l;
    CHECK(stat("file", &a) == 0 && fstat(fd, &b) == 0 && stat("link", &c) == 0 && lstat("link", &l) == 0);
    CHECK(a.st_ino == b.st_ino && a.st_ino == c.st_ino && a.st_ino != l.st_ino && a.st_dev == b.st_dev);
    CHECK(a.st_size == 10000 && a.st_blksize == 4096 && a.st_uid == getuid() && a.st_gid == getgid() && a.st_nlink == 1);
    printf("file %o blocks %ld, link %o size %ld\n", a.st_mode, (long)a.st_blocks, l.st_mode & S_IFMT, (long)l.st_size);
    struct statx_ x;
    CHECK(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x7ff, &x) == 0);
    CHECK((x.mask & 0x7ff) == 0x7ff && x.mode == a.st_mode && x.size == 10000 && x.ino == a.st_ino && x.nlink == 1 && x.blksize == 4096);
    CHECK(x.mtime.sec == a.st_mtim.tv_sec && x.mtime.nsec == a.st_mtim.tv_nsec);
    CHECK(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, 0x7ff, &x) == 0 && x.ino == a.st_ino);
    CHECK(fstatat(fd, "", &c, AT_EMPTY_PATH) == 0 && c.st_ino == a.st_ino);
    CHECK_ERRNO(fstatat(AT_FDCWD, "", &c, 0), ENOENT);
    CHECK_ERRNO(fstatat(AT_FDCWD, "file", &c, 0x1), EINVAL);
    CHECK_ERRNO(stat("missing", &c), ENOENT);
    CHECK_ERRNO(fstat(99, &c), EBADF);
    CHECK(stat("dir", &c) == 0 && S_ISDIR(c.st_mode) && (c.st_mode & 0777) == 0750);
    CHECK(stat("/dev/null", &c) == 0 && S_ISCHR(c.st_mode) && c.st_rdev == 0x103);
    CHECK(stat("/dev/zero", &c) == 0 && S_ISCHR(c.st_mode) && c.st_rdev == 0x105);
    CHECK(stat("/proc/self/maps", &c) == 0 && S_ISREG(c.st_mode) && c.st_size == 0);
    CHECK(access("file", R_OK | W_OK) == 0);
    CHECK_ERRNO(access("file", X_OK), EACCES);
    CHECK_ERRNO(access("file", 99), EINVAL);
    CHECK(chmod("file", 0755) == 0 && access("file", X_OK) == 0);
    CHECK(fchmod(fd, 0600) == 0 && fstat(fd, &b) == 0 && (b.st_mode & 07777) == 0600);
    CHECK(fchown(fd, (uid_t)-1, (gid_t)-1) == 0);
    puts("agree");
    return 0;
}
