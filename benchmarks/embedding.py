"""
Compare ways to run one embedding model: python -m benchmarks.embedding [--retrieval SET]...

The texts are chunks of Python's own documentation (pydoc_data.topics), so every machine has them.
Each round runs every way once; figures are medians over the rounds, ratios are to
sentence-transformers in the same round. Tokens per CPU second are of one thread, so that other
work on the machine disturbs them little. SET is a folder of corpus/, queries.jsonl, qrels.tsv.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import click
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from rich.console import Console
from rich.table import Table

from infra.model import quantisation
from infra.model.bert import read_bert, write_graph
from infra.model.export import DEFAULT_MODEL, export_model, find_source
from shared.embedding.embedder import Embedder
from shared.embedding.tokenizer import DESCRIPTION_FILE, GRAPH_FILE

from .tokens import TokenCounter

CHUNK_TOKENS = (60, 230)
QUESTIONS = 40
BASELINE = "sentence-transformers"
# The widest table, also if the output is a file.
WIDTH = 150
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(slots=True)
class Way:
    """One way to embed, and what was seen of it."""

    embed: Embed
    load_ms: float
    megabytes: float
    speeds: list[float] = field(default_factory=list)
    questions_ms: list[float] = field(default_factory=list)


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--chunks", default=96, show_default=True, help="Number of texts.")
@click.option("--rounds", default=3, show_default=True)
@click.option(
    "--retrieval",
    "sets",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Also print nDCG@10 of the vectors alone on this set. May be repeated.",
)
@click.option("--only-retrieval", is_flag=True, help="Leave out speed.")
@click.option("--json", "result", type=click.Path(path_type=Path), help="Write the figures here.")
def main(
    model: str,
    chunks: int,
    rounds: int,
    sets: tuple[Path, ...],
    result: Path | None,
    *,
    only_retrieval: bool,
) -> None:
    """Print speed, fidelity and, with --retrieval, quality of each way to run the model."""
    console = Console(width=WIDTH)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folders = _variants(model, Path(name))
        counter = TokenCounter(folders["float32"])
        if not only_retrieval:
            figures["ways"] = _compare(model, folders, counter, chunks=chunks, rounds=rounds)
            console.print(_table("one thread", figures["ways"]))
            figures["spinning"] = _spinning(folders["chosen"])
            console.print(_table("two threads, a question each 20 ms", figures["spinning"]))
        if sets:
            figures["retrieval"] = _retrieval(folders, counter, sets)
            console.print(_table("nDCG@10 and its change to float32", figures["retrieval"]))
    if result is not None:
        result.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _variants(model: str, work: Path) -> dict[str, Path]:
    """Write the model's folder in each quantisation."""
    source = work / "float32"
    export_model(model, source, precision="float32")

    def variant(name: str, quantise: Callable[[Path, Path], None]) -> None:
        folder = Path(shutil.copytree(source, work / name))
        quantise(source / GRAPH_FILE, folder / GRAPH_FILE)
        path = folder / DESCRIPTION_FILE
        description = json.loads(path.read_text(encoding="utf-8"))
        description["files"][GRAPH_FILE] = (folder / GRAPH_FILE).stat().st_size
        path.write_text(json.dumps(description), encoding="utf-8")

    def dynamic(_: Path, new: Path) -> None:
        """Quantise the same graph of one text as is chosen, by onnxruntime's own means."""
        plain = work / "one text.onnx"
        bert = read_bert(find_source(model).folder)
        if bert is None:
            raise click.ClickException(f"{model} is no plain BERT model")
        write_graph(bert, plain)
        quantize_dynamic(
            plain,
            new,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )

    variant("dynamic, per channel", dynamic)
    variant("rows, for batches", quantisation.quantise)
    export_model(model, work / "chosen")
    return {
        name: work / name
        for name in ("float32", "dynamic, per channel", "rows, for batches", "chosen")
    }


def _chunks(counter: TokenCounter, count: int) -> list[str]:
    """Cut Python's documentation into texts of changing length."""
    text = "\n".join(topics.values())[: count * 2000]
    spans = counter.spans(text)
    random = np.random.default_rng(0)
    texts: list[str] = []
    start = 0
    while len(texts) < count and start < len(spans):
        end = min(start + int(random.integers(*CHUNK_TOKENS)), len(spans)) - 1
        texts.append(text[spans[start][0] : spans[end][1]])
        start = end + 1
    return texts


def _compare(
    model: str, folders: dict[str, Path], counter: TokenCounter, *, chunks: int, rounds: int
) -> dict[str, dict[str, float]]:
    texts = _chunks(counter, chunks)
    tokens = sum(counter.count(text) for text in texts)
    ways = {BASELINE: _sentence_transformers(model)} | {
        name: _onnx(folder) for name, folder in folders.items()
    }
    vectors: dict[str, NDArray[np.float32]] = {}
    for way in ways.values():
        way.embed(texts[:8])
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            vectors[name] = way.embed(texts)
            way.speeds.append(tokens / (time.process_time() - began))
            for text in texts[:QUESTIONS]:
                began = time.process_time()
                way.embed([text[:60]])
                way.questions_ms.append(1000 * (time.process_time() - began))
    baseline = ways[BASELINE]
    rows: dict[str, dict[str, float]] = {}
    for name, way in ways.items():
        ratios = [a / b for a, b in zip(way.speeds, baseline.speeds, strict=True)]
        cosines = np.sum(vectors[name] * vectors[BASELINE], axis=1)
        rows[name] = {
            "tokens/CPU-s": statistics.median(way.speeds),
            "ratio": statistics.median(ratios),
            "least ratio": min(ratios),
            "greatest ratio": max(ratios),
            "cosine": float(cosines.mean()),
            "least cosine": float(cosines.min()),
            "question CPU-ms": statistics.median(way.questions_ms),
            "load ms": way.load_ms,
            "MB": way.megabytes,
        }
    return rows


def _sentence_transformers(model: str) -> Way:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    folder = find_source(model).folder
    began = time.perf_counter()
    loaded = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    load_ms = 1000 * (time.perf_counter() - began)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = loaded.encode(
            list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)

    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return Way(embed=embed, load_ms=load_ms, megabytes=size / 1e6)


def _onnx(folder: Path) -> Way:
    began = time.perf_counter()
    embedder = Embedder(folder, threads=1)
    load_ms = 1000 * (time.perf_counter() - began)
    size = (folder / GRAPH_FILE).stat().st_size
    return Way(embed=embedder.embed_documents, load_ms=load_ms, megabytes=size / 1e6)


def _spinning(folder: Path) -> dict[str, dict[str, float]]:
    """Tell what waiting threads cost a function that answers now and then."""
    rows: dict[str, dict[str, float]] = {}
    for spinning in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        session = onnxruntime.InferenceSession(folder / GRAPH_FILE, options)
        inputs = {"input_ids": np.full((1, 16), 2000, dtype=np.int64)}
        session.run(None, inputs)
        walls: list[float] = []
        began = time.process_time()
        for _ in range(100):
            start = time.perf_counter()
            session.run(None, inputs)
            walls.append(time.perf_counter() - start)
            time.sleep(0.02)
        cpu = (time.process_time() - began) / 100
        rows[f"spinning {spinning}"] = {
            "CPU-ms a question": 1000 * cpu,
            "median ms": 1000 * statistics.median(walls),
        }
    return rows


def _retrieval(
    folders: dict[str, Path], counter: TokenCounter, sets: Sequence[Path]
) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {name: {} for name in folders}
    for folder in sets:
        questions = [json.loads(line) for line in (folder / "queries.jsonl").open()]
        for language in sorted({question.get("lang", "") for question in questions}):
            title = f"{folder.name} {language}".strip()
            texts = {
                question["id"]: question["text"]
                for question in questions
                if question.get("lang", "") == language
            }
            relevant: dict[str, dict[str, float]] = defaultdict(dict)
            for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
                question, document, score = line.split("\t")
                if question in texts:
                    relevant[question][document] = float(score)
            corpus = {
                path.stem: path.read_text()
                for path in sorted((folder / "corpus").glob("*.txt"))
                if path.stem.startswith(language)
            }
            for name, variant in folders.items():
                rows[name][title] = _ndcg(Embedder(variant), counter, corpus, texts, relevant)
            for name, row in rows.items():
                if name != "float32":
                    row[title + " %"] = 100 * (row[title] / rows["float32"][title] - 1)
    return rows


def _ndcg(
    embedder: Embedder,
    counter: TokenCounter,
    corpus: dict[str, str],
    texts: dict[str, str],
    relevant: dict[str, dict[str, float]],
) -> float:
    """Return nDCG@10 over documents, each by its best chunk (Järvelin and Kekäläinen 2002)."""
    names = list(corpus)
    chunks: list[str] = []
    starts: list[int] = []
    for text in corpus.values():
        starts.append(len(chunks))
        spans = counter.spans(text)
        for first in range(0, len(spans), embedder.info.max_tokens):
            last = min(first + embedder.info.max_tokens, len(spans)) - 1
            chunks.append(text[spans[first][0] : spans[last][1]])
    scores = (
        np.vstack([embedder.embed_query(texts[question]) for question in relevant])
        @ embedder.embed_documents(chunks).T
    )
    gains = []
    for row, judged in zip(
        np.maximum.reduceat(scores, starts, axis=1), relevant.values(), strict=True
    ):
        found = [judged.get(names[index], 0.0) for index in np.argsort(-row, kind="stable")[:10]]
        best = sorted(judged.values(), reverse=True)[:10]
        gains.append(_discounted(found) / _discounted(best))
    return float(np.mean(gains))


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains)))


def _table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table("", *columns, title=title)
    for name, row in rows.items():
        table.add_row(name, *(_shown(row.get(column)) for column in columns))
    return table


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4f}"


if __name__ == "__main__":
    os.nice(5)
    # The quantiser advises a preparation that changes nothing here, once for every graph.
    logging.getLogger().setLevel(logging.ERROR)
    main()
