"""
Time the reranking of thirty passages on one core: python -m benchmarks.reranking [--write]

The model has the size of cross-encoder/ms-marco-MiniLM-L6-v2: the default embedding model's own
weights with a head of random ones, exported as any other. The time is the process's processor
time, which other work on the machine disturbs little.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

import click
import numpy as np

from benchmarks.recording import describe_machine, make_table, replace_block
from infra.model.cross_encoder import export_cross_encoder
from infra.model.export import DEFAULT_MODEL, find_source
from shared.embedding.cross_encoder import CrossEncoder

_DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "models.md"
_PASSAGES = 30
_PASSAGE_CHARACTERS = 800
_TOKENS = (24, 28, 32, 40, 64)
_QUESTIONS = (
    "How is an exception handled in a with statement?",
    "Which names are bound by an import?",
    "What does the operator module say of slices?",
    "When is a generator closed?",
)


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Times that each question is asked.")
@click.option("--write", is_flag=True, help="Write the table into docs/models.md.")
def main(*, rounds: int, write: bool) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        reranker = CrossEncoder(_make_model(Path(folder)), threads=1)
        rows = [(tokens, f"{_time(reranker, tokens, rounds=rounds):.0f} ms") for tokens in _TOKENS]
    table = make_table(("tokens of each passage", "processor time of 30 passages"), rows)
    table += f"\n\n{describe_machine()['processor']}, one thread."
    click.echo(table)
    if write:
        replace_block(_DOCUMENT, "reranking", table)


def _make_model(folder: Path) -> Path:
    """Return the folder of an exported classifier of the default model's size."""
    from safetensors.numpy import load_file, save_file

    source = find_source(DEFAULT_MODEL).folder
    made = folder / "source"
    made.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (source / name).exists():
            shutil.copy(source / name, made)
    configuration = json.loads((source / "config.json").read_text("utf-8"))
    configuration |= {"architectures": ["BertForSequenceClassification"], "num_labels": 1}
    (made / "config.json").write_text(json.dumps(configuration), "utf-8")
    random = np.random.default_rng(1)
    size = configuration["hidden_size"]
    weights = load_file(source / "model.safetensors")
    named = {
        name if name.startswith("bert.") else f"bert.{name}": weight
        for name, weight in weights.items()
    }
    for name, shape in (
        ("bert.pooler.dense.weight", (size, size)),
        ("bert.pooler.dense.bias", (size,)),
        ("classifier.weight", (1, size)),
        ("classifier.bias", (1,)),
    ):
        named[name] = random.normal(scale=0.05, size=shape).astype(np.float32)
    save_file(named, made / "model.safetensors")
    export_cross_encoder(str(made), folder / "model")
    return folder / "model"


def _time(reranker: CrossEncoder, tokens: int, *, rounds: int) -> float:
    """Return the median of the processor milliseconds of a question."""
    texts = [text[:_PASSAGE_CHARACTERS] for text in topics.values() if len(text) > 800]
    times = []
    for number in range(rounds + 1):
        for place, question in enumerate(_QUESTIONS):
            passages = texts[place : place + _PASSAGES]
            began = time.process_time()
            reranker.score(question, passages, passage_tokens=tokens)
            if number:
                times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


if __name__ == "__main__":
    main()
