"""Charts and sheets that an old Office file holds as objects: their values, as tables."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from shared.errors import Unreadable

from .archives import Archive
from .blocks import Block, Request
from .compound import COMPOUND_ERRORS, CompoundFile
from .members import MAX_DEPTH, OF_THE_WHOLE, demoted
from .opendocument import packed_object_blocks
from .registry import parse

# An object of Excel, or of Microsoft Graph, which draws the charts of slides.
_WORKBOOK = "workbook"
# What Excel from 2007 on, and LibreOffice, pack into an object.
_PACKAGE, _OPEN_DOCUMENT = "package", "package_stream"


def object_blocks(data: bytes, request: Request, *, page: int) -> Iterator[Block]:
    """
    Yield the rows of an object in the document of *request*.

    What is no workbook or chart, or is damaged, gives none: the document shows a picture of it.

    Raises:
        Unreadable: With it the whole document would grow beyond a limit.
    """
    if request.depth >= MAX_DEPTH:
        return
    try:
        file = CompoundFile(data)
        streams = file.root.streams
        packed = next((name for name in (_PACKAGE, _OPEN_DOCUMENT) if name in streams), "")
        if packed:
            data = file.read(file.root, packed)
        elif _WORKBOOK not in streams:
            return
        source = io.BytesIO(data)
        if packed == _OPEN_DOCUMENT:
            archive = Archive(source, limits=request.limits, what="OpenDocument")
            yield from packed_object_blocks(archive, page=page)
            return
        inside = replace(
            request, source=source, name="object", content_type=None, depth=request.depth + 1
        )
        _, events = parse(inside)
        for event in demoted(events, by=0):
            if isinstance(event, Block) and event.kind != "heading":
                yield event._replace(page=page)
    except COMPOUND_ERRORS:
        return
    except Unreadable as error:
        if error.code in OF_THE_WHOLE:
            raise
