"""The compared systems, driven alike: ours over HTTP and events, peers over pipes."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg

from admin.folder_sync import upload_folder
from admin.lexeme_statistics import refresh_statistics
from local import processes
from local.processes import free_port
from local.system import BUCKET, ROOT, System, function_command, wait_until
from shared.values import join_embedded_text

from .corpus import EmbeddedCorpus, list_files
from .environments import BenchmarkFailed

# The longest that anything waits; reached only when something is broken.
PATIENCE_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Ingested:
    """
    What it took to bring a folder in.

    Attributes:
        chunks: Chunks of these documents that answer now.
        embedded: Texts that went through the model.
    """

    seconds: float
    chunks: int
    embedded: int


@dataclass(frozen=True, slots=True)
class Asked:
    """
    Latencies of questions in milliseconds, and the seconds for all of them.

    Attributes:
        inside: What a service says that it took to embed and retrieve, where it is one.
    """

    milliseconds: list[float]
    seconds: float
    inside: list[float] = field(default_factory=list)


class Driven(Protocol):
    """A system that is measured."""

    name: str

    def ingest(self, folder: Path) -> Ingested:
        """Bring a folder in and return when all of it answers."""

    def ask(self, questions: Sequence[str], *, clients: int, large: bool) -> Asked:
        """Ask so many at a time; each question retrieves ten chunks."""

    def first_answer(self, question: str) -> dict[str, float]:
        """Return the seconds from a new process to its first answer, by process."""

    def memory(self) -> dict[str, dict[str, float]]:
        """Return megabytes by process: peak_rss of its largest part, pss of all its parts."""

    def stop(self) -> None:
        """End its processes."""


class Peer:
    """A peer in its own environment; it answers while nothing else is asked."""

    def __init__(
        self, name: str, *, python: Path, url: str, large_url: str, state: Path, log: Path
    ) -> None:
        self.name = name
        self._python = python
        self._urls = {False: url, True: large_url}
        self._state = state
        self._log = log
        self._process = self._start()
        self._chunks = self._do("count")["chunks"]

    def ingest(self, folder: Path) -> Ingested:
        began = time.perf_counter()
        answer = self._do("ingest", folder=str(folder))
        seconds = time.perf_counter() - began
        before, self._chunks = self._chunks, self._do("count")["chunks"]
        # txtai embeds by other ways than sentence-transformers: every new row was embedded.
        embedded = answer["embedded"] or (self._chunks - before if self.name == "txtai" else 0)
        return Ingested(seconds, self._chunks - before, embedded)

    def ask(self, questions: Sequence[str], *, clients: int, large: bool) -> Asked:
        answer = self._do("ask", large=large, questions=list(questions), clients=clients)
        if answer["found"] < 10:
            raise BenchmarkFailed(f"{self.name} found {answer['found']} chunks instead of 10")
        return Asked(answer["milliseconds"], answer["seconds"])

    def first_answer(self, question: str) -> dict[str, float]:
        used = self._process
        began = time.perf_counter()
        self._process = self._start()
        try:
            self._do("ask", questions=[question], clients=1)
            return {"process": time.perf_counter() - began}
        finally:
            self.stop()
            self._process = used

    def load(self, corpus: EmbeddedCorpus) -> int:
        """Fill the store of the larger corpus; return its chunks."""
        files = {"texts": str(corpus.texts), "vectors": str(corpus.vectors)}
        return int(self._do("load", large=True, **files)["chunks"])

    def memory(self) -> dict[str, dict[str, float]]:
        return {"process": _memory(self._process.pid)}

    def stop(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("a") as log:
            return subprocess.Popen(
                [str(self._python), "-m", f"benchmarks.peers.{self.name}.adapter"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=_peer_environment(self._state),
            )

    def _do(self, what: str, *, large: bool = False, **values: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = {"do": what, "url": self._urls[large], **values}
        line = ""
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise BenchmarkFailed(f"{self.name} ended:\n{self._log.read_text()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Served:
    """
    A peer's hybrid search behind FastAPI, served by uvicorn on a port of its own.

    Args:
        urls: The database of each store that can be asked, by its name.
        processes: Of uvicorn; several share the port.
        threads: Of torch, for one question.
    """

    def __init__(
        self,
        name: str,
        *,
        python: Path,
        urls: Mapping[str, str],
        state: Path,
        log: Path,
        processes: int,
        threads: int,
    ) -> None:
        self.name = name
        self.port = free_port()
        self._processes = processes
        self._log = log
        served = ("--host", "127.0.0.1", "--port", self.port, "--workers", processes)
        quietly = ("--log-level", "warning", "--no-access-log")
        command = ("-m", "uvicorn", "--factory", "benchmarks.peers.serving:make_app")
        with log.open("a") as output:
            self._process = subprocess.Popen(
                [str(part) for part in (python, *command, *served, *quietly)],
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=_peer_environment(state)
                | {"PEER": name, "STORES": json.dumps(dict(urls)), "THREADS": str(threads)},
                start_new_session=True,
            )

    def wait(self, store: str, question: str) -> None:
        """Return when each of its processes has answered a first question."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        answered: set[int] = set()
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                # A connection for each: those that are kept stay with one process.
                answer = _retrieve(self.port, question, limit=10, path=f"/{store}/retrieve")
                answered.add(answer["process"])
            if len(answered) == self._processes:
                return
            time.sleep(0.05)
        raise BenchmarkFailed(f"{self.name} does not serve:\n{self._log.read_text()[-3000:]}")

    def ask(self, store: str, questions: Sequence[str], *, clients: int) -> Asked:
        """Ask so many at a time for ten chunks each."""
        return ask_over_http(self.port, questions, clients=clients, path=f"/{store}/retrieve")

    def find(self, store: str, questions: Sequence[str], *, limit: int) -> list[list[str]]:
        """Return the documents of the chunks that are found, two questions at a time."""
        return _find_documents(self.port, questions, limit=limit, path=f"/{store}/retrieve")

    def memory(self) -> dict[str, float]:
        """Return megabytes, as Driven.memory() does for a process."""
        return _memory(self._process.pid)

    def stop(self) -> None:
        """End all of its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _peer_environment(state: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TXTAI_STATE": str(state),
        # The weights are in the environment: no hub is asked for them.
        "HF_HUB_OFFLINE": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "ANONYMIZED_TELEMETRY": "False",
        # Else the tokenizers' threads and torch's compete, and a fork warns.
        "TOKENIZERS_PARALLELISM": "false",
    }


class Ours:
    """
    The functions as processes, with the emulators of bucket and Pub/Sub, asked over HTTP.

    Args:
        system: Runs already; its sweeper and reconciler come once in minutes in the cloud, every
            few seconds here, and are stopped.
        urls: Databases as the query function's login: that of "corpus", which is brought in, and
            those of stores that were filled before. Each has a query function of its own.
        owner_url: Database of the corpus, as its owner: to see when documents are ready.
    """

    name = "kaydangpt"

    def __init__(
        self,
        system: System,
        *,
        urls: Mapping[str, str],
        owner_url: str,
    ) -> None:
        self._system = system
        self._urls = urls
        self._owner_url = owner_url
        self._bucket = system.document_bucket()
        for name in ("sweeper", "reconciler", "query"):
            system.stop(name)
        stores = sorted(urls, key=lambda store: store != "corpus")
        self._parts = {store: f"query{number or ''}" for number, store in enumerate(stores)}
        for store, part in self._parts.items():
            self._start_query(part, url=urls[store])

    def ingest(self, folder: Path, *, renew: bool = False) -> Ingested:
        """
        Bring a folder in as `kaydangpt upload` does.

        Args:
            renew: Upload unchanged files too, as a client does that does not compare.
        """
        with psycopg.connect(self._owner_url) as connection:
            row = connection.execute("SELECT coalesce(max(id), 0) FROM builds").fetchone()
            last_build = row[0] if row else 0
        began = time.perf_counter()
        outcomes = list(upload_folder(folder, self._bucket, renew=renew))
        generations = {outcome.name: outcome.generation for outcome in outcomes}
        if failed := [outcome for outcome in outcomes if outcome.kind == "failed"]:
            raise BenchmarkFailed(f"{failed[0].name} was not uploaded: {failed[0].reason}")
        with psycopg.connect(self._owner_url, autocommit=True) as connection:
            _wait_for_answers(connection, generations)
            seconds = time.perf_counter() - began
            row = connection.execute(
                """
                SELECT count(*), count(*) FILTER (
                    -- An unchanged document keeps its build; a copied embedding has no batch.
                    WHERE chunks.batch_number IS NOT NULL AND chunks.build_id > %s
                )
                FROM documents
                JOIN chunks ON chunks.build_id = documents.active_build
                WHERE documents.name = ANY(%s)
                """,
                [last_build, list(generations)],
            ).fetchone()
        assert row is not None
        return Ingested(seconds, row[0], row[1])

    def settle(self) -> None:
        """Count common words, as the sweeper does within a minute."""
        with psycopg.connect(self._owner_url, autocommit=True) as connection:
            refresh_statistics(connection)

    def embedded_texts(self, folder: Path) -> list[str]:
        """Return what the model is given of the documents of a folder."""
        names = [path.relative_to(folder).as_posix() for path in list_files(folder)]
        with psycopg.connect(self._owner_url) as connection:
            rows = connection.execute(
                """
                SELECT heading, header, text
                FROM live_chunks
                WHERE name = ANY(%s)
                ORDER BY name, ordinal
                """,
                [names],
            ).fetchall()
        return [
            join_embedded_text(heading=heading, header=header, text=text)
            for heading, header, text in rows
        ]

    def ask(self, questions: Sequence[str], *, clients: int, large: bool) -> Asked:
        return self.ask_store("large" if large else "corpus", questions, clients=clients)

    def ask_store(self, store: str, questions: Sequence[str], *, clients: int) -> Asked:
        """Ask so many at a time for ten chunks each of one store."""
        return ask_over_http(self._port(store), questions, clients=clients)

    def find(self, store: str, questions: Sequence[str], *, limit: int) -> list[list[str]]:
        """Return the documents of the chunks that are found, two questions at a time."""
        return _find_documents(self._port(store), questions, limit=limit)

    def first_answer(self, question: str) -> dict[str, float]:
        return {"query": self._first_question(question), "embed_worker": self._first_job(question)}

    def memory(self) -> dict[str, dict[str, float]]:
        parts = ("ingest", "embed_worker", "query")
        return {part: _memory(self._system.running[part].pid) for part in parts}

    def stop(self) -> None:
        """The system belongs to the caller."""

    def _port(self, store: str) -> int:
        return self._system.ports[self._parts[store]]

    def _start_query(self, name: str, *, url: str) -> None:
        self._system.ports.setdefault(name, free_port())
        before = self._system.environment["DATABASE_URL"]
        self._system.environment["DATABASE_URL"] = url
        try:
            self._system.start(name)
        finally:
            self._system.environment["DATABASE_URL"] = before

    def _first_question(self, question: str) -> float:
        port = free_port()
        environment = self._system.environment | {"DATABASE_URL": self._urls["corpus"]}
        body = json.dumps({"question": question, "limit": 10}).encode()
        began = time.perf_counter()
        process = self._start_function("query", port, environment)
        try:
            wait_until(
                lambda: _post(port, "/retrieve", body, {}),
                what="the first question is answered",
                pause=0.005,
            )
            return time.perf_counter() - began
        finally:
            processes.stop(process)

    def _first_job(self, text: str) -> float:
        """Return the seconds of a new embed_worker until it has embedded its first job."""
        self._system.stop("embed_worker")
        try:
            name = f"cold-start/{time.time_ns()}.txt"
            generation = self._system.upload(name, f"{text} {name}")
            job = self._staged_job(name, generation)
            port = free_port()
            message = {
                "data": base64.b64encode(json.dumps(job).encode()).decode(),
                "attributes": {"kind": "embed"},
                "messageId": "1",
                "publishTime": "2026-01-01T00:00:00Z",
            }
            body = {
                "message": message,
                "subscription": f"projects/{BUCKET}/subscriptions/chunk-jobs-embed",
            }
            data = json.dumps(body).encode()
            began = time.perf_counter()
            process = self._start_function("embed_worker", port, self._system.environment)
            try:
                wait_until(
                    lambda: _post(port, "/", data, {}), what="the first job is done", pause=0.005
                )
                seconds = time.perf_counter() - began
            finally:
                processes.stop(process)
        finally:
            self._system.start("embed_worker")
        with psycopg.connect(self._owner_url) as connection:
            if not _all_answer(connection, {name: generation}):
                raise BenchmarkFailed("embed_worker acknowledged a job and did not do it")
        return seconds

    def _staged_job(self, name: str, generation: int) -> dict[str, int]:
        with psycopg.connect(self._owner_url, autocommit=True) as connection:
            row = wait_until(
                lambda: connection.execute(
                    """
                    SELECT batches.build_id, batches.number
                    FROM batches
                    JOIN builds ON builds.id = batches.build_id
                    JOIN documents ON documents.id = builds.document_id
                    WHERE documents.name = %s AND builds.generation = %s
                    """,
                    [name, generation],
                ).fetchone(),
                what="a job is staged",
            )
        return {"version": 1, "build_id": row[0], "batch_number": row[1]}

    def _start_function(
        self, name: str, port: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        return processes.start(
            function_command(name, port=port),
            environment=environment,
            log=self._system.folder / f"cold-{name}.log",
            folder=ROOT,
        )


def embed_alone(texts: Sequence[str], *, model_dir: Path) -> dict[str, float]:
    """Return the seconds of the model's runtime alone for *texts*, by the way to use the cores."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.limit", str(model_dir)],
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    seconds: dict[str, float] = json.loads(finished.stdout)
    return seconds


def _wait_for_answers(connection: psycopg.Connection[Any], generations: Mapping[str, int]) -> None:
    """Wait with a look that costs the measured machine little, and a closer one now and then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    looked_closely = time.monotonic()
    first = min(generations.values(), default=0)
    while time.monotonic() < deadline:
        # Generations only rise: what answers now from the first of these on is counted.
        row = connection.execute(
            "SELECT count(*) FROM documents WHERE active_generation >= %s", [first]
        ).fetchone()
        seems_done = row is not None and row[0] >= len(generations)
        if seems_done or time.monotonic() > looked_closely + 5:
            looked_closely = time.monotonic()
            if _all_answer(connection, generations):
                return
        time.sleep(0.02)
    raise BenchmarkFailed(f"{len(generations)} documents are not ready after {PATIENCE_SECONDS} s")


def _all_answer(connection: psycopg.Connection[Any], generations: Mapping[str, int]) -> bool:
    """Return whether these very generations answer; a document that failed is a failure of all."""
    rows = connection.execute(
        """
        SELECT name, answering_generation, state, reason
        FROM document_status
        WHERE name = ANY(%s)
        """,
        [list(generations)],
    ).fetchall()
    for name, _, state, reason in rows:
        if state == "failed":
            raise BenchmarkFailed(f"{name} was not indexed: {reason}")
    answering = {name: generation for name, generation, _, _ in rows}
    return all(answering.get(name) == generations[name] for name in generations)


def ask_over_http(
    port: int, questions: Sequence[str], *, clients: int, path: str = "/retrieve"
) -> Asked:
    """Ask so many at a time for ten chunks each."""
    shares = [questions[client::clients] for client in range(clients)]
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        answers = list(threads.map(partial(_ask_in_turn, port, path=path), shares))
    seconds = time.perf_counter() - began
    pairs = [pair for share in answers for pair in share]
    inside = [inside for _, inside in pairs if inside is not None]
    return Asked([whole for whole, _ in pairs], seconds, inside)


def _ask_in_turn(
    port: int, questions: Sequence[str], *, path: str = "/retrieve"
) -> list[tuple[float, float | None]]:
    """
    Return for each question the milliseconds here, and those of embedding and retrieving.

    The latter are None if the service does not say.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    milliseconds = []
    for question in questions:
        body = json.dumps({"question": question, "limit": 10}).encode()
        began = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        waited = 1000 * (time.perf_counter() - began)
        if response.status != 200:
            raise BenchmarkFailed(f"{path} answered {response.status}: {answer[:500]!r}")
        found = json.loads(answer)
        # Ours shows copies of a text once, and names where the others are.
        if sum(1 + len(passage.get("also_in", ())) for passage in found["passages"]) < 10:
            raise BenchmarkFailed(f"fewer than ten passages for {question!r}")
        timings = found.get("timings")
        inside = timings["embed_ms"] + timings["retrieve_ms"] if timings else None
        milliseconds.append((waited, inside))
    connection.close()
    return milliseconds


def _find_documents(
    port: int, questions: Sequence[str], *, limit: int, path: str = "/retrieve"
) -> list[list[str]]:
    """Return the documents of what is found for each question, two at a time."""

    def find(question: str) -> list[str]:
        answer = _retrieve(port, question, limit=limit, path=path)
        return list(dict.fromkeys(one["name"] for one in answer["passages"]))

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(find, questions))


def _retrieve(port: int, question: str, *, limit: int, path: str) -> dict[str, Any]:
    """Ask once, by a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        body = json.dumps({"question": question, "limit": limit}).encode()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read()
    if response.status != 200:
        raise BenchmarkFailed(f"{path} answered {response.status}: {said[:500]!r}")
    answer: dict[str, Any] = json.loads(said)
    return answer


def _post(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Return whether the process answers well; it may not listen yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        response.read()
        return response.status < 300
    finally:
        connection.close()


def _memory(pid: int) -> dict[str, float]:
    """Return peak resident megabytes of the largest process from *pid* down, and the PSS of all."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    peaks = []
    for process in family:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        peaks.append(int(peak.split()[1]) / 1024)
    pss = sum(process.memory_full_info().pss for process in family) / 2**20
    return {"peak_rss": round(max(peaks), 1), "pss": round(pss, 1), "processes": len(family)}
