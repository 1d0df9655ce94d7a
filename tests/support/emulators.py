"""Start the emulators as processes of their own, and what the tests need to talk to them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 10.0
GOOGLE_EMULATOR_FOLDER = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib")


@dataclass(slots=True)
class Emulator:
    """A running emulator; its output goes to *log*."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def host(self) -> str:
        """HOST:PORT, as PUBSUB_EMULATOR_HOST wants it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """http://HOST:PORT, as STORAGE_EMULATOR_HOST wants it."""
        return f"http://{self.host}"

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """End it by SIGTERM; return the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {STOP_SECONDS:.0f} s after SIGTERM") from None
        return time.monotonic() - started


@contextmanager
def running_pubsub(
    state: Path, *, port: int = 0, max_in_flight: int | None = None
) -> Iterator[Emulator]:
    """Run our Pub/Sub emulator over the SQLite file *state*."""
    options = ["--state", str(state), "--port", str(port)]
    if max_in_flight is not None:
        options += ["--max-in-flight", str(max_in_flight)]
    with _running([sys.executable, "-m", "local.emulators.pubsub", *options], state) as emulator:
        yield emulator


@contextmanager
def running_storage(
    state: Path, *, port: int = 0, pubsub_host: str | None = None
) -> Iterator[Emulator]:
    """Run our storage emulator over the folder *state*; it notifies *pubsub_host*."""
    options = ["--state", str(state), "--port", str(port)]
    environment = {} if pubsub_host is None else {"PUBSUB_EMULATOR_HOST": pubsub_host}
    command = [sys.executable, "-m", "local.emulators.storage", *options]
    with _running(command, state, environment=environment) as emulator:
        yield emulator


def google_emulator_command() -> Sequence[str] | str:
    """Return the command that runs Google's Pub/Sub emulator, or why there is none."""
    java = shutil.which("java")
    if java is None:
        return "java is not installed"
    named = os.environ.get("PUBSUB_EMULATOR_JAR")
    jars = [Path(named)] if named else sorted(GOOGLE_EMULATOR_FOLDER.glob("*-all.jar"))
    if not jars or not jars[-1].is_file():
        return (
            f"no Google Pub/Sub emulator: {named or GOOGLE_EMULATOR_FOLDER} has none;"
            " install google-cloud-cli-pubsub-emulator or set PUBSUB_EMULATOR_JAR"
        )
    return [java, "-jar", str(jars[-1])]


def google_emulator_is_required() -> bool:
    """Tell whether its absence is a failure rather than a reason to leave tests out."""
    return os.environ.get("CI") == "true" or os.environ.get("REQUIRE_GOOGLE_EMULATOR") == "1"


@contextmanager
def running_google_pubsub(command: Sequence[str], folder: Path) -> Iterator[Emulator]:
    """Run Google's Pub/Sub emulator, which keeps nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # The jar itself: a SIGTERM to the gcloud wrapper leaves Java running.
    with (folder / "google.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host=127.0.0.1", f"--port={port}"], stdout=log, stderr=log
        )
    emulator = Emulator(process, port, folder / "google.log")
    try:
        wait_until(lambda: _answers(port) or _ended(emulator), seconds=START_SECONDS)
        yield emulator
    finally:
        if process.poll() is None:
            emulator.kill()


@contextmanager
def _running(
    command: Sequence[str], state: Path, *, environment: dict[str, str] | None = None
) -> Iterator[Emulator]:
    state.parent.mkdir(parents=True, exist_ok=True)
    log_path = state.with_name(f"{state.name}.log")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
    }
    with log_path.open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**inherited, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=log,
            stderr=log,
        )
    emulator = Emulator(process, 0, log_path)

    def listens() -> bool:
        written = log_path.read_bytes()[begin:].decode()
        for line in written.splitlines():
            if " listening on " in line:
                emulator.port = int(line.rpartition(":")[2])
                return True
        return _ended(emulator)

    try:
        wait_until(listens, seconds=START_SECONDS)
        yield emulator
    finally:
        if process.poll() is None:
            emulator.stop()


def _ended(emulator: Emulator) -> bool:
    """Return False while it runs; fail with its output when it has ended."""
    if emulator.process.poll() is None:
        return False
    raise AssertionError(f"the emulator ended at once:\n{emulator.log.read_text()}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """
    Return as soon as *condition* is true.

    Raises:
        TimeoutError: It was not within *seconds*.
    """
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"nothing happened within {seconds:.0f} s")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Request:
    """What an Endpoint was sent."""

    body: bytes
    headers: dict[str, str]
    path: str
    arrived: float


Responder = Callable[[Request], int]


@dataclass(slots=True)
class Endpoint:
    """An HTTP server that records what is pushed to it."""

    url: str
    requests: list[Request] = field(default_factory=list)
    busy: int = 0
    most_at_once: int = 0


@contextmanager
def running_endpoint(respond: Responder, *, port: int = 0) -> Iterator[Endpoint]:
    """Answer each POST with the status that *respond* returns."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(body, headers, self.path, time.monotonic())
            with lock:
                endpoint.requests.append(request)
                endpoint.busy += 1
                endpoint.most_at_once = max(endpoint.most_at_once, endpoint.busy)
            try:
                status = respond(request)
            finally:
                with lock:
                    endpoint.busy -= 1
            self.send_response(status)
            if status >= 200 and status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Keep the tests' output clean."""

    class Server(ThreadingHTTPServer):
        # The default of 5 resets the connections of a burst.
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is no news."""

    server = Server(("127.0.0.1", port), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/push?from=test")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
