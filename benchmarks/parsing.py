"""
Speed and memory of parsing, a format a line: python -m benchmarks.parsing

Documents are made in code. Each way of reading one runs in an interpreter of its own: CPU seconds
and peak of resident memory over what the imports took (Linux only). Beside ours stands the plainest
use of the library that people take.

python -m benchmarks.parsing --against COMMIT FILE... parses files of your own with that commit and
with this tree in turn, and prints the least processor time of each and their ratio.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import docx
import openpyxl
import pptx
import pypdf
import pypdfium2
import xlsxwriter
from selectolax.lexbor import LexborHTMLParser

from benchmarks.made_documents import LIMITS, make_pdf, pdf_lines, small_tokenizer
from functions.ingest.chunking import Budget, chunk_blocks
from functions.ingest.parser_process import load_tokenizer
from functions.ingest.parsing.blocks import Block, Request
from functions.ingest.parsing.registry import parse
from functions.ingest.sandbox import parse_document

_WORDS = "the river and its bridge were built by people of that town over many years".split()  # noqa: SIM905


def _sentence(chance: random.Random, words: int = 12) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(words)).capitalize() + "."


def make_documents() -> dict[str, bytes]:
    """Return documents of a few MB of text or a few hundred pages."""
    chance = random.Random(7)
    lines = [_sentence(chance) for _ in range(40_000)]
    word = docx.Document()
    for i in range(3000):
        word.add_paragraph(" ".join(lines[i * 4 : i * 4 + 4]))
    slides = pptx.Presentation()
    for i in range(150):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = lines[i]
        slide.placeholders[1].text = "\n".join(lines[i * 8 : i * 8 + 8])
    files = {}
    for name, document in (("docx", word), ("pptx", slides)):
        buffer = io.BytesIO()
        document.save(buffer)
        files[name] = buffer.getvalue()
    files["pdf"] = make_pdf([pdf_lines(lines[i * 50 : i * 50 + 50]) for i in range(300)])
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer)
    sheet = book.add_worksheet()
    for i in range(20_000):
        sheet.write_row(i, 0, [f"name {i}", lines[i], i, i * 0.1, "y"])
    book.close()
    files["xlsx"] = buffer.getvalue()
    files["html"] = ("<html><body>" + "".join(f"<p>{line}</p>" for line in lines)).encode()
    files["txt"] = "\n\n".join(lines).encode()
    files["csv"] = "\n".join(f"{i},{line},{i * 7}" for i, line in enumerate(lines)).encode()
    files["json"] = json.dumps([{"id": i, "text": line} for i, line in enumerate(lines)]).encode()
    files["rtf"] = (r"{\rtf1\ansi " + r"\par ".join(lines[:10_000]) + "}").encode()
    return files


def _plain_pdfium(data: bytes) -> None:
    for page in pypdfium2.PdfDocument(data):
        page.get_textpage().get_text_range()


def _plain_openpyxl(data: bytes) -> None:
    for sheet in openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True):
        for _ in sheet.iter_rows(values_only=True):
            pass


def _plain_pptx(data: bytes) -> None:
    for slide in pptx.Presentation(io.BytesIO(data)).slides:
        for shape in slide.shapes:
            if shape.has_text_frame:
                _ = shape.text_frame.text


PLAIN: dict[str, list[tuple[str, Callable[[bytes], object]]]] = {
    "pdf": [
        ("pypdfium2", _plain_pdfium),
        ("pypdf", lambda d: [p.extract_text() for p in pypdf.PdfReader(io.BytesIO(d)).pages]),
    ],
    "docx": [("python-docx", lambda d: [p.text for p in docx.Document(io.BytesIO(d)).paragraphs])],
    "pptx": [("python-pptx", _plain_pptx)],
    "xlsx": [("openpyxl", _plain_openpyxl)],
    "html": [("selectolax", lambda d: LexborHTMLParser(d).text())],
    "txt": [("decode", lambda d: d.decode())],
    "csv": [("csv", lambda d: list(csv.reader(io.StringIO(d.decode()))))],
    "json": [("json", json.loads)],
    "rtf": [],
}


def _ours(data: bytes, name: str, tokenizer: Path | None) -> None:
    _, events = parse(Request(source=io.BytesIO(data), name=name, content_type=None, limits=LIMITS))
    blocks = (event for event in events if isinstance(event, Block))
    if tokenizer is None:
        for _ in blocks:
            pass
        return
    loaded = load_tokenizer(str(tokenizer))
    for _ in chunk_blocks(
        blocks,
        tokenize=lambda text: loaded.encode(text, add_special_tokens=False).offsets,
        budget=Budget(),
        title=str,
    ):
        pass


def measure(kind: str, way: int, document: Path, tokenizer: Path) -> tuple[float, float]:
    """Return CPU seconds and peak memory in MiB of one way of reading, in a fresh interpreter."""
    arguments = ["--one", kind, str(way), "--document", str(document)]
    arguments += ["--tokenizer", str(tokenizer)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.parsing", *arguments], stdout=subprocess.PIPE, check=True
    )
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def _measured(run: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds and MiB of *run*: its peak over what this process had before it."""
    # 5 resets VmHWM, which importing has driven up: https://man7.org/linux/man-pages/man5/proc.5.html
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, began = _status_mebibytes("VmRSS:"), time.process_time()
    run()
    return time.process_time() - began, _status_mebibytes("VmHWM:") - before


def _status_mebibytes(key: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(key)[2].split()[0]) / 1024


def _ways(kind: str, tokenizer: Path) -> list[tuple[str, Callable[[bytes], object]]]:
    return [
        ("ours, parser", lambda data: _ours(data, f"a.{kind}", None)),
        ("ours, with chunks", lambda data: _ours(data, f"a.{kind}", tokenizer)),
        *PLAIN[kind],
    ]


def _start_cost(tokenizer: Path) -> tuple[float, float, float]:
    """Return ms of the first document of a process, and median and worst of a hundred more."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"a short text")
        file.flush()
        times = []
        for _ in range(101):
            began = time.perf_counter()
            parse_document(
                Path(file.name),
                name="a.txt",
                content_type=None,
                limits=LIMITS,
                tokenizer=tokenizer,
                max_tokens=256,
            ).close()
            times.append((time.perf_counter() - began) * 1000)
    return times[0], statistics.median(times[1:]), max(times[1:])


# The parsers of a tree, by the names that they have had.
_PARSE_AGAIN = """
import io, sys, time
from functions.ingest.parsing.blocks import ParseLimits, Request
try:
    from functions.ingest.parsing.registry import parse
except ImportError:
    from functions.ingest.parsing.dispatching import parse
limits = ParseLimits(10_000, 256 << 20, 2_000_000, 20_000, 32 << 20, 300, 1 << 30)
name = sys.argv[1]
data = open(name, "rb").read()
for _ in range(4):
    began = time.process_time()
    source = io.BytesIO(data)
    for _ in parse(Request(source=source, name=name, content_type=None, limits=limits))[1]:
        pass
    print(time.process_time() - began)
"""


def compare(commit: str, files: list[Path], *, rounds: int) -> None:
    """Print the least CPU time of parsing each of *files*, of *commit* and of this tree."""
    with tempfile.TemporaryDirectory() as folder:
        tree = subprocess.run(["git", "archive", commit], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=tree.stdout, check=True)
        trees = {"then": Path(folder), "now": Path.cwd()}
        click.echo(f"{'then ms':>9} {'now ms':>9} {'ratio':>6}")
        for file in files:
            least = dict.fromkeys(trees, float("inf"))
            for _ in range(rounds):
                for when, root in trees.items():
                    done = subprocess.run(
                        [sys.executable, "-c", _PARSE_AGAIN, str(file.resolve())],
                        cwd=root,
                        env={**os.environ, "PYTHONPATH": str(root)},
                        stdout=subprocess.PIPE,
                        check=True,
                    )
                    least[when] = min(least[when], *map(float, done.stdout.split()))
            then, now = least["then"] * 1000, least["now"] * 1000
            click.echo(f"{then:9.1f} {now:9.1f} {now / then:6.2f}  {file.name}")


@click.command()
@click.option("--against", help="a commit to compare this tree with")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), help="tokenizer.json")
@click.option("--one", type=(str, int), hidden=True, default=None)
@click.option("--document", type=click.Path(path_type=Path), hidden=True, default=None)
def main(
    tokenizer: Path | None,
    one: tuple[str, int] | None,
    document: Path | None,
    against: str | None,
    rounds: int,
    files: tuple[Path, ...],
) -> None:
    """Print CPU seconds and memory of each format, and what starting a child costs."""
    if against is not None:
        compare(against, list(files), rounds=rounds)
        return
    if one is not None and document is not None and tokenizer is not None:
        kind, way = one
        read, data = _ways(kind, tokenizer)[way][1], document.read_bytes()
        load_tokenizer(str(tokenizer))
        seconds, peak = _measured(lambda: read(data))
        click.echo(f"{seconds} {peak}")
        return
    with tempfile.TemporaryDirectory() as folder:
        if tokenizer is None:
            tokenizer = Path(folder) / "tokenizer.json"
            small_tokenizer().save(str(tokenizer))
        click.echo(f"{'format':6} {'MB':>5}  {'how':20} {'CPU s':>6} {'MiB':>5}")
        for kind, data in make_documents().items():
            path = Path(folder) / kind
            path.write_bytes(data)
            for way, (how, _) in enumerate(_ways(kind, tokenizer)):
                seconds, peak = measure(kind, way, path, tokenizer)
                told = f"{kind:6} {len(data) / 1e6:5.1f}  {how:20}"
                click.echo(f"{told} {seconds:6.2f} {peak:5.0f}")
        first, median, worst = _start_cost(tokenizer)
        click.echo(
            f"child: first document {first:.0f} ms (starts the fork server), "
            f"then {median:.1f} ms median, {worst:.1f} ms worst of 100"
        )


if __name__ == "__main__":
    main()
