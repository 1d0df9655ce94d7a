"""
Run everything on this machine, as `make run` does: database, stand-ins, functions, drop folder.

    python -m local.stack

Stays in the foreground and watches over what it started: a process that ends is started again.
SIGINT or SIGTERM stops all of it; so does, on Linux, the death of this process by SIGKILL.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import click
import psycopg
from dotenv import dotenv_values
from psycopg import sql

from local import configuration, postgres, processes
from local.checkout import STATE, AlreadyRunning, alone
from local.configuration import PORTS, POSTGRES_UID, Configuration, WrongSettings
from local.roles import ensure_login

ROOT = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.05
_START_TIMEOUT_SECONDS = 90
_STOP_TIMEOUT_SECONDS = 5
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30
# A process that ran this long before it ended is started again without delay.
_SETTLED_SECONDS = 60
_ECHOED_LINES = 10
# Port -> folder in functions/, target, signature.
_FUNCTIONS = {
    "ingest": ("ingest", "ingest", "cloudevent"),
    "embed_worker": ("embed_worker", "embed_chunks", "cloudevent"),
    "dead_letters": ("embed_worker", "record_dead_letter", "cloudevent"),
    "query": ("query", "query", "http"),
}
# Folder in functions/ -> login role on our own server, and the group it belongs to.
_LOGINS = {
    "ingest": ("kaydang_worker_login", "kaydang_worker"),
    "embed_worker": ("kaydang_worker_login", "kaydang_worker"),
    "query": ("kaydang_query_login", "kaydang_query"),
}
_TROUBLE = re.compile(
    r"\[(?:warning|error|critical)\s*\]|\b(?:WARNING|ERROR|CRITICAL|FATAL|PANIC)\b|^\w*(?:Error|Exception)\b"
)


class StackFailed(Exception):
    """The stack cannot be started; the message says what to do."""


class _Stopped(Exception):
    """The stack was asked to stop while it was starting."""


@dataclass(slots=True)
class _Service:
    """A process that runs until the stack stops."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    started: float = 0
    ends: int = 0
    start_again_at: float | None = None
    echoed: int = 0  # how far into the log


@dataclass(slots=True)
class _Stack:
    """The running processes, in starting order."""

    configuration: Configuration
    runtime: Path
    services: list[_Service] = field(default_factory=list)
    stopping: bool = False
    # New at each start: no other program needs them.
    passwords: dict[str, str] = field(
        default_factory=lambda: {login: secrets.token_urlsafe(24) for login, _ in _LOGINS.values()}
    )

    @property
    def logs(self) -> Path:
        return self.configuration.state / "logs"

    def start(self) -> None:
        """Start everything and print each step; return when all functions are ready."""
        settings = self.configuration.settings
        _check_ports(self.configuration)
        self._keep_last_logs()
        with _step("model"):
            self._run("infra.model.export", "--output", self.configuration.model_dir)
        with _step("database"):
            self._start_emulators()  # meanwhile
            owner_url = settings.get("DATABASE_URL") or self._start_postgres()
        with _step("migrations"):
            self._run("admin.migrate", DATABASE_URL=owner_url)
        with _step("topics, subscriptions, bucket, functions"):
            logins = self._logins(owner_url)
            self._start_functions(logins)
            for name in ("pubsub", "storage"):
                self._wait_for_port(name)
            self._run(
                "local.setup",
                INGEST_URL=self.configuration.url("ingest"),
                EMBED_WORKER_URL=self.configuration.url("embed_worker"),
                DEAD_LETTER_URL=self.configuration.url("dead_letters"),
            )
            for name in _FUNCTIONS:
                self._wait_until(partial(self._is_unready, name), name)
                self._wait_until(partial(self._is_cold, name), name)
        self._start_service(
            "maintenance",
            self._module("local.maintenance"),
            self._environment(DATABASE_URL=logins["ingest"]),
        )
        self._write_env(owner_url)
        _say(f"READY {self.configuration.query_url}")

    def _start_postgres(self) -> str:
        ours = self.configuration
        server: postgres.PostgresServer | None = None

        def start() -> subprocess.Popen[bytes]:
            nonlocal server
            server = postgres.start_postgres(
                ours.state / "postgres",
                port=ours.ports["postgres"],
                log=self.logs / "postgres.log",
                unprivileged_uid=POSTGRES_UID,
            )
            return server.process

        service = _Service("postgres", start, self.logs / "postgres.log", signal.SIGINT)
        self._launch(service)
        assert server is not None  # noqa: S101 -- start() has just set it
        with psycopg.connect(server.url, autocommit=True) as connection:
            if not connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [configuration.DATABASE]
            ).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {}").format(sql.Identifier(configuration.DATABASE))
                )
        return server.url.rpartition("/")[0] + f"/{configuration.DATABASE}"

    def _start_emulators(self) -> None:
        state = self.configuration.state
        for name, path in (("pubsub", state / "pubsub.sqlite"), ("storage", state / "storage")):
            if name in self.configuration.ports:
                command = self._module(f"local.emulators.{name}")
                command += ["--host", "127.0.0.1", "--port", str(self.configuration.ports[name])]
                self._start_service(name, [*command, "--state", str(path)], self._environment())

    def _logins(self, owner_url: str) -> dict[str, str]:
        """Return the database URL of each function: a role of its own on our own server."""
        logins = {}
        for function, (login, group) in _LOGINS.items():
            logins[function] = owner_url
            if "postgres" in self.configuration.ports:
                logins[function] = self.configuration.database_url(login, self.passwords[login])
                ensure_login(owner_url, logins[function], group=group)
        return logins

    def _start_functions(self, logins: dict[str, str]) -> None:
        for name, (function, target, signature) in _FUNCTIONS.items():
            command = self._module("functions_framework")
            command += ["--source", f"functions/{function}/main.py", "--target", target]
            command += ["--signature-type", signature]
            command += ["--host", "127.0.0.1", "--port", str(self.configuration.ports[name])]
            # For gunicorn's control socket: in a shared folder the sockets would collide.
            runtime = self.runtime / name
            runtime.mkdir(exist_ok=True)
            environment = self._environment(
                DATABASE_URL=logins[function], XDG_RUNTIME_DIR=str(runtime)
            )
            self._start_service(name, command, environment)

    def _write_env(self, owner_url: str) -> None:
        """Write what a client, a test or kaydangpt needs to join in."""
        ours = self.configuration
        names = ("GOOGLE_CLOUD_PROJECT", "DOCUMENTS_BUCKET", "MODEL_DIR", "EMBEDDING_MODEL_NAME")
        topics = (
            "OBJECT_EVENTS_TOPIC",
            "CHUNK_JOBS_TOPIC",
            "DEAD_LETTERS_TOPIC",
            "DOCUMENT_EVENTS_TOPIC",
        )
        lines = {
            "DATABASE_URL": owner_url,
            "STORAGE_EMULATOR_HOST": ours.storage_host,
            "PUBSUB_EMULATOR_HOST": ours.pubsub_host,
            "QUERY_URL": ours.query_url,
            **{name: ours.settings[name] for name in (*names, *topics)},
        }
        file = ours.state / "env"
        written = file.with_name("env.new")
        written.touch(mode=0o600)
        written.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        written.replace(file)

    def watch(self) -> None:
        """Restart what ends, and show warnings and errors, until the stop."""
        while not self.stopping:
            for service in self.services:
                self._revive(service)
                _echo(service)
            time.sleep(_POLL_SECONDS * 4)

    def _revive(self, service: _Service) -> None:
        now = time.monotonic()
        if service.start_again_at is None:
            if service.process is not None and service.process.poll() is None:
                return
            status = service.process.returncode if service.process is not None else None
            if service.process is not None:
                processes.stop(service.process)  # and its remaining children
            settled = now - service.started > _SETTLED_SECONDS
            service.ends = 1 if settled else service.ends + 1
            delay = min(_FIRST_BACKOFF_SECONDS * 2 ** (service.ends - 1), _LONGEST_BACKOFF_SECONDS)
            service.start_again_at = now + delay
            _say(f"{service.name} ended ({_told(status)}); starting it again in {delay:.1f} s")
        elif now >= service.start_again_at:
            service.start_again_at = None
            try:
                self._launch_again(service)
            except (postgres.PostgresFailed, OSError) as error:
                service.process = None
                _say(f"{service.name} could not be started: {error}")

    def _launch_again(self, service: _Service) -> None:
        service.started = time.monotonic()
        service.process = service.start()
        _say(f"{service.name} started again")

    def stop(self) -> None:
        """Stop everything, the database last."""
        # All but the database are signalled at once, so that they stop in parallel.
        others = [service for service in self.services if service.name != "postgres"]
        for service in others:
            if service.process is not None and service.process.poll() is None:
                with suppress(ProcessLookupError):
                    service.process.send_signal(service.stop_signal)
        deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
        for service in (*others, *(s for s in self.services if s.name == "postgres")):
            if service.process is not None:
                left = max(deadline - time.monotonic(), 1)
                processes.stop(service.process, number=service.stop_signal, timeout_seconds=left)
        self.services.clear()

    def _module(self, name: str) -> list[str]:
        return [sys.executable, "-m", name]

    def _environment(self, **own: str) -> dict[str, str]:
        return self.configuration.environment(**own)

    def _start_service(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        log = self.logs / f"{name}.log"

        def start() -> subprocess.Popen[bytes]:
            return processes.start(
                command, environment=environment, log=log, folder=self.configuration.root
            )

        self._launch(_Service(name, start, log))

    def _launch(self, service: _Service) -> None:
        service.started = time.monotonic()
        service.process = service.start()
        self.services.append(service)

    def _run(self, module: str, *arguments: str | Path, **own: str) -> None:
        """Run a step to its end."""
        log = self.logs / f"{module.rpartition('.')[2]}.log"
        process = processes.start(
            [*self._module(module), *arguments],
            environment=self._environment(**own),
            log=log,
            folder=self.configuration.root,
        )
        try:
            while process.poll() is None:
                self._check()
                time.sleep(_POLL_SECONDS)
        finally:
            processes.stop(process)
        if process.returncode != 0:
            raise StackFailed(f"{module} failed: {_why(log)}")

    def _check(self) -> None:
        """Raise when the stop was asked for, or a process has ended that should run."""
        if self.stopping:
            raise _Stopped
        for service in self.services:
            if service.process is not None and service.process.poll() is not None:
                raise StackFailed(
                    f"{service.name} cannot start ({_told(service.process.returncode)}): "
                    f"{_why(service.log)}"
                )
            if service.name in PORTS and _lost_its_port(service.log):
                variable, port = PORTS[service.name][0], self.configuration.ports[service.name]
                raise StackFailed(
                    f"{variable}: port {port} was taken by another process meanwhile. Stop it, or"
                    f" choose another port: {variable}=... make run"
                )

    def _wait_until(self, answered: Callable[[], str], name: str) -> None:
        """Wait until *answered* returns nothing; until then it returns the reason."""
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while amiss := answered():
            self._check()
            if time.monotonic() > deadline:
                log = self.logs / f"{name}.log"
                raise StackFailed(
                    f"{name} was not ready within {_START_TIMEOUT_SECONDS} s: {amiss}\n{_why(log)}"
                )
            time.sleep(_POLL_SECONDS)

    def _wait_for_port(self, name: str) -> None:
        port = self.configuration.ports.get(name)

        def answered() -> str:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port or 0), timeout=1):
                return ""
            return f"nothing listens on port {port}"

        if port is not None:
            self._wait_until(answered, name)

    def _is_unready(self, name: str) -> str:
        """
        Return why the function *name* cannot work yet, nothing when it can.

        Raises:
            StackFailed: The function is misconfigured, so waiting is useless.
        """
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.configuration.ports[name], timeout=10
        )
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        finally:
            connection.close()
        if response.status == http.HTTPStatus.OK:
            return ""
        if '"misconfigured"' in body:
            raise StackFailed(f"{name} cannot start: {_why(self.logs / f'{name}.log')}")
        return f"/readyz answers {response.status}: {body}"

    def _is_cold(self, name: str) -> str:
        """
        Return why the function *name* is not warmed up yet, nothing when it is.

        Raises:
            StackFailed: It is misconfigured: it would refuse all work.
        """
        for line in (self.logs / f"{name}.log").read_text(errors="replace").splitlines():
            if "warmed up" not in line:
                continue
            if found := _MISCONFIGURED.search(line):
                raise StackFailed(f"{name} cannot start: {found[1]}")
            return ""
        # Less than INFO does not say so.
        quiet = self.configuration.settings.get("LOG_LEVEL", "INFO") in ("WARNING", "ERROR")
        return "" if quiet else "it is not warmed up"

    def _keep_last_logs(self) -> None:
        """Start new logs; those of the previous run are kept in logs/last."""
        last = self.logs / "last"
        shutil.rmtree(last, ignore_errors=True)
        last.mkdir(parents=True)
        for log in self.logs.glob("*.log"):
            log.rename(last / log.name)


@click.command()
@click.option(
    "--stop-with-parent", is_flag=True, help="Stop when the process that started this one dies."
)
def main(*, stop_with_parent: bool) -> None:
    """Run KaydangPT on this machine, in the foreground, until Ctrl-C."""
    if stop_with_parent:
        processes.end_with_parent(signal.SIGTERM, parent=os.getppid())
    try:
        # Files written from here on are readable by their owner only.
        os.umask(0o077)
        with alone(STATE):
            _run_stack()
    except (
        AlreadyRunning,
        StackFailed,
        WrongSettings,
        postgres.PostgresFailed,
        psycopg.Error,
    ) as error:
        raise click.ClickException(str(error)) from error


def _run_stack() -> None:
    example = ROOT / ".env.example"
    configured = configuration.configure(
        os.environ,
        root=ROOT,
        home=Path.home(),
        dotenv=dotenv_values(ROOT / ".env"),
        example=example.read_text() if example.exists() else "",
        compose=(ROOT / "local" / "docker-compose.yml").read_text(),
        find_faults=_find_faults,
    )
    for name in configured.unread:
        _say(f"  note: .env sets {name}, which nothing reads")
    with tempfile.TemporaryDirectory(prefix="kaydangpt-") as runtime:
        _run_until_stopped(_Stack(configured, Path(runtime)))


def _find_faults(environment: Mapping[str, str]) -> list[str]:
    """Return what the functions cannot read in *environment*."""
    command = [sys.executable, "-m", "local.settings_check"]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(environment), check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, 1) or (done.returncode and not done.stdout):
        raise StackFailed(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    return done.stdout.splitlines()


def _run_until_stopped(stack: _Stack) -> None:
    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stack.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    try:
        stack.start()
        stack.watch()
    except _Stopped:
        pass
    finally:
        if stack.services:
            _say("stopping")
            stack.stop()
            _say("stopped")


def _check_ports(ours: Configuration) -> None:
    taken = []
    for name, port in ours.ports.items():
        try:
            # Binds as the servers will: a port in TIME_WAIT is free, one that is listened on not.
            socket.create_server(("127.0.0.1", port)).close()
        except PermissionError:
            taken.append(f"{PORTS[name][0]}: port {port} is for root only.")
        except OSError:
            taken.append(f"{PORTS[name][0]}: port {port} is taken.")
    if taken:
        variable = taken[0].partition(":")[0]
        raise StackFailed(
            "\n".join(taken)
            + f"\nStop what listens there, or choose another port: {variable}=... make run"
        )


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Print one line for what is done in the block: its name and its seconds."""
    started = time.monotonic()
    _say(f"  {name} ...", end="")
    try:
        yield
    except BaseException:
        _say("")
        raise
    _say(f" {time.monotonic() - started:.1f} s")


def _echo(service: _Service) -> None:
    """Show new warnings and errors of a log."""
    with suppress(FileNotFoundError), service.log.open("rb") as log:
        log.seek(service.echoed)
        new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        service.echoed += len(whole)
        troubles = [
            line for line in whole.decode(errors="replace").splitlines() if _TROUBLE.search(line)
        ]
        for line in troubles[:_ECHOED_LINES]:
            _say(f"{service.name}: {line[:400]}")
        if len(troubles) > _ECHOED_LINES:
            _say(f"{service.name}: {len(troubles) - _ECHOED_LINES} more in {service.log}")


def _told(status: int | None) -> str:
    if status is None:
        return "not started"
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


# The last line of a traceback whose error is ours, what click prints, and a function's own log.
_SENTENCE = re.compile(
    r"^(?:shared\.errors\.\w+|Error): (?P<raised>.+)$|cannot start\b.*\berror=(?P<logged>.+)$"
)


_MISCONFIGURED = re.compile(r"\b(?:Misconfigured|ModelUnavailable): ([^\"\n]+?)['\"]?(?:,|}|$)")


def _why(log: Path) -> str:
    """Return the sentence with which a process ended, or else the last lines of its log."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return f"(no log at {log})"
    for line in reversed(lines):
        if found := _SENTENCE.search(line):
            sentence = found["raised"] or found["logged"].strip("'\"")
            return f"{sentence}\n(whole log: {log})"
    return "\n".join(["", *lines[-12:], f"(whole log: {log})"])


def _lost_its_port(log: Path) -> bool:
    """Return whether gunicorn found its port taken: it tries for five seconds, then ends."""
    with suppress(FileNotFoundError):
        return "Connection in use" in log.read_text(errors="replace")
    return False


def _say(line: str, *, end: str = "\n") -> None:
    with suppress(OSError):  # the reader of our output may be gone; the stack goes on
        print(line, end=end, flush=True)


if __name__ == "__main__":
    main()
