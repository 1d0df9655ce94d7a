"""
Broken documents of every kind: a parser yields blocks or says why not, and nothing else.

PARSING_CASES=50000 pytest tests/unit/test_parsing_fuzz.py -s makes about so many cases of all tests
together, and prints how many it made.
"""

from __future__ import annotations

import io
import os
import signal
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.ingest.parsing.blocks import Block, Request
from functions.ingest.parsing.registry import parse
from shared.errors import Unreadable
from tests.support.compounds import SAMPLES as FILES
from tests.support.compounds import make_compound, make_msg
from tests.support.documents import (
    LIMITS,
    docx_paragraph,
    make_docx,
    make_epub,
    make_pdf,
    make_pptx,
    make_xlsx,
    make_zip,
    pdf_lines,
    pdf_text,
    pptx_shape,
    xlsx_row,
)
from tests.support.spreadsheets import (
    make_open_document,
    make_spreadsheet_xml,
    make_xls,
    make_xlsb,
)

# What the tests of this file make together at their usual sizes.
_USUAL_CASES = 1_735
_TIMES = int(os.environ.get("PARSING_CASES", _USUAL_CASES)) / _USUAL_CASES
# Of processor time, which a busy machine does not use up: every sample takes milliseconds.
_HANG_SECONDS = 20.0

_LIMITS = replace(LIMITS, max_decompressed_bytes=1 << 20, max_cells=10_000, max_pages=50)
_ODF_TABLE = (
    '<table:table table:name="S"><table:table-row><table:table-cell '
    'table:number-columns-spanned="2" table:number-rows-spanned="2"><text:p>a</text:p>'
    "</table:table-cell></table:table-row><table:table-row><table:covered-table-cell/>"
    '<table:table-cell table:number-columns-repeated="3" office:value="1"/></table:table-row>'
    "</table:table>"
)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("a.txt", "b.csv"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"text"))
    return buffer.getvalue()


SAMPLES: dict[str, bytes] = {
    "winmail.dat": bytes.fromhex("789f3e220100")
    + b"\1\x03\x90\6\0\x18\0\0\0\1\0\0\0\2\1\x13\x10\1\0\0\0\5\0\0\0<p>a\0\0\0\0\0\0"
    + b"\2\2\x90\6\0\1\0\0\0\1\1\0\2\x0f\x80\6\0\4\0\0\0text\0\0",
    "a.pdf": make_pdf([pdf_lines(["Some text.", "More of it."])], title="T"),
    "b.pdf": make_pdf(
        [
            "".join(f"50 {y} m 350 {y} l S\n" for y in range(640, 760, 20))
            + "".join(f"{x} 640 m {x} 740 l S\n40 600 99 9 re f\n" for x in (50, 150, 350))
            + pdf_text((55 + 100 * (i % 3), 725 - 20 * (i // 3), f"cell {i}") for i in range(14))
        ]
        * 2
    ),
    "a.tar": _tar(),
    "a.docx": make_docx(docx_paragraph("Head", style="Heading1") + docx_paragraph("text")),
    "a.pptx": make_pptx([(pptx_shape("slide"), "notes")]),
    "a.xlsx": make_xlsx({"S": xlsx_row(1, ["a", "b"]) + xlsx_row(2, ["c", "d"])}),
    "a.xls": make_xls([["a", 1.5], ["b", (2.0, 1)]], formats=["0.0 %"], merged=[(0, 1, 0, 0)]),
    "a.xlsb": make_xlsb([["a", 1.5], ["b", (2.0, 1)]], formats=["0.0 %"], merged=[(0, 1, 0, 0)]),
    "b.xls": make_spreadsheet_xml(
        '<Row><Cell ss:MergeAcross="1"><Data ss:Type="Number">1</Data></Cell></Row>'
    ),
    "a.doc": FILES.joinpath("rules.doc").read_bytes(),
    "a.ppt": FILES.joinpath("harbour.ppt").read_bytes(),
    "a.msg": make_compound(
        make_msg(
            {0x0037: "s", 0x1000: "text", 0x1013: b"<p>text"},
            people=[(1, "a", "a@b.c")],
            files=[("a.txt", "text/plain", b"a"), ("m", "", make_msg({0x1000: "in"}, head=24))],
        )
    ),
    "a.ods": make_open_document("spreadsheet", _ODF_TABLE),
    "a.odt": make_open_document(
        "text",
        f"<text:list><text:list-item><text:p>a</text:p></text:list-item></text:list>{_ODF_TABLE}",
    ),
    "a.odp": make_open_document(
        "presentation",
        '<draw:page><draw:frame svg:x="1cm" svg:y="1cm" svg:width="2cm" svg:height="1cm">'
        "<draw:text-box><text:p>a</text:p></draw:text-box></draw:frame></draw:page>",
    ),
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
    "a.xml": b'<?xml version="1.0"?><manual><title>T</title><para>a <b>b</b> c</para></manual>',
    "a.vtt": b"WEBVTT\n\n1\n00:00:01.000 --> 00:00:04.000\n<v Ann>one</v>\n\n",
    "a.ipynb": b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["a = 1"],'
    b' "outputs": [{"text": "1"}]}, {"cell_type": "markdown", "source": "# T"}]}',
    "a.xhtml": b'<?xml version="1.0"?><html><title/><p style="display:none">h</p><math><msup>'
    b"<mi>a</mi><mn>2</mn></msup></math></html>",
    "a.mbox": b"From a@b.c Mon Feb  2 10:01:00 2026\nFrom: a@b.c\nSubject: x\n\none\n\n"
    b"From a@b.c Mon Feb  2 10:02:00 2026\nFrom: a@b.c\nSubject: y\n\ntwo\n",
    "a.mht": b"Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/related; boundary=b\n\n"
    b"--b\nContent-Type: text/html\n\n<h1>Page</h1><p>text\n--b--\n",
    "a.ics": b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Drill\nDTSTART;TZID=Europe/Berlin:"
    b"20260503T090000\nLOCATION:Gate\\, four\nATTENDEE;CN=Ann:mailto:a@b.c\nEND:VEVENT\n"
    b"END:VCALENDAR\n",
    "a.man": b".TH A 1\n.SH N\n.TP\n.B \\-k \\fIx\\fR\nText.\n.TS\n"
    b"tab(;);\nl l.\na;b\n_\nT{\nc\nT};d\n.TE\n",
    "a.mdoc": b".Dd a\n.Dt A 1\n.Sh N\n.Nm a\n.Bl -tag\n.It Fl f Ar x Op Fl d\nText\n.El\n",
    "a.tex": rb"\section{A}\begin{tabular}{ll}a & \multirow{2}{*}{b} \\ c & \end{tabular}"
    rb"$\frac{1}{x}$",
    "a.rst": b"A\n=\n\nterm\n   text\n\n=  =\na  b\n=  =\n1  2\n=  =\n\n"
    b"+--+--+\n|a |b |\n+--+--+\n",
    "a.adoc": b"= A\n\nterm:: text\n\n[cols=2]\n|===\n|a 2+|b\n|===\n----\ncode\n----\n",
    "a.org": b"* A\n- term :: text\n| a | b |\n|---+---|\n| 1 | 2 |\n#+BEGIN_SRC\nx\n#+END_SRC\n",
    "a.vcf": b"BEGIN:VCARD\nFN;ENCODING=QUOTED-PRINTABLE:=41\nTEL;CELL:1\nEND:VCARD\n",
    "a.ass": b"[Script Info]\n[Events]\nFormat: Start, Name, Text\n"
    b"Dialogue: 0:00:01.00,Ann,{x}one\n",
}


# Those whose bytes are compressed: an edit of the file itself seldom gets past the checksum.
ZIPPED = [name for name, data in SAMPLES.items() if data.startswith(b"PK")]
cases = 0


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    """Say at the end how many documents were parsed."""
    yield
    print(f"\n{cases} documents parsed")


def bounded(usual: int) -> settings:
    """Return settings of so many examples, or as many times more as PARSING_CASES asks for."""
    return settings(
        max_examples=max(1, round(usual * _TIMES)),
        deadline=None,
        derandomize="CI" in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def watched() -> Iterator[None]:
    """Fail what computes for longer than any sample could need."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still parsing after {_HANG_SECONDS} s of processor time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, _HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _run(data: bytes, name: str) -> None:
    global cases
    cases += 1
    with watched():
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


def _edited(data: bytes, edits: list[tuple[float, bytes, int]]) -> bytes:
    for place, new, removed in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + removed :]
    return data


EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 12)), max_size=6)
# What XML and its readers may stumble over.
_MARKUP = st.sampled_from(
    [
        b"<", b">", b"&", b"&#x0;", b"&#55296;", b"&amp;lt;", b"]]>", b"<!--", b"<![CDATA[", b"/>",
        b'="', b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"-1", b"99999999999999999999", b"1e999",
        b'<!DOCTYPE a [<!ENTITY b "c">]>', b"&b;", b'xmlns:w=""', b"<w:p>", b"</w:p>", b"NaN",
    ]
)  # fmt: skip
MARKUP_EDITS = st.lists(
    st.tuples(st.floats(0, 1), _MARKUP | st.binary(max_size=4), st.integers(0, 40)),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("name", SAMPLES)
@bounded(40)
@given(edits=EDITS)
def test_parser_when_bytes_change(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    """Bytes replaced, inserted and removed anywhere do no more than spoil the document."""
    _run(_edited(SAMPLES[name], edits), name)


@pytest.mark.parametrize("name", ZIPPED)
@bounded(40)
@given(part=st.integers(0, 100), edits=MARKUP_EDITS)
def test_parser_when_a_part_of_the_archive_changes(
    name: str, part: int, edits: list[tuple[float, bytes, int]]
) -> None:
    """Damage inside of a sound container, where its own checks see nothing."""
    with zipfile.ZipFile(io.BytesIO(SAMPLES[name])) as archive:
        parts: dict[str, bytes | str] = {entry: archive.read(entry) for entry in archive.namelist()}
    chosen = sorted(parts)[part % len(parts)]
    content = parts[chosen]
    assert isinstance(content, bytes)
    parts[chosen] = _edited(content, edits)
    _run(make_zip(parts, first="mimetype" if "mimetype" in parts else None), name)


@pytest.mark.parametrize("name", SAMPLES)
@bounded(15)
@given(part=st.floats(0, 1))
def test_parser_when_cut_off(name: str, part: float) -> None:
    """A document cut off anywhere is read up to there or refused."""
    data = SAMPLES[name]
    _run(data[: int(part * len(data))], name)


@pytest.mark.parametrize(
    "name", ["a.html", "a.xhtml", "a.xml", "a.ipynb", "a.md", "a.rtf", "a.eml", "a.json", "b.xls"]
)
@bounded(20)
@given(edits=MARKUP_EDITS)
def test_parser_when_markup_changes(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    """Pieces of markup in the wrong place are read or refused."""
    _run(_edited(SAMPLES[name], edits), name)


@bounded(150)
@given(data=st.binary(max_size=600), name=st.sampled_from([*SAMPLES, "a"]))
def test_parser_when_bytes_are_random(data: bytes, name: str) -> None:
    """Random bytes under any name are read as text or refused."""
    _run(data, name)


@bounded(100)
@given(
    text=st.text(max_size=300), name=st.sampled_from(["a.html", "a.md", "a.csv", "a.txt", "a.rtf"])
)
def test_parser_when_text_is_random(text: str, name: str) -> None:
    """Random text under any name of a text format is read or refused."""
    _run(text.encode("utf-8", "surrogatepass"), name)
