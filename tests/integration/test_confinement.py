"""
A parser that was taken over: what it reaches of files, processes, memory and network.

Each attempt runs in a process of its own that has confined itself as a parsing child does.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from functions.ingest import confinement
from functions.ingest.confinement import ALLOWED, PARTLY_ALLOWED, confine, hide_memory
from tests.support.documents import LIMITS, small_tokenizer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="means of Linux")

_ROOT = Path(__file__).resolve().parents[2]
_LIBC = ctypes.CDLL(None, use_errno=True)
_COLUMN = 0 if platform.machine() == "x86_64" else 1
_ORDINARY_USER = 10001
_REFUSED, _WORKED, _UNEXPECTED = 7, 0, 9
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_PTRACE_ATTACH = 16


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def call(x86_64: int, aarch64: int | None, *arguments: object) -> int:
    """Make a system call by its number; raise OSError as Python does."""
    number = (x86_64, aarch64)[_COLUMN]
    if number is None:
        raise PermissionError("this machine does not have it")
    ctypes.set_errno(0)
    result = int(_LIBC.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def read_memory(process: int, address: int) -> None:
    buffer = ctypes.create_string_buffer(16)
    here = _Vector(ctypes.addressof(buffer), 16)
    there = _Vector(address, 16)
    call(310, 270, process, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


@pytest.fixture
def file() -> Iterator[Path]:
    """Yield a file that everybody may change, in a folder where everybody may."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        path = folder / "file"
        path.write_text("kept")
        path.chmod(0o666)
        yield path


def look(file: Path) -> dict[str, str]:
    """Return what stands in the folder of *file*."""
    return {path.name: path.read_text() for path in file.parent.iterdir()}


AT_FDCWD = -100
SECRET = ctypes.create_string_buffer(b"postgresql://owner:secret@db/x")


# What a file and a process (its id) suffer, by what it is called.
ATTEMPTS: dict[str, Callable[[Path, int], object]] = {
    # files
    "open": lambda file, _: file.read_bytes(),
    "openat2": lambda file, _: call(437, 437, AT_FDCWD, bytes(file), bytes(24), 24),
    "create": lambda file, _: file.with_name("new").write_bytes(b""),
    "unlink": lambda file, _: file.unlink(),
    "unlinkat": lambda file, _: call(263, 35, AT_FDCWD, bytes(file), 0),
    "rename": lambda file, _: file.rename(file.with_name("new")),
    "renameat2": lambda file, _: call(
        316, 276, AT_FDCWD, bytes(file), AT_FDCWD, bytes(file) + b"-new", 0
    ),
    "truncate": lambda file, _: os.truncate(file, 0),
    "mkdir": lambda file, _: file.with_name("new").mkdir(),
    "rmdir": lambda file, _: file.parent.rmdir(),
    "symlink": lambda file, _: file.with_name("new").symlink_to(file),
    "link": lambda file, _: file.with_name("new").hardlink_to(file),
    "mknod": lambda file, _: os.mkfifo(file.with_name("new")),
    "chmod": lambda file, _: file.chmod(0),
    "chown": lambda file, _: os.chown(file, os.getuid(), os.getgid()),
    "utime": lambda file, _: os.utime(file, (0, 0)),
    "setxattr": lambda file, _: os.setxattr(file, "user.a", b""),
    "getxattr": lambda file, _: os.getxattr(file, "user.a"),
    "stat": lambda file, _: file.stat(),
    "statx": lambda file, _: call(332, 291, AT_FDCWD, bytes(file), 0, 0, bytes(256)),
    "access": lambda file, _: call(269, 48, AT_FDCWD, bytes(file), 0),
    "listdir": lambda file, _: list(file.parent.iterdir()),
    "readlink": lambda _f, _p: Path("/proc/self/exe").readlink(),
    "chdir": lambda file, _: os.chdir(file.parent),
    "chroot": lambda file, _: os.chroot(file.parent),
    "mount": lambda file, _: call(165, 40, b"none", bytes(file.parent), b"tmpfs", 0, None),
    "fsopen": lambda _f, _p: call(430, 430, b"tmpfs", 0),
    "name_to_handle_at": lambda file, _: call(
        303, 264, AT_FDCWD, bytes(file), bytes(136), bytes(4), 0
    ),
    "swapon": lambda file, _: call(167, 224, bytes(file), 0),
    "inotify": lambda _f, _p: call(294, 26, 0),
    "fanotify": lambda _f, _p: call(300, 262, 0, 0),
    "statfs": lambda file, _: os.statvfs(file),
    "sync": lambda _f, _p: call(306, 267, 0),
    # descriptors
    "dup": lambda _f, _p: os.dup(0),
    "pipe": lambda _f, _p: os.pipe(),
    "memfd": lambda _f, _p: os.memfd_create("a"),
    "memfd_secret": lambda _f, _p: call(447, 447, 0),
    "eventfd": lambda _f, _p: call(290, 19, 0, 0),
    "epoll": lambda _f, _p: call(291, 20, 0),
    "timerfd": lambda _f, _p: call(283, 85, 0, 0),
    "signalfd": lambda _f, _p: call(289, 74, -1, bytes(8), 8, 0),
    "userfaultfd": lambda _f, _p: call(323, 282, 1),
    "io_uring": lambda _f, _p: call(425, 425, 1, bytes(120)),
    "io_setup": lambda _f, _p: call(206, 0, 1, bytes(8)),
    "ioctl": lambda _f, _p: call(16, 29, 1, 0x541B, bytes(8)),
    "owner of a descriptor": lambda _f, process: call(72, 25, 1, 8, process),
    "descriptor of another": lambda _f, process: call(438, 438, call(434, 434, process, 0), 0, 0),
    # network
    "socket": lambda _f, _p: socket.socket(),
    "unix socket": lambda _f, _p: socket.socket(socket.AF_UNIX),
    "netlink": lambda _f, _p: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packet": lambda _f, _p: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "kernel crypto": lambda _f, _p: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "socketpair": lambda _f, _p: socket.socketpair(),
    "sendmsg": lambda _f, _p: call(46, 211, 1, bytes(56), 0),
    "setsockopt": lambda _f, _p: call(54, 208, 1, 1, 2, bytes(4), 4),
    # processes
    "fork": lambda _f, _p: os.fork() or os._exit(_WORKED),
    "vfork": lambda _f, _p: call(58, None),
    "clone3": lambda _f, _p: call(435, 435, bytes(88), 88),
    "thread": lambda _f, _p: call(56, 220, 0x10F00, 0, 0, 0, 0),
    "exec": lambda _f, _p: os.execv("/bin/true", ["true"]),
    "execveat": lambda _f, _p: call(322, 281, AT_FDCWD, b"/bin/true", 0, 0, 0),
    "process": lambda _f, _p: subprocess.run(["/bin/true"], check=False),
    "kill": lambda _f, process: os.kill(process, 0),
    "kill all": lambda _f, _p: os.kill(-1, 0),
    "tkill": lambda _f, process: call(200, 130, process, 0),
    "tgkill": lambda _f, process: call(234, 131, process, process, 0),
    "sigqueue": lambda _f, process: call(129, 138, process, 0, bytes(128)),
    "pidfd": lambda _f, process: os.pidfd_open(process),
    "ptrace": lambda _f, process: call(101, 117, _PTRACE_ATTACH, process, 0, 0),
    "process_vm_readv": lambda _f, process: read_memory(process, ctypes.addressof(SECRET)),
    "process_vm_writev": lambda _f, process: call(311, 271, process, 0, 0, 0, 0, 0),
    "process_madvise": lambda _f, _p: call(440, 440, 0, 0, 0, 0, 0),
    "kcmp": lambda _f, process: call(312, 272, process, process, 1, 0, 0),
    "setpriority": lambda _f, process: os.setpriority(os.PRIO_PROCESS, process, 19),
    "limits of another": lambda _f, process: resource.prlimit(process, resource.RLIMIT_CPU),
    "affinity of another": lambda _f, process: os.sched_setaffinity(process, {0}),
    "setns": lambda _f, _p: call(308, 268, 0, 0),
    "unshare": lambda _f, _p: call(272, 97, 0x10000000),
    "setsid": lambda _f, _p: os.setsid(),
    "wait": lambda _f, _p: os.wait(),
    # limits, privileges, the system
    "more descriptors": lambda _f, _p: call(302, 261, 0, 7, struct.pack("QQ", 64, 64), 0),
    "setrlimit": lambda _f, _p: call(160, 164, 7, bytes(16)),
    "setuid": lambda _f, _p: call(105, 146, os.getuid()),
    "setgroups": lambda _f, _p: call(116, 159, 0, None),
    "capset": lambda _f, _p: call(126, 91, bytes(8), bytes(24)),
    "prctl": lambda _f, _p: call(157, 167, _PR_SET_DUMPABLE, 1, 0, 0, 0),
    "seccomp": lambda _f, _p: call(317, 277, 2, 0, bytes(4)),
    "landlock": lambda _f, _p: call(444, 444, 0, 0, 1),
    "bpf": lambda _f, _p: call(321, 280, 0, bytes(128), 128),
    "perf": lambda _f, _p: call(298, 241, bytes(128), 0, -1, -1, 0),
    "keyctl": lambda _f, _p: call(250, 219, 0, -3, 0),
    "add_key": lambda _f, _p: call(248, 217, b"user", b"a", b"b", 1, -3),
    "request_key": lambda _f, _p: call(249, 218, b"user", b"a", 0, 0),
    "shared memory": lambda _f, _p: call(29, 194, 0x5151, 4096, 0o1666),
    "semaphores": lambda _f, _p: call(64, 190, 0x5151, 1, 0o1666),
    "message queue": lambda _f, _p: call(68, 186, 0x5151, 0o1666),
    "mq_open": lambda _f, _p: call(240, 180, b"kaydangpt", 0o102, 0o666, 0),
    "personality": lambda _f, _p: call(135, 92, 0xFFFFFFFF),
    "modify_ldt": lambda _f, _p: call(154, None, 0, 0, 0),
    "ioperm": lambda _f, _p: call(173, None, 0, 1, 1),
    "init_module": lambda _f, _p: call(175, 105, b"", 0, b""),
    "kexec": lambda _f, _p: call(246, 104, 0, 0, 0, 0),
    "reboot": lambda _f, _p: call(169, 142, 0, 0, 0, 0),
    "syslog": lambda _f, _p: call(103, 116, 10, 0, 0),
    "clock": lambda _f, _p: call(227, 112, 0, bytes(16)),
    "hostname": lambda _f, _p: call(170, 161, b"a", 1),
    "quota": lambda _f, _p: call(179, 60, 0x80000100, 0, 0, 0),
    "numa": lambda _f, _p: call(239, 236, 0, 0, 0, 0, 0),
    "mlock": lambda _f, _p: call(149, 228, 0, 4096),
    "umask": lambda _f, _p: call(95, 166, 0),
    # memory
    "memory": lambda _f, _p: bytearray(2 << 30),
    "mapping": lambda _f, _p: mmap.mmap(-1, 2 << 30),
}


def in_child(action: Callable[[], object], *, user: int | None = None) -> int:
    """Run *action* in a forked process; return its status."""
    child = os.fork()
    if child == 0:
        status = _UNEXPECTED
        try:
            _become(user)
            action()
            status = _WORKED
        except (PermissionError, MemoryError):
            status = _REFUSED
        except OSError as error:
            status = _REFUSED if error.errno == errno.ENOMEM else _UNEXPECTED
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(user: int | None) -> None:
    if user is not None:
        # Not by the C library: it asks the same of every thread that the parent had, and aborts
        # where one of them answers otherwise.
        call(116, 159, 0, None)
        call(119, 149, user, user, user)
        call(117, 147, user, user, user)
        # As after the start of a program by that user.
        _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


USERS = [None, _ORDINARY_USER] if os.geteuid() == 0 else [None]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", ATTEMPTS)
def test_child_cannot(name: str, user: int | None, file: Path) -> None:
    """Neither as root nor as an ordinary user does a confined process get anywhere."""
    parent = os.getpid()

    def attack() -> None:
        confine(LIMITS)
        ATTEMPTS[name](file, parent)

    assert in_child(attack, user=user) == _REFUSED
    assert look(file) == {"file": "kept"}


def test_child_when_a_file_is_open_for_writing(file: Path) -> None:
    """Were one ever left open by mistake, it could not grow."""

    def attack() -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        confine(LIMITS)
        try:
            os.write(descriptor, b"more")
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise PermissionError("the file may not grow") from error
            raise

    assert in_child(attack) == _REFUSED
    assert look(file) == {"file": "kept"}


_OPEN_TO_ALL = (
    "create dup fork listdir memfd mkdir open prctl rename socket stat symlink truncate unlink"
)


@pytest.mark.parametrize("name", ["shared memory", *_OPEN_TO_ALL.split()])
def test_anybody_else_can(name: str, file: Path) -> None:
    """The attempts are real: they work where a process has not confined itself."""
    assert in_child(lambda: ATTEMPTS[name](file, os.getpid())) == _WORKED


# uretprobe and uprobe of x86-64: the kernel asks no filter, and ends a process that makes them.
_OF_PROBES = {335, 336}


def test_child_when_every_other_call_is_tried() -> None:
    """No number of a call that is not listed does anything, those of newer kernels included."""
    listed = {numbers[_COLUMN] for numbers in (ALLOWED | PARTLY_ALLOWED).values()}

    def try_all() -> None:
        confine(LIMITS)
        for number in set(range(600)) - listed - _OF_PROBES:
            ctypes.set_errno(0)
            if _LIBC.syscall(number, -1, -1, -1, -1, -1, -1) >= 0:
                os._exit(_WORKED)
            if ctypes.get_errno() != errno.EPERM:
                os._exit(_UNEXPECTED)
        raise PermissionError("all were refused")

    assert in_child(try_all) == _REFUSED


def test_child_when_it_calls_as_another_architecture() -> None:
    """The x32 interface ends the process."""
    if platform.machine() != "x86_64":
        pytest.skip("x32 is of x86-64")

    def attack() -> None:
        confine(LIMITS)
        _LIBC.syscall(0x40000000 | 39)

    assert in_child(attack) == -signal.SIGSYS


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", ["create", "listdir", "mkdir", "open", "truncate", "unlink"])
def test_landlock_alone(name: str, user: int | None, file: Path) -> None:
    """The second wall stands without the first."""
    if confinement.landlock_version() < 3:
        pytest.skip("this kernel has no Landlock, or one that does not know truncate")

    def attack() -> None:
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        confinement._forbid_by_landlock()
        ATTEMPTS[name](file, os.getpid())

    assert in_child(attack, user=user) == _REFUSED
    assert look(file) == {"file": "kept"}


def test_child_of_root_is_nobody() -> None:
    """A parser has no privileges left where the function runs as root."""

    def look() -> None:
        confine(LIMITS)
        if (os.getuid(), os.geteuid(), os.getgid()) == (65534, 65534, 65534):
            raise PermissionError("nobody")

    if os.geteuid() != 0:
        pytest.skip("only root has privileges to lose")
    assert in_child(look) == _REFUSED


@pytest.mark.parametrize("hidden", [True, False])
def test_memory_of_a_process_that_hides_it(hidden: bool) -> None:
    """Another process of the same user reads memory and environment, unless they are hidden."""
    user = _ORDINARY_USER if os.geteuid() == 0 else None
    ready, told = os.pipe()
    owner = os.fork()
    if owner == 0:
        try:
            _become(user)
            if hidden:
                hide_memory()
            os.write(told, b".")
            signal.pause()
        finally:
            os._exit(_UNEXPECTED)
    try:
        assert os.read(ready, 1) == b"."
        expected = _REFUSED if hidden else _WORKED

        def read() -> None:
            read_memory(owner, ctypes.addressof(SECRET))

        def read_environment() -> None:
            Path(f"/proc/{owner}/environ").read_bytes()

        assert in_child(read_environment, user=user) == expected
        if hidden:
            # Yama may refuse what is not hidden, too.
            assert in_child(read, user=user) == _REFUSED
    finally:
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        os.close(ready)
        os.close(told)


# What a kernel without seccomp answers, here by a filter that is there.
_WITHOUT_SECCOMP = """
import ctypes, errno, platform, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = 157 if platform.machine() == "x86_64" else 167
code = b"".join(
    struct.pack("<HBBI", *one)
    for one in [
        (0x20, 0, 0, 0), (0x15, 0, 3, number),  # prctl
        (0x20, 0, 0, 16), (0x15, 0, 1, option), (0x06, 0, 0, 0x50000 | errno.EINVAL),
        (0x06, 0, 0, 0x7FFF0000),
    ]
)
held = ctypes.create_string_buffer(code)
head = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
null = ctypes.c_void_p()
assert libc.prctl(38, 1, null, null, null) == 0
assert libc.prctl(22, ctypes.c_ulong(2), head, null, null) == 0
"""
_PARSE = """
from pathlib import Path
from functions.ingest.sandbox import check_confinement, parse_document
from shared.errors import Misconfigured
from tests.support.documents import LIMITS
for allowed in (False, True):
    try:
        if option == 21:  # PR_GET_SECCOMP
            check_confinement(allow_unconfined=allowed)
        else:
            parse_document(Path(sys.argv[1]), name="a", content_type=None, limits=LIMITS,
                tokenizer=Path(sys.argv[2]), max_tokens=256, allow_unconfined=allowed).close()
        print("works")
    except Misconfigured as error:
        print(error)
"""


@pytest.mark.parametrize("option", [21, 22])
def test_parser_when_there_is_no_seccomp(option: int, file: Path, tmp_path: Path) -> None:
    """Documents are not parsed without walls, unless the operator says so."""
    tokenizer = tmp_path / "tokenizer.json"
    small_tokenizer().save(str(tokenizer))
    done = subprocess.run(
        [sys.executable, "-c", f"option = {option}" + _WITHOUT_SECCOMP + _PARSE, file, tokenizer],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        check=True,
    )
    refusal, allowed = done.stdout.splitlines()[-2:]
    assert "contain" in refusal
    assert allowed.endswith("works")
