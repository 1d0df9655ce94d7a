"""Figures from the tables of documents: parsed, stored, computed, and held against SQLite."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from functions.ingest.numerals import decimal_mark
from functions.ingest.sandbox import parse_document
from functions.query.settings import QuerySettings
from local.roles import make_login
from shared import store
from shared.embedding.embedder import Embedder
from shared.language import searchable_text
from shared.values import ObjectVersion
from tests.conftest import create_database, open_connection
from tests.support.asking import BUCKET, make_client, open_gemini
from tests.support.documents import LIMITS
from tests.support.gemini_stand_in import (
    GeminiStandIn,
    Scenario,
    gemini_stand_in,
    prompt_of,
    quote_first_passage,
)

REGIONS = ["North", "South", "East", "West"]
PRODUCTS = ["Pump", "Valve", "Filter", "Hose", "Clamp"]


def index_file(
    connection: store.Connection,
    embedder: Embedder,
    model_dir: Path,
    path: Path,
    name: str,
    *,
    describe: Callable[[bytes, str], tuple[str, str]] | None = None,
) -> None:
    """Index a file as ingest and embed_worker do, without their events."""
    lease = store.begin_build(
        connection,
        ObjectVersion(bucket=BUCKET, name=name, generation=1, size=10),
        config_hash="test",
        lease_seconds=60,
        max_attempts=10,
    ).lease
    assert lease is not None
    with parse_document(
        path,
        name=name,
        content_type=None,
        limits=LIMITS,
        tokenizer=model_dir / "tokenizer.json",
        max_tokens=256,
        describe_figure=describe,
    ) as parsed:
        jobs = store.stage_build(
            connection,
            lease,
            document=store.StagedDocument(parsed.title, "en", parsed.content_type, None, []),
            chunks=(
                (chunk, searchable_text(chunk.text, language="en", name=name))
                for chunk in parsed.chunks()
            ),
            text_segments=parsed.text_segments(),
            tables=parsed.tables(decimal=decimal_mark("en", content_type=parsed.content_type)),
            search_config="english",
            batch_size=100,
        )
    for job in jobs:
        batch = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=10)
        assert batch is not None
        store.finish_batch(connection, batch, embedder.embed_documents(batch.texts))


def make_rows(dice: random.Random, count: int) -> list[list[str]]:
    return [
        [
            f"O-{number:04}",
            dice.choice(REGIONS),
            dice.choice(PRODUCTS),
            str(dice.randint(1, 40)) if dice.random() > 0.05 else "",
            f"{dice.randint(1, 500_000) / 100:,.2f}",
            f"2024-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}",
        ]
        for number in range(count)
    ]


HEADER = ["Order", "Region", "Product", "Quantity", "Amount", "Shipped"]


class Figures:
    """A service over one table, and the same rows in SQLite."""

    def __init__(
        self,
        client: FlaskClient,
        settings: QuerySettings,
        rows: list[list[str]],
        document_id: str,
    ) -> None:
        self.client = client
        self.settings = settings
        self.rows = rows
        self.document_id = document_id
        self.oracle = sqlite3.connect(":memory:")
        self.oracle.execute(
            'CREATE TABLE t ("Order" text, Region text COLLATE NOCASE,'
            " Product text COLLATE NOCASE, Quantity integer, Amount integer, Shipped text)"
        )
        self.oracle.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    *row[:3],
                    int(row[3]) if row[3] else None,
                    int(Decimal(row[4].replace(",", "")) * 100),
                    row[5],
                )
                for row in rows
            ],
        )

    def query(self, plan: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
        response = self.client.post(f"/tables/{self.document_id}.0/query", json=plan)
        assert response.status_code == status, response.get_json()
        body: dict[str, Any] = response.get_json()
        return body

    def ask(self, question: str) -> dict[str, Any]:
        response = self.client.post("/query", json={"question": question})
        assert response.status_code == 200, response.get_json()
        body: dict[str, Any] = response.get_json()
        return body


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture(scope="module")
def module_database_url(postgres_url: str, template_database: str) -> str:
    return create_database(postgres_url, template=template_database)


@pytest.fixture(scope="module")
def settings(module_database_url: str, model_dir: Path) -> QuerySettings:
    query_url = make_login(module_database_url, group="kaydang_query")
    return QuerySettings.model_validate({"database_url": query_url, "model_dir": model_dir})


@pytest.fixture(scope="module")
def pool(settings: QuerySettings) -> Iterator[store.Pool]:
    with store.open_pool(settings) as pool:
        yield pool


@pytest.fixture(scope="module")
def figures(
    module_database_url: str,
    settings: QuerySettings,
    pool: store.Pool,
    model_dir: Path,
    embedder: Embedder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Figures:
    rows = make_rows(random.Random(22), 300)
    path = tmp_path_factory.mktemp("tables") / "orders.csv"
    total = sum(Decimal(row[4].replace(",", "")) for row in rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows, ["Total", "", "", "", f"{total:,.2f}", ""]])
    with open_connection(make_login(module_database_url, group="kaydang_worker")) as connection:
        index_file(connection, embedder, model_dir, path, "sales/orders.csv")
    client = make_client(settings, pool=pool, embedder=embedder)
    documents = client.get("/documents").get_json()["documents"]
    return Figures(client, settings, rows, documents[0]["id"])


def test_tables_when_listed(figures: Figures) -> None:
    """A document names its tables, with what each column holds; the total is no row of data."""
    found = figures.client.get(f"/documents/{figures.document_id}/tables").get_json()["tables"]
    assert [table["row_count"] for table in found] == [301]
    types = {column["name"]: column["type"] for column in found[0]["columns"]}
    assert types == {
        "Order": "text",
        "Region": "text",
        "Product": "text",
        "Quantity": "number",
        "Amount": "number",
        "Shipped": "date",
    }
    assert figures.query({"aggregates": [{"function": "count"}]})["totals_left_out"] == 1


def conditions(dice: random.Random, depth: int = 0) -> tuple[dict[str, Any], str, list[Any]]:
    """Return a random condition as a plan's, as SQL, and the values of the latter."""
    if depth < 2 and dice.random() < 0.35:
        kind = dice.choice(["and", "or", "not"])
        parts = [conditions(dice, depth + 1) for _ in range(1 if kind == "not" else 2)]
        values = [value for part in parts for value in part[2]]
        if kind == "not":
            return {"not": parts[0][0]}, f"NOT ({parts[0][1]})", values
        joined = f" {kind.upper()} ".join(f"({part[1]})" for part in parts)
        return {kind: [part[0] for part in parts]}, joined, values
    signs = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
    column = dice.choice(["Region", "Product", "Quantity", "Amount", "Shipped", "Order"])
    op = dice.choice(list(signs))
    given: Any
    if column in ("Region", "Product"):
        given = dice.choice(REGIONS + PRODUCTS)
        given = dice.choice([given, given.upper()])
        if dice.random() < 0.3:
            more = [given, dice.choice(REGIONS + PRODUCTS)]
            return {"column": column, "op": "in", "values": more}, f"{column} IN (?, ?)", more
        op = dice.choice(["eq", "ne"])
        value = given
    elif column == "Order":
        given = f"O-0{dice.randint(0, 2)}"
        return (
            {"column": column, "op": "prefix", "value": given},
            '"Order" LIKE ?',
            [given + "%"],
        )
    elif column == "Quantity":
        if dice.random() < 0.2:
            return {"column": column, "op": "empty"}, "Quantity IS NULL", []
        value = given = dice.randint(1, 40)
    elif column == "Amount":
        value = dice.randint(1, 500_000)
        given = dice.choice([str(Decimal(value) / 100), value / 100])
    else:
        value = given = f"2024-{dice.randint(1, 12):02}-15"
    plan = {"column": column, "op": op, "value": given}
    return plan, f"coalesce({column} {signs[op]} ?, 0)", [value]


def test_plans_when_held_against_sqlite(figures: Figures) -> None:
    """A thousand random plans over one table: every figure is SQLite's."""
    dice = random.Random(2026)
    for number in range(1_000):
        where, sql, values = conditions(dice)
        function = dice.choice(["sum", "avg", "min", "max", "count", "count_distinct"])
        column = dice.choice(["Quantity", "Amount"])
        by = dice.choice([None, "Region", "Product"])
        plan: dict[str, Any] = {
            "where": where,
            "aggregates": [{"function": function, "column": column}, {"function": "count"}],
            "group_by": [by] if by else [],
        }
        expression = (
            f"count(DISTINCT {column})" if function == "count_distinct" else f"{function}({column})"
        )
        group = f"GROUP BY {by}" if by else ""
        expected = figures.oracle.execute(
            f"SELECT {by or 1}, {expression}, count(*) FROM t WHERE {sql} {group}", values
        ).fetchall()
        scale = 100 if column == "Amount" and not function.startswith("count") else 1
        found = {
            (line["values"][0] if by else 1): line["values"][-2:]
            for line in figures.query(plan)["rows"]
        }
        wanted = {key: (value, count) for key, value, count in expected}
        assert found.keys() == wanted.keys(), (number, plan)
        for key, (value, count) in wanted.items():
            computed, counted = found[key]
            assert counted == str(count), (number, plan)
            if value is None:
                assert computed is None, (number, plan)
            else:
                assert float(computed) * scale == pytest.approx(value), (number, plan)


def test_rows_when_sorted_and_cut(figures: Figures) -> None:
    """Rows are shown as the document writes them, exact beside it, with where they stand."""
    shown = figures.query(
        {
            "select": ["Order", "Amount"],
            "where": {"column": "Region", "value": "north"},
            "order_by": [{"by": "Amount", "direction": "desc"}],
            "limit": 3,
        }
    )
    expected = figures.oracle.execute(
        "SELECT \"Order\", Amount FROM t WHERE Region = 'north' ORDER BY Amount DESC LIMIT 3"
    ).fetchall()
    assert [
        (row["values"][0], round(Decimal(row["values"][1]) * 100)) for row in shown["rows"]
    ] == expected
    assert shown["truncated"]
    source = shown["rows"][0]["sources"][0]
    text = figures.client.get(
        f"/documents/{figures.document_id}/text",
        query_string={"char_start": source["char_start"], "char_end": source["char_end"]},
    ).get_json()["text"]
    assert [shown["rows"][0]["values"][0], shown["rows"][0]["cells"][1]] == [
        text.split(" | ")[0],
        text.split(" | ")[4],
    ]


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"select": ["Price"]}, "select[0]"),
        ({"group_by": ["Region"]}, "aggregates"),
        ({"aggregates": [{"function": "sum", "column": "Region"}]}, "aggregates[0].column"),
        ({"aggregates": [{"function": "sum"}]}, "aggregates[0].column"),
        ({"where": {"column": "Amount", "op": "gt", "value": "much"}}, "where.value"),
        ({"where": {"and": [{"column": "Nope", "value": "x"}]}}, "where.and[0].column"),
        ({"order_by": [{"by": "sum(Amount)"}]}, "order_by[0].by"),
    ],
)
def test_plans_when_they_do_not_fit(figures: Figures, plan: dict[str, Any], field: str) -> None:
    """The fault is named by its place in the plan."""
    assert figures.query(plan, status=400)["errors"][0]["field"] == field


def test_tables_when_closed(figures: Figures, module_database_url: str) -> None:
    """Who may not read a collection computes nothing over its tables."""
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        store.set_collection(connection, "sales", closed=True)
        try:
            figures.query({}, status=404)
            path = f"/documents/{figures.document_id}/tables"
            assert figures.client.get(path).status_code == 404
        finally:
            store.set_collection(connection, "sales", closed=False)
    figures.query({"limit": 1})


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        (
            "What is the sum of Amount where Region is North?",
            "sum(Amount) FROM t WHERE Region = 'North'",
        ),
        ("total amount for the South region", "sum(Amount) FROM t WHERE Region = 'South'"),
        ("How many orders are there where Product is Pump and Region is West?", ""),
        (
            "Wie hoch ist die Summe Amount für Region East?",
            "sum(Amount) FROM t WHERE Region = 'East'",
        ),
        (
            "What is the total amount where quantity is over 20 and product is valve?",
            "sum(Amount) FROM t WHERE Quantity > 20 AND Product = 'valve'",
        ),
        ("What is the highest Amount?", "max(Amount) FROM t"),
        ("Which order of the West was the cheapest?", "min(Amount) FROM t WHERE Region = 'West'"),
        ("Welche Order war die teuerste?", "max(Amount) FROM t"),
    ],
)
def test_questions_when_computed(figures: Figures, question: str, sql: str) -> None:
    """A sum that is asked for in words is computed, with rows as its proof."""
    answer = figures.ask(question)
    if not sql:
        sql = "100 * count(*) FROM t WHERE Product = 'Pump' AND Region = 'West'"
    (value,) = figures.oracle.execute(f"SELECT {sql}").fetchone()
    number = f"{Decimal(value) / 100:,f}"
    number = number.rstrip("0").rstrip(".") if "." in number else number
    assert number in answer["answer"]
    assert answer["grounded"]
    assert all(citation["verified"] for citation in answer["citations"])


@pytest.mark.parametrize(
    "question",
    [
        "What is the sum of Amount where Region is North in the year 2023?",
        "What is the sum of discounts where Region is North?",
        "What is the total amount of unpaid orders?",
        "Pump giá bao nhiêu?",
        "How many products are there in the North?",
    ],
)
def test_questions_when_a_word_is_left_over(figures: Figures, question: str) -> None:
    """Nothing is computed where a condition would be dropped, or a price is asked for."""
    assert "**" not in figures.ask(question)["answer"]


def test_questions_when_the_cells_are_blank(figures: Figures) -> None:
    """A sum of nothing is no figure; the same sum of a row with one is."""
    blank, filled = (
        next(row[0] for row in figures.rows if bool(row[3]) is filled) for filled in (False, True)
    )
    assert "**" in figures.ask(f"What is the sum of Quantity where Order is {filled}?")["answer"]
    assert "**" not in figures.ask(f"What is the sum of Quantity where Order is {blank}?")["answer"]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        yield running


def ask_gemini(
    figures: Figures, pool: store.Pool, embedder: Embedder, stand_in: GeminiStandIn, plan: Any
) -> dict[str, Any]:
    """Ask where Gemini plans so, and else quotes the first passage."""

    def answer(request: dict[str, Any]) -> list[str]:
        if "BEGIN TABLE 1" in prompt_of(request):
            return [json.dumps({"table": 1, "plan": json.dumps(plan)})]
        return quote_first_passage(request)

    stand_in.plan(Scenario(pieces=answer))
    with open_gemini(stand_in.url) as gemini:
        client = make_client(figures.settings, pool=pool, embedder=embedder, gemini=gemini)
        response = client.post(
            "/query", json={"question": "total amount of northern pump orders", "trace": True}
        )
    body: dict[str, Any] = response.get_json()
    assert response.status_code == 200, body
    return body


def test_questions_when_gemini_plans(
    figures: Figures, pool: store.Pool, embedder: Embedder, stand_in: GeminiStandIn
) -> None:
    """Gemini says what to compute; the figure is ours, and so is its proof."""
    plan = {
        "where": {
            "and": [{"column": "Region", "value": "North"}, {"column": "Product", "value": "pump"}]
        },
        "aggregates": [{"function": "sum", "column": "Amount"}],
    }
    body = ask_gemini(figures, pool, embedder, stand_in, plan)
    (cents,) = figures.oracle.execute(
        "SELECT sum(Amount) FROM t WHERE Region = 'North' AND Product = 'Pump'"
    ).fetchone()
    assert f"{Decimal(cents) / 100:,f}".rstrip("0").rstrip(".") in body["answer"]
    assert body["trace"]["compute"]["planned_by"] == "gemini"
    assert body["usage"]["calls"] == 1
    assert body["grounded"]
    assert body["citations"]


@pytest.mark.parametrize(
    "plan",
    [
        {"aggregates": [{"function": "sum", "column": "Profit"}]},
        {"aggregates": [{"function": "sum", "column": "Region"}]},
        {"where": {"column": "Region", "value": "Atlantis"}, "select": ["Order"]},
        {"sql": "DROP TABLE documents"},
        "SELECT 1",
    ],
)
def test_questions_when_gemini_plans_what_does_not_fit(
    figures: Figures,
    pool: store.Pool,
    embedder: Embedder,
    stand_in: GeminiStandIn,
    plan: Any,
) -> None:
    """Then the question is answered from passages, as any other."""
    body = ask_gemini(figures, pool, embedder, stand_in, plan)
    assert body["trace"]["compute"]["table"] is None
    assert body["model"] == "gemini-3.5-flash-lite"


def test_csv_when_written_in_german(model_dir: Path, tmp_path: Path) -> None:
    """Amounts with a decimal comma are the numbers that they mean."""
    path = tmp_path / "preise.csv"
    output = io.StringIO()
    csv.writer(output, delimiter=";").writerows(
        [["Artikel", "Preis"], ["Pumpe", "1.250,00 €"], ["Ventil", "99,90 €"]]
    )
    path.write_text(output.getvalue(), encoding="utf-8")
    with parse_document(
        path,
        name="preise.csv",
        content_type=None,
        limits=LIMITS,
        tokenizer=model_dir / "tokenizer.json",
        max_tokens=256,
    ) as parsed:
        rows = [row for _, rows in parsed.tables(decimal=None) for row in rows]
    assert [row.numbers[1] for row in rows] == [Decimal("1250.00"), Decimal("99.90")]
