"""
Predict backlog, latency and cost: python -m benchmarks.simulate [--check]

--check measures on this machine what each piece of work takes, one at a time, predicts what becomes
of some hundred other real documents (/usr/share/doc) uploaded to the running system, and of clients
that ask it without a pause, then does both and states the error. The prediction knows of those
documents only their sizes and when they are uploaded. Without --check the newest such service times
are put into deployments of infra/terraform. Both write benchmarks/results/simulate-*.json and the
tables of docs/scaling.md. The model is benchmarks/simulation.py.
"""

from __future__ import annotations

import base64
import math
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import psycopg
import requests
from pgvector.psycopg import register_vector

from benchmarks.load import ask_until, summarise
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
    Running,
    model_dir_option,
    real_documents,
    run_like_product,
    sentences,
)
from benchmarks.simulation import (
    Deployment,
    Service,
    ServiceTimes,
    cost_of_indexing,
    cost_of_questions,
    percentile,
    simulate_indexing,
    simulate_questions,
)
from functions.ingest.sandbox import ParseLimits, parse_document
from local.system import System, wait_until
from shared import store
from shared.embedding.embedder import Embedder, available_cores
from shared.embedding.tokenizer import TOKENIZER_FILE
from shared.language import detect_language, search_config, searchable_text
from shared.values import ObjectVersion

DOCUMENT = ROOT / "docs" / "scaling.md"
_LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=256 * 2**20,
    max_cells=2_000_000,
    max_chunks=200_000,
    max_text_chars=128 * 2**20,
    timeout_seconds=300,
    memory_bytes=2**30,
)
# Seconds that Gemini takes for an answer, and its tokens: assumed, not measured here.
_GENERATE_SECONDS, _TOKENS_IN, _TOKENS_OUT = 2.0, 4_000, 300
_FOREVER = math.inf


def fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return (constant, slope) of the nearest straight line; neither is below zero."""
    slope, constant = np.polyfit(x, y, 1) if len(set(x)) > 1 else (0.0, statistics.mean(y))
    if constant < 0:
        return 0.0, float(np.dot(x, y) / np.dot(x, x))
    if slope < 0:
        return statistics.mean(y), 0.0
    return float(constant), float(slope)


def calibrate(
    running: Running, embedder: Embedder, documents: Sequence[Path], *, model_dir: Path
) -> tuple[ServiceTimes, float]:
    """
    Measure each piece of work by itself, by the product's own functions.

    Returns:
        The times, and how many chunks a byte of such documents makes.
    """
    sizes, chunk_counts, parsing, staging = [], [], [], []
    leasing, finishing, batch_sizes = [], [], []
    embedding_cpu = embedding_wall = 0.0
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        register_vector(connection)
        model = store.serving_model(connection)
        assert model is not None
        for path in documents:
            started = time.perf_counter()
            with parse_document(
                path,
                name=path.name + ".txt",
                content_type="text/plain",
                limits=_LIMITS,
                tokenizer=model_dir / TOKENIZER_FILE,
                max_tokens=embedder.info.max_tokens,
            ) as parsed:
                language = detect_language(parsed.sample)
                read = time.perf_counter()
                lease = store.begin_build(
                    connection,
                    ObjectVersion("documents", f"calibration/{uuid.uuid4()}", 1),
                    config_hash="calibration",
                    lease_seconds=600,
                    max_attempts=10,
                ).lease
                assert lease is not None
                jobs = store.stage_build(
                    connection,
                    lease,
                    document=store.StagedDocument(
                        parsed.title, language, parsed.content_type, None, []
                    ),
                    chunks=(
                        (chunk, searchable_text(chunk.text, language=language))
                        for chunk in parsed.chunks()
                    ),
                    text_segments=parsed.text_segments(),
                    search_config=search_config(language),
                    batch_size=64,
                )
                staged = time.perf_counter()
                sizes.append(path.stat().st_size)
                chunk_counts.append(parsed.chunk_count)
                parsing.append(read - started)
                staging.append(staged - read)
            for job in jobs:
                started = time.perf_counter()
                batch = store.lease_batch(
                    connection, job, model_id=model.id, lease_seconds=600, max_attempts=10
                )
                if batch is None:
                    continue
                leased, cpu = time.perf_counter(), time.process_time()
                vectors = embedder.embed_documents(batch.texts)
                embedding_cpu += time.process_time() - cpu
                embedded = time.perf_counter()
                store.finish_batch(connection, batch, vectors)
                leasing.append(leased - started)
                embedding_wall += embedded - leased
                finishing.append(time.perf_counter() - embedded)
                batch_sizes.append(len(batch.texts))
        connection.execute("DELETE FROM documents WHERE starts_with(name, 'calibration/')")
    parse, parse_a_chunk = fit_line(chunk_counts, parsing)
    stage, stage_a_chunk = fit_line(chunk_counts, staging)
    finish, finish_a_chunk = fit_line(batch_sizes, finishing)
    embed, search, answer, message = _time_questions(running.system)
    times = ServiceTimes(
        message=message,
        download=_time_download(running.system),
        parse=parse,
        parse_a_chunk=parse_a_chunk,
        stage=stage,
        stage_a_chunk=stage_a_chunk,
        lease=statistics.mean(leasing),
        embed_a_chunk=embedding_cpu / sum(batch_sizes),
        embed_width=max(0.1, embedding_cpu / embedding_wall),
        finish=finish,
        finish_a_chunk=finish_a_chunk,
        question_embed=embed,
        question_search=search,
        question_answer=answer,
    )
    return times, sum(chunk_counts) / sum(sizes)


def _time_questions(system: System) -> tuple[float, float, float, float]:
    """Return seconds of embedding, search, answer, and of HTTP, client included."""
    parts: list[tuple[float, float, float, float]] = []
    for question in _questions()[:40]:
        started = time.perf_counter()
        response = system.post("/query", {"question": question, "limit": 5})
        whole = time.perf_counter() - started
        told = response["timings"]
        embed, search, answer = (
            told[name] / 1000 for name in ("embed_ms", "retrieve_ms", "generate_ms")
        )
        parts.append((embed, search, answer, max(0.0, whole - embed - search - answer)))
    embed, search, answer, message = (statistics.median(part) for part in zip(*parts, strict=True))
    return embed, search, answer, message


def _time_download(system: System) -> float:
    """Return the seconds of a push that changes nothing and of reading an object."""
    blob = system.bucket().blob("seed/0.txt")
    nothing = {
        "message": {
            "data": base64.b64encode(b"{}").decode(),
            "attributes": {
                "eventType": "OBJECT_FINALIZE",
                "bucketId": "documents",
                "objectId": "folder/",
                "objectGeneration": "1",
                "payloadFormat": "JSON_API_V1",
            },
            "messageId": "1",
            "publishTime": "2026-01-01T00:00:00Z",
        },
        "subscription": "projects/p/subscriptions/s",
    }
    downloads, pushes = [], []
    for _ in range(20):
        started = time.perf_counter()
        blob.download_as_bytes()
        read = time.perf_counter()
        requests.post(f"http://127.0.0.1:{system.ports['ingest']}", json=nothing, timeout=30)
        downloads.append(read - started)
        pushes.append(time.perf_counter() - read)
    return statistics.median(downloads) + statistics.median(pushes)


def _questions() -> list[str]:
    return [f"What is {' '.join(known.split()[:12])}?" for known in sentences()[:200]]


def _this_machine() -> Deployment:
    cores = float(available_cores())
    function = Service(
        concurrency=2,
        max_instances=1,
        min_instances=1,
        pool_size=POOL_SIZE,
        wait_seconds=_FOREVER,
    )
    return Deployment(
        ingest=replace(function, concurrency=int(cores)),
        worker=function,
        query=replace(function, concurrency=40),
        database_cores=None,
        machine_cores=cores,
        window=16,
    )


def check(
    running: Running, embedder: Embedder, *, model_dir: Path, documents: int, clients: int
) -> dict[str, Any]:
    """Predict, measure, and return both with the error."""
    system = running.system
    for number, path in enumerate(real_documents(5, seed=1)):
        system.upload(f"seed/{number}.txt", path.read_bytes())
    wait_until(lambda: _ready(running, "seed") == 5, what="the seed is ready", timeout_seconds=600)
    chosen = real_documents(40 + documents, seed=2)
    times, chunks_a_byte = calibrate(running, embedder, chosen[:40], model_dir=model_dir)
    deployment = _this_machine()
    measured_asking, predicted_asking = _check_questions(running, times, deployment, clients)
    first = time.time()
    moments = []
    for number, path in enumerate(chosen[40:]):
        system.upload(f"check/{number}.txt", path.read_bytes())
        moments.append(time.time())
    count = len(moments)
    wait_until(
        lambda: _ready(running, "check") == count,
        what=f"{count} documents are ready",
        timeout_seconds=3600,
        pause=0.5,
    )
    finished, chunks = _finished(running)
    latencies = sorted(
        finished[f"check/{number}.txt"] - moment for number, moment in enumerate(moments)
    )
    arrivals = [
        (moment - first, max(1, round(path.stat().st_size * chunks_a_byte)))
        for moment, path in zip(moments, chosen[40:], strict=True)
    ]
    predicted = simulate_indexing(arrivals, times=times, deployment=deployment)
    rows = {
        "chunks": (sum(size for _, size in arrivals), chunks),
        "drain seconds": (predicted.drain_seconds, max(finished.values()) - moments[0]),
        "latency p50 s": (percentile(predicted.latencies, 0.5), percentile(latencies, 0.5)),
        "latency p95 s": (percentile(predicted.latencies, 0.95), percentile(latencies, 0.95)),
        "questions a second": (predicted_asking[0], measured_asking[0]),
        "question p50 ms": (predicted_asking[1], measured_asking[1]),
        "question p95 ms": (predicted_asking[2], measured_asking[2]),
    }
    return {
        "documents": count,
        "clients": clients,
        "times": asdict(times),
        "chunks_a_byte": chunks_a_byte,
        "check": {
            name: {
                "predicted": round(guess, 2),
                "measured": round(true, 2),
                "error": round(guess / true - 1, 3),
            }
            for name, (guess, true) in rows.items()
        },
    }


def _check_questions(
    running: Running, times: ServiceTimes, deployment: Deployment, clients: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    seconds = 15.0
    over = threading.Event()
    join = ask_until(over, running.system.query_url, _questions(), clients=clients)
    over.wait(seconds)
    over.set()
    measured = summarise(join())
    predicted = simulate_questions(
        times=times, deployment=deployment, seconds=seconds, clients=clients
    )
    return (
        (measured["asked"] / seconds, measured["p50_ms"], measured["p95_ms"]),
        (
            len(predicted.latencies) / seconds,
            1000 * percentile(predicted.latencies, 0.5),
            1000 * percentile(predicted.latencies, 0.95),
        ),
    )


def _ready(running: Running, prefix: str) -> int:
    with psycopg.connect(running.database_url) as connection:
        row = connection.execute(
            """
            SELECT count(*) FROM document_status
            WHERE starts_with(name, %(prefix)s || '/') AND state IN ('ready', 'failed')
            """,
            {"prefix": prefix},
        ).fetchone()
    return int(row[0]) if row else 0


def _finished(running: Running) -> tuple[dict[str, float], int]:
    """Return when each document was ready, in seconds since 1970, and their chunks."""
    with psycopg.connect(running.database_url) as connection:
        rows: list[tuple[str, datetime, int | None]] = connection.execute(
            """
            SELECT name, builds.finished, builds.chunk_count
            FROM documents
            JOIN builds ON builds.document_id = documents.id
            WHERE starts_with(name, 'check/')
            """
        ).fetchall()
    return {name: moment.timestamp() for name, moment, _ in rows}, sum(n or 0 for *_, n in rows)


# As infra/terraform has them: the defaults of services.tf, environments/*.tfvars.example, and a
# back-fill on many instances.
_DEFAULTS = Deployment(
    ingest=Service(concurrency=1, max_instances=10, cores=2, memory_gib=3, pool_size=2),
    worker=Service(concurrency=2, max_instances=10, cores=2, memory_gib=2, pool_size=2),
    query=Service(
        concurrency=8, max_instances=10, cores=1, memory_gib=1, min_instances=1, pool_size=4
    ),
    database_cores=1,
)
_SMALL = replace(
    _DEFAULTS,
    ingest=replace(_DEFAULTS.ingest, max_instances=2, pool_size=1),
    worker=replace(_DEFAULTS.worker, max_instances=2),
    # db-f1-micro has a fifth of a core for good.
    database_cores=0.2,
)
_PRODUCTION = replace(
    _DEFAULTS,
    worker=replace(_DEFAULTS.worker, max_instances=5, cores=4),
    query=replace(_DEFAULTS.query, cores=2, memory_gib=2, concurrency=16),
    database_cores=4,
)
_BACKFILL = replace(
    _PRODUCTION,
    ingest=replace(_PRODUCTION.ingest, max_instances=50),
    worker=replace(_PRODUCTION.worker, max_instances=200),
    query=replace(_PRODUCTION.query, max_instances=50),
    database_cores=16,
)
DEPLOYMENTS = {
    "small, db-f1-micro": _SMALL,
    "defaults, 1 database core": _DEFAULTS,
    "production, 4 cores": _PRODUCTION,
    "back-fill, 16 cores": _BACKFILL,
}


def predict(times: ServiceTimes, *, documents: int = 20_000, chunks: int = 50) -> dict[str, Any]:
    """Return what each deployment would do with a million chunks and with rising questions."""
    indexing, asking = [], []
    for name, deployment in DEPLOYMENTS.items():
        indexed = simulate_indexing(
            # Uploads of ten minutes: the copy of a whole bucket.
            [(600 * number / documents, chunks) for number in range(documents)],
            times=times,
            deployment=deployment,
        )
        million = 1e6 / (documents * chunks)
        cost = cost_of_indexing(indexed, deployment)
        indexing.append(
            {
                "deployment": name,
                "hours": indexed.drain_seconds / 3600,
                "p50_minutes": percentile(indexed.latencies, 0.5) / 60,
                "p95_minutes": percentile(indexed.latencies, 0.95) / 60,
                "most_waiting_chunks": indexed.most_waiting_chunks,
                "deliveries_a_message": indexed.deliveries / indexed.messages,
                "dead_letters": indexed.dead_letters,
                "instances": indexed.most_instances,
                "dollars_a_million_chunks": sum(cost.values()) * million,
            }
        )
        for rate in (1.0, 10.0, 50.0, 200.0):
            answered = simulate_questions(
                times=replace(times, generate_wait=_GENERATE_SECONDS),
                deployment=deployment,
                seconds=120,
                questions_a_second=rate,
            )
            cost = cost_of_questions(
                answered, deployment, tokens_in=_TOKENS_IN, tokens_out=_TOKENS_OUT
            )
            asking.append(
                {
                    "deployment": name,
                    "rate": rate,
                    "p50_ms": 1000 * percentile(answered.latencies, 0.5),
                    "p95_ms": 1000 * percentile(answered.latencies, 0.95),
                    "refused": answered.refused
                    / max(1, answered.refused + len(answered.latencies)),
                    "instances": answered.most_instances,
                    "database_busy_cores": answered.database_busy,
                    "dollars_a_thousand": sum(cost.values()),
                    "dollars_a_thousand_without_gemini": cost["instances"] + cost["requests"],
                }
            )
    return {"documents": documents, "chunks": chunks, "indexing": indexing, "asking": asking}


def predict_bulk(
    times: ServiceTimes, *, documents: int = 10_000, chunks: int = 20
) -> dict[str, Any]:
    """Return what becomes of *documents* that are all put into the smallest deployment at once."""
    rows = []
    for slows_down, attempts in ((True, 10), (True, 100), (False, 10), (False, 100)):
        indexed = simulate_indexing(
            # As fast as eight uploads at a time go.
            [(number / 20, chunks) for number in range(documents)],
            times=times,
            deployment=replace(_SMALL, max_attempts=attempts, slows_down=slows_down),
        )
        rows.append(
            {
                "slows_down": slows_down,
                "attempts": attempts,
                "ready": len(indexed.latencies),
                "dead_letters": indexed.dead_letters,
                "hours": indexed.drain_seconds / 3600,
                "deliveries_a_message": indexed.deliveries / indexed.messages,
            }
        )
    return {"documents": documents, "chunks": chunks, "rows": rows}


def write_bulk(result: dict[str, Any]) -> str:
    """Return the table of the bulk load."""
    bulk = result["bulk"]
    table = make_table(
        (
            "Pub/Sub, when refused",
            "max_delivery_attempts",
            "ready",
            "given up",
            "drained after h",
            "deliveries a message",
        ),
        [
            (
                "slows down, as documented"
                if row["slows_down"]
                else "pushes up to 1,000 at once all the same",
                row["attempts"],
                f"{row['ready']:,}",
                f"{row['dead_letters']:,}",
                f"{row['hours']:.1f}",
                f"{row['deliveries_a_message']:.2f}",
            )
            for row in bulk["rows"]
        ],
    )
    what = (
        f"`python -m benchmarks.simulate`: {bulk['documents']:,} files of {bulk['chunks']} chunks"
        " put into `small` (two instances of ingest and of the worker, db-f1-micro) at 20 a second:"
    )
    return "\n\n".join((what, table, describe_run(result)))


def write_check(result: dict[str, Any]) -> str:
    """Return the table of prediction and measurement."""
    table = make_table(
        ("", "predicted", "measured", "error"),
        [
            (name, row["predicted"], row["measured"], f"{row['error']:+.0%}")
            for name, row in result["check"].items()
        ],
    )
    times = make_table(
        ("work", "core-milliseconds"),
        [
            (name.replace("_", " "), f"{1000 * value:.2f}")
            for name, value in result["times"].items()
            if name not in ("embed_width", "generate_wait")
        ],
    )
    what = (
        f"`python -m benchmarks.simulate --check`: {result['documents']} real documents, uploaded"
        f" one after the other, and {result['clients']} clients without a pause:"
    )
    measured = "The service times, each measured by itself:"
    return "\n\n".join((what, table, measured, times, describe_run(result)))


def write_predictions(result: dict[str, Any]) -> str:
    """Return the tables of the deployments, and the prices behind them."""
    predicted = result["predicted"]
    chunks = predicted["documents"] * predicted["chunks"]
    indexing = make_table(
        (
            f"{chunks:,} chunks uploaded within ten minutes",
            "drained after h",
            "upload to ready p50 min",
            "p95 min",
            "most chunks waiting",
            "deliveries a message",
            "dead letters",
            "ingest / worker instances",
            "USD a million chunks",
        ),
        [
            (
                row["deployment"],
                f"{row['hours']:.2f}",
                f"{row['p50_minutes']:.1f}",
                f"{row['p95_minutes']:.1f}",
                f"{row['most_waiting_chunks']:,}",
                f"{row['deliveries_a_message']:.2f}",
                row["dead_letters"],
                f"{row['instances']['ingest']} / {row['instances']['embed-worker']}",
                f"{row['dollars_a_million_chunks']:.2f}",
            )
            for row in predicted["indexing"]
        ],
    )
    asking = make_table(
        (
            "questions a second",
            "rate",
            "p50 ms",
            "p95 ms",
            "refused",
            "instances",
            "database cores busy",
            "USD a thousand",
            "without Gemini",
        ),
        [
            (
                row["deployment"],
                f"{row['rate']:.0f}",
                f"{row['p50_ms']:.0f}",
                f"{row['p95_ms']:.0f}",
                f"{row['refused']:.1%}",
                row["instances"],
                f"{row['database_busy_cores']:.2f}",
                f"{row['dollars_a_thousand']:.3f}",
                f"{row['dollars_a_thousand_without_gemini']:.4f}",
            )
            for row in predicted["asking"]
        ],
    )
    assumed = (
        f"Gemini is taken to answer in {_GENERATE_SECONDS:.0f} s with {_TOKENS_IN:,} tokens in and"
        f" {_TOKENS_OUT} out (assumed, not measured)."
    )
    listed = (
        "The database's month is not in the figures above; the prices are those of the table in"
        " [Cost](cost.md)."
    )
    return "\n\n".join((indexing, assumed, asking, listed, describe_run(result)))


@click.command(help=__doc__)
@click.option("--check", "checked", is_flag=True, help="Measure this machine first.")
@click.option("--documents", default=300, show_default=True)
@click.option("--clients", default=8, show_default=True)
@model_dir_option
@click.option("--folder", type=click.Path(path_type=Path), help="For the state; removed again.")
def main(
    *, checked: bool, documents: int, clients: int, model_dir: Path, folder: Path | None
) -> None:
    """Check the model where asked to, and write its predictions."""
    if checked:
        machine = describe_machine()
        with run_like_product(model_dir, folder=folder) as running:
            result = check(
                running,
                Embedder(model_dir),
                model_dir=model_dir,
                documents=documents,
                clients=clients,
            )
        write_result("simulate-check", {"machine": machine, **result})
    latest = show_latest(
        "simulate-check", document=DOCUMENT, blocks={"simulate-check": write_check}
    )
    predicted = predict(ServiceTimes(**latest["times"]))
    write_result(
        "simulate",
        {
            "machine": describe_machine(),
            "from": latest["file"],
            "predicted": predicted,
            "bulk": predict_bulk(ServiceTimes(**latest["times"])),
        },
    )
    show_latest(
        "simulate", document=DOCUMENT, blocks={"simulate": write_predictions, "bulk": write_bulk}
    )


if __name__ == "__main__":
    main()
