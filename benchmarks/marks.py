"""
Are the words of a quote marked where they stand? python -m benchmarks.marks FILE_OR_FOLDER...

PDFs are parsed and chunked as ingest does it; sentences of their chunks are the quotes, which the
query would verify. The rectangles of each are what the page would mark. PDFium is asked, apart from
how the boxes were made, which characters have their middle in them: they must be the quote's.

With --scanned each PDF becomes pictures of its first pages before it is parsed, so that all of its
text is recognised; the PDF itself still says which text lies in the rectangles.
"""

from __future__ import annotations

import difflib
import gzip
import io
import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pypdfium2
from PIL.Image import Image

from benchmarks.made_documents import LIMITS, small_tokenizer
from functions.ingest.chunking import Budget, chunk_blocks
from functions.ingest.parsing import recognition
from functions.ingest.parsing.blocks import Block, PictureBudget, Request
from functions.ingest.parsing.registry import parse
from shared.boxes import Mark, find_marks
from shared.values import Chunk

_SENTENCE = re.compile(r"(?:^|(?<=[.!?\n]\s)|(?<=\n))\w[^.!?\n\t]{30,300}[.!?](?=\s|$)")
# Of the quote's letters and digits, so many must be found between the marks' own, in order.
_SAME = 0.9
# As scanners do it for text.
_DOTS_AN_INCH = 200


def find_files(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield the PDFs in *paths*, unpacked."""
    for path in paths:
        files = sorted(path.rglob("*.pdf*")) if path.is_dir() else [path]
        for file in files:
            data = file.read_bytes()
            if file.suffix == ".gz":
                data = gzip.decompress(data)
            if data[:5] == b"%PDF-":
                yield file.name, data


def find_quotes(data: bytes, name: str, *, count: int) -> list[tuple[str, list[Mark]]]:
    """Return sentences of a PDF, spread over it, and their marks."""
    tokenizer = small_tokenizer()
    request = Request(
        source=io.BytesIO(data),
        name=name,
        content_type=None,
        limits=LIMITS,
        picture_budget=PictureBudget(1000),
    )
    _, events = parse(request)
    pieces = chunk_blocks(
        (event for event in events if isinstance(event, Block)),
        tokenize=lambda text: tokenizer.encode(text, add_special_tokens=False).offsets,
        budget=Budget.for_model(256, special_tokens=2),
        title=lambda: "",
    )
    quotes = [
        (
            found.group().strip(),
            chunk,
            found.start() + len(found.group()) - len(found.group().lstrip()),
        )
        for chunk in pieces
        if isinstance(chunk, Chunk)
        for found in _SENTENCE.finditer(chunk.text)
    ]
    chosen = random.Random(7).sample(quotes, min(count, len(quotes)))
    return [
        (quote, find_marks(chunk.boxes, start=start, end=start + len(quote)))
        for quote, chunk, start in chosen
    ]


def scan(data: bytes, *, pages: int) -> bytes | None:
    """
    Return a PDF of pictures of the first *pages*.

    None if a page of it is turned or cropped: the picture's coordinates would be others.
    """
    document = pypdfium2.PdfDocument(data)
    pictures: list[Image] = []
    for page in list(document)[:pages]:
        if page.get_rotation() or page.get_cropbox()[:2] != (0, 0):
            return None
        pictures.append(page.render(scale=_DOTS_AN_INCH / 72, grayscale=True).to_pil())
    out = io.BytesIO()
    first, *others = pictures
    first.save(out, "PDF", save_all=True, append_images=others, resolution=_DOTS_AN_INCH)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Sign:
    """A character of a page, and the middle of its box."""

    text: str
    x: float
    y: float


class _Pages:
    """The characters of a document's pages, as PDFium has them."""

    def __init__(self, data: bytes) -> None:
        self._document = pypdfium2.PdfDocument(data)
        self._read: dict[int, list[_Sign]] = {}

    def signs(self, number: int) -> list[_Sign]:
        """Return those of page *number*, in the order of the text."""
        if number not in self._read:
            text = self._document[number - 1].get_textpage()
            found = []
            for index in range(text.count_chars()):
                left, bottom, right, top = text.get_charbox(index)
                sign = chr(pypdfium2.raw.FPDFText_GetUnicode(text.raw, index))
                found.append(_Sign(sign, (left + right) / 2, (bottom + top) / 2))
            self._read[number] = found
        return self._read[number]


def is_marked(quote: str, marks: Sequence[Mark], pages: _Pages) -> bool:
    """Return whether the characters whose middle is marked are the quote's."""
    seen: set[tuple[int, int]] = set()
    texts = []
    for mark in marks:
        for index, sign in enumerate(pages.signs(mark.page)):
            inside = mark.left <= sign.x <= mark.right and mark.bottom <= sign.y <= mark.top
            if inside and (mark.page, index) not in seen:
                seen.add((mark.page, index))
                texts.append(sign.text)
    wanted, found = _plain(quote), _plain("".join(texts))
    same = difflib.SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks()
    held = sum(block.size for block in same)
    # Neither is much of the quote unmarked, nor is much else marked.
    return bool(wanted) and held >= _SAME * len(wanted) and held >= _SAME * len(found)


def _plain(text: str) -> str:
    """Return letters and digits alone; a ligature is its letters."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).lower()


@click.command(help=__doc__)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--quotes", default=200, show_default=True, help="Of each file at most.")
@click.option("--show", is_flag=True, help="Print the quotes that are marked wrongly.")
@click.option("--scanned", is_flag=True, help="Make pictures of the pages first.")
@click.option("--pages", default=3, show_default=True, help="Of a scanned file at most.")
def main(paths: tuple[Path, ...], quotes: int, show: bool, scanned: bool, pages: int) -> None:
    """Print the share a file, and of all."""
    if scanned:
        recognition.load()
    right = all_quotes = 0
    for name, data in find_files(paths):
        try:
            parsed = scan(data, pages=pages) if scanned else data
            if parsed is None:
                continue
            found = find_quotes(parsed, name, count=quotes)
        except Exception as error:  # damaged and protected ones are among them
            click.echo(f"{name}: {type(error).__name__}")
            continue
        characters = _Pages(data)
        good = 0
        for quote, marks in found:
            if is_marked(quote, marks, characters):
                good += 1
            elif show:
                click.echo(f"  {quote!r} {marks}")
        click.echo(f"{name}: {good} of {len(found)}")
        right, all_quotes = right + good, all_quotes + len(found)
    click.echo(f"all: {right} of {all_quotes} ({100 * right / max(1, all_quotes):.1f} %)")


if __name__ == "__main__":
    main()
