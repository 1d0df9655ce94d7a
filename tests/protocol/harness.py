"""
The event path on a real Postgres, one statement at a time.

What runs is the real code: `functions.ingest.indexing`, `functions.embed_worker.embedding_jobs`,
the store and the reconciler. Stand-ins exist only for what is remote or slow: the bucket, the
topics, the parser child and the model. Each delivery of a message is a task: a thread with a
connection of its own that stops before each SQL statement, each COMMIT, each look, download and
publish, and before its acknowledgement. The test decides which task goes on, and which one dies.
After every step that readers could see, the World checks what the protocol promises.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector
from pydantic import SecretStr

from admin import migrate
from admin.reconciliation import find_differences
from functions.embed_worker import dead_letters, embedding_jobs
from functions.ingest import indexing
from functions.ingest import settings as ingest_settings
from local.roles import make_login
from shared import store
from shared.embedding.tokenizer import ModelInfo
from shared.errors import KaydangError, ObjectGone, PublishFailed, StorageUnavailable, Unreadable
from shared.messaging.events import (
    Message,
    read_job,
    read_notification,
    write_job,
    write_notification,
)
from shared.runtime.slots import WorkSlots
from shared.settings import RetrySettings
from shared.values import Chunk, DocumentEvent, EmbedJob, FillJob, ObjectEvent, ObjectVersion

BUCKET = "docs"
DIMENSION = 8
MODEL = ModelInfo(name="hash", dimension=DIMENSION, max_tokens=256, digest="protocol")
OTHER_MODEL = replace(MODEL, name="other hash", digest="other")
CHUNKS_PER_JOB = 2

# Texts by what becomes of them; a chunk ends with each full stop.
UNREADABLE = "unreadable"  # never parsed: fails for good
DEADLY = "deadly"  # kills the process that parses it, every time
SLOW = "slow"  # the first try times out, the next ones do not

_FORGED = {"collection": "forged"}
_FUTURE = 2**61
_LEASE_SECONDS = 3600  # longer than any run: leases end only by World.expire_leases
_LOOKS_BETWEEN_SECONDS = 0.002


class Violation(AssertionError):
    """The protocol broke a promise."""


class Crash(BaseException):
    """The process of this task is gone, as after kill -9: nothing is released or said."""


def split_text(text: str) -> list[str]:
    """Return the chunks of *text*: a chunk ends with each full stop."""
    return re.findall(r"[^.]*\.", text)


def embed_text(text: str, *, model: str) -> NDArray[np.float32]:
    """Return a vector of unit length that is all but unique to *text* and the model's digest."""
    digest = hashlib.sha256(f"{model} {text}".encode()).digest()[:DIMENSION]
    vector = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


class _HashEmbedder:
    """Stands in for a model."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        return np.stack([embed_text(text, model=self._digest) for text in texts])


class _ParsedText:
    """Stands in for what the parser child returns."""

    content_type = "text/plain"
    title = ""
    pages = None
    sample = ""
    figures_left_out = ()

    def __init__(self, text: str) -> None:
        self.pages_without_text: list[int] = []
        self._text = text

    def tables(self, *, decimal: str | None) -> Iterator[Any]:
        """Yield the tables: there are none, however their numbers are written."""
        yield from ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def chunks(self) -> Iterator[Chunk]:
        position = 0
        for ordinal, text in enumerate(split_text(self._text)):
            yield Chunk(
                ordinal=ordinal,
                text=text,
                heading="",
                header="",
                page=None,
                char_start=position,
                char_end=position + len(text),
                tokens=1,
            )
            position += len(text)

    def text_segments(self) -> Iterator[tuple[int, str]]:
        yield 0, self._text


class _Cursor(psycopg.Cursor[Any]):
    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        return super().execute(_stop(self.connection, query), params, **options)

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        super().executemany(_stop(self.connection, query), params_seq, **options)

    def copy(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return super().copy(_stop(self.connection, statement), params, **options)


class _ServerCursor(psycopg.ServerCursor[Any]):
    def __del__(self, _warn: Any = None, /) -> None:
        """Say nothing: a crash leaves it open on purpose."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        return super().execute(_stop(self.connection, query), params, **options)


class _Connection(psycopg.Connection[Any]):
    task: Task | None = None
    is_owner = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cursor_factory = _Cursor
        self.server_cursor_factory = _ServerCursor

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        with super().transaction(savepoint_name, force_rollback) as transaction:
            yield transaction
            if self.task is not None:
                self.task.stop("COMMIT", visible=True)


def _stop(connection: psycopg.Connection[Any], query: Any) -> Any:
    task = connection.task if isinstance(connection, _Connection) else None
    if task is None:
        return query
    query = task.world.rewrite(query)
    words = " ".join(str(query).split())
    task.stop(
        words[:60],
        visible=connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE,
    )
    return query


class Task(threading.Thread):
    """
    One delivery, sweep or command, in a process of its own as far as it can tell.

    Attributes:
        point: What it does next, once it goes on; None when it has ended.
        outcome: "acknowledged", "refused" (it raised) or "crashed", None while it lives.
        is_owner: Whether it has the rights of the tables' owner; the worker's otherwise.
    """

    # A pool of one connection: its database is fit.
    unfit = None
    failure = None

    def __init__(
        self, world: World, title: str, body: Callable[[Task], None], letter: Letter | None
    ) -> None:
        super().__init__(name=title, daemon=True)
        self.world = world
        self.title = title
        self.letter = letter
        self.is_owner = False
        self.point: str | None = "begin"
        self.visible = False
        self.remote = False
        self.steps = 0
        self.outcome: str | None = None
        self.error: BaseException | None = None
        self.faulted = False
        self.lease: store.BuildLease | None = None
        self.order: BaseException | None = None
        self.stopped = threading.Event()
        self._go = threading.Semaphore(0)
        self._body = body
        self._connection: _Connection | None = None

    def run(self) -> None:
        try:
            self.stop("begin")
            self._body(self)
            self.stop("acknowledge")
        except Crash:
            self.outcome = "crashed"
        except Exception as error:
            self.outcome, self.error = "refused", error
        else:
            self.outcome = "acknowledged"
        self.point = None
        self.stopped.set()

    def stop(self, point: str, *, visible: bool = False, remote: bool = False) -> None:
        """Wait here until the World lets this task go on, or ends it."""
        if self.world.hurry and self.order is None:
            return
        self.point, self.visible, self.remote = point, visible, remote
        self.stopped.set()
        self._go.acquire()
        order, self.order = self.order, None
        if order is not None:
            raise order

    def go(self) -> None:
        """Let this task do what it has stopped before."""
        self.steps += 1
        self.stopped.clear()
        self._go.release()

    @contextmanager
    def connection(self) -> Iterator[_Connection]:
        """Lend the task's connection, as a pool of one would."""
        if self._connection is None or self._connection.closed:
            self._connection = self.world.lend_connection(self)
        yield self._connection

    @property
    def pid(self) -> int | None:
        """Return the process of Postgres that serves this task."""
        connection = self._connection
        if connection is None or connection.closed:
            return None
        return connection.info.backend_pid

    def cut_connection(self) -> None:
        """Close the socket as the end of a process does: without a word to the server."""
        if self._connection is not None:
            self._connection.pgconn.finish()

    def give_back(self) -> _Connection | None:
        """Return the connection, None if it cannot be used any more."""
        connection, self._connection = self._connection, None
        idle = psycopg.pq.TransactionStatus.IDLE
        if connection is None or connection.closed:
            return None
        if self.faulted:
            connection.close()
            return None
        if connection.info.transaction_status != idle:
            raise Violation(f"{self.title} left a transaction open")
        connection.task = None
        return connection


class TaskBucket:
    """The bucket as one task sees it."""

    name = BUCKET

    def __init__(self, task: Task) -> None:
        self._task = task
        self._bucket = task.world.bucket

    def look(self, name: str) -> ObjectVersion | None:
        self._task.stop(f"look {name}", remote=True)
        return self._bucket.live.get(name)

    def download(self, version: ObjectVersion, file: BinaryIO, *, max_bytes: int) -> None:
        self._task.stop(f"download {version.name} {version.generation}", remote=True)
        text = self._bucket.read(version.name, version.generation)
        if text is None:
            raise ObjectGone(f"generation {version.generation} is gone")
        marker = {"name": version.name, "generation": version.generation, "text": text}
        file.write(json.dumps(marker).encode())

    def list(self, *, start: str = "", end: str = "") -> Iterator[ObjectVersion]:
        assert not start
        assert not end
        self._task.stop("list", remote=True)
        seen: set[str] = set()
        # A page is what the bucket holds when it is asked for; here a page is one object.
        while name := next((n for n in self._bucket.names() if n not in seen), None):
            if all(name.encode() > other.encode() for other in seen):
                yield self._bucket.live[name]
            seen.add(name)
            self._task.stop("list the next page", remote=True)


class TaskPublisher:
    """The topics as one task sees them; messages are encoded as the real publisher does."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def publish_jobs(self, jobs: list[EmbedJob] | list[FillJob]) -> None:
        for job in jobs:
            self._publish("job", write_job(job), {})

    def publish_events(self, events: Iterator[ObjectEvent]) -> None:
        for event in events:
            self._publish("object", *write_notification(event))

    def publish_finalized(self, versions: list[ObjectVersion]) -> None:
        self.publish_events(ObjectEvent(kind="finalized", object=item) for item in versions)

    def _publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> None:
        self._task.stop(f"publish {topic}", remote=True)
        self._task.world.post(topic, data, attributes)


class Bucket:
    """
    Objects with generations. *versioned* buckets still give a generation that is not live, and say
    of a deleted one which generation it gave way to, as Storage does and Eventarc does not.
    """

    def __init__(self, *, versioned: bool) -> None:
        self.versioned = versioned
        self.live: dict[str, ObjectVersion] = {}
        self.texts: dict[tuple[str, int], str] = {}
        self._last_generation = 100

    def names(self) -> list[str]:
        """Return the names of the live objects in the order in which Storage lists them."""
        return sorted(self.live, key=str.encode)

    def read(self, name: str, generation: int) -> str | None:
        """Return the text of a generation, None if the bucket answers 404."""
        version = self.live.get(name)
        if not self.versioned and (version is None or version.generation != generation):
            return None
        return self.texts.get((name, generation))

    def upload(self, name: str, text: str) -> list[ObjectEvent]:
        """Write an object; return the events of that."""
        events = self.delete(name)
        self._last_generation += 1
        version = ObjectVersion(
            bucket=BUCKET,
            name=name,
            generation=self._last_generation,
            metageneration=1,
            size=len(text),
            content_type="text/plain",
            md5=hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        )
        self.live[name] = version
        self.texts[name, version.generation] = text
        if self.versioned:
            events = [replace(event, overwritten_by=version.generation) for event in events]
        return [ObjectEvent(kind="finalized", object=version), *events]

    def touch(self, name: str) -> list[ObjectEvent]:
        """Change an object's metadata; return the events of that."""
        version = self.live[name]
        number = version.metageneration + 1
        version = replace(version, metageneration=number, metadata={"number": str(number)})
        self.live[name] = version
        return [ObjectEvent(kind="metadata_updated", object=version)]

    def delete(self, name: str) -> list[ObjectEvent]:
        """Delete an object; return the events of that."""
        version = self.live.pop(name, None)
        return [ObjectEvent(kind="deleted", object=version)] if version else []


@dataclass(slots=True)
class Letter:
    """A message that some subscription still has to deliver: on "object", "job" or "dead"."""

    id: int
    topic: str
    data: bytes
    attributes: dict[str, str]

    @property
    def message(self) -> Message:
        """Return it as a push delivers it."""
        return Message(
            data=self.data,
            attributes=self.attributes,
            message_id=str(self.id),
            subscription=self.topic,
        )

    def describe(self) -> str:
        """Return a line for the log of a schedule."""
        if "eventType" in self.attributes:
            said = (
                f"{self.attributes['eventType'].removeprefix('OBJECT_').lower()}"
                f" {self.attributes['objectId']} {self.attributes['objectGeneration']}"
            )
        else:
            said = f"embed {self.data.decode()}"
        return f"{'dead letter: ' if self.topic == 'dead' else ''}{said}"


@dataclass
class Design:
    """
    What the World lets differ from the real protocol: a broken design is one of these, or a patch.

    Attributes:
        rewrites: SQL to replace: pattern and replacement.
        attributes: Functions to put in the place of others: module, name, and what makes the
            replacement of the original.
        acknowledge_first: Messages are acknowledged when they are delivered, before the work.
        dedupe: A message whose id was seen before is acknowledged without any work.
        sweeper: Whether the sweeper runs at all.
        announces: Whether it is told to others what happened to documents.
        columns: SQL that adds what the design needs to the database, and takes it away again.
    """

    rewrites: list[tuple[str, str]] = field(default_factory=list)
    attributes: list[tuple[str, str, Callable[[Any], Any]]] = field(default_factory=list)
    acknowledge_first: bool = False
    dedupe: bool = False
    sweeper: bool = True
    announces: bool = False
    columns: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    build_id: int
    generation: int
    epoch: int

    def __str__(self) -> str:
        return f"generation {self.generation}, epoch {self.epoch}"


@dataclass(frozen=True, slots=True)
class _Status:
    name: str
    generation: int
    answering_generation: int | None
    state: str
    reason_code: str | None
    reason: str | None
    epoch: int
    active_build: int | None
    active_epoch: int | None
    metadata: dict[str, str]

    def __str__(self) -> str:
        state = f"{self.state} ({self.reason_code})" if self.reason_code else self.state
        return f"{state}, generation {self.generation}, answers: {self.answering_generation}"


class World:
    """
    A bucket, the topics, the tasks that are under way, and a database; see the module.

    Use it as a context manager, and `reset` it before each schedule.
    """

    def __init__(self, database_url: str, *, design: Design | None = None) -> None:
        self._url = database_url
        self.design = design or Design()
        self.rewritten = 0
        self.schedules = 0
        self.statements = 0
        self.max_attempts = 4
        self.hurry = False
        self._idle: list[_Connection] = []
        self._undo: list[Callable[[], None]] = []
        self._clear()

    def _clear(self, *, versioned: bool = False) -> None:
        self.bucket = Bucket(versioned=versioned)
        self.letters: list[Letter] = []
        self.tasks: list[Task] = []
        self.log: list[str] = []
        self.told: list[DocumentEvent] = []
        self.dead_names: set[str] = set()  # a dead letter named them: they may be failed
        self.forged: set[str] = set()  # a message named a generation that never was
        self.lossless = True
        self.dropped = False  # a message of Storage was lost: only the reconciler can know
        self._last_letter = 0
        self._seen_letters: set[int] = set()
        self._gone: dict[str, int] = {}  # the highest generation recorded as gone
        self._answers: dict[str, _Answer] = {}
        self._verdicts: dict[tuple[str, int], tuple[tuple[int, int], bool]] = {}
        self._timed_out: set[tuple[str, int]] = set()
        self._dying: set[int] = set()
        self._known_names: set[str] = set()

    def __enter__(self) -> Self:
        self._monitor = cast(
            "store.Connection", psycopg.connect(self._url, autocommit=True, prepare_threshold=1)
        )
        self._worker_url = make_login(self._url, group="kaydang_worker")
        # Only a superuser sets it.
        self._monitor.execute("ALTER ROLE kaydang_worker_login SET deadlock_timeout = '50ms'")
        query_url = make_login(self._url, group="kaydang_query")
        self._reader = psycopg.connect(query_url, autocommit=True, prepare_threshold=1)
        register_vector(self._reader)
        if self.design.columns:
            self._monitor.execute(self.design.columns[0])
        for module, name, change in self.design.attributes:
            owner = importlib.import_module(module)
            *classes, attribute = name.split(".")
            for part in classes:
                owner = getattr(owner, part)
            original = getattr(owner, attribute)
            changed = change(original)
            self._patch(owner, attribute, changed)
            for other in _modules_of_the_protocol() if not classes else ():
                # Modules that have imported it by its name have it too.
                if getattr(other, attribute, None) is original:
                    self._patch(other, attribute, changed)
        self._patch(indexing, "parse_document", self._parse)
        self._patch(store, "begin_build", self._note_lease(store.begin_build))
        self._patch(store, "record_gone", self._note_gone(store.record_gone))
        self._patch(store, "record_live", self._note_live(store.record_live))
        for name in ("functions", "shared", "admin", "psycopg"):
            logger = logging.getLogger(name)
            self._undo.append(lambda logger=logger, level=logger.level: logger.setLevel(level))  # type: ignore[misc]
            logger.setLevel(logging.CRITICAL)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_tasks()
        while self._undo:
            self._undo.pop()()
        if self.design.columns:
            self._monitor.execute(self.design.columns[1])
        for connection in (*self._idle, self._monitor, self._reader):
            connection.close()

    def _patch(self, module: Any, name: str, replacement: Any) -> None:
        original = getattr(module, name)
        self._undo.append(lambda: setattr(module, name, original))
        setattr(module, name, replacement)

    def reset(self, *, versioned: bool = False) -> None:
        """Begin a new schedule with an empty bucket and an empty database."""
        self._end_tasks()
        self._clear(versioned=versioned)
        self.schedules += 1
        self._monitor.execute(
            """
            DELETE FROM documents;
            DELETE FROM dead_letters;
            DELETE FROM document_events;
            UPDATE active_model SET model_id = (SELECT min(id) FROM models);
            """
        )
        if self.schedules % 100 == 0:
            self._monitor.execute("VACUUM ANALYZE")

    def _end_tasks(self) -> None:
        """Kill what still runs; what waits for a lock goes on when its holder is dead."""
        while alive := [task for task in self.tasks if task.is_alive()]:
            for task in alive:
                if task.stopped.is_set() and task.point is not None:
                    task.cut_connection()
                    task.order = Crash()
                    task.go()
                task.join(0.001)
        self.tasks = []

    def lend_connection(self, task: Task) -> _Connection:
        """Return a connection that nobody uses."""
        idle = [found for found in self._idle if found.is_owner == task.is_owner]
        if idle:
            self._idle.remove(connection := idle[-1])
        else:
            connection = _Connection.connect(
                self._url if task.is_owner else self._worker_url,
                autocommit=True,
                prepare_threshold=1,
                options="-c timezone=UTC",
            )
            connection.is_owner = task.is_owner
            register_vector(connection)
        connection.task = task
        return connection

    def rewrite(self, query: Any) -> Any:
        """Return *query* as this World's design has it."""
        for pattern, replacement in self.design.rewrites if isinstance(query, str) else ():
            query, count = re.subn(pattern, replacement, query)
            self.rewritten += count
        return query

    def _parse(self, path: Path, **_options: object) -> _ParsedText:
        found = json.loads(path.read_bytes())
        version, text = (found["name"], found["generation"]), found["text"]
        task = threading.current_thread()
        assert isinstance(task, Task)
        if text.startswith(DEADLY):
            task.cut_connection()
            raise Crash
        readable = not text.startswith(UNREADABLE)
        if text.startswith(SLOW) and version not in self._timed_out:
            self._timed_out.add(version)
            readable = False
        assert task.lease is not None
        verdict = ((task.lease.build_id, task.lease.attempts), readable)
        self._verdicts[version] = max(verdict, self._verdicts.get(version, verdict))
        if not readable:
            raise Unreadable("timeout" if text.startswith(SLOW) else "encrypted", "a reason")
        return _ParsedText(text)

    def _note_lease(self, begin_build: Callable[..., Any]) -> Callable[..., Any]:
        def begin_and_note(*args: Any, **options: Any) -> Any:
            start = begin_build(*args, **options)
            task = threading.current_thread()
            if isinstance(task, Task) and start.lease is not None:
                task.lease = start.lease
            return start

        return begin_and_note

    def _note_gone(self, record_gone: Callable[..., bool]) -> Callable[..., bool]:
        def record_and_note(
            connection: store.Connection, version: ObjectVersion, **options: Any
        ) -> bool:
            recorded = record_gone(connection, version, **options)
            if recorded:
                before = self._gone.get(version.name, 0)
                self._gone[version.name] = max(version.generation, before)
            return recorded

        return record_and_note

    def _note_live(self, record_live: Callable[..., bool]) -> Callable[..., bool]:
        def record_and_note(
            connection: store.Connection, version: ObjectVersion, **options: Any
        ) -> bool:
            waiting = record_live(connection, version, **options)
            gone = self._gone.get(version.name, 0)
            self._gone[version.name] = min(gone, version.generation - 1)
            return waiting

        return record_and_note

    def post(self, topic: str, data: bytes, attributes: dict[str, str]) -> Letter:
        """Take a message in, to be delivered at least once."""
        self._last_letter += 1
        letter = Letter(self._last_letter, topic, data, attributes)
        self.letters.append(letter)
        return letter

    def _notify(self, events: list[ObjectEvent]) -> list[Letter]:
        return [self.post("object", *write_notification(event)) for event in events]

    def upload(self, name: str, text: str) -> list[Letter]:
        """Write an object; the notifications are under way then, the finalize first."""
        self._known_names.add(name)
        letters = self._notify(self.bucket.upload(name, text))
        self._say(f"upload {name} {self.bucket.live[name].generation}: {text!r}")
        self.check()
        return letters

    def delete(self, name: str) -> list[Letter]:
        """Delete an object; the notification is under way then."""
        self._say(f"delete {name}")
        letters = self._notify(self.bucket.delete(name))
        self.check()
        return letters

    def touch(self, name: str) -> list[Letter]:
        """Change an object's metadata; the notification is under way then."""
        self._say(f"change the metadata of {name}")
        return self._notify(self.bucket.touch(name))

    def forge_delete(self, name: str) -> list[Letter]:
        """Send a delete event of an object that is there."""
        self._say(f"forge a delete of {name}")
        return self._notify([ObjectEvent(kind="deleted", object=self.bucket.live[name])])

    def forge_finalize(self, name: str) -> list[Letter]:
        """Send a finalize event of a generation that the bucket will never hold."""
        self._say(f"forge a finalize of {name}")
        self.forged.add(name)
        self._known_names.add(name)
        # With the bytes of what is there, so that its build could stand for it.
        known = self.bucket.live.get(name) or ObjectVersion(BUCKET, name, _FUTURE)
        forged = replace(known, generation=_FUTURE, metadata=_FORGED)
        return self._notify([ObjectEvent(kind="finalized", object=forged)])

    def forge_metadata(self, name: str) -> list[Letter]:
        """Send events that say of an object that is there what the bucket does not say of it."""
        self._say(f"forge the metadata of {name}")
        known = self.bucket.live[name]
        forged = replace(known, metageneration=known.metageneration + 100, metadata=_FORGED)
        return self._notify(
            [
                ObjectEvent(kind="finalized", object=forged),
                ObjectEvent(kind="metadata_updated", object=forged),
            ]
        )

    def duplicate(self, letter: Letter) -> Letter:
        """Let Pub/Sub deliver a message once more than it has to."""
        self._say(f"duplicate {letter.describe()}")
        return self.post(letter.topic, letter.data, letter.attributes)

    def drop(self, letter: Letter) -> None:
        """Lose a message."""
        self._say(f"drop {letter.describe()}")
        self.letters.remove(letter)
        self.lossless = False
        self.dropped |= letter.topic == "object"

    def give_up(self, letter: Letter) -> None:
        """Move a message to the dead letters, as Pub/Sub does after its last try."""
        self._say(f"give up {letter.describe()}")
        letter.topic = "dead"
        self.lossless = False
        if "eventType" in letter.attributes:
            self.dropped = True
        if letter.attributes.get("eventType") == "OBJECT_DELETE":
            return
        if "eventType" in letter.attributes:
            self.dead_names.add(letter.attributes["objectId"])
        elif isinstance(job := read_job(letter.message), EmbedJob):
            self.dead_names.update(self._names_of_build(job.build_id))

    def _names_of_build(self, build_id: int) -> list[str]:
        rows = self._monitor.execute(
            "SELECT name FROM documents JOIN builds ON document_id = documents.id"
            " WHERE builds.id = %s",
            [build_id],
        )
        return [row[0] for row in rows]

    def expire_leases(self) -> None:
        """Let an hour pass, but for rows that somebody has locked."""
        self._say("an hour passes")
        for table, key in (("builds", "id"), ("batches", "build_id, number")):
            self._monitor.execute(
                f"""
                UPDATE {table}
                SET lease_until = lease_until - interval '1 day',
                    published = published - interval '1 day'
                WHERE ({key}) IN (SELECT {key} FROM {table} FOR UPDATE SKIP LOCKED)
                """
            )
        self._monitor.execute(
            """
            UPDATE document_events
            SET lease_until = lease_until - interval '1 day'
            WHERE id IN (SELECT id FROM document_events FOR UPDATE SKIP LOCKED)
            """
        )

    def deliver(self, letter: Letter) -> Task:
        """Push a message; it stays undelivered until the task acknowledges it."""
        task = self.start(f"#{letter.id} {letter.describe()}", self._receive(letter), letter)
        if self.design.acknowledge_first and letter in self.letters:
            self.letters.remove(letter)
        return task

    def _receive(self, letter: Letter) -> Callable[[Task], None]:
        def receive(task: Task) -> None:
            if self.design.dedupe:
                if letter.id in self._seen_letters:
                    return
                self._seen_letters.add(letter.id)
            if letter.topic == "object":
                event = read_notification(letter.message)
                assert event is not None
                indexing.handle(event, self._ingest_resources(task))
            elif letter.topic == "job":
                job = read_job(letter.message)
                resources = self._embed_resources(task)
                if isinstance(job, FillJob):
                    embedding_jobs.fill_model(job, resources)
                else:
                    embedding_jobs.embed_batch(job, resources)
            else:
                dead_letters.keep_dead_letter(
                    letter.message, cast("store.Pool", task), announce=self._announcer(task)
                )

        return receive

    def sweep(self) -> Task:
        """Start the sweeper, as `python -m admin sweep` does its work."""

        def body(task: Task) -> None:
            with store.connect(cast("store.Pool", task)) as connection:
                stalled = store.claim_stalled(
                    connection, unleased_seconds=60, pause_seconds=10, limit=1000
                )
            publisher = TaskPublisher(task)
            publisher.publish_finalized(stalled.objects)
            publisher.publish_jobs(stalled.jobs)
            if (publish := self._announcer(task)) is not None:
                store.publish_waiting(cast("store.Pool", task), publish)

        return self.start("sweep", body)

    def _announcer(self, task: Task) -> store.Publish | None:
        """Return what tells others of documents, as one task sees it."""

        def publish(events: Sequence[DocumentEvent]) -> None:
            for event in events:
                task.stop(f"publish that {event.name} is {event.state}", remote=True)
                self.told.append(event)

        return publish if self.design.announces else None

    def reconcile(self) -> Task:
        """Start the reconciler, as `python -m admin reconcile` does its work."""

        def body(task: Task) -> None:
            pool = cast("store.Pool", task)
            for page, _ in find_differences(lambda: store.connect(pool), TaskBucket(task)):
                events = [item.event for item in page if item.event is not None]
                TaskPublisher(task).publish_events(iter(events))

        return self.start("reconcile", body)

    def retry(self, name: str) -> Task:
        """Start `python -m admin retry NAME`."""
        return self.start(f"retry {name}", self._apply(name, "requeue_document", state="failed"))

    def reindex(self, name: str) -> Task:
        """Start `python -m admin reindex NAME`."""
        return self.start(f"reindex {name}", self._apply(name, "reindex_document"))

    def fill(self) -> Task:
        """Start `python -m admin model fill` for the other model."""

        def body(task: Task) -> None:
            with store.connect(cast("store.Pool", task)) as connection:
                other = max(model.id for model in store.list_models(connection))
                jobs = store.plan_filling(connection, model_id=other, size=CHUNKS_PER_JOB)
            TaskPublisher(task).publish_jobs(jobs)

        return self.start("fill", body)

    def switch_model(self) -> Task:
        """Start `python -m admin model switch` to the other model."""

        def body(task: Task) -> None:
            with store.connect(cast("store.Pool", task)) as connection:
                other = max(model.id for model in store.list_models(connection))
                store.switch_model(connection, other)

        return self.start("switch", body, is_owner=True)

    def _apply(self, name: str, action: str, **criteria: Any) -> Callable[[Task], None]:
        def body(task: Task) -> None:
            with store.connect(cast("store.Pool", task)) as connection:
                ids = store.find_documents(connection, name=name, **criteria)
                versions = [getattr(store, action)(connection, found) for found in ids]
            TaskPublisher(task).publish_finalized([item for item in versions if item])

        return body

    def start(
        self,
        title: str,
        body: Callable[[Task], None],
        letter: Letter | None = None,
        *,
        is_owner: bool = False,
    ) -> Task:
        task = Task(self, title, body, letter)
        task.is_owner = is_owner
        self._say(f"start [{task.title}]")
        self.tasks.append(task)
        task.start()
        self._settle()
        return task

    def _ingest_resources(self, task: Task) -> indexing.Resources:
        options = ingest_settings.Settings(
            database_url=SecretStr(self._worker_url),
            documents_bucket=BUCKET,
            google_cloud_project="protocol",
            model_dir=Path("none"),
            lease_seconds=_LEASE_SECONDS,
            max_attempts=self.max_attempts,
            chunks_per_job=CHUNKS_PER_JOB,
        )
        resources: dict[str, Any] = {
            "settings": options,
            "pool": task,
            "bucket": TaskBucket(task),
            "publisher": TaskPublisher(task),
            "announce": self._announcer(task),
            "model": MODEL,
            "parse_slots": WorkSlots(1),
        }
        # What only the real parser needs is not there.
        absent = {item.name: None for item in fields(indexing.Resources)}
        return indexing.Resources(**absent | resources)

    def _embed_resources(self, task: Task) -> embedding_jobs.Resources:
        return embedding_jobs.Resources(
            settings=RetrySettings(lease_seconds=_LEASE_SECONDS, max_attempts=self.max_attempts),
            pool=cast("store.Pool", task),
            announce=self._announcer(task),
            find_embedder=cast("Any", _HashEmbedder),
            batch_slots=WorkSlots(1),
        )

    @property
    def ready_tasks(self) -> list[Task]:
        """Return the tasks that can go on: those that have not ended and wait for no lock."""
        return [task for task in self.tasks if task.stopped.is_set() and task.point is not None]

    def step(self, task: Task, *, times: int = 1) -> bool:
        """Let a task do what it has stopped before; return whether it can go on."""
        for _ in range(times):
            if task not in self.ready_tasks:
                break
            self.statements += 1
            self._say(f"[{task.title}] {task.point}")
            visible = task.visible
            task.go()
            self._settle()
            if visible:
                self.check()
        return task in self.ready_tasks

    def finish(self, task: Task) -> None:
        """Let a task go on until it ends or waits for a lock."""
        while self.step(task):
            pass

    def finish_all(self) -> None:
        """Let all tasks go on, one after the other, until they have ended."""
        while self.tasks:
            for task in self.ready_tasks:
                self.finish(task)
            self._settle()

    def crash(self, task: Task) -> None:
        """Kill the process of a task where it stands."""
        self._say(f"[{task.title}] CRASH before {task.point}")
        self._bury(task)
        task.cut_connection()
        task.order = Crash()
        task.faulted = True
        task.go()
        self._settle()
        self.check()

    def disconnect(self, task: Task) -> None:
        """Let the database drop a task's connection; the task lives and finds out."""
        self._say(f"[{task.title}] DISCONNECTED before {task.point}")
        task.faulted = True
        if task.pid is not None:
            self._monitor.execute("SELECT pg_terminate_backend(%s)", [task.pid])
            self._bury(task)
        self._settle()
        self.check()

    def fail(self, task: Task) -> None:
        """Let Storage or Pub/Sub refuse what a task asks of it next."""
        self._say(f"[{task.title}] REFUSED {task.point}")
        assert task.remote
        assert task.point is not None
        publishing = task.point.startswith("publish")
        task.order = PublishFailed("503") if publishing else StorageUnavailable("503")
        task.faulted = True
        task.go()
        self._settle()

    def _bury(self, task: Task) -> None:
        if task.pid is not None:
            self._dying.add(task.pid)

    def _settle(self) -> None:
        """Wait until each task has stopped, ended, or waits for a lock that another holds."""
        while True:
            running = [task for task in self.tasks if not task.stopped.is_set()]
            for task in running:
                task.stopped.wait(_LOOKS_BETWEEN_SECONDS)
            running = [task for task in running if not task.stopped.is_set()]
            if self._dying:
                alive = self._monitor.execute(
                    "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)", [list(self._dying)]
                ).fetchall()
                self._dying = {row[0] for row in alive}
            if not running and not self._dying:
                break
            if running and not self._dying and self._all_blocked(running):
                break
        self._reap()

    def _all_blocked(self, running: list[Task]) -> bool:
        pids = [task.pid for task in running]
        if None in pids:
            return False
        # By one another: the server's own processes (autovacuum) let go by themselves.
        everyone = [task.pid for task in self.tasks if task.pid is not None]
        blocked = self._monitor.execute(
            "SELECT count(*) FROM unnest(%s::integer[]) AS pid"
            " WHERE pg_blocking_pids(pid) && %s::integer[]",
            [pids, everyone],
        ).fetchone()
        return blocked == (len(pids),)

    def _reap(self) -> None:
        for task in [task for task in self.tasks if task.outcome is not None]:
            task.join()
            self.tasks.remove(task)
            self._say(f"[{task.title}] {task.outcome} {task.error or ''}")
            if (connection := task.give_back()) is not None:
                self._idle.append(connection)
            if task.outcome == "acknowledged" and task.letter in self.letters:
                self.letters.remove(task.letter)
            if task.outcome == "refused" and not task.faulted:
                self._violated(f"{task.title} failed by itself: {task.error!r}", task.error)
            if isinstance(task.error, Exception) and not isinstance(task.error, KaydangError):
                self._violated(f"{task.title} failed unforeseen: {task.error!r}", task.error)

    def check(self) -> None:
        """Check that readers see what they may see now."""
        rows: dict[str, list[tuple[Any, ...]]] = {}
        with self._reader.cursor(binary=True) as cursor:
            cursor.execute(
                """
                SELECT name, build_id, generation, ordinal, text, embedding,
                       (SELECT digest FROM serving_model)
                FROM live_chunks
                ORDER BY name, ordinal
                """
            )
            for row in cursor:
                rows.setdefault(row[0], []).append(row)
        for status in self._read_statuses().values():
            answer = self._read_answer(status, rows.get(status.name, []))
            self._check_answer(status, answer)
            if answer is None:
                self._answers.pop(status.name, None)
            else:
                self._answers[status.name] = answer
        for name, generation in self._gone.items():
            live = self.bucket.live.get(name)
            if live is None or name in self.forged:
                continue
            if generation >= live.generation:
                self._violated(f"{name} {live.generation} is recorded as gone, and is there")

    def _read_statuses(self) -> dict[str, _Status]:
        rows = self._monitor.execute(
            """
            SELECT status.name, status.generation, status.answering_generation, status.state,
                   status.reason_code, status.reason,
                   documents.epoch, documents.active_build, builds.epoch, documents.metadata
            FROM document_status AS status
            JOIN documents ON documents.id = status.id
            LEFT JOIN builds ON builds.id = documents.active_build
            """
        )
        return {row[0]: _Status(*row) for row in rows}

    def _read_answer(self, status: _Status, rows: list[tuple[Any, ...]]) -> _Answer | None:
        """Return what a document answers from, after a look at whether that is whole."""
        if not rows and status.answering_generation is None:
            return None
        generation = status.answering_generation or 0
        if {(row[1], row[2]) for row in rows} != {(status.active_build, generation)}:
            self._violated(f"{status.name} answers from {[row[1:3] for row in rows]}: {status}")
        if (status.name, generation) not in self.bucket.texts:
            self._violated(f"{status.name} answers from a generation that never was: {status}")
        text = self.bucket.texts[status.name, generation]
        if [(row[3], row[4]) for row in rows] != list(enumerate(split_text(text))):
            answer = [row[4] for row in rows]
            self._violated(f"{status.name} answers with {answer}, not with the whole of {text!r}")
        for row in rows:
            if np.abs(row[5].to_numpy() - embed_text(row[4], model=row[6])).max() > 1e-3:
                self._violated(f"{status.name} has another text's embedding at {row[3]}")
        assert status.active_build is not None
        return _Answer(status.active_build, generation, status.active_epoch or 0)

    def _check_answer(self, status: _Status, answer: _Answer | None) -> None:
        before = self._answers.get(status.name)
        gone = self._gone.get(status.name, 0)
        failed = status.state == "failed"
        if answer is None:
            retracted = failed and before is not None and status.generation > before.generation
            if before is not None and before.generation > gone and not retracted:
                self._violated(f"{status.name} ceased to answer: {before}, now {status}")
            return
        if answer.generation <= gone:
            self._violated(f"{status.name} {answer.generation} answers, and was known to be gone")
        if failed and answer.generation < status.generation:
            self._violated(f"{status.name} has failed, and an older generation answers")
        if before is not None and (answer.generation, answer.epoch) < (
            before.generation,
            before.epoch,
        ):
            self._violated(f"{status.name} went back from {before} to {answer}")

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Let tasks run without a stop; what readers see is then checked after each task."""
        self.hurry = True
        try:
            yield
        finally:
            self.hurry = False

    def deliver_all(self, *, attempts: int = 3, patient: bool = False) -> None:
        """
        Deliver all messages, and those that come of it, each *attempts* times at most.

        Args:
            patient: Whether leases run out before each delivery.
        """
        tries: dict[int, int] = {}
        while due := [letter for letter in self.letters if tries.get(letter.id, 0) < attempts]:
            for letter in due:
                tries[letter.id] = tries.get(letter.id, 0) + 1
                if patient:
                    self.expire_leases()
                self.finish(self.deliver(letter))
                if self.hurry:
                    self.check()

    def drain(self, *, sweep: bool = True, rounds: int = 16) -> None:
        """
        Let everything come to its end, then check that index and bucket agree.

        The reconciler runs only if a message of Storage was lost: else it must not be needed.

        Args:
            sweep: Whether the sweeper runs. The messages alone must do where none was acknowledged
                because another worker held its lease.
        """
        self._say(f"drain, sweep={sweep}")
        self.finish_all()
        for _ in range(rounds):
            self.deliver_all(patient=not sweep)
            self.expire_leases()
            before = self._last_letter
            if sweep and self.design.sweeper:
                self.finish(self.sweep())
            if self.dropped:
                self.finish(self.reconcile())
            if not self.letters and self._last_letter == before:
                break
        else:
            self._violated("no end: messages come again and again")
        self.check()
        self._check_end()
        if self.design.announces and sweep and self.design.sweeper:
            self._check_told()

    def _check_end(self) -> None:
        statuses = self._read_statuses()
        for name in self._known_names | set(statuses):
            version, status = self.bucket.live.get(name), statuses.get(name)
            if version is None:
                if status is not None and (status.state, status.active_build) != ("deleted", None):
                    self._violated(f"{name} is gone, and the index says {status}")
            elif status is None or status.generation != version.generation:
                self._violated(f"{name} {version.generation} is there, the index says {status}")
            else:
                self._check_outcome(status, version)
        self._check_left_over()

    def _check_told(self) -> None:
        """Check that who heard everything knows what became of each document."""
        (waiting,) = self._monitor.execute("SELECT count(*) FROM document_events").fetchone() or ()
        if waiting:
            self._violated(f"{waiting} events are still in the outbox")
        for status in self._read_statuses().values():
            events = {event.id: event for event in self.told if event.name == status.name}
            last = max(events.values(), key=lambda event: event.sequence, default=None)
            if last is None:
                if (status.state, status.generation) != ("deleted", 0):
                    self._violated(f"nothing was told of {status.name}: {status}")
                continue
            state = {"deleted": "gone"}.get(status.state, status.state)
            told = (last.state, last.answering_generation, last.reason_code)
            if told != (state, status.answering_generation, status.reason_code):
                self._violated(f"what was told last of {status.name} is {last}, not {status}")
            if state != "gone" and last.generation != status.generation:
                self._violated(f"the last event of {status.name} is of {last.generation}: {status}")

    def _check_outcome(self, status: _Status, version: ObjectVersion) -> None:
        text = self.bucket.texts[version.name, version.generation]
        if status.state == "ready":
            readable = not text.startswith((UNREADABLE, DEADLY))
            if not readable or status.answering_generation != version.generation:
                self._violated(f"{version.name} cannot be ready: {status}")
            # The reconciler compares generations, so lost news of metadata stay lost.
            if self.lossless and status.metadata != version.metadata:
                self._violated(
                    f"{version.name} has metadata {version.metadata}, not {status.metadata}"
                )
            return
        if status.state != "failed" or not status.reason:
            self._violated(f"{version.name} is neither ready nor failed with a reason: {status}")
        expected = {"attempts_exhausted"} if version.name in self.dead_names else set()
        tried = re.search(r"failed (\d+) times", status.reason or "")
        if tried and int(tried[1]) >= self.max_attempts:
            expected.add("attempts_exhausted")
        verdict = self._verdicts.get((version.name, version.generation))
        if verdict is not None and not verdict[1]:
            expected.add("timeout" if text.startswith(SLOW) else "encrypted")
        if status.reason_code not in expected:
            self._violated(f"{version.name} has failed without a cause: {status}, {verdict}")

    def _check_left_over(self) -> None:
        left_over = self._monitor.execute(
            """
            SELECT builds.id, builds.generation, builds.epoch, builds.state
            FROM builds
            JOIN documents ON documents.id = builds.document_id
            WHERE builds.id IS DISTINCT FROM documents.active_build
                AND (builds.generation, builds.epoch)
                    <> (documents.seen_generation, documents.epoch)
                OR builds.generation <= documents.dead_generation
            """
        ).fetchall()
        if left_over:
            self._violated(f"dead builds are left over: {left_over}")
        rows = self._monitor.execute(
            """
            SELECT builds.id, builds.state,
                   (SELECT count(*) FROM chunks WHERE build_id = builds.id),
                   (
                       SELECT count(*) FROM embeddings
                       WHERE build_id = builds.id
                           AND (builds.state = 'failed'
                               OR model_id = (SELECT model_id FROM active_model))
                   ),
                   (SELECT count(*) FROM texts WHERE build_id = builds.id),
                   (SELECT count(*) FROM batches WHERE build_id = builds.id AND NOT done),
                   builds.chunk_count
            FROM builds
            """
        ).fetchall()
        for build, state, chunks, embeddings, texts, waiting, count in rows:
            parts = (chunks, embeddings, texts, waiting)
            whole = (count, count, 1, 0) if state == "ready" else (0, 0, 0, 0)
            if state not in ("ready", "failed") or parts != whole:
                self._violated(f"build {build} is {state} and holds {parts}, not {whole}")

    def _say(self, line: str) -> None:
        self.log.append(line)

    def _violated(self, message: str, cause: BaseException | None = None) -> None:
        raise Violation(message + "\n  " + "\n  ".join(self.log)) from cause


def _modules_of_the_protocol() -> list[ModuleType]:
    prefixes = ("shared.store", "functions.ingest.", "functions.embed_worker.")
    return [module for name, module in list(sys.modules.items()) if name.startswith(prefixes)]


@contextmanager
def temporary_database(server_url: str, name: str) -> Iterator[str]:
    """Make a migrated database with the stand-in's model on a server, and drop it in the end."""
    url = psycopg.conninfo.make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            migrate.apply_migrations(connection, migrate.read_migrations())
            for model in (MODEL, OTHER_MODEL):
                store.register_model(
                    connection, name=model.name, dimension=model.dimension, digest=model.digest
                )
        yield url
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
