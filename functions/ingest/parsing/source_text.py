"""Source code and configuration: the lines as they stand, with the names of their sections."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import MAX_BLOCK_CHARS, Block, Event, Request, clean_line, cut
from .decoding import declared_charset, decode_stream
from .text import cleaned

_SECTIONS = {
    # https://docs.python.org/3/library/configparser.html#supported-ini-file-structure
    "ini": re.compile(r"[ \t]{0,16}\[(?P<name>[^\]\n]{1,200})\][ \t]{0,16}(?:[;#].*)?\n?\Z"),
    # https://toml.io/en/v1.0.0#table: a line of an array has commas, or nothing but a value.
    "toml": re.compile(
        r"[ \t]{0,16}\[{1,2}[ \t]{0,4}(?P<name>[\w.\"'/@:* -]{1,200}?)[ \t]{0,4}\]{1,2}"
        r"[ \t]{0,16}(?:#.*)?\n?\Z"
    ),
    # A key at the margin whose value stands below it.
    "yaml": re.compile(
        r"(?P<name>[^\s#:\-][^#:\n]{0,200}?)[ \t]{0,4}:"
        r"(?:[ \t]{1,8}[&!|>][^\s]{0,80}){0,4}[ \t]{0,16}(?:#.*)?\n?\Z"
    ),
}

# At the margin, what still belongs to the key above: its items, its text, a comment, a bracket.
_IN_SECTION = frozenset(" \t\n-#]}")


def parse_source(request: Request, *, sections: str = "") -> Iterator[Event]:
    """
    Yield a text line by line as it stands; a blank line before the margin parts its blocks.

    Args:
        sections: The kind whose sections become headings: "ini", "toml" or "yaml".
    """
    pattern = _SECTIONS.get(sections)
    gap, lines, chars, blank = "", list[str](), 0, False
    in_section, level = False, 0
    charset = declared_charset(request.content_type)
    for line in _lines(cleaned(decode_stream(request.source, declared=charset))):
        found = pattern.match(line) if pattern else None
        starts_at_margin = blank and not line[:1].isspace()
        if lines and (found or starts_at_margin or chars > MAX_BLOCK_CHARS):
            yield from _blocks("".join(lines), gap, level=level)
            level = 0
            gap, lines, chars = _end("".join(lines), gap), [], 0
        # A key with its value at the margin, or the next document: the section above is over.
        is_over = (
            in_section
            and sections == "yaml"
            and (line[:1] not in _IN_SECTION or line.startswith("---"))
        )
        if is_over and not found:
            if lines:
                yield from _blocks("".join(lines), gap, level=level)
                gap, lines, chars = _end("".join(lines), gap), [], 0
            level, in_section = 1, False
        if found:
            in_section = True
            text = line.rstrip()
            label = clean_line(found["name"].strip("\"'"))
            yield Block("heading", text, level=1, label=label, gap=gap)
            gap = line[len(text) :]
            blank = False
            continue
        lines.append(line)
        chars += len(line)
        blank = not line.strip()
    yield from _blocks("".join(lines), gap, level=level)


def _blocks(text: str, gap: str, *, level: int = 0) -> Iterator[Block]:
    """Yield the blocks of *text*; blank lines around it are no part of them."""
    text = text.rstrip()
    body = text.lstrip()
    # The first line keeps its indentation.
    start = text.rfind("\n", 0, len(text) - len(body)) + 1
    gap += text[:start]
    for part in cut(text[start:]):
        yield Block("code", part, level=level, gap=gap)
        gap, level = "", 0


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
