"""
The system that faults are injected into: every part a process, a proxy before each that can fail.

functions -> proxy -> Postgres | storage | Pub/Sub; Pub/Sub -> proxy -> functions. The stream of
changes and the checks go to storage and Postgres directly.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import grpc
import psycopg
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage, RetryPolicy, Subscription
from psycopg.conninfo import make_conninfo

from functions.ingest.sandbox import ParseLimits
from local.checkout import remove
from local.postgres import PostgresServer, start_postgres
from local.processes import free_port
from local.roles import make_login
from local.system import BUCKET, PROJECT, ROOT, System, wait_until
from shared.messaging.events import write_notification
from shared.values import ObjectEvent
from tests.conftest import prepare_database
from tests.faults.expecting import Oracle
from tests.faults.invariants import Invariants
from tests.faults.ledger import Ledger
from tests.faults.proxies import HttpProxy, TcpProxy, forward_only
from tests.faults.traffic import Writer
from tests.support.freezing import server_processes
from tests.support.gemini_stand_in import ANSWERS, GeminiStandIn, gemini_stand_in

WORKERS = ("embed_worker", "embed_worker2")
_PARTS = ("ingest", *WORKERS, "dead_letters", "query", "sweeper", "reconciler")
_POSTGRES_OPTIONS = {
    "fsync": "off",
    "max_connections": "60",
    "deadlock_timeout": "100ms",
    "wal_level": "replica",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}
_DISK_BYTES = 500 * 2**20
# Short, so that a fault heals in seconds; what they bound is the same.
_VARIABLES = {
    "LEASE_SECONDS": "5",
    "CHUNKS_PER_JOB": "3",
    "DATABASE_ANSWER_TIMEOUT_SECONDS": "3",
    "GEMINI_API_KEY": "any",
    "GEMINI_TIMEOUT_SECONDS": "6",
    "PARSE_TIMEOUT_SECONDS": "20",
}


# The defaults of functions/ingest/main.py.
_LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=256 * 2**20,
    max_cells=2_000_000,
    max_chunks=200_000,
    max_text_chars=128 * 2**20,
    timeout_seconds=60,
    memory_bytes=2**30,
)


class Impossible(Exception):
    """This machine does not let the fault be injected; the message says what is missing."""


@dataclass(slots=True)
class Rig:
    """
    The running system with all levers; one fault after another uses it.

    Attributes:
        prefix: The folder of the objects that are written now.
        pace: What the time that a fault lasts is multiplied with.
    """

    system: System
    postgres: PostgresServer
    database: TcpProxy
    broker: TcpProxy
    bucket: HttpProxy
    pushes: dict[str, HttpProxy]
    gemini: GeminiStandIn
    proxied: Mapping[str, Mapping[str, str]]
    ledger: Ledger
    invariants: Invariants
    disk: Path | None
    model_dir: Path
    prefix: str = ""
    pace: float = 1.0
    writer: Writer = field(init=False)

    def kill(self, *names: str) -> None:
        """kill -9, with all children."""
        for name in names:
            self.system.kill(name)

    def start(self, *names: str, variables: Mapping[str, str] | None = None) -> None:
        """Start parts that were killed, with *variables* of their own."""
        for name in names:
            if name not in ("pubsub", "storage"):
                self.system.variables[name] = {**self.proxied[_part(name)], **(variables or {})}
        self.system.start(*names)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part and all its children."""
        os.killpg(self.system.running[name].pid, number)

    def terminate(self, name: str) -> None:
        """Ask one part to end as Cloud Run does, and wait for it."""
        process = self.system.running.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(40)

    def ended(self) -> list[str]:
        """Return the parts that nobody has killed, and that run no longer."""
        return [name for name, process in self.system.running.items() if process.poll() is not None]

    def mend(self) -> None:
        """Take every fault away that a function left behind, and start what does not run."""
        for proxy in (self.database, self.broker):
            proxy.carry()
        for ruled in (self.bucket, *self.pushes.values()):
            ruled.rule = forward_only
        self.gemini.plan(ANSWERS)
        if self.postgres.process.poll() is not None:
            self.start_postgres()
        self.system.folders.clear()
        for name in ("pubsub", "storage", *_PARTS):
            process = self.system.running.get(name)
            if process is None or process.poll() is not None:
                self.start(name)

    @property
    def database_url(self) -> str:
        """Return the database without a proxy before it."""
        return self.postgres.url

    def start_postgres(self) -> None:
        """Start the server again over what it left."""
        self.postgres = start_postgres(
            self.postgres.data_dir, port=self.postgres.port, options=_POSTGRES_OPTIONS
        )

    def postgres_processes(self) -> list[int]:
        """Return the server and all its backends."""
        return server_processes(self.postgres.process.pid)

    @contextmanager
    def sql(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend an autocommit connection past the proxy."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            yield connection

    def publish(
        self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]], *, limit: int = 100
    ) -> None:
        """Publish by the real client, past the proxy."""
        with grpc.insecure_channel(self.system.environment["PUBSUB_EMULATOR_HOST"]) as channel:
            client = pubsub_v1.publisher.client.publisher_client.PublisherClient(
                transport=PublisherGrpcTransport(channel=channel)
            )
            whole = [PubsubMessage(data=data, attributes=dict(more)) for data, more in messages]
            for start in range(0, len(whole), limit):
                client.publish(
                    topic=f"projects/{PROJECT}/topics/{topic}",
                    messages=whole[start : start + limit],
                    timeout=20,
                )

    def publish_events(self, events: Sequence[ObjectEvent]) -> None:
        """Publish object events as Storage would."""
        self.publish("object-events", [write_notification(event) for event in events])

    def set_up_topics(self) -> None:
        """Make topics and subscriptions as `make run` and Compose do, with short pauses."""
        environment = {k: v for k, v in self.system.environment.items() if k != "DATABASE_URL"}
        environment |= {
            "INGEST_URL": self.pushes["ingest"].url,
            "EMBED_WORKER_URL": self.pushes["embed_worker"].url,
            "DEAD_LETTER_URL": self.pushes["dead_letters"].url,
        }
        done = subprocess.run(
            [sys.executable, "-m", "local.setup"],
            env=environment,
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        channel = grpc.insecure_channel(self.system.environment["PUBSUB_EMULATOR_HOST"])
        transport = SubscriberGrpcTransport(channel=channel)
        with pubsub_v1.SubscriberClient(transport=transport) as subscriber:
            for name in ("object-events-ingest", "chunk-jobs-embed", "dead-letters-record"):
                subscriber.update_subscription(
                    subscription=Subscription(
                        name=f"projects/{PROJECT}/subscriptions/{name}",
                        retry_policy=RetryPolicy(
                            minimum_backoff=Duration(seconds=1), maximum_backoff=Duration(seconds=8)
                        ),
                    ),
                    update_mask=FieldMask(paths=["retry_policy"]),
                )

    def upload(self, name: str, data: bytes | None = None, *, code: str | None = None) -> str:
        """
        Upload one more object; return its whole name.

        Args:
            code: The reason with which it must fail; several are divided by "|".
        """
        whole = f"{self.prefix}/{name}"
        if code is not None:
            self.ledger.may_fall_silent(whole)
            self.ledger.codes[whole] = frozenset(code.split("|"))
        self.writer.upload(whole, data)
        return whole

    def go_on(self, seconds: float) -> None:
        """Let the stream flow and the questions be asked for so long."""
        time.sleep(seconds * self.pace)

    def wait_for_work(self) -> None:
        """Wait until batches of this fault's documents are being embedded."""

        def some() -> bool:
            with self.sql() as connection:
                return bool(connection.execute("SELECT 1 FROM batches WHERE NOT done").fetchone())

        wait_until(some, what="something is being embedded", pause=0.01)

    def memory(self) -> dict[str, int]:
        """Return the bytes each part of the system holds alone or shares (PSS), children too."""
        groups = {process.pid: name for name, process in self.system.running.items()}
        found = dict.fromkeys(groups.values(), 0)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, ValueError):
                group = int(path.read_text().rpartition(")")[2].split()[2])
                if group in groups:
                    rollup = path.with_name("smaps_rollup").read_text()
                    pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
                    found[groups[group]] += int(pss.split()[1]) * 1024
        return found


def _part(name: str) -> str:
    """Return what a part is: of some there are several, as embed_worker2."""
    return name.rstrip("0123456789")


def through(url: str, port: int) -> str:
    """Return a database URL with another port."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))


@contextmanager
def running_rig(*, model_dir: Path, google_pubsub: Sequence[str] = ()) -> Iterator[Rig]:
    """Start everything and stop it at the end."""
    with ExitStack() as stack:
        # Not below a folder that only root may enter: Postgres runs as somebody else.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        folder.chmod(0o755)
        disk = stack.enter_context(_small_disk(folder / "disk"))
        data_dir = (disk or folder) / "data"
        postgres = start_postgres(data_dir, log=folder / "data.log", options=_POSTGRES_OPTIONS)
        stack.callback(remove, data_dir)
        prepare_database(postgres.url, model_dir=model_dir)
        rig = _assemble(
            stack,
            folder=folder,
            postgres=postgres,
            disk=disk,
            model_dir=model_dir,
            google_pubsub=google_pubsub,
        )
        stack.callback(lambda: rig.postgres.stop())
        stack.callback(lambda: rig.kill(*list(rig.system.running)))
        rig.system.start("pubsub", "storage")
        rig.set_up_topics()
        rig.system.start(*_PARTS)
        wait_until(
            lambda: rig.system.get("/readyz"), what="questions can be answered", timeout_seconds=60
        )
        yield rig


def _assemble(
    stack: ExitStack,
    *,
    folder: Path,
    postgres: PostgresServer,
    disk: Path | None,
    model_dir: Path,
    google_pubsub: Sequence[str],
) -> Rig:
    served = ("ingest", *WORKERS, "dead_letters", "query", "storage", "pubsub")
    ports = {name: free_port() for name in served}
    database, broker = TcpProxy(postgres.port), TcpProxy(ports["pubsub"])
    bucket = HttpProxy(ports["storage"])
    pushes = {
        "ingest": HttpProxy(ports["ingest"]),
        "embed_worker": HttpProxy(*(ports[name] for name in WORKERS)),
        "dead_letters": HttpProxy(ports["dead_letters"]),
    }
    stops = (database.stop, broker.stop, bucket.stop, *(one.stop for one in pushes.values()))
    for stop in stops:
        stack.callback(stop)
    gemini = stack.enter_context(gemini_stand_in())
    worker_url = make_login(postgres.url, group="kaydang_worker")
    query_url = make_login(postgres.url, group="kaydang_query")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "DATABASE_URL": worker_url,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "DOCUMENTS_BUCKET": BUCKET,
        "MODEL_DIR": str(model_dir),
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "LOG_FORMAT": "text",
        **_VARIABLES,
    }
    proxied = {
        _part(name): {
            "DATABASE_URL": make_conninfo(
                through(query_url if name == "query" else worker_url, database.port),
                connect_timeout=2,
                options="-c lock_timeout=3s",
            ),
            "STORAGE_EMULATOR_HOST": bucket.url,
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{broker.port}",
        }
        for name in _PARTS
    }
    system = System(
        folder,
        environment,
        ports,
        postgres.url,
        google_pubsub,
        variables={name: dict(proxied[_part(name)]) for name in _PARTS},
        sweep_unleased_seconds=5,
    )
    ledger = Ledger(Oracle(model_dir, _LIMITS))
    return Rig(
        system=system,
        postgres=postgres,
        database=database,
        broker=broker,
        bucket=bucket,
        pushes=pushes,
        gemini=gemini,
        proxied=proxied,
        ledger=ledger,
        invariants=Invariants(ledger, system.bucket),
        disk=disk,
        model_dir=model_dir,
    )


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a file system that can be filled; None if that is not allowed."""
    folder.mkdir()
    size = f"size={_DISK_BYTES},mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
