"""The normaliser takes away what two machines cannot share, and nothing that a kernel decides."""

from __future__ import annotations

from normalise import normalised

MMAP = "mmap(NULL, {}, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = {:#x}"


def lines(*trace: str) -> list[str]:
    return normalised("\n".join(trace), "/bin/guest", "/tmp/x")


def test_addresses_are_offsets_within_the_mapping_that_holds_them() -> None:
    got = lines(
        MMAP.format(8192, 0x7FFFF7FF0000),
        MMAP.format(4096, 0x7FFFF7FEF000),
        "mprotect(0x7ffff7ff1000, 4096, PROT_NONE) = 0",
        "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_ACCERR, si_addr=0x7ffff7fef008} ---",
    )
    assert [line.rpartition(" = ")[2] for line in got[:2]] == ["m1+0x0", "m2+0x0"]
    assert got[2] == "mprotect(m1+0x1000, 4096, PROT_NONE) = 0"
    assert "si_addr=m2+0x8}" in got[3]


def test_a_wrong_offset_is_still_seen() -> None:
    first = lines(MMAP.format(8192, 0x7FFFF7FF0000), "munmap(0x7ffff7ff0000, 4096) = 0")
    other = lines(MMAP.format(8192, 0x7FFFF7FE0000), "munmap(0x7ffff7fe1000, 4096) = 0")
    assert first != other


def test_a_mapping_made_where_a_dead_one_was_is_a_new_one() -> None:
    got = lines(
        MMAP.format(4096, 0x7FFFF7FF0000),
        "munmap(0x7ffff7ff0000, 4096) = 0",
        MMAP.format(4096, 0x7FFFF7FF0000),
        "munmap(0x7ffff7ff0000, 4096) = 0",
    )
    assert got[3] == "munmap(m2+0x0, 4096) = 0"


def test_mremap_that_moves_is_a_birth_and_one_that_grows_is_not() -> None:
    got = lines(
        MMAP.format(4096, 0x7FFFF7FF0000),
        "mremap(0x7ffff7ff0000, 4096, 8192, 0) = 0x7ffff7ff0000",
        "mremap(0x7ffff7ff0000, 8192, 16384, MREMAP_MAYMOVE) = 0x7ffff7fe0000",
        "munmap(0x7ffff7fe1000, 4096) = 0",
    )
    assert got[1:] == [
        "mremap(m1+0x0, 4096, 8192, 0) = m1+0x0",
        "mremap(m1+0x0, 8192, 16384, MREMAP_MAYMOVE) = m2+0x0",
        "munmap(m2+0x1000, 4096) = 0",
    ]


def test_heap_stack_and_fixed_addresses() -> None:
    got = lines(
        "brk(NULL) = 0x4c8000",
        "brk(0x4ea000) = 0x4ea000",
        "read(3, 0x4c9123, 10) = -1 EFAULT (Bad address)",
        "read(3, 0x7fffffffe9a8, 10) = -1 EFAULT (Bad address)",
        "read(3, 0xdead000, 10) = -1 EFAULT (Bad address)",
    )
    assert got[1] == "brk(brk+0x22000) = brk+0x22000"
    assert [line.split(", ")[1] for line in got[2:]] == ["heap", "stack", "0xdead000"]


def test_pids_are_named_once_they_are_known() -> None:
    got = lines("getpid() = 4711", "kill(4711, SIGUSR1) = 0", "kill(4712, 0) = -1 ESRCH (No such process)")
    assert got == ["getpid() = PID", "kill(PID, SIGUSR1) = 0", "kill(4712, 0) = -1 ESRCH (No such process)"]


def test_what_the_vdso_may_serve_is_dropped_only_where_it_succeeds() -> None:
    assert lines("clock_gettime(CLOCK_MONOTONIC, {tv_sec=1, tv_nsec=2}) = 0") == []
    assert len(lines("clock_gettime(CLOCK_MONOTONIC, 0x8) = -1 EFAULT (Bad address)")) == 1
    assert lines("clock_gettime(CLOCK_PROCESS_CPUTIME_ID, {tv_sec=0, tv_nsec=77}) = 0") == [
        "clock_gettime(CLOCK_PROCESS_CPUTIME_ID, {CLOCK, CLOCK}) = 0"
    ]


def test_random_bytes_but_not_other_bytes() -> None:
    got = lines(
        'getrandom("\\x12\\x34", 2, 0) = 2',
        'openat(AT_FDCWD, "/dev/urandom", O_RDONLY) = 3',
        'read(3, "abc", 3) = 3',
        'openat(AT_FDCWD, "file", O_RDONLY) = 3',
        'read(3, "abc", 3) = 3',
    )
    assert got[0] == "getrandom(RANDOM, 2, 0) = 2"
    assert got[2] == "read(3, RANDOM, 3) = 3"
    assert got[4] == 'read(3, "abc", 3) = 3'


def test_paths_of_the_program_and_the_folder() -> None:
    assert lines('execve("/bin/guest", ["/bin/guest"], 0x7ffff7ffe000 /* 0 vars */) = 0')[0].startswith(
        'execve("EXE", '
    )
    assert lines('getcwd("/tmp/x/sub", 4096) = 11') == ['getcwd("CWD/sub", 4096) = CWD+5']
    assert lines('readlink("/proc/self/exe", "/bin/guest", 4096) = 10') == [
        'readlink("/proc/self/exe", "EXE", 4096) = LENGTH'
    ]


def test_nothing_else_is_touched() -> None:
    plain = 'write(1, "hello\\n", 6) = 6'
    assert lines(plain, "+++ exited with 0 +++") == [plain, "+++ exited with 0 +++"]
