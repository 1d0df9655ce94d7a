"""
The reader: a model that tells whether a sentence answers a question, made at build time.

It is the embedding model's own BERT, trained further to read question and sentence together. Kept
is only what that adds: two thin matrices to each weight matrix (LoRA,
https://arxiv.org/abs/2106.09685) and the last layer, in sixteen bits. infra.model.reader_training
makes the file.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from infra.model.adapter import ADAPTER
from infra.model.cross_encoder import export_cross_encoder
from infra.model.export import Source
from shared.embedding.tokenizer import READER_FOLDER
from shared.errors import ExportError

# Of each matrix NAME.weight: NAME.up times NAME.down is added to it.
UP, DOWN = ".up", ".down"
CLASSIFIER = "classifier"
# Question and sentence together; it was trained on pairs of at most 96.
MAX_TOKENS = 128


def write_reader(source: Source, model_dir: Path) -> None:
    """
    Write the reader that *source* and the adapter make to its folder in *model_dir*.

    Raises:
        ExportError: The adapter does not fit the weights, or eight bits cost too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / READER_FOLDER
        merged.mkdir()
        merge(source.folder, ADAPTER, merged)
        export_cross_encoder(str(merged), model_dir / READER_FOLDER)


def merge(base: Path, adapter: Path, target: Path) -> None:
    """
    Write the classifier that the model in *base* and *adapter* make to the folder *target*.

    Raises:
        ExportError: The adapter does not fit the weights.
    """
    from safetensors.numpy import load_file, save_file

    weights = load_file(base / "model.safetensors")
    added = load_file(adapter)
    for name in [name.removesuffix(UP) for name in added if name.endswith(UP)]:
        up, down = (added[name + end].astype("float32") for end in (UP, DOWN))
        matrix = weights.get(f"{name}.weight")
        if matrix is None or matrix.shape != (up.shape[0], down.shape[1]):
            raise ExportError(f"{adapter} adds to {name}, which {base} has in another form")
        weights[f"{name}.weight"] = matrix + up @ down
    for part in ("weight", "bias"):
        weights[f"{CLASSIFIER}.{part}"] = added[f"{CLASSIFIER}.{part}"].astype("float32")
    save_file(weights, target / "model.safetensors")
    configuration = json.loads((base / "config.json").read_text("utf-8"))
    configuration |= {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "answers"},
    }
    (target / "config.json").write_text(json.dumps(configuration), "utf-8")
    (target / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": MAX_TOKENS, "tokenizer_class": "BertTokenizer"}), "utf-8"
    )
    shutil.copy(base / "tokenizer.json", target)
