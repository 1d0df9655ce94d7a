"""Filters pass the documents that an oracle in plain SQL chooses, and lose none in a search."""

from __future__ import annotations

import json
import os
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from functions.query.http.schemas import FilterIn
from shared.search.filters import compile_filter
from shared.search.statement import search
from shared.store import Connection
from shared.values import Filter

# FILTERS=10000 for the whole run.
FILTERS = int(os.environ.get("FILTERS", "600"))
DOCUMENTS = 300
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
COLLECTIONS = ["hr", "legal", "Bürö", "it's", "100%"]
FOLDERS = [*COLLECTIONS, "a_b", "back\\slash", unicodedata.normalize("NFD", "Bürö")]
TYPES = ["text/plain", "text/html", "application/pdf", "image/png", ""]
LANGUAGES = ["en", "de", "vi", ""]
TEAMS = ["red", "Red", "blue", "it's", "100%", "a\\b", ""]
NUMBERS = ["1", "2", "02", "2.0", "-3.5", "1e2", "100", " 7 ", "12345678901234567890"]
NO_NUMBERS = ["1a", "", "one", "1,5", "0x10", "NaN", "--1", "1e999"]
TIMES = ["2024-01-05", "2024-02-29", "2024-01-05T12:00:00Z", "2024-01-05T12:00:00+02:00"]
NO_TIMES = ["2023-02-29", "2024-13-01", "2024-1-5", "yesterday", "2024-01-05T25:00:00Z", "20240105"]
TRUTHS = ["true", "False", "TRUE", "yes", "no"]


@dataclass(frozen=True)
class Given:
    """A document, and what the oracle knows of it: (field, key, text, number, time)."""

    number: int
    name: str
    collection: str
    content_type: str
    language: str
    updated: datetime | None
    metadata: dict[str, str] = field(default_factory=dict)

    def facts(self) -> Iterator[tuple[Any, ...]]:
        name = unicodedata.normalize("NFC", self.name)
        for kind, text in (
            ("name", name),
            ("collection", self.collection),
            ("content_type", self.content_type),
            ("language", self.language),
        ):
            yield self.number, kind, "", text, None, None
        if self.updated is not None:
            yield self.number, "updated", "", None, None, self.updated
        for key, text in self.metadata.items():
            number = text.strip() if text in NUMBERS else None
            time = parse_time(text) if text in TIMES else None
            yield self.number, "metadata", key, text, number, time


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00+00:00")


def make_document(number: int, chance: random.Random) -> Given:
    metadata = {}
    for key, texts in {
        "team": TEAMS,
        "year": NUMBERS + NO_NUMBERS,
        "day": TIMES + NO_TIMES,
        "draft": TRUTHS,
        "mixed": NUMBERS[:4] + TIMES[:2] + TRUTHS + TEAMS,
    }.items():
        if chance.random() < 0.7:
            metadata[key] = chance.choice(texts)
    return Given(
        number,
        name=f"{chance.choice(FOLDERS)}/{chance.choice('abc')}{number}.txt",
        collection=chance.choice(COLLECTIONS),
        content_type=chance.choice(TYPES),
        language=chance.choice(LANGUAGES),
        updated=None if chance.random() < 0.1 else EPOCH + timedelta(days=chance.randrange(100)),
        metadata=metadata,
    )


@pytest.fixture
def documents(owner: Connection) -> list[Given]:
    """Load documents of one chunk each, and the facts that the oracle looks at."""
    chance = random.Random(7)
    given = [make_document(number, chance) for number in range(1, DOCUMENTS + 1)]
    owner.execute("SET session_replication_role = replica")
    owner.execute(
        """
        INSERT INTO builds (id, document_id, generation, epoch, state, chunk_count)
        OVERRIDING SYSTEM VALUE
        SELECT number, gen_random_uuid(), 1, 0, 'ready', 1
        FROM generate_series(1, %s) AS number
        """,
        [DOCUMENTS],
    )
    owner.cursor().executemany(
        """
        INSERT INTO documents (id, bucket, name, collection, content_type, language,
                               object_updated, metadata, active_build, active_generation)
        SELECT document_id, 'b', %s, %s, %s, %s, %s, %s, id, 1
        FROM builds
        WHERE id = %s
        """,
        [
            (
                each.name,
                each.collection,
                each.content_type,
                each.language,
                each.updated,
                Jsonb(each.metadata),
                each.number,
            )
            for each in given
        ],
    )
    owner.execute(
        """
        INSERT INTO chunks (build_id, ordinal, text, heading, header, char_start, char_end,
                            content_hash, search)
        SELECT id, 0, 'x', '', '', 0, 1, '', to_tsvector('simple', 'wing number' || id)
        FROM builds
        """
    )
    vectors = np.random.default_rng(1).normal(size=(DOCUMENTS, 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with owner.cursor().copy(
        "COPY embeddings (model_id, build_id, ordinal, embedding) FROM STDIN"
    ) as copy:
        for number, vector in enumerate(vectors, 1):
            copy.write_row((1, number, 0, str(vector.round(4).tolist())))
    owner.execute("RESET session_replication_role")
    owner.execute(
        """
        CREATE TABLE facts
            (number bigint, field text, key text, text text, value numeric, time timestamptz)
        """
    )
    with owner.cursor().copy("COPY facts FROM STDIN") as copy:
        for each in given:
            for fact in each.facts():
                copy.write_row(fact)
    owner.execute("CREATE INDEX ON facts (field, key)")
    owner.execute("GRANT SELECT ON facts TO kaydang_query")
    owner.execute("ANALYZE")
    return given


def make_filter(chance: random.Random, documents: list[Given], depth: int = 3) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for _ in range(chance.choice((0, 1, 1, 1, 2))):
        one = chance.choice(documents)
        name = unicodedata.normalize(chance.choice(("NFC", "NFD")), one.name)
        add: dict[str, Any] = chance.choice(
            (
                {"collection": make_texts(chance, COLLECTIONS)},
                {"content_type": make_texts(chance, TYPES[:4])},
                {"language": make_texts(chance, LANGUAGES[:3])},
                {"name": make_texts(chance, [name, chance.choice(documents).name])},
                {"prefix": name[: chance.randrange(len(name))]},
                {"updated": make_bounds(chance, [EPOCH + timedelta(days=d) for d in (10, 50)])},
                {"updated_from": (EPOCH + timedelta(days=chance.randrange(100))).isoformat()},
                {"metadata": {chance.choice(list(MAKERS)): None}},
            )
        )
        if "metadata" in add:
            (key,) = add["metadata"]
            add = {"metadata": {key: MAKERS[key](chance)}}
        result |= add
    if depth and chance.random() < 0.35:
        inner = [make_filter(chance, documents, depth - 1) for _ in range(chance.randrange(1, 4))]
        result[chance.choice(("and", "or"))] = inner
    return result


def make_texts(chance: random.Random, texts: list[str]) -> Any:
    some = chance.sample(texts, chance.randrange(1, min(3, len(texts)) + 1))
    return chance.choice(
        (
            some[0] or {"exists": False},
            {"any_of": some},
            {"none_of": some},
            {"prefix": some[0][: chance.randrange(len(some[0]) + 1)]},
            {"exists": chance.random() < 0.5},
            {"any_of": some, "none_of": [texts[0]]},
        )
    )


def make_values(chance: random.Random, texts: list[str], others: list[Any]) -> Any:
    some = chance.sample([*texts, *others], chance.randrange(1, 3))
    return chance.choice(
        (
            some[0],
            {"any_of": some},
            {"none_of": some},
            {"exists": chance.random() < 0.5},
            {"prefix": chance.choice(texts)[:2]},
        )
    )


def make_bounds(chance: random.Random, bounds: list[Any]) -> Any:
    signs = chance.sample(("gt", "gte", "lt", "lte"), chance.randrange(1, 3))
    return {
        sign: bound.isoformat() if isinstance(bound, datetime) else bound
        for sign, bound in ((sign, chance.choice(bounds)) for sign in signs)
    }


MAKERS = {
    "team": lambda chance: make_values(chance, TEAMS, []),
    "year": lambda chance: chance.choice(
        (
            make_values(chance, NUMBERS, [1, 2, 2.0, -3.5, 100, 12345678901234567890]),
            make_bounds(chance, [-4, 0, 2, 2.5, 100]),
        )
    ),
    "day": lambda chance: chance.choice(
        (
            make_values(chance, TIMES, []),
            make_bounds(chance, ["2024-01-05", "2024-01-05T11:00:00Z", "2024-02-29"]),
        )
    ),
    "draft": lambda chance: make_values(chance, TRUTHS, [True, False]),
    "mixed": lambda chance: chance.choice(
        (
            make_values(chance, NUMBERS[:4] + TEAMS, [1, 2, True]),
            make_bounds(chance, [1, "2024-01-05"]),
        )
    ),
    "nowhere": lambda chance: make_values(chance, TEAMS, [1, True]),
}


EVERYTHING = sql.SQL("SELECT DISTINCT number FROM facts")


def oracle(filter: dict[str, Any]) -> sql.Composable:
    """Return the statement that chooses the documents of a filter."""
    sets: list[sql.Composable] = [EVERYTHING]
    for name, asked in filter.items():
        if name == "and":
            sets += [oracle(each) for each in asked]
        elif name == "or":
            sets.append(sql.SQL(" UNION ").join(part(oracle(each)) for each in asked))
        elif name == "prefix":
            sets.append(chosen("name", "", "prefix", asked))
        elif name == "updated_from":
            sets.append(chosen("updated", "", "gte", asked))
        elif name == "metadata":
            for key, operators in asked.items():
                sets += conditions("metadata", key, operators)
        else:
            sets += conditions(name, "", asked)
    return sql.SQL(" INTERSECT ").join(map(part, sets))


def part(statement: sql.Composable) -> sql.Composable:
    return sql.SQL("({})").format(statement)


def conditions(field: str, key: str, asked: Any) -> list[sql.Composable]:
    operators = asked if isinstance(asked, dict) else {"any_of": [asked]}
    return [chosen(field, key, operator, value) for operator, value in operators.items()]


def chosen(field: str, key: str, operator: str, value: Any) -> sql.Composable:
    facts = sql.SQL("SELECT number FROM facts WHERE field = {} AND key = {} AND ").format(
        sql.Literal(field), sql.Literal(key)
    )
    if operator == "none_of":
        return sql.SQL("{} EXCEPT {}").format(EVERYTHING, part(chosen(field, key, "any_of", value)))
    if operator == "any_of":
        return sql.SQL(" UNION ").join(part(facts + equal(field, each)) for each in value)
    if operator == "exists":
        there = facts + sql.SQL("true" if field == "metadata" else "coalesce(text, '-') <> ''")
        if value:
            return there
        return sql.SQL("{} EXCEPT {}").format(EVERYTHING, part(there))
    if operator == "prefix":
        beginning = unicodedata.normalize("NFC", value) if field == "name" else value
        return facts + sql.SQL("left(text, {}) = {}").format(len(beginning), beginning)
    sign = sql.SQL({"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[operator])
    if isinstance(value, str):
        bound = sql.SQL("{}::timestamptz").format(sql.Literal(parse_time(value)))
        return facts + sql.SQL("time {} {}").format(sign, bound)
    return facts + sql.SQL("value {} {}::numeric").format(sign, sql.Literal(str(value)))


def equal(field: str, value: Any) -> sql.Composable:
    if isinstance(value, bool):
        return sql.SQL("lower(text) = {}").format(sql.Literal(str(value).lower()))
    if isinstance(value, int | float):
        return sql.SQL("value = {}::numeric").format(sql.Literal(str(value)))
    text = unicodedata.normalize("NFC", value) if field in ("name", "collection") else value
    return sql.SQL("text = {}").format(sql.Literal(text))


def numbers(connection: Connection, statement: sql.Composable, values: Any = None) -> set[int]:
    return {row[0] for row in connection.execute(cast(sql.Composed, statement), values).fetchall()}


def test_filters_when_compared_with_sets(reader: Connection, documents: list[Given]) -> None:
    """Random filters choose what the documentation says; a search returns all of it."""
    chance = random.Random(11)
    sizes: list[int] = []
    for number in range(FILTERS):
        asked = make_filter(chance, documents)
        filter = FilterIn.model_validate_json(json.dumps(asked)).to_filter()
        expected = numbers(reader, oracle(asked))
        compiled, values = compile_filter(filter)
        statement = sql.SQL("SELECT build_id FROM live_documents WHERE {}").format(
            sql.SQL(" AND ").join(map(sql.SQL, compiled or ("true",)))
        )
        assert numbers(reader, statement, values) == expected, asked
        sizes.append(len(expected))
        if number % 20 == 0 and len(expected) <= 100:
            assert find(reader, filter) == expected, asked
    # Neither all nor nothing: the comparison compares.
    assert sum(0 < size < DOCUMENTS for size in sizes) > FILTERS / 2
    assert sum(size == 0 for size in sizes) < FILTERS / 3


def find(connection: Connection, filter: Filter) -> set[int]:
    vector = np.zeros(384, dtype=np.float32)
    vector[0] = 1
    hits = search(connection, question="wing", embedding=vector, limit=100, filter=filter).hits
    return {hit.build_id for hit in hits}


@pytest.mark.parametrize(
    ("value", "number", "time"),
    [
        *[(text, True, False) for text in NUMBERS],
        *[(text, False, True) for text in TIMES],
        *[(text, False, False) for text in [*NO_NUMBERS, *NO_TIMES[:-1], "0000-01-01"]],
    ],
)
def test_metadata_is_read_as_what_it_says(
    connection: Connection, value: str, number: bool, time: bool
) -> None:
    """Every text is a number, a time or neither; none of them is an error."""
    row = connection.execute(
        "SELECT metadata_number(%(v)s) IS NOT NULL, metadata_time(%(v)s) IS NOT NULL", {"v": value}
    ).fetchone()
    assert row == (number, time)
