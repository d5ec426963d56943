"""The layers hold: import-linter's contracts (pyproject.toml), and, off the syntax trees, what they cannot express."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

REPO = Path(__file__).resolve().parent.parent
MODULES = sorted(path.relative_to(REPO).as_posix() for top in ("emu", "kernel") for path in (REPO / top).rglob("*.py"))
MAX_LINES = 400
TABLES = {"kernel/abi/errno.py", "kernel/abi/nr.py", "kernel/abi/structs.py"}  # one line an entry: length is no burden

# Third-party packages each folder may import; the longest matching prefix counts. Inside a function anything listed
# may be imported; at module level only what is not LAZY, since a plain run must not pay for the rest.
THIRD_PARTY = {
    "kernel/": set(),
    "emu/": set(),
    "emu/cpu/": {"unicorn", "capstone", "numpy"},
    "emu/dwarf/": {"elftools"},
    "emu/commands/info.py": {"elftools"},
    "emu/flow.py": {"capstone"},
    "emu/disassembly.py": {"capstone"},
    "emu/trace/": {"numpy"},
    "emu/sinks/": {"numpy", "pyarrow"},
    "emu/analysis/": {"numpy"},
    "emu/report/": {"numpy", "rich"},
    "emu/pytest_plugin/": {"pytest"},
}
LAZY = {"capstone", "elftools", "numpy", "pyarrow", "rich"}

# A run has no hidden inputs: the host's time, randomness, environment, processes and network stay out of the kernel.
HOST_MODULES = {"asyncio", "multiprocessing", "secrets", "signal", "socket", "subprocess", "threading"}
HOST_STATE = {
    "os": {"environ", "getcwd", "getenv", "getloadavg", "getpid", "getuid", "uname", "urandom"},
    "time": {"clock_gettime", "localtime", "monotonic", "monotonic_ns", "perf_counter", "sleep", "time", "time_ns"},
    "datetime": {"now", "today", "utcnow"},
    "uuid": {"getnode", "uuid1", "uuid4"},
    "random": {"choice", "getrandbits", "randbytes", "randint", "random", "randrange", "shuffle"},
    "platform": {"machine", "node", "platform", "release", "system", "uname", "version"},
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((REPO / module).read_text(), filename=module)


def imports(module: str, *, everywhere: bool) -> Iterator[tuple[str, int]]:
    """(top-level package, line) of each absolute import; without `everywhere` only those that run at import."""
    pending: list[ast.AST] = [tree(module)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0], node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not everywhere:
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend(node.orelse)
            continue
        pending.extend(ast.iter_child_nodes(node))


def host_state(module: str) -> Iterator[str]:
    """Uses of HOST_STATE, as `time.monotonic` or as `from time import monotonic`."""
    imported = {name for name, _ in imports(module, everywhere=True)}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            used = {node.attr} & HOST_STATE.get(node.value.id, set())
        elif isinstance(node, ast.ImportFrom):
            used = {name.name for name in node.names} & HOST_STATE.get(node.module or "", set())
        else:
            continue
        yield from (f"line {node.lineno}: {name}" for name in used)


def allowed_third_party(module: str) -> set[str]:
    return THIRD_PARTY[max((prefix for prefix in THIRD_PARTY if module.startswith(prefix)), key=len)]


def test_the_import_contracts_of_pyproject_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("module", MODULES)
def test_third_party_packages_are_imported_only_where_the_table_says(module: str) -> None:
    known = set(sys.stdlib_module_names) | {"emu", "kernel"} | allowed_third_party(module)
    assert not [f"line {line}: {name}" for name, line in imports(module, everywhere=True) if name not in known]


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith(("emu/report/", "emu/sinks/"))])
def test_heavy_packages_are_imported_inside_functions(module: str) -> None:
    assert not [f"line {line}: {name}" for name, line in imports(module, everywhere=False) if name in LAZY]


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("kernel/abi/")])
def test_the_abi_needs_only_the_standard_library_and_itself(module: str) -> None:
    names = {name for name, _ in imports(module, everywhere=True)}
    assert names <= set(sys.stdlib_module_names) | {"kernel"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("kernel/")])
def test_the_kernel_has_no_hidden_inputs(module: str) -> None:
    assert not [f"line {line}: {name}" for name, line in imports(module, everywhere=True) if name in HOST_MODULES]
    assert not list(host_state(module))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_owns_and_stays_readable(module: str) -> None:
    lines = len((REPO / module).read_text().splitlines())
    assert lines < MAX_LINES or module in TABLES, f"{lines} lines; split it"
    assert lines == 0 or ast.get_docstring(tree(module)), "no docstring"
