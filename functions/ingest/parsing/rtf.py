"""RTF, by striprtf."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from striprtf.striprtf import rtf_to_text

from .blocks import Event, Request, Title, clean_line, corrupt, read_all
from .text import parse_text

_CODE_PAGE = re.compile(rb"\\ansicpg(\d{3,5})")
_TITLE = re.compile(r"\{\\info\b.{0,2000}?\{\\title\s([^{}\\]{1,300})\}", re.DOTALL)
# Pictures and fonts as hexadecimal: most of a big file, and slow to walk through.
_PICTURE = re.compile(r"\{\\\*?\\?(?:pict|objdata|fontemb|themedata|datastore)\b[^{}]*\}")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F\r\n]{1000,}")


_to_text: Callable[..., str] = rtf_to_text


def parse_rtf(request: Request) -> Iterator[Event]:
    """Yield the paragraphs of an RTF document."""
    data = read_all(request)
    found = _CODE_PAGE.search(data[:4096])
    page = f"cp{found.group(1).decode()}" if found else "cp1252"
    source = data.decode("latin-1")
    source = _HEXADECIMAL.sub("", _PICTURE.sub("", source))
    if title := _TITLE.search(source[:65536]):
        yield Title(clean_line(title.group(1)))
    try:
        text = _to_text(source, encoding=page, errors="replace")
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        raise corrupt(
            "The RTF file is damaged. Open it in a word processor, save it again "
            "and upload that copy."
        ) from error
    # A line is a paragraph in RTF.
    lines = "\n\n".join(line.rstrip() for line in text.split("\n"))
    stream = io.BytesIO(lines.encode("utf-8", "replace"))
    yield from parse_text(replace(request, source=stream))
