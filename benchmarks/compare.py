"""
Our system beside what a user would pick instead: make bench (python -m benchmarks.compare).

One run, one machine, one PostgreSQL server with its usual durability, the same documents, the same
model's weights. In every round every system does the same work, one after the other, beginning
with another one each time; ratios are taken within a round. docs/performance.md says what each
figure is, and how each peer is set up.

--prepare makes what takes long and is kept in ~/.cache/kaydangpt/bench: environments, documents and
the stores of the larger corpus. --quick is the small form for CI: ours and the plain baseline with
this environment's own sentence-transformers, on a few documents that every Python has.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
import numpy as np
import psycopg
from pydantic import SecretStr

from admin import migrate
from admin.vector_index import HNSW_EF_CONSTRUCTION
from local.postgres import start_postgres
from local.roles import ensure_login
from local.system import run_system

from .corpus import (
    LargeCorpus,
    corpus_folders,
    digest,
    edited_copy,
    large_corpus,
    list_files,
    questions,
)
from .driving import Asked, Driven, Ours, Peer, embed_alone
from .environments import CACHE, PEERS, BenchmarkFailed, function_environment, peer_python
from .filling import fill_ours
from .recording import ROOT, describe_machine, write_result

OURS = Ours.name
PEER_NAMES = ("langchain", "llamaindex", "haystack", "txtai", "django")
FIGURES = ("ingest", "cold", "questions", "reingest", "memory")
# The others do not know what is unchanged: to bring a folder in again is to bring it in.
INCREMENTAL = (OURS, "langchain", "llamaindex")
CLIENTS = (1, 16)
LARGE_CHUNKS = 100_000
# The same for all; a quarter of the machine's memory, as PostgreSQL's documentation advises.
_POSTGRES = {
    "shared_buffers": "4GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    # Sixteen clients of each system, over two databases, keep their connections.
    "max_connections": "300",
}
_MODEL_DIR = Path(os.environ.get("MODEL_DIR") or CACHE.parent / "models" / "all-MiniLM-L6-v2")


@dataclass(frozen=True, slots=True)
class Size:
    """
    How much is done.

    Attributes:
        questions: Questions a round, by the number of clients.
        reingest_rounds: Rounds of bringing in again; each costs some peers a whole ingest.
    """

    rounds: int
    reingest_rounds: int
    cold_rounds: int
    questions: Mapping[int, int]
    warm_up: int
    large: bool


FULL = Size(
    rounds=3,
    reingest_rounds=2,
    cold_rounds=3,
    questions={1: 50, 16: 160},
    warm_up=32,
    large=True,
)
QUICK = Size(
    rounds=1, reingest_rounds=1, cold_rounds=1, questions={1: 5, 16: 16}, warm_up=2, large=False
)


@dataclass(slots=True)
class Bench:
    """The systems that run, what they are fed with, and what was seen so far."""

    size: Size
    systems: dict[str, Driven]
    folders: list[Path]
    asked: Iterator[str]
    work: Path
    result: dict[str, Any]
    output: Path
    ingested: set[int] = field(default_factory=set)
    memory: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def ours(self) -> Ours | None:
        """Return our system where it is among the compared ones."""
        system = self.systems.get(OURS)
        return system if isinstance(system, Ours) else None

    def in_turn(self, turn: int, names: Sequence[str] | None = None) -> list[Driven]:
        """Return the systems in this round's order."""
        chosen = [name for name in self.systems if names is None or name in names]
        first = turn % len(chosen) if chosen else 0
        return [self.systems[name] for name in chosen[first:] + chosen[:first]]

    @contextmanager
    def tolerating(self, system: Driven) -> Iterator[None]:
        """Leave a peer out from now on when it fails, and say so in the result; ours must not."""
        try:
            yield
        except BenchmarkFailed as error:
            if system.name == OURS:
                raise
            del self.systems[system.name]
            self.result["failures"][system.name] = str(error)
            _say(f"  {system.name} failed and is left out: {error}")

    def next_questions(self, count: int) -> list[str]:
        """Return questions that no system was asked before."""
        return [next(self.asked) for _ in range(count)]


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="The small form for CI: no figures worth keeping.")
@click.option("--prepare", is_flag=True, help="Only make what is kept; measure nothing.")
@click.option("--systems", default="", help="Peers to compare with, by commas.  [default: all]")
@click.option("--figures", default=",".join(FIGURES), show_default=True)
@click.option("--rounds", type=click.IntRange(1, 3), help="Rounds of ingest and questions.")
@click.option("--files", default=240, show_default=True, help="Documents of the corpus.")
@click.option("--large", default=LARGE_CHUNKS, show_default=True, help="Chunks; 0 leaves it out.")
@click.option("--database-url", default="", help="A server to use, by its superuser's URL.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Result file.")
def main(
    systems: str,
    figures: str,
    rounds: int | None,
    files: int,
    large: int,
    database_url: str,
    output: Path | None,
    *,
    quick: bool,
    prepare: bool,
) -> None:
    """Measure, and write the result after each figure."""
    peers = tuple(name for name in systems.split(",") if name) or PEER_NAMES
    size = QUICK if quick else FULL
    if rounds is not None:
        size = Size(
            rounds=rounds,
            reingest_rounds=min(rounds, size.reingest_rounds),
            cold_rounds=rounds,
            questions=size.questions,
            warm_up=size.warm_up,
            large=size.large,
        )
    unknown = [name for name in peers if name not in PEER_NAMES] + [
        name for name in figures.split(",") if name not in FIGURES
    ]
    if unknown:
        raise click.UsageError(f"unknown: {', '.join(unknown)}")
    try:
        _run(
            size=size,
            peers=("django",) if quick else peers,
            figures=tuple(name for name in FIGURES if name in figures.split(",")),
            files=files,
            large_chunks=0 if quick else large,
            database_url=database_url,
            output=output,
            quick=quick,
            prepare=prepare,
        )
    except BenchmarkFailed as error:
        raise click.ClickException(str(error)) from error


def _run(
    *,
    size: Size,
    peers: Sequence[str],
    figures: Sequence[str],
    files: int,
    large_chunks: int,
    database_url: str,
    output: Path | None,
    quick: bool,
    prepare: bool,
) -> None:
    pythons = {
        name: Path(sys.executable) if quick else _say_and_do(name, peer_python) for name in peers
    }
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kaydangpt-bench-")))
        work.chmod(0o755)
        folders = _quick_corpus(work) if quick else corpus_folders(files=files)
        state = work if quick else CACHE / "state"
        state.mkdir(parents=True, exist_ok=True)
        server_url = database_url or stack.enter_context(_server(state / "postgres" / "data"))
        databases = _Databases(server_url)
        systems: dict[str, Driven] = {}
        failures: dict[str, str] = {}
        large: LargeCorpus | None = None
        if large_chunks and (prepare or "questions" in figures):
            large = _prepare_large(
                databases, pythons, folders, chunks=large_chunks, state=state, work=work
            )
        if prepare:
            for function in ("embed_worker", "query"):
                _say_and_do(function, function_environment)
            return
        systems[OURS] = stack.enter_context(
            _ours(databases, work, name=OURS, large_chunks=large.chunks if large else 0)
        )
        for name, python in pythons.items():
            with_large = databases.name_large(name, large_chunks)
            try:
                peer = Peer(
                    name,
                    python=python,
                    url=databases.create(name),
                    large_url=databases.url(with_large),
                    state=_peer_state(state, fresh=name),
                    log=work / f"{name}.log",
                )
            except BenchmarkFailed as error:
                failures[name] = str(error)
                _say(f"  {name} cannot be started and is left out: {error}")
            else:
                stack.callback(peer.stop)
                systems[name] = peer
        bench = Bench(
            size=size,
            systems=systems,
            folders=folders,
            asked=iter(questions(folders, count=60 if quick else 1800)),
            work=work,
            result=_describe(folders, pythons, large, quick=quick),
            output=output or _new_file(),
        )
        bench.result["failures"] |= failures
        measures: dict[str, Callable[[Bench], Any]] = {
            "ingest": measure_ingest,
            "cold": measure_cold_start,
            "questions": measure_questions,
            "reingest": measure_reingest,
            "memory": measure_memory,
        }
        # Asking comes before the documents change.
        for figure in figures:
            began, load = time.time(), os.getloadavg()[0]
            found = _without(measures[figure](bench), set(peers) - set(bench.systems))
            _note_memory(bench)
            bench.result["figures"][figure] = found
            bench.result["runs"][figure] = {
                "seconds": round(time.time() - began, 1),
                "load_average": [round(load, 2), round(os.getloadavg()[0], 2)],
            }
            write_result("performance", bench.result, file=bench.output)
            _say(f"{figure}: {bench.result['runs'][figure]['seconds']} s, in {bench.output}")


def measure_ingest(bench: Bench) -> list[dict[str, Any]]:
    """Bring one part of the corpus in, a part a round; the limit is the model alone on the same."""
    rounds = []
    for turn in range(bench.size.rounds):
        part = turn % len(bench.folders)
        seen: dict[str, Any] = {}
        for system in bench.in_turn(turn):
            with bench.tolerating(system):
                ingested = system.ingest(bench.folders[part])
                seen[system.name] = {
                    "seconds": ingested.seconds,
                    "chunks": ingested.chunks,
                    "embedded": ingested.embedded,
                    "per_second": ingested.chunks / ingested.seconds,
                }
                took = f"{ingested.chunks} chunks in {ingested.seconds:.1f} s"
                _say(f"  round {turn}: {system.name} {took}")
        bench.ingested.add(part)
        found: dict[str, Any] = {"systems": seen}
        if (ours := bench.ours()) is not None:
            # A chunk that stands twice in the corpus goes through the model once.
            texts = list(dict.fromkeys(ours.embedded_texts(bench.folders[part])))
            seconds = embed_alone(texts, model_dir=_MODEL_DIR)
            found["limit"] = {"texts": len(texts), "seconds": seconds}
        rounds.append(found)
    return rounds


def measure_cold_start(bench: Bench) -> list[dict[str, Any]]:
    """Start a new process and ask it; all were started before, so nobody waits for the disk."""
    _need_documents(bench)
    question = bench.next_questions(1)[0]
    rounds = []
    for turn in range(bench.size.cold_rounds):
        seen = {}
        for system in bench.in_turn(turn):
            with bench.tolerating(system):
                seen[system.name] = system.first_answer(question)
        rounds.append(seen)
    return rounds


def measure_questions(bench: Bench) -> list[dict[str, Any]]:
    """Ask different questions in every round, the same ones of all systems."""
    _need_documents(bench)
    if (ours := bench.ours()) is not None:
        ours.settle()
    rounds = []
    for large in (False, True) if bench.result["corpus"]["large_chunks"] else (False,):
        for clients in CLIENTS:
            warm = bench.next_questions(bench.size.warm_up)
            for system in bench.in_turn(0):
                with bench.tolerating(system):
                    system.ask(warm, clients=clients, large=large)
            for turn in range(bench.size.rounds):
                asked = bench.next_questions(bench.size.questions[clients])
                seen = {}
                for system in bench.in_turn(turn):
                    with bench.tolerating(system):
                        answers = system.ask(asked, clients=clients, large=large)
                        seen[system.name] = _latencies(answers)
                rounds.append({"large": large, "clients": clients, "systems": seen})
    return rounds


def measure_reingest(bench: Bench) -> list[dict[str, Any]]:
    """
    Bring the same documents in again, then with 5 % of each one's words changed.

    Ours also as new generations of the same bytes, which is what a client makes of them that does
    not compare before it uploads.
    """
    _need_documents(bench)
    rounds = []
    for turn in range(bench.size.reingest_rounds):
        folder = bench.folders[turn % len(bench.folders)]
        edited = edited_copy(folder, bench.work / "edited" / folder.name)
        seen: dict[str, Any] = {}
        for name, changed in (("unchanged", folder), ("edited", edited)):
            for system in bench.in_turn(turn, INCREMENTAL):
                with bench.tolerating(system):
                    steps = {name: system.ingest(changed)}
                    if name == "unchanged" and isinstance(system, Ours):
                        steps["renewed"] = system.ingest(folder, renew=True)
                    for step, ingested in steps.items():
                        seen.setdefault(system.name, {})[step] = {
                            "seconds": ingested.seconds,
                            "embedded": ingested.embedded,
                        }
                        took = f"{ingested.seconds:.2f} s, {ingested.embedded} embedded"
                        _say(f"  round {turn}: {system.name} {step} {took}")
        rounds.append({"part": turn % len(bench.folders), "systems": seen})
    return rounds


def measure_memory(bench: Bench) -> dict[str, Any]:
    """Return what each process took at most in this run, and what images hold."""
    _need_documents(bench)
    _note_memory(bench)
    images = {} if bench.size is QUICK else _image_sizes()
    return {"processes": bench.memory, "images": images}


def _note_memory(bench: Bench) -> None:
    """Keep the highest readings: some processes are started anew between the figures."""
    for system in bench.in_turn(0):
        kept = bench.memory.setdefault(system.name, {})
        for process, values in system.memory().items():
            before = kept.get(process, {})
            kept[process] = {
                name: max(value, before.get(name, 0)) for name, value in values.items()
            }


def _without(found: Any, names: set[str]) -> Any:
    """Return a figure without the systems that failed in the middle of it."""
    if isinstance(found, dict):
        return {key: _without(value, names) for key, value in found.items() if key not in names}
    return [_without(value, names) for value in found] if isinstance(found, list) else found


def _need_documents(bench: Bench) -> None:
    """Bring the whole corpus in where the figure of ingest has not."""
    for part, folder in enumerate(bench.folders):
        if part not in bench.ingested:
            for system in bench.in_turn(0):
                with bench.tolerating(system):
                    system.ingest(folder)
            bench.ingested.add(part)


def _latencies(asked: Asked) -> dict[str, float]:
    seen = {
        "p50_ms": _p50(asked.milliseconds),
        "p95_ms": _p95(asked.milliseconds),
        "per_second": len(asked.milliseconds) / asked.seconds,
    }
    if asked.inside:
        seen |= {"inside_p50_ms": _p50(asked.inside), "inside_p95_ms": _p95(asked.inside)}
    return seen


def _p50(milliseconds: Sequence[float]) -> float:
    return statistics.median(milliseconds)


def _p95(milliseconds: Sequence[float]) -> float:
    return statistics.quantiles(milliseconds, n=20)[-1]


def _image_sizes() -> dict[str, dict[str, float]]:
    """Return megabytes of what infra/Dockerfile puts on the base image, by function."""
    model = _megabytes(_MODEL_DIR)
    sizes = {}
    for name in ("embed_worker", "query"):
        packages = _megabytes(function_environment(name))
        code = _megabytes(ROOT / "functions" / name) + _megabytes(ROOT / "shared")
        sizes[name] = {
            "packages": packages,
            "model": model,
            "code": round(code, 1),
            "sum": round(packages + model + code, 1),
        }
    return sizes


def _megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files if path.suffix != ".pyc") / 1e6, 1)


class _Databases:
    """The databases of the compared systems on one server."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url

    def url(self, name: str) -> str:
        return urlunsplit(urlsplit(self._server_url)._replace(path=f"/{name}"))

    def create(self, name: str) -> str:
        """Make an empty database in place of one of that name."""
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "bench_{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "bench_{name}"')
        return self.url(f"bench_{name}")

    def exists(self, name: str) -> bool:
        with psycopg.connect(self._server_url) as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            return row.fetchone() is not None

    @staticmethod
    def name_large(name: str, chunks: int) -> str:
        # The adapters know by the ending that an index is wanted.
        return f"bench_{name}_{chunks}_large"

    def login(self, name: str, *, group: str) -> str:
        """Return the URL of a login with the rights of a group role, as a function has it."""
        parts = urlsplit(self.url(name))
        user = f"bench_{group}"
        netloc = f"{user}:{user}@{parts.hostname}:{parts.port}"
        url = urlunsplit(parts._replace(netloc=netloc))
        ensure_login(self.url(name), url, group=group)
        return url


@contextmanager
def _server(data_dir: Path) -> Iterator[str]:
    """Start PostgreSQL over data that is kept from run to run; durability as shipped."""
    server = start_postgres(data_dir, options=_POSTGRES)
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def _ours(databases: _Databases, work: Path, *, name: str, large_chunks: int = 0) -> Iterator[Ours]:
    owner_url = databases.create(name)
    _migrate(owner_url)
    database = urlsplit(owner_url).path.strip("/")
    urls = {False: databases.login(database, group="kaydang_query")}
    if large_chunks:
        urls[True] = databases.login(
            databases.name_large(OURS, large_chunks), group="kaydang_query"
        )
    folder = work / f"system-{name}"
    folder.mkdir()
    with run_system(
        folder=folder,
        database_url=owner_url,
        model_dir=_MODEL_DIR,
        variables={"LEASE_SECONDS": "60", "LOG_LEVEL": "WARNING"},
    ) as system:
        yield Ours(system, urls=urls, owner_url=owner_url)


def _migrate(url: str) -> None:
    migrate.migrate(migrate.Settings(database_url=SecretStr(url), model_dir=_MODEL_DIR))


def _prepare_large(
    databases: _Databases,
    pythons: Mapping[str, Path],
    folders: list[Path],
    *,
    chunks: int,
    state: Path,
    work: Path,
) -> LargeCorpus:
    """Fill the stores of the larger corpus that are missing or were made of other things."""
    texts_file = CACHE / "corpus" / "chunks.npz"
    if not texts_file.exists():
        _say("  chunks of the corpus, embedded once ...")
        _embed_corpus(databases, folders, texts_file, work=work)
    with np.load(texts_file) as saved:
        texts, vectors = [str(text) for text in saved["texts"]], saved["vectors"]
    large = large_corpus(texts, vectors, chunks=chunks)
    source = hashlib.sha256("".join(texts).encode()).hexdigest()
    for name in (OURS, *pythons):
        database = databases.name_large(name, chunks)
        made_from = source
        if name == OURS:
            made_from += f" ef_construction={HNSW_EF_CONSTRUCTION}"
        else:
            made_from += (PEERS / name / "requirements.txt").read_text()[-2000:]
        stamp = state / f"{database}.stamp"
        if databases.exists(database) and stamp.exists() and stamp.read_text() == made_from:
            if name == OURS:
                _migrate(databases.url(database))
            continue
        _say(f"  {chunks} chunks for {name} ...")
        stamp.unlink(missing_ok=True)
        # create() names the small ones: the same prefix, another ending.
        url = databases.create(database.removeprefix("bench_"))
        if name == OURS:
            _migrate(url)
            fill_ours(url, large)
        else:
            shutil.rmtree(_peer_state(state) / database, ignore_errors=True)
            peer = Peer(
                name,
                python=pythons[name],
                url=url,
                large_url=url,
                state=_peer_state(state),
                log=work / f"{name}-load.log",
            )
            try:
                loaded = peer.load(large)
            except BenchmarkFailed as error:
                # It is left out where it is asked over this store, and said so there.
                _say(f"  {name} could not be filled: {error}")
                continue
            finally:
                peer.stop()
            if loaded != chunks:
                _say(f"  {name} holds {loaded} of {chunks} chunks")
                continue
        stamp.write_text(made_from)
    return large


def _embed_corpus(databases: _Databases, folders: list[Path], target: Path, *, work: Path) -> None:
    """Let our system index the corpus, and keep its chunks and vectors."""
    with _ours(databases, work, name="first") as ours:
        for folder in folders:
            ours.ingest(folder)
        with psycopg.connect(databases.url("bench_first")) as connection:
            names = [
                path.relative_to(folder).as_posix()
                for folder in folders
                for path in list_files(folder)
            ]
            rows = connection.execute(
                """
                SELECT concat_ws(
                           E'\\n', nullif(heading, ''), nullif(header, ''), nullif(text, '')
                       ),
                       embedding::text
                FROM live_chunks
                WHERE name = ANY(%s)
                ORDER BY name, ordinal
                """,
                [names],
            ).fetchall()
        texts = [text for text, _ in rows]
        vectors = [json.loads(vector) for _, vector in rows]
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished.npz")
    np.savez(unfinished, texts=np.array(texts), vectors=np.array(vectors, dtype=np.float32))
    unfinished.rename(target)


def _peer_state(state: Path, *, fresh: str = "") -> Path:
    """Return where txtai keeps its configuration beside its tables; that of *fresh* is removed."""
    folder = state / "txtai"
    if fresh:
        shutil.rmtree(folder / f"bench_{fresh}", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _quick_corpus(work: Path) -> list[Path]:
    """Write a few documents out of Python's own documentation."""
    folder = work / "corpus" / "0"
    folder.mkdir(parents=True)
    chosen = [text for text in topics.values() if 3_000 < len(text) < 6_000][:8]
    for number, text in enumerate(chosen):
        (folder / f"topic-{number}{('.md', '.txt')[number % 2]}").write_text(text)
    return [folder]


def _describe(
    folders: list[Path], pythons: Mapping[str, Path], large: LargeCorpus | None, *, quick: bool
) -> dict[str, Any]:
    texts = [path for folder in folders for path in list_files(folder)]
    return {
        "machine": describe_machine(),
        "quick": quick,
        "corpus": {
            "files": len(texts),
            "megabytes": round(sum(path.stat().st_size for path in texts) / 1e6, 2),
            "digest": digest(folders),
            "large_chunks": large.chunks if large else 0,
        },
        "versions": {name: _versions(name) for name in pythons},
        "figures": {},
        "runs": {},
        "failures": {},
    }


def _versions(name: str) -> dict[str, str]:
    """Return the pinned versions that matter of a peer's lock."""
    lines = (PEERS / name / "requirements.txt").read_text().splitlines()
    pins = dict(line.split(" ")[0].split("==") for line in lines if "==" in line[:60])
    wanted = ("langchain", "llama-index", "haystack", "txtai", "pgvector", "sentence-transformers")
    return {"torch": "2.13.0"} | {
        package: version for package, version in pins.items() if package.startswith(wanted)
    }


def _new_file() -> Path:
    folder = Path(__file__).with_name("results")
    return folder / f"performance-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"


def _say_and_do(name: str, action: Callable[[str], Path]) -> Path:
    _say(f"  environment {name}")
    return action(name)


def _say(line: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}", err=True)


if __name__ == "__main__":
    # Nothing of ours asks a hub; its client would otherwise warn of it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
