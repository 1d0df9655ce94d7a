"""Old Office files and Outlook messages: what a person sees in them, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from functions.ingest.parsing.blocks import Title
from functions.ingest.parsing.packed_rtf import unpack_rtf
from functions.ingest.parsing.registry import DOC, MSG, PPT, XLS
from shared.errors import Unreadable
from tests.support.compounds import SAMPLES, Stream, make_compound, make_msg
from tests.support.documents import blocks_of, parse_bytes, text_of

_RULES = SAMPLES.joinpath("rules.doc").read_bytes()
_HARBOUR = SAMPLES.joinpath("harbour.ppt").read_bytes()
# Where its main stream begins.
_FIB = _RULES.index(b"\xec\xa5")


def test_doc_blocks() -> None:
    """Headings and lists have their numbers, tables their header, notes stand in their sentence."""
    kind, events = parse_bytes(_RULES, "rules.doc")
    assert kind == DOC
    assert events[0] == Title("Lock house rules")
    assert [(block.kind, block.text) for block in blocks_of(_RULES, "rules")] == [
        ("paragraph", "Harbour office, internal"),
        ("paragraph", "Page of rules 7B"),
        ("heading", "1. Operation"),
        (
            "paragraph",
            "The lock opens at 6:40. [Note 1: On Sundays at 8:15.] Größe 12 m — naïve €.",
        ),
        ("heading", "1.1 Fees"),
        ("paragraph", "Bold fee and open."),
        ("item", "a) first letter"),
        ("item", "  a.1. sub one"),
        ("item", "b) second letter"),
        ("paragraph", "Between."),
        ("item", "c) third letter"),
        ("item", "- bullet one"),
        ("row", "Vessel | Fee by season | Fee by season\n | Summer | Winter"),
        ("row", "Barge | 41.50 | 18.20"),
        ("row", "Yacht |  | 9.10"),
        ("paragraph", "After the table."),
        ("heading", "2. Closing"),
        ("paragraph", "End of rules with a link to page."),
        ("paragraph", "Boxed warning 77"),
        ("heading", "Comments"),
        ("item", "Comment by Ben: Check this comment"),
    ]


def test_doc_when_older_than_word_97() -> None:
    """A file of Word 95 is refused with what to do about it."""
    # FibBase, [MS-DOC] 2.5.2: the version behind the mark.
    data = _RULES[: _FIB + 2] + b"\x68\0" + _RULES[_FIB + 4 :]
    with pytest.raises(Unreadable, match=r"Word 95.*Save it as docx") as refused:
        parse_bytes(data, "a.doc")
    assert refused.value.code == "unsupported_type"


def test_doc_when_encrypted() -> None:
    """A file with a password is refused as one."""
    at = _FIB + 11
    data = _RULES[:at] + bytes([_RULES[at] | 0x01]) + _RULES[at + 1 :]
    with pytest.raises(Unreadable) as refused:
        parse_bytes(data, "a.doc")
    assert refused.value.code == "encrypted"


def test_ppt_blocks() -> None:
    """A slide is a page under its title; shapes come as they are read, then the notes."""
    kind, _ = parse_bytes(_HARBOUR, "harbour.ppt")
    assert kind == PPT
    assert [(block.kind, block.page, block.text) for block in blocks_of(_HARBOUR, "harbour")] == [
        ("heading", 1, "Harbour budget 2027"),
        ("paragraph", 1, "Piles of oak: 31,400 EUR"),
        ("paragraph", 1, "from Lithuania"),
        ("paragraph", 1, "Decking größer Ж"),
        ("paragraph", 1, "Left box: first"),
        ("paragraph", 1, "Right box: second"),
        ("paragraph", 1, "Notes:"),
        ("paragraph", 1, "Say that oak lasts 40 years."),
        ("heading", 2, "Ports"),
        ("row", 2, "Region | Port | Cost"),
        ("row", 2, "North | Emden | 120"),
        ("row", 2, "North | Husum"),
        ("item", 2, "1. one"),
        ("item", 2, "2. two"),
    ]


def test_ppt_when_encrypted() -> None:
    """A presentation with a password is refused as one."""
    data = _HARBOUR.replace(b"\x5f\xc0\x91\xe3", b"\xdf\xc4\xd1\xf3")
    assert data != _HARBOUR
    with pytest.raises(Unreadable) as refused:
        parse_bytes(data, "a.ppt")
    assert refused.value.code == "encrypted"


def test_compound_file_when_another_is_embedded() -> None:
    """The streams at the top tell what a file is, not those of an object in it."""
    data = make_compound({"WordDocument": b"x", "ObjectPool": {"_1": {"Workbook": b"x"}}})
    with pytest.raises(Unreadable, match="Word"):
        parse_bytes(data, "a.doc")
    data = make_compound({"Workbook": b"x", "MBD1": {"WordDocument": b"x"}})
    with pytest.raises(Unreadable, match="Excel"):
        parse_bytes(data, "a.xls")
    assert XLS != DOC


_TEXTS: Mapping[int, str | bytes] = {
    0x001A: "IPM.Note",
    0x0037: "Größe of the beams",
    0x0C1A: "Ines Müller",
    0x5D01: "ines@example.org",
    0x1000: "We need 12 beams\r\nby Friday.",
}
_PEOPLE = [(1, "Tom Baker", "tom@example.org"), (2, "Ann", "ann@example.org")]
_SENT = {0x0039: datetime(2026, 3, 4, 9, 30, tzinfo=UTC)}


def test_msg_when_plain() -> None:
    """Subject, people, date and text of an Outlook message are read as those of mail."""
    data = make_compound(make_msg(_TEXTS, people=_PEOPLE, times=_SENT))
    kind, events = parse_bytes(data, "a.msg")
    assert kind == MSG
    assert events[0] == Title("Größe of the beams")
    assert text_of(data, "a") == (
        "Subject: Größe of the beams\nFrom: Ines Müller <ines@example.org>\n"
        "To: Tom Baker <tom@example.org>\nCc: Ann <ann@example.org>\n"
        "Date: Wed, 04 Mar 2026 09:30:00 +0000\nWe need 12 beams\nby Friday."
    )


def test_msg_with_attachments() -> None:
    """Attachments are read by their own type; a message within stands under its subject."""
    inner = make_msg(
        {0x0037: "Offer 81", 0x1000: "The price is 7 EUR.", 0x0C1A: "Supplier"},
        files=[("sums.csv", "text/csv", b"beam,length\nB4,7.5\n")],
        head=24,
    )
    files: list[tuple[str, str, bytes | Mapping[str, Stream]]] = [
        ("notes.txt", "text/plain", b"Keep it dry."),
        ("Offer 81", "", inner),
        ("logo.png", "image/png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
    ]
    data = make_compound(make_msg(_TEXTS, files=files))
    text = text_of(data, "a.msg")
    places = [
        text.index(one)
        for one in ("by Friday", "notes.txt", "Keep it dry", "Offer 81", "7 EUR", "B4 | 7.5")
    ]
    assert places == sorted(places)


def test_msg_when_html() -> None:
    """The HTML half is read where it says more, in the code page that the message names."""
    texts = {**_TEXTS, 0x1000: "", 0x1013: "<p>Höhe</p><table><tr><th>a</table>".encode("cp1252")}
    data = make_compound(make_msg(texts))
    assert "Höhe" in text_of(data, "a.msg")


def test_msg_when_an_invitation() -> None:
    """Time and place of an invitation are read."""
    streams = make_msg(
        {**_TEXTS, 0x001A: "IPM.Schedule.Meeting.Request", 0x8000: "Shaft 2, cellar"},
        times={
            0x0060: datetime(2027, 4, 12, 14, 30, tzinfo=UTC),
            0x0061: datetime(2027, 4, 12, 16, 0, tzinfo=UTC),
        },
    )
    # The place has the first number that the file gives to properties with names.
    names = bytes.fromhex("08820000") + bytes.fromhex("0600") + bytes.fromhex("0000")
    streams["__nameid_version1.0"] = {"__substg1.0_00030102": names}
    text = text_of(make_compound(streams), "a.msg")
    assert "Start: 2027-04-12 14:30 UTC" in text
    assert "End: 2027-04-12 16:00 UTC" in text
    assert "Place: Shaft 2, cellar" in text


def test_msg_when_in_packed_rtf_only() -> None:
    """A message whose only text is RTF, as Outlook packs it, is read."""
    # [MS-OXRTFCP], 3.1.1: the example of the specification.
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af3"
        "2068656c090020627705b06c647d0a800fa0"
    )
    assert unpack_rtf(packed, limit=1000) == (b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n")
    data = make_compound(make_msg({0x0037: "S", 0x1009: packed}))
    assert text_of(data, "a.msg").endswith("hello world")


@pytest.mark.parametrize("name", ["rules.doc", "harbour.ppt"])
@pytest.mark.parametrize("length", [600, 3_000, 9_000])
def test_old_office_when_truncated(name: str, length: int) -> None:
    """A truncated file says that it is damaged, or gives the text that is left."""
    data = SAMPLES.joinpath(name).read_bytes()[:length]
    with pytest.raises(Unreadable) as refused:
        parse_bytes(data, name)
    assert refused.value.code in ("corrupt", "unsupported_type")
