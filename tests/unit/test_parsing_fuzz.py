"""Broken documents of every kind: a parser yields blocks or says why not, and nothing else."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.ingest.parsing.blocks import Block, Request
from functions.ingest.parsing.dispatching import parse
from shared.errors import Unreadable
from tests.documents import (
    LIMITS,
    docx_paragraph,
    make_docx,
    make_epub,
    make_pdf,
    make_pptx,
    make_xlsx,
    pdf_lines,
    pptx_shape,
    xlsx_row,
)

_LIMITS = replace(LIMITS, max_decompressed_bytes=1 << 20, max_cells=10_000, max_pages=50)
SAMPLES: dict[str, bytes] = {
    "a.pdf": make_pdf([pdf_lines(["Some text.", "More of it."])], title="T"),
    "a.docx": make_docx(docx_paragraph("Head", style="Heading1") + docx_paragraph("text")),
    "a.pptx": make_pptx([(pptx_shape("slide"), "notes")]),
    "a.xlsx": make_xlsx({"S": xlsx_row(1, ["a", "b"]) + xlsx_row(2, ["c", "d"])}),
    "a.epub": make_epub(["<h1>One</h1><p>text</p>"]),
    "a.html": b"<html><title>t</title><h1>h</h1><table><tr><th>a<td>b</table><pre>c</pre>",
    "a.md": b"# H\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n- item\n",
    "a.txt": "Größe\n\nText größer.\n".encode("cp1252"),
    "a.csv": b'a,b\n"1,5",2\n',
    "a.json": b'{"a": [1, {"b": "c"}], "d": null}',
    "a.jsonl": b'{"a": 1}\n{"b": 2}\n',
    "a.rtf": rb"{\rtf1\ansi\ansicpg1252{\fonttbl\f0 Arial;}\f0 Gr\'fc\'dfe \u8364?\par x}",
    "a.eml": b"From: a@b.c\nTo: d@e.f\nSubject: =?utf-8?q?x?=\nMIME-Version: 1.0\n"
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\ntext\n--b--\n",
}


def _run(data: bytes, name: str) -> None:
    try:
        _, events = parse(
            Request(source=io.BytesIO(data), name=name, content_type=None, limits=_LIMITS)
        )
        for event in events:
            if isinstance(event, Block):
                # What a database cannot store must not get this far.
                assert "\0" not in event.text
                event.text.encode()
                assert len(event.text) <= 1 << 16
    except Unreadable:
        return


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 12)), max_size=6
    )
)
def test_parser_when_bytes_change(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    """Bytes replaced, inserted and removed anywhere do no more than spoil the document."""
    data = SAMPLES[name]
    for place, new, removed in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + removed :]
    _run(data, name)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=15, deadline=None)
@given(part=st.floats(0, 1))
def test_parser_when_cut_off(name: str, part: float) -> None:
    """A document cut off anywhere is read up to there or refused."""
    data = SAMPLES[name]
    _run(data[: int(part * len(data))], name)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=600), name=st.sampled_from([*SAMPLES, "a"]))
def test_parser_when_bytes_are_random(data: bytes, name: str) -> None:
    """Random bytes under any name are read as text or refused."""
    _run(data, name)


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(max_size=300), name=st.sampled_from(["a.html", "a.md", "a.csv", "a.txt", "a.rtf"])
)
def test_parser_when_text_is_random(text: str, name: str) -> None:
    """Random text under any name of a text format is read or refused."""
    _run(text.encode("utf-8", "surrogatepass"), name)
