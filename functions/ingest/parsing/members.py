"""Documents inside of documents: attachments, members of archives, files in a PDF."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from shared.errors import Unreadable

from .blocks import Block, Event, Request, Title, clean_line, heading, paragraph
from .registry import parse

# A message in an archive in a message: deeper ones are named, not read.
MAX_DEPTH = 5
_MAX_NAME_CHARS = 280
# What bounds the whole document, not only the part in which it shows.
OF_THE_WHOLE = frozenset(["decompression_limit", "cell_limit", "too_much_text"])


def read_member(
    request: Request,
    data: bytes,
    *,
    name: str,
    content_type: str | None,
    called: str,
    level: int = 1,
) -> Iterator[Event]:
    """
    Yield a document that is inside of the one of *request*, under its name.

    What cannot be read is named in the text: a type that is not read by its name alone, anything
    else with the reason.

    Args:
        called: What stands before its name: "Attachment", say.
        level: That of the heading with its name; those inside are below it.

    Raises:
        Unreadable: With it the whole document would grow beyond a limit.
    """
    shown = f"{called}: {clean_line(name)[:_MAX_NAME_CHARS]}"
    if request.depth >= MAX_DEPTH:
        yield Block("paragraph", f"{shown} (not read: nested too deeply)", level=level)
        return
    inside = replace(
        request,
        source=io.BytesIO(data),
        name=name,
        content_type=content_type,
        depth=request.depth + 1,
    )
    try:
        _, events = parse(inside)
    except Unreadable as error:
        if error.code in OF_THE_WHOLE:
            raise
        yield from not_read(shown, error, level=level)
        return
    yield from document_heading(shown, level=level)
    try:
        empty = True
        for event in demoted(events, by=level):
            empty = False
            yield event
        if empty:
            yield from paragraph("(no text was found in it)")
    except Unreadable as error:
        if error.code in OF_THE_WHOLE:
            raise
        yield from paragraph(f"(not read: {error.message})")


def demoted(events: Iterator[Event], *, by: int) -> Iterator[Event]:
    """Yield the blocks of a document inside of another, its headings *by* levels deeper."""
    is_first = True
    for event in events:
        if isinstance(event, Block):
            if is_first and "\n" not in event.gap:
                # A text begins without a gap where it is the whole document.
                event = event._replace(gap="\n\n")
            is_first = False
            # The page is that of the document inside, not of this one.
            depth = min(event.level + by, 9) if event.level else 0
            yield event._replace(page=None, level=depth, page_starts=(), lines=())
        elif isinstance(event, Title):
            yield from heading(event.text, level=by + 1)


def document_heading(name: str, *, level: int = 1) -> Iterator[Event]:
    """Yield the name of a document that is inside of another: its text is in no other's chunk."""
    for block in heading(clean_line(name)[:_MAX_NAME_CHARS], level=level):
        yield block._replace(begins_document=True)


def not_read(name: str, error: Unreadable, *, level: int = 1) -> Iterator[Event]:
    """Yield the name of what could not be read, and why."""
    shown = clean_line(name)[:_MAX_NAME_CHARS]
    silent = error.code in ("unsupported_type", "empty")
    text = f"{shown} (not read)" if silent else f"{shown} (not read: {error.message})"
    yield Block("paragraph", text, level=level)
