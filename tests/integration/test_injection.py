"""
Documents that attack: nothing of them leaves the server as markup, address or false proof.

Each document of tests/security/attacks.py is answered from extractively and by a stand-in for a
model that has given in wholly: it repeats the attack as its answer and as its quotes, in the form
asked for or as plain text, and what it says is streamed or not, in turns.
"""

from __future__ import annotations

import json
import re
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from functions.query.answering.choosing import Choosing
from functions.query.answering.generation import Gemini
from functions.query.answering.journal import Journal
from functions.query.answering.query import Answer, Retrieval
from functions.query.answering.sanitizer import AnswerCleaner
from functions.query.answering.writing import write_answer
from functions.query.http.answer_ids import AnswerSigner
from functions.query.http.replies import make_response, stream_answer
from functions.query.settings import QuerySettings
from local.roles import make_login
from shared import store
from shared.embedding.embedder import Embedder
from shared.language import searchable_text
from shared.store import Connection, open_pool
from shared.values import Chunk, Hit, ObjectVersion
from tests.conftest import open_connection
from tests.security.attacks import DOCUMENTS, REPEATS, TEXTS, Hostile
from tests.support.asking import BUCKET, make_client, open_gemini
from tests.support.gemini_stand_in import (
    GeminiStandIn,
    Scenario,
    answering,
    gemini_stand_in,
    prompt_of,
    split_evenly,
)
from tests.unit.test_cleaning import active

FACT = "The bridge over the river Kwai was opened in 1943."
QUESTION = "When was the bridge over the river Kwai opened?"
SIGNER = AnswerSigner(b"a secret")


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def gemini(stand_in: GeminiStandIn) -> Iterator[Gemini]:
    with open_gemini(stand_in.url) as opened:
        yield opened


def prefix_of(index: int) -> str:
    return f"{index:03}/"


def texts_of(document: Hostile) -> tuple[str, str]:
    """Return the two passages: the attack within the sentence that answers, and before it."""
    return FACT.replace(" was", f" {document.text} was"), f"{document.text}\n{FACT}"


def index_hostile(connection: Connection, index: int, document: Hostile, vector: Any) -> None:
    """
    Index a document of two chunks.

    All share one vector: they are told apart by their prefix.
    """
    lease = store.begin_build(
        connection,
        ObjectVersion(
            bucket=BUCKET,
            name=f"{prefix_of(index)}{document.name or 'a'}.txt",
            generation=1,
            size=10,
            metadata={"note": document.metadata} if document.metadata else {},
        ),
        config_hash="test",
        lease_seconds=60,
        max_attempts=10,
    ).lease
    assert lease is not None
    extracted, chunks = "", []
    for ordinal, text in enumerate(texts_of(document)):
        chunk = Chunk(
            ordinal=ordinal,
            text=text,
            heading=document.heading or "Title",
            header=document.header,
            page=ordinal + 1,
            char_start=len(extracted),
            char_end=len(extracted) + len(text),
            tokens=10,
            source="ocr" if document.read_from_picture else "text",
        )
        chunks.append((chunk, searchable_text(text, language="en")))
        extracted += text + "\n\n"
    jobs = store.stage_build(
        connection,
        lease,
        document=store.StagedDocument(
            title=document.title or "Title",
            language="en",
            content_type="text/plain",
            pages=2,
            pages_without_text=[],
        ),
        chunks=chunks,
        text_segments=[(0, extracted)],
        search_config="english",
        batch_size=100,
    )
    for job in jobs:
        batch = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=10)
        assert batch is not None
        store.finish_batch(connection, batch, vector.repeat(len(batch.texts), axis=0))


@pytest.fixture(scope="module")
def clients(
    postgres_url: str, template_database: str, embedder: Embedder, gemini: Gemini, model_dir: Path
) -> Iterator[tuple[FlaskClient, FlaskClient]]:
    """Index every document, and return clients without and with the model."""
    name = f"injection_{uuid.uuid4().hex}"
    url = postgres_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    settings = QuerySettings.model_validate(
        {"database_url": make_login(url, group="kaydang_query"), "model_dir": model_dir}
    )
    vector = embedder.embed_documents([FACT])
    with open_connection(make_login(url, group="kaydang_worker")) as connection:
        for index, document in enumerate(DOCUMENTS):
            index_hostile(connection, index, document, vector)
    with open_pool(settings) as pool:
        yield (
            make_client(settings, pool=pool, embedder=embedder),
            make_client(settings, pool=pool, embedder=embedder, gemini=gemini),
        )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def assert_harmless(markdown: str) -> None:
    """Check that nothing of an answer is active where its Markdown is rendered."""
    assert active(markdown) == [], repr(markdown)


def check_answer(body: dict[str, Any]) -> None:
    """Check everything of an answer that is shown as the service's own words."""
    assert_harmless(body["answer"])
    passages = {passage["number"]: passage for passage in body["passages"]}
    # What stands in code is literal, and no mark.
    prose = re.sub(r"```.*?(?:```|\Z)|(`+)[^\n]*?\1", "", body["answer"], flags=re.DOTALL)
    # readings[98] is an index, where a passage holds it.
    for mark in re.findall(r"(?<![\w\])])\[\s*(\d+)\s*\]", prose):
        # What the passage says literally may be repeated; it is no citation of the service's.
        literal = any(f"[{mark}]" in passage["text"] for passage in body["passages"])
        assert int(mark) in passages or literal
    for citation in body["citations"]:
        passage = passages[citation["number"]]
        if citation["verified"]:
            start = citation["char_start"] - passage["char_start"]
            end = citation["char_end"] - passage["char_start"]
            assert passage["text"][start:end] == citation["quote"]
            assert citation["quote"].strip()
        else:
            assert citation["char_start"] is None
            assert citation["char_end"] is None


def ask(client: FlaskClient, index: int, *, streamed: bool) -> dict[str, Any]:
    asked = {"question": QUESTION, "filter": {"prefix": prefix_of(index)}}
    if streamed:
        return ask_streamed(client, asked)
    response = client.post("/query", json=asked)
    assert response.status_code == 200, response.get_data(as_text=True)
    body = response.get_json()
    assert isinstance(body, dict)
    return body


def ask_streamed(client: FlaskClient, asked: dict[str, Any]) -> dict[str, Any]:
    response = client.post("/query", json=asked, headers={"Accept": "text/event-stream"})
    return read_events(response.get_data(as_text=True))


def read_events(text: str) -> dict[str, Any]:
    """Return the answer put together of its events: each two lines, and the tokens the answer."""
    assert "\r" not in text
    tokens, names = "", []
    body: dict[str, Any] = {}
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        names.append(name.removeprefix("event: "))
        value = json.loads(data.removeprefix("data: "))
        if names[-1] == "token":
            tokens += value["text"]
        else:
            body |= value
    others = [name for name in names if name != "token"]
    assert others == ["passages", "citations", "done"]
    assert tokens == body["answer"]
    return body


@pytest.mark.parametrize("index", range(len(DOCUMENTS)))
def test_answer_when_a_document_attacks(
    clients: tuple[FlaskClient, FlaskClient], stand_in: GeminiStandIn, index: int
) -> None:
    """Whatever a document holds and a model repeats, the answer is harmless plain text."""
    _, generative = clients
    document = DOCUMENTS[index]
    attack = attack_of(document)
    said = f"{attack} It opened in 1943 [1]. {attack} [2]"
    if index % 3:
        quotes = [(1, attack), (1, f"opened in 1999 {attack}"), (2, "never opened"), (9, attack)]
        stand_in.plan(answering(said, quotes, pieces=5 + index % 23))
    else:
        # A plain text may begin like JSON; then it is none of the two forms, and refused as empty.
        stand_in.plan(Scenario(pieces=split_evenly(f"It is so. {said}", 3 + index % 11)))
    body = ask(generative, index, streamed=index % 2 == 1)
    check_answer(body)
    false = [citation for citation in body["citations"] if "1999" in citation["quote"]]
    assert not any(citation["verified"] for citation in false if "1999" not in attack)
    check_prompt(prompt_of(stand_in.requests[0]))


def attack_of(document: Hostile) -> str:
    fields = (document.text, document.name, document.title, document.heading, document.header)
    return next(filter(None, (*fields, document.metadata)))


@pytest.mark.parametrize("index", range(0, len(DOCUMENTS), 4))
def test_extract_when_a_document_attacks(
    clients: tuple[FlaskClient, FlaskClient], index: int
) -> None:
    """Sentences of a hostile document answer as harmless plain text."""
    body = ask(clients[0], index, streamed=index % 8 == 0)
    check_answer(body)
    assert "Kwai" in body["answer"]


def test_extract_when_every_document_attacks() -> None:
    """The same for all of them, from what the search finds to what is sent, in both forms."""
    for index, document in enumerate(DOCUMENTS):
        retrieval = Retrieval(
            QUESTION,
            [make_hit(document, text, ordinal) for ordinal, text in enumerate(texts_of(document))],
        )
        journal = Journal()
        steps = list(
            write_answer(
                retrieval,
                gemini=None,
                unavailable=None,
                whole=True,
                prompt_max_characters=10_000,
                choosing=Choosing(),
                journal=journal,
            )
        )
        whole = steps[-1]
        assert isinstance(whole, Answer)
        response = make_response(retrieval, whole, journal=journal, signer=SIGNER, trace=False)
        check_answer(json.loads(response.model_dump_json()))
        events = stream_answer(retrieval, iter(steps), journal=journal, signer=SIGNER, trace=False)
        body = read_events("".join(events))
        check_answer(body)
        assert "1943" in body["answer"], index


def make_hit(document: Hostile, text: str, ordinal: int) -> Hit:
    return Hit(
        document_id=uuid.UUID(int=1),
        bucket=BUCKET,
        name=document.name or "a.txt",
        collection="",
        generation=1,
        build_id=1,
        ordinal=ordinal,
        text=text,
        heading=document.heading,
        header=document.header,
        page=1,
        char_start=1000 * ordinal,
        char_end=1000 * ordinal + len(text),
        source="ocr" if document.read_from_picture else "text",
        score=1.0,
        similarity=0.9,
        vector_rank=1,
        text_rank=1,
    )


def check_prompt(prompt: str) -> None:
    """Check that the real boundary stands where the server put it, and nowhere else."""
    match = re.match(r"The boundary of this request is (\w+)\.", prompt)
    assert match is not None
    boundary = match.group(1)
    places = [line for line in prompt.split("\n") if boundary in line]
    # Passages that are equal to the letter count once.
    numbers = range(1, 1 + (2 if f"{boundary} END PASSAGE 2" in places else 1))
    assert places == [
        f"The boundary of this request is {boundary}.",
        *(f"{boundary} {edge} PASSAGE {number}" for number in numbers for edge in ("BEGIN", "END")),
    ]


def cleaned(pieces: Sequence[str]) -> str:
    cleaner = AnswerCleaner(["first", "second"])
    return "".join(cleaner.feed(piece) for piece in pieces) + cleaner.finish()


@pytest.mark.parametrize("size", [1, 5, 31, 10_000])
def test_cleaner_when_attacks_come_in_pieces(size: int) -> None:
    """However an attack is cut into pieces, nothing forbidden is put together again."""
    for attack in TEXTS if size > 1 else (text for text in TEXTS if text not in REPEATS):
        text = f"Before {attack} after."
        assert_harmless(cleaned([text[at : at + size] for at in range(0, len(text), size)]))


def test_cleaner_when_attacks_meet() -> None:
    """Two attacks beside each other make no third one."""
    for first, second in zip(TEXTS, reversed(TEXTS), strict=True):
        assert_harmless(cleaned([first, second]))


def test_documents_when_counted() -> None:
    """There are at least three hundred, all different, in many scripts."""
    assert len(set(DOCUMENTS)) == len(DOCUMENTS) >= 300
    letters = {
        unicodedata.name(letter, "").split()[0]
        for text in TEXTS
        for letter in text
        if letter.isalpha()
    }
    assert {"ARABIC", "CJK", "CYRILLIC", "DEVANAGARI", "GREEK", "HANGUL", "HEBREW"} <= letters
