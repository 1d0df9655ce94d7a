r"""RTF: groups, code pages, tables, notes and what is left out."""

from __future__ import annotations

import pytest

from functions.ingest.parsing.blocks import Title
from shared.errors import Unreadable
from tests.support.documents import blocks_of, parse_bytes, text_of

HEAD = (
    rb"{\rtf1\ansi\ansicpg1252\uc1{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Arial Cyr;}"
    rb"{\f2\fcharset128 Gothic;}{\f3\fcharset2 Symbol;}}{\colortbl;\red0\green0\blue0;}"
    rb"{\stylesheet{\ql Normal;}{\s1\ql\outlinelevel0 heading 1;}{\s2 heading 2;}"
    rb"{\*\cs10 Default Paragraph Font;}}{\info{\title B\'fccher}{\author Ana}}"
)


def read(body: bytes) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks_of(HEAD + body + b"}", "a.rtf")]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb"Gr\'fc\'dfe \u8364?uro", "Grüße €uro"),
        (rb"{\f1 \'cc\'e8\'f0} mir", "Мир mir"),
        (rb"{\f2 \'83\'65\'83X\'83g}", "テスト"),
        (rb"\u-10179?\u-8704? joy", "😀 joy"),
        (rb"{\uc2 \u252\'fc\'fcber}", "über"),
        (rb"{\upr{gr?n}{\*\ud{gr\u252?n}}}", "grün"),
        (rb"a\~b\_c \{x\} 1\endash 2\emdash \ldblquote q\rdblquote", "a b\u2011c {x} 1–2—“q”"),
        (rb"Price {\deleted 10}{\revised 12} EUR", "Price 12 EUR"),
        (rb"seen {\v secret}\v more\v0  again {\strike old}new", "seen again new"),
        (rb"a{\pict\pngblip 89504e47}{\*\unknown b}{\field{\*\fldinst LINK}{\fldrslt c}}", "ac"),
        (rb"a{\pict\bin4 }{}\\x}b", "ab"),
        (rb"One{\footnote\pard{\super\chftn} Only here.\par} fits. Two.",
         "One fits. [Only here.] Two."),
    ],
)  # fmt: skip
def test_rtf_paragraph(body: bytes, text: str) -> None:
    """A paragraph says what a word processor shows of it."""
    assert read(body + rb"\par") == [("paragraph", text)]


def test_rtf_headings_and_lists() -> None:
    """Styles name headings; the numbers and bullets of lists are text."""
    body = (
        rb"\pard\s1 {\listtext 1\tab}Scope\par\pard\s2 Parts\par\pard "
        rb"{\listtext\f3 \'b7\tab}loam\par{\listtext b)\tab}clay\par\pard\outlinelevel2 Deep\par"
    )
    assert read(body) == [
        ("heading", "1 Scope"),
        ("heading", "Parts"),
        ("item", "- loam"),
        ("item", "b) clay"),
        ("heading", "Deep"),
    ]
    assert Title("Bücher") in parse_bytes(HEAD + b"x}", "a.rtf")[1]


def test_rtf_table() -> None:
    """Rows carry their header; merged cells stand in each place that they cover."""
    body = (
        rb"Before\par\trowd\trhdr\cellx1000\cellx2000\cellx3000\pard\intbl Zone\cell Day\cell "
        rb"Night\cell\row\trowd\cellx1010\cellx3000\intbl A\cell 30\par km/h\cell\row"
        rb"\trowd\clvmgf\cellx1000\cellx2000\cellx3000 B\cell 40\cell 50\cell\row"
        rb"\trowd\clvmrg\cellx1000\cellx2000\cellx3000 \cell 41\cell 51\cell\row\pard After\par"
    )
    assert read(body) == [
        ("paragraph", "Before"),
        ("row", "Zone | Day | Night"),
        ("row", "A | 30 km/h | 30 km/h"),
        ("row", "B | 40 | 50"),
        ("row", "B | 41 | 51"),
        ("paragraph", "After"),
    ]
    rows = [block for block in blocks_of(HEAD + body + b"}", "a.rtf") if block.kind == "row"]
    assert [row.header for row in rows[1:]] == ["Zone | Day | Night"] * 3


def test_rtf_what_stands_beside_the_text() -> None:
    """Page headers come first and once, without page numbers; comments come last."""
    body = (
        rb"{\header Handbook of the town HR-11\par}{\headerf Handbook of the town HR-11\par}"
        rb"{\footer Page {\field{\*\fldinst PAGE}{\fldrslt 3}}\par}"
        rb"Text {\shp{\*\shpinst{\sp{\sn a}{\sv 1}}{\shptxt Boxed\par}}{\shprslt Boxed}}goes"
        rb"{\*\atnauthor Ana}{\*\annotation Check this.\par} on.\par"
    )
    assert read(body) == [
        ("paragraph", "Handbook of the town HR-11"),
        ("paragraph", "Text goes on."),
        ("paragraph", "Boxed"),
        ("heading", "Comments"),
        ("item", "Comment: Check this."),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{\\rtf1 a" + b"{" * 100_000, "nested too deeply"),
        (b"{\\rtf1 " + b"{\\b word}" * 9 + b"{\\i cut of", "ends early"),
    ],
)
def test_rtf_when_damaged(data: bytes, reason: str) -> None:
    """What is too deep or cut off is refused with a reason."""
    with pytest.raises(Unreadable, match=reason) as caught:
        text_of(data, "a.rtf")
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize(
    "data",
    [
        rb"{\rtf1 word\u99999999999?\u-99999? \bin99999999999 x",
        rb"{\rtf1 word\trowd\cellx-5\cellx9\cellx3 a\cell\cell\cell\cell\row",
        rb"{\rtf1 word}}}}{{}}\par",
        b"{\\rtf1 word\\",
        rb"{\rtf1\ansicpg99999 word{\fonttbl{\f0\fcharset999\cpg-1 x;}}\f0 \'zz}",
    ],
)
def test_rtf_when_strange(data: bytes) -> None:
    """Numbers out of range and braces too many spoil no more than themselves."""
    assert "word" in text_of(data, "a.rtf")


def test_rtf_when_cells_reach_far() -> None:
    """A small file makes no huge table of wide cells."""
    edges = b"".join(b"\\cellx%d" % (100 * i) for i in range(1, 256))
    wide = b"\\trowd\\cellx25500 " + b"w" * 200 + b"\\cell\\row"
    data = b"{\\rtf1\\trowd" + edges + b" a\\cell" * 255 + b"\\row" + wide * 3_000 + b"}"
    assert len(text_of(data, "a.rtf")) < 50_000_000


def test_rtf_when_digits_are_raised() -> None:
    """A power stays one."""
    assert read(rb"10{\super 3} l of H{\sub 2}O and 5\super 2\nosupersub  m\par") == [
        ("paragraph", "10³ l of H2O and 5² m")
    ]


def test_rtf_with_page_headers() -> None:
    """Page headers come first, those of later sections below no heading; styles inherit levels."""
    styles = rb"{\stylesheet{\s1\outlinelevel0 heading 1;}{\s7\sbasedon1 Mine;}}"
    body = (
        rb"{\header Handbook HB-5\par}\pard\s7 Hotels\par\pard Ninety.\par"
        rb"{\footer Second section QM-77\par}\pard More.\par"
    )
    blocks = blocks_of(rb"{\rtf1\ansi" + styles + body + b"}", "a.rtf")
    assert [(block.text, block.kind, block.level) for block in blocks] == [
        ("Handbook HB-5", "paragraph", 0),
        ("Hotels", "heading", 1),
        ("Ninety.", "paragraph", 0),
        ("More.", "paragraph", 0),
        ("Second section QM-77", "paragraph", 1),
    ]
