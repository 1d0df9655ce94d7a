"""The database protocol on a real Postgres, rule by rule."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from shared import store
from shared.store import BuildLease, BuildStart, Connection, StalledWork, Turn
from shared.values import Chunk, EmbedJob, ObjectVersion

DIMENSION = 384


def version(generation: int, *, name: str = "report.txt") -> ObjectVersion:
    return ObjectVersion(bucket="docs", name=name, generation=generation, size=10)


def begin(
    connection: Connection, generation: int, *, name: str = "report.txt", max_attempts: int = 10
) -> BuildStart:
    return store.begin_build(
        connection,
        version(generation, name=name),
        config_hash="test",
        lease_seconds=60,
        max_attempts=max_attempts,
    )


def must_begin(connection: Connection, generation: int, *, name: str = "report.txt") -> BuildLease:
    lease = begin(connection, generation, name=name).lease
    assert lease is not None
    return lease


def make_chunks(*texts: str) -> list[tuple[Chunk, str]]:
    position, chunks = 0, []
    for ordinal, text in enumerate(texts):
        chunk = Chunk(
            ordinal=ordinal,
            text=text,
            heading="",
            header="",
            page=1,
            char_start=position,
            char_end=position + len(text),
            tokens=len(text.split()),
            boxes=f"boxes of {text}".encode(),
        )
        chunks.append((chunk, text))
        position += len(text)
    return chunks


def segments(text: str, *, size: int = 4) -> list[tuple[int, str]]:
    return [(start, text[start : start + size]) for start in range(0, len(text), size)]


def stage(
    connection: Connection, lease: BuildLease, *texts: str, batch_size: int = 2
) -> list[EmbedJob]:
    return store.stage_build(
        connection,
        lease,
        document=store.StagedDocument(
            title="Report",
            language="en",
            content_type="text/plain",
            pages=1,
            pages_without_text=[],
        ),
        chunks=make_chunks(*texts),
        text_segments=segments("".join(texts)),
        search_config="english",
        batch_size=batch_size,
    )


def vectors(count: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(count).normal(size=(count, DIMENSION)).astype(np.float32)
    normalised: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normalised


def embed(connection: Connection, job: EmbedJob) -> bool | None:
    lease = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=10)
    if lease is None:
        return None
    return store.finish_batch(connection, lease, vectors(len(lease.texts)))


def index(connection: Connection, generation: int, *texts: str, name: str = "report.txt") -> None:
    for job in stage(connection, must_begin(connection, generation, name=name), *texts):
        embed(connection, job)


def answers(connection: Connection, name: str = "report.txt") -> tuple[set[int], list[str]]:
    rows = connection.execute(
        "SELECT generation, text FROM live_chunks WHERE name = %s ORDER BY ordinal", [name]
    ).fetchall()
    return {row[0] for row in rows}, [row[1] for row in rows]


def state(connection: Connection, name: str = "report.txt") -> str:
    documents, _ = store.list_documents(connection, store.Selection(prefix=name))
    return documents[0].state if documents else "deleted"


def expire_leases(connection: Connection) -> None:
    connection.execute("UPDATE builds SET lease_until = now() - interval '1 s'")
    connection.execute("UPDATE batches SET lease_until = now() - interval '1 s'")


def test_document_answers_when_its_last_batch_is_done(connection: Connection) -> None:
    """Nothing of a build is seen until all of it is embedded."""
    jobs = stage(connection, must_begin(connection, 1), "one ", "two ", "three")
    assert embed(connection, jobs[0]) is False
    assert answers(connection) == (set(), [])
    assert embed(connection, jobs[1]) is True
    assert answers(connection) == ({1}, ["one ", "two ", "three"])


def test_old_generation_answers_until_the_new_one_is_complete(connection: Connection) -> None:
    """An overwrite leaves no gap and no mixture."""
    index(connection, 1, "old text")
    jobs = stage(connection, must_begin(connection, 2), "new ", "text ", "here")
    embed(connection, jobs[0])
    assert answers(connection) == ({1}, ["old text"])
    embed(connection, jobs[1])
    assert answers(connection) == ({2}, ["new ", "text ", "here"])


def test_duplicate_events_do_nothing(connection: Connection) -> None:
    """A finalize, and a job, that come again find their work done."""
    lease = must_begin(connection, 1)
    assert begin(connection, 1) == BuildStart()
    jobs = stage(connection, lease, "one")
    assert begin(connection, 1).jobs == jobs
    assert embed(connection, jobs[0]) is True
    assert embed(connection, jobs[0]) is None
    assert begin(connection, 1) == BuildStart()


def test_older_generation_never_comes_after_a_newer(connection: Connection) -> None:
    """A finalize that is late is left to a look at the bucket."""
    index(connection, 2, "new")
    assert begin(connection, 1) == BuildStart(obsolete=True)
    assert answers(connection) == ({2}, ["new"])


def test_overtaken_build_is_dropped_at_every_step(connection: Connection) -> None:
    """A build that a newer generation overtakes ends without a trace."""
    first = must_begin(connection, 1)
    second = must_begin(connection, 2)
    assert stage(connection, first, "old") == []
    jobs = stage(connection, second, "middle")
    lease = store.lease_batch(connection, jobs[0], model_id=1, lease_seconds=60, max_attempts=10)
    assert lease is not None
    third = must_begin(connection, 3)
    assert store.finish_batch(connection, lease, vectors(1)) is False
    assert answers(connection) == (set(), [])
    for job in stage(connection, third, "new"):
        embed(connection, job)
    assert answers(connection) == ({3}, ["new"])
    assert connection.execute("SELECT count(*) FROM builds").fetchone() == (1,)


def test_deleted_object_never_comes_back(connection: Connection) -> None:
    """A delete before, during and after the work ends it."""
    store.record_gone(connection, version(1))
    assert begin(connection, 1) == BuildStart(obsolete=True)
    lease = must_begin(connection, 2)
    store.record_gone(connection, version(2))
    assert stage(connection, lease, "gone") == []
    index(connection, 3, "here")
    store.record_gone(connection, version(3))
    assert answers(connection) == (set(), [])
    assert begin(connection, 3) == BuildStart(obsolete=True)
    index(connection, 4, "again")
    assert answers(connection) == ({4}, ["again"])


def test_delete_of_an_older_generation_leaves_the_newer(connection: Connection) -> None:
    """The delete event of an overwrite may come late."""
    index(connection, 2, "new")
    store.record_gone(connection, version(1))
    assert answers(connection) == ({2}, ["new"])


def test_failure_retracts_the_older_generation(connection: Connection) -> None:
    """The bucket no longer holds the old text, so it must not answer."""
    index(connection, 1, "old")
    store.fail_build(
        connection, must_begin(connection, 2), code="encrypted", reason="needs a password"
    )
    assert answers(connection) == (set(), [])
    (document,), _ = store.list_documents(connection)
    assert (document.state, document.reason_code) == ("failed", "encrypted")
    assert document.reason == "needs a password"
    assert begin(connection, 2) == BuildStart()


def test_failure_of_a_taken_over_lease_is_not_recorded(connection: Connection) -> None:
    """A worker that was suspended beyond its lease cannot fail the work of the next."""
    stale = must_begin(connection, 1)
    expire_leases(connection)
    lease = must_begin(connection, 1)
    store.fail_build(connection, stale, code="timeout", reason="took too long")
    assert [job.build_id for job in stage(connection, lease, "one")] == [lease.build_id]


def test_late_release_leaves_the_next_lease(connection: Connection) -> None:
    """A worker that was suspended beyond its lease ends nothing of its successor's."""
    stale = must_begin(connection, 1)
    expire_leases(connection)
    lease = must_begin(connection, 1)
    store.release_build(connection, stale, error="late")
    assert begin(connection, 1) == BuildStart()
    (job,) = stage(connection, lease, "one")
    options: dict[str, Any] = {"model_id": 1, "lease_seconds": 60, "max_attempts": 9}
    stale_batch = store.lease_batch(connection, job, **options)
    assert stale_batch is not None
    expire_leases(connection)
    assert store.lease_batch(connection, job, **options) is not None
    store.release_batch(connection, stale_batch, error="late")
    assert store.lease_batch(connection, job, **options) is None


def test_lease_is_extended_by_its_holder_alone(connection: Connection) -> None:
    """A parser at work keeps its document; one that was suspended takes nothing of the next."""
    stale = must_begin(connection, 1)
    expire_leases(connection)
    lease = must_begin(connection, 1)
    expire_leases(connection)
    store.extend_lease(connection, lease, lease_seconds=60)
    assert begin(connection, 1) == BuildStart()
    expire_leases(connection)
    store.extend_lease(connection, stale, lease_seconds=60)
    must_begin(connection, 1)


def test_release_leaves_the_leases_of_other_batches(connection: Connection) -> None:
    """A batch that could not be embedded ends nothing of another worker's."""
    first, second = stage(connection, must_begin(connection, 1), "one", "two", batch_size=1)
    options: dict[str, Any] = {"model_id": 1, "lease_seconds": 60, "max_attempts": 9}
    failed = store.lease_batch(connection, first, **options)
    held = store.lease_batch(connection, second, **options)
    assert failed is not None
    assert held is not None
    store.release_batch(connection, failed, error="out of memory")
    assert store.lease_batch(connection, second, **options) is None
    assert store.lease_batch(connection, first, **options) is not None


def test_attempts_are_bounded(connection: Connection) -> None:
    """A document that kills its parser every time ends as failed, with the last error."""
    for _ in range(3):
        lease = begin(connection, 1, max_attempts=3).lease
        assert lease is not None
        store.release_build(connection, lease, error="the parser died")
    assert begin(connection, 1, max_attempts=3) == BuildStart()
    (document,), _ = store.list_documents(connection)
    assert (document.state, document.reason_code) == ("failed", "attempts_exhausted")
    assert "the parser died" in (document.reason or "")


def test_batch_attempts_are_bounded(connection: Connection) -> None:
    """A batch that kills its worker every time fails its document."""
    (job,) = stage(connection, must_begin(connection, 1), "one")
    for _ in range(2):
        lease = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=2)
        assert lease is not None
        store.release_batch(connection, lease, error="out of memory")
    assert store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=2) is None
    assert state(connection) == "failed"


def test_leased_batch_is_left_alone_until_its_lease_ends(connection: Connection) -> None:
    """Two workers never embed one batch at once; a dead one's batch is taken over."""
    (job,) = stage(connection, must_begin(connection, 1), "one")
    assert (
        store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9) is not None
    )
    assert store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9) is None
    expire_leases(connection)
    assert embed(connection, job) is True


def test_chunk_that_lacks_the_serving_models_embedding(
    owner: Connection, connection: Connection
) -> None:
    """As after a switch of models: it alone is embedded again, and then the document answers."""
    others = stage(connection, must_begin(connection, 1, name="other.txt"), "three", batch_size=1)
    first, second = stage(connection, must_begin(connection, 1), "one", "two", batch_size=1)
    embed(connection, first)
    owner.execute("DELETE FROM embeddings")
    embed(connection, second)
    assert state(connection) == "indexing"
    lease = store.lease_batch(
        connection, replace(second, batch_number=2), model_id=1, lease_seconds=60, max_attempts=9
    )
    assert lease is not None
    assert lease.texts == ["one"]
    assert store.finish_batch(connection, lease, vectors(1))
    assert state(connection) == "ready"
    assert [embed(connection, job) for job in others] == [True]


def test_equal_text_is_embedded_once(connection: Connection) -> None:
    """An edited document costs its changed chunks, a copy of one nothing."""
    index(connection, 1, "alpha ", "beta ", "gamma")
    jobs = stage(connection, must_begin(connection, 2), "alpha ", "delta ", "gamma")
    assert len(jobs) == 1
    lease = store.lease_batch(connection, jobs[0], model_id=1, lease_seconds=60, max_attempts=9)
    assert lease is not None
    assert lease.texts == ["delta "]
    store.finish_batch(connection, lease, vectors(1))
    assert answers(connection) == ({2}, ["alpha ", "delta ", "gamma"])
    copy = must_begin(connection, 1, name="copy.txt")
    assert stage(connection, copy, "alpha ", "delta ", "gamma") == []
    assert answers(connection, "copy.txt") == ({1}, ["alpha ", "delta ", "gamma"])


@pytest.mark.parametrize(
    ("holder", "closed", "new", "computed"),
    [
        ("legal/a.txt", "legal", "open/b.txt", 1),
        ("legal/a.txt", "legal", "legal/b.txt", 0),
        ("open/a.txt", "legal", "legal/b.txt", 0),
        ("open/a.txt", "legal", "other/b.txt", 0),
        ("legal/a.txt", "*", "open/b.txt", 1),
        ("legal/a.txt", "*", "legal/b.txt", 0),
    ],
)
def test_equal_text_of_a_closed_collection(
    connection: Connection, holder: str, closed: str, new: str, computed: int
) -> None:
    """Whoever guesses a closed collection's text waits for its embedding as for any other."""
    if closed == "*":
        store.set_default(connection, closed=True)
    else:
        store.set_collection(connection, closed, closed=True)
    index(connection, 1, "salary 91,700", name=holder)
    jobs = stage(connection, must_begin(connection, 1, name=new), "salary 91,700")
    assert len(jobs) == computed


def test_equal_text_of_a_document_that_moves_into_a_closed_collection(
    connection: Connection,
) -> None:
    """Its old text may be read by those alone who may read the new one."""
    store.set_collection(connection, "legal", closed=True)
    index(connection, 1, "salary 91,700", name="open/a.txt")
    moved = replace(version(2, name="open/a.txt"), metadata={"collection": "legal"})
    store.begin_build(connection, moved, config_hash="", lease_seconds=60, max_attempts=9)
    jobs = stage(connection, must_begin(connection, 1, name="open/b.txt"), "salary 91,700")
    assert len(jobs) == 1


def test_jobs_are_published_again_once(connection: Connection) -> None:
    """Duplicates of an event publish only what was not published, or long ago and is not held."""
    jobs = stage(connection, must_begin(connection, 1), *map(str, range(6)))
    assert begin(connection, 1).jobs == jobs
    store.note_published(connection, jobs[1:])
    assert begin(connection, 1).jobs == jobs[:1]
    store.note_published(connection, jobs)
    assert begin(connection, 1).jobs == []
    connection.execute("UPDATE batches SET published = published - interval '2 minutes'")
    store.lease_batch(connection, jobs[2], model_id=1, lease_seconds=60, max_attempts=9)
    assert begin(connection, 1).jobs == jobs[:2]


def test_batch_is_suspect_when_its_worker_died(connection: Connection) -> None:
    """A worker that reported its failure is not meant, nor one that is at work."""
    (job,) = stage(connection, must_begin(connection, 1), "one")
    assert store.find_turn(connection, job) == Turn(job, suspect=False)
    lease = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9)
    assert lease is not None
    assert store.find_turn(connection, job) is None
    store.release_batch(connection, lease, error="the database restarted")
    assert store.find_turn(connection, job) == Turn(job, suspect=False)
    store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9)
    expire_leases(connection)
    assert store.find_turn(connection, job) == Turn(job, suspect=True)


def take_turns(connection: Connection, jobs: Sequence[EmbedJob]) -> Iterator[EmbedJob]:
    """Yield the batch that each of *jobs* is used for, and embed it."""
    for job in jobs:
        turn = store.find_turn(connection, job)
        assert turn is not None
        assert embed(connection, turn.job) is not None
        yield turn.job


def test_documents_take_turns(connection: Connection) -> None:
    """A short document behind a long one is embedded by the next jobs, and every batch by one."""
    long_texts = [f"long {number}" for number in range(12)]
    long = stage(connection, must_begin(connection, 1), *long_texts, batch_size=1)
    turns = take_turns(connection, [*long, *long])
    assert [next(turns) for _ in range(5)] == long[:5]
    short = stage(
        connection, must_begin(connection, 1, name="short.txt"), "one", "two", batch_size=1
    )
    assert [next(turns) for _ in range(2)] == short
    assert state(connection, "short.txt") == "ready"
    # One in four keeps its own job, and the jobs that gave their turn away are made up for.
    assert [next(turns).batch_number for _ in range(5)] == [7, 5, 6, 8, 11]
    assert {job.batch_number for job in take_turns(connection, short)} == {9, 10}
    assert state(connection) == "ready"
    assert [store.find_turn(connection, job) for job in (*long, *short, None)] == [None] * 15


def test_turn_when_no_other_comes_first(connection: Connection) -> None:
    """A batch is embedded by its own job, whose delivery tells of its failures."""
    begun = [stage(connection, must_begin(connection, 1, name=name), name) for name in "ab"]
    assert [store.find_turn(connection, job) for (job,) in begun] == [
        Turn(job, suspect=False) for (job,) in begun
    ]


def test_turn_when_a_batch_has_failed(connection: Connection) -> None:
    """It waits for its own job, which Pub/Sub holds back, or for a job that finds nothing else."""
    long = stage(connection, must_begin(connection, 1), "one", "two", "three", batch_size=1)
    lease = store.lease_batch(connection, long[0], model_id=1, lease_seconds=60, max_attempts=9)
    assert lease is not None
    store.release_batch(connection, lease, error="out of memory")
    turns = [turn.job for job in long if (turn := store.find_turn(connection, job))]
    assert turns == [long[0], long[1], long[1]]
    assert list(take_turns(connection, long[1:])) == long[1:]
    assert store.find_turn(connection, long[2]) is None
    connection.execute("UPDATE batches SET lease_until = lease_until - interval '11 s'")
    assert store.find_turn(connection, None) is None
    assert store.find_turn(connection, long[2]) == Turn(long[0], suspect=False)
    other = stage(
        connection, must_begin(connection, 1, name="other.txt"), "four", "five", batch_size=1
    )
    lease = store.lease_batch(connection, other[1], model_id=1, lease_seconds=60, max_attempts=9)
    assert lease is not None
    store.release_batch(connection, lease, error="out of memory")
    assert store.find_turn(connection, other[1]) == Turn(other[1], suspect=False)


def test_build_is_suspect_when_its_worker_died(connection: Connection) -> None:
    """As a batch is."""
    lease = must_begin(connection, 1)
    assert not store.is_suspect_build(connection, version(1))
    store.release_build(connection, lease, error="the database restarted")
    assert not store.is_suspect_build(connection, version(1))
    must_begin(connection, 1)
    expire_leases(connection)
    assert store.is_suspect_build(connection, version(1))


def test_live_object_is_believed(connection: Connection) -> None:
    """A forged generation and a mistaken tombstone yield to what the bucket holds."""
    index(connection, 5, "here")
    must_begin(connection, 2**61)
    known = store.read_generations(connection, version(5))
    assert store.record_live(connection, version(5), known=known) is False
    assert answers(connection) == ({5}, ["here"])
    store.record_gone(connection, version(2**61))
    known = store.read_generations(connection, version(6))
    assert store.record_live(connection, version(6), known=known) is True
    for job in stage(connection, must_begin(connection, 6), "back"):
        embed(connection, job)
    assert answers(connection) == ({6}, ["back"])


def test_live_object_when_a_newer_one_came_meanwhile(connection: Connection) -> None:
    """A look at the bucket that is older than the last event changes nothing."""
    index(connection, 5, "here")
    known = store.read_generations(connection, version(5))
    index(connection, 7, "newer")
    assert store.record_live(connection, version(4), known=known) is False
    assert answers(connection) == ({7}, ["newer"])


def test_gone_when_an_upload_came_since_the_look(connection: Connection) -> None:
    """A forged generation's tombstone would take what was uploaded in between with it."""
    known = store.read_generations(connection, version(1))
    index(connection, 5, "here")
    assert store.record_gone(connection, version(2**61), known=known) is False
    assert answers(connection) == ({5}, ["here"])


def test_generations_when_others_are_known(connection: Connection) -> None:
    """What is known of an object is not what is known of its neighbours."""
    index(connection, 5, "here", name="a.txt")
    index(connection, 7, "there", name="b.txt")
    for generation, name in ((5, "a.txt"), (7, "b.txt"), (0, "c.txt")):
        assert store.read_generations(connection, version(1, name=name)).seen == generation


def test_dead_letter_is_replayed_once(connection: Connection) -> None:
    """The others wait for their turn."""
    for number in range(3):
        store.record_dead_letter(
            connection, message_id=str(number), subscription="s", data=b"", attributes={}
        )
    store.mark_replayed(connection, store.list_dead_letters(connection)[1].id)
    assert [each.message_id for each in store.list_dead_letters(connection)] == ["0", "2"]


def test_dead_letter_of_an_unknown_generation(connection: Connection) -> None:
    """The document goes on answering: the bucket may never have held that generation."""
    index(connection, 5, "here")
    store.record_dead_object(connection, version(2**61))
    assert answers(connection) == ({5}, ["here"])
    (document,), _ = store.list_documents(connection)
    assert (document.state, document.generation) == ("ready", 5)


def test_dead_letter_that_cannot_be_stored_as_it_is(connection: Connection) -> None:
    """It is kept without what PostgreSQL does not take, and never comes again for ever."""
    store.record_dead_letter(
        connection,
        message_id="1\0\ud800" + "".join(map(str, range(5000))),
        subscription="s\0" * 5000,
        data=b"\0\xff",
        attributes={"\0key": "\ud800", "long": "x" * 5000} | {f"a{i}": "b" for i in range(500)},
    )
    (kept,) = store.list_dead_letters(connection)
    assert kept.message_id.startswith("1?01234")
    assert kept.data == b"\0\xff"
    assert kept.attributes["key"] == "?"
    assert max(map(len, kept.attributes.values())) == 1024
    assert len(kept.attributes) == 100


def test_object_whose_content_type_is_long(connection: Connection) -> None:
    """What comes from outside fits the columns and their indexes."""
    long = replace(version(1), content_type="text/plain; x=" + "".join(map(str, range(2000))))
    start = store.begin_build(connection, long, config_hash="", lease_seconds=60, max_attempts=9)
    assert start.lease is not None
    for job in stage(connection, start.lease, "one"):
        embed(connection, job)
    assert answers(connection) == ({1}, ["one"])


def test_equal_text_is_found_by_index_when_tables_have_grown(connection: Connection) -> None:
    """A connection that began with a small database does not read a large one row by row."""

    def rows_read() -> int:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            """
            SELECT sum(seq_tup_read) FROM pg_stat_user_tables
            WHERE relname = 'chunks' OR relname LIKE 'embeddings%'
            """
        ).fetchone()
        assert row is not None
        return int(row[0])

    index(connection, 1, "the first text", name="first.txt")
    connection.execute("ANALYZE chunks, embeddings")
    # PostgreSQL may keep a plan from the sixth time on.
    for number in range(12):
        index(connection, 1, f"a text {number}", name=f"{number}.txt")
    index(connection, 1, *(f"one of many texts {number}" for number in range(600)), name="many.txt")
    before = rows_read()
    stage(connection, must_begin(connection, 1, name="new.txt"), *map(str, range(40)))
    assert rows_read() - before < 600


def test_reindex_answers_from_the_old_build_until_the_new_one_is_ready(
    connection: Connection,
) -> None:
    """A re-index is a flip of the same generation."""
    index(connection, 1, "old chunks")
    (document,), _ = store.list_documents(connection)
    published = store.reindex_document(connection, document.id)
    assert published is not None
    assert published.generation == 1
    lease = must_begin(connection, 1)
    assert answers(connection) == ({1}, ["old chunks"])
    for job in stage(connection, lease, "new ", "chunks"):
        embed(connection, job)
    assert answers(connection) == ({1}, ["new ", "chunks"])


def test_failed_document_starts_again_when_asked(connection: Connection) -> None:
    """`admin retry` gives a failed document its attempts back."""
    store.fail_build(connection, must_begin(connection, 1), code="timeout", reason="slow")
    (document,), _ = store.list_documents(connection)
    assert store.requeue_document(connection, document.id) is not None
    index(connection, 1, "now it works")
    assert answers(connection) == ({1}, ["now it works"])
    assert store.requeue_document(connection, document.id) is None


def test_retried_document_is_not_finished_by_an_old_worker(connection: Connection) -> None:
    """What a worker embedded before the failure fits no batch of the retried document."""
    index(connection, 1, "beta ", name="copy.txt")
    (job,) = stage(connection, must_begin(connection, 1), "beta ", "gamma")
    stale = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9)
    assert stale is not None
    expire_leases(connection)
    store.record_dead_job(connection, job)
    store.record_gone(connection, version(1, name="copy.txt"))
    (document,), _ = store.list_documents(connection)
    assert store.requeue_document(connection, document.id) is not None
    (job,) = stage(connection, must_begin(connection, 1), "beta ", "gamma")
    assert store.finish_batch(connection, stale, vectors(len(stale.texts))) is False
    assert answers(connection) == (set(), [])
    assert embed(connection, job) is True
    assert answers(connection) == ({1}, ["beta ", "gamma"])


def test_batch_failure_of_a_taken_over_lease_is_not_recorded(connection: Connection) -> None:
    """A worker that was suspended beyond its lease cannot fail the batch of the next."""
    (job,) = stage(connection, must_begin(connection, 1), "one")
    stale = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9)
    assert stale is not None
    expire_leases(connection)
    lease = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9)
    assert lease is not None
    store.fail_batch(connection, stale, code="embedding_failed", reason="wrong dimension")
    assert store.finish_batch(connection, lease, vectors(1)) is True


def test_sweeper_finds_lost_work_once(connection: Connection) -> None:
    """Queued builds, dead parsers' builds and dead workers' batches are published again."""
    store.record_newer(connection, version(1, name="queued.txt"))
    must_begin(connection, 1, name="parsing.txt")
    (job,) = stage(connection, must_begin(connection, 1, name="embedding.txt"), "one")
    store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=9)

    def waiting() -> StalledWork:
        return store.claim_stalled(connection, unleased_seconds=60, pause_seconds=30, limit=100)

    nothing = waiting()
    assert (nothing.objects, nothing.jobs) == ([], [])
    expire_leases(connection)
    connection.execute("UPDATE builds SET published = now() - interval '2 minutes'")
    connection.execute("UPDATE batches SET published = now() - interval '2 minutes'")
    connection.execute("UPDATE builds SET lease_until = NULL WHERE state = 'queued'")
    found = waiting()
    assert {item.name for item in found.objects} == {"queued.txt", "parsing.txt"}
    assert found.jobs == [job]
    again = waiting()
    assert (again.objects, again.jobs) == ([], [])


def test_sweeper_leaves_a_moving_queue_alone(connection: Connection) -> None:
    """Batches that wait behind one that is being embedded are not lost; for an hour at most."""
    texts = [f"text {number}" for number in range(3)]
    jobs = stage(connection, must_begin(connection, 1), *texts, batch_size=1)
    store.lease_batch(connection, jobs[0], model_id=1, lease_seconds=60, max_attempts=9)

    def waiting(minutes: int) -> list[EmbedJob]:
        connection.execute(
            "UPDATE batches SET published = now() - make_interval(mins => %(minutes)s)",
            {"minutes": minutes},
        )
        return store.claim_stalled(
            connection, unleased_seconds=60, pause_seconds=30, limit=100
        ).jobs

    assert waiting(2) == []
    assert sorted(waiting(61), key=lambda job: job.batch_number) == jobs[1:]
    expire_leases(connection)
    assert len(waiting(2)) == 3


def test_metadata_update_changes_what_filters_see(connection: Connection) -> None:
    """New metadata of the same generation needs no new build."""
    index(connection, 1, "text")
    store.record_metadata(
        connection,
        ObjectVersion(
            bucket="docs",
            name="report.txt",
            generation=1,
            metageneration=2,
            metadata={"collection": "legal"},
        ),
    )
    (document,), _ = store.list_documents(connection, store.Selection(collections=["legal"]))
    assert document.state == "ready"


def test_boxes_are_read_back(connection: Connection) -> None:
    """Marks on a page are made of what the parser saw."""
    index(connection, 1, "one", "two")
    rows = connection.execute("SELECT boxes FROM chunks ORDER BY ordinal").fetchall()
    assert [row[0] for row in rows] == [b"boxes of one", b"boxes of two"]


def test_text_is_read_back_by_offsets(connection: Connection) -> None:
    """Citations are shown in their context from the stored text."""
    index(connection, 1, "alpha ", "beta ", "gamma")
    (document,), _ = store.list_documents(connection)
    text = store.read_text(connection, document_id=document.id, char_start=6, char_end=13)
    assert text == "beta ga"
    missing = store.read_text(
        connection, document_id=document.id, generation=9, char_start=0, char_end=1
    )
    assert missing is None


@pytest.mark.parametrize(("start", "end"), [(0, 4), (4, 8), (3, 5), (15, 99), (16, 20), (40, 50)])
def test_text_is_read_back_when_at_a_border(connection: Connection, start: int, end: int) -> None:
    """Nothing is lost or doubled where segments meet, and behind the end is nothing."""
    index(connection, 1, "alpha ", "beta ", "gamma")
    (document,), _ = store.list_documents(connection)
    text = store.read_text(connection, document_id=document.id, char_start=start, char_end=end)
    assert text == "alpha beta gamma"[start:end]


def test_lexemes_wait_in_a_short_list(owner: Connection, connection: Connection) -> None:
    """Every search reads what waits to be sorted into the index: 256 kB, not PostgreSQL's 4 MB."""
    texts = [" ".join(f"word{chunk}x{word}" for word in range(60)) for chunk in range(300)]
    stage(connection, must_begin(connection, 1), *texts, batch_size=100)
    row = owner.execute("SELECT gin_clean_pending_list('chunks_search')").fetchone()
    assert row is not None
    assert row[0] <= 256 // 8 + 1


def test_documents_come_in_pages(connection: Connection) -> None:
    """The cursor goes on behind the last name, in the order of bytes."""
    for name in ("b.txt", "Z.txt", "a/ä.txt"):
        index(connection, 1, name, name=name)
    first, cursor = store.list_documents(connection, limit=2)
    assert [document.name for document in first] == ["Z.txt", "a/ä.txt"]
    second, end = store.list_documents(connection, after=cursor, limit=2)
    assert [document.name for document in second] == ["b.txt"]
    assert end is None


@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_documents_are_listed_by_names_in_either_form(
    connection: Connection, asked: Literal["NFC", "NFD"]
) -> None:
    """macOS writes names decomposed; prefix and collection mean the same name in both forms."""
    both = [unicodedata.normalize(form, f"Bürö/{form}.txt") for form in ("NFC", "NFD")]
    for name in (*both, "Buro/other.txt"):
        index(connection, 1, name, name=name)
    folder = unicodedata.normalize(asked, "Bürö")
    for found, _ in (
        store.list_documents(connection, store.Selection(prefix=f"{folder}/")),
        store.list_documents(connection, store.Selection(collections=[folder])),
    ):
        assert sorted(document.name for document in found) == sorted(both)


def test_access_is_granted_by_names_in_either_form(connection: Connection) -> None:
    """A grant typed in one form holds for the collection that is kept in the other."""
    composed, decomposed = (unicodedata.normalize(form, "Bürö") for form in ("NFC", "NFD"))
    store.set_collection(connection, decomposed, closed=True)
    store.grant_collection(connection, principal="key:a", collection=decomposed)
    assert [
        (one.collection, one.closed, list(one.principals)) for one in store.list_access(connection)
    ] == [(composed, True, ["key:a"])]
    store.grant_collection(connection, principal="key:a", collection="others")
    assert store.revoke_collection(connection, principal="key:a", collection=decomposed) == 1
    assert store.revoke_collection(connection, principal="key:a") == 1


@pytest.mark.parametrize("done", [True, False])
def test_dead_job_fails_only_unfinished_work(connection: Connection, *, done: bool) -> None:
    """A dead letter of a batch that another delivery has finished harms nobody."""
    (job,) = stage(connection, must_begin(connection, 1), "one")
    if done:
        embed(connection, job)
    store.record_dead_job(connection, job)
    assert state(connection) == ("ready" if done else "failed")
