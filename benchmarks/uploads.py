"""
From the upload to the answer: python -m benchmarks.uploads

Starts everything as `make run` does, uploads files of text at the same moment, and looks when each
answers; then every file is asked for by a sentence that only it has. First nothing else is done,
then the same while 32 clients ask without a pause. Writes benchmarks/results/uploads-*.json and the
table of docs/performance.md; ends with 1 if a file did not answer.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psycopg
import requests

from .load import Asked, ask_until, summarise
from .recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)
from .running import Running, make_text, model_dir_option, run_like_product, sentences

DOCUMENT = ROOT / "docs" / "performance.md"
_PATIENCE_SECONDS = 1800.0
_CHARACTERS_A_CHUNK = 750
_CLIENTS = 32
# As many as a browser and Google's own transfer tools open at once.
_UPLOADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Case:
    """So many files of so many characters at the same moment."""

    files: int
    characters: int

    @classmethod
    def read(cls, text: str) -> Case:
        """Read 10x100000."""
        files, _, characters = text.partition("x")
        return cls(int(files), int(characters))

    @property
    def title(self) -> str:
        """What stands in the table."""
        size = f"{self.characters / 1000:,.0f} kB"
        if self.characters >= 1_000_000:
            size = f"{self.characters / 1_000_000:.0f} MB"
        return f"{self.files:,} x {size}"


# A page; 10 to 100 files at once; large ones; a storm of small ones.
CASES = (
    *("1x3000", "10x100000", "25x100000", "50x100000", "100x100000"),
    *("1x1000000", "1x5000000", "1000x2000"),
)


def measure_case(running: Running, case: Case, *, prefix: str) -> dict[str, Any]:
    """Upload the files, wait until each answers or has failed, and ask for each."""
    chance, known = random.Random(prefix), sentences()
    texts = {}
    for number in range(case.files):
        code = f"{chance.randrange(10**8):08}"
        text = make_text(chance, known, chunks=max(1, case.characters // _CHARACTERS_A_CHUNK))
        half = len(text) // 2
        cut = text.rfind("\n", 0, half) + 1
        fact = f"The storage code of crate {prefix}{number} is QX-{code}.\n\n"
        texts[f"{prefix}/{number}.txt"] = text[:cut] + fact + text[cut:]
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        begun: dict[str, float] = {}
        bucket = running.system.bucket()

        def upload(name: str) -> None:
            begun[name] = time.monotonic()
            bucket.blob(name).upload_from_string(texts[name], content_type="text/plain")

        started = time.monotonic()
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as threads:
            uploads = [threads.submit(upload, name) for name in texts]
            answering, failed = _watch(connection, prefix, files=case.files)
            for upload_ in uploads:
                upload_.result()
        ended = time.monotonic()
        row = connection.execute(
            """
            SELECT coalesce(sum(chunk_count), 0)
            FROM live_documents
            WHERE starts_with(name, %s)
            """,
            [f"{prefix}/"],
        ).fetchone()
    found = _ask_for_each(running.system.query_url, prefix, case.files)
    seconds = [answering[name] - begun[name] for name in answering]
    chunks = int(row[0]) if row else 0
    return {
        "case": case.title,
        "files": case.files,
        "chunks": chunks,
        "first_seconds": round(min(seconds, default=0.0), 2),
        "p50_seconds": round(statistics.median(seconds), 2) if seconds else None,
        "p95_seconds": round(_p95(seconds), 2) if seconds else None,
        "all_seconds": round(ended - started, 2),
        "chunks_a_second": round(chunks / (ended - started), 1),
        "failed": sorted(failed),
        "not_found": sorted(set(texts) - found),
    }


def _watch(
    connection: psycopg.Connection[Any], prefix: str, *, files: int
) -> tuple[dict[str, float], set[str]]:
    """Return the moment from which each file answers, and the files that failed."""
    answering: dict[str, float] = {}
    failed: set[str] = set()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.02
    while len(answering) + len(failed) < files and time.monotonic() < deadline:
        rows = connection.execute(
            """
            SELECT name, active_build IS NOT NULL
            FROM documents
            WHERE starts_with(name, %s) AND (active_build IS NOT NULL OR state = 'failed')
            """,
            [f"{prefix}/"],
        ).fetchall()
        now = time.monotonic()
        for name, answers in rows:
            if answers:
                answering.setdefault(name, now)
            else:
                failed.add(name)
        threading.Event().wait(pause)
    return answering, failed


def _ask_for_each(url: str, prefix: str, files: int) -> set[str]:
    """Return the files of which the sentence is found that only they have."""

    def ask(number: int) -> str:
        question = f"What is the storage code of crate {prefix}{number}?"
        for _ in range(10):
            response = requests.post(
                f"{url}/retrieve", json={"question": question, "limit": 5}, timeout=60
            )
            if response.status_code == 200:
                break
            # The service is full, and says when to ask again.
            time.sleep(float(response.headers.get("Retry-After", 1)))
        response.raise_for_status()
        wanted = f"crate {prefix}{number} is QX-"
        return next(
            (one["name"] for one in response.json()["passages"] if wanted in one["text"]), ""
        )

    with ThreadPoolExecutor(4) as threads:
        return {name for name in threads.map(ask, range(files)) if name}


def _p95(values: Sequence[float]) -> float:
    return (
        statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    )


@contextmanager
def _asking(running: Running, *, clients: int) -> Iterator[list[Asked]]:
    """Let clients ask until the block is left; their answers are there afterwards."""
    chance, known = random.Random(3), sentences()
    questions = [f"What is {' '.join(chance.choice(known).split()[:12])}?" for _ in range(200)]
    over, asked = threading.Event(), list[Asked]()
    join = ask_until(over, running.system.query_url, questions, clients=clients)
    try:
        yield asked
    finally:
        over.set()
        asked += join()


def measure(running: Running, cases: Sequence[Case], busy: Sequence[Case]) -> dict[str, Any]:
    """Measure the cases alone, and then those under load."""
    measure_case(running, Case(3, 3000), prefix="warm")
    idle = [_tell(measure_case(running, case, prefix=f"i{n}c")) for n, case in enumerate(cases)]
    with _asking(running, clients=_CLIENTS) as asked:
        loaded = [
            _tell(measure_case(running, case, prefix=f"b{n}c")) for n, case in enumerate(busy)
        ]
    return {"idle": idle, "busy": loaded, "questions": summarise(asked), "clients": _CLIENTS}


def _tell(row: dict[str, Any]) -> dict[str, Any]:
    click.echo(f"{row['case']}: {row['all_seconds']} s", err=True)
    return row


def write_table(result: Mapping[str, Any]) -> str:
    """Return the table of docs/performance.md."""
    rows = [
        (
            row["case"],
            under,
            f"{row['chunks']:,}",
            *(f"{row[key]:.2f}" for key in ("first_seconds", "p50_seconds", "p95_seconds")),
            f"{row['all_seconds']:.1f}",
            row["chunks_a_second"],
            len(row["failed"]) + len(row["not_found"]),
        )
        for part, under in (("idle", "nothing"), ("busy", f"{result['clients']} clients"))
        for row in result[part]
    ]
    header = (
        "files",
        "beside",
        "chunks",
        "first s",
        "p50 s",
        "p95 s",
        "all s",
        "chunks/s",
        "failed",
    )
    asked = result["questions"]
    said = (
        f"The {result['clients']} clients were answered {asked['asked']:,} times meanwhile, with"
        f" {asked['errors']} errors, p50 {asked['p50_ms']} ms, p95 {asked['p95_ms']} ms."
        if asked["asked"]
        else ""
    )
    return "\n\n".join(
        [make_table(header, rows), *filter(None, [said]), describe_run(dict(result))]
    )


def find_failures(result: Mapping[str, Any]) -> list[str]:
    """Return the files that do not answer."""
    return [
        name
        for part in ("idle", "busy")
        for row in result[part]
        for name in (*row["failed"], *row["not_found"])
    ]


@click.command(help=__doc__)
@click.option("--cases", default=",".join(CASES), show_default=True, help="FILESxCHARACTERS, ...")
@click.option(
    "--busy", default=",".join(CASES), show_default=True, help="Those beside 32 clients; '' none."
)
@model_dir_option
@click.option("--folder", type=click.Path(path_type=Path), help="For the state; removed again.")
@click.option("--tables", is_flag=True, help="Only write the table of the newest result again.")
def main(*, cases: str, busy: str, model_dir: Path, folder: Path | None, tables: bool) -> None:
    """Measure, write the result and the table."""
    if not tables:
        machine = describe_machine()
        with run_like_product(model_dir, folder=folder) as running:
            result = measure(running, _read(cases), _read(busy))
        click.echo(write_result("uploads", {"machine": machine, **result}))
    latest = show_latest("uploads", document=DOCUMENT, blocks={"uploads": write_table})
    if failures := find_failures(latest):
        click.echo(f"Do not answer: {', '.join(failures)}", err=True)
        sys.exit(1)


def _read(cases: str) -> list[Case]:
    return [Case.read(case) for case in cases.split(",") if case]


if __name__ == "__main__":
    main()
