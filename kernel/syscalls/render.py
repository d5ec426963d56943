"""From a signature to code: how registers become arguments, and how a call is printed. Compiled once, at first use.

A text has two parts. `enter` is printed from what is there before the call; from the first argument on that the call
fills in, `leave` prints the rest afterwards, as strace does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kernel.abi.args import Call, Kind
from kernel.abi.errno import TEXT, Errno

Decode = Callable[..., tuple[int, ...]]
_shapes: dict[str, Any] = {}


def _shape(source: str) -> Any:
    """The compiled expression; signatures of the same shape share one."""
    made = _shapes.get(source)
    if made is None:
        made = _shapes[source] = eval(source)
    return made


def _decoded(kinds: Sequence[Kind]) -> list[str]:
    return [kind.decode.format(f"a{i}") for i, kind in enumerate(kinds)]


def caller(kinds: Sequence[Kind], handler: Callable[..., Any]) -> Callable[..., Any]:
    """`(task, six registers) → handler(task, arguments)`."""
    made: Callable[..., Any] = _shape(
        f"lambda f: lambda task, a0, a1, a2, a3, a4, a5: f({', '.join(['task', *_decoded(kinds)])})"
    )(handler)
    return made


def decoder(kinds: Sequence[Kind]) -> Decode:
    """`six registers → arguments`."""
    made: Decode = _shape(f"lambda a0, a1, a2, a3, a4, a5: ({''.join(word + ', ' for word in _decoded(kinds))})")
    return made


def scalar(name: str, kinds: Sequence[Kind]) -> Callable[..., str] | None:
    """`six registers → "name(a, b)"` where no argument needs more than its own value; None where one does."""
    if not all(kind.expr for kind in kinds):
        return None
    env: dict[str, Any] = {}
    words = [_expression(kind, i, f"a{i}", env) for i, kind in enumerate(kinds)]
    decoded = [f" a{i} = {word}\n" for i, word in enumerate(_decoded(kinds)) if word != f"a{i}"]
    body = "f" + repr(f"{name}(" + ", ".join("{" + word + "}" for word in words) + ")")
    exec(f"def text(a0, a1, a2, a3, a4, a5):\n{''.join(decoded)} return {body}", env)
    made: Callable[..., str] = env["text"]
    return made


def _expression(kind: Kind, i: int, value: str, env: dict[str, Any]) -> str:
    names = {name: f"{name}{i}" for name in kind.env()}
    env |= {names[name]: thing for name, thing in kind.env().items()}
    return kind.expr.format(value=value, **names)


def _part(kinds: Sequence[Kind], positions: range) -> Callable[[Call], list[str]]:
    """`call → texts` of those arguments, without the ones that are not printed."""
    env: dict[str, Any] = {}
    words = []
    for i in positions:
        kind = kinds[i]
        if kind.expr:
            words.append("str(" + _expression(kind, i, f"a[{i}]", env) + ")")
        else:
            env[f"show{i}"] = kind.show
            words.append(f"show{i}(call, a[{i}])")
    listed = eval(f"lambda call, a: ({''.join(word + ', ' for word in words)})", env)
    return lambda call: [word for word in listed(call, call.args) if word is not None]


class Text:
    """The two parts of a call's text. `leave` is None when everything can be printed before the call."""

    __slots__ = ("_after", "_before", "_kept", "_last", "name")

    def __init__(self, name: str, kinds: Sequence[Kind]) -> None:
        first_after = next((i for i, kind in enumerate(kinds) if kind.after), len(kinds))
        self.name = name
        self._kept = [(i, kind.keeps) for i, kind in enumerate(kinds) if kind.keeps]
        self._before = _part(kinds, range(first_after))
        self._after = _part(kinds, range(first_after, len(kinds)))
        self._last = first_after == len(kinds)

    def enter(self, call: Call) -> str:
        """`name(a, b`, without a closing parenthesis."""
        for i, size in self._kept:
            call.keep(call.args[i], size)
        return f"{self.name}({', '.join(self._before(call))}"

    def leave(self, call: Call, entered: str) -> str:
        """The whole, once the call has its value."""
        if self._last:
            return entered + ")"
        rest = ", ".join(self._after(call))
        return f"{entered}{', ' if rest and not entered.endswith('(') else ''}{rest})"

    def unfinished(self, entered: str) -> str:
        """The call never came back: `read(3,  <unfinished ...>)`."""
        return f"{entered}{'' if self._last else ', '} <unfinished ...>)"


class _Refusals(dict[int, tuple[str, Errno]]):
    """Negative rax → its text and errno."""

    def __missing__(self, value: int) -> tuple[str, Errno]:
        errno = Errno(-value)
        shown = f"{'?' if errno >= Errno.ERESTARTSYS else '-1'} {errno.name} ({TEXT.get(errno, '')})"
        self[value] = shown, errno
        return self[value]


REFUSALS = _Refusals()
