"""
How cost grows with the number of chunks: python -m benchmarks.scaling [--sizes 1000,10000,...]

One database grows from size to size. What is in it already is loaded by COPY: passages of Python's
own documentation (pydoc_data.topics) in new mixtures, with invented words as rare as names are,
and vectors that are made of real ones (1,500 passages are embedded; each vector is a random mixture
of two of theirs, turned by a random angle: --noise). What is measured goes through the
store's own functions: begin_build, stage_build, lease_batch, finish_batch with such vectors, and
search with questions that are really embedded. At each size: without an index over the vectors,
then the HNSW index's building, its recall against the exact order, and both costs with it.

fsync is off: times hold no waiting for the disk. CPU is that of the server's processes.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql

from admin.lexeme_statistics import refresh_statistics
from admin.vector_index import create_vector_index
from benchmarks.recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)
from benchmarks.running import Database, model_dir_option, open_database, repeating, sentences
from local.postgres import PostgresServer
from shared import store
from shared.embedding.embedder import Embedder
from shared.language import searchable_text
from shared.search.statement import search
from shared.store import Connection
from shared.values import Chunk, EmbedJob, ObjectVersion

DOCUMENT = ROOT / "docs" / "scaling.md"
_CHUNKS_A_DOCUMENT = 20
_BASE_PASSAGES = 1_500
_VOCABULARY = 300_000
_NAMES_A_CHUNK = 4
_ROWS_A_TRANSACTION = 20_000
_MEASURED_DOCUMENTS = 10
_WARM_UP = 5
_INDEX = "embeddings_1_hnsw"
_BREADTHS = (40, 100, 200, 400, 800)
_RELATIONS = (
    "chunks",
    "chunks_pkey",
    "chunks_search",
    "chunks_content_hash",
    "embeddings_1",
    "embeddings_1_pkey",
    _INDEX,
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """
    What the loaded chunks are made of.

    Attributes:
        vectors: float32, shape (passages, dimension), rows of unit length.
    """

    passages: list[str]
    sentences: list[str]
    vectors: NDArray[np.float32]

    def chunk(self, number: int, *, noise: float) -> tuple[str, NDArray[np.float32]]:
        """Return text and vector of the chunk of this number: the same at each call."""
        chance = random.Random(number)
        generator = np.random.default_rng(number)
        base = chance.randrange(len(self.passages))
        parts = self.passages[base].split(". ")
        parts = parts[: 1 + len(parts) // 2] + chance.sample(self.sentences, 3)
        text = f"{'. '.join(parts)[:780]} {' '.join(_names(chance))}."
        share = chance.random()
        other = self.vectors[chance.randrange(len(self.passages))]
        mixed = share * self.vectors[base] + (1 - share) * other
        return text, _unit(_unit(mixed) + noise * _unit(generator.normal(size=mixed.shape)))


def _unit(vector: NDArray[Any]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def _names(chance: random.Random) -> list[str]:
    """Return invented words, the n-th most common about n times as rare as the most common."""
    numbers = (int(_VOCABULARY ** chance.random()) for _ in range(_NAMES_A_CHUNK))
    return [_name(number) for number in numbers]


def _name(number: int) -> str:
    syllables = []
    while number:
        number, syllable = divmod(number, 60)
        syllables.append("bdfgklmnprst"[syllable // 5] + "aeiou"[syllable % 5])
    return "".join(syllables).capitalize() + "x"


def make_corpus(embedder: Embedder, *, passages: int) -> Corpus:
    """Embed real passages, which takes a minute."""
    known = sentences()
    chance = random.Random(1)
    starts = [chance.randrange(len(known)) for _ in range(passages)]
    texts = [" ".join(known[start : start + 6])[:780] for start in starts]
    return Corpus(texts, known, embedder.embed_documents(texts))


def make_questions(corpus: Corpus, count: int) -> list[str]:
    """Return questions of words of one passage; every second one names an invented word as well."""
    chance = random.Random(2)
    questions = []
    for number in range(count):
        words = chance.choice(corpus.sentences).split()
        asked = " ".join(words[:12]).rstrip(".:")
        name = f" of {chance.choice(_names(chance))}" if number % 2 else ""
        questions.append(f"What is {asked}{name}?")
    return questions


def load(connection: Connection, corpus: Corpus, *, first: int, last: int, noise: float) -> None:
    """Load the chunks of these numbers as they stand after the flip."""
    connection.execute("SET session_replication_role = replica")
    with connection.transaction():
        build, document = f"{first // _CHUNKS_A_DOCUMENT}", f"{last // _CHUNKS_A_DOCUMENT}"
        connection.execute(
            """
            INSERT INTO builds (id, document_id, generation, epoch, state, chunk_count)
            OVERRIDING SYSTEM VALUE
            SELECT number, gen_random_uuid(), 1, 0, 'ready', %(each)s
            FROM generate_series(%(first)s::integer + 1, %(last)s::integer) AS number
            """,
            {"each": _CHUNKS_A_DOCUMENT, "first": build, "last": document},
        )
        connection.execute(
            """
            INSERT INTO documents
                (id, bucket, name, seen_generation, active_build, active_generation, language)
            SELECT document_id, 'scaling', 'loaded/' || id, 1, id, 1, 'en'
            FROM builds
            WHERE id > %(first)s::integer AND id <= %(last)s::integer
            """,
            {"first": build, "last": document},
        )
        connection.execute(
            """
            CREATE TEMP TABLE made (build_id bigint, ordinal integer, text text, searchable text)
            ON COMMIT DROP
            """
        )
        vectors = []
        with connection.cursor().copy("COPY made FROM STDIN") as copy:
            for number in range(first, last):
                text, vector = corpus.chunk(number, noise=noise)
                place = 1 + number // _CHUNKS_A_DOCUMENT, number % _CHUNKS_A_DOCUMENT
                copy.write_row((*place, text, _searchable(text)))
                vectors.append((1, *place, HalfVector(vector)))
        connection.execute(
            """
            INSERT INTO chunks (build_id, ordinal, text, heading, header, char_start, char_end,
                                content_hash, search)
            SELECT build_id, ordinal, text, 'Title', '', 0, length(text),
                   sha256(convert_to(text, 'UTF8')), to_tsvector('english', searchable)
            FROM made
            """
        )
        with connection.cursor().copy(
            "COPY embeddings (model_id, build_id, ordinal, embedding) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.set_types(["int2", "int8", "int4", "halfvec"])
            for row in vectors:
                copy.write_row(row)
    connection.execute("RESET session_replication_role")


def load_all(database: Database, corpus: Corpus, *, first: int, last: int, noise: float) -> None:
    """Load the chunks of these numbers over two connections: one makes rows, the other waits."""

    def go(start: int) -> None:
        with psycopg.connect(database.server.url, autocommit=True) as connection:
            register_vector(connection)
            end = min(start + _ROWS_A_TRANSACTION, last)
            load(connection, corpus, first=start, last=end, noise=noise)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(go, range(first, last, _ROWS_A_TRANSACTION)))
    # Builds that are begun after this have other numbers.
    database.connection.execute(
        "SELECT setval(pg_get_serial_sequence('builds', 'id'), %(last)s)",
        {"last": 10_000_000 + last},
    )
    database.connection.execute("VACUUM ANALYZE")


def _searchable(text: str) -> str:
    """Return the searchable text, sentence by sentence: they come again and again."""
    return " ".join(_searchable_sentence(sentence) for sentence in text.split(". "))


@lru_cache(maxsize=200_000)
def _searchable_sentence(sentence: str) -> str:
    return searchable_text(sentence, language="en")


class Clock:
    """Processor time of the server: of one session, and of all processes that it has ended."""

    def __init__(self, connection: Connection, server: PostgresServer) -> None:
        self._session = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        self._postmaster = Path(f"/proc/{server.process.pid}/stat")

    def seconds(self) -> float:
        """Return the seconds so far; parallel workers count when they have ended."""
        fields = self._postmaster.read_text().rpartition(")")[2].split()
        ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        return int(self._session.read_text().split()[0]) / 1e9 + ended


def measure_ingest(
    connection: Connection,
    clock: Clock,
    corpus: Corpus,
    *,
    documents: int,
    first: int,
    noise: float,
) -> dict[str, Any]:
    """Stage and finish documents by the store's own functions, then delete them again."""
    staging, finishing = [], []
    used = clock.seconds()
    for number in range(documents):
        made = [
            corpus.chunk(first + number * _CHUNKS_A_DOCUMENT + ordinal, noise=noise)
            for ordinal in range(_CHUNKS_A_DOCUMENT)
        ]
        version = ObjectVersion(bucket="scaling", name=f"measured/{number}", generation=1)
        started = time.perf_counter()
        jobs = stage(connection, version, [text for text, _ in made])
        staged = time.perf_counter()
        for job in jobs:
            lease = store.lease_batch(
                connection, job, model_id=1, lease_seconds=600, max_attempts=10
            )
            assert lease is not None
            store.finish_batch(
                connection, lease, np.stack([made[ordinal][1] for ordinal in lease.ordinals])
            )
        finishing.append(1000 * (time.perf_counter() - staged) / _CHUNKS_A_DOCUMENT)
        staging.append(1000 * (staged - started) / _CHUNKS_A_DOCUMENT)
    used = clock.seconds() - used
    started = time.perf_counter()
    for number in range(documents):
        store.record_gone(
            connection, ObjectVersion(bucket="scaling", name=f"measured/{number}", generation=1)
        )
    deleted = time.perf_counter() - started
    connection.execute("DELETE FROM documents WHERE starts_with(name, 'measured/')")
    connection.execute("VACUUM chunks, embeddings, documents, builds, batches, texts")
    chunks = documents * _CHUNKS_A_DOCUMENT
    return {
        "stage_ms_a_chunk": _spread(staging),
        "finish_ms_a_chunk": _spread(finishing),
        "cpu_ms_a_chunk": round(1000 * used / chunks, 3),
        "delete_ms_a_document": round(1000 * deleted / documents, 3),
    }


def stage(connection: Connection, version: ObjectVersion, texts: list[str]) -> list[EmbedJob]:
    """Stage a document of these chunks as ingest does; return its jobs."""
    lease = store.begin_build(
        connection, version, config_hash="scaling", lease_seconds=600, max_attempts=10
    ).lease
    assert lease is not None
    starts = [0]
    for text in texts:
        starts.append(starts[-1] + len(text) + 2)
    return store.stage_build(
        connection,
        lease,
        document=store.StagedDocument("Title", "en", "text/plain", None, []),
        chunks=(
            (
                Chunk(ordinal, text, "Title", "", None, start, start + len(text), 150),
                searchable_text(text, language="en"),
            )
            for ordinal, (text, start) in enumerate(zip(texts, starts, strict=False))
        ),
        text_segments=[(0, "\n\n".join(texts))],
        search_config="english",
        batch_size=64,
    )


def measure_questions(
    connection: Connection, clock: Clock, embedder: Embedder, questions: Sequence[str]
) -> dict[str, Any]:
    """Embed each question and search for it; the first few are not counted."""
    embedding, searching, used = [], [], 0.0
    for number, question in enumerate(questions):
        if number == _WARM_UP:
            used = clock.seconds()
        started = time.perf_counter()
        vector = embedder.embed_query(question)
        embedded = time.perf_counter()
        search(connection, question=question, embedding=vector, limit=10)
        if number >= _WARM_UP:
            embedding.append(1000 * (embedded - started))
            searching.append(1000 * (time.perf_counter() - embedded))
    return {
        "embed_ms": _spread(embedding),
        "search_ms": _spread(searching),
        "search_cpu_ms": round(1000 * (clock.seconds() - used) / len(searching), 2),
    }


def find_nearest(
    connection: Connection, embedder: Embedder, questions: Sequence[str]
) -> list[dict[tuple[int, int], float]]:
    """Return for each question the product's ten nearest chunks and their similarities."""
    return [
        {
            (hit.build_id, hit.ordinal): hit.similarity or 0.0
            for hit in search(
                connection,
                question=question,
                embedding=embedder.embed_query(question),
                limit=10,
                per_document=_CHUNKS_A_DOCUMENT,
                mode="vector",
            ).hits
        }
        for question in questions
    ]


def measure_breadths(
    connection: Connection,
    clock: Clock,
    embedder: Embedder,
    questions: Sequence[str],
    exact: Sequence[dict[tuple[int, int], float]],
) -> list[dict[str, float]]:
    """Return recall and CPU of the index alone for rising hnsw.ef_search; the product has 200."""
    vectors = [HalfVector(embedder.embed_query(question)) for question in questions]
    nearest = sql.SQL(
        "SELECT build_id, ordinal FROM embeddings_1 ORDER BY embedding::halfvec({}) <=> %s LIMIT 10"
    ).format(sql.Literal(embedder.info.dimension))
    measured = []
    for breadth in _BREADTHS:
        connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(breadth)])
        used = clock.seconds()
        found = [connection.execute(nearest, [vector]).fetchall() for vector in vectors]
        used = clock.seconds() - used
        shares = [
            len(true.keys() & set(rows)) / max(1, len(true))
            for rows, true in zip(found, exact, strict=True)
        ]
        measured.append(
            {
                "ef_search": breadth,
                "recall_at_10": round(statistics.mean(shares), 4),
                "cpu_ms": round(1000 * used / len(vectors), 2),
            }
        )
    connection.execute("RESET hnsw.ef_search")
    return measured


def build_index(connection: Connection, clock: Clock, server: PostgresServer) -> dict[str, Any]:
    """Build the HNSW index as `admin index` does, whatever the size."""
    used, started = clock.seconds(), time.perf_counter()
    with _peak_memory(server) as peak:
        create_vector_index(connection, from_chunks=0)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(clock.seconds() - used, 2),
        "memory_mb": round(max(peak, default=0) / 2**20, 1),
    }


@contextmanager
def _peak_memory(server: PostgresServer) -> Iterator[list[int]]:
    """Collect what the server's processes hold in private and in dynamic shared memory."""
    seen: list[int] = []
    before = _build_memory(server.process.pid)

    def look() -> None:
        seen.append(_build_memory(server.process.pid) - before)

    with repeating(look, every_seconds=0.5):
        yield seen


def _build_memory(postmaster: int) -> int:
    """Return the bytes of the graph under construction, wherever pgvector has put it."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    private, shared = 0, 0
    for child in children:
        try:
            mappings = Path(f"/proc/{child}/smaps").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The build in one process keeps its graph in its own memory, the parallel one in a
        # segment of /dev/shm that each worker sees.
        for header, rest in re.findall(
            r"^[0-9a-f]+-[0-9a-f]+ ([^\n]*)\n((?:\w+:[^\n]*\n)*)", mappings, re.M
        ):
            resident = re.search(r"^Rss:\s+(\d+)", rest, re.M)
            if resident is None:
                continue
            size = int(resident[1]) * 1024
            if "/dev/shm/PostgreSQL." in header:
                shared = max(shared, size)
            elif header.startswith("rw-p"):
                private = max(private, size)
    return shared + private


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile."""
    cut = statistics.quantiles(values, n=20, method="inclusive")
    return {"p50": round(statistics.median(values), 3), "p95": round(cut[-1], 3)}


def measure_sizes(connection: Connection) -> dict[str, int]:
    """Return the bytes of tables and indexes; TOAST is counted with its table."""
    rows = connection.execute(
        """
        SELECT relname, pg_table_size(oid)
        FROM pg_class
        WHERE relname = ANY (%(names)s)
        """,
        {"names": list(_RELATIONS)},
    ).fetchall()
    return dict(sorted(rows))


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """
    Return the exponent e of values ~ sizes ** e, the slope of the straight line in logarithms.

    None if there are fewer than two points above zero.
    """
    points = [(s, v) for s, v in zip(sizes, values, strict=True) if s > 0 and v > 0]
    if len({size for size, _ in points}) < 2:
        return None
    slope, _ = np.polyfit(np.log([s for s, _ in points]), np.log([v for _, v in points]), 1)
    return round(float(slope), 3)


def find_crossing(
    sizes: Sequence[float], exact: Sequence[float], indexed: Sequence[float]
) -> int | None:
    """
    Return the size from which on the index answers sooner, between the two where it changes.

    None if it never does; interpolated on logarithms of size and cost.
    """
    ratios = [float(np.log(e / i)) for e, i in zip(exact, indexed, strict=True)]
    if ratios[-1] <= 0:
        return None
    crossing = float(sizes[0])
    for (size, ratio), (next_size, next_ratio) in zip(
        zip(sizes, ratios, strict=True), zip(sizes[1:], ratios[1:], strict=True), strict=False
    ):
        if ratio <= 0 < next_ratio:
            share = -ratio / (next_ratio - ratio)
            crossing = float(np.exp(np.log(size) + share * np.log(next_size / size)))
    return round(crossing)


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return round(time.perf_counter() - started, 2)


def measure(
    sizes: Sequence[int],
    *,
    embedder: Embedder,
    folder: Path | None,
    questions: int,
    noise: float,
    maintenance_mb: int,
    shared_mb: int,
) -> Iterator[dict[str, Any]]:
    """Grow a database through *sizes*; yield all that was measured so far after each."""
    machine = describe_machine()
    corpus = make_corpus(embedder, passages=min(_BASE_PASSAGES, max(sizes)))
    asked = make_questions(corpus, questions + _WARM_UP)
    settings = {
        "maintenance_work_mem_mb": maintenance_mb,
        "shared_buffers_mb": shared_mb,
        "questions": questions,
        "noise": noise,
        "dimension": embedder.info.dimension,
    }
    options = {
        "shared_buffers": f"{shared_mb}MB",
        "maintenance_work_mem": f"{maintenance_mb}MB",
        "max_wal_size": "8GB",
    }
    points: list[dict[str, Any]] = []
    with open_database(options, dimension=embedder.info.dimension, folder=folder) as database:
        for size in sizes:
            point = _measure_size(
                database,
                corpus,
                embedder,
                asked,
                first=points[-1]["chunks"] if points else 0,
                size=size,
                noise=noise,
            )
            points.append(point)
            yield {
                "machine": machine,
                "settings": settings,
                "points": points,
                "exponents": fit_exponents(points),
                "index_pays_from": find_crossing(
                    [point["chunks"] for point in points],
                    [point["exact"]["search_cpu_ms"] for point in points],
                    [point["hnsw"]["search_cpu_ms"] for point in points],
                ),
            }


def _measure_size(
    database: Database,
    corpus: Corpus,
    embedder: Embedder,
    asked: list[str],
    *,
    first: int,
    size: int,
    noise: float,
) -> dict[str, Any]:
    connection, server = database.connection, database.server
    clock = Clock(connection, server)
    started = time.perf_counter()
    load_all(database, corpus, first=first, last=size, noise=noise)
    seconds = round(time.perf_counter() - started, 1)
    point: dict[str, Any] = {"chunks": size, "load_seconds": seconds}
    point["statistics_seconds"] = _timed(partial(refresh_statistics, connection))
    point["statistics_not_due_seconds"] = _timed(partial(refresh_statistics, connection))
    ingest = partial(
        measure_ingest,
        connection,
        clock,
        corpus,
        documents=_MEASURED_DOCUMENTS,
        noise=noise,
    )
    # New texts each time: what was embedded before is copied, not stored anew.
    point["exact"] = {
        "ingest": ingest(first=100_000_000 + size),
        **measure_questions(connection, clock, embedder, asked),
    }
    exact = find_nearest(connection, embedder, asked)
    point["build"] = build_index(connection, clock, server)
    point["bytes"] = measure_sizes(connection)
    found = find_nearest(connection, embedder, asked)
    point["recall_at_10"] = round(
        statistics.mean(
            len(mine.keys() & true.keys()) / max(1, len(true))
            for mine, true in zip(found, exact, strict=True)
        ),
        4,
    )
    point["similarity_lost"] = round(
        statistics.mean(
            statistics.mean(true.values()) - statistics.mean(mine.values())
            for mine, true in zip(found, exact, strict=True)
        ),
        5,
    )
    point["breadths"] = measure_breadths(connection, clock, embedder, asked, exact)
    point["hnsw"] = {
        **measure_questions(connection, clock, embedder, asked),
        "ingest": ingest(first=200_000_000 + size),
    }
    connection.execute(f"DROP INDEX {_INDEX}")
    return point


_FITTED: dict[str, Callable[[dict[str, Any]], float]] = {
    "ingest CPU a chunk, no index": lambda p: p["exact"]["ingest"]["cpu_ms_a_chunk"],
    "ingest CPU a chunk, HNSW": lambda p: p["hnsw"]["ingest"]["cpu_ms_a_chunk"],
    "question p50, exact": lambda p: p["exact"]["search_ms"]["p50"],
    "question p50, HNSW": lambda p: p["hnsw"]["search_ms"]["p50"],
    "question CPU, exact": lambda p: p["exact"]["search_cpu_ms"],
    "question CPU, HNSW": lambda p: p["hnsw"]["search_cpu_ms"],
    "HNSW build CPU": lambda p: p["build"]["cpu_seconds"],
    "bytes of all tables and indexes": lambda p: sum(p["bytes"].values()),
}


def fit_exponents(points: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return the exponent of growth of each figure over all sizes."""
    sizes = [point["chunks"] for point in points]
    return {
        name: fit_exponent(sizes, [read(point) for point in points])
        for name, read in _FITTED.items()
    }


def write_tables(result: dict[str, Any]) -> str:
    """Return the tables of docs/scaling.md."""
    points = result["points"]
    ingest = make_table(
        ("chunks", "index", "staging p50 ms", "p95", "finishing p50 ms", "p95", "CPU ms"),
        [
            (
                f"{point['chunks']:,}",
                kind,
                *(
                    f"{point[key]['ingest'][step][part]:.2f}"
                    for step in ("stage_ms_a_chunk", "finish_ms_a_chunk")
                    for part in ("p50", "p95")
                ),
                f"{point[key]['ingest']['cpu_ms_a_chunk']:.2f}",
            )
            for point in points
            for key, kind in (("exact", "none"), ("hnsw", "HNSW"))
        ],
    )
    asking = make_table(
        (
            "chunks",
            "index",
            "embed p50 ms",
            "search p50 ms",
            "p95",
            "CPU ms",
        ),
        [
            (
                f"{point['chunks']:,}",
                kind,
                f"{point[key]['embed_ms']['p50']:.1f}",
                f"{point[key]['search_ms']['p50']:.1f}",
                f"{point[key]['search_ms']['p95']:.1f}",
                f"{point[key]['search_cpu_ms']:.1f}",
            )
            for point in points
            for key, kind in (("exact", "none"), ("hnsw", "HNSW"))
        ],
    )
    building = make_table(
        (
            "chunks",
            "HNSW build s",
            "CPU s",
            "memory MB",
            "index MB",
            "all MB",
            "recall@10",
            "similarity lost",
            "word sample s",
            "not due s",
        ),
        [
            (
                f"{point['chunks']:,}",
                f"{point['build']['seconds']:.1f}",
                f"{point['build']['cpu_seconds']:.1f}",
                f"{point['build']['memory_mb']:.0f}",
                f"{point['bytes'].get(_INDEX, 0) / 2**20:.0f}",
                f"{sum(point['bytes'].values()) / 2**20:.0f}",
                f"{point['recall_at_10']:.3f}",
                f"{point['similarity_lost']:.4f}",
                f"{point['statistics_seconds']:.2f}",
                f"{point['statistics_not_due_seconds']:.2f}",
            )
            for point in points
        ],
    )
    growth = make_table(
        ("cost grows as chunks to the power of", "exponent"),
        [(name, exponent) for name, exponent in result["exponents"].items()],
    )
    pays = result["index_pays_from"]
    crossing = f"{pays:,} chunks" if pays else "none of these sizes"
    settings = result["settings"]
    origin = (
        f"A search costs the server less with the index than without from {crossing} on."
        " Vectors are mixtures of two real ones each, slightly turned."
        f" maintenance_work_mem {settings['maintenance_work_mem_mb']} MB, shared_buffers"
        f" {settings['shared_buffers_mb']} MB, {settings['questions']} questions a row."
    )
    parts = (
        "Ingest, a chunk (staging and finishing in the store; parsing and embedding left out):",
        ingest,
        "A question (its embedding, then the whole search):",
        asking,
        "The index, and the sweeper's sample of words:",
        building,
        *_write_breadths(points),
        growth,
        origin,
        describe_run(result),
    )
    return "\n\n".join(parts)


def _write_breadths(points: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of recall by breadth, nothing if it was not measured."""
    rows = [
        (f"{point['chunks']:,}", row["ef_search"], f"{row['recall_at_10']:.3f}", row["cpu_ms"])
        for point in points
        for row in point.get("breadths", ())
    ]
    title = "The index alone, by the candidates it keeps (the product 200, more above 100,000):"
    return [title, make_table(("chunks", "ef_search", "recall@10", "CPU ms"), rows)] if rows else []


def _read_sizes(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    sizes = [int(part) for part in value.split(",")]
    if sizes != sorted(set(sizes)) or any(size % _CHUNKS_A_DOCUMENT for size in sizes):
        raise click.BadParameter(f"give rising multiples of {_CHUNKS_A_DOCUMENT}")
    return sizes


@click.command(help=__doc__)
@click.option("--sizes", default="1000,10000,100000,1000000", callback=_read_sizes)
@click.option("--questions", default=60, show_default=True)
@click.option("--noise", default=0.3, show_default=True, help="Length of the random turn.")
@click.option("--maintenance-mb", default=3072, show_default=True)
@click.option("--shared-mb", default=4096, show_default=True)
@model_dir_option
@click.option("--folder", type=click.Path(path_type=Path), help="For the database; removed again.")
@click.option("--tables", is_flag=True, help="Only write the tables of the newest result again.")
def main(
    sizes: list[int],
    *,
    questions: int,
    noise: float,
    maintenance_mb: int,
    shared_mb: int,
    model_dir: Path,
    folder: Path | None,
    tables: bool,
) -> None:
    """Measure, write benchmarks/results/scaling-*.json and the tables of docs/scaling.md."""
    if not tables:
        file: Path | None = None
        for result in measure(
            sizes,
            embedder=Embedder(model_dir),
            folder=folder,
            questions=questions,
            noise=noise,
            maintenance_mb=maintenance_mb,
            shared_mb=shared_mb,
        ):
            # After each size: the largest takes an hour, and may be cut off.
            file = write_result("scaling", result, file=file)
            click.echo(f"{result['points'][-1]['chunks']:,} chunks: {file}")
    show_latest("scaling", document=DOCUMENT, blocks={"scaling": write_tables})


if __name__ == "__main__":
    main()
