"""A model that makes each kind of mistake, and `kaydangpt evaluate`, which finds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from flask.testing import FlaskClient
from pgvector.psycopg import register_vector

from admin.answer_evaluation import ask_all, compare, grade_all, has_dropped, read_questions
from admin.answer_grading import FAULTS, Grade
from admin.answer_history import keep_run, read_runs, render
from admin.answer_judging import judge_all
from admin.model_calls import ModelCalls
from admin.question_making import Made, make_questions
from functions.query.settings import QuerySettings
from shared import store
from shared.embedding.embedder import Embedder
from shared.gemini.client import GeminiClient
from shared.settings import GeminiSettings
from shared.store.connection import connection_arguments
from tests.conftest import create_database
from tests.support.asking import index_document, make_client, open_gemini
from tests.support.gemini_stand_in import (
    BLOCKED,
    UNAVAILABLE,
    GeminiStandIn,
    Scenario,
    gemini_stand_in,
    prompt_of,
)

GATE = "The gate code of building seven is QX-7714, and its guard is called Mirabel."
CRANE = "Crane nine lifts forty tonnes. Its driver sits in a red cabin above the quay."
LEAVE = "Employees have thirty days of leave. The leave of one year ends in March of the next."
QUESTIONS: list[dict[str, Any]] = [
    {
        "id": "gate",
        "question": "What is the gate code of building seven, and who is its guard?",
        "gold": [["QX-7714"], ["Mirabel"]],
        "passages": [GATE],
    },
    {"id": "sea", "question": "What does the gate of building seven weigh?", "gold": None},
]


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture(scope="module")
def settings(
    postgres_url: str, template_database: str, model_dir: Path, embedder: Embedder
) -> QuerySettings:
    url = create_database(postgres_url, template=template_database)
    settings = QuerySettings.model_validate({"database_url": url, "model_dir": model_dir})
    with psycopg.connect(url, **connection_arguments(settings)) as connection:
        register_vector(connection)
        for name, text in (("gate.txt", GATE), ("crane.txt", CRANE), ("leave.txt", LEAVE)):
            index_document(connection, embedder, name, [f"{text} {'It is so. ' * 8}"])
    return settings


@pytest.fixture(scope="module")
def pool(settings: QuerySettings) -> Iterator[store.Pool]:
    with store.open_pool(settings) as pool:
        yield pool


@pytest.fixture
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        yield running


@pytest.fixture
def client(
    settings: QuerySettings, pool: store.Pool, embedder: Embedder, stand_in: GeminiStandIn
) -> Iterator[FlaskClient]:
    with open_gemini(stand_in.url) as gemini:
        yield make_client(settings, pool=pool, embedder=embedder, gemini=gemini)


def says(answer: str, quotes: Mapping[str, str], *, grounded: bool = True) -> Scenario:
    """
    Answer with quotes of documents, whichever passages they are.

    Args:
        answer: Its marks are names of documents: [gate].
        quotes: By document.
    """

    def pieces(request: dict[str, Any]) -> Sequence[str]:
        numbers: dict[str, int] = {}
        for part in prompt_of(request).split("BEGIN PASSAGE ")[1:]:
            number, _, rest = part.partition("\n")
            numbers[rest.partition("Document: ")[2].partition(".txt")[0]] = int(number)
        text = answer
        for name, place in numbers.items():
            text = text.replace(f"[{name}]", f"[{place}]")
        given = [
            {"passage": numbers[name], "quote": quote}
            for name, quote in quotes.items()
            if name in numbers
        ]
        return [json.dumps({"grounded": grounded, "answer": text, "quotes": given})]

    return Scenario(pieces=pieces)


GOOD = says(
    "The gate code of building seven is QX-7714, and its guard is called Mirabel [gate].",
    {"gate": GATE},
)
REFUSES = says("The documents do not answer this.", {}, grounded=False)


def evaluate(client: FlaskClient, folder: Path) -> tuple[list[Any], list[Grade]]:
    """Return what was asked, and the grades, as evaluate --answers has them."""
    file = folder / "set.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in QUESTIONS))

    def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        response = client.post("/query", json=dict(body))
        reply: Mapping[str, Any] = response.get_json()
        return reply

    asked = ask_all(read_questions(file), ask, prefix="")
    return asked, grade_all(asked)


def test_a_good_model(client: FlaskClient, stand_in: GeminiStandIn, tmp_path: Path) -> None:
    """An answer as it should be has no fault."""
    stand_in.plan(GOOD, REFUSES)
    _, (gate, nothing) = evaluate(client, tmp_path)
    assert (gate.verdict, gate.clean, gate.verified, gate.faults) == ("right", True, 1.0, ())
    assert (nothing.verdict, nothing.faults) == ("refused", ())


PLANTED = {
    "wrong": says("It is the gate code of building seven [gate].", {"gate": GATE}),
    "part missing": says(
        "The gate code of building seven is QX-7714 [gate].",
        {"gate": "The gate code of building seven is QX-7714"},
    ),
    "refused wrongly": REFUSES,
    "quote not verified": says(
        "The gate code of building seven is QX-7714, and its guard is called Mirabel [gate]."
        " Crane nine lifts forty tonnes [crane].",
        {"gate": GATE, "crane": "Crane nine lifts ninety tonnes"},
    ),
    "foreign text": says(
        "The gate code of building seven is QX-7714, and its guard is called Mirabel [gate]."
        " Crane nine lifts forty tonnes [crane]. Its driver sits in a red cabin above the quay"
        " [crane]. Employees have thirty days of leave [leave].",
        {"gate": GATE, "crane": CRANE, "leave": "Employees have thirty days of leave."},
    ),
    "begins badly": says(
        "of building seven is QX-7714, and its guard is called Mirabel [gate].", {"gate": GATE}
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_mistake_is_found(
    client: FlaskClient, stand_in: GeminiStandIn, tmp_path: Path, fault: str
) -> None:
    """Each kind of mistake is named for what it is."""
    stand_in.plan(PLANTED[fault], REFUSES)
    _, (gate, nothing) = evaluate(client, tmp_path)
    assert fault in gate.faults
    assert nothing.faults == ()


def test_an_answer_to_what_nothing_answers_is_found(
    client: FlaskClient, stand_in: GeminiStandIn, tmp_path: Path
) -> None:
    stand_in.plan(GOOD, says("The gate is heavy [gate].", {"gate": "The gate code"}))
    _, (_, nothing) = evaluate(client, tmp_path)
    assert (nothing.verdict, nothing.faults) == ("answered", ("answered wrongly",))


def test_every_kind_is_planted() -> None:
    """What evaluate can name is planted above; a model that fails is a test of its own."""
    assert {*PLANTED, "answered wrongly", "failed"} == set(FAULTS)


# The judge


MakeCalls = Callable[..., ModelCalls]


@pytest.fixture
def make_calls(stand_in: GeminiStandIn, tmp_path: Path) -> Iterator[MakeCalls]:
    opened: list[ModelCalls] = []

    def make(*, keep: bool = True) -> ModelCalls:
        settings = GeminiSettings.model_validate(
            {"gemini_api_key": "key", "google_gemini_base_url": stand_in.url}
        )
        calls = ModelCalls(
            GeminiClient(settings, attempts=1),
            timeout_seconds=5.0,
            folder=tmp_path / "judged" if keep else None,
        )
        opened.append(calls)
        return calls

    yield make
    for calls in opened:
        calls.close()


def grades_of_judge(correct: object = 2, **more: object) -> Scenario:
    values = {"reason": "as it should be", "correct": correct, "complete": 1, "supported": 2}
    return Scenario(pieces=[json.dumps(values | more)])


def test_judge_beside_the_other_figures(
    client: FlaskClient, stand_in: GeminiStandIn, make_calls: MakeCalls, tmp_path: Path
) -> None:
    """The judge's shares stand beside the verdict; the second run pays nothing."""
    stand_in.plan(GOOD, REFUSES)
    asked, grades = evaluate(client, tmp_path)
    stand_in.plan(grades_of_judge())
    calls = make_calls()
    judged = judge_all(asked, grades, calls)
    assert [each.verdict for each in judged] == ["right", "refused"]
    assert (judged[0].judged_correct, judged[0].judged_complete) == (1.0, 0.5)
    assert judged[0].judged_reason == "as it should be"
    assert (calls.usage.calls, calls.usage.total_tokens) == (2, 240)
    prompt = prompt_of(stand_in.requests[0])
    assert "- QX-7714" in prompt
    assert GATE in prompt
    assert "BEGIN RIGHT ANSWER\nnothing" in prompt_of(stand_in.requests[1])
    again = make_calls()
    assert judge_all(asked, grades, again) == judged
    assert (again.kept, again.usage.calls) == (2, 0)


@pytest.mark.parametrize(
    "scenario",
    [BLOCKED, grades_of_judge(3), grades_of_judge("2"), Scenario(pieces=["no JSON"])],
    ids=["refuses", "out of range", "no number", "no JSON"],
)
def test_a_judge_that_does_not_judge(
    client: FlaskClient,
    stand_in: GeminiStandIn,
    make_calls: MakeCalls,
    tmp_path: Path,
    scenario: Scenario,
) -> None:
    """An answer that the judge does not grade has no grade of the judge, and no invented one."""
    stand_in.plan(GOOD, REFUSES)
    asked, grades = evaluate(client, tmp_path)
    stand_in.plan(scenario)
    assert judge_all(asked, grades, make_calls()) == grades


def test_a_judge_that_is_away(
    client: FlaskClient, stand_in: GeminiStandIn, make_calls: MakeCalls, tmp_path: Path
) -> None:
    stand_in.plan(GOOD, REFUSES)
    asked, grades = evaluate(client, tmp_path)
    stand_in.plan(UNAVAILABLE)
    with pytest.raises(click.ClickException, match="What was judged so far is kept"):
        judge_all(asked, grades, make_calls())


# Questions from the documents


def make(
    pool: store.Pool, embedder: Embedder, calls: ModelCalls, *, count: int, limit: int = 9
) -> Made:
    with store.connect(pool) as connection:
        chunks = store.sample_chunks(connection, prefix="", limit=limit)
    assert {chunk.name for chunk in chunks} == {"gate.txt", "crane.txt", "leave.txt"}
    return make_questions(iter(chunks), calls, embedder.embed_documents, count=count)


def asks(question: str, quote: str = "", gold: Sequence[str] = ()) -> Scenario:
    return Scenario(pieces=[json.dumps({"question": question, "quote": quote, "gold": list(gold)})])


def from_the_passage(request: dict[str, Any]) -> list[str]:
    """Ask for the first sentence of the passage, as a good model might."""
    passage = prompt_of(request).partition("BEGIN PASSAGE\n")[2]
    quote = next(text.split(". ")[0] for text in (GATE, CRANE, LEAVE) if text[:20] in passage)
    return [
        json.dumps({"question": "What is said there?", "quote": quote, "gold": [quote.split()[-1]]})
    ]


def test_questions_from_documents(
    pool: store.Pool,
    embedder: Embedder,
    stand_in: GeminiStandIn,
    make_calls: MakeCalls,
    tmp_path: Path,
) -> None:
    """Quotes are looked up in the passage, repeated questions name what they repeat."""
    stand_in.plan(Scenario(pieces=from_the_passage))
    made = make(pool, embedder, make_calls(keep=False), count=3)
    assert len(made.lines) == 3
    for line in made.lines:
        text = {"gate.txt": GATE, "crane.txt": CRANE, "leave.txt": LEAVE}[line["document"]]
        assert text[line["char_start"] : line["char_end"]] == line["passages"][0]
    assert [line.get("near_duplicate_of") for line in made.lines] == [None, "made-1", "made-1"]
    file = tmp_path / "made.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in made.lines))
    assert len(read_questions(file)) == 3


def test_invented_questions_are_thrown_away(
    pool: store.Pool, embedder: Embedder, stand_in: GeminiStandIn, make_calls: MakeCalls
) -> None:
    """A model invents; what does not stand in the passage is counted and never in a set."""
    stand_in.plan(
        asks("What is it?", "The gate code of building seven is QX-7715", ["QX-7715"]),
        Scenario(pieces=["no JSON"]),
        asks(""),
    )
    made = make(pool, embedder, make_calls(keep=False), count=2)
    assert made.lines == []
    assert made.thrown_away == {"quote not in the passage": 1, "no reply": 1, "no question": 1}


@pytest.mark.parametrize(
    ("quote", "gold", "question", "fault"),
    [
        ("thirty days of leave", ["forty"], "How many days?", "gold not in the quote"),
        ("thirty days of leave", [], "How many days?", "gold not in the quote"),
        ("thirty days of leave", ["thirty"], "Is it thirty days?", "question holds its answer"),
        ("Thirty Days", ["Thirty"], "How many days?", "quote not in the passage"),
        ("thirty days", ["thirty"], "x" * 500, "question too long"),
    ],
)
def test_a_question_that_cannot_be_used(
    pool: store.Pool,
    embedder: Embedder,
    stand_in: GeminiStandIn,
    make_calls: MakeCalls,
    quote: str,
    gold: list[str],
    question: str,
    fault: str,
) -> None:
    stand_in.plan(asks(question, quote, gold))
    made = make(pool, embedder, make_calls(keep=False), count=1)
    assert made.lines == []
    assert fault in made.thrown_away


# Over time


def run_of(right: int, questions: int = 40) -> list[Grade]:
    return [
        Grade(str(at), "fact", "en", "right" if at < right else "wrong", clean=at < right)
        for at in range(questions)
    ]


def test_a_drop_is_told_from_chance() -> None:
    """A quarter fewer right answers are a drop, one fewer is chance."""
    earlier = {"answers": [{**_as_dict(each), "later_field": 1} for each in run_of(30)]}
    assert has_dropped(compare(run_of(20), earlier))
    assert not has_dropped(compare(run_of(29), earlier))
    assert not has_dropped(compare(run_of(38), earlier))


def _as_dict(grade: Grade) -> dict[str, Any]:
    return {name: getattr(grade, name) for name in ("id", "kind", "language", "verdict", "clean")}


def test_a_page_over_time(tmp_path: Path) -> None:
    """Kept runs become a table and a chart, oldest first, each set by itself."""
    for number, right in enumerate((20, 30)):
        answers = [_as_dict(each) | {"verified": 1.0} for each in run_of(right)]
        results = {"set": "hand<book>", "release": "0.1.0", "answers": answers}
        kept = keep_run(results | {"set": f"run{number}"}, tmp_path / "scratch")
        text = json.loads(kept.read_text()) | {"set": "hand<book>", "at": f"2026-11-0{number + 1}"}
        (tmp_path / f"{number}.json").write_text(json.dumps(text))
    runs = read_runs(tmp_path)
    assert [run.shares["right"] for run in runs] == [0.5, 0.75]
    table = render(runs, kind="md")
    assert "| 2026-11-01 | 0.1.0 | 40 | 0.500 | 0.500 | 0.500 | 1.000 |" in table
    page = render(runs, kind="html")
    assert "<svg" in page
    assert "hand&lt;book&gt;" in page
    assert render(runs, kind="svg").count("<circle") == 8
    with pytest.raises(click.ClickException, match="holds no results"):
        read_runs(tmp_path / "none")
