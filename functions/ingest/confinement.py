"""
Confines a process that parses a document, so that it can ask the kernel for almost nothing.

A compromised parser has its memory, one open file and one socket. Three mechanisms confine it, none
of which needs a privilege:

- Limits of resources: no new descriptor, no growing file, no more memory or processor time.
- A seccomp filter with a list of the system calls that are allowed. Each other one fails with
  EPERM; those of a foreign architecture end the process. Without a filter a parser could still
  delete or rename files, signal other processes and read their memory.
- Landlock, where the kernel has it (5.13 and newer): no path, no port, and no process outside.

https://docs.kernel.org/userspace-api/seccomp_filter.html
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from .parsing.blocks import ParseLimits

# include/uapi/linux/prctl.h, seccomp.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_RET_KILL_PROCESS = 0x8000_0000
_RET_ALLOW = 0x7FFF_0000
_RET_EPERM = 0x0005_0000 | errno.EPERM
# struct seccomp_data: the number of the call, the architecture, the instruction, six arguments.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
# include/uapi/linux/bpf_common.h: load a word, jump if equal, jump if greater or equal, return
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
# Calls of the x32 interface have this bit and the architecture of x86-64.
_X32 = 0x4000_0000
# include/uapi/linux/landlock.h: the newest of its versions that this module knows.
_LANDLOCK_VERSION = 6
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_NOBODY = 65534

# Exit status of a process that the kernel cannot confine.
UNCONFINED_STATUS = 3


class Unconfined(Exception):
    """The kernel refuses the seccomp filter, so parsing would be unconfined."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """An architecture, as seccomp names it (include/uapi/linux/audit.h)."""

    architecture: int
    column: int


_MACHINES = {"x86_64": _Machine(0xC000_003E, 0), "aarch64": _Machine(0xC000_00B7, 1)}

# The calls that parsing needs, with their numbers on x86-64 and aarch64 (None: not there).
# To see what a new library asks for: strace -f -e inject=none python -m benchmarks.parsing, and
# tests/unit/test_confinement.py compares the numbers with the kernel's headers.
# Not here, though harmless at first sight: newfstatat, statx (they look at any path), ioctl, dup,
# sendmsg (it hands descriptors on), clone (a thread is a process to RLIMIT_NPROC alone).
_Numbers = tuple[int | None, int | None]
ALLOWED: dict[str, _Numbers] = {
    # memory
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    # what is open already
    "read": (0, 63),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "write": (1, 64),
    "writev": (20, 66),
    "fstat": (5, 80),
    "close": (3, 57),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "poll": (7, None),
    "ppoll": (271, 73),
    # locks, clocks, chance
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "membarrier": (324, 283),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getrandom": (318, 278),
    # signals to itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    # facts about itself
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "times": (100, 153),
    "getrlimit": (97, 163),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    # the end
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# The calls of which a part is allowed; build_filter says which.
PARTLY_ALLOWED: dict[str, _Numbers] = {
    "tgkill": (234, 131),
    "fcntl": (72, 25),
    "prlimit64": (302, 261),
}
_F_GETFD, _F_GETFL = 1, 3

_Instruction = tuple[int, int, int, int]


def confine(limits: ParseLimits, *, filtered: bool = True) -> None:
    """
    Irrevocably drop all permissions of this process that parsing does not need.

    The process must have one thread, and no open descriptors except those it keeps.

    Args:
        filtered: Whether it must be under a seccomp filter, where the system is Linux.

    Raises:
        Unconfined: The kernel refuses the filter; the process must not parse.
    """
    linux = sys.platform == "linux"
    if linux:
        _give_up_privileges()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        hide_memory()
        _forbid_by_landlock()
    _limit_resources(limits)
    if linux:
        try:
            _install_filter()
        except Unconfined:
            if filtered:
                raise


def find_gap() -> str:
    """Return why this system cannot contain a parser, "" if it can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no seccomp"
    if platform.machine() not in _MACHINES:
        return f"there is no seccomp filter for {platform.machine()}"
    try:
        _prctl(_PR_GET_SECCOMP)
    except OSError as error:
        return f"the kernel has no seccomp ({os.strerror(error.errno or 0)})"
    return ""


def landlock_version() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)))


def hide_memory() -> None:
    """
    Keep other processes of this user from reading this one's memory, environment and core.

    Processes forked from it inherit this; a program that is started does not.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def build_filter(machine: str, pid: int) -> list[_Instruction]:
    """Return the filter for process *pid* as instructions (code, if true, if false, operand)."""
    known = _MACHINES[machine]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, known.architecture),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
    ]
    for numbers in ALLOWED.values():
        number = numbers[known.column]
        if number is not None:
            program += [(_IF_EQUAL, 0, 1, number), _ALLOW]
    partly = {
        # abort() signals its own process.
        "tgkill": _only(0, pid),
        # It reads flags; to set an owner would be to send signals.
        "fcntl": _only(1, _F_GETFD, _F_GETFL),
        # It reads its own limits: new ones are a null pointer.
        "prlimit64": [*_only(0, 0), *_only(2, 0), *_only(2, 0, high=True)],
    }
    for name, numbers in PARTLY_ALLOWED.items():
        body = [*partly[name], _ALLOW]
        program += [(_IF_EQUAL, 0, len(body), numbers[known.column] or 0), *body]
    return [*program, _REFUSE]


_ALLOW: _Instruction = (_RETURN, 0, 0, _RET_ALLOW)
_REFUSE: _Instruction = (_RETURN, 0, 0, _RET_EPERM)


def _only(argument: int, *values: int, high: bool = False) -> Iterator[_Instruction]:
    """Yield what refuses the call unless the half of *argument* is one of *values*."""
    # Both architectures are little-endian: the lower half stands first.
    yield (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * high)
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        yield (_IF_EQUAL, left, 0, value)
    yield _REFUSE


def _install_filter() -> None:
    if gap := find_gap():
        raise Unconfined(gap)
    program = build_filter(platform.machine(), os.getpid())
    # struct sock_filter, struct sock_fprog
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    try:
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise Unconfined(f"the kernel refuses the seccomp filter ({reason})") from error


def _forbid_by_landlock() -> None:
    """Take away every path and port, and every process outside; older kernels know fewer."""
    version = min(landlock_version(), _LANDLOCK_VERSION)
    if version < 1:
        return
    # struct landlock_ruleset_attr: what is handled and not granted by a rule is forbidden.
    paths = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    ports = 0b11 if version >= 4 else 0
    scopes = 0b11 if version >= 6 else 0
    rules = struct.pack("<QQQ", paths, ports, scopes)
    size = 8 if version < 4 else 16 if version < 6 else 24
    libc = _libc()
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(size), 0)
    if ruleset >= 0:
        # The filter forbids what a failure here leaves: this is the second wall.
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


def _give_up_privileges() -> None:
    """Where this process is root, switch to the user "nobody" and drop capabilities."""
    if os.geteuid() == 0:
        # A container may have taken the right to do so, or know no such user.
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    # include/uapi/linux/capability.h: version 3, this process, three sets of 64 bits, all empty
    _libc().capset(struct.pack("<II", 0x2008_0522, 0), bytes(24))


def _limit_resources(limits: ParseLimits) -> None:
    """Bound memory and processor time; leave no descriptor to be opened and no file to grow."""
    seconds = int(limits.timeout_seconds) + 1
    for name, value in (
        ("RLIMIT_AS", limits.memory_bytes),
        ("RLIMIT_DATA", limits.memory_bytes),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", 0),
    ):
        # macOS refuses some of them; the deadline and the group kill hold there too.
        with suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def _prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result = int(_libc().prctl(option, *padded))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
