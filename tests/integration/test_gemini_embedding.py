"""Vectors by Gemini through the real google-genai client, against a stand-in that fails."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from google.oauth2.credentials import Credentials
from pydantic import SecretStr

from functions.embed_worker.embedding_jobs import Resources, embed_batch
from functions.query.settings import QuerySettings
from infra.model.export import export_model
from shared import store
from shared.embedding.gemini_embedder import GeminiEmbedder
from shared.embedding.tokenizer import read_model_info, read_tokenizer
from shared.errors import (
    EmbeddingUnavailable,
    ExportError,
    Misconfigured,
    RejectedByModel,
)
from shared.runtime.slots import WorkSlots
from shared.settings import GeminiSettings, RetrySettings
from shared.store import Connection, Pool
from shared.store.connection import fetch_one
from tests.support import gemini_stand_in as stand_ins
from tests.support.asking import index_document, make_client, stage_document
from tests.support.gemini_stand_in import (
    GeminiStandIn,
    Scenario,
    embedded_texts,
    embedding_options,
    gemini_stand_in,
)

ANSWERS = Scenario()
TEXTS = ["The pump stops when it is hot.", "Invoices are paid within thirty days."]

MakeEmbedder = Callable[..., GeminiEmbedder]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "gemini-embedding-001"
    assert export_model("gemini-embedding-001", folder)
    return folder


@pytest.fixture
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        running.plan(ANSWERS)
        yield running


@pytest.fixture
def tokens() -> list[int]:
    return []


@pytest.fixture
def make_embedder(
    stand_in: GeminiStandIn, folder: Path, tokens: list[int]
) -> Iterator[MakeEmbedder]:
    with contextlib.ExitStack() as stack:

        def make(folder: Path = folder, **options: object) -> GeminiEmbedder:
            settings = GeminiSettings.model_validate(
                {
                    "gemini_api_key": "test-key",
                    "google_gemini_base_url": stand_in.url,
                    "gemini_timeout_seconds": 3.0,
                }
                | options
            )
            embedder = GeminiEmbedder(folder, settings, count_tokens=tokens.append)
            return stack.enter_context(contextlib.closing(embedder))

        yield make


def test_vectors_when_documents_and_questions(
    stand_in: GeminiStandIn, make_embedder: MakeEmbedder, tokens: list[int]
) -> None:
    """Both have their task type and 768 numbers, are made unit length, and are paid for."""
    embedder = make_embedder()
    vectors = embedder.embed_documents(TEXTS)
    asked = embedder.embed_query("When does the pump stop?")
    assert (vectors.shape, asked.shape) == ((2, 768), (768,))
    assert np.allclose(np.linalg.norm([*vectors, asked], axis=1), 1)
    assert vectors[0] @ asked > vectors[1] @ asked
    documents, question = stand_in.requests
    assert embedded_texts(documents) == TEXTS
    assert embedding_options(documents)["taskType"] == "RETRIEVAL_DOCUMENT"
    assert embedding_options(question)["taskType"] == "RETRIEVAL_QUERY"
    assert embedding_options(question)["outputDimensionality"] == 768
    assert len(tokens) == 2
    assert all(tokens)


def test_vectors_when_the_model_reads_its_task(
    stand_in: GeminiStandIn, make_embedder: MakeEmbedder, tmp_path: Path
) -> None:
    """gemini-embedding-2 takes no task type; each text stays a text of its own."""
    export_model("gemini-embedding-2", tmp_path / "model", dimension=1536)
    embedder = make_embedder(tmp_path / "model")
    assert embedder.embed_documents(TEXTS).shape == (2, 1536)
    embedder.embed_query("When?")
    documents, question = stand_in.requests
    assert embedded_texts(documents) == [f"title: none | text: {text}" for text in TEXTS]
    assert embedded_texts(question) == ["task: search result | query: When?"]
    assert "taskType" not in embedding_options(documents)


@pytest.mark.parametrize("model", ["gemini-embedding-001", "gemini-embedding-2"])
def test_vectors_when_vertex_ai(
    stand_in: GeminiStandIn,
    make_embedder: MakeEmbedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    """Vertex AI nests what is asked of a vector."""
    credentials = Credentials(token="fake-token")  # type: ignore[no-untyped-call]  # theirs
    monkeypatch.setattr("google.auth.default", lambda **_: (credentials, "test"))
    export_model(model, tmp_path / "model")
    embedder = make_embedder(
        tmp_path / "model",
        gemini_api_key="",
        google_genai_use_vertexai=True,
        google_cloud_project="test-project",
    )
    assert embedder.embed_documents(TEXTS).shape == (2, 768)
    assert embedder.embed_query("When?").shape == (768,)
    assert all(embedding_options(r)["outputDimensionality"] == 768 for r in stand_in.requests)


def test_vectors_when_many_texts(stand_in: GeminiStandIn, make_embedder: MakeEmbedder) -> None:
    """A call has no more texts than Google takes, and the order stays."""
    texts = [f"item{number} of the list" for number in range(230)]
    vectors = make_embedder().embed_documents(texts)
    assert [len(embedded_texts(request)) for request in stand_in.requests] == [100, 100, 30]
    assert np.allclose(vectors[229], stand_ins.make_vector(texts[229], 768) / np.sqrt(4 * 9))


def test_vectors_when_a_text_is_long_or_empty(
    stand_in: GeminiStandIn, make_embedder: MakeEmbedder
) -> None:
    """A long text is cut at what the model reads, and nothing has a vector too."""
    vectors = make_embedder().embed_documents(["word " * 20_000, "字" * 20_000, ""])
    long, chinese, empty = embedded_texts(stand_in.requests[0])
    assert 8_000 < len(long) < 12_000
    assert 1_500 < len(chinese) <= 2_048
    assert empty
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    "fault", [stand_ins.RATE_LIMITED, stand_ins.INTERNAL, stand_ins.UNAVAILABLE]
)
def test_vectors_when_another_try_helps(
    stand_in: GeminiStandIn, make_embedder: MakeEmbedder, fault: Scenario
) -> None:
    """What passes is tried again."""
    stand_in.plan(fault, ANSWERS)
    assert make_embedder().embed_documents(TEXTS).shape == (2, 768)
    assert len(stand_in.requests) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (stand_ins.RATE_LIMITED_LONG, EmbeddingUnavailable),
        (stand_ins.QUOTA_EXHAUSTED, EmbeddingUnavailable),
        (stand_ins.TOO_FEW_VECTORS, EmbeddingUnavailable),
        (stand_ins.HANG, EmbeddingUnavailable),
        (stand_ins.FORBIDDEN, Misconfigured),
        (stand_ins.RETIRED, Misconfigured),
        (stand_ins.WRONG_KEY, Misconfigured),
        (stand_ins.WRONG_DIMENSION, Misconfigured),
        (stand_ins.failing(400), RejectedByModel),
    ],
    ids=["busy", "quota", "few", "hangs", "forbidden", "retired", "key", "dimension", "refused"],
)
def test_vectors_when_no_try_helps(
    stand_in: GeminiStandIn, make_embedder: MakeEmbedder, fault: Scenario, error: type[Exception]
) -> None:
    """What an operator must mend, what a text is at fault for, and what is only away."""
    stand_in.plan(fault)
    with pytest.raises(error):
        make_embedder(gemini_timeout_seconds=1.5).embed_documents(TEXTS)


def test_export_when_gemini(folder: Path, tmp_path: Path) -> None:
    """The folder is complete without a network, and another dimension is another model."""
    assert not export_model("gemini-embedding-001", folder)
    info = read_model_info(folder)
    assert (info.dimension, info.multilingual) == (768, True)
    export_model("gemini-embedding-001", tmp_path / "other", dimension=256)
    assert read_model_info(tmp_path / "other").digest != info.digest
    tokens = len(read_tokenizer(folder).encode("Invoices are paid within 30 days.").ids)
    assert 6 <= tokens <= 14
    with pytest.raises(ExportError, match="gemini-embedding-2"):
        export_model("gemini-embedding-99", tmp_path / "unknown")
    with pytest.raises(ExportError, match="3072"):
        export_model("gemini-embedding-001", tmp_path / "large", dimension=4000)


def test_import_when_not_used() -> None:
    """A process whose model runs here does not pay for Google's client."""
    code = (
        "import sys, functions.embed_worker.embedding_jobs, functions.query.answering.retrieving;"
        "print([name for name in sys.modules if name.startswith(('google.genai', 'stamina'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def serving(owner: Connection, make_embedder: MakeEmbedder) -> GeminiEmbedder:
    """Let Gemini's model answer in an empty database."""
    embedder = make_embedder()
    info = embedder.info
    model = store.register_model(
        owner, name=info.name, dimension=info.dimension, digest=info.digest
    )
    assert store.switch_model(owner, model.id) == 0
    return embedder


@pytest.fixture
def resources(
    database_url: str, folder: Path, worker_pool: Pool, serving: GeminiEmbedder
) -> Resources:
    return Resources(
        settings=RetrySettings(),
        pool=worker_pool,
        announce=None,
        find_embedder=lambda _: serving,
        batch_slots=WorkSlots(1),
    )


def state(connection: Connection, name: str) -> tuple[str, str | None]:
    shown, reason = fetch_one(
        connection,
        "SELECT state, reason_code FROM document_status WHERE name = %(name)s",
        {"name": name},
    )
    return shown, reason


def test_document_when_embedded(
    stand_in: GeminiStandIn, connection: Connection, resources: Resources
) -> None:
    """A fault of the settings or of Google's waits; a text that is refused fails by name."""
    _, (job,) = stage_document(connection, "pump.txt", TEXTS)
    stand_in.plan(stand_ins.RETIRED)
    with pytest.raises(Misconfigured, match="take another"):
        embed_batch(job, resources)
    assert state(connection, "pump.txt") == ("indexing", None)
    stand_in.plan(ANSWERS)
    embed_batch(job, resources)
    assert state(connection, "pump.txt") == ("ready", None)
    _, (job,) = stage_document(connection, "long.txt", ["word " * 100])
    stand_in.plan(stand_ins.TEXTS_TOO_LONG)
    embed_batch(job, resources)
    assert state(connection, "long.txt") == ("failed", "embedding_failed")


def test_question_when_gemini_is_away(
    stand_in: GeminiStandIn,
    connection: Connection,
    database_url: str,
    folder: Path,
    pool: Pool,
    serving: GeminiEmbedder,
) -> None:
    """Passages are found by their words alone, and the reply says so."""
    for number, text in enumerate(TEXTS):
        index_document(connection, serving, f"{number}.txt", [text])
    settings = QuerySettings(database_url=SecretStr(database_url), model_dir=folder)
    client = make_client(settings, pool=pool, embedder=serving)
    question = {"question": "When does the pump stop?"}
    whole = client.post("/retrieve", json=question).get_json()
    assert whole["passages"][0]["name"] == "0.txt"
    assert whole["passages"][0]["vector_rank"] == 1
    assert whole["degraded"] is None
    stand_in.plan(stand_ins.RATE_LIMITED_LONG)
    reply = client.post("/retrieve", json=question).get_json()
    assert reply["passages"][0]["name"] == "0.txt"
    assert reply["degraded"]["code"] == "not_embedded"
    answer = client.post("/query", json=question).get_json()
    assert answer["passages"][0]["name"] == "0.txt"
    assert answer["degraded"]["code"] == "not_embedded"
    by_meaning = client.post("/retrieve", json=question | {"mode": "vector"})
    assert (by_meaning.status_code, by_meaning.get_json()["code"]) == (503, "embedding_unavailable")
