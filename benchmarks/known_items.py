"""
Known-item questions out of translated manual pages: is a page found by what it says it is for?

python -m benchmarks.known_items LANGUAGE=FOLDER... --output SET, with Debian's manpages-ja or
manpages-zh unpacked (apt-get download manpages-ja; dpkg -x manpages-ja_*.deb ja;
ja=ja/usr/share/man/ja). The question is the one line that the page says of itself under NAME,
without the command's name; the page, without that section, is what is to be found. Such questions
are short noun phrases by the page's own author, so they flatter the text leg; what they compare is
ways to split a text without spaces.

Writes SET for python -m admin.evaluation SET --upload, and prints nDCG@10 of plain BM25 over whole
pages (their first 3,000 characters) for each way to split.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import click

from admin.evaluation import measure_documents
from shared.language import searchable_text

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]+")
_REQUEST = re.compile(r"^[.'][ \t]*(\S*)[ \t]*(.*)$")
_ESCAPES = (
    (re.compile(r"\\f(?:\[[^\]]*\]|\([A-Z]{2}|.)"), ""),
    (re.compile(r"\\s[+-]?\d+"), ""),
    (re.compile(r"\\(?:\(|\[)[^\]\s]{1,2}\]?"), " "),
    (re.compile(r"\\[&,/|^:%]"), ""),
    (re.compile(r"\\-"), "-"),
    (re.compile(r"\\e"), r"\\"),
    (re.compile(r"\\~|\\ "), " "),
)
_LEAST_QUESTION_SIGNS = 6
_LEAST_PAGE_SIGNS = 150
# The beginning says what a page is about; whole reference manuals only take long to embed.
_MOST_PAGE_CHARS = 3000


@dataclass(frozen=True, slots=True)
class Page:
    """A manual page: what it says of itself, and the rest."""

    id: str
    language: str
    question: str
    text: str


def read_page(path: Path, *, language: str) -> Page | None:
    """Return the page, None where it says too little in *language* to be asked for."""
    try:
        source = gzip.decompress(path.read_bytes()).decode()
    except UnicodeDecodeError:
        return None
    sections: list[list[str]] = [[]]
    for line in source.splitlines():
        text = _plain(line)
        if line.upper().startswith(".SH"):
            sections.append([])
        if text:
            sections[-1].append(text)
    if len(sections) < 3:
        return None
    _, dash, question = " ".join(sections[1][1:]).partition(" - ")
    text = "\n\n".join("\n".join(section) for section in sections[2:])[:_MOST_PAGE_CHARS]
    enough = (
        _count_signs(question) >= _LEAST_QUESTION_SIGNS and _count_signs(text) >= _LEAST_PAGE_SIGNS
    )
    if not dash or not enough:
        return None
    stem = re.sub(r"\W+", "_", path.name.removesuffix(".gz"))
    return Page(f"{language}-{stem}", language, question.strip(), text)


def _plain(line: str) -> str:
    """Return what a reader sees of a line of roff, near enough."""
    if line.startswith((r".\"", r"'\"", "...")):
        return ""
    request = _REQUEST.match(line)
    if request is not None:
        name, line = request.groups()
        if name.isupper() is False or name in {"TH", "TP", "IP", "RS", "RE", "PD"}:
            return ""
        line = line.replace('"', "")
    for pattern, plain in _ESCAPES:
        line = pattern.sub(plain, line)
    return line.strip()


def _count_signs(text: str) -> int:
    return sum(map(len, _UNSPACED.findall(text)))


def read_pages(folder: Path, *, language: str, limit: int) -> list[Page]:
    """Return at most *limit* pages, by chance but always the same, no two with one question."""
    pages: dict[str, Page] = {}
    for path in sorted(folder.glob("man[1-8]/*.gz")):
        page = None if path.is_symlink() else read_page(path, language=language)
        if page is not None:
            pages.setdefault(page.question, page)
    found = list(pages.values())
    return random.Random(0).sample(found, min(limit, len(found)))


def write_set(pages: Sequence[Page], folder: Path) -> None:
    """Write corpus, questions and judgements as admin.evaluation reads them."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    with (
        (folder / "queries.jsonl").open("w", encoding="utf-8") as queries,
        (folder / "qrels.tsv").open("w", encoding="utf-8") as judgements,
    ):
        judgements.write("query-id\tcorpus-id\tscore\n")
        for page in pages:
            (folder / "corpus" / f"{page.id}.txt").write_text(page.text + "\n", encoding="utf-8")
            question = {"id": page.id, "text": page.question, "lang": page.language}
            queries.write(json.dumps(question, ensure_ascii=False) + "\n")
            judgements.write(f"{page.id}\t{page.id}\t1\n")


# --- ways to split -------------------------------------------------------------------------------


def _single_signs(text: str) -> list[str]:
    return _UNSPACED.sub(lambda run: " " + " ".join(run.group()) + " ", text.lower()).split()


def _shipped(text: str) -> list[str]:
    return searchable_text(text, language="").split()


WAYS: dict[str, Callable[[str], list[str]]] = {
    "by spaces and punctuation": lambda text: re.findall(r"\w+", text.lower()),
    "single characters": _single_signs,
    "pairs (shipped)": _shipped,
    "pairs and single characters": lambda text: [*_shipped(text), *_single_signs(text)],
}


def rank(pages: Sequence[Page], split: Callable[[str], list[str]]) -> Iterator[list[str]]:
    """Yield the ids of the best ten pages for each page's question: BM25, k1 1.2, b 0.75."""
    bags = [Counter(split(page.text)) for page in pages]
    lengths = [bag.total() for bag in bags]
    mean = fmean(lengths)
    holders = Counter(word for bag in bags for word in bag)
    for page in pages:
        asked = Counter(split(page.question))
        scores = [
            sum(
                times
                * math.log1p((len(pages) - holders[word] + 0.5) / (holders[word] + 0.5))
                * (2.2 * bag[word] / (bag[word] + 1.2 * (0.25 + 0.75 * length / mean)))
                for word, times in asked.items()
                if word in bag
            )
            for bag, length in zip(bags, lengths, strict=True)
        ]
        best = sorted(range(len(pages)), key=lambda index: -scores[index])[:10]
        yield [pages[index].id for index in best if scores[index] > 0]


@click.command(help=__doc__)
@click.argument("folders", metavar="LANGUAGE=FOLDER...", nargs=-1, required=True)
@click.option("--output", required=True, type=click.Path(path_type=Path))
@click.option("--limit", default=200, show_default=True, help="Pages of a language.")
def main(folders: tuple[str, ...], output: Path, limit: int) -> None:
    """Write the set and compare the ways to split."""
    pages: list[Page] = []
    for folder in folders:
        language, _, path = folder.partition("=")
        if not Path(path).is_dir():
            raise click.ClickException(f"{folder!r}: give LANGUAGE=FOLDER, such as ja=share/man/ja")
        pages += read_pages(Path(path), language=language, limit=limit)
    write_set(pages, output)
    click.echo(f"{len(pages)} pages and questions written to {output}")
    for name, split in WAYS.items():
        found = list(rank(pages, split))
        for language in sorted({page.language for page in pages}):
            values = [
                measure_documents(ids, {page.id: 1.0})["ndcg"]
                for page, ids in zip(pages, found, strict=True)
                if page.language == language
            ]
            click.echo(f"{name:28}  {language}  {len(values):4}  {fmean(values):.4f}")


if __name__ == "__main__":
    main()
