"""Source code and configuration: the lines as they stand, with the names of their sections."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import MAX_BLOCK_CHARS, Block, Event, Request, clean_line, cut
from .decoding import declared_charset, decode_stream
from .text import cleaned

_SECTIONS = {
    # https://docs.python.org/3/library/configparser.html#supported-ini-file-structure
    "ini": re.compile(r"[ \t]*\[(?P<name>[^\]\n]{1,200})\][ \t]*(?:[;#].*)?\n?\Z"),
    # https://toml.io/en/v1.0.0#table: a line of an array has commas, or nothing but a value.
    "toml": re.compile(
        r"[ \t]*\[{1,2}[ \t]*(?P<name>[\w.\"'/@:* -]{1,200}?)[ \t]*\]{1,2}[ \t]*(?:#.*)?\n?\Z"
    ),
    # A key at the margin whose value stands below it.
    "yaml": re.compile(
        r"(?P<name>[^\s#:\-][^#:\n]{0,200}?)[ \t]*:"
        r"(?:[ \t]+[&!|>][^\s]*)*[ \t]*(?:#.*)?\n?\Z"
    ),
}


def parse_source(request: Request, *, sections: str = "") -> Iterator[Event]:
    """
    Yield a text line by line as it stands; a blank line before the margin parts its blocks.

    Args:
        sections: The kind whose sections become headings: "ini", "toml" or "yaml".
    """
    pattern = _SECTIONS.get(sections)
    gap, lines, chars, blank = "", list[str](), 0, False
    charset = declared_charset(request.content_type)
    for line in _lines(cleaned(decode_stream(request.source, declared=charset))):
        found = pattern.match(line) if pattern else None
        starts_at_margin = blank and not line[:1].isspace()
        if lines and (found or starts_at_margin or chars > MAX_BLOCK_CHARS):
            yield from _blocks("".join(lines), gap)
            gap, lines, chars = _end("".join(lines), gap), [], 0
        if found:
            text = line.rstrip()
            label = clean_line(found["name"].strip("\"'"))
            yield Block("heading", text, level=1, label=label, gap=gap)
            gap = line[len(text) :]
            blank = False
            continue
        lines.append(line)
        chars += len(line)
        blank = not line.strip()
    yield from _blocks("".join(lines), gap)


def _blocks(text: str, gap: str) -> Iterator[Block]:
    """Yield the blocks of *text*; blank lines around it are no part of them."""
    text = text.rstrip()
    body = text.lstrip()
    # The first line keeps its indentation.
    start = text.rfind("\n", 0, len(text) - len(body)) + 1
    gap += text[:start]
    for part in cut(text[start:]):
        yield Block("code", part, gap=gap)
        gap = ""


def _end(text: str, gap: str) -> str:
    """Return the white space at the end of *text*, before which *gap* stood."""
    body = text.rstrip()
    return text[len(body) :] if body else gap + text


def _lines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield lines with their ends; one without an end comes in parts."""
    rest = ""
    for piece in pieces:
        *whole, rest = _split(rest + piece)
        yield from whole
        if len(rest) > 4 * MAX_BLOCK_CHARS:
            yield rest
            rest = ""
    if rest:
        yield rest


def _split(text: str) -> list[str]:
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + parts[-1:]
