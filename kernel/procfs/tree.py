"""The machinery of /proc and /sys: nodes that make their content when they are opened, and the inodes over them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from kernel.abi.errno import EACCES, EINVAL, ENOENT, EPERM, LinuxError
from kernel.abi.fcntl import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Seek
from kernel.fs.dentry import Dentry, Path
from kernel.fs.file import DirEntry, DirFile, File
from kernel.fs.inode import Cred, FileSystem, Inode
from kernel.fs.path import show

if TYPE_CHECKING:
    from collections.abc import Callable

RECENT = 64  # names that are remembered though nobody looks at them
SEQ_BUFFER = 4096  # a seq_file's first buffer: what one read gives at most, unless a single record is longer
Content = bytes | list[bytes]  # one record (single_open), or many (seq_file)


class PseudoFs(FileSystem):
    """proc or sysfs. Inode numbers are given by path, in the order of first sight."""

    def __init__(self, kind: str, magic: int, minor: int, now: Callable[[], int], root: Folder) -> None:
        super().__init__(minor, now)
        self.type = kind
        self.magic = magic
        self.numbers: dict[bytes, int] = {}
        self.recent: deque[Dentry] = deque(maxlen=RECENT)
        self.root = Dentry(b"/", None, PseudoInode(self, root, b"/"))
        self.root.children = WeakValueDictionary()

    def number(self, path: bytes) -> int:
        ino = self.numbers.get(path)
        if ino is None:
            ino = self.numbers[path] = self.new_ino()
        return ino


class Node:
    """What stands under one name. `owner` gives (uid, gid) at the time of asking."""

    mode = S_IFREG | 0o444

    def __init__(self, mode: int | None = None, owner: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
        if mode is not None:
            self.mode = self.mode & ~0o7777 | mode
        self.owner = owner

    @property
    def size(self) -> int:
        return 0


class Text(Node):
    """A file whose content `make` produces; `store` takes what is written, and may say how much of it (None: all)."""

    def __init__(
        self,
        make: Callable[[], Content],
        mode: int = 0o444,
        owner: Callable[[], tuple[int, int]] = lambda: (0, 0),
        store: Callable[[bytes], int | None] | None = None,
        size: int = 0,
    ) -> None:
        super().__init__(mode, owner)
        self.make = make
        self.store = store
        self.shown_size = size

    def open(self, path: Path, flags: int) -> File:
        return TextFile(path, flags, self)

    @property
    def size(self) -> int:
        return self.shown_size


class Raw(Node):
    """A file that is read and written by position, without a text (pagemap, mem)."""

    def __init__(
        self,
        read: Callable[[int, int], bytes] | None,
        write: Callable[[bytes, int], int] | None,
        mode: int,
        owner: Callable[[], tuple[int, int]],
        unsigned: bool,
    ) -> None:
        super().__init__(mode, owner)
        self.read = read
        self.write = write
        self.unsigned = unsigned  # its positions are addresses


class Link(Node):
    """A symbolic link; `target` leads past its text, where it is a magic one."""

    mode = S_IFLNK | 0o777

    def __init__(
        self,
        text: Callable[[], bytes],
        target: Callable[[], Path | None] = lambda: None,
        mode: int = 0o777,
        owner: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        super().__init__(mode, owner)
        self.text = text
        self.target = target


class Folder(Node):
    """A directory: `names` in order, and the node under each. Fixed ones are given as a dict."""

    mode = S_IFDIR | 0o555

    def __init__(
        self,
        entries: dict[bytes, Node] | None = None,
        mode: int = 0o555,
        owner: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        super().__init__(mode, owner)
        self.entries = entries if entries is not None else {}

    def names(self) -> list[bytes]:
        return list(self.entries)

    @property
    def subfolders(self) -> int:
        """How many of its fixed entries are folders: what st_nlink counts."""
        return sum(isinstance(node, Folder) for node in self.entries.values())

    def find(self, name: bytes) -> Node | None:
        return self.entries.get(name)

    def put(self, path: str, node: Node) -> None:
        """Enter `node` at a relative path, its folders made."""
        here: Folder = self
        *folders, last = path.encode().split(b"/")
        for name in folders:
            below = here.entries.setdefault(name, Folder())
            assert isinstance(below, Folder)
            here = below
        here.entries[last] = node


class PseudoInode(Inode):
    """The inode of a node. It lives as long as somebody looks at it, or has lately; times are those of its making."""

    __slots__ = ("node", "path")
    fs: PseudoFs
    blksize = 1024

    def __init__(self, fs: PseudoFs, node: Node, path: bytes) -> None:
        super().__init__(fs, node.mode, ino=fs.number(path))
        self.path = path
        self.renew(node)

    def renew(self, node: Node) -> None:
        """The node as it is now: of a process, the owner changes (pid_revalidate), and what is counted."""
        self.node = node
        self.uid, self.gid = node.owner()
        self.size = node.size
        if isinstance(node, Folder):
            self.nlink = 2 + node.subfolders
        elif isinstance(node, Link):
            self.size = 0

    def set_mode(self, dentry: Dentry, mode: int) -> None:
        raise LinuxError(EPERM, f"a mode in {self.fs.type} is not changed")

    def set_owner(self, dentry: Dentry, uid: int, gid: int) -> None:
        raise LinuxError(EPERM, f"an owner in {self.fs.type} is not changed")

    def truncate(self, dentry: Dentry, size: int) -> None:
        """O_TRUNC and ftruncate mean nothing here."""

    def open(self, path: Path, flags: int) -> File:
        if isinstance(self.node, Folder):
            return PseudoDirFile(path, flags)
        if isinstance(self.node, Raw):
            return (MemOpen if self.node.unsigned else RawOpen)(path, flags, self.node)
        assert isinstance(self.node, Text)
        return self.node.open(path, flags)

    def readlink(self, dentry: Dentry) -> bytes:
        if not isinstance(self.node, Link):
            return super().readlink(dentry)
        return self.node.text()

    def follow(self, dentry: Dentry) -> Path | None:
        return self.node.target() if isinstance(self.node, Link) else None

    def lookup(self, directory: Dentry, name: bytes) -> Dentry | None:
        assert isinstance(self.node, Folder)
        node = self.node.find(name)
        if node is None:
            if self.fs.type == "proc":  # there is no negative entry, whatever is asked of the name (proc_lookup)
                raise LinuxError(ENOENT, f"there is no {show(name)} in its directory")
            return None
        assert directory.children is not None
        path = self.path + name + b"/"
        known = directory.children.get(name)
        if known is not None and known.inode.mode == node.mode and not known.unlinked:
            assert isinstance(known.inode, PseudoInode)
            known.inode.renew(node)
            return known
        child = Dentry(name, directory, PseudoInode(self.fs, node, path))
        if isinstance(node, Folder):
            child.children = WeakValueDictionary()
        directory.children[name] = child
        self.fs.recent.append(child)
        return child

    def create(self, directory: Dentry, name: bytes, mode: int, cred: Cred) -> Dentry:
        raise LinuxError(EACCES if mode & S_IFMT == S_IFREG else EPERM, f"nothing is made in {self.fs.type}")


class TextFile(File):
    """An open text. It is made when reading begins at 0, and read on from what was made then."""

    __slots__ = ("ahead", "expected", "node", "records")

    def __init__(self, path: Path, flags: int, node: Text) -> None:
        super().__init__(path, flags)
        self.node = node
        self.records: list[bytes] = []
        self.ahead = b""  # of a record that did not fit the last read
        self.expected = -1  # the position that `records` and `ahead` stand at

    def pread(self, n: int, pos: int) -> bytes:
        """One read of a seq_file (fs/seq_file.c): what was left over, then whole records as long as they fit."""
        if pos != self.expected or pos == 0:
            self._restart(pos)
        out, self.ahead = self.ahead[:n], self.ahead[n:]
        if len(out) < n and not self.ahead:
            batch = self._batch(n - len(out))
            room = n - len(out)
            out, self.ahead = out + batch[:room], batch[room:]
        self.expected = pos + len(out)
        return out

    def _restart(self, pos: int) -> None:
        content = self.node.make()
        self.records = [content] if isinstance(content, bytes) else list(content)
        self.records.reverse()
        self.ahead = b""
        while pos and self.records:
            record = self.records.pop()
            self.ahead = record[pos:]
            pos = max(0, pos - len(record))

    def _batch(self, room: int) -> bytes:
        """Records until `room` is filled or the buffer is; a first record is taken whatever its length."""
        batch = self.records.pop() if self.records else b""
        while self.records and len(batch) < room and len(batch) + len(self.records[-1]) < SEQ_BUFFER:
            batch += self.records.pop()
        return batch

    def unread(self, data: bytes, copied: int) -> int:
        self.expected = -1
        return super().unread(data, copied)

    def pwrite(self, data: bytes, pos: int) -> int:
        if self.node.store is None:
            raise LinuxError(EINVAL, "this file takes no writes")
        done = self.node.store(data)
        return len(data) if done is None else done

    def lseek(self, offset: int, whence: int) -> int:
        if whence not in (Seek.SET, Seek.CUR):
            raise LinuxError(EINVAL, "a file without a length is not sought from its end")
        pos = offset if whence == Seek.SET else self.pos + offset
        if pos < 0:
            raise LinuxError(EINVAL, "the offset is negative")
        self.pos = pos
        return pos


class RawOpen(File):
    """An open Raw file. Any position may be sought, negative ones too."""

    __slots__ = ("node",)

    def __init__(self, path: Path, flags: int, node: Raw) -> None:
        super().__init__(path, flags)
        self.node = node

    def pread(self, n: int, pos: int) -> bytes:
        if self.node.read is None:
            return super().pread(n, pos)
        return self.node.read(n, pos)

    def pwrite(self, data: bytes, pos: int) -> int:
        if self.node.write is None:
            return super().pwrite(data, pos)
        return self.node.write(data, pos)

    def write(self, data: bytes) -> int:
        done = self.pwrite(data, self.pos)
        self.pos += done
        return done

    def lseek(self, offset: int, whence: int) -> int:
        """mem_lseek()."""
        if whence not in (Seek.SET, Seek.CUR):
            raise LinuxError(EINVAL, "a file without a length is not sought from its end")
        self.pos = offset if whence == Seek.SET else self.pos + offset
        return self.pos


class MemOpen(RawOpen):
    """One whose positions are addresses: the upper half of them counts as negative."""

    __slots__ = ()
    unsigned = True


class PseudoDirFile(DirFile):
    """An open directory of /proc or /sys, in the order of its nodes."""

    __slots__ = ()

    def entries(self) -> list[DirEntry]:
        dentry = self.path.dentry
        inode = dentry.inode
        assert isinstance(inode, PseudoInode)
        assert isinstance(inode.node, Folder)
        listed = [(inode.ino, 4, b"."), (dentry.parent.inode.ino, 4, b"..")]
        for name in inode.node.names():
            node = inode.node.find(name)
            if node is not None:
                listed.append((inode.fs.number(inode.path + name + b"/"), node.mode >> 12, name))
        return [DirEntry(ino, after, kind, name) for after, (ino, kind, name) in enumerate(listed, 1)]
