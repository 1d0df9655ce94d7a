"""Use every parser once, so that no library imports anything in a child, which opens no file."""

from __future__ import annotations

import io

from PIL import Image

from shared.errors import Unreadable

from .blocks import ParseLimits, Request
from .decoding import decode
from .registry import FORMATS, load_parser, parse

_LIMITS = ParseLimits(
    max_pages=10,
    max_decompressed_bytes=1 << 20,
    max_cells=1000,
    max_chunks=100,
    max_text_chars=1 << 20,
    timeout_seconds=10,
    memory_bytes=1 << 30,
)
_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R"
    b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>endobj\n"
    b"4 0 obj<</Length 26>>stream\nBT /F 1 Tf (warm) Tj ET  \nendstream endobj\n"
    b"trailer<</Root 1 0 R>>\n"
)
# A white pixel.
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f0001010100"
    "1bb6ee560000000049454e44ae426082"
)
_EML = (
    b"From: a@example.org\r\nTo: b@example.org\r\nSubject: =?utf-8?q?w=C3=A4rm?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nw=E4rm\r\n"
    b"--b\r\nContent-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nYSxiCjEsMgo=\r\n--b--\r\n"
)
_SAMPLES = (
    ("a.pdf", _PDF),
    ("a.md", b"# Warm\n\ntext\n"),
    ("a.html", b"<!doctype html><title>a</title><h1>b</h1><table><tr><td>c</table>"),
    ("a.txt", "größer später Straße für alle\n".encode("latin-1") * 20),
    ("b.txt", "日本語のテキストです。文字コードを調べる。\n".encode("shift-jis") * 20),
    ("a.eml", _EML),
    ("a.png", _PNG),
    ("a.rtf", rb"{\rtf1\ansi\ansicpg1252 warm \'e4\par}"),
    ("a.csv", b"name,count\na,1\n"),
    ("a.json", b'{"a": [1, {"b": "c"}]}'),
)


def preload() -> None:
    """Import every parser, and parse a small document where its library imports late."""
    Image.preinit()
    for known in FORMATS:
        load_parser(known)
    for name, data in _SAMPLES:
        try:
            _, events = parse(
                Request(source=io.BytesIO(data), name=name, content_type=None, limits=_LIMITS)
            )
            for _ in events:
                pass
        except Unreadable:
            # Only what was imported on the way matters.
            continue
    decode(b"\xff\xfea\0")
