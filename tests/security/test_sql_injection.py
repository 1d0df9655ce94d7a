"""
SQL in every field that reaches the database stays a value.

SQL_CASES=5000 pytest tests/security/test_sql_injection.py -s makes so many cases. What is watched:
a sequence that the attacks try to advance, every row of every table, the catalogue, and a document
that no filter of the attacks names.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import islice, product

import psycopg
from flask.testing import FlaskClient
from psycopg import sql

from tests.security.conftest import SECRET_TEXT

_CASES = int(os.environ.get("SQL_CASES", "240"))

_QUOTES = [
    "'",
    '"',
    "''",
    "\\'",
    "'\\",
    "$$",
    "$a$",
    "`",
    "%27",
    "\u2019",
    "\u02bc",
    "\uff07",
    "E'\\''",
]
_CLOSERS = [
    "",
    ")",
    "))",
    "]",
    "}",
    "::text",
    "::text)",
    "%",
    "%%",
    "%(",
    "%s",
    "%(limit)s",
    "{}",
    "{0}",
]
_STATEMENTS = [
    " OR 1=1",
    " OR TRUE",
    " AND (SELECT nextval('canary')) > 0",
    "; SELECT nextval('canary')",
    "; DROP TABLE documents CASCADE",
    "; DELETE FROM chunks",
    "; UPDATE documents SET collection = 'open'",
    "; TRUNCATE builds CASCADE",
    "; ALTER TABLE documents ADD COLUMN owned int",
    "; CREATE TABLE owned (a int)",
    "; GRANT ALL ON documents TO PUBLIC",
    "; COPY documents TO PROGRAM 'id'",
    "; SET ROLE kaydang_owner",
    "; ROLLBACK; SELECT nextval('canary')",
    " UNION SELECT * FROM live_chunks",
    " UNION ALL SELECT NULL, NULL, text FROM live_texts",
    " UNION SELECT usename, passwd FROM pg_shadow",
    " || (SELECT text FROM live_texts LIMIT 1)",
    " || nextval('canary')",
    " AND 1=CAST((SELECT text FROM live_texts LIMIT 1) AS int)",
    " ORDER BY (SELECT nextval('canary'))",
    " LIMIT 1000 OFFSET 0",
    " HAVING 1=1",
    " RETURNING *",
    " IS NOT NULL",
    " LIKE '%'",
    " ~ '.*'",
    " @@ to_tsquery('vault:*')",
    " & vault | ! nothing <-> :*",
    "\\'; SELECT nextval('canary')",
    "\n; SELECT nextval('canary')\n",
    "\u0000; SELECT nextval('canary')",
    "\ud800; SELECT nextval('canary')",
    "]} ->> 'a' = 'b'",
    '": {"$gt": ""}',
    "a' && (SELECT nextval('canary')) || '",
]
_ENDS = ["", "--", "-- -", "/*", "#", ";", "'", '"', ")--", "\\", "%00", "*/ --"]


def attacks() -> Iterator[str]:
    """Yield every attack in an order that mixes them, the same in each run."""
    every = ["".join(parts) for parts in product(_QUOTES, _CLOSERS, _STATEMENTS, _ENDS)]
    random.Random(8).shuffle(every)
    yield from every


# Each asks with a filter that the secret document does not meet, whatever the attack is.
_OPEN = {"prefix": "open/"}
_FIELDS = [
    "question",
    "history",
    "collection",
    "prefix",
    "content_type",
    "metadata value",
    "metadata key",
    "updated_from",
    "mode",
    "limit",
    "list prefix",
    "list collection",
    "list cursor",
    "list state",
    "list limit",
    "document id",
    "text start",
]


def send(client: FlaskClient, field: str, attack: str) -> tuple[int, str]:
    """Put *attack* into *field* and return the status and the body of the answer."""
    question = "Which bridge was opened?"
    if field.startswith("list "):
        name = field.removeprefix("list ")
        value = f"open/{attack}" if name == "prefix" else attack
        # What is not Unicode cannot stand in a query string.
        query = {"prefix": "open/", name: value.encode("utf-8", "replace").decode()}
        answer = client.get("/documents", query_string=query)
    elif field == "document id":
        answer = client.get(f"/documents/{attack.encode('utf-8', 'replace').decode()}")
    elif field == "text start":
        path = "/documents/00000000-0000-0000-0000-000000000001/text"
        safe = attack.encode("utf-8", "replace").decode()
        answer = client.get(path, query_string={"char_start": safe})
    else:
        bodies: dict[str, dict[str, object]] = {
            "question": {"question": attack, "filter": _OPEN},
            "history": {"history": [{"role": "user", "content": attack}], "filter": _OPEN},
            "collection": {"filter": {"collection": attack}},
            "prefix": {"filter": {"prefix": f"open/{attack}"}},
            "content_type": {"filter": {"content_type": attack}},
            "metadata value": {"filter": {"metadata": {"team": attack}}},
            "metadata key": {"filter": {"metadata": {attack: "x"}}},
            "updated_from": {"filter": {"updated_from": attack}},
            "mode": {"mode": attack, "filter": _OPEN},
            "limit": {"limit": attack, "filter": _OPEN},
        }
        answer = client.post("/retrieve", json={"question": question, **bodies[field]})
    return answer.status_code, answer.get_data(as_text=True)


def fingerprint(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return every table with its columns, its rights and a hash of its rows; and the sequence."""
    tables = connection.execute(
        """
        SELECT relname, relacl::text, relrowsecurity, array_agg(attname::text ORDER BY attnum)
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
        GROUP BY 1, 2, 3 ORDER BY 1
        """
    ).fetchall()
    found: list[tuple[object, ...]] = [tuple(map(str, row)) for row in tables]
    for name in (row[0] for row in tables):
        counted = connection.execute(
            sql.SQL(
                "SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} t"
            ).format(sql.Identifier(str(name)))
        ).fetchone()
        found.append((name, counted))
    roles = connection.execute("SELECT rolname, rolsuper FROM pg_roles ORDER BY 1").fetchall()
    return [*found, *roles, *connection.execute("SELECT last_value, is_called FROM canary")]


def test_attack_when_in_any_field(client: FlaskClient, database_url: str) -> None:
    """No attack is run, changes a row, fails the server or brings out what the filter forbids."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE canary")
        connection.execute("GRANT ALL ON canary TO PUBLIC")
        before = fingerprint(connection)
        statuses: dict[int, int] = {}
        for number, attack in enumerate(islice(attacks(), _CASES)):
            status, body = send(client, _FIELDS[number % len(_FIELDS)], attack)
            statuses[status] = statuses.get(status, 0) + 1
            assert status in (200, 400, 404), (attack, body)
            assert "xyzzyplugh" not in body, attack
            assert SECRET_TEXT not in body
        assert fingerprint(connection) == before
    print(f"{_CASES} cases, answers by status: {statuses}")


def test_canary_when_an_attack_would_work(database_url: str) -> None:
    """What is watched would show an attack that is run: by the same values, concatenated."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE canary")
        before = fingerprint(connection)
        name = "'; SELECT nextval('canary'); --"
        connection.execute(f"SELECT 1 FROM documents WHERE name = '{name}'".encode())
        assert fingerprint(connection) != before


def test_documents_when_the_secret_is_asked_for(client: FlaskClient) -> None:
    """Without a filter the document that the attacks must not bring out is found."""
    found = client.post("/retrieve", json={"question": "What is the vault's code word?"})
    assert SECRET_TEXT in [passage["text"] for passage in found.get_json()["passages"]]


def test_fields_when_nothing_is_attacked(client: FlaskClient) -> None:
    """Every field of the attacks exists: none is refused as unknown, which would prove nothing."""
    honest = {
        "mode": "text",
        "limit": "7",
        "updated_from": "2026-01-31T12:00:00Z",
        "list limit": "7",
        "list state": "ready",
        "document id": "00000000-0000-0000-0000-000000000001",
        "text start": "7",
    }
    answers = {field: send(client, field, honest.get(field, "team")) for field in _FIELDS}
    statuses = {field: status for field, (status, _) in answers.items() if status != 200}
    assert statuses == {"limit": 400, "list cursor": 400, "document id": 404, "text start": 404}
    assert "whole number" in answers["limit"][1]
    assert "cursor" in answers["list cursor"][1]
