"""
Count the chunks that an edit of five per cent makes new: python -m benchmarks.edits

The documents are those of the peers' benchmark. Each is edited in five places spread over it, and
cut before and after by our chunker and by LangChain's RecursiveCharacterTextSplitter, whose
algorithm is repeated here so that the two can run in one process; its indexing API, like ours,
embeds a chunk again when its text was not there before. Ours also counts a chunk as new when the
headings above it changed, because they are embedded with it. Writes a result and the table of
docs/performance.md.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from functions.ingest.chunking import Budget, chunk_blocks
from functions.ingest.parsing.blocks import Block, ParseLimits, Request, Title
from functions.ingest.parsing.registry import parse
from shared.values import Chunk

from .corpus import EDIT_KINDS, EditKind, corpus_folders, edit, list_files
from .recording import ROOT, describe_machine, make_table, replace_block, write_result
from .tokens import TokenCounter

DOCUMENT = ROOT / "docs" / "performance.md"
CHUNK_CHARACTERS = 800
SEPARATORS = ("\n\n", "\n", " ", "")

LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=1 << 28,
    max_cells=1 << 21,
    max_chunks=1 << 20,
    max_text_chars=1 << 27,
    timeout_seconds=300,
    memory_bytes=1 << 31,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk: what is embedded, and that part of it which stands in the document."""

    embedded: str
    text: str


@dataclass(slots=True)
class Count:
    """
    Chunks after the edits, and how many of them were not there before.

    Attributes:
        tokens: Of all chunks; *new_tokens* of those that were not there.
        edited: New because of a word of their own.
        headed: New because of the headings above alone.
        cut: New because an end has moved; their words are the old ones.
    """

    chunks: int = 0
    tokens: int = 0
    new: int = 0
    new_tokens: int = 0
    edited: int = 0
    headed: int = 0
    cut: int = 0

    def add(
        self, before: list[Piece], after: list[Piece], *, old_text: str, counter: TokenCounter
    ) -> None:
        """Add a document whose extracted text was *old_text*."""
        known = {piece.embedded for piece in before}
        texts = {piece.text for piece in before}
        for piece in after:
            tokens = counter.count(piece.embedded)
            self.chunks += 1
            self.tokens += tokens
            if piece.embedded in known:
                continue
            known.add(piece.embedded)
            self.new += 1
            self.new_tokens += tokens
            if piece.text not in old_text:
                self.edited += 1
            elif piece.text in texts:
                self.headed += 1
            else:
                self.cut += 1


# By itself each, and mixed as in the peers' benchmark.
EDITS: dict[str, tuple[EditKind, ...]] = {
    "mixed": EDIT_KINDS,
    **{kind: (kind,) for kind in EDIT_KINDS},
    "words written backwards": ("words written backwards",),
}


def extract(name: str, text: str, counter: TokenCounter) -> tuple[str, list[Piece]]:
    """Return what our parser reads in a file, and our chunks of it."""
    title = ""

    def blocks(events: Iterator[Any]) -> Iterator[Block]:
        nonlocal title
        for event in events:
            if isinstance(event, Title):
                title = event.text
            elif isinstance(event, Block):
                yield event

    _, events = parse(
        Request(source=io.BytesIO(text.encode()), name=name, content_type=None, limits=LIMITS)
    )
    pieces = list(
        chunk_blocks(
            blocks(iter(events)), tokenize=counter.spans, budget=Budget(), title=lambda: title
        )
    )
    extracted = "".join(piece for piece in pieces if isinstance(piece, str))
    chunks = [piece for piece in pieces if isinstance(piece, Chunk)]
    return extracted, [Piece(chunk.embedded_text, chunk.text) for chunk in chunks]


def split_recursively(
    text: str, *, size: int = CHUNK_CHARACTERS, separators: tuple[str, ...] = SEPARATORS
) -> list[str]:
    """Cut *text* as RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=0) does."""
    index = next(i for i, mark in enumerate(separators) if mark in text)
    mark, rest = separators[index], separators[index + 1 :]
    parts = re.split(f"(?={re.escape(mark)})", text) if mark else list(text)
    chunks: list[str] = []
    joined = ""
    for part in filter(None, parts):
        if len(part) < size or not rest:
            if joined and len(joined) + len(part) > size:
                chunks.append(joined)
                joined = ""
            joined += part
        else:
            chunks += [joined, *split_recursively(part, size=size, separators=rest)]
            joined = ""
    return [chunk.strip() for chunk in [*chunks, joined] if chunk.strip()]


def measure(counter: TokenCounter, files: list[Path]) -> dict[str, dict[str, Count]]:
    """Return the counts of each edit and chunker."""
    counts = {name: {"ours": Count(), "LangChain": Count()} for name in EDITS}
    for path in files:
        text = path.read_text(encoding="utf-8")
        old_text, chunks = extract(path.name, text, counter)
        parts = [Piece(part, part) for part in split_recursively(old_text)]
        for name, kinds in EDITS.items():
            new_text, chunks_after = extract(path.name, edit(text, kinds=kinds), counter)
            parts_after = [Piece(part, part) for part in split_recursively(new_text)]
            for who, before, after in (
                ("ours", chunks, chunks_after),
                ("LangChain", parts, parts_after),
            ):
                counts[name][who].add(before, after, old_text=old_text, counter=counter)
    return counts


@click.command()
@click.option("--files", default=240, show_default=True, help="Documents of the corpus.")
@click.option("--no-result", is_flag=True, help="Print only.")
def main(files: int, *, no_result: bool) -> None:
    """Print how many chunks have to be embedded after each kind of edit."""
    default = Path.home() / ".cache/kaydangpt/models/all-MiniLM-L6-v2"
    counter = TokenCounter(Path(os.environ.get("MODEL_DIR", default)))
    paths = [path for folder in corpus_folders(files=files) for path in list_files(folder)]
    counts = measure(counter, paths)
    table = make_table(
        (
            "edit",
            "chunker",
            "chunks",
            "embedded again",
            "a word of theirs changed",
            "a heading above",
            "cut elsewhere",
            "tokens embedded again",
        ),
        [
            (
                name,
                who,
                f"{count.chunks:,}",
                f"{count.new:,} ({100 * count.new / count.chunks:.1f} %)",
                f"{count.edited:,}",
                f"{count.headed:,}",
                f"{count.cut:,}",
                f"{count.new_tokens:,} ({100 * count.new_tokens / count.tokens:.1f} %)",
            )
            for name, by_chunker in counts.items()
            for who, count in by_chunker.items()
        ],
    )
    click.echo(table)
    if not no_result:
        replace_block(DOCUMENT, "edits", f"{len(paths)} documents.\n\n{table}")
        result: dict[str, Any] = {
            "machine": describe_machine(),
            "files": len(paths),
            "edits": {
                name: {who: asdict(count) for who, count in by_chunker.items()}
                for name, by_chunker in counts.items()
            },
        }
        click.echo(write_result("edits", result))


if __name__ == "__main__":
    os.nice(5)
    main()
