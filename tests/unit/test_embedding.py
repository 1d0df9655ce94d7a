"""The embedding model at run time, on the real exported model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tokens import TokenCounter
from shared.embedding.embedder import Embedder, _batches, available_cores
from shared.embedding.tokenizer import (
    DESCRIPTION_FILE,
    GRAPH_FILE,
    LANGUAGES_FILE,
    TOKENIZER_FILE,
    read_model_info,
)
from shared.errors import Misconfigured, ModelUnavailable


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir)


@pytest.fixture
def copied_dir(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def test_vectors_have_unit_length(embedder: Embedder) -> None:
    """Documents and questions get float32 vectors of length one."""
    vectors = np.vstack([embedder.embed_documents(["a cat", "b " * 99]), embedder.embed_query("?")])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, embedder.info.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_embed_documents_keeps_the_order(embedder: Embedder) -> None:
    """Each text has the vector that it has alone, whatever lengths stand around it."""
    texts = [
        f"text {number} " + "about the sea and the shore " * (number * 7 % 23)
        for number in range(40)
    ]
    alone = np.vstack([embedder.embed_documents([text]) for text in texts])
    np.testing.assert_array_equal(embedder.embed_documents(texts), alone)


def test_embed_documents_of_nothing_is_empty(embedder: Embedder) -> None:
    """No texts give no rows."""
    assert embedder.embed_documents([]).shape == (0, embedder.info.dimension)


@pytest.mark.parametrize("text", ["", " \n", "\x00", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🙂", "a" * 10_000])
def test_embed_documents_takes_any_text(embedder: Embedder, text: str) -> None:
    """Odd texts have finite vectors too."""
    assert np.isfinite(embedder.embed_documents([text])).all()


def test_question_finds_its_passage(embedder: Embedder) -> None:
    """The passage that answers is nearer than those that do not."""
    passages = ["Bread is baked at 230 degrees.", "The pump needs 40 litres.", "Ask the registrar."]
    found = embedder.embed_documents(passages) @ embedder.embed_query("How hot is the oven?")
    assert found.argmax() == 0


def test_max_tokens_is_where_text_is_cut(embedder: Embedder, model_dir: Path) -> None:
    """A text of max_tokens is read whole; what follows changes nothing."""
    whole = " ".join(["sea"] * (embedder.info.max_tokens - 1) + ["volcano"])
    longer = whole + " bicycle factory in winter"
    other = " ".join(["sea"] * embedder.info.max_tokens)
    assert TokenCounter(model_dir).count(whole) == embedder.info.max_tokens
    vectors = embedder.embed_documents([whole, longer, other])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_count_is_of_the_whole_text(model_dir: Path) -> None:
    """Counting does not stop at the model's limit, and each token has its characters."""
    counter = TokenCounter(model_dir)
    text = "sea shore " * 500
    assert counter.count(text) == 1000
    assert [text[start:end] for start, end in counter.spans(text)[:2]] == ["sea", "shore"]


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    """Runs at the same time do not disturb each other."""
    texts = [f"sentence number {number} " * (number + 1) for number in range(16)]
    expected = [embedder.embed_query(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(embedder.embed_query, texts * 4))
    np.testing.assert_array_equal(found, expected * 4)


def test_prompts_stand_before_the_texts(copied_dir: Path, embedder: Embedder) -> None:
    """What model.json gives as prompts is embedded with each text."""
    path = copied_dir / DESCRIPTION_FILE
    description = json.loads(path.read_text())
    description["prompts"] = {"query": "question: ", "document": "passage: "}
    path.write_text(json.dumps(description))
    prompted = Embedder(copied_dir)
    np.testing.assert_array_equal(
        np.vstack([prompted.embed_query("how?"), prompted.embed_documents(["so"])]),
        embedder.embed_documents(["question: how?", "passage: so"]),
    )


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_warm_up_runs_with_any_number_of_threads(model_dir: Path, threads: int) -> None:
    """0 means every core of this process."""
    Embedder(model_dir, threads=threads).warm_up()
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _scramble(path: Path) -> None:
    path.write_bytes(b"\x01" * path.stat().st_size)


@pytest.mark.parametrize("name", [DESCRIPTION_FILE, GRAPH_FILE, TOKENIZER_FILE])
@pytest.mark.parametrize("damage", [_remove, _cut, _scramble])
def test_damaged_folder_is_one_clear_error(
    copied_dir: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """Whichever file is missing, cut or garbled, the error says what to run."""
    if name == DESCRIPTION_FILE and damage is _cut:
        (copied_dir / name).write_text("{")
    else:
        damage(copied_dir / name)
    with pytest.raises(ModelUnavailable, match=r"(?s)model.*python -m infra\.model\.export"):
        Embedder(copied_dir)


def test_missing_folder_names_the_variable(tmp_path: Path) -> None:
    """An unset or wrong MODEL_DIR is told by its name."""
    with pytest.raises(ModelUnavailable, match=r"MODEL_DIR.*does not exist.*infra.model.export"):
        read_model_info(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("shared.embedding.tokenizer", "onnxruntime numpy torch transformers"),
        ("shared.embedding.embedder", "torch transformers sentence_transformers onnx"),
        ("infra.model.export", "torch transformers sentence_transformers onnxruntime onnx"),
    ],
)
def test_import_stays_small(module: str, unwanted: str) -> None:
    """What is slow to import comes only if it is used."""
    code = f"import sys, {module}; sys.exit(' '.join({set(unwanted.split())} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "")


def test_gpu_refuses_eight_bits(model_dir: Path) -> None:
    """Two devices round to eight bits differently: the served vectors would not be kept."""
    with pytest.raises(Misconfigured, match="--precision float32"):
        Embedder(model_dir, device="cuda")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA"
)
def test_gpu_without_cuda_says_what_to_install(copied_dir: Path) -> None:
    """A GPU is not replaced by the processor in silence: a back-fill would take days."""
    path = copied_dir / DESCRIPTION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantisation": "none"}))
    with pytest.raises(Misconfigured, match="onnxruntime-gpu"):
        Embedder(copied_dir, device="cuda")


def test_older_export_says_nothing_of_its_cosines(copied_dir: Path) -> None:
    """A folder written before models were measured keeps the weights that it had."""
    path = copied_dir / DESCRIPTION_FILE
    measured = {"unrelated_similarity", "multilingual", "given_prompts"}
    description = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in description.items() if k not in measured}))
    info = read_model_info(copied_dir)
    assert (info.unrelated_similarity, info.multilingual) == (0.0, False)


def test_questions_lose_what_tells_their_language(copied_dir: Path, embedder: Embedder) -> None:
    """The directions beside a graph are taken out of questions alone; damaged ones are named."""
    directions = np.linalg.qr(np.random.default_rng(5).normal(size=(384, 3)))[0].T
    path = copied_dir / LANGUAGES_FILE
    np.save(path, directions.astype(np.float32))
    description = json.loads((copied_dir / DESCRIPTION_FILE).read_text())
    description["files"][path.name] = path.stat().st_size
    (copied_dir / DESCRIPTION_FILE).write_text(json.dumps(description))
    without = Embedder(copied_dir)
    question, plain = (each.embed_query("Where is the key?") for each in (without, embedder))
    np.testing.assert_allclose(directions @ question, 0, atol=1e-6)
    assert np.linalg.norm(question) == pytest.approx(1, abs=1e-6)
    # All else of it is left.
    rest = plain - directions.T @ (directions @ plain)
    np.testing.assert_allclose(question, rest / np.linalg.norm(rest), atol=1e-6)
    documents = [each.embed_documents(["a key"]) for each in (without, embedder)]
    np.testing.assert_array_equal(documents[0], documents[1])
    path.write_bytes(b"?" * path.stat().st_size)
    with pytest.raises(ModelUnavailable, match=LANGUAGES_FILE):
        Embedder(copied_dir)


@given(st.lists(st.integers(1, 300)), st.integers(0, 2048))
def test_batches_keep_the_budget(lengths: list[int], budget: int) -> None:
    """Every text is in one batch, and a batch of several keeps the budget."""
    batches = list(_batches(lengths, budget=budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(
        len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
        for batch in batches
    )
