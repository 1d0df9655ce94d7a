"""Questions that one search does not answer: searched for in parts, and in rounds by Gemini."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from functions.query.settings import QuerySettings
from local.roles import make_login
from shared import store
from shared.embedding.embedder import Embedder
from tests.conftest import create_database, open_connection
from tests.support.asking import index_document, make_client, open_gemini
from tests.support.gemini_stand_in import (
    UNAVAILABLE,
    GeminiStandIn,
    Scenario,
    gemini_stand_in,
    prompt_of,
    quote_first_passage,
)

MAKERS = {
    "Zephyr": "Aldermoor Works",
    "Borealis": "Quintrell Foundry",
    "Cascade": "Hexley Brothers",
    "Drummond": "Vantor Industrial",
    "Everglade": "Ostrava Precision",
}
OTHERS = ["Kestrel Mills", "Norwood Tools", "Palmer Castings", "Redfern Pipes", "Selby Motors"]
# Those of the others are asked for by nothing, and look alike.
FOUNDED = {name: 1871 + 7 * number for number, name in enumerate([*MAKERS.values(), *OTHERS])}
QUESTION = "In which year was the company that makes the {} pump founded?"


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture(scope="module")
def settings(
    postgres_url: str, template_database: str, model_dir: Path, embedder: Embedder
) -> QuerySettings:
    url = create_database(postgres_url, template=template_database)
    with open_connection(make_login(url, group="kaydang_worker")) as connection:
        for pump, maker in MAKERS.items():
            text = f"The {pump} pump is made by {maker}. It moves forty litres a minute."
            index_document(connection, embedder, f"pumps/{pump}.txt", [text])
        for name, year in FOUNDED.items():
            text = f"{name} opened its doors in {year} with nine workers and one lathe."
            index_document(connection, embedder, f"companies/{name}.txt", [text])
        for number in range(8):
            text = f"Each pump of series {number} comes with a manual and a year of warranty."
            index_document(connection, embedder, f"series/{number}.txt", [text])
        for language, text in {
            "Lisbon": "The office in Lisbon closes at five o'clock on Fridays.",
            "Leeds": "The warehouse in Leeds holds four thousand pallets.",
        }.items():
            index_document(connection, embedder, f"places/{language}.txt", [text])
    return QuerySettings.model_validate(
        {"database_url": make_login(url, group="kaydang_query"), "model_dir": model_dir}
    )


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


def plan_as_a_model_does(request: dict[str, Any]) -> list[str]:
    """Ask for the company once a passage names it; answer once nothing is missing."""
    prompt = prompt_of(request)
    if "Searched for: " not in prompt:
        return quote_first_passage(request)
    pump = re.search(r"the (\w+) pump", prompt.rpartition("Question: ")[2])
    maker = re.search(rf"{pump and pump[1]} pump is made by ([\w ]+)\.", prompt)
    if maker is None or f"{maker[1]} opened" in prompt:
        return [json.dumps({"queries": []})]
    return [json.dumps({"queries": [f"When did {maker[1]} open its doors?"]})]


def ask(client: FlaskClient, question: str, **more: Any) -> dict[str, Any]:
    response = client.post("/query", json={"question": question, "limit": 3, **more})
    assert response.status_code == 200, response.get_json()
    body: dict[str, Any] = response.get_json()
    return body


def found(body: dict[str, Any]) -> set[str]:
    return {passage["name"] for passage in body["passages"]}


def test_questions_of_two_documents_when_gemini_looks_again(
    client: FlaskClient, stand_in: GeminiStandIn
) -> None:
    """A second round finds what the first one only makes known: in all of them, not in a few."""
    stand_in.plan(Scenario(pieces=plan_as_a_model_does))
    both = dict.fromkeys(("low", "medium"), 0)
    for pump, maker in MAKERS.items():
        needed = {f"pumps/{pump}.txt", f"companies/{maker}.txt"}
        for effort in both:
            body = ask(client, QUESTION.format(pump), effort=effort)
            both[effort] += needed <= found(body)
    assert both["medium"] == len(MAKERS)
    assert both["low"] <= len(MAKERS) - 2


def test_steps_when_they_are_traced(client: FlaskClient, stand_in: GeminiStandIn) -> None:
    """Each search is told, with what it found that was new; its tokens are counted."""
    stand_in.plan(Scenario(pieces=plan_as_a_model_does))
    body = ask(client, QUESTION.format("Zephyr"), effort="medium", trace=True)
    steps = body["trace"]["research"]
    assert [step["question"] for step in steps] == [
        QUESTION.format("Zephyr"),
        "When did Aldermoor Works open its doors?",
    ]
    assert steps[1]["new"] >= 1
    # Two plans, the second of which ends the search, and the answer.
    assert body["usage"]["calls"] == 3
    stand_in.plan(Scenario(pieces=plan_as_a_model_does))
    stream = client.post(
        "/query",
        json={"question": QUESTION.format("Zephyr"), "limit": 3, "effort": "medium"},
        headers={"Accept": "text/event-stream"},
    ).get_data(as_text=True)
    events = re.findall(r"^event: (\w+)$", stream, re.MULTILINE)
    assert events[:3] == ["step", "step", "passages"]


def test_rounds_when_gemini_fails(client: FlaskClient, stand_in: GeminiStandIn) -> None:
    """Without a plan the first search answers."""
    stand_in.plan(UNAVAILABLE, Scenario(pieces=quote_first_passage))
    body = ask(client, QUESTION.format("Zephyr"), effort="medium")
    assert body["grounded"]
    assert "pumps/Zephyr.txt" in found(body)


def test_rounds_when_gemini_never_has_enough(client: FlaskClient, stand_in: GeminiStandIn) -> None:
    """The rounds are bounded, whatever a model or a document that it obeys asks for."""

    def ask_for_more(request: dict[str, Any]) -> list[str]:
        if "Searched for: " not in prompt_of(request):
            return quote_first_passage(request)
        number = len(stand_in.requests)
        return [json.dumps({"queries": [f"What is series {number} {i}?" for i in range(50)]})]

    stand_in.plan(Scenario(pieces=ask_for_more))
    body = ask(client, QUESTION.format("Zephyr"), effort="medium", trace=True)
    assert body["usage"]["calls"] <= 3
    assert len(body["trace"]["research"]) <= 7


def test_parts_when_there_is_no_gemini(
    settings: QuerySettings, pool: store.Pool, embedder: Embedder
) -> None:
    """Each part of a question gets passages of its own."""
    client = make_client(settings, pool=pool, embedder=embedder)
    body = ask(
        client,
        "When does the office in Lisbon close, and how many pallets are in the Leeds warehouse?",
        limit=2,
    )
    assert found(body) == {"places/Lisbon.txt", "places/Leeds.txt"}
