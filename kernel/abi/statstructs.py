"""stat, statx, statfs, open_how: what the kernel says of files and file systems, and how strace prints it.

Annotations must stay real objects here: `@struct` reads them.
"""

from typing import Annotated

from kernel.abi.args import Flags, Option
from kernel.abi.fcntl import StatxAttr, StatxMask
from kernel.abi.layout import I32, I64, U16, U32, U64, Array, Chars, Layout, struct
from kernel.abi.text import device, mode_text, octal


@struct
class Stat(Layout):
    """stat(2); st_rdev is printed in place of st_size for devices."""

    st_dev: U64
    st_ino: U64
    st_nlink: U64
    st_mode: U32
    st_uid: U32
    st_gid: U32
    _pad: U32
    st_rdev: U64
    st_size: I64
    st_blksize: I64
    st_blocks: I64
    st_atime: I64
    st_atime_nsec: U64
    st_mtime: I64
    st_mtime_nsec: U64
    st_ctime: I64
    st_ctime_nsec: U64
    _reserved: Annotated[bytes, Chars(24)]

    def text(self) -> str:
        is_device = self.st_mode & 0o170000 in (0o020000, 0o060000)
        last = f"st_rdev={device(self.st_rdev)}" if is_device else f"st_size={self.st_size}"
        return f"{{st_mode={mode_text(self.st_mode)}, {last}, ...}}"


@struct
class StatxTimestamp(Layout):
    tv_sec: I64
    tv_nsec: U32
    _reserved: I32


@struct
class Statx(Layout):
    stx_mask: U32
    stx_blksize: U32
    stx_attributes: U64
    stx_nlink: U32
    stx_uid: U32
    stx_gid: U32
    stx_mode: U16
    _pad: U16
    stx_ino: U64
    stx_size: U64
    stx_blocks: U64
    stx_attributes_mask: U64
    stx_atime: StatxTimestamp
    stx_btime: StatxTimestamp
    stx_ctime: StatxTimestamp
    stx_mtime: StatxTimestamp
    stx_rdev_major: U32
    stx_rdev_minor: U32
    stx_dev_major: U32
    stx_dev_minor: U32
    stx_mnt_id: U64
    stx_dio_mem_align: U32
    stx_dio_offset_align: U32
    _spare: Annotated[tuple[int, ...], Array(U64, 12)]

    def text(self) -> str:
        attributes = StatxAttr.text(self.stx_attributes)
        return (
            f"{{stx_mask={StatxMask.text(self.stx_mask)}, stx_attributes={attributes}, "
            f"stx_mode={mode_text(self.stx_mode)}, stx_size={self.stx_size}, ...}}"
        )


class Magic(Option, full=True, unknown="???"):
    """f_type of statfs(2)."""

    ANON_INODE_FS_MAGIC = 0x09041934
    BTRFS_SUPER_MAGIC = 0x9123683E
    CGROUP2_SUPER_MAGIC = 0x63677270
    DEVPTS_SUPER_MAGIC = 0x1CD1
    EXT2_SUPER_MAGIC = 0xEF53
    FUSE_SUPER_MAGIC = 0x65735546
    HUGETLBFS_MAGIC = 0x958458F6
    NFS_SUPER_MAGIC = 0x6969
    OVERLAYFS_SUPER_MAGIC = 0x794C7630
    PIPEFS_MAGIC = 0x50495045
    PROC_SUPER_MAGIC = 0x9FA0
    RAMFS_MAGIC = 0x858458F6
    SOCKFS_MAGIC = 0x534F434B
    SQUASHFS_MAGIC = 0x73717368
    SYSFS_MAGIC = 0x62656572
    TMPFS_MAGIC = 0x01021994
    V9FS_MAGIC = 0x01021997
    XFS_SUPER_MAGIC = 0x58465342


class StatfsFlag(Flags, prefix="ST_"):
    VALID = 0x20
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    MANDLOCK = 64
    NOATIME = 1024
    NODIRATIME = 2048
    RELATIME = 4096
    NOSYMFOLLOW = 8192


@struct
class Statfs(Layout):
    f_type: I64
    f_bsize: I64
    f_blocks: U64
    f_bfree: U64
    f_bavail: U64
    f_files: U64
    f_ffree: U64
    f_fsid: Annotated[tuple[int, ...], Array(I32, 2)]
    f_namelen: I64
    f_frsize: I64
    f_flags: I64
    _spare: Annotated[tuple[int, ...], Array(I64, 4)]

    def text(self) -> str:
        words = [f"f_type={Magic.text(self.f_type)}"]
        words += [f"{field}={getattr(self, field)}" for field in self.FIELDS[1:7]]
        ids = ", ".join(hex(word & 0xFFFFFFFF) if word else "0" for word in self.f_fsid)
        words += [f"f_fsid={{val=[{ids}]}}", f"f_namelen={self.f_namelen}", f"f_frsize={self.f_frsize}"]
        return "{" + ", ".join(words) + f", f_flags={StatfsFlag.text(self.f_flags)}}}"


class Resolve(Flags, prefix="RESOLVE_"):
    NO_XDEV = 1
    NO_MAGICLINKS = 2
    NO_SYMLINKS = 4
    BENEATH = 8
    IN_ROOT = 16
    CACHED = 32


@struct
class OpenHow(Layout):
    """openat2(2)."""

    flags: U64
    mode: U64
    resolve: U64

    def text(self) -> str:
        from kernel.abi.fileargs import makes_file, open_flags

        mode = f", mode={octal(self.mode)}" if makes_file(self.flags) else ""
        return f"{{flags={open_flags(self.flags)}{mode}, resolve={Resolve.text(self.resolve)}}}"
