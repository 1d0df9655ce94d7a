"""Well-known families of embedding models, from their own configuration files to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from functions.query.settings import QuerySettings
from infra.model.export import export_model
from shared import store
from shared.embedding.embedders import open_embedder
from shared.embedding.tokenizer import LANGUAGES_FILE
from shared.store import Connection, Pool
from shared.values import join_embedded_text
from tests.support.asking import index_document, make_client
from tests.support.model_families import FAMILIES, ModelFamily, save_family

pytestmark = pytest.mark.slow

PARAGRAPHS = (
    "The lighthouse keeper writes the height of every tide into a green book.",
    "Hồ sơ phải được nộp trước ngày 30. Después no se aceptan más solicitudes.",
)
QUESTION = "Where is the height of the tide written?"


def _reference(source: Path, texts: list[str], prompt: str, *, dimension: int) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
    whole = model.encode(texts, prompt=prompt, show_progress_bar=False)[:, : dimension or None]
    return whole / np.linalg.norm(whole, axis=1, keepdims=True)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_model_of_a_known_family_answers_with_the_vectors_of_its_source(
    family: ModelFamily,
    model_dir: Path,
    tmp_path: Path,
    owner: Connection,
    connection: Connection,
    database_url: str,
    pool: Pool,
) -> None:
    """Pooling, prompts, tokenizer and shorter vectors are those of its authors, without options."""
    source = save_family(family, tmp_path, word_pieces=model_dir / "tokenizer.json")
    folder = tmp_path / "model"
    export_model(str(source), folder, precision="float32", dimension=family.dimension or None)
    embedder = open_embedder(folder)
    texts = [join_embedded_text(heading="Title", header="", text=text) for text in PARAGRAPHS]
    texts.append(f"{PARAGRAPHS[0]} " * 20)
    documents = _reference(source, texts, family.document, dimension=family.dimension)
    np.testing.assert_allclose(embedder.embed_documents(texts), documents, atol=1e-4)
    asked = _reference(source, [QUESTION], family.query, dimension=family.dimension)[0]
    if (folder / LANGUAGES_FILE).exists():
        directions = np.load(folder / LANGUAGES_FILE)
        asked = asked - directions.T @ (directions @ asked)
        asked /= np.linalg.norm(asked)
    np.testing.assert_allclose(embedder.embed_query(QUESTION), asked, atol=1e-4)

    model = store.register_model(
        owner,
        name=embedder.info.name,
        dimension=embedder.info.dimension,
        digest=embedder.info.digest,
    )
    assert store.switch_model(owner, model.id) == 0
    index_document(connection, embedder, "tides.txt", PARAGRAPHS)
    settings = QuerySettings(database_url=SecretStr(database_url), model_dir=folder)
    client = make_client(settings, pool=pool, embedder=embedder)
    passages = client.post("/retrieve", json={"question": QUESTION}).get_json()["passages"]
    found = {passage["text"]: passage["similarity"] for passage in passages}
    # The database keeps half precision.
    np.testing.assert_allclose(
        [found[text] for text in PARAGRAPHS], documents[:2] @ asked, atol=2e-3
    )
