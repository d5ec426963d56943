"""SIG*, SA_, SI_ and the other si_code values, sigset text (asm/signal.h, asm-generic/siginfo.h).

A sigset is an int: bit n-1 is signal n.
"""

from typing import Annotated

from kernel.abi.args import Bits, Choice, Flags, Option

NSIG = 64
SIGSET_BYTES = 8
SIGRTMIN, SIGRTMAX = 32, 64
MINSIGSTKSZ = 2048


class Sig(Option, prefix="SIG"):
    """Standard signals."""

    HUP = 1
    INT = 2
    QUIT = 3
    ILL = 4
    TRAP = 5
    ABRT = 6
    BUS = 7
    FPE = 8
    KILL = 9
    USR1 = 10
    SEGV = 11
    USR2 = 12
    PIPE = 13
    ALRM = 14
    TERM = 15
    STKFLT = 16
    CHLD = 17
    CONT = 18
    STOP = 19
    TSTP = 20
    TTIN = 21
    TTOU = 22
    URG = 23
    XCPU = 24
    XFSZ = 25
    VTALRM = 26
    PROF = 27
    WINCH = 28
    IO = 29
    PWR = 30
    SYS = 31


SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE = range(1, 9)
SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT = range(9, 17)
SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGXCPU = range(17, 25)
SIGXFSZ, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS = range(25, 32)

SIG_DFL, SIG_IGN = 0, 1

_NAMES = {value: "SIG" + name for name, value in vars(Sig).items() if type(value) is int}


def signame(sig: int) -> str:
    """`SIGSEGV`; real-time signals `SIGRTMIN`, `SIGRT_2` as strace names them; others the number."""
    name = _NAMES.get(sig)
    if name is not None:
        return name
    if sig == SIGRTMIN:
        return "SIGRTMIN"
    if SIGRTMIN < sig <= SIGRTMAX:
        return f"SIGRT_{sig - SIGRTMIN}"
    return str(sig)


def sigset_text(mask: int) -> str:
    """`[INT TERM]`; when more than two thirds are set the complement, `~[KILL STOP]` (strace: sprintsigmask_n)."""
    mask &= (1 << NSIG) - 1
    inverted = mask.bit_count() >= NSIG * 2 // 3
    if inverted:
        mask ^= (1 << NSIG) - 1
    words = []
    while mask:
        low = mask & -mask
        mask ^= low
        name = signame(low.bit_length())
        words.append(name.removeprefix("SIG"))
    return ("~[" if inverted else "[") + " ".join(words) + "]"


class Sa(Flags, prefix="SA_"):
    """sigaction(2) flags."""

    RESTORER = 0x04000000
    ONSTACK = 0x08000000
    RESTART = 0x10000000
    INTERRUPT = 0x20000000
    NODEFER = 0x40000000
    RESETHAND = 0x80000000
    SIGINFO = 4
    NOCLDSTOP = 1
    NOCLDWAIT = 2
    UNSUPPORTED = 0x400
    EXPOSE_TAGBITS = 0x800


class SigHow(Option, prefix="SIG_"):
    """rt_sigprocmask(2)."""

    BLOCK = 0
    UNBLOCK = 1
    SETMASK = 2


SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
SigHowChoice = Annotated[int, Choice(SigHow)]


class Ss(Flags, prefix="SS_"):
    """stack_t's ss_flags."""

    ONSTACK = 1
    DISABLE = 2
    AUTODISARM = 1 << 31


class Si(Option, prefix="SI_"):
    """si_code values that any signal may carry."""

    USER = 0
    KERNEL = 0x80
    QUEUE = -1
    TIMER = -2
    MESGQ = -3
    ASYNCIO = -4
    SIGIO = -5
    TKILL = -6
    DETHREAD = -7
    ASYNCNL = -60


class SegvCode(Option, prefix="SEGV_"):
    MAPERR = 1
    ACCERR = 2
    BNDERR = 3
    PKUERR = 4


class BusCode(Option, prefix="BUS_"):
    ADRALN = 1
    ADRERR = 2
    OBJERR = 3
    MCEERR_AR = 4
    MCEERR_AO = 5


class IllCode(Option, prefix="ILL_"):
    ILLOPC = 1
    ILLOPN = 2
    ILLADR = 3
    ILLTRP = 4
    PRVOPC = 5
    PRVREG = 6
    COPROC = 7
    BADSTK = 8


class FpeCode(Option, prefix="FPE_"):
    INTDIV = 1
    INTOVF = 2
    FLTDIV = 3
    FLTOVF = 4
    FLTUND = 5
    FLTRES = 6
    FLTINV = 7
    FLTSUB = 8


class TrapCode(Option, prefix="TRAP_"):
    BRKPT = 1
    TRACE = 2
    BRANCH = 3
    HWBKPT = 4


class CldCode(Option, prefix="CLD_"):
    EXITED = 1
    KILLED = 2
    DUMPED = 3
    TRAPPED = 4
    STOPPED = 5
    CONTINUED = 6


SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_TKILL = 0, 0x80, -1, -2, -6
SEGV_MAPERR, SEGV_ACCERR, SEGV_BNDERR, SEGV_PKUERR = 1, 2, 3, 4
BUS_ADRALN, BUS_ADRERR, BUS_OBJERR = 1, 2, 3
ILL_ILLOPC, ILL_ILLOPN, ILL_PRVOPC = 1, 2, 5
FPE_INTDIV, FPE_INTOVF, FPE_FLTDIV, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES, FPE_FLTINV = 1, 2, 3, 4, 5, 6, 7
TRAP_BRKPT, TRAP_TRACE = 1, 2

SaFlags = Annotated[int, Bits(Sa)]
