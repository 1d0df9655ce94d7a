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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from admin.evaluation import QuestionSet, measure_documents, read_set
from admin.vector_index import HNSW_EF_CONSTRUCTION
from local.postgres import start_postgres
from local.roles import ensure_login
from local.system import run_system

from .corpus import (
    Chunks,
    EmbeddedCorpus,
    corpus_folders,
    digest,
    edited_copy,
    embed_corpus,
    list_files,
    questions,
)
from .driving import Asked, Driven, Ours, Peer, Served, embed_alone
from .environments import CACHE, PEERS, BenchmarkFailed, function_environment, peer_python
from .filling import fill_ours
from .recording import ROOT, describe_machine, write_result

OURS = Ours.name
PEER_NAMES = ("langchain", "llamaindex", "haystack", "txtai", "django")
FIGURES = ("served", "ingest", "cold", "questions", "reingest", "memory")
# The others do not know what is unchanged: to bring a folder in again is to bring it in.
INCREMENTAL = (OURS, "langchain", "llamaindex")
CLIENTS = (1, 16)
LARGE_CHUNKS = 100_000
STATE = CACHE / "state"
# A server that runs has its index in memory; one that was just started reads it page by page.
_SERVED_WARM_UP = 96
# Chunks that are asked for where ten different documents are wanted.
_LABELLED_LIMIT = 20
# The same for all; a quarter of the machine's memory, as PostgreSQL's documentation advises.
_POSTGRES = {
    "shared_buffers": "6GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    # Sixteen clients of each system, over two databases, keep their connections.
    "max_connections": "300",
}
MODEL_DIR = Path(os.environ.get("MODEL_DIR") or CACHE.parent / "models" / "all-MiniLM-L6-v2")


@dataclass(frozen=True, slots=True)
class Size:
    """
    How much is done.

    Attributes:
        rounds: Rounds of questions.
        ingest_rounds: Parts of the corpus that are brought in; each takes all systems minutes.
        reingest_rounds: Rounds of bringing in again; each costs some peers a whole ingest.
        questions: Questions a round, by the number of clients.
    """

    rounds: int
    ingest_rounds: int
    reingest_rounds: int
    cold_rounds: int
    questions: Mapping[int, int]
    warm_up: int
    large: bool


FULL = Size(
    rounds=3,
    ingest_rounds=2,
    reingest_rounds=1,
    cold_rounds=2,
    questions={1: 50, 16: 160},
    warm_up=32,
    large=True,
)
QUICK = Size(
    rounds=1,
    ingest_rounds=1,
    reingest_rounds=1,
    cold_rounds=1,
    questions={1: 5, 16: 16},
    warm_up=2,
    large=False,
)


@dataclass(frozen=True, slots=True)
class Store:
    """A corpus that was loaded into a database of each system before, its vectors computed once."""

    name: str
    corpus: EmbeddedCorpus

    def database(self, system: str) -> str:
        """Return the name of the database; the adapters know by its ending that it is indexed."""
        return f"bench_{system}_{self.corpus.chunks}_{self.corpus.digest}_{self.name}"


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
    pythons: Mapping[str, Path]
    stores: Mapping[str, Store]
    databases: _Databases
    labelled: QuestionSet | None = None
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
@click.option("--rounds", type=click.IntRange(1, 3), help="Rounds of each figure, at most.")
@click.option("--files", default=240, show_default=True, help="Documents of the corpus.")
@click.option("--large", default=LARGE_CHUNKS, show_default=True, help="Chunks; 0 leaves it out.")
@click.option(
    "--labelled",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of corpus/, queries.jsonl and qrels.tsv: its documents are among those of the"
    " served stores, and the table has the nDCG@10 of its questions.",
)
@click.option("--database-url", default="", help="A server to use, by its superuser's URL.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Result file.")
def main(
    systems: str,
    figures: str,
    rounds: int | None,
    files: int,
    large: int,
    labelled: Path | None,
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
            ingest_rounds=min(rounds, size.ingest_rounds),
            reingest_rounds=min(rounds, size.reingest_rounds),
            cold_rounds=min(rounds, size.cold_rounds),
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
            # FastAPI is in the environments of the peers alone.
            figures=tuple(
                name
                for name in FIGURES
                if name in figures.split(",") and not (quick and name == "served")
            ),
            files=files,
            large_chunks=0 if quick else large,
            labelled=labelled,
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
    labelled: Path | None,
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
        state = work if quick else STATE
        state.mkdir(parents=True, exist_ok=True)
        server_url = database_url or stack.enter_context(bench_server(state))
        databases = _Databases(server_url)
        systems: dict[str, Driven] = {}
        failures: dict[str, str] = {}
        stores: dict[str, Store] = {}
        if not quick and (prepare or {"questions", "served"} & set(figures)):
            stores = _prepare_stores(
                databases,
                pythons,
                folders,
                labelled=labelled,
                large_chunks=large_chunks,
                state=state,
                work=work,
            )
        if prepare:
            for function in ("embed_worker", "query"):
                _say_and_do(function, function_environment)
            return
        systems[OURS] = stack.enter_context(
            _ours(databases, work, name=OURS, stores=stores.values())
        )
        for name, python in pythons.items():
            large = stores.get("large")
            try:
                peer = Peer(
                    name,
                    python=python,
                    url=databases.create(name),
                    large_url=databases.url(large.database(name)) if large else "",
                    state=peer_state(state, fresh=name),
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
            # Every system holds what is measured, and no more: bringing a part in takes minutes.
            folders=folders[: size.ingest_rounds],
            asked=iter(questions(folders, count=60 if quick else 3600)),
            work=work,
            result=_describe(folders, pythons, stores, labelled, quick=quick),
            output=output or _new_file(),
            pythons=pythons,
            stores=stores,
            databases=databases,
            labelled=read_set(labelled) if labelled else None,
        )
        bench.result["failures"] |= failures
        measures: dict[str, Callable[[Bench], Any]] = {
            "served": measure_served,
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
    for part in range(len(bench.folders)):
        seen: dict[str, Any] = {}
        for system in bench.in_turn(part):
            with bench.tolerating(system):
                ingested = system.ingest(bench.folders[part])
                seen[system.name] = {
                    "seconds": ingested.seconds,
                    "chunks": ingested.chunks,
                    "embedded": ingested.embedded,
                    "per_second": ingested.chunks / ingested.seconds,
                }
                took = f"{ingested.chunks} chunks in {ingested.seconds:.1f} s"
                _say(f"  round {part}: {system.name} {took}")
        bench.ingested.add(part)
        found: dict[str, Any] = {"systems": seen}
        if (ours := bench.ours()) is not None:
            # A chunk that stands twice in the corpus goes through the model once.
            texts = list(dict.fromkeys(ours.embedded_texts(bench.folders[part])))
            seconds = embed_alone(texts, model_dir=MODEL_DIR)
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


def measure_served(bench: Bench) -> list[dict[str, Any]]:
    """
    Ask each peer as its user would serve it: hybrid search behind FastAPI and uvicorn.

    For one client one process that has all cores for a question, for more a process a core with
    one thread a question. Ours is the same one process in both.
    """
    rounds: list[dict[str, Any]] = []
    for clients in CLIENTS:
        with _serve_peers(bench, clients=clients) as served:
            for store in bench.stores:
                # These questions warm the store too.
                quality = _measure_quality(bench, served, store) if clients == CLIENTS[0] else {}
                rounds += [
                    found | {"ndcg": quality}
                    for found in _ask_served(bench, served, store, clients=clients)
                ]
            for name, peer in served.items():
                kept = bench.memory.setdefault(name, {})
                kept[f"served to {clients}"] = peer.memory()
    return rounds


@contextmanager
def _serve_peers(bench: Bench, *, clients: int) -> Iterator[dict[str, Served]]:
    """Serve all peers that have not failed yet, started at the same time."""
    served: dict[str, Served] = {}
    cores = len(os.sched_getaffinity(0))
    question = bench.next_questions(1)[0]
    try:
        for name in [name for name in bench.systems if name != OURS]:
            served[name] = Served(
                name,
                python=bench.pythons[name],
                urls={
                    store: bench.databases.url(filled.database(name))
                    for store, filled in bench.stores.items()
                },
                state=peer_state(STATE),
                log=bench.work / f"{name}-served.log",
                processes=cores if clients > 1 else 1,
                threads=1 if clients > 1 else cores,
            )
        for name, peer in list(served.items()):
            with bench.tolerating(bench.systems[name]):
                peer.wait(next(iter(bench.stores)), question)
        yield served
    finally:
        for peer in served.values():
            peer.stop()


def _ask_served(
    bench: Bench, served: Mapping[str, Served], store: str, *, clients: int
) -> list[dict[str, Any]]:
    def ask(system: Driven, questions: Sequence[str]) -> Asked:
        if isinstance(system, Ours):
            return system.ask_store(store, questions, clients=clients)
        return served[system.name].ask(store, questions, clients=clients)

    warm = bench.next_questions(_SERVED_WARM_UP)
    for system in bench.in_turn(0):
        with bench.tolerating(system):
            ask(system, warm)
    rounds = []
    for turn in range(bench.size.rounds):
        asked = bench.next_questions(bench.size.questions[clients])
        seen = {}
        for system in bench.in_turn(turn):
            with bench.tolerating(system):
                seen[system.name] = _latencies(ask(system, asked))
                took = f"p50 {seen[system.name]['p50_ms']:.1f} ms"
                _say(f"  {store}, {clients} clients, round {turn}: {system.name} {took}")
        rounds.append({"store": store, "clients": clients, "systems": seen})
    return rounds


def _measure_quality(bench: Bench, served: Mapping[str, Served], store: str) -> dict[str, float]:
    """Return the nDCG@10 of the labelled questions, by system."""
    if bench.labelled is None:
        return {}
    labelled = [question for question in bench.labelled.questions if question.gains]
    texts = [question.text for question in labelled]
    quality = {}
    for system in bench.in_turn(0):
        with bench.tolerating(system):
            target = system if isinstance(system, Ours) else served[system.name]
            found = target.find(store, texts, limit=_LABELLED_LIMIT)
            quality[system.name] = statistics.mean(
                measure_documents(
                    [bench.labelled.document_of(name) for name in names], question.gains
                )["ndcg"]
                for names, question in zip(found, labelled, strict=True)
            )
            _say(f"  {store}: {system.name} nDCG@10 {quality[system.name]:.4f}")
    return quality


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
    model = _megabytes(MODEL_DIR)
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

    def login(self, name: str, *, group: str) -> str:
        """Return the URL of a login with the rights of a group role, as a function has it."""
        parts = urlsplit(self.url(name))
        user = f"bench_{group}"
        netloc = f"{user}:{user}@{parts.hostname}:{parts.port}"
        url = urlunsplit(parts._replace(netloc=netloc))
        ensure_login(self.url(name), url, group=group)
        return url


@contextmanager
def bench_server(state: Path = STATE) -> Iterator[str]:
    """Start PostgreSQL over data that is kept from run to run; yield its superuser's URL."""
    # Durability as shipped.
    server = start_postgres(state / "postgres" / "data", options=_POSTGRES)
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def _ours(
    databases: _Databases, work: Path, *, name: str, stores: Iterable[Store] = ()
) -> Iterator[Ours]:
    owner_url = databases.create(name)
    _migrate(owner_url)
    database = urlsplit(owner_url).path.strip("/")
    urls = {"corpus": databases.login(database, group="kaydang_query")} | {
        store.name: databases.login(store.database(OURS), group="kaydang_query") for store in stores
    }
    folder = work / f"system-{name}"
    folder.mkdir()
    with run_system(
        folder=folder,
        database_url=owner_url,
        model_dir=MODEL_DIR,
        variables={"LEASE_SECONDS": "60", "LOG_LEVEL": "WARNING"},
    ) as system:
        yield Ours(system, urls=urls, owner_url=owner_url)


def _migrate(url: str) -> None:
    migrate.migrate(migrate.Settings(database_url=SecretStr(url), model_dir=MODEL_DIR))


def _prepare_stores(
    databases: _Databases,
    pythons: Mapping[str, Path],
    folders: list[Path],
    *,
    labelled: Path | None,
    large_chunks: int,
    state: Path,
    work: Path,
) -> dict[str, Store]:
    """Fill the stores that are missing or were made of other things."""
    known = CACHE / "corpus"
    plain = _embed_once(databases, folders, known / f"chunks-{digest(folders)}.npz", work=work)
    marked: Chunks | None = None
    if labelled is not None:
        corpus = labelled / "corpus"
        file = known / f"chunks-{digest([corpus])}.npz"
        marked = _embed_once(databases, [corpus], file, work=work)
    small_chunks = len(plain.texts) + (len(marked.texts) if marked else 0)
    stores = {"small": Store("small", embed_corpus(marked, plain, chunks=small_chunks))}
    if large_chunks:
        stores["large"] = Store("large", embed_corpus(marked, plain, chunks=large_chunks))
    for store in stores.values():
        for name in (OURS, *pythons):
            _fill(databases, store, name, python=pythons.get(name), state=state, work=work)
    return stores


def _fill(
    databases: _Databases,
    store: Store,
    name: str,
    *,
    python: Path | None,
    state: Path,
    work: Path,
) -> None:
    """Load a store into the database of a system, if that is not done yet."""
    database = store.database(name)
    url = databases.url(database)
    # What the index of our words is made by.
    words = hashlib.sha256((ROOT / "shared" / "language.py").read_bytes()).hexdigest()
    made_from = f"ef_construction={HNSW_EF_CONSTRUCTION} words={words}"
    if python is not None:
        made_from = (PEERS / name / "requirements.txt").read_text()[-2000:]
    stamp = state / f"{database}.stamp"
    if databases.exists(database) and stamp.exists() and stamp.read_text() == made_from:
        if python is None:
            _migrate(url)
        return
    _say(f"  {store.corpus.chunks} chunks for {name} ...")
    stamp.unlink(missing_ok=True)
    # create() names the small ones: the same prefix, another ending.
    databases.create(database.removeprefix("bench_"))
    if python is None:
        _migrate(url)
        fill_ours(url, store.corpus)
    else:
        shutil.rmtree(peer_state(state) / database, ignore_errors=True)
        log = work / f"{name}-load.log"
        try:
            peer = Peer(
                name, python=python, url=url, large_url=url, state=peer_state(state), log=log
            )
            try:
                loaded = peer.load(store.corpus)
            finally:
                peer.stop()
        except BenchmarkFailed as error:
            # It is left out where it is asked over this store, and said so there.
            _say(f"  {name} could not be filled: {error}")
            return
        if loaded != store.corpus.chunks:
            _say(f"  {name} holds {loaded} of {store.corpus.chunks} chunks")
            return
    stamp.write_text(made_from)


def _embed_once(databases: _Databases, folders: list[Path], file: Path, *, work: Path) -> Chunks:
    """Let our system index the folders, and keep their chunks and vectors."""
    if file.exists():
        return Chunks.load(file)
    _say(f"  chunks of {folders[0].name}, embedded once ...")
    with _ours(databases, work, name=f"first-{file.stem[-8:]}") as ours:
        for folder in folders:
            ours.ingest(folder)
        with psycopg.connect(databases.url(f"bench_first-{file.stem[-8:]}")) as connection:
            names = [
                path.relative_to(folder).as_posix()
                for folder in folders
                for path in list_files(folder)
            ]
            rows = connection.execute(
                """
                SELECT name,
                       concat_ws(
                           E'\\n', nullif(heading, ''), nullif(header, ''), nullif(text, '')
                       ),
                       embedding::text
                FROM live_chunks
                WHERE name = ANY(%s)
                ORDER BY name, ordinal
                """,
                [names],
            ).fetchall()
    vectors = np.array([json.loads(vector) for _, _, vector in rows], dtype=np.float32)
    chunks = Chunks([name for name, _, _ in rows], [text for _, text, _ in rows], vectors)
    chunks.save(file)
    return chunks


def peer_state(state: Path, *, fresh: str = "") -> Path:
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
    folders: list[Path],
    pythons: Mapping[str, Path],
    stores: Mapping[str, Store],
    labelled: Path | None,
    *,
    quick: bool,
) -> dict[str, Any]:
    texts = [path for folder in folders for path in list_files(folder)]
    return {
        "machine": describe_machine(),
        "quick": quick,
        "corpus": {
            "files": len(texts),
            "megabytes": round(sum(path.stat().st_size for path in texts) / 1e6, 2),
            "digest": digest(folders),
            "large_chunks": stores["large"].corpus.chunks if "large" in stores else 0,
            "stores": {name: store.corpus.chunks for name, store in stores.items()},
            "labelled": labelled.name if labelled else "",
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
