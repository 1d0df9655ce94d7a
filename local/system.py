"""
The whole system as processes on free ports: what `make run` starts, each part to be killed.

Used by the acceptance, fault and browser tests. Every process ends with the test run.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PushConfig

from local import processes
from local.processes import free_port
from local.roles import make_login
from shared.bucket import DocumentBucket

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "test-project"
BUCKET = "documents"

_FUNCTIONS = {
    "ingest": ("ingest", "ingest", "cloudevent"),
    "embed_worker": ("embed_worker", "embed_chunks", "cloudevent"),
    "dead_letters": ("embed_worker", "record_dead_letter", "cloudevent"),
    "query": ("query", "query", "http"),
}


def wait_until(
    condition: Callable[[], Any], *, what: str, timeout_seconds: float = 60, pause: float = 0.05
) -> Any:
    """
    Poll until *condition* returns something true, and return that.

    An error of the transport counts as not yet: the process may be starting again.

    Raises:
        AssertionError: It did not within the time.
    """
    deadline = time.monotonic() + timeout_seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = condition()
        except (requests.RequestException, OSError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {timeout_seconds} s; last seen: {last!r}")


@dataclass
class System:
    """
    The running system.

    Attributes:
        environment: What a client, `python -m admin` or a function needs to join in, the worker's
            login among it.
        owner_url: The database as its owner has it, to arrange and to look.
        ports: By name: ingest, embed_worker, dead_letters, query, storage, pubsub.
        variables: What one part's environment has beside or instead, by the part's name.
        folders: Where a part runs that is not of this checkout, by the part's name.
    """

    folder: Path
    environment: dict[str, str]
    ports: dict[str, int]
    owner_url: str
    google_pubsub: Sequence[str] = ()
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    sweep_unleased_seconds: int = 15
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def query_url(self) -> str:
        """Return where questions are asked."""
        return f"http://127.0.0.1:{self.ports['query']}"

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self, *names: str) -> None:
        """Start parts at the same time; return when they accept connections."""
        for name in names:
            self.running[name] = processes.start(
                self._command(name),
                environment=self.environment | self.variables.get(name, {}),
                log=self.folder / f"{name}.log",
                folder=self.folders.get(name, ROOT),
                on_parent_death=signal.SIGKILL,
            )
        for name in names:
            if name in self.ports:
                wait_until(partial(listens, self.ports[name]), what=f"{name} listens")

    def stop(self, name: str) -> None:
        """Ask one part to end, and see that it does."""
        processes.stop(self.running.pop(name))

    def kill(self, name: str) -> None:
        """Kill one part with its children, as the kernel does when memory runs out."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _command(self, name: str) -> list[str | Path]:
        module = [sys.executable, "-m"]
        port = str(self.ports.get(name, ""))
        if name == "pubsub" and self.google_pubsub:
            return [*self.google_pubsub, "--host=127.0.0.1", f"--port={port}"]
        if name in ("pubsub", "storage"):
            state = self.folder / name / "state"
            state.parent.mkdir(exist_ok=True)
            command = [*module, f"local.emulators.{name}", "--host", "127.0.0.1"]
            return [*command, "--port", port, "--state", state]
        # Of some parts there are several: embed_worker, embed_worker2.
        part = name.rstrip("0123456789")
        if part == "sweeper":
            unleased = str(self.sweep_unleased_seconds)
            return [*module, "admin", "sweep", "--every", "2", "--unleased", unleased]
        if part == "reconciler":
            return [*module, "admin", "reconcile", "--every", "5"]
        return function_command(part, port=self.ports[name])

    def run(self, *arguments: str, as_owner: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a module of ours to its end, such as ("admin", "status")."""
        login = {"DATABASE_URL": self.owner_url} if as_owner else {}
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.environment | login,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def subscribe(self, name: str, *, topic: str, port: int) -> None:
        """Let a topic push to one more process: it gets every message as well."""
        channel = grpc.insecure_channel(self.environment["PUBSUB_EMULATOR_HOST"])
        transport = SubscriberGrpcTransport(channel=channel)
        with pubsub_v1.SubscriberClient(transport=transport) as subscriber:
            subscriber.create_subscription(
                name=f"projects/{PROJECT}/subscriptions/{name}",
                topic=f"projects/{PROJECT}/topics/{topic}",
                push_config=PushConfig(push_endpoint=f"http://127.0.0.1:{port}"),
                ack_deadline_seconds=600,
            )

    def bucket(self) -> storage.Bucket:
        """Return the bucket by the real client, as any uploader has it."""
        with mock.patch.dict(
            os.environ, {"STORAGE_EMULATOR_HOST": self.environment["STORAGE_EMULATOR_HOST"]}
        ):
            client = storage.Client(project=PROJECT, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        return client.bucket(BUCKET)

    def document_bucket(self) -> DocumentBucket:
        """Return the bucket as our own commands have it."""
        with mock.patch.dict(
            os.environ, {"STORAGE_EMULATOR_HOST": self.environment["STORAGE_EMULATOR_HOST"]}
        ):
            return DocumentBucket(BUCKET, project=PROJECT)

    def upload(self, name: str, data: bytes | str, content_type: str = "text/plain") -> int:
        """Upload an object and return its generation."""
        blob = self.bucket().blob(name)
        blob.upload_from_string(data, content_type=content_type)
        return int(blob.generation)

    def documents(self, **parameters: str) -> dict[str, dict[str, Any]]:
        """Return GET /documents by name."""
        found: dict[str, dict[str, Any]] = {}
        cursor: dict[str, str] = {}
        while True:
            page = self.get("/documents", **parameters, **cursor)
            found |= {document["name"]: document for document in page["documents"]}
            if not page["next"]:
                return found
            cursor = {"cursor": page["next"]}

    def get(self, path: str, **parameters: str) -> Any:
        """Return the JSON of a GET."""
        response = requests.get(self.query_url + path, params=parameters, timeout=30)
        response.raise_for_status()
        return response.json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of a POST."""
        response = requests.post(self.query_url + path, json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    def wait_for(
        self, name: str, *, generation: int | None = None, timeout_seconds: float = 60
    ) -> dict[str, Any]:
        """Wait until a document is ready or failed (in this generation) and return it."""

        def finished() -> dict[str, Any] | None:
            document = self.documents(prefix=name).get(name)
            if document is None or document["state"] not in ("ready", "failed"):
                return None
            return document if generation in (None, document["generation"]) else None

        try:
            result: dict[str, Any] = wait_until(
                finished, what=f"{name} is indexed", timeout_seconds=timeout_seconds
            )
        except AssertionError as error:
            logs = "\n".join(f"--- {part}\n{self.log(part)[-2000:]}" for part in self.ports)
            raise AssertionError(f"{error}\n{logs}") from error
        return result


def function_command(name: str, *, port: int) -> list[str | Path]:
    """Return what serves a function: ingest, embed_worker, dead_letters or query."""
    function, target, signature = _FUNCTIONS[name]
    return [
        *(sys.executable, "-m", "functions_framework"),
        *("--source", f"functions/{function}/main.py", "--target", target),
        *("--signature-type", signature, "--host", "127.0.0.1", "--port", str(port)),
    ]


def listens(port: int) -> bool:
    """Return True if something accepts connections, and raise OSError where nothing does."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


@contextmanager
def run_system(
    *,
    folder: Path,
    database_url: str,
    model_dir: Path,
    variables: Mapping[str, str] | None = None,
    google_pubsub: Sequence[str] = (),
) -> Iterator[System]:
    """
    Start everything on free ports and stop it at the end.

    Args:
        database_url: A migrated database as its owner has it; the functions get their own logins.
    """
    names = ("ingest", "embed_worker", "dead_letters", "query", "storage", "pubsub")
    ports = {name: free_port() for name in names}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "DATABASE_URL": make_login(database_url, group="kaydang_worker"),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "DOCUMENTS_BUCKET": BUCKET,
        "DOCUMENT_EVENTS_TOPIC": "document-events",
        "MODEL_DIR": str(model_dir),
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
        "LEASE_SECONDS": "10",
        "LOG_FORMAT": "text",
        **(variables or {}),
    }
    system = System(
        folder,
        environment,
        ports,
        database_url,
        google_pubsub,
        variables={"query": {"DATABASE_URL": make_login(database_url, group="kaydang_query")}},
    )
    try:
        system.start("pubsub", "storage")
        system.environment |= {
            "INGEST_URL": f"http://127.0.0.1:{ports['ingest']}",
            "EMBED_WORKER_URL": f"http://127.0.0.1:{ports['embed_worker']}",
            "DEAD_LETTER_URL": f"http://127.0.0.1:{ports['dead_letters']}",
            "QUERY_URL": system.query_url,
        }
        # The set-up changes no tables here: the test's database is migrated.
        without_database = {k: v for k, v in system.environment.items() if k != "DATABASE_URL"}
        subprocess.run(
            [sys.executable, "-m", "local.setup"],
            env=without_database,
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=60,
        )
        system.start("ingest", "embed_worker", "dead_letters", "query", "sweeper", "reconciler")
        yield system
    finally:
        for name in list(system.running):
            system.kill(name)
