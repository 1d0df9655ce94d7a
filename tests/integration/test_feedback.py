"""Ratings of answers, and the questions that are kept: what may be rated, and what is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from admin.answer_evaluation import read_questions
from admin.cli import main
from admin.evaluation import read_set
from functions.query.http.answer_ids import LIFETIME_DAYS, read_answer_id
from functions.query.http.links import Link, write_link
from functions.query.settings import QuerySettings
from shared import store
from shared.embedding.embedder import Embedder
from shared.settings import load
from shared.store import Connection, Pool
from tests.support.asking import index_document, make_client

BRIDGE = "The bridge over the river was opened in 1943."
ASKED = "When was the bridge over the river opened?"
UNKNOWN = "How many moons does Jupiter have?"


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def client_with(
    database_url: str, model_dir: Path, pool: Pool, connection: Connection, embedder: Embedder
) -> Callable[..., FlaskClient]:
    """Return a maker of clients over one document."""
    index_document(connection, embedder, "bridge.txt", [BRIDGE])

    def make(**fields: Any) -> FlaskClient:
        known = {"database_url": database_url, "model_dir": model_dir}
        settings = QuerySettings.model_validate(known | fields)
        return make_client(settings, pool=pool, embedder=embedder)

    return make


def ask(client: FlaskClient, question: str = ASKED) -> dict[str, Any]:
    response = client.post("/query", json={"question": question})
    assert response.status_code == 200
    answer: dict[str, Any] = response.get_json()
    return answer


def rate(client: FlaskClient, answer_id: str, rating: str = "up", **more: Any) -> Any:
    return client.post("/feedback", json={"answer_id": answer_id, "rating": rating} | more)


def test_rating_when_it_comes_again(
    client_with: Callable[..., FlaskClient], connection: Connection
) -> None:
    """An answer counts once, the last rating stands, and neither question nor answer is stored."""
    client = client_with()
    answer = ask(client)
    assert answer["grounded"]
    assert rate(client, answer["answer_id"]).get_json() == {"rating": "up", "replaced": False}
    again = rate(client, answer["answer_id"], "down", comment="It was 1944.")
    assert again.get_json() == {"rating": "down", "replaced": True}
    rows = connection.execute(
        "SELECT rating, comment, grounded, model, documents FROM feedback"
    ).fetchall()
    cited = [citation["document_id"] for citation in answer["citations"]]
    assert [(*row[:4], [str(each) for each in row[4]]) for row in rows] == [
        ("down", "It was 1944.", True, "extractive", list(dict.fromkeys(cited)))
    ]
    assert connection.execute("SELECT FROM kept_questions").fetchall() == []


def test_rating_of_a_streamed_answer(client_with: Callable[..., FlaskClient]) -> None:
    """The event done carries the id, and two answers to one question are two."""
    client = client_with()
    response = client.post(
        "/query", json={"question": ASKED}, headers={"Accept": "text/event-stream"}
    )
    event = response.get_data(as_text=True).split("event: done\ndata: ")[1].splitlines()[0]
    streamed = json.loads(event)["answer_id"]
    assert streamed != ask(client)["answer_id"]
    assert rate(client, streamed).get_json()["replaced"] is False


def test_id_when_it_is_none_of_ours(
    client_with: Callable[..., FlaskClient], owner: Connection, reader: Connection
) -> None:
    """What is changed, made with another secret, made for a link, or too old rates nothing."""
    client = client_with()
    good = ask(client)["answer_id"]
    payload, _, signature = good.partition(".")
    secret = store.read_link_secret(reader)
    link = Link("documents", "bridge.txt", 1, "text/plain", int(time.time()) + 600)
    for wrong in (
        f"{payload[:-4]}AAAA.{signature}",
        f"{payload}.{signature[:-4]}AAAA",
        write_link(link, secret=secret),
        "a.b",
    ):
        response = rate(client, wrong)
        assert response.status_code == 404
        assert response.get_json()["code"] == "unknown_answer"
    assert client.get(f"/originals/{good}").status_code == 403
    late = time.time() + LIFETIME_DAYS * 86_400
    assert read_answer_id(good, secret=secret, now=late - 60) is not None
    assert read_answer_id(good, secret=secret, now=late + 60) is None
    owner.execute("UPDATE link_secret SET secret = DEFAULT")
    assert rate(client, good).status_code == 404
    assert owner.execute("SELECT FROM feedback").fetchall() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rating": "up"}, "answer_id"),
        ({"answer_id": "a.b", "rating": "great"}, "rating"),
        ({"answer_id": "a.b", "rating": "up", "comment": "x" * 1001}, "comment"),
    ],
)
def test_body_when_a_field_is_wrong(
    client_with: Callable[..., FlaskClient], body: dict[str, str], field: str
) -> None:
    """The field is named."""
    response = client_with().post("/feedback", json=body)
    assert response.status_code == 400
    assert response.get_json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("which", "kept"),
    [
        ("none", []),
        ("unanswered", [(UNKNOWN, "refused")]),
        ("all", [(ASKED, "answered"), (UNKNOWN, "refused")]),
    ],
)
def test_questions_when_kept(
    client_with: Callable[..., FlaskClient],
    owner: Connection,
    connection: Connection,
    which: str,
    kept: list[tuple[str, str]],
) -> None:
    """KEEP_QUESTIONS says which are kept; their time ends as KEEP_QUESTIONS_DAYS says."""
    client = client_with(keep_questions=which, keep_questions_days=7)
    ask(client)
    ask(client, UNKNOWN)
    rows = connection.execute("SELECT question, outcome FROM kept_questions ORDER BY asked")
    assert rows.fetchall() == kept
    owner.execute("UPDATE kept_questions SET expires = expires - interval '6 days'")
    store.forget_old(connection, days=90)
    assert connection.execute("SELECT FROM kept_questions").rowcount == len(kept)
    owner.execute("UPDATE kept_questions SET expires = expires - interval '1 day'")
    store.forget_old(connection, days=90)
    assert connection.execute("SELECT FROM kept_questions").rowcount == 0


def test_ratings_when_they_are_old(
    client_with: Callable[..., FlaskClient], owner: Connection, connection: Connection
) -> None:
    """They go with the sweep, and never while an answer can still be rated again."""
    client = client_with()
    for days, rated in ((LIFETIME_DAYS, 1), (100, 0)):
        rate(client, ask(client)["answer_id"])
        owner.execute("UPDATE feedback SET rated = now() - make_interval(days => %s)", [days])
        store.forget_old(connection, days=1)
        assert connection.execute("SELECT FROM feedback").rowcount == rated


def test_query_role_may_only_add(reader: Connection) -> None:
    """It neither reads nor changes what was said, nor who asked what."""
    for statement in (
        "SELECT FROM feedback",
        "SELECT FROM kept_questions",
        "DELETE FROM feedback",
        "INSERT INTO kept_questions (answer_id) VALUES (gen_random_uuid())",
        "SELECT forget_old(90)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(statement.encode())


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs the operator's command on the test's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    load.cache_clear()

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, arguments, prog_name="kaydangpt")
        assert result.exit_code == code, result.output
        return result

    return run


def test_gaps_when_listed(
    client_with: Callable[..., FlaskClient], run: Callable[..., Result], tmp_path: Path
) -> None:
    """Spellings of one question are one; what is answered, or longer ago, is no gap."""
    client = client_with(keep_questions="all")
    for question in (UNKNOWN, UNKNOWN.upper(), "how many  moons does \u2028Jupiter have", ASKED):
        ask(client, question)
    ask(client, "Who painted the Mona Lisa?")
    gaps = json.loads(run("questions", "--unanswered", "--json").stdout)
    assert [(gap["question"].split()[-1], gap["count"]) for gap in gaps] == [
        ("have", 3),
        ("Lisa?", 1),
    ]
    file = tmp_path / "gaps.jsonl"
    assert "Mona Lisa" in run("questions", "--unanswered", "--export", str(file)).stdout
    exported = read_questions(file)
    assert [(each.gold, each.kind) for each in exported] == [(None, "unanswerable")] * 2
    assert exported[0].question == "how many moons does Jupiter have"


def test_good_answers_when_exported(
    client_with: Callable[..., FlaskClient], run: Callable[..., Result], tmp_path: Path
) -> None:
    """What was rated up is a set of questions and documents; without any there is no set."""
    client = client_with(keep_questions="all")
    answer = ask(client)
    file = tmp_path / "good.jsonl"
    assert "nothing to export" in run("questions", "--export", str(file), code=1).stderr
    rate(client, answer["answer_id"])
    run("questions", "--export", str(file))
    (question,) = read_set(file).questions
    assert (question.text, question.gains) == (ASKED, {"bridge.txt": 1.0})


def test_questions_when_none_is_kept(
    client_with: Callable[..., FlaskClient], run: Callable[..., Result]
) -> None:
    """The setting is named; a question whose time is over is no more."""
    client = client_with()
    ask(client, UNKNOWN)
    assert "KEEP_QUESTIONS" in run("questions").stderr
    assert json.loads(run("questions", "--json").stdout) == []


def test_ratings_when_listed(
    client_with: Callable[..., FlaskClient], run: Callable[..., Result]
) -> None:
    """The newest first, with the documents by name; the question only if it is kept."""
    rate(client_with(), ask(client_with())["answer_id"])
    client = client_with(keep_questions="all")
    rate(client, ask(client)["answer_id"], "down", comment="\x1b[31mIt was 1944.")
    listed = json.loads(run("ratings", "--json").stdout)
    assert [
        (each["rating"], each["comment"], each["question"], each["documents"]) for each in listed
    ] == [
        ("down", "[31mIt was 1944.", ASKED, ["bridge.txt"]),
        ("up", "", "", ["bridge.txt"]),
    ]
    assert "\x1b" not in run("ratings").stdout


def test_rating_when_none_are_taken(client_with: Callable[..., FlaskClient]) -> None:
    """FEEDBACK_ENABLED=false: refused, and the page is told not to offer it."""
    client = client_with(feedback_enabled=False)
    assert client.get("/readyz").get_json()["feedback"] is False
    response = rate(client, ask(client)["answer_id"])
    assert (response.status_code, response.get_json()["code"]) == (403, "feedback_disabled")
