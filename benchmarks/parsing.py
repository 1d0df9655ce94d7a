"""
Speed and memory of parsing, a format a line: python -m benchmarks.parsing

Documents are made in code (tests/documents.py). Each way of reading one runs in its own forked
process: CPU seconds, and how much its peak of resident memory grew over what it began with. "Ours"
is parser and chunker together; beside it stands the plainest use of a library that people take.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import statistics
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
from selectolax.lexbor import LexborHTMLParser
from striprtf.striprtf import rtf_to_text

from functions.ingest.chunking import Budget, chunk_blocks
from functions.ingest.parser_process import load_tokenizer
from functions.ingest.parsing.blocks import Block, Request
from functions.ingest.parsing.dispatching import parse
from functions.ingest.sandbox import parse_document
from tests.documents import LIMITS, make_pdf, make_xlsx, pdf_lines, small_tokenizer, xlsx_row

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
    rows = (xlsx_row(i, [f"name {i}", lines[i], str(i), "x", "y"]) for i in range(1, 20_001))
    files["xlsx"] = make_xlsx({"Sheet": "".join(rows)})
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
    "rtf": [("striprtf", lambda d: rtf_to_text(d.decode()))],
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


def measure(run: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds and growth of peak memory in MiB of *run* in a process of its own."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        finally:
            os._exit(status)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise click.ClickException("a measured process failed")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


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


@click.command()
@click.option("--tokenizer", type=click.Path(exists=True, path_type=Path), help="tokenizer.json")
def main(tokenizer: Path | None) -> None:
    """Print CPU seconds and memory of each format, and what starting a child costs."""
    with tempfile.TemporaryDirectory() as folder:
        if tokenizer is None:
            tokenizer = Path(folder) / "tokenizer.json"
            small_tokenizer().save(str(tokenizer))
        documents = make_documents()
        _, base = measure(lambda: None)
        click.echo(f"{'format':6} {'MB':>5}  {'how':24} {'CPU s':>6} {'MiB':>5}")
        for kind, data in documents.items():
            ways = [
                ("ours, parser", lambda d=data, k=kind: _ours(d, f"a.{k}", None)),
                ("ours, with chunks", lambda d=data, k=kind: _ours(d, f"a.{k}", tokenizer)),
                *((name, lambda d=data, f=read: f(d)) for name, read in PLAIN[kind]),
            ]
            for how, run in ways:
                seconds, peak = measure(run)
                growth = max(0.0, peak - base)
                click.echo(
                    f"{kind:6} {len(data) / 1e6:5.1f}  {how:24} {seconds:6.2f} {growth:5.0f}"
                )
        first, median, worst = _start_cost(tokenizer)
        click.echo(
            f"child: first document {first:.0f} ms (starts the fork server), "
            f"then {median:.1f} ms median, {worst:.1f} ms worst of 100"
        )


if __name__ == "__main__":
    main()
