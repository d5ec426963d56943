"""Argument kinds of the memory syscalls: mremap's address, mincore's vector, node masks, policies, page lists."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import S32, U32, U64, Bits, Call, Flags, Iov, Kind, Worded, array, number, pointer
from kernel.abi.errno import LinuxError
from kernel.abi.mman import Mpol, MpolMode, Mremap


class NewAddrKind(Kind):
    """mremap's new_address: only where MAYMOVE|FIXED makes it matter."""

    def show(self, call: Call, value: int) -> str | None:
        needed = Mremap.MAYMOVE | Mremap.FIXED
        return pointer(value) if call.arg("flags") & needed == needed else None


NewAddr = Annotated[int, NewAddrKind()]


class MincoreVecKind(Kind):
    """`[1, 0, 1]`: one element a page."""

    after = True

    def show(self, call: Call, value: int) -> str:
        if call.failed or not value:
            return pointer(value)
        pages = -(-call.arg("length") // 4096)
        try:
            raw = call.user(value, min(pages, 32))
        except LinuxError:
            return hex(value)
        words = [str(byte & 1) for byte in raw]
        return "[" + ", ".join(words) + (", ..." if pages > 32 else "") + "]"


MincoreVec = Annotated[int, MincoreVecKind()]


def policy_mode(value: int) -> str:
    """`MPOL_BIND|MPOL_F_STATIC_NODES`; where the mode is unknown, the flags alone have names."""
    flags = [name for bit, name in MpolMode.words() if value & bit]
    mode = value & ~(MpolMode.STATIC_NODES | MpolMode.RELATIVE_NODES | MpolMode.NUMA_BALANCING)
    if flags and mode not in dict(Mpol.words()):
        return "|".join([*flags, f"{mode:#x}"])
    return "|".join([Mpol.text(mode), *flags])


PolicyMode = Annotated[int, Worded(policy_mode, U32)]


class NodeMaskKind(Kind):
    """`[0x00000000000001]`: words of a node mask of `maxnode` bits."""

    def __init__(self, maxnode: str = "maxnode", after: bool = False) -> None:
        self.maxnode = maxnode
        self.after = after

    def show(self, call: Call, value: int) -> str:
        bits = call.arg(self.maxnode)
        if not value or (self.after and call.failed) or bits > 1 << 20:
            return pointer(value)
        return array(value, max(0, bits + 62) // 64, 8, lambda at: _mask(number(call, at, 8)))


def _mask(word: int) -> str:
    word &= (1 << 64) - 1
    return f"{word:#016x}" if word else "0" * 16


NodeMask = Annotated[int, NodeMaskKind()]
OutNodeMask = Annotated[int, NodeMaskKind(after=True)]


class OutPolicyKind(Kind):
    """get_mempolicy's mode: `[MPOL_BIND]`. strace knows of no flags here."""

    after = True

    def show(self, call: Call, value: int) -> str:
        if not value or call.failed:
            return pointer(value)
        return f"[{Mpol.text(number(call, value, 4))}]"


OutPolicy = Annotated[int, OutPolicyKind()]


class PagesKind(Kind):
    """move_pages: an array of `count` items of one of three kinds."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.after = what == "status"

    def show(self, call: Call, value: int) -> str:
        if not value or (self.after and call.failed):
            return pointer(value)
        size = 8 if self.what == "pages" else 4
        return array(value, call.arg("count"), size, lambda at: self._item(number(call, at, size)))

    def _item(self, item: int) -> str:
        if self.what == "pages":
            return pointer(item & (1 << 64) - 1)
        if self.what == "status" and item < 0:
            from kernel.abi.errno import Errno

            return "-" + Errno(-item).name
        return str(item)


MovePages = Annotated[int, PagesKind("pages")]
MoveNodes = Annotated[int, PagesKind("nodes")]
MoveStatus = Annotated[int, PagesKind("status")]


def AddrIov(count: str) -> Iov:
    """iovecs whose bases are addresses elsewhere: process_vm_readv's remote side, process_madvise."""
    return Iov(count, data=False)


class MembarrierCpuKind(Kind):
    """membarrier's cpu_id: only with MEMBARRIER_CMD_FLAG_CPU."""

    decode = S32

    def show(self, call: Call, value: int) -> str | None:
        return str(value) if call.args[1] & 1 else None


MembarrierCpu = Annotated[int, MembarrierCpuKind()]


class PkeyInit(Flags, prefix="PKEY_"):
    DISABLE_ACCESS = 1
    DISABLE_WRITE = 2


PkeyRights = Annotated[int, Bits(PkeyInit, U64)]


class MembarrierFlag(Flags, prefix="MEMBARRIER_CMD_FLAG_"):
    CPU = 1


MembarrierFlags = Annotated[int, Bits(MembarrierFlag, U32)]


__all__ = [
    "AddrIov", "MembarrierCpu", "MembarrierFlag", "MembarrierFlags", "MincoreVec", "MoveNodes", "MovePages",
    "MoveStatus", "NewAddr", "NodeMask", "OutNodeMask", "OutPolicy", "PkeyRights", "PolicyMode",
]  # fmt: skip
