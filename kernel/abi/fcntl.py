"""O_ AT_ F_ SEEK_ S_ and their kin: the file syscalls' words (asm-generic/fcntl.h, uapi/linux/fcntl.h, stat.h)."""

from typing import Annotated

from kernel.abi.args import U32, Bits, Choice, Flags, Option


class OpenAccess(Option, prefix="O_"):
    """The O_ACCMODE field."""

    RDONLY = 0
    WRONLY = 1
    RDWR = 2
    ACCMODE = 3


class Open(Flags, prefix="O_"):
    """open(2). RDONLY, WRONLY, RDWR are values of the ACCMODE field, the rest bits."""

    RDONLY = 0
    WRONLY = 1
    RDWR = 2
    ACCMODE = 3
    CREAT = 0o100
    EXCL = 0o200
    NOCTTY = 0o400
    TRUNC = 0o1000
    APPEND = 0o2000
    NONBLOCK = 0o4000
    SYNC = 0o4010000
    DSYNC = 0o10000
    DIRECT = 0o40000
    LARGEFILE = 0o100000
    NOFOLLOW = 0o400000
    NOATIME = 0o1000000
    CLOEXEC = 0o2000000
    PATH = 0o10000000
    TMPFILE = 0o20200000
    DIRECTORY = 0o200000
    FASYNC = 0o20000


_TMPFILE = 0o20000000  # __O_TMPFILE, which comes with O_DIRECTORY

FD_CLOEXEC = 1
AT_FDCWD = -100


class At(Flags, prefix="AT_"):
    """The *at calls' flags. AT_EACCESS and AT_REMOVEDIR share a bit: each call knows which it means."""

    SYMLINK_NOFOLLOW = 0x100
    EACCESS = 0x200
    REMOVEDIR = 0x200
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    STATX_SYNC_AS_STAT = 0
    STATX_FORCE_SYNC = 0x2000
    STATX_DONT_SYNC = 0x4000
    RECURSIVE = 0x8000


class FcntlCmd(
    Option, prefix="F_", later="GET_RW_HINT SET_RW_HINT GET_FILE_RW_HINT SET_FILE_RW_HINT"
):
    DUPFD = 0
    GETFD = 1
    SETFD = 2
    GETFL = 3
    SETFL = 4
    GETLK = 5
    SETLK = 6
    SETLKW = 7
    SETOWN = 8
    GETOWN = 9
    SETSIG = 10
    GETSIG = 11
    SETOWN_EX = 15
    GETOWN_EX = 16
    GETOWNER_UIDS = 17
    OFD_GETLK = 36
    OFD_SETLK = 37
    OFD_SETLKW = 38
    SETLEASE = 1024
    GETLEASE = 1025
    NOTIFY = 1026
    DUPFD_CLOEXEC = 1030
    SETPIPE_SZ = 1031
    GETPIPE_SZ = 1032
    ADD_SEALS = 1033
    GET_SEALS = 1034
    GET_RW_HINT = 1035
    SET_RW_HINT = 1036
    GET_FILE_RW_HINT = 1037
    SET_FILE_RW_HINT = 1038


class Seal(Flags, prefix="F_SEAL_", later="EXEC"):
    SEAL = 1
    SHRINK = 2
    GROW = 4
    WRITE = 8
    FUTURE_WRITE = 16
    EXEC = 32


class Seek(Option, prefix="SEEK_"):
    SET = 0
    CUR = 1
    END = 2
    DATA = 3
    HOLE = 4


SeekChoice = Annotated[int, Choice(Seek)]

S_IFMT = 0o170000
S_IFSOCK = 0o140000
S_IFLNK = 0o120000
S_IFREG = 0o100000
S_IFBLK = 0o060000
S_IFDIR = 0o040000
S_IFCHR = 0o020000
S_IFIFO = 0o010000
S_ISUID = 0o4000
S_ISGID = 0o2000
S_ISVTX = 0o1000

DT_UNKNOWN, DT_FIFO, DT_CHR, DT_DIR, DT_BLK, DT_REG, DT_LNK, DT_SOCK = 0, 1, 2, 4, 6, 8, 10, 12

F_OK, X_OK, W_OK, R_OK = 0, 1, 2, 4


class Access(Flags, prefix=""):
    """access(2)."""

    F_OK = 0
    R_OK = 4
    W_OK = 2
    X_OK = 1


AccessFlags = Annotated[int, Bits(Access, U32)]


class Fadv(Option, prefix="POSIX_FADV_"):
    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    DONTNEED = 4
    NOREUSE = 5


FadvChoice = Annotated[int, Choice(Fadv)]


class Poll(Flags, prefix="POLL"):
    IN = 1
    PRI = 2
    OUT = 4
    ERR = 8
    HUP = 0x10
    NVAL = 0x20
    RDNORM = 0x40
    RDBAND = 0x80
    WRNORM = 0x100
    WRBAND = 0x200
    MSG = 0x400
    REMOVE = 0x1000
    RDHUP = 0x2000


class Rename(Flags, prefix="RENAME_"):
    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


RenameFlags = Annotated[int, Bits(Rename, U32)]


class StatxMask(Flags, prefix="STATX_"):
    ALL = 0xFFF
    BASIC_STATS = 0x7FF
    TYPE = 1
    MODE = 2
    NLINK = 4
    UID = 8
    GID = 0x10
    ATIME = 0x20
    MTIME = 0x40
    CTIME = 0x80
    INO = 0x100
    SIZE = 0x200
    BLOCKS = 0x400
    BTIME = 0x800
    MNT_ID = 0x1000
    DIOALIGN = 0x2000


StatxMaskFlags = Annotated[int, Bits(StatxMask, U32)]


class StatxAttr(Flags, prefix="STATX_ATTR_"):
    COMPRESSED = 0x4
    IMMUTABLE = 0x10
    APPEND = 0x20
    NODUMP = 0x40
    ENCRYPTED = 0x800
    AUTOMOUNT = 0x1000
    MOUNT_ROOT = 0x2000
    VERITY = 0x100000
    DAX = 0x200000


class Lock(Option, prefix="F_"):
    """struct flock's l_type."""

    RDLCK = 0
    WRLCK = 1
    UNLCK = 2


class Flock(Flags, prefix="LOCK_"):
    """flock(2)."""

    SH = 1
    EX = 2
    NB = 4
    UN = 8


FlockFlags = Annotated[int, Bits(Flock, U32)]

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2

# ioctl(2) numbers that are answered or named
TCGETS, TCSETS, TCSETSW, TCSETSF = 0x5401, 0x5402, 0x5403, 0x5404
TIOCGPGRP, TIOCSPGRP, TIOCGWINSZ, TIOCSWINSZ = 0x540F, 0x5410, 0x5413, 0x5414
FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FIOASYNC = 0x541B, 0x5421, 0x5450, 0x5451, 0x5452
