"""Plain text: paragraphs as they stand, so that offsets are those of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import MAX_BLOCK_CHARS, Block, Event, Request, clean, cut
from .decoding import declared_charset, decode_stream

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_MAX_TITLE_CHARS = 250
_SENTENCE_END = re.compile(r"[!?:;,]$")


def parse_text(request: Request) -> Iterator[Event]:
    """
    Yield the paragraphs of a plain text.

    A first line of its own, followed by a blank line, is the title.
    """
    paragraphs = verbatim_paragraphs(
        decode_stream(request.source, declared=declared_charset(request.content_type))
    )
    first = next(paragraphs, None)
    second = next(paragraphs, None)
    if first is None:
        return
    gap, text = first
    if second is not None and _is_title(text):
        yield Block("heading", text, level=1, label=" ".join(text.split()), gap=gap)
    else:
        yield Block("paragraph", text, gap=gap)
    if second is not None:
        yield Block("paragraph", second[1], gap=second[0])
    for gap, text in paragraphs:
        yield Block("paragraph", text, gap=gap)


def verbatim_paragraphs(pieces: Iterator[str]) -> Iterator[tuple[str, str]]:
    """
    Yield (white space before, text) of each paragraph; joined they are the cleaned text.

    A paragraph over MAX_BLOCK_CHARS comes in parts, the later ones with an empty gap.
    """
    gap, rest = "", ""
    at_start = True
    for piece in cleaned(pieces):
        rest += piece
        if at_start:
            text = rest.lstrip()
            gap, rest = gap + rest[: len(rest) - len(text)], text
            at_start = not text
        start = 0
        for found in _BLANK_LINES.finditer(rest):
            # White space at the very end may go on in the next piece.
            if found.end() == len(rest):
                break
            yield from _parts(gap, rest[start : found.start()])
            gap, start = found.group(), found.end()
        rest = rest[start:]
        if len(rest) > 2 * MAX_BLOCK_CHARS:
            *whole, rest = cut(rest)
            for part in whole:
                yield gap, part
                gap = ""
    yield from _parts(gap, rest.rstrip())


def _parts(gap: str, text: str) -> Iterator[tuple[str, str]]:
    if len(text) <= MAX_BLOCK_CHARS:
        if text:
            yield gap, text
        return
    for part in cut(text):
        yield gap, part
        gap = ""


def cleaned(pieces: Iterator[str]) -> Iterator[str]:
    """Clean piece by piece; a piece ends before white space, so that NFC sees whole letters."""
    held = ""
    for piece in pieces:
        text = held + piece
        end = len(text) - 1
        while end > 0 and len(text) - end < 64:
            if text[end].isspace() and text[end - 1] != "\r":
                break
            end -= 1
        yield clean(text[:end])
        held = text[end:]
    yield clean(held)


def _is_title(text: str) -> bool:
    return (
        "\n" not in text
        and len(text) <= _MAX_TITLE_CHARS
        and not _SENTENCE_END.search(text)
        and (not text.endswith(".") or text.endswith(" .") or text.count(". ") == 0)
    )
