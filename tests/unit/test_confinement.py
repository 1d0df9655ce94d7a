"""The filter between a parser and the kernel: which calls it lets through, on which machine."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from functions.ingest.confinement import ALLOWED, PARTLY_ALLOWED, build_filter

# struct seccomp_data and the results of a filter: include/uapi/linux/seccomp.h; the names of the
# architectures: include/uapi/linux/audit.h.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000
PID = 4711
NUMBERS = ALLOWED | PARTLY_ALLOWED


def number_of(name: str, machine: str) -> int | None:
    return NUMBERS[name][0 if machine == "x86_64" else 1]


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return what the kernel does with a call: the filter is run as the kernel runs it."""
    architecture = ARCHITECTURES[machine] if architecture is None else architecture
    padded = [value & (1 << 64) - 1 for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *padded)
    program = build_filter(machine, PID)
    held = place = 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                place += if_true if held == operand else if_false
            case 0x35:
                place += if_true if held >= operand else if_false
            case 0x06:
                return operand
            case _:
                pytest.fail(f"instruction {code:#x}")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_only_what_is_listed_passes(machine: str) -> None:
    """Of all numbers, with every argument zero, the listed ones pass."""
    passed = {number for number in range(1024) if decide(machine, number) == ALLOW}
    listed = {number_of(name, machine) for name in ALLOWED} - {None}
    # Its own limits, of which it sets none: three zeros.
    assert passed == listed | {number_of("prlimit64", machine)}
    assert {decide(machine, n) for n in range(1024)} - {ALLOW} == {EPERM}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_of_different_calls(machine: str) -> None:
    """No call stands under the number of another."""
    numbers = [number_of(name, machine) for name in NUMBERS]
    known = [number for number in numbers if number is not None]
    assert len(known) == len(set(known))


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    """Their numbers mean other calls: 32-bit programs, x32, the other machine."""
    read = number_of("read", machine) or 0
    for architecture in (0x40000003, 0x40000028, *ARCHITECTURES.values()):
        if architecture != ARCHITECTURES[machine]:
            assert decide(machine, read, architecture=architecture) == KILL
    assert decide(machine, read | 0x40000000) == KILL
    assert decide(machine, -1) == KILL


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_signals_go_to_the_process_itself(machine: str) -> None:
    """abort() works; nobody else is signalled."""
    tgkill = number_of("tgkill", machine) or 0
    assert decide(machine, tgkill, PID, PID, 6) == ALLOW
    assert {decide(machine, tgkill, other, other, 9) for other in (1, PID - 1, 0, -1)} == {EPERM}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_descriptors_keep_their_flags_and_owner(machine: str) -> None:
    """A descriptor's flags are read. F_DUPFD makes another one, F_SETOWN sends signals."""
    fcntl = number_of("fcntl", machine) or 0
    passed = {command for command in range(2048) if decide(machine, fcntl, 3, command) == ALLOW}
    assert passed == {1, 3}  # F_GETFD, F_GETFL


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_limits_are_read_and_not_set(machine: str) -> None:
    """A pointer to new limits is refused, whichever half of it is zero."""
    prlimit = number_of("prlimit64", machine) or 0
    assert decide(machine, prlimit, 0, 7, 0, 1 << 40) == ALLOW
    assert decide(machine, prlimit, PID - 1, 7, 0, 1 << 40) == EPERM
    for pointer in (1, 1 << 32, 0x7FFF_0000_0000, 0xFFFF_FFFF):
        assert decide(machine, prlimit, 0, 7, pointer, 0) == EPERM


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_the_kernels(machine: str, header: str) -> None:
    """Each name has the number of the kernel's own header."""
    if not Path(header).exists():
        pytest.skip("Debian's linux-libc-dev for x86-64 has both headers")
    # The generic header names what differs between machines of 32 and 64 bits __NR3264_fcntl.
    numbers = {
        name: int(number)
        for name, number in re.findall(
            r"#define __NR(?:3264)?_(\w+) (\d+)\n", Path(header).read_text()
        )
    }
    ours = {name: number_of(name, machine) for name in NUMBERS}
    assert {name: numbers.get(name) for name in ours} == ours
