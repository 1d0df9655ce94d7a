"""
Time what operators ask where a million documents are: python -m benchmarks.many_documents

The rows are generated; pages, counts, the sweeper's part and the comparison with the bucket are the
product's own functions on a PostgreSQL of its own. The bucket is a listing that is generated too:
Storage's own takes as long as it takes. Writes a result and the table of docs/scaling.md.
"""

from __future__ import annotations

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import UUID

import click
import psycopg

from admin.reconciliation import find_differences
from shared import store
from shared.store import Connection
from shared.values import ObjectVersion

from .recording import ROOT, describe_machine, describe_run, make_table, publish
from .running import open_database

_DOCUMENT = ROOT / "docs" / "scaling.md"
_BUCKET = "documents"
_ROUNDS = 20
# One in so many is not in the bucket, and one in so many has failed.
_GONE, _FAILED = 10_000, 1_000


class _Listing:
    """A bucket that lists the documents' names, all but some, without a server."""

    def __init__(self, documents: int, *, name: str = _BUCKET) -> None:
        self.name = name
        self._documents = documents

    def list(self, *, start: str = "", end: str = "") -> Iterator[ObjectVersion]:
        """Yield the objects from *start* on and before *end*."""
        first = int(start.rpartition("/")[2] or 1)
        last = int(end.rpartition("/")[2]) if end else self._documents + 1
        for number in range(first, last):
            if number % _GONE:
                yield ObjectVersion(self.name, _name(number), 1)


@click.command(help=__doc__)
@click.option("--documents", default=1_000_000, show_default=True)
def main(*, documents: int) -> None:
    """Run the measurement."""
    machine = describe_machine()
    with open_database({}, dimension=384) as database:
        connection = database.connection
        _fill(connection, documents)
        rows = [
            *_time_pages(connection, documents),
            *_time_counts(connection),
            _time_comparison(connection, database.server.url, documents),
            _time_first_comparison(connection, database.server.url, documents),
        ]
    publish(
        "many_documents",
        {"machine": machine, "documents": documents, "rows": rows},
        document=_DOCUMENT,
        write_table=_write_table,
    )


def _name(number: int) -> str:
    return f"folder/{number:08}"


def _fill(connection: Connection, documents: int) -> None:
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        """
        INSERT INTO documents (bucket, name, seen_generation, state)
        SELECT %(bucket)s, 'folder/' || lpad(number::text, 8, '0'), 1,
               CASE WHEN number %% %(failed)s = 0 THEN 'failed' ELSE 'ready' END
        FROM generate_series(1, %(documents)s) AS number
        """,
        {"bucket": _BUCKET, "documents": documents, "failed": _FAILED},
    )
    connection.execute(
        """
        INSERT INTO builds (document_id, generation, epoch, state, reason_code)
        SELECT id, 1, 0, state, CASE WHEN state = 'failed' THEN 'encrypted' END
        FROM documents
        """
    )
    connection.execute("RESET session_replication_role")
    connection.execute("VACUUM ANALYZE")


def _time_pages(connection: Connection, documents: int) -> Iterator[list[str]]:
    middle = (_name(documents // 2), UUID(int=0))
    for what, ask in (
        ("GET /documents, the first 100", lambda: store.list_documents(connection, limit=100)),
        (
            "100 from the middle on",
            lambda: store.list_documents(connection, after=middle, limit=100),
        ),
        (
            "100 of a prefix",
            lambda: store.list_documents(
                connection, store.Selection(prefix=middle[0][:-3]), limit=100
            ),
        ),
        (
            "100 that failed",
            lambda: store.list_documents(connection, store.Selection(states=["failed"]), limit=100),
        ),
    ):
        yield [what, _describe(_time(ask))]


def _time_counts(connection: Connection) -> Iterator[list[str]]:
    began = time.perf_counter()
    store.refresh_document_counts(connection)
    seconds = time.perf_counter() - began
    yield ["/metrics and `status`", _describe(_time(lambda: store.read_backlog(connection)))]
    yield ["the sweeper's count for them", f"{seconds * 1000:,.0f} ms"]
    sweep = _time(lambda: store.forget_old(connection, days=90), rounds=3)
    yield ["the sweeper's search for leftovers", _describe(sweep)]


def _time_comparison(connection: Connection, url: str, documents: int) -> list[str]:
    found, figures = _compare(connection, url, _Listing(documents))
    if found != documents // _GONE:
        raise RuntimeError(f"{found} differences, and not {documents // _GONE}")
    return [f"reconcile, {found} objects gone", figures]


def _time_first_comparison(connection: Connection, url: str, documents: int) -> list[str]:
    """Compare a bucket of which nothing is known: every object is a difference."""
    found, figures = _compare(connection, url, _Listing(documents, name="another"))
    if found != documents - documents // _GONE:
        raise RuntimeError(f"{found} differences of {documents}")
    return [f"reconcile, {found:,} objects new", figures]


def _compare(connection: Connection, url: str, bucket: _Listing) -> tuple[int, str]:
    """Return how many differences there are, and what it took to find them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = 0
    with _longest_transaction(url) as longest:
        for page, position in find_differences(lambda: nullcontext(connection), bucket):
            found += len(page)
            store.note_position(connection, position, bucket=bucket.name)
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    transaction = f"no transaction over {max(longest, default=0) * 1000:,.0f} ms"
    return found, f"{seconds:,.1f} s; {grown:,.1f} MB more memory; {transaction}"


@contextmanager
def _longest_transaction(url: str) -> Iterator[list[float]]:
    """Watch the other sessions; yield the seconds that their transactions are seen to last."""
    over = threading.Event()
    seen: list[float] = []

    def watch() -> None:
        with psycopg.connect(url, autocommit=True) as watcher:
            while not over.wait(0.02):
                row = watcher.execute(
                    """
                    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)
                    FROM pg_stat_activity
                    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
                    """
                ).fetchone()
                seen.append(float(row[0]) if row else 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _time(ask: Callable[[], Any], *, rounds: int = _ROUNDS) -> list[float]:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began)
    return seconds


def _describe(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:,.1f} ms, at most {max(seconds) * 1000:,.1f}"


def _write_table(result: dict[str, Any]) -> str:
    table = make_table(["", f"{result['documents']:,} documents"], result["rows"])
    return f"{table}\n\n{describe_run(result)}"


if __name__ == "__main__":
    main()
