"""
Score chunkers by the characters they return: python -m benchmarks.chunking SET

SET is a folder of the form of spans_dev (see its README): corpus/, queries.jsonl, spans.tsv. Each
chunker cuts the corpus, each chunk is embedded, and of the best k chunks of a question the shares
of gold characters (recall, precision, intersection over union) are averaged over the questions.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import numpy as np

from functions.ingest.chunking import Budget, chunk_blocks
from functions.ingest.parsing.blocks import Block, ParseLimits, Request
from functions.ingest.parsing.dispatching import parse
from shared.embedding.embedder import Embedder
from shared.embedding.tokenizer import TokenCounter
from shared.values import Chunk

# (start, end, embedded text) of each chunk.
Spans = list[tuple[int, int, str]]
LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=1 << 28,
    max_cells=1 << 21,
    max_chunks=1 << 20,
    max_text_chars=1 << 27,
    timeout_seconds=300,
    memory_bytes=1 << 30,
)


def structured(text: str, *, counter: TokenCounter, chars: int = 800) -> Spans:
    """Cut *text* as ingest does; its parser keeps Markdown as it stands, so offsets agree."""
    _, events = parse(
        Request(source=io.BytesIO(text.encode()), name="a.md", content_type=None, limits=LIMITS)
    )
    pieces = chunk_blocks(
        (event for event in events if isinstance(event, Block)),
        tokenize=counter.spans,
        budget=Budget(body_chars=chars),
        title=str,
    )
    chunks = [piece for piece in pieces if isinstance(piece, Chunk)]
    return [(chunk.char_start, chunk.char_end, chunk.embedded_text) for chunk in chunks]


def windows(text: str, *, counter: TokenCounter, body: int = 200, overlap: int = 0) -> Spans:
    """Cut *text* after every *body* tokens, wherever that is."""
    tokens = counter.spans(text)
    spans: Spans = []
    for first in range(0, len(tokens), body - overlap):
        part = tokens[first : first + body]
        start, end = part[0][0], part[-1][1]
        spans.append((start, end, text[start:end]))
        if first + body >= len(tokens):
            break
    return spans


def semantic_text_splitter(text: str, *, counter: TokenCounter, body: int = 200) -> Spans:
    """Cut *text* by semantic-text-splitter's MarkdownSplitter, counting the model's tokens."""
    # Not in any lock file: `uv pip install semantic-text-splitter` for this comparison.
    from semantic_text_splitter import MarkdownSplitter  # type: ignore[import-not-found,unused-ignore]

    splitter = MarkdownSplitter.from_callback(counter.count, body)
    return [
        (start, start + len(part), part) for start, part in splitter.chunk_indices(text) if part
    ]


def score(
    spans: dict[str, Spans],
    gold: dict[str, list[tuple[str, int, int]]],
    embedder: Embedder,
    questions: dict[str, str],
    *,
    k: int,
) -> tuple[float, float, float]:
    """Return recall, precision and IoU at *k*, averaged over the questions with gold spans."""
    places = [(document, start, end) for document, cut in spans.items() for start, end, _ in cut]
    vectors = embedder.embed_documents([text for cut in spans.values() for _, _, text in cut])
    scores = []
    for query, text in questions.items():
        best = np.argsort(-(vectors @ embedder.embed_query(text)))[:k]
        wanted = _characters(gold[query])
        returned = [places[i] for i in best]
        size = sum(end - start for _, start, end in returned)
        hit = len(wanted & _characters(returned))
        scores.append((hit / len(wanted), hit / size, hit / (size + len(wanted) - hit)))
    recall, precision, iou = np.mean(scores, axis=0)
    return float(recall), float(precision), float(iou)


def _characters(spans: list[tuple[str, int, int]]) -> set[tuple[str, int]]:
    return {(document, i) for document, start, end in spans for i in range(start, end)}


def _gold(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    gold: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            gold[row["query-id"]].append((row["corpus-id"], int(row["start"]), int(row["end"])))
    return gold


def _chunkers(counter: TokenCounter) -> Iterator[tuple[str, Callable[[str], Spans]]]:
    for chars in (500, 600, 700, 800, 1000):
        yield (
            f"structure first, {chars} characters",
            partial(structured, counter=counter, chars=chars),
        )
    for body, overlap in ((200, 0), (200, 50), (100, 0)):
        name = f"windows of {body} tokens, overlap {overlap}"
        yield name, partial(windows, counter=counter, body=body, overlap=overlap)
    for body in (200, 150, 100):
        name = f"semantic-text-splitter, {body} tokens"
        yield name, partial(semantic_text_splitter, counter=counter, body=body)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-k", default=(3, 5), multiple=True, help="How many chunks are returned.")
def main(folder: Path, k: tuple[int, ...]) -> None:
    """Print the scores of each chunker over FOLDER."""
    default = Path.home() / ".cache/kaydangpt/models/all-MiniLM-L6-v2"
    model_dir = Path(os.environ.get("MODEL_DIR", default))
    embedder = Embedder(model_dir)
    corpus = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "corpus").iterdir()}
    gold = _gold(folder / "spans.tsv")
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    questions = {q["id"]: q["text"] for q in map(json.loads, lines) if q["id"] in gold}
    click.echo(f"{'chunker':40} {'chunks':>6} {'chars':>6}  (recall precision IoU) at k = {k}")
    for name, cut in _chunkers(TokenCounter(model_dir)):
        try:
            spans = {document: cut(text) for document, text in corpus.items()}
        except ImportError as error:
            click.echo(f"{name:40} left out: {error}")
            continue
        sizes = [end - start for cut_ in spans.values() for start, end, _ in cut_]
        told = "  ".join(
            "{:.3f} {:.3f} {:.3f}".format(*score(spans, gold, embedder, questions, k=n)) for n in k
        )
        click.echo(f"{name:40} {len(sizes):6} {np.mean(sizes):6.0f}  {told}")


if __name__ == "__main__":
    main()
