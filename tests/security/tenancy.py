"""
Look for rows of others in what pooled connections give: python -m tests.security.tenancy

Makes a database with tenants, each with documents in a collection of its own that is closed to the
others, and with documents that name their readers, and lets threads that share a few connections
ask for them in turn: searching, growing passages, listing, reading by id. Every row that comes back
is compared with what its caller may read; every caller must also find what is his. Prints one line,
and writes it as JSON.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import numpy as np
from pydantic import SecretStr

from functions.query.answering.context import expand
from local.postgres import start_postgres
from local.roles import make_login
from shared import store
from shared.embedding.embedder import Embedder
from shared.search.statement import search
from shared.settings import DatabaseSettings
from shared.store import Connection, Pool, open_pool, reading
from shared.values import Filter
from tests.conftest import MODEL_DIR, prepare_database
from tests.support.asking import index_document

_POOL_SIZE = 4
_THREADS = 8
_TENANTS = 10
_PERSONS = 4
_DOCUMENTS = 3
_QUESTIONS = ("What is the code of the gate?", "code Q-7714", '"opens the gate"', "gate")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what he may read."""

    principals: list[str]
    collections: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tenants:
    """The documents of a database, by collection, and those who ask for them."""

    documents: dict[str, list[UUID]]
    callers: list[Caller]


@dataclass(slots=True)
class Result:
    """What a run saw; *foreign* names each row that its caller should not have seen."""

    queries: int = 0
    rows: int = 0
    seconds: float = 0.0
    by_kind: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Count what another thread saw."""
        self.queries += other.queries
        self.rows += other.rows
        self.by_kind += other.by_kind
        self.foreign += other.foreign
        self.missing += other.missing

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        # asdict() would count the counter's pairs.
        return {item.name: getattr(self, item.name) for item in fields(self)}


def make_tenants(connection: Connection, embedder: Embedder) -> Tenants:
    """Index documents of the same words in collections of their own; one collection is open."""
    names = ["commons", *(f"tenant{number}" for number in range(_TENANTS)), "mixed"]
    # Open collections of documents that name their readers, and a closed one of such.
    letters = {f"letters{number}": f"person{number}@a.example" for number in range(_PERSONS)}
    readers = letters | {"mixed": "group:lawyers"}
    names += letters
    for collection in names:
        for number in range(_DOCUMENTS):
            index_document(
                connection,
                embedder,
                f"{collection}/gate{number}.txt",
                [
                    f"The code Q-7714 of {collection} opens the gate {number}.",
                    f"In {collection} the gate is shut at night, says {collection}.",
                ],
                paragraphs_a_page=2,
                metadata={"readers": readers[collection]} if collection in readers else {},
            )
    tenants = [name for name in names if name.startswith("tenant")]
    for collection in [*tenants, "mixed"]:
        store.set_collection(connection, collection, closed=True)
        store.grant_collection(connection, principal=f"key:{collection}", collection=collection)
    store.grant_collection(connection, principal="email:auditor@a.example", collection="*")
    documents: dict[str, list[UUID]] = {}
    listed, _ = store.list_documents(connection, limit=1000)
    for document in listed:
        documents.setdefault(document.collection, []).append(document.id)
    callers = [
        Caller([f"key:{collection}"], frozenset({"commons", collection}))
        for collection in tenants[1:]
    ]
    callers += [
        Caller([f"email:{reader}", "domain:a.example"], frozenset({"commons", collection}))
        for collection, reader in letters.items()
    ]
    callers += [
        Caller([], frozenset({"commons"})),
        Caller(["key:tenant"], frozenset({"commons"})),
        Caller(["key:tenant0", "key:tenant1"], frozenset({"commons", "tenant0", "tenant1"})),
        Caller(["key:tenant0"], frozenset({"commons", "tenant0"})),
        Caller(["key:mixed"], frozenset({"commons", "mixed"})),
        Caller(["groups:lawyers"], frozenset({"commons", "mixed"})),
        Caller(["email:person9@a.example", "person0@a.example"], frozenset({"commons"})),
        Caller(["email:auditor@a.example"], frozenset(names)),
    ]
    return Tenants(documents, callers)


def interleave(
    pool: Pool, tenants: Tenants, *, queries: int, dimension: int, seed: int = 1
) -> Result:
    """Let threads ask as callers that change with every query, over the connections of *pool*."""
    started = time.perf_counter()
    total = Result()
    with ThreadPoolExecutor(_THREADS) as threads:
        shares = [queries // _THREADS + (n < queries % _THREADS) for n in range(_THREADS)]
        for result in threads.map(
            lambda number: _ask(
                pool, tenants, queries=shares[number], dimension=dimension, seed=seed + number
            ),
            range(_THREADS),
        ):
            total.add(result)
    total.seconds = time.perf_counter() - started
    return total


def _ask(pool: Pool, tenants: Tenants, *, queries: int, dimension: int, seed: int) -> Result:
    chance = random.Random(seed)
    generator = np.random.default_rng(seed)
    result = Result()
    while result.queries < queries:
        caller = chance.choice(tenants.callers)
        kind, ask, _ = chance.choices(_KINDS, weights=[weight for *_, weight in _KINDS])[0]
        vector = generator.normal(size=dimension).astype(np.float32)
        vector /= np.linalg.norm(vector)
        with reading(pool, caller.principals) as connection:
            seen, own = ask(connection, _Turn(chance, tenants, caller, vector))
        result.queries += 1
        result.rows += len(seen)
        result.by_kind[kind] += 1
        result.foreign += [
            f"{kind}: {collection} to {caller.principals}"
            for collection in seen
            if collection not in caller.collections
        ]
        if not own:
            result.missing.append(f"{kind}: {caller.principals} saw too little")
    return result


# What each kind of query saw, by collection, and whether the caller got what is his.
_Seen = tuple[Sequence[str], bool]


@dataclass(frozen=True, slots=True)
class _Turn:
    """One query: who asks, among whom, and what it draws its words and its vector from."""

    chance: random.Random
    tenants: Tenants
    caller: Caller
    vector: np.ndarray[tuple[int], np.dtype[np.float32]]


def _search(connection: Connection, turn: _Turn) -> _Seen:
    hits = search(
        connection,
        question=turn.chance.choice(_QUESTIONS),
        embedding=turn.vector,
        limit=100,
        per_document=10,
        mode=turn.chance.choice(("fused", "vector", "text")),
    ).hits
    grown = expand(connection, hits, max_characters=2000)
    texts = [name for hit in grown for name in turn.tenants.documents if f" {name} " in hit.text]
    return [*(hit.collection for hit in hits), *texts], {
        hit.collection for hit in hits
    } == turn.caller.collections


def _search_in(connection: Connection, turn: _Turn) -> _Seen:
    wanted = turn.chance.choice(list(turn.tenants.documents))
    question = turn.chance.choice((*_QUESTIONS, f"What does {wanted}/gate1.txt say?"))
    filter_ = turn.chance.choice((Filter(collection=wanted), Filter(prefix=f"{wanted}/")))
    hits = search(
        connection, question=question, embedding=turn.vector, limit=20, filter=filter_
    ).hits
    return [hit.collection for hit in hits], bool(hits) == (wanted in turn.caller.collections)


def _list(connection: Connection, turn: _Turn) -> _Seen:
    documents, _ = store.list_documents(connection, limit=100)
    seen = [document.collection for document in documents]
    return seen, set(seen) == turn.caller.collections


def _list_by(connection: Connection, turn: _Turn) -> _Seen:
    order: store.ListOrder = turn.chance.choice(("name", "updated", "size", "state"))
    word = turn.chance.choice(("gate", "GATE1", "tenant", "at"))
    selection = store.Selection(search=word)
    documents, _ = store.list_documents(connection, selection, order=order, limit=100)
    counted = store.count_selected(connection, selection, ceiling=1000)
    facets, _ = store.read_facets(connection, selection, values=100, ceiling=1000)
    seen = [document.collection for document in documents]
    seen += [value for facet in facets if facet.name == "collection" for value, _ in facet.values]
    expected = {name for name in turn.caller.collections if word != "tenant" or word in name}
    return seen, set(seen) == expected and counted == len(documents)


def _read(connection: Connection, turn: _Turn) -> _Seen:
    collection = turn.chance.choice(list(turn.tenants.documents))
    document_id = turn.chance.choice(turn.tenants.documents[collection])
    document = store.get_document(connection, document_id)
    text = store.read_text(connection, document_id=document_id, char_start=0, char_end=100)
    seen = [collection] * ((document is not None) + (text is not None))
    return seen, (len(seen) == 2) == (collection in turn.caller.collections)


# With how often each is asked, out of twenty.
_KINDS: tuple[tuple[str, Callable[..., _Seen], int], ...] = (
    ("search", _search, 1),
    ("search with filter", _search_in, 1),
    ("list", _list, 8),
    ("search, sort, count", _list_by, 1),
    ("read by id", _read, 9),
)


def _open_pool(url: str) -> Pool:
    return open_pool(DatabaseSettings(database_url=SecretStr(url), database_pool_size=_POOL_SIZE))


@click.command(help=__doc__)
@click.option("--queries", type=click.IntRange(min=1), default=100_000, show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False))
def main(queries: int, output: Path | None) -> None:
    """Run on a PostgreSQL of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = start_postgres(Path(folder) / "data", options={"fsync": "off"})
        try:
            prepare_database(server.url, model_dir=MODEL_DIR)
            embedder = Embedder(MODEL_DIR, threads=1)
            worker_url = make_login(server.url, group="kaydang_worker")
            with _open_pool(worker_url) as pool, store.connect(pool) as connection:
                tenants = make_tenants(connection, embedder)
            login = make_login(server.url, group="kaydang_query")
            with _open_pool(login) as pool:
                result = interleave(
                    pool, tenants, queries=queries, dimension=embedder.info.dimension
                )
        finally:
            server.stop()
    click.echo(
        f"{result.queries} queries of {len(tenants.callers)} callers over {_POOL_SIZE} connections"
        f" in {result.seconds:.0f} s: {result.rows} rows, {len(result.foreign)} foreign,"
        f" {len(result.missing)} incomplete"
    )
    for line in (result.foreign + result.missing)[:20]:
        click.echo(line)
    if output is not None:
        output.write_text(json.dumps(result.as_json(), indent=1))
    raise SystemExit(bool(result.foreign or result.missing))


if __name__ == "__main__":
    main()
