"""The pytest plugin, seen from outside: small suites that use it, and what pytest says of them."""

from __future__ import annotations

import subprocess
import tomllib

import pytest
import toolchain
from runs import program, unavailable

from emu.pytest_plugin import baseline

pytest_plugins = ["pytester"]
LEAKY = """
#include <stdlib.h>
#include <string.h>
#include "size.h"
char *keep;
__attribute__((noipa)) static char *make(int n) { char *made = malloc(n); return memset(made, 1, n); }
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *block = make(SIZE);
        if (argv[i][0] == 'd') { free(block); free(block); }
        else if (argv[i][0] != 'l') free(block);
    }
    return argc - 1;
}
"""

POOL = """
static char arena[1 << 16];
static unsigned long used, given;
void *malloc(unsigned long size) {
    char *block = arena + used;
    used += (size + 31) / 16 * 16;
    for (unsigned long i = 0; i < size; i++) block[i] = (i * 0x12345 ^ given) >> 3;
    return given += size, block;
}
void free(void *block) { for (char *at = block; at && *at; at++) given ^= *at * 0x54321 + 0x1234567; }
"""
USER = """
void *malloc(unsigned long); void free(void *);
char *volatile kept;
int main(void) { free(malloc(20)); kept = malloc(30); return 0; }
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with leaky.c, built by musl-gcc: it needs no cache of its own."""
    if why := toolchain.missing("musl-gcc"):
        unavailable(why)
    monkeypatch.delenv("CI", raising=False)
    pytester.makefile(".c", leaky=LEAKY)
    pytester.makefile(".h", size="#define SIZE 40\n")
    pytester.makeini("[pytest]\nheapscope_toolchain = musl-gcc\naddopts = --strict-markers -p no:xdist\n")
    return pytester


def test_a_run_answers_the_questions_of_an_allocator_test(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        def test_it(guest):
            run = guest("leaky.c", ["f", "leak", "leak"])
            assert (run.returncode, run.stdout) == (3, b"")
            (leak,) = run.heap.leaks
            assert (leak.bytes, leak.blocks) == (80, 2)
            assert leak.calls[0].startswith("make+") and leak.calls[0].endswith("(leaky.c:5)")
            assert run.heap.peak_live == 80
            assert 0 < run.heap.cost("malloc").p50 <= run.heap.cost("malloc").p99 <= run.heap.cost("malloc").max
            assert run.heap.cost("free", 40).calls == 1
            assert run.misuse == []
            assert run.syscalls["brk"].count > 0 and run.syscalls["socket"].count == 0
            assert 4096 <= run.rss_peak < 1 << 20
            assert 100 < run.instructions < 100_000
            assert "leaky l l: exit status 2" in repr(guest("leaky.c", ["l", "l"]))

        def test_a_program_that_is_built_already(guest):
            program = guest.build(["leaky.c"], cflags=["-DMORE"])
            run = guest(program, ["leak"], heap=False)
            assert run.returncode == 1
            with pytest.raises(ValueError, match="heap=False"):
                run.heap
    """)
    suite.runpytest_subprocess().assert_outcomes(passed=2)


def test_the_allocator_of_a_stripped_program_is_told_by_files_beside_the_test(suite: pytest.Pytester) -> None:
    suite.makefile(".toml", rules='alloc-from = ["pool.o"]\n')
    suite.makefile(".c", pool=POOL)
    suite.makefile(".c", user=USER)
    for command in (["-c", "pool.c", "-o", "pool.o"], ["-static", "-s", "user.c", "pool.o", "-o", "user"]):
        subprocess.run([program("musl-gcc"), "-O2", *command], cwd=suite.path, check=True)
    suite.makepyfile("""
        import pytest

        @pytest.mark.parametrize("how", [{"alloc_from": "pool.o"}, {"alloc_file": "rules.toml"}])
        def test_traced(guest, how):
            (leak,) = guest("user", **how).heap.leaks
            assert (leak.blocks, leak.bytes) == (1, 30)

        def test_near(guest): guest("user", alloc_from="poll.o")
        def test_untraced(guest): guest("user", alloc_from="pool.o", heap=False)
    """)
    done = suite.runpytest_subprocess()
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines([
        "guest user: *user: --alloc-from */poll.o: No such file or directory; is it pool.o?",
        "guest user: alloc_from needs heap=True",
    ])  # fmt: skip


def test_what_leaked_and_from_where_is_in_the_failure(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        def test_leaks(guest):
            run = guest("leaky.c", ["leak", "double"])
            assert run.heap.leaks == []

        def test_misuse(guest):
            assert [] == guest("leaky.c", ["leak", "double"]).misuse

        def test_status(guest):
            assert guest("leaky.c", ["l"]).returncode == 0
    """)
    done = suite.runpytest_subprocess()
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines([
        "E       assert ?blocks never freed, from 1 place? == []",
        "E           40 bytes in 1 blocks",
        "E             make+0x* (leaky.c:5)",
        "E             main+0x* (leaky.c:8)",
        "*guest leaky leak double*",
        "killed by SIGSEGV, * instructions, * KiB resident at its peak",
        "double-free: free(0x*): the block of 40 bytes was freed before",
        "E *assert * == ?1 misuse of the heap?",
    ])  # fmt: skip


def test_marks_hold_each_guest_of_a_test(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        @pytest.mark.no_leaks
        @pytest.mark.limit_rss("1M")
        def test_clean(guest):
            guest("leaky.c", ["f"])

        @pytest.mark.no_leaks
        def test_leaks(guest):
            guest("leaky.c", ["f"])
            guest("leaky.c", ["leak"])

        @pytest.mark.limit_rss(4096)
        def test_big(guest):
            guest("leaky.c")
    """)
    done = suite.runpytest_subprocess()
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines([
        "guest leaky leak leaks (the test is marked no_leaks)",
        "    make+0x* (leaky.c:5)",
        "guest leaky: * KiB resident at its peak; the test is marked limit_rss(4096)",
    ])  # fmt: skip


def test_what_cannot_be_built_or_run_fails_with_the_reason(suite: pytest.Pytester) -> None:
    suite.makefile(".c", broken="int main(void) { return nothing; }")
    suite.makefile(".c", forever="int main(void) { for (;;) ; }")
    suite.makefile(".cc", plus="int main() {}")
    suite.makepyfile("""
        def test_broken(guest): guest("broken.c")
        def test_absent(guest): guest("absent.c")
        def test_script(guest): guest("leaky.txt")
        def test_chain(guest): guest("leaky.c", toolchain="msvc")
        def test_plus(guest): guest("plus.cc")
        def test_knob(guest): guest("leaky.c", memory="1")
        def test_rule(guest): guest("leaky.c", alloc="make")
        def test_limit(guest): assert guest("forever.c", max_instructions=1000).returncode == 124
    """)
    done = suite.runpytest_subprocess()
    done.assert_outcomes(passed=1, failed=7)
    done.stdout.fnmatch_lines([
        "$ musl-gcc -static * -c broken.c *",
        "broken.c:1:*error: *nothing*undeclared*",
        "*absent.c: there is no such file",
        "guest leaky.txt: *leaky.txt: No such file or directory",
        "there is no toolchain 'msvc': zig-musl, musl-gcc, gcc",
        "musl-gcc has no C++ compiler; take zig-musl or gcc",
        "guest leaky: memory of 1 bytes *",
        "guest leaky: alloc rule 'make' is not NAME=KIND*",
    ])  # fmt: skip
    assert "Traceback" not in done.stdout.str()
    assert "During handling" not in done.stdout.str()


def test_a_cpp_program_of_glibc_leaks_nothing_but_what_it_forgets_and_nobody_lets_pass(suite: pytest.Pytester) -> None:
    if why := toolchain.missing("glibc"):
        unavailable(why)
    suite.makefile(".cc", plus="""
        #include <cstdio>
        struct Kept { char bytes[48]; };
        __attribute__((noipa)) Kept *keep() { return new Kept(); }
        int main() { puts("made"); keep(); }
    """)
    suite.makefile(".supp", known="leak:_Z4keepv\n")
    suite.makepyfile("""
        def test_it(guest):
            run = guest("plus.cc", toolchain="gcc")
            assert run.stdout == b"made\\n"
            assert [leak.bytes for leak in run.heap.leaks] == [48]
            assert guest("plus.cc", toolchain="gcc", suppressions="known.supp").heap.leaks == []

        def test_no_file(guest):
            guest("leaky.c", suppressions="nothing.supp")
    """)
    done = suite.runpytest_subprocess()
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["guest leaky: *No such file or directory: *nothing.supp*"])


def test_a_guest_is_built_again_when_a_header_changes_and_only_then(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        def test_it(guest):
            guest("leaky.c", ["l"])
    """)
    suite.runpytest_subprocess().assert_outcomes(passed=1)
    (program,) = suite.path.glob(".pytest_cache/d/heapscope/guests/*/leaky")
    first = program.stat()
    suite.runpytest_subprocess().assert_outcomes(passed=1)
    assert program.stat().st_ino == first.st_ino
    suite.makefile(".h", size="#define SIZE 4000\n")
    suite.runpytest_subprocess().assert_outcomes(passed=1)
    assert program.stat().st_ino != first.st_ino


COMPARED = """
    import pytest

    @pytest.mark.parametrize("how", ["f", "leak"])
    def test_counts(guest, how):
        guest("leaky.c", [how]).matches_baseline(tolerance={"instructions": 0.5, "cost": 9.0})

    def test_two(guest):
        guest("leaky.c").matches_baseline("first")
        guest("leaky.c", ["f"]).matches_baseline("second")
"""


def test_a_baseline_is_written_on_demand_and_compared_from_then_on(suite: pytest.Pytester) -> None:
    module = suite.makepyfile(COMPARED)
    file = module.with_suffix(".baseline.toml")
    missing = suite.runpytest_subprocess()
    missing.assert_outcomes(failed=3)
    told = ["there is no baseline of test_counts?f? in *", "  pytest --heapscope-update '*test_counts?f?'"]
    missing.stdout.fnmatch_lines(told)
    assert not file.exists()
    suite.runpytest_subprocess("--heapscope-update").assert_outcomes(passed=3)
    text = file.read_text()
    tables = tomllib.loads(text)
    assert list(tables) == ["test_counts[f]", "test_counts[leak]", "test_two first", "test_two second"]
    assert tables["test_counts[leak]"]["allocations"] == 1
    assert tables["test_counts[leak]"]["frees"] == 0
    assert tables["test_counts[leak]"]["syscalls"]["exit_group"] == 1
    suite.runpytest_subprocess().assert_outcomes(passed=3)
    suite.runpytest_subprocess("--heapscope-update").assert_outcomes(passed=3)
    assert file.read_text() == text


def test_tables_of_tests_that_are_gone_go_where_all_of_a_module_was_asked_for(suite: pytest.Pytester) -> None:
    module = suite.makepyfile(COMPARED)
    file = module.with_suffix(".baseline.toml")
    update, name = ("--heapscope-update", "--no-header"), module.name
    suite.runpytest_subprocess(*update).assert_outcomes(passed=3)
    text = file.read_text()
    suite.makepyfile(COMPARED.replace(', "leak"]', "]").replace("test_two", "test_three"))
    suite.runpytest_subprocess(*update, "-k", "counts").assert_outcomes(passed=1, deselected=1)
    suite.runpytest_subprocess(*update, f"{name}::test_counts[f]").assert_outcomes(passed=1)
    suite.runpytest_subprocess("--deselect", f"{name}::test_three").assert_outcomes(passed=1, deselected=1)
    assert file.read_text() == text
    done = suite.runpytest_subprocess(*update)
    done.stdout.fnmatch_lines([f"{file.name}: {key} is gone" for key in ("test_counts?leak?", "test_two first")])
    assert list(tomllib.loads(file.read_text())) == ["test_counts[f]", "test_three first", "test_three second"]


def test_what_changed_is_told_by_how_much(suite: pytest.Pytester) -> None:
    module = suite.makepyfile(COMPARED)
    suite.runpytest_subprocess("--heapscope-update").assert_outcomes(passed=3)
    suite.makefile(".h", size="#define SIZE 60\n")
    done = suite.runpytest_subprocess()
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines([
        f"test_counts?f? is not as its baseline in {module.stem}.baseline.toml has it",
        " * baseline *now *change",
        "  peak_live *40 *60 *+50.0%",
        "If that is as it should be: pytest --heapscope-update *",
    ])  # fmt: skip


def test_on_ci_a_baseline_is_never_written(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    module = suite.makepyfile(COMPARED)
    monkeypatch.setenv("CI", "true")
    assert suite.runpytest_subprocess("--heapscope-update").ret == pytest.ExitCode.USAGE_ERROR
    suite.runpytest_subprocess().assert_outcomes(failed=3)
    assert not module.with_suffix(".baseline.toml").exists()


def test_a_baseline_that_is_none_and_a_tolerance_of_nothing_are_said(suite: pytest.Pytester) -> None:
    module = suite.makepyfile("""
        def test_one(guest):
            guest("leaky.c").matches_baseline(tolerance={"instrs": 1.0})
        def test_two(guest):
            run = guest("leaky.c")
            run.matches_baseline()
            run.matches_baseline()
    """)
    suite.runpytest_subprocess("--heapscope-update").assert_outcomes(passed=1, failed=1)
    done = suite.runpytest_subprocess()
    done.stdout.fnmatch_lines(["tolerance of 'instrs': no such count; there are *", "*give each a name*"])
    module.with_suffix(".baseline.toml").write_text("[test_one]\ninstructions = 'many'\n")
    suite.runpytest_subprocess().stdout.fnmatch_lines(["*.baseline.toml: not a baseline: instructions is 'many', *"])


def test_without_a_cache_folder_it_builds_in_the_temporary_one(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(suite.path))
    suite.makepyfile("def test_it(guest): guest('leaky.c')")
    suite.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert len(list(suite.path.glob("heapscope-*/guests/*/leaky"))) == 1


@pytest.mark.slow
def test_test_workers_share_the_cache_and_the_baseline(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        @pytest.mark.parametrize("size", range(12))
        def test_counts(guest, size):
            guest("leaky.c", ["f"] * size).matches_baseline()
    """)
    suite.makeini("[pytest]\nheapscope_toolchain = musl-gcc\n")
    suite.runpytest_subprocess("-n", "3", "--heapscope-update").assert_outcomes(passed=12)
    suite.runpytest_subprocess("-n", "3").assert_outcomes(passed=12)
    assert len(list(suite.path.glob(".pytest_cache/d/heapscope/guests/*/leaky"))) == 1
    (file,) = suite.path.glob("*.baseline.toml")
    assert len(tomllib.loads(file.read_text())) == 12
    (module,) = suite.path.glob("test_*.py")
    module.write_text(module.read_text().replace("12", "7"))
    suite.runpytest_subprocess("-n", "3", "--heapscope-update").assert_outcomes(passed=7)
    assert len(tomllib.loads(file.read_text())) == 7


def test_a_suite_that_uses_no_guest_imports_no_emulator(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing_heavy():
            assert "emu.pytest_plugin" in sys.modules
            assert not {"unicorn", "numpy", "capstone", "emu.api", "emu.machine"} & set(sys.modules)
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_suite_may_have_a_fixture_of_that_name_itself(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef guest(): return 'ours'\n")
    pytester.makepyfile("def test_it(guest): assert guest == 'ours'\ndef test_fails(guest): assert not guest\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1, failed=1)


def test_a_difference_counts_from_its_tolerance_on() -> None:
    kept, now = {"instructions": 100, "cost.malloc.p50": 10}, {"instructions": 103, "syscalls.brk": 1}
    off = baseline.differences(kept, now, {})
    assert [tuple(each) for each in off] == [
        ("cost.malloc.p50", 10, None, 0.0),
        ("instructions", 100, 103, 0.0),
        ("syscalls.brk", None, 1, 0.0),
    ]
    assert list(baseline.table(off))[1:] == [
        "  cost.malloc.p50        10    –   -100.0%",
        "  instructions          100  103     +3.0%",
        "  syscalls.brk            –    1       new",
    ]
    assert not baseline.differences({"instructions": 100}, {"instructions": 103}, {"instructions": 0.03})
    assert baseline.differences({"cost.free.p50": 50}, {"cost.free.p50": 53}, {"cost": 0.5, "cost.free": 0.05})
