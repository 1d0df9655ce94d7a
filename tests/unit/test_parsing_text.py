"""Plain text, Markdown and the encodings they come in."""

from __future__ import annotations

import io
import unicodedata

import pytest

from functions.ingest.parsing.blocks import Block, EmptyPage, Title
from functions.ingest.parsing.decoding import decode, detect_encoding
from functions.ingest.parsing.registry import MARKDOWN, TEXT
from shared.errors import Unreadable
from tests.support.documents import blocks_of, parse_bytes, text_of

GERMAN = "Die Straße war größer als erwartet, später kamen auch für Kinder schöne Äpfel."
SPANISH = "El niño comió piñas en la montaña y después cantó una canción. ¿Dónde está?"
FRENCH = "Le café était fermé à Noël, où les élèves avaient reçu leurs cadeaux."
VIETNAMESE = "Đội hình Panthers cũng có người tiền vệ kỳ cựu, dẫn đầu về số lần vật ngã."
JAPANESE = "これは文字コードを調べるための日本語のテキストです。東京都の天気は晴れです。"
CHINESE = "这是一个用于测试文件编码的简单中文文本。今天天气很好,我们去公园散步。"
ARABIC = "هذا نص عربي بسيط لاختبار ترميز المستند والتأكد من قراءته بشكل صحيح."
_TONES = "\u0300\u0301\u0303\u0309\u0323"


def encode_cp1258(text: str) -> bytes:
    """Write tones as combining characters after their letter, as windows-1258 wants it."""
    out = b""
    for letter in unicodedata.normalize("NFC", text):
        parts = unicodedata.normalize("NFD", letter)
        tones = "".join(part for part in parts if part in _TONES)
        base = unicodedata.normalize("NFC", "".join(p for p in parts if p not in _TONES))
        try:
            out += letter.encode("cp1258")
        except UnicodeEncodeError:
            out += (base + tones).encode("cp1258")
    return out


@pytest.mark.parametrize("text", [GERMAN, SPANISH, FRENCH, VIETNAMESE, JAPANESE, CHINESE, ARABIC])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_decode_when_unicode(text: str, encoding: str) -> None:
    """Unicode with or without a byte order mark is read."""
    assert text == decode(text.encode(encoding))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        (GERMAN, "latin-1"),
        (SPANISH, "latin-1"),
        (FRENCH, "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.", "cp1250"),
        ("Это обычный русский текст для проверки кодировки документа.", "cp1251"),
        ("Αυτό είναι ένα απλό ελληνικό κείμενο για τον έλεγχο.", "cp1253"),
        (ARABIC, "cp1256"),
        (JAPANESE, "shift-jis"),
        (JAPANESE, "euc-jp"),
        (JAPANESE, "iso2022-jp"),
        (CHINESE, "gb18030"),
        ("Plain wide text, größer than before.", "utf-16-le"),
        ("Plain wide text, größer than before.", "utf-16-be"),
    ],
)
def test_decode_when_undeclared(text: str, encoding: str) -> None:
    """An encoding that nobody names is recognised."""
    assert text == decode(text.encode(encoding))


def test_decode_when_windows_1258() -> None:
    """Vietnamese in windows-1258, its tones apart, becomes composed text."""
    assert text_of(encode_cp1258(VIETNAMESE), "a.txt") == VIETNAMESE


def test_decode_when_declared() -> None:
    """A declared encoding is followed where the bytes agree with it."""
    data = "Łódź".encode("iso8859-2")
    assert text_of(data, "a.txt", content_type="text/plain; charset=iso-8859-2") == "Łódź"


def test_decode_when_declaration_is_wrong() -> None:
    """UTF-8 that calls itself something else is still UTF-8."""
    data = GERMAN.encode()
    assert text_of(data, "a.txt", content_type="text/plain; charset=iso-8859-1") == GERMAN


def test_decode_when_bytes_are_broken() -> None:
    """Broken bytes are marked; what stands around them is kept and no language is made up."""
    assert decode(b"good start \xff\xfe\xfa good end") == "good start \ufffd\ufffd\ufffd good end"


def test_detect_encoding_when_late() -> None:
    """A letter after a megabyte of ASCII still decides."""
    source = io.BytesIO(b"a " * 600_000 + "später größer schöner für".encode("cp1252"))
    assert detect_encoding(source)[0] == "cp1252"


def test_text_when_decomposed() -> None:
    """Decomposed Unicode becomes composed."""
    assert text_of(unicodedata.normalize("NFD", VIETNAMESE).encode(), "a.txt") == VIETNAMESE


def test_text_when_nul_bytes() -> None:
    """NUL bytes vanish, the text around them stays."""
    assert text_of(b"Boiler code B-20.\x00 Text after it.", "a.txt") == (
        "Boiler code B-20. Text after it."
    )


def test_text_when_lone_surrogates() -> None:
    """Lone surrogates, which UTF-8 cannot hold, become replacement characters."""
    text = text_of("before ".encode("utf-16") + b"\x00\xd8a\x00 \x00b\x00", "a.txt")
    assert text.encode().startswith(b"before ")


def test_text_when_title_line() -> None:
    """A first line of its own is the document's heading."""
    first, second = blocks_of(b"Annual report\n\nSales grew in spring.\n", "a.txt")
    assert (first.kind, first.label) == ("heading", "Annual report")
    assert (second.kind, second.text) == ("paragraph", "Sales grew in spring.\n".strip())


def test_text_when_one_line_only() -> None:
    """A text of one line is no heading without text."""
    assert [block.kind for block in blocks_of(b"The gate number is G-14.", "a.txt")] == [
        "paragraph"
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_text_is_verbatim(name: str) -> None:
    """Gaps and texts join to the file: an offset into the text is one into the file."""
    text = "\n# One\n\nfirst  line\n  second\n\n\n\n- item\n- item\n\n```\ncode\n\n  more\n```\nend"
    assert text == "".join(block.gap + block.text for block in blocks_of(text.encode(), name))


def test_text_when_single_line_is_huge() -> None:
    """A line of megabytes comes in bounded blocks that join to it again."""
    data = b"word " * 400_000
    blocks = blocks_of(data, "a.txt")
    assert max(len(block.text) for block in blocks) <= 16_384
    assert "".join(block.gap + block.text for block in blocks) == data.decode().rstrip()


@pytest.mark.parametrize("data", [b"", b"  \n\t\n", b"\xef\xbb\xbf", b"\0\0\0\0"])
def test_text_when_empty(data: bytes) -> None:
    """A file without a single character is refused as empty."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.txt")
    assert caught.value.code == "empty"


def test_text_when_binary() -> None:
    """Bytes of no known format are refused, not indexed as letters."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(bytes(range(32)) * 100, "a.txt")
    assert caught.value.code == "unsupported_type"


def test_text_when_declared_as_pdf() -> None:
    """The content decides: a note uploaded as a PDF is text."""
    kind, events = parse_bytes(b"The hatch number is H-303.", "a", content_type="application/pdf")
    assert kind == TEXT
    assert not any(isinstance(event, EmptyPage) for event in events)


MARKDOWN_TEXT = b"""---
title: Field guide
---

# Birds

Intro with a [link](http://example.org).

Robins
------

| name | size |
|------|------|
| robin | small |
| eagle | big |

1. look
2. listen

```python
# not a heading
```
"""


def test_markdown_blocks() -> None:
    """Headings, tables with their header, list items and code fences are told apart."""
    kind, events = parse_bytes(MARKDOWN_TEXT, "guide.md")
    blocks = [event for event in events if isinstance(event, Block)]
    assert kind == MARKDOWN
    assert Title("Field guide") in events
    assert [(b.label, b.level) for b in blocks if b.kind == "heading"] == [
        ("Birds", 1),
        ("Robins", 2),
    ]
    rows = [block for block in blocks if block.kind == "row"]
    assert [row.header for row in rows] == ["", "| name | size |", "| name | size |"]
    assert [b.text for b in blocks if b.kind == "item"] == ["1. look", "2. listen"]
    assert "# not a heading" in next(block.text for block in blocks if block.kind == "code")


def test_markdown_when_fence_never_ends() -> None:
    """An open fence takes the rest of the document, all of it."""
    text = "```\n" + "line\n" * 10_000
    assert text.rstrip() == "".join(b.gap + b.text for b in blocks_of(text.encode(), "a.md"))


@pytest.mark.parametrize("encoding", ["koi8-r", "cp1251", "cp866", "iso8859-5"])
def test_text_in_an_old_cyrillic_encoding(encoding: str) -> None:
    """A short Russian text is read in each of its old encodings."""
    text = "Привет мир, это текст о лодках и причалах в гавани. Цена 40 рублей."
    assert text_of(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize("encoding", ["mac_roman", "cp1252", "cp850"])
def test_text_in_an_old_western_encoding(encoding: str) -> None:
    """A short French text is read in each of its old encodings."""
    text = "Le café du port ouvre à six heures, même l'été, près de l'hôtel déjà réservé."
    assert text_of(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize("encoding", ["shift_jis", "euc_jp"])
def test_text_in_an_old_japanese_encoding(encoding: str) -> None:
    """The syllables of Japanese tell its encodings from those of its neighbours."""
    text = "倉庫は水曜日に閉まります。門は朝六時に開きます。"
    assert text_of(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["Ворота открываются в шесть.", "門は朝六時に開きます。\n水曜日は休み。"]
)
def test_text_in_utf_16_without_a_mark(encoding: str, text: str) -> None:
    """Scripts whose letters have no zero byte are told by their blanks and full stops."""
    assert "".join(text_of(text.encode(encoding), "a").split("\n\n")) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Die Schlüssel hängen im Büro. Die Tür ist grün, für alle Gäste.", "cp850"),
        ("המפתח של המחסן נמצא אצל השומר. המחסן נפתח כל יום בשעה שמונה.", "cp1255"),
        ("Prom odpływa o siódmej z nabrzeża pięć i wraca. Cena złotych.", "cp1250"),
        ("Prom odpływa o siódmej z nabrzeża pięć i wraca. Cena złotych.", "cp852"),
        ("Trajekt odplouvá v sedm z mola pět, šest korun, děti půl, žádné zboží.", "iso8859-2"),
        ("A komp hétkor indul, az őr és a hűtő is fizet, olcsóbb jegy nőknek.", "iso8859-2"),
        ("Feribot sabah beş numaralı iskeleden kalkar, öğleden sonra döner.", "cp1254"),
        ("Keltas išplaukia kiekvieną dieną ir grįžta vakare, bilietas eurų.", "cp1257"),
        ("Ключ от склада находится у сторожа, склад открывается утром.", "cp1251"),
    ],
)
def test_text_in_another_old_encoding(text: str, encoding: str) -> None:
    """Short texts of DOS and of Hebrew Windows are told from those of their neighbours."""
    assert text_of(text.encode(encoding), "a.txt") == text


def test_mail_in_utf_7() -> None:
    """A message that says so is decoded, although all its bytes are ASCII."""
    head = b"Subject: Key\nContent-Type: text/plain; charset=utf-7\n\n"
    assert "Schlüssel am Gerät" in text_of(head + "Schlüssel am Gerät".encode("utf-7"), "a.eml")
