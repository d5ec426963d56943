"""Struct layouts as typed classes: pack, unpack, SIZE, with C's alignment rules, and strace's text for each.

`@struct class Timespec: tv_sec: I64; tv_nsec: I64` gives a frozen value type with positional and keyword construction.
A field that is left out is zero; mypy asks for all of them, so that the kernel forgets none.
"""

from __future__ import annotations

import struct as _struct
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Iterable


class Scalar:
    """One C scalar: its struct(3) code, its size, and how strace prints it as a field."""

    __slots__ = ("code", "size", "text")

    def __init__(self, code: str, text: Any = str) -> None:
        self.code = code
        self.size = _struct.calcsize("<" + code)
        self.text = text


class Chars:
    """A fixed char array; kept as bytes, padded with NUL."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class Array:
    """A fixed array of one scalar, kept as a tuple of ints."""

    __slots__ = ("count", "item")

    def __init__(self, item: Any, count: int) -> None:
        self.item = item.__metadata__[0]
        self.count = count


def _hex(value: int) -> str:
    return hex(value) if value else "0"


def _pointer(value: int) -> str:
    return hex(value) if value else "NULL"


I8 = Annotated[int, Scalar("b")]
U8 = Annotated[int, Scalar("B")]
I16 = Annotated[int, Scalar("h")]
U16 = Annotated[int, Scalar("H")]
I32 = Annotated[int, Scalar("i")]
U32 = Annotated[int, Scalar("I")]
I64 = Annotated[int, Scalar("q")]
U64 = Annotated[int, Scalar("Q")]
X32 = Annotated[int, Scalar("I", _hex)]
X64 = Annotated[int, Scalar("Q", _hex)]
Ptr = Annotated[int, Scalar("Q", _pointer)]

S = TypeVar("S", bound="Layout")


class Layout:
    """What every struct has. `pack` and `unpack` are inverse; SIZE is C's sizeof, tail padding included."""

    SIZE: ClassVar[int] = 0
    ALIGN: ClassVar[int] = 1
    FIELDS: ClassVar[tuple[str, ...]] = ()
    _kinds: ClassVar[tuple[Any, ...]] = ()
    _codec: ClassVar[_struct.Struct] = _struct.Struct("<")
    _flat: ClassVar[bool] = True
    _members: ClassVar[Any] = None  # gives all values in the order of the codec, where an attrgetter can
    _zero: ClassVar[tuple[Any, ...]] = ()
    __slots__ = ()

    if not TYPE_CHECKING:

        def __init__(self, *values, **named):
            made = type(self)
            made.__init__ = _initialiser(made)  # compiled at the first use
            made.__init__(self, *values, **named)

        def __setattr__(self, field, value):
            raise AttributeError(f"{type(self).__name__} is frozen")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self.FIELDS)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Layout) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in self.FIELDS)})"

    def _scalars(self) -> list[Any]:
        """The values in the order of the codec: nested structs and arrays flattened."""
        out: list[Any] = []
        for kind, value in zip(self._kinds, self._values(), strict=True):
            if isinstance(kind, type):
                out += value._scalars()
            elif isinstance(kind, Array):
                out += value
            else:
                out.append(value)
        return out

    def pack(self) -> bytes:
        """The struct as the guest sees it, SIZE bytes, little-endian, padding zero. struct.error when out of range."""
        members = self._members
        return self._codec.pack(*(self._scalars() if members is None else members(self)))

    @classmethod
    def unpack(cls: type[S], raw: bytes) -> S:
        """From at least SIZE bytes (more are ignored)."""
        values = cls._codec.unpack_from(raw)
        return cls(*values) if cls._flat else cls._from(iter(values))

    @classmethod
    def _from(cls: type[S], values: Any) -> S:
        out: list[Any] = []
        for kind in cls._kinds:
            if isinstance(kind, type):
                out.append(kind._from(values))  # type: ignore[attr-defined]
            elif isinstance(kind, Array):
                out.append(tuple(next(values) for _ in range(kind.count)))
            else:
                out.append(next(values))
        return cls(*out)

    def text(self) -> str:
        """As strace prints it; a struct that strace prints otherwise overrides this."""
        words = []
        for field, kind, value in zip(self.FIELDS, self._kinds, self._values(), strict=True):
            if isinstance(kind, type):
                words.append(f"{field}={value.text()}")
            elif isinstance(kind, Array):
                words.append(f"{field}=[{', '.join(map(kind.item.text, value))}]")
            elif isinstance(kind, Scalar):
                words.append(f"{field}={kind.text(value)}")
        return "{" + ", ".join(words) + "}"


def _place(kinds: tuple[Any, ...]) -> tuple[str, int]:
    """The struct(3) format with C's padding, and the alignment."""
    code, offset, align = "", 0, 1
    for kind in kinds:
        if isinstance(kind, type):
            item, size, own = kind._codec.format[1:], kind.SIZE, kind.ALIGN  # type: ignore[attr-defined]
        elif isinstance(kind, Array):
            item, size, own = kind.item.code * kind.count, kind.item.size * kind.count, kind.item.size
        elif isinstance(kind, Chars):
            item, size, own = f"{kind.size}s", kind.size, 1
        else:
            item, size, own = kind.code, kind.size, kind.size
        code += "x" * (-offset % own) + item
        offset += -offset % own + size
        align = max(align, own)
    return "<" + code + "x" * (-offset % align), align


def _kind(annotation: Any) -> Any:
    """The layout of one field: a Scalar, Chars, Array, or a nested struct class."""
    if isinstance(annotation, type):
        return annotation
    return annotation.__metadata__[-1]


def _member_names(names: Iterable[str], kinds: tuple[Any, ...]) -> list[str]:
    """The scalars of a struct, those of nested structs as "outer.inner"; an array's name stands for itself."""
    found: list[str] = []
    for name, kind in zip(names, kinds, strict=True):
        if isinstance(kind, type):
            found += [f"{name}.{inner}" for inner in _member_names(kind.FIELDS, kind._kinds)]  # type: ignore[attr-defined]
        else:
            found.append(name)
    return found


def _has_array(kinds: tuple[Any, ...]) -> bool:
    return any(_has_array(kind._kinds) if isinstance(kind, type) else isinstance(kind, Array) for kind in kinds)  # type: ignore[attr-defined]


def _nought(kind: Any) -> Any:
    if isinstance(kind, type):
        return kind()
    if isinstance(kind, Array):
        return (0,) * kind.count
    return b"" if isinstance(kind, Chars) else 0


def _initialiser(made: Any) -> Any:
    """__init__ by position or name; a field that is left out is zero. It sets the slots themselves, past the guard."""
    fields = made.FIELDS
    names = {f"zero_{field}": zero for field, zero in zip(fields, made._zero, strict=True)}
    names |= {f"set_{field}": getattr(made, field).__set__ for field in fields}
    head = ", ".join(f"{field}=zero_{field}" for field in fields)
    body = "".join(f"\n    set_{field}(self, {field})" for field in fields) or " pass"
    exec(f"def __init__(self, {head}):{body}", names)
    return names["__init__"]


C = TypeVar("C", bound=type)


@dataclass_transform(frozen_default=True)
def struct(cls: C) -> C:
    """Make a layout of an annotated class (which must not be under `from __future__ import annotations`)."""
    fields = vars(cls).get("__annotations__", {})
    kinds = tuple(_kind(annotation) for annotation in fields.values())
    code, align = _place(kinds)
    body = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__") and k not in fields}
    codec = _struct.Struct(code)
    names = _member_names(fields, kinds)
    body |= {
        "__slots__": tuple(fields),
        "FIELDS": tuple(fields),
        "SIZE": codec.size,
        "ALIGN": align,
        "_kinds": kinds,
        "_codec": codec,
        "_flat": not any(isinstance(kind, type | Array) for kind in kinds),
        "_members": attrgetter(*names) if len(names) > 1 and not _has_array(kinds) else None,
        "_zero": tuple(vars(cls).get(field, _nought(kind)) for field, kind in zip(fields, kinds, strict=True)),
    }
    return type(cls.__name__, cls.__bases__, body)  # type: ignore[return-value]
