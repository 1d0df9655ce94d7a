"""
Write a sentence-transformers CrossEncoder as the folder that shared.embedding.cross_encoder loads.

BERT models (cross-encoder/ms-marco-MiniLM-L6-v2) are written from their weights; all others are
traced by torch, which is imported only then.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from infra.model.bert import read_bert_classifier, write_classifier_graph
from infra.model.export import (
    CHECKED_PAIRS,
    QUANTISATIONS,
    NeedsTorch,
    Source,
    find_source,
    quiet,
    weigh,
)
from infra.model.quantisation import quantise
from shared.embedding.cross_encoder import CrossEncoder
from shared.embedding.tokenizer import DESCRIPTION_FILE, FORMAT, GRAPH_FILE, TOKENIZER_FILE
from shared.errors import ExportError, KaydangError

# Of the scores of all questions with all passages, in eight bits and without.
LEAST_CORRELATION = 0.98


@click.command()
@click.option("--model", required=True, help="Name on the Hugging Face hub, or a folder.")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write, for RERANKER.",
)
@click.option(
    "--precision",
    type=click.Choice(list(QUANTISATIONS)),
    default="int8",
    show_default=True,
    help="int8 is two to three times as fast.",
)
def main(model: str, output: Path, precision: str) -> None:
    """Export a reranking model to ONNX, quantise and check it, and write it to a folder."""
    try:
        export_cross_encoder(model, output.absolute(), precision=precision)
    except KaydangError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(3 if isinstance(error, NeedsTorch) else 1) from error
    click.echo(f"{output}: written")


def export_cross_encoder(model: str, output: Path, *, precision: str = "int8") -> None:
    """
    Write *model* to the folder *output*, whole or not at all.

    Raises:
        ExportError: The model is not found, gives more than one score, or eight bits cost too much.
    """
    source = find_source(model)
    new = output.parent / f".{output.name}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        _write(source, new, precision=precision)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(output, ignore_errors=True)
    new.rename(output)


def _write(source: Source, folder: Path, *, precision: str) -> None:
    weights = weigh(source)
    configuration = json.loads((source.folder / "config.json").read_text("utf-8"))
    labels = len(configuration.get("id2label") or {}) or configuration.get("num_labels", 2)
    if labels != 1:
        raise ExportError(
            f"{source.name} gives {labels} values for a pair of texts; a reranker gives one score"
        )
    graph = folder / GRAPH_FILE
    bert = read_bert_classifier(source.folder)
    if bert is None:
        _trace(source, graph)
    else:
        write_classifier_graph(bert, graph)
    sequence = _copy_tokenizer(source, folder, configuration)

    def describe(precision: str) -> None:
        identity = {"weights": weights, "sequence": sequence, "quantisation": precision}
        description = {
            "format": FORMAT,
            "kind": "cross-encoder",
            "name": source.name,
            "max_tokens": sequence,
            "digest": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
            "quantisation": QUANTISATIONS[precision],
            "source": {"origin": source.origin, "weights": weights},
            "files": {
                name: (folder / name).stat().st_size for name in (GRAPH_FILE, TOKENIZER_FILE)
            },
            "versions": {package: version(package) for package in ("onnx", "onnxruntime")},
        }
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")

    describe("float32")
    if precision == "float32":
        return
    expected = _score_pairs(folder)
    quantise(graph, graph)
    describe("int8")
    correlation = float(np.corrcoef(expected, _score_pairs(folder))[0, 1])
    if not correlation >= LEAST_CORRELATION:
        raise ExportError(
            f"{source.name} loses too much in eight bits: its scores correlate with those of the"
            f" source by {correlation:.3f}. Export it with --precision float32"
        )


def _copy_tokenizer(source: Source, folder: Path, configuration: dict[str, Any]) -> int:
    """Write the tokenizer beside the graph and return how many tokens the model reads."""
    from tokenizers import Tokenizer

    path = source.folder / "tokenizer.json"
    if not path.is_file():
        raise ExportError(f"{source.folder} has no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER_FILE))
    given = json.loads((source.folder / "tokenizer_config.json").read_text("utf-8"))
    # RoBERTa's positions begin after that of padding.
    positions = int(configuration["max_position_embeddings"])
    if "roberta" in str(configuration.get("model_type")):
        positions -= int(configuration.get("pad_token_id") or 0) + 1
    return min(int(given.get("model_max_length") or positions), positions)


def _trace(source: Source, graph: Path) -> None:
    try:
        from infra.model.graph_tracing import trace_classifier
    except ImportError as error:
        raise NeedsTorch(
            f"{source.name} is not a plain BERT model, so its export needs torch and"
            f" sentence-transformers ({error.name} is not installed)"
        ) from error
    with quiet():
        try:
            trace_classifier(source.folder, graph, pair=CHECKED_PAIRS[0])
        except Exception as error:  # whatever these libraries raise: this is their boundary
            raise ExportError(
                f"{source.name} from {source.folder} cannot be exported: "
                f"{type(error).__name__}: {error}"
            ) from error


def _score_pairs(folder: Path) -> list[float]:
    encoder = CrossEncoder(folder)
    questions, passages = zip(*CHECKED_PAIRS, strict=True)
    return [score for question in questions for score in encoder.score(question, passages)]


if __name__ == "__main__":
    main()
