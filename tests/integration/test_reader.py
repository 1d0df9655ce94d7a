"""The reader: merging the adapter into the embedding model, reading, and training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from infra.model.adapter import ADAPTER
from infra.model.export import DEFAULT_MODEL, add_reader, find_source
from infra.model.reader import merge
from shared.embedding.cross_encoder import CrossEncoder
from shared.embedding.reader import Reader, Readers
from shared.embedding.tokenizer import DESCRIPTION_FILE, READER_FOLDER, read_model_info
from shared.errors import ExportError

pytestmark = pytest.mark.slow

QUESTION = "How long is a deleted object kept?"
TEXTS = [
    "Soft delete keeps a removed object for seven days by default.",
    "Deleted objects can be listed with the flag soft-deleted.",
    "Travel expenses up to 500 euros are approved by the team lead.",
]


@pytest.fixture(scope="module")
def reader(model_dir: Path) -> Reader:
    return Reader(model_dir / READER_FOLDER)


@pytest.mark.parametrize(
    ("question", "answers", "near"),
    [
        (QUESTION, TEXTS[0], TEXTS[1]),
        (
            "Who pays for the repair of the roof?",
            "Repairs of the roof are paid by the landlord.",
            "The repair of the roof took three weeks in the spring.",
        ),
        (
            "How many members does the choir have?",
            "The choir has forty-two singers.",
            "Members of the choir meet every Tuesday in the school hall.",
        ),
    ],
)
def test_reader_tells_what_answers_from_what_is_near(
    reader: Reader, question: str, answers: str, near: str
) -> None:
    """A sentence that answers has odds of its own, whatever words its neighbour shares."""
    own, other = reader.read(question, [answers, near])
    assert own > other + 1


def test_reader_is_what_its_parts_make(model_dir: Path, tmp_path: Path) -> None:
    """The export in eight bits gives nearly the scores of the merged weights by transformers."""
    import torch
    from sentence_transformers import CrossEncoder as Reference

    merge(find_source(DEFAULT_MODEL).folder, ADAPTER, tmp_path)
    reference = Reference(str(tmp_path), device="cpu", local_files_only=True)
    expected = reference.predict(
        [(QUESTION, text) for text in TEXTS], activation_fn=torch.nn.Identity()
    )
    found = CrossEncoder(model_dir / READER_FOLDER).score(QUESTION, TEXTS)
    np.testing.assert_allclose(found, expected, atol=0.4)


def test_reader_is_added_to_a_multilingual_model(model_dir: Path, tmp_path: Path) -> None:
    """It reads the English of any index; a model that knows English best has only its own."""
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder, ignore=shutil.ignore_patterns(READER_FOLDER))
    file = folder / DESCRIPTION_FILE
    description = json.loads(file.read_text()) | {"reader": None}
    file.write_text(json.dumps(description))
    assert not add_reader(folder)
    file.write_text(json.dumps(description | {"multilingual": True}))
    assert add_reader(folder)
    assert not add_reader(folder)
    reader = Readers([folder]).find(description["digest"])
    assert reader is not None
    own, other = reader.read(QUESTION, TEXTS[:2])
    assert own > other + 1


def test_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    """What is added has to fit the weights."""
    from safetensors.numpy import load_file, save_file

    added = load_file(ADAPTER)
    name = next(name for name in added if name.endswith(".down"))
    added[name] = added[name][:, :-1]
    save_file(added, tmp_path / "adapter.safetensors")
    with pytest.raises(ExportError, match="another form"):
        merge(find_source(DEFAULT_MODEL).folder, tmp_path / "adapter.safetensors", tmp_path)


def test_model_without_its_reader_answers_without(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing or damaged reader is logged once and is not an error."""
    digest = read_model_info(model_dir).digest
    assert Readers([model_dir, None]).find(digest) is not None
    folder = Path(shutil.copytree(model_dir, tmp_path / "model"))
    (folder / READER_FOLDER / "model.onnx").unlink()
    readers = Readers([folder])
    readers.warm_up()
    assert readers.find(digest) is None
    assert readers.find("of another model") is None


def test_training_learns_what_answers(tmp_path: Path) -> None:
    """A few training steps on one question write weights that recognise its answer."""
    pytest.importorskip("torch")
    from infra.model import reader_training

    pairs = tmp_path / "pairs.jsonl"
    group = {"question": QUESTION, "answers": TEXTS[2:], "others": TEXTS[:2]}
    pairs.write_text(f"{json.dumps(group)}\n" * 4)
    adapter = tmp_path / "adapter.safetensors"
    result = CliRunner().invoke(
        reader_training.main, ["--pairs", str(pairs), "--steps", "25", "--output", str(adapter)]
    )
    assert result.exit_code == 0, result.output
    (tmp_path / "merged").mkdir()
    merge(find_source(DEFAULT_MODEL).folder, adapter, tmp_path / "merged")
    from sentence_transformers import CrossEncoder as Reference

    reference = Reference(str(tmp_path / "merged"), device="cpu", local_files_only=True)
    scores = reference.predict([(QUESTION, text) for text in TEXTS])
    assert int(np.argmax(scores)) == 2
