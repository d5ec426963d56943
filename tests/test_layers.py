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
    "kernel/mm/": {"numpy"},
    "kernel/task/": {"elftools", "numpy"},
    "emu/": {"numpy"},
    "emu/symbols.py": {"elftools"},
    "emu/cpu/": {"unicorn", "capstone", "numpy"},
    "emu/commands/": {"capstone", "elftools", "rich"},
    "emu/sinks/": {"numpy", "pyarrow"},
    "emu/report/": {"capstone", "elftools", "numpy", "rich"},
    "emu/pytest_plugin.py": {"pytest"},
}
LAZY = {"capstone", "elftools", "numpy", "pyarrow", "rich"}

# A run has no hidden inputs: time, randomness, environment and processes of the host stay out of the kernel.
HOST_STATE = {
    "asyncio",
    "datetime",
    "multiprocessing",
    "secrets",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "uuid",
}
HOST_CALLS = {("os", "environ"), ("os", "getenv"), ("os", "urandom"), ("os", "getpid"), ("os", "uname")}


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
    assert not [f"line {line}: {name}" for name, line in imports(module, everywhere=True) if name in HOST_STATE]
    used = [
        f"line {node.lineno}: {node.value.id}.{node.attr}"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in HOST_CALLS
    ]
    assert not used


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_owns_and_stays_readable(module: str) -> None:
    lines = len((REPO / module).read_text().splitlines())
    assert lines < MAX_LINES or module in TABLES, f"{lines} lines; split it"
    assert lines == 0 or ast.get_docstring(tree(module)), "no docstring"
