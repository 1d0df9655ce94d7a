"""
The system under load: python -m benchmarks.load [--minutes 10], or `make load`.

Starts everything on free ports, then:
1. 32 clients ask without a pause for a fifth of the time, while nothing is indexed;
2. they go on while 500 documents are uploaded, evenly over the rest;
3. 200 clients ask at the same moment: each must get an answer, or 503 with Retry-After, soon;
4. a backlog of 20,000 chunks is staged while the embed worker is stopped, and drained.
Meanwhile memory and connections are sampled, and the broker's state is read for what it delivers
more than once. Writes benchmarks/results/load-*.json and docs/load.md; ends with 1 if a promise
is broken. Clients, functions and database share the machine: latencies are those of a full one.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import sqlite3
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import numpy as np
import psycopg

from benchmarks.recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)
from benchmarks.running import (
    POOL_SIZE,
    POOLS,
    Running,
    make_text,
    model_dir_option,
    repeating,
    run_like_product,
    sentences,
)
from local.system import System, wait_until

DOCUMENT = ROOT / "docs" / "load.md"
_PATIENCE_SECONDS = 60.0
_CHUNKS_A_DOCUMENT = 8
_BACKLOG_DOCUMENT_CHUNKS = 500
# Memory that grows by less than this in an hour is called flat.
_FLAT_MB_AN_HOUR = 10.0
# Shorter runs show how caches and allocators settle (docs/load.md): their slope is told, no more.
_JUDGED_FROM_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One question and what came of it.

    Attributes:
        started: Seconds of time.monotonic().
        status: Of HTTP; 0 if no answer came.
    """

    started: float
    seconds: float
    status: int
    retry_after: str | None = None
    error: str = ""

    @property
    def was_answered(self) -> bool:
        """Whether there is an answer."""
        return self.status == 200

    @property
    def was_refused(self) -> bool:
        """Whether it was refused as it should be: at once, and saying when to come again."""
        return self.status in (429, 503) and (self.retry_after or "").isdigit()


def ask(url: str, question: str, *, patience_seconds: float = _PATIENCE_SECONDS) -> Asked:
    """Ask once; whatever happens is told."""
    address = urlsplit(url)
    started = time.monotonic()
    told = partial(Asked, started)
    try:
        with closing(
            http.client.HTTPConnection(
                address.hostname or "", address.port, timeout=patience_seconds
            )
        ) as connection:
            connection.request(
                "POST",
                "/query",
                body=json.dumps({"question": question, "limit": 5}),
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            response.read()
    except (OSError, http.client.HTTPException) as error:
        return told(time.monotonic() - started, 0, error=f"{type(error).__name__}: {error}")
    return told(time.monotonic() - started, response.status, response.getheader("Retry-After"))


def ask_until(
    over: threading.Event, url: str, questions: Sequence[str], *, clients: int
) -> Callable[[], list[Asked]]:
    """Let clients ask one question after the other until *over*; return what joins them."""
    asked: list[list[Asked]] = [[] for _ in range(clients)]

    def go(number: int) -> None:
        chance = random.Random(number)
        while not over.is_set():
            asked[number].append(ask(url, chance.choice(questions)))

    threads = [threading.Thread(target=go, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()

    def join() -> list[Asked]:
        for thread in threads:
            thread.join()
        return sorted((one for part in asked for one in part), key=lambda one: one.started)

    return join


def ask_at_once(url: str, questions: Sequence[str], *, clients: int) -> list[Asked]:
    """Let clients ask at the same moment, each once."""
    start = threading.Barrier(clients)
    asked: list[Asked] = []

    def go(question: str) -> None:
        start.wait()
        asked.append(ask(url, question))

    threads = [
        threading.Thread(target=go, args=(questions[number % len(questions)],))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return asked


def summarise(asked: Sequence[Asked]) -> dict[str, Any]:
    """Return counts and latencies of the answers in milliseconds."""
    times = [1000 * one.seconds for one in asked if one.was_answered]
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else []
    return {
        "asked": len(asked),
        "statuses": {
            str(status): count
            for status, count in sorted(Counter(one.status for one in asked).items())
        },
        "errors": sum(not one.was_answered for one in asked),
        "p50_ms": round(cuts[49], 1) if cuts else None,
        "p95_ms": round(cuts[94], 1) if cuts else None,
        "p99_ms": round(cuts[98], 1) if cuts else None,
        "max_ms": round(max(times), 1) if times else None,
    }


def fit_slope(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """
    Return the slope of the regression line and its standard error, by the unit of *times*.

    Least squares; with fewer than three points neither is known: (nan, nan).
    """
    if len(times) < 3:
        return math.nan, math.nan
    x, y = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    x = x - x.mean()
    spread = float(x @ x)
    if spread == 0:
        return math.nan, math.nan
    slope = float(x @ y) / spread
    rest = y - y.mean() - slope * x
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / spread)


def tree_memory(pid: int) -> float:
    """Return the MB of a process and all below it; what they share is counted once."""
    total = 0.0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            total += sum(tree_memory(int(child)) for child in children.read_text().split())
    return total


@dataclass(slots=True)
class Samples:
    """What was seen of the running system."""

    moments: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    connections: list[int] = field(default_factory=list)


@contextmanager
def watch(running: Running, *, every_seconds: float) -> Iterator[Samples]:
    """Sample memory by part and the functions' connections until the block is left."""
    samples = Samples()
    parts = {name: process.pid for name, process in running.system.running.items()}
    parts["postgres"] = running.server.process.pid

    def look() -> None:
        samples.moments.append(time.monotonic())
        for name, pid in parts.items():
            samples.memory.setdefault(name, []).append(tree_memory(pid))
        samples.connections.append(count_connections(running.database_url))

    with repeating(look, every_seconds=every_seconds):
        yield samples


def count_connections(database_url: str) -> int:
    """Return how many connections the functions have open in this database."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            """
            SELECT count(*)
            FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'kaydangpt'
            """
        ).fetchone()
    return int(row[0]) if row else 0


@dataclass(slots=True)
class Deliveries:
    """What the broker was seen to hand out: the attempts of each message that was not gone yet."""

    attempts: dict[int, int] = field(default_factory=dict)


@contextmanager
def watch_deliveries(system: System) -> Iterator[Deliveries]:
    """Read the broker's state again and again; a message that is tried again stays for seconds."""
    seen = Deliveries()

    def look() -> None:
        for message, attempts in _read_broker(
            system, "SELECT id, attempts FROM deliveries WHERE attempts > 0"
        ):
            seen.attempts[message] = max(attempts, seen.attempts.get(message, 0))

    with repeating(look, every_seconds=0.2):
        yield seen


def count_messages(system: System) -> int:
    """Return how many messages the broker has taken for its subscriptions so far."""
    rows = _read_broker(system, "SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'")
    return int(rows[0][0]) if rows else 0


def _read_broker(system: System, statement: str) -> list[Any]:
    with closing(
        sqlite3.connect(f"file:{system.folder / 'pubsub' / 'state'}?mode=ro", uri=True, timeout=10)
    ) as broker:
        return broker.execute(statement).fetchall()


def measure_backlog(running: Running, *, chunks: int, prefix: str = "backlog") -> dict[str, Any]:
    """Stage documents while nothing embeds, then let the worker drain them."""
    system = running.system
    known, chance = sentences(), random.Random(prefix)
    system.stop("embed_worker")
    count = max(1, chunks // _BACKLOG_DOCUMENT_CHUNKS)
    size = min(chunks, _BACKLOG_DOCUMENT_CHUNKS)
    started = time.monotonic()
    before = count_messages(system)
    for number in range(count):
        system.upload(f"{prefix}/{number}.txt", make_text(chance, known, chunks=size))
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        wait_until(
            lambda: _backlog(connection, prefix)[0] == count,
            what="the backlog is staged",
            timeout_seconds=1800,
            pause=0.5,
        )
        staged = time.monotonic()
        _, batches, waiting = _backlog(connection, prefix)
        with watch_deliveries(system) as seen:
            system.start("embed_worker")
            wait_until(
                lambda: _backlog(connection, prefix)[1] == 0,
                what="the backlog is drained",
                timeout_seconds=7200,
                pause=0.5,
            )
            drained = time.monotonic()
            wait_until(
                lambda: not _read_broker(system, "SELECT 1 FROM deliveries LIMIT 1"),
                what="the broker is empty",
                timeout_seconds=600,
                pause=0.5,
            )
        row = connection.execute(
            """
            SELECT max(batches.attempts), avg(batches.attempts)
            FROM batches
            JOIN builds ON builds.id = batches.build_id
            JOIN documents ON documents.id = builds.document_id
            WHERE starts_with(name, %s)
            """,
            [f"{prefix}/"],
        ).fetchone()
    assert row is not None
    messages = count_messages(system) - before
    again = sum(attempts - 1 for attempts in seen.attempts.values())
    return {
        "documents": count,
        "batches": batches,
        "chunks": waiting,
        "stage_seconds": round(staged - started, 1),
        "drain_seconds": round(drained - staged, 1),
        "chunks_a_second": round(waiting / (drained - staged), 1),
        # One a document (its upload) and one a batch are needed.
        "messages": messages,
        "messages_needed": count + batches,
        "redeliveries": again,
        "deliveries_a_message": round((messages + again) / messages, 3),
        "leases_a_batch": round(float(row[1]), 3),
        "most_leases_of_a_batch": row[0],
    }


def _backlog(connection: psycopg.Connection[Any], prefix: str) -> tuple[int, int, int]:
    """Return documents that are staged or ready, batches and chunks that wait."""
    row = connection.execute(
        """
        SELECT count(DISTINCT builds.id),
               count(*) FILTER (WHERE NOT done),
               coalesce(sum(batches.size) FILTER (WHERE NOT done), 0)
        FROM builds
        JOIN documents ON documents.id = builds.document_id
        JOIN batches ON batches.build_id = builds.id
        WHERE starts_with(name, %s) AND builds.state IN ('embedding', 'ready')
        """,
        [f"{prefix}/"],
    ).fetchone()
    return (int(row[0]), int(row[1]), int(row[2])) if row else (0, 0, 0)


def upload_evenly(system: System, *, documents: int, seconds: float, prefix: str) -> None:
    """Upload documents of a few chunks each, spread over the time; return when all are ready."""
    known, chance = sentences(), random.Random(prefix)
    started = time.monotonic()
    for number in range(documents):
        text = make_text(chance, known, chunks=_CHUNKS_A_DOCUMENT)
        system.upload(f"{prefix}/{number}.txt", text)
        behind = started + seconds * (number + 1) / documents - time.monotonic()
        if behind > 0:
            threading.Event().wait(behind)
    wait_until(
        lambda: _states(system, prefix) == {"ready": documents},
        what=f"{documents} documents are ready",
        timeout_seconds=1800,
        pause=1,
    )


def _states(system: System, prefix: str) -> Counter[str]:
    documents = system.documents(prefix=f"{prefix}/", limit="100")
    return Counter(str(document["state"]) for document in documents.values())


def measure(
    running: Running,
    *,
    minutes: float,
    clients: int,
    documents: int,
    backlog_chunks: int,
    crowd: int,
) -> dict[str, Any]:
    """Do all four parts and return the figures."""
    system = running.system
    known = sentences()
    chance = random.Random(5)
    questions = [f"What is {' '.join(chance.choice(known).split()[:12])}?" for _ in range(200)]
    upload_evenly(system, documents=20, seconds=0, prefix="before")
    ask_at_once(system.query_url, questions, clients=clients)  # warm
    over = threading.Event()
    with watch(running, every_seconds=max(0.5, minutes)) as samples:
        started = time.monotonic()
        join = ask_until(over, system.query_url, questions, clients=clients)
        threading.Event().wait(12 * minutes)
        indexing = time.monotonic()
        try:
            upload_evenly(system, documents=documents, seconds=48 * minutes, prefix="load")
        finally:
            over.set()
            asked = join()
        ended = time.monotonic()
    seconds = ended - started
    crowded = ask_at_once(system.query_url, questions, clients=crowd)
    result = {
        "clients": clients,
        "documents": documents,
        "seconds": round(seconds, 1),
        "questions_a_second": round(len(asked) / seconds, 1),
        "asking": summarise([one for one in asked if one.started + one.seconds < indexing]),
        "asking_while_indexing": summarise([one for one in asked if one.started >= indexing]),
        "all_errors": sorted(
            {one.error or str(one.status) for one in asked if not one.was_answered}
        ),
        "memory": summarise_memory(samples),
        "connections": {"most": max(samples.connections), "budget": POOLS * POOL_SIZE},
        "crowd": {
            **summarise(crowded),
            "clients": crowd,
            "answered": sum(one.was_answered for one in crowded),
            "refused": sum(one.was_refused for one in crowded),
            "slowest_refusal_ms": round(
                1000 * max((one.seconds for one in crowded if one.was_refused), default=0.0), 1
            ),
        },
        "backlog": measure_backlog(running, chunks=backlog_chunks) if backlog_chunks else None,
    }
    return {**result, "broken": find_broken(result)}


def summarise_memory(samples: Samples) -> dict[str, dict[str, float]]:
    """Return, by part, MB at the end, at most, and the slope over all but the first quarter."""
    settled = len(samples.moments) // 4
    hours = [moment / 3600 for moment in samples.moments[settled:]]
    summary = {}
    for name, values in sorted(samples.memory.items()):
        slope, error = fit_slope(hours, values[settled:])
        summary[name] = {
            "mb": round(values[-1], 1),
            "most_mb": round(max(values), 1),
            "slope_mb_an_hour": round(slope, 1),
            "slope_error": round(error, 1),
        }
    return summary


def find_broken(result: Mapping[str, Any]) -> list[str]:
    """Return the promises that the figures do not keep."""
    broken = [
        f"{result[part]['errors']} questions failed ({part}): {result['all_errors']}"
        for part in ("asking", "asking_while_indexing")
        if result[part]["errors"]
    ]
    crowd = result["crowd"]
    if crowd["answered"] + crowd["refused"] != crowd["asked"]:
        broken.append(f"overload was answered neither by 200 nor by 503: {crowd['statuses']}")
    connections = result["connections"]
    if connections["most"] > connections["budget"]:
        broken.append(f"{connections['most']} connections, budget {connections['budget']}")
    backlog = result["backlog"]
    if backlog and backlog["deliveries_a_message"] > 1.1:
        broken.append(f"{backlog['deliveries_a_message']} deliveries a message")
    if backlog and backlog["most_leases_of_a_batch"] > 1:
        broken.append(f"a batch was leased {backlog['most_leases_of_a_batch']} times")
    if result["seconds"] >= _JUDGED_FROM_SECONDS:
        broken += [
            f"{name} grows by {memory['slope_mb_an_hour']} MB an hour"
            for name, memory in result["memory"].items()
            if name not in ("postgres", "storage")
            and memory["slope_mb_an_hour"] - 2 * memory["slope_error"] > _FLAT_MB_AN_HOUR
        ]
    return broken


def write_tables(result: Mapping[str, Any]) -> str:
    """Return the tables of docs/load.md."""
    asking = make_table(
        ("", "questions", "errors", "p50 ms", "p95 ms", "p99 ms", "longest ms"),
        [
            (
                name,
                part["asked"],
                part["errors"],
                *(part[key] for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
            )
            for name, part in (
                ("nothing else", result["asking"]),
                (f"{result['documents']} documents indexed", result["asking_while_indexing"]),
            )
        ],
    )
    memory = make_table(
        ("part", "MB at the end", "at most", "slope MB/h", "± (standard error)"),
        [
            (name, *(part[key] for key in ("mb", "most_mb", "slope_mb_an_hour", "slope_error")))
            for name, part in result["memory"].items()
        ],
    )
    crowd, connections, backlog = result["crowd"], result["connections"], result["backlog"]
    others = crowd["asked"] - crowd["answered"] - crowd["refused"]
    clients = (
        f"{result['clients']} clients without a pause between their questions,"
        f" {result['seconds']:.0f} s, {result['questions_a_second']} questions a second:"
    )
    pools = (
        f"Connections: at most {connections['most']} at once; the pools may take"
        f" {connections['budget']}."
    )
    at_once = (
        f"{crowd['clients']} questions at the same moment: {crowd['answered']} answered (the last"
        f" after {crowd['max_ms']} ms), {crowd['refused']} refused by 503 with Retry-After (the"
        f" last after {crowd['slowest_refusal_ms']} ms), {others} anything else."
    )
    remembered = "Memory (PSS of a part's processes; the slope leaves out the first quarter):"
    parts = [clients, asking, remembered, memory, pools, at_once]
    if backlog:
        parts.append(
            f"Backlog: {backlog['chunks']:,} chunks in {backlog['batches']} batches of"
            f" {backlog['documents']} documents, staged in {backlog['stage_seconds']} s with the"
            f" worker stopped, drained in {backlog['drain_seconds']} s"
            f" ({backlog['chunks_a_second']} chunks a second). {backlog['messages']} messages"
            f" where {backlog['messages_needed']} are needed (the difference is the sweeper's),"
            f" {backlog['deliveries_a_message']} deliveries a message, {backlog['leases_a_batch']}"
            " leases a batch."
        )
    broken = result["broken"]
    parts.append(f"Promises broken: {'; '.join(broken)}." if broken else "No promise was broken.")
    return "\n\n".join([*parts, describe_run(dict(result))])


@click.command(help=__doc__)
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--clients", default=32, show_default=True)
@click.option("--documents", default=500, show_default=True)
@click.option("--backlog", "backlog_chunks", default=20_000, show_default=True, help="0: none.")
@click.option("--crowd", default=200, show_default=True, help="Clients at the same moment.")
@model_dir_option
@click.option("--folder", type=click.Path(path_type=Path), help="For the state; removed again.")
@click.option("--tables", is_flag=True, help="Only write docs/load.md of the newest result again.")
def main(
    *,
    minutes: float,
    clients: int,
    documents: int,
    backlog_chunks: int,
    crowd: int,
    model_dir: Path,
    folder: Path | None,
    tables: bool,
) -> None:
    """Measure, write the result and docs/load.md."""
    if not tables:
        machine = describe_machine()
        with run_like_product(model_dir, folder=folder) as running:
            result = measure(
                running,
                minutes=minutes,
                clients=clients,
                documents=documents,
                backlog_chunks=backlog_chunks,
                crowd=crowd,
            )
        click.echo(write_result("load", {"machine": machine, **result}))
    latest = show_latest("load", document=DOCUMENT, blocks={"load": write_tables})
    if latest["broken"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
