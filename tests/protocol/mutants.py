"""
Show that the checks of the protocol have teeth: run them on the protocol, and on broken ones.

The real protocol must hold in every schedule; each broken design must be caught in some.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import local
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from rich.console import Console
from rich.table import Table

from admin.reconciliation import compare
from functions.ingest import indexing
from local.checkout import remove
from local.postgres import start_postgres
from shared import store
from shared.runtime.logs import set_up_logs
from shared.settings import LogSettings
from shared.store import documents, outbox
from shared.store.document_lock import lock_build
from shared.values import ObjectVersion
from tests.protocol.harness import (
    BUCKET,
    Design,
    Task,
    TaskBucket,
    TaskPublisher,
    Violation,
    World,
    temporary_database,
)
from tests.protocol.schedules import (
    SCENARIOS,
    TWICE,
    Scenario,
    run_at_random,
    run_exhaustively,
)
from tests.support.reliability import REPORT, describe, write_part


@dataclass(frozen=True, slots=True)
class Mutant:
    """
    A broken design.

    Attributes:
        scenarios: Where it is looked for first: parts of the names of scenarios.
        twice: Whether one interruption is not enough.
        quick: Whether it is caught in seconds, so that `make test` tries it.
    """

    name: str
    design: Design
    scenarios: tuple[str, ...]
    twice: bool = False
    quick: bool = False


_STORE = "shared.store"
_BATCHES = "shared.store.batches"
_DOCUMENTS = "shared.store.documents"
_INGEST = "functions.ingest.indexing"
_LOCK = "shared.store.document_lock"
_HARNESS = "tests.protocol.harness"


def _delete_without_look(_original: Any) -> Any:
    def delete(version: ObjectVersion, resources: Any) -> None:
        with store.connect(resources.pool) as connection:
            store.record_gone(connection, version)

    return delete


def _without_transaction(original: Any) -> Any:
    def staged(connection: Any, *args: Any, **options: Any) -> Any:
        connection.transaction = nullcontext
        try:
            return original(connection, *args, **options)
        finally:
            del connection.transaction

    return staged


def _count_completions(_original: Any) -> Any:
    def finish_batch(
        connection: store.Connection,
        lease: store.BatchLease,
        embeddings: NDArray[np.float32],
        **_options: Any,
    ) -> bool:
        with connection.transaction():
            owner, build = lock_build(connection, lease.job.build_id)
            if owner is None or build is None or build.state != "embedding":
                return False
            if documents.drop_if_overtaken(connection, owner, build):
                return False
            for ordinal, embedding in zip(lease.ordinals, embeddings, strict=True):
                connection.execute(
                    "INSERT INTO embeddings (model_id, build_id, ordinal, embedding)"
                    " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [lease.model_id, build.id, ordinal, HalfVector(embedding)],
                )
            connection.execute(
                "UPDATE batches SET done = true WHERE build_id = %s AND number = %s",
                [build.id, lease.job.batch_number],
            )
            counted = connection.execute(
                "UPDATE builds SET completions = completions + 1 WHERE id = %s"
                " RETURNING completions = (SELECT count(*) FROM batches WHERE build_id = id)",
                [build.id],
            ).fetchone()
            if counted != (True,):
                return False
            documents.flip(connection, owner, build, announce=False)
            return True

    return finish_batch


def _delete_by_name(original: Any) -> Any:
    def record_gone(connection: store.Connection, version: ObjectVersion, **_options: Any) -> bool:
        row = connection.execute(
            "SELECT seen_generation FROM documents WHERE name = %s", [version.name]
        ).fetchone()
        seen = row[0] if row else 0
        recorded: bool = original(
            connection, replace(version, generation=max(version.generation, seen))
        )
        return recorded

    return record_gone


_postponed = local()


def _postpone_flip(original: Any) -> Any:
    def postpone(connection: store.Connection, document: Any, build: Any, **options: Any) -> None:
        _postponed.flip = lambda: original(connection, document, build, **options)

    return postpone


def _flip_afterwards(original: Any) -> Any:
    def flipped_after(connection: store.Connection, *args: Any, **options: Any) -> Any:
        _postponed.flip = None
        result = original(connection, *args, **options)
        if _postponed.flip is not None:
            with connection.transaction():
                _postponed.flip()
        return result

    return flipped_after


def _no_jobs_again(_original: Any) -> Any:
    return lambda _connection, _build_id: []


def _no_turn_made_up_for(find_turn: Any) -> Any:
    def find_own_turn(connection: Any, job: Any) -> Any:
        own = (
            job
            and connection.execute(
                "SELECT 1 FROM batches WHERE build_id = %s AND number = %s AND NOT done",
                [job.build_id, job.batch_number],
            ).fetchone()
        )
        return find_turn(connection, job) if own else None

    return find_own_turn


def _only_dead_is_obsolete(_original: Any) -> Any:
    def is_obsolete(document: Any, generation: int) -> bool:
        return bool(generation <= document.dead_generation)

    return is_obsolete


def _only_dead_is_overtaken(_original: Any) -> Any:
    def drop_if_overtaken(connection: store.Connection, document: Any, build: Any) -> bool:
        return bool(build.generation <= document.dead_generation)

    return drop_if_overtaken


def _without_retraction(original: Any) -> Any:
    def record_failure(connection: Any, document: Any, build: Any, **verdict: Any) -> None:
        original(connection, replace(document, active_generation=None), build, **verdict)

    return record_failure


def _with_present_token(original: Any) -> Any:
    def fail_build(connection: Any, lease: store.BuildLease, **options: Any) -> None:
        row = connection.execute(
            "SELECT attempts FROM builds WHERE id = %s", [lease.build_id]
        ).fetchone()
        original(connection, replace(lease, attempts=row[0]) if row else lease, **options)

    return fail_build


def _with_uncounted_token(original: Any) -> Any:
    def fail_build(connection: Any, lease: store.BuildLease, **options: Any) -> None:
        original(connection, replace(lease, attempts=lease.attempts - 1), **options)

    return fail_build


def _raise_seen_alone(_original: Any) -> Any:
    def record_newer(connection: store.Connection, version: ObjectVersion) -> bool:
        with connection.transaction():
            connection.execute(
                "UPDATE documents SET seen_generation = greatest(seen_generation, %s)"
                " WHERE name = %s",
                [version.generation, version.name],
            )
        return True

    return record_newer


def _answer_when_staged(original: Any) -> Any:
    def stage_build(connection: store.Connection, lease: store.BuildLease, **options: Any) -> Any:
        with connection.transaction():
            jobs = original(connection, lease, **options)
            if jobs:
                documents.describe_document(connection, lease.build_id)
        return jobs

    return stage_build


def _withdraw_first(original: Any) -> Any:
    def reindex_document(connection: store.Connection, document_id: Any) -> Any:
        connection.execute(
            "UPDATE documents SET active_build = NULL, active_generation = NULL WHERE id = %s",
            [document_id],
        )
        return original(connection, document_id)

    return reindex_document


def _bucket_first(_original: Any) -> Any:
    def reconcile(self: World) -> Task:
        def body(task: Task) -> None:
            objects = list(TaskBucket(task).list())
            with task.connection() as connection:
                known = store.read_known_objects(connection, bucket=BUCKET, start="", limit=1000)
                for item in list(compare(known, objects, bucket=BUCKET)):
                    if item.kind == "not_deleted" and item.event:
                        store.record_gone(connection, item.event.object)
                    elif item.event:
                        TaskPublisher(task).publish_events(iter([item.event]))

        return self.start("reconcile", body)

    return reconcile


def _download_what_is_there(original: Any) -> Any:
    def download(self: TaskBucket, version: ObjectVersion, file: Any, *, max_bytes: int) -> None:
        live = self._bucket.live.get(version.name, version)
        original(self, replace(version, generation=live.generation), file, max_bytes=max_bytes)

    return download


def _metadata_first(original: Any) -> Any:
    def follow(version: ObjectVersion, resources: Any) -> None:
        current = resources.bucket.look(version.name)
        if current is None or current.generation != version.generation:
            original(version, resources)
            return
        with store.connect(resources.pool) as connection:
            store.record_metadata(connection, current)
        indexing._index(current, resources)

    return follow


def _believe_events(_original: Any) -> Any:
    def follow(version: ObjectVersion, resources: Any) -> None:
        indexing._index(version, resources)
        with store.connect(resources.pool) as connection:
            store.record_metadata(connection, version)

    return follow


def _nothing(_original: Any) -> Any:
    return lambda *_args, **_options: None


def _never(_original: Any) -> Any:
    return lambda *_args, **_options: False


def _delete_before_publishing(_original: Any) -> Any:
    def publish_waiting(pool: store.Pool, publish: store.Publish) -> int:
        with store.connect(pool) as connection:
            events = outbox.claim_events(connection, limit=100)
            outbox.delete_events(connection, events)
        publish(events)
        return len(events)

    return publish_waiting


_unwritten = local()


def _write_later(original: Any) -> Any:
    def write_later(connection: store.Connection, key: Any) -> None:
        _unwritten.writes.append(lambda: original(connection, key))

    return write_later


def _write_afterwards(original: Any) -> Any:
    def written_after(connection: store.Connection, *args: Any, **options: Any) -> Any:
        _unwritten.writes = []
        result = original(connection, *args, **options)
        for write in _unwritten.writes:
            write()
        return result

    return written_after


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "no lock on the document",
        Design(
            rewrites=[
                (
                    (
                        r"(WHERE id = %\(id\)s"
                        r" OR \(bucket = %\(bucket\)s AND name = %\(name\)s\)\s+)FOR UPDATE"
                    ),
                    r"\1",
                )
            ]
        ),
        ("two batches at once",),
        quick=True,
    ),
    Mutant(
        "delete without a look at the object",
        Design(attributes=[(_INGEST, "_delete", _delete_without_look)]),
        ("forged delete",),
        quick=True,
    ),
    Mutant(
        "no sweeper", Design(sweeper=False), ("jobs lost", "the same finalize twice"), quick=True
    ),
    Mutant(
        "acknowledge before the work",
        Design(acknowledge_first=True),
        ("fault: first finalize", "fault: delete"),
    ),
    Mutant(
        "drop messages whose id was seen, before the work",
        Design(dedupe=True),
        ("fault: first finalize", "fault: delete"),
    ),
    Mutant(
        "stage in several transactions",
        Design(attributes=[(_STORE, "stage_build", _without_transaction)]),
        ("fault: first finalize",),
    ),
    Mutant(
        "count completions instead of batches done",
        Design(
            attributes=[(_STORE, "finish_batch", _count_completions)],
            columns=(
                "ALTER TABLE builds ADD COLUMN completions integer NOT NULL DEFAULT 0",
                "ALTER TABLE builds DROP COLUMN completions",
            ),
        ),
        ("the same batch twice",),
    ),
    Mutant(
        "delete by name, not by generation",
        Design(attributes=[(_STORE, "record_gone", _delete_by_name)]),
        ("uploaded again while the delete is handled",),
    ),
    Mutant(
        "no tombstone",
        Design(
            rewrites=[(r"dead_generation = greatest\(dead_generation, %\(generation\)s\),\s+", "")]
        ),
        ("deleted while parsing",),
    ),
    Mutant(
        "flip in a transaction after the last batch's",
        Design(
            attributes=[
                (_DOCUMENTS, "flip", _postpone_flip),
                (_STORE, "finish_batch", _flip_afterwards),
                (_STORE, "stage_build", _flip_afterwards),
            ]
        ),
        ("fault: last batch",),
    ),
    Mutant(
        "flip without reading the document again",
        Design(
            rewrites=[
                (
                    (
                        r"(DELETE FROM builds\s+WHERE document_id = %\(document_id\)s\s+AND"
                        r" \(generation, epoch\) < \(%\(generation\)s, %\(epoch\)s\))\s*$"
                    ),
                    r"\1 AND false",
                )
            ],
            attributes=[
                (_DOCUMENTS, "drop_if_overtaken", _never),
                (_DOCUMENTS, "delete_older_builds", _nothing),
            ],
        ),
        ("overwritten while embedding",),
    ),
    Mutant(
        "the last event wins, whatever its generation",
        Design(
            rewrites=[(r" AND seen_generation < %\(generation\)s", "")],
            attributes=[
                (_LOCK, "is_obsolete", _only_dead_is_obsolete),
                (_DOCUMENTS, "drop_if_overtaken", _only_dead_is_overtaken),
            ],
        ),
        ("an old finalize after the new one",),
    ),
    Mutant(
        "download what is there, not the event's generation",
        Design(attributes=[(_HARNESS, "TaskBucket.download", _download_what_is_there)]),
        ("overwritten while parsing",),
    ),
    Mutant(
        "a failure leaves the older generation answering",
        Design(attributes=[(_DOCUMENTS, "record_failure", _without_retraction)]),
        ("overwritten by an unreadable text",),
    ),
    Mutant(
        "unfinished batches are not published again",
        Design(attributes=[(_BATCHES, "unpublished_jobs", _no_jobs_again)]),
        ("fault: first finalize",),
    ),
    Mutant(
        "a job whose batch another's did, does none",
        Design(attributes=[(_STORE, "find_turn", _no_turn_made_up_for)]),
        ("fault: job whose batch",),
    ),
    Mutant(
        "attempts counted after the work",
        Design(
            rewrites=[
                (r"(SET state = 'parsing',\s+)attempts = attempts \+ 1,", r"\1"),
                (
                    (
                        r"SET lease_until = clock_timestamp\(\), last_error = %\(error\)s"
                        r"(\s+WHERE id = %\(id\)s) AND attempts = %\(attempts\)s"
                    ),
                    (
                        r"SET attempts = attempts + 1, lease_until = clock_timestamp(),"
                        r" last_error = %(error)s\1"
                    ),
                ),
            ],
            attributes=[(_STORE, "fail_build", _with_uncounted_token)],
        ),
        ("fault: deadly",),
    ),
    Mutant(
        "a failure is recorded without holding the lease",
        Design(attributes=[(_STORE, "fail_build", _with_present_token)]),
        ("a late verdict",),
        twice=True,
    ),
    Mutant(
        "a newer generation is recorded without its build",
        Design(attributes=[(_STORE, "record_newer", _raise_seen_alone)]),
        ("finalize of an overwrite lost twice",),
    ),
    Mutant(
        "answer as soon as the chunks are staged",
        Design(attributes=[(_STORE, "stage_build", _answer_when_staged)]),
        ("overwritten while embedding",),
    ),
    Mutant(
        "the old answer goes when the new generation comes",
        Design(
            rewrites=[
                (
                    r"SET seen_generation = %\(generation\)s,",
                    (
                        "SET seen_generation = %(generation)s, active_build = NULL,"
                        " active_generation = NULL,"
                    ),
                )
            ]
        ),
        ("overwritten while parsing",),
    ),
    Mutant(
        "re-index withdraws the answer first",
        Design(attributes=[(_STORE, "reindex_document", _withdraw_first)]),
        ("re-index",),
    ),
    Mutant(
        "a retried document keeps its build's id, and the flip trusts the batches",
        Design(
            rewrites=[(r"SET id = DEFAULT, state = 'queued'", "SET state = 'queued'")],
            attributes=[(_BATCHES, "queue_missing", _never)],
        ),
        ("retried while an old worker embeds",),
    ),
    Mutant(
        "the model switched without a look at what is under way",
        Design(attributes=[(_BATCHES, "queue_missing", _never)]),
        ("the model switched while embedding",),
    ),
    Mutant(
        "the model switched without a lock",
        Design(attributes=[("shared.store.models", "lock_serving_model", _nothing)]),
        ("a document is ready while the model is switched",),
    ),
    Mutant(
        "metadata recorded before the build they belong to",
        Design(attributes=[(_INGEST, "_follow", _metadata_first)]),
        ("metadata changed while parsing",),
    ),
    Mutant(
        "an event is believed what it says of its object",
        Design(attributes=[(_INGEST, "_follow", _believe_events)]),
        ("forged metadata", "forged finalize"),
    ),
    Mutant(
        "the reconciler lists the bucket first, and deletes by itself",
        Design(attributes=[(_HARNESS, "World.reconcile", _bucket_first)]),
        ("the reconciler meets an upload",),
    ),
    Mutant(
        "forget what happened before it is announced",
        Design(
            announces=True,
            attributes=[
                ("shared.store.announcements", "publish_waiting", _delete_before_publishing)
            ],
        ),
        ("the worker that makes it ready",),
        quick=True,
    ),
    Mutant(
        "write what happened after the flip, not with it",
        Design(
            announces=True,
            attributes=[
                (_DOCUMENTS, "write_ended", _write_later),
                (_STORE, "finish_batch", _write_afterwards),
                (_STORE, "stage_build", _write_afterwards),
                (_STORE, "fail_build", _write_afterwards),
                (_STORE, "lease_batch", _write_afterwards),
                (_STORE, "begin_build", _write_afterwards),
            ],
        ),
        ("the worker that makes it ready",),
    ),
)


_progress = Console(stderr=True)
_TWICE = ", two interruptions"


def run_all(
    world: World, *, scenarios: Iterable[Scenario], twice: Iterable[str], seeds: Iterable[int]
) -> Iterator[str]:
    """Run schedules on *world*, and yield after each what it belonged to."""
    for scenario in scenarios:
        for _ in run_exhaustively(world, scenario):
            yield scenario.name
    for scenario in SCENARIOS:
        if scenario.name in twice:
            for _ in run_exhaustively(world, scenario, twice=True):
                yield scenario.name + _TWICE
    for seed in seeds:
        run_at_random(world, seed)
        yield "random"


def catch(
    database_url: str, mutant: Mutant, *, everywhere: bool, seeds: Iterable[int] = ()
) -> tuple[str, int] | None:
    """
    Look for a schedule in which *mutant* breaks a promise.

    Args:
        everywhere: Whether to look beyond the scenarios that the mutant names.

    Returns:
        What was violated and the number of schedules it took; None when it was not caught.
    """
    first = [item for item in SCENARIOS if any(part in item.name for part in mutant.scenarios)]
    rest = [item for item in SCENARIOS if item not in first] if everywhere else []
    with World(database_url, design=mutant.design) as world:
        try:
            if mutant.twice:
                for scenario in first:
                    for _ in run_exhaustively(world, scenario, twice=True):
                        pass
            for _ in run_all(world, scenarios=[*first, *rest], twice=(), seeds=seeds):
                pass
        except Violation as violation:
            return str(violation).splitlines()[0], world.schedules
        finally:
            if mutant.design.rewrites and not world.rewritten:
                raise AssertionError(f"{mutant.name}: its SQL is nowhere in the protocol any more")
    return None


@dataclass(frozen=True, slots=True)
class Held:
    """
    How the real protocol went.

    Attributes:
        counts: Schedules by what they belong to.
        steps: Statements, looks, downloads and publishes in all of them.
        broken: The promise that was broken; empty if all were kept.
    """

    counts: Mapping[str, int]
    steps: int
    seconds: float
    broken: str


@dataclass(frozen=True, slots=True)
class Caught:
    """How one mutant went; *by* is None if no schedule caught it."""

    name: str
    by: str | None
    schedules: int
    seconds: float


@click.command(help=__doc__)
@click.option("--random", "seed_count", default=1000, show_default=True, help="Random schedules.")
@click.option("--seed", default=0, show_default=True, help="The first random schedule's seed.")
@click.option("--only", default="", help="Only mutants with this in their names; no real protocol.")
@click.option("--verbose", is_flag=True, help="Print the whole schedule of a violation.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the tables; docs/reliability.md after a whole run, else nowhere.",
)
def main(*, seed_count: int, seed: int, only: str, verbose: bool, report: Path | None) -> None:
    """Run the protocol and its mutants; exit 1 if one of them does not do what it must."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    # World quiets the loggers that this makes.
    set_up_logs(LogSettings(log_format="text"))
    # A run that is asked to end takes its server with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="kaydangpt-protocol-") as folder:
        server = start_postgres(
            Path(folder) / "data", options={"fsync": "off", "synchronous_commit": "off"}
        )
        try:
            with temporary_database(server.url, "protocol") as url:
                held = None if only else _run_real(url, console, range(seed, seed + seed_count))
                caught = _run_mutants(url, console, only=only, verbose=verbose)
        finally:
            server.stop()
            remove(server.data_dir)
    if held is not None:
        write_part(report or REPORT, "mutants", _describe(held, caught))
    good = all(one.by is not None for one in caught) and not (held and held.broken)
    sys.exit(0 if good else 1)


def _run_real(url: str, console: Console, seeds: range) -> Held:
    counts: dict[str, int] = {}
    started = time.monotonic()
    broken = ""
    with World(url) as world, _progress.status("") as status:
        try:
            for name in run_all(world, scenarios=SCENARIOS, twice=TWICE, seeds=seeds):
                if name not in counts and counts:
                    _progress.print(_describe_last(counts), markup=False)
                counts[name] = counts.get(name, 0) + 1
                status.update(_describe_last(counts))
        except Violation as violation:
            broken = str(violation)
            console.print(f"The protocol broke a promise: {violation}", style="red", markup=False)
        steps = world.statements
    seconds = time.monotonic() - started
    table = Table("the real protocol: schedules of", "count")
    for name, count in counts.items():
        table.add_row(name, str(count))
    table.add_row("all", str(sum(counts.values())))
    console.print(table)
    console.print(f"{steps:,} steps in {seconds:.0f} s", markup=False)
    if not broken:
        console.print("No violation.")
    return Held(counts, steps, seconds, broken)


def _describe_last(counts: dict[str, int]) -> str:
    name, count = list(counts.items())[-1]
    return f"{name}: {count}"


def _run_mutants(url: str, console: Console, *, only: str, verbose: bool) -> list[Caught]:
    table = Table("broken design", "caught after", "seconds", "by")
    outcomes = []
    for mutant in [item for item in MUTANTS if only in item.name]:
        started = time.monotonic()
        with _progress.status(mutant.name):
            caught = catch(url, mutant, everywhere=True, seeds=range(100))
        seconds = time.monotonic() - started
        if caught is None:
            outcomes.append(Caught(mutant.name, None, 0, seconds))
            table.add_row(mutant.name, "NOT CAUGHT", f"{seconds:.1f}", "")
        else:
            by, schedules = caught
            outcomes.append(Caught(mutant.name, by, schedules, seconds))
            table.add_row(mutant.name, f"{schedules} schedules", f"{seconds:.1f}", by)
        if verbose:
            console.print(mutant.name, caught, f"{seconds:.1f}", markup=False)
    console.print(table)
    return outcomes


_INTRODUCTION = """\
## The protocol and its broken designs

Written by `make mutants`; do not edit. The code that writes to the database runs on a real
Postgres. A scheduler stops each delivery before every statement, look, download and publish, where
another delivery interrupts it or it dies ([Decisions](decisions.md#why-this-protocol)). The real
protocol must keep its promises in every schedule. Each broken design, a patch of the code, its SQL
or its acknowledgements, must be caught in at least one.
"""


def _describe(held: Held, caught: Sequence[Caught]) -> str:
    counts = Counter(held.counts)
    at_random = counts.pop("random", 0)
    twice = sum(count for name, count in counts.items() if name.endswith(_TWICE))
    verdict = f"**broken**: {describe(held.broken)}" if held.broken else "no promise broken"
    found = sum(one.by is not None for one in caught)
    figures = (
        f"{counts.total():,} exhaustive schedules ({twice:,} of them with two interruptions) of"
        f" {len(SCENARIOS)} scenarios and {at_random:,} random ones, {held.steps:,} steps in"
        f" {held.seconds / 60:.0f} minutes: {verdict}. {found} of {len(caught)} broken designs"
        f" caught in {sum(one.seconds for one in caught) / 60:.0f} minutes.\n"
    )
    columns = ("|broken design|caught after schedules|by|", "|---|---|---|")
    lines = [_INTRODUCTION, figures, *columns]
    for one in caught:
        after = "**not caught**" if one.by is None else f"{one.schedules:,}"
        lines.append(f"| {describe(one.name)} | {after} | {describe(one.by or '')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
