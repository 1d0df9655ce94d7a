"""OpenAI's chat interface, asked by OpenAI's own client; Gemini is a stand-in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from functions.query.answering.generation import Gemini
from functions.query.settings import QuerySettings
from shared import store
from shared.embedding.embedder import Embedder
from shared.store import Connection, Pool
from tests.support import gemini_stand_in as stand_ins
from tests.support.asking import index_document, make_client, open_gemini
from tests.support.gemini_stand_in import GeminiStandIn, gemini_stand_in
from tests.support.serving import serving

TOWERS = [
    "The Eiffel Tower stands in Paris. It was finished in 1889 by the company of Gustave Eiffel.",
    "The Brandenburg Gate stands in Berlin. It was built by Carl Gotthard Langhans.",
]
ASKED: Any = [{"role": "user", "content": "When was the Eiffel Tower finished?"}]
Ask = Callable[..., openai.OpenAI]


@pytest.fixture
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        yield running


@pytest.fixture
def gemini(stand_in: GeminiStandIn) -> Iterator[Gemini]:
    with open_gemini(stand_in.url) as opened:
        yield opened


@pytest.fixture
def client_with(
    database_url: str, model_dir: Path, pool: Pool, connection: Connection, embedder: Embedder
) -> Iterator[Ask]:
    """Return a maker of OpenAI clients of a service over two documents in two collections."""
    index_document(connection, embedder, "guides/towers.txt", TOWERS)
    index_document(connection, embedder, "finance/towers.txt", ["The Eiffel Tower cost 8 million."])
    with ExitStack() as stack:

        def make(
            *, gemini: Gemini | None = None, key: str = "any", **settings: Any
        ) -> openai.OpenAI:
            fields: dict[str, Any] = {"database_url": database_url, "model_dir": model_dir}
            flask = make_client(
                QuerySettings(**fields | settings), pool=pool, embedder=embedder, gemini=gemini
            )
            url = stack.enter_context(serving(flask.application))
            client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
            return stack.enter_context(client)

        yield make


def test_answer_when_asked_whole(client_with: Ask) -> None:
    """The answer comes with marks, annotations of their places, and definitions below the text."""
    client = client_with()
    completion = client.chat.completions.create(model="kaydangpt", messages=ASKED, temperature=0.2)
    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "stop"
    assert message.content is not None
    assert "1889" in message.content
    assert message.annotations
    citation = message.annotations[0].url_citation
    assert message.content[citation.start_index : citation.end_index].startswith("[")
    assert citation.title == "guides/towers.txt, page 1"
    assert "/documents/" in citation.url
    assert f']: {citation.url} "guides/towers.txt, page 1"' in message.content
    assert completion.model_extra is not None
    assert completion.model_extra["kaydangpt"]["grounded"] is True


def test_answer_when_streamed(client_with: Ask, gemini: Gemini) -> None:
    """The pieces joined are the whole answer; citations and tokens come at the end."""
    client = client_with(gemini=gemini)
    chunks = list(
        client.chat.completions.create(
            model="kaydangpt",
            messages=ASKED,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    text = "".join(delta.content or "" for delta in deltas)
    assert text.startswith("The Eiffel Tower stands in Paris. [1]")
    assert "]: http://" in text
    assert (deltas[-2].model_extra or {})["annotations"]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 120


def test_answer_when_it_follows_up(client_with: Ask) -> None:
    """The messages before the last are the conversation; what this service added is left out."""
    messages: Any = [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": [{"type": "text", "text": "Where is the Brandenburg Gate?"}]},
        {"role": "assistant", "content": 'In Berlin [1].\n\n[1]: http://x/documents/1 "a.txt"'},
        {"role": "user", "content": "Who built it?"},
    ]
    completion = client_with().chat.completions.create(model="kaydangpt", messages=messages)
    assert "Langhans" in (completion.choices[0].message.content or "")


def test_answer_when_gemini_fails(
    client_with: Ask, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """Before its first word sentences of the passages answer; after it an error ends the stream."""
    client = client_with(gemini=gemini)
    stand_in.plan(stand_ins.UNAVAILABLE, stand_ins.UNAVAILABLE, stand_ins.CUT)
    whole = client.chat.completions.create(model="kaydangpt", messages=ASKED)
    assert "1889" in (whole.choices[0].message.content or "")
    assert (whole.model_extra or {})["kaydangpt"]["degraded"]

    def stream() -> str:
        chunks = client.chat.completions.create(model="kaydangpt", messages=ASKED, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert "1889" in stream()
    with pytest.raises(openai.APIError):
        stream()


def test_models_when_listed(client_with: Ask) -> None:
    """Each collection is a model; an answer of one knows nothing of the others."""
    client = client_with()
    names = [model.id for model in client.models.list()]
    assert names == ["kaydangpt", "kaydangpt/finance", "kaydangpt/guides"]
    assert client.models.retrieve("kaydangpt/finance").id == "kaydangpt/finance"
    completion = client.chat.completions.create(model="kaydangpt/finance", messages=ASKED)
    extra = completion.model_extra or {}
    assert {each["name"] for each in extra["kaydangpt"]["citations"]} <= {"finance/towers.txt"}
    filtered = client.chat.completions.create(
        model="kaydangpt", messages=ASKED, extra_body={"filter": {"collection": "nowhere"}}
    )
    assert (filtered.model_extra or {})["kaydangpt"]["grounded"] is False


def test_errors_when_a_request_is_wrong(client_with: Ask) -> None:
    """OpenAI's client finds status, code and field of an error."""
    client = client_with()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert unknown.value.code == "unknown_model"
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(
            model="kaydangpt", messages=[{"role": "system", "content": "x"}]
        )
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="kaydangpt", messages=[{"role": "user", "content": "x" * 4_001}]
        )


def test_keys_when_set(client_with: Ask, connection: Connection) -> None:
    """A key is sent as OpenAI's client sends it, and shows what was granted to it."""
    store.set_collection(connection, "finance", closed=True)
    digest = hashlib.sha256(b"right").hexdigest()
    client = client_with(api_keys=[digest], key="right")
    assert [model.id for model in client.models.list()] == ["kaydangpt", "kaydangpt/guides"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("kaydangpt/finance")
    with pytest.raises(openai.AuthenticationError):
        client_with(api_keys=[digest], key="wrong").models.list()
