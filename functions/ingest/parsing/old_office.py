"""Old Word and PowerPoint files (doc, ppt), by anydoc, which runs here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anydoc

from shared.errors import Unreadable

from .blocks import Event, Request, clean, clean_line, corrupt, heading, paragraph, read_all
from .tables import TableWriter

_MAX_DEPTH = 50


def parse_doc(request: Request) -> Iterator[Event]:
    """Yield the blocks of an old Word file; a note follows the text, under its number."""
    document = _load(request, "doc", what="Word", newer="docx")
    yield from _blocks(document.blocks)
    for number, note in enumerate(document.notes, start=1):
        if text := " ".join(_texts(note.blocks)):
            yield from paragraph(f"[Note {number}: {text}]")


def parse_ppt(request: Request) -> Iterator[Event]:
    """Yield the blocks of an old PowerPoint file, slide by slide."""
    yield from _blocks(_load(request, "ppt", what="PowerPoint", newer="pptx").blocks)


def _load(request: Request, kind: anydoc.Format, *, what: str, newer: str) -> anydoc.Document:
    try:
        return anydoc.to_document(read_all(request), kind)
    except anydoc.EncryptedError as error:
        raise Unreadable(
            "encrypted",
            f"The {what} file is protected by a password. Remove the password and upload it again.",
        ) from error
    except anydoc.ResourceLimitError as error:
        raise Unreadable(
            "decompression_limit", f"The {what} file holds too much. Split it."
        ) from error
    except anydoc.ConvertError as error:
        raise corrupt(
            f"The {what} file is damaged. Open it in {what}, save it as {newer} "
            "and upload that copy."
        ) from error


def _blocks(blocks: Sequence[anydoc.Block], *, depth: int = 0) -> Iterator[Event]:
    if depth > _MAX_DEPTH:
        return
    for block in blocks:
        if block.kind == "heading":
            yield from heading(clean_line(_inline(block.content)), level=block.level or 1)
        elif block.list is not None:
            yield from _list(block.list, depth=depth)
        elif block.table is not None:
            yield from _table(block.table)
        elif block.blocks is not None:
            # Notes of a speaker stand as a quotation.
            yield from _blocks(block.blocks, depth=depth + 1)
        elif block.text:
            yield from paragraph(clean(block.text), kind="code")
        elif text := _line(block):
            yield from paragraph(text)


def _list(items: anydoc.List, *, depth: int) -> Iterator[Event]:
    for number, item in enumerate(items.items, start=items.start):
        default = "-" if items.marker == "bullet" else f"{number}."
        mark, gap = clean_line(item.marker_label or default), "\n"
        for block in item.blocks:
            if block.kind == "paragraph" and (text := _line(block)):
                yield from paragraph(f"{mark} {text}".strip(), kind="item", gap=gap)
                mark = ""
            elif block.kind != "paragraph":
                yield from _blocks([block], depth=depth + 1)


def _table(table: anydoc.Table) -> Iterator[Event]:
    writer = TableWriter()
    for number, slots in enumerate(table.grid):
        cells = []
        for slot in slots:
            if slot.cell is None and slot.origin_row is not None and slot.origin_col is not None:
                # What a merged cell covers says the same.
                slot = table.grid[slot.origin_row][slot.origin_col]
            cells.append(" ".join(_texts(slot.cell.blocks)) if slot.cell else "")
        yield from writer.row(cells, is_header=number < table.header_rows or None)
    yield from writer.end()


def _texts(blocks: Sequence[anydoc.Block], *, depth: int = 0) -> Iterator[str]:
    """Yield the texts of blocks on a line each, whatever is inside of them."""
    if depth > _MAX_DEPTH:
        return
    for block in blocks:
        if text := _line(block):
            yield text
        for item in block.list.items if block.list else ():
            yield from _texts(item.blocks, depth=depth + 1)
        if block.table:
            for row in block.table.grid:
                for slot in row:
                    if slot.cell:
                        yield from _texts(slot.cell.blocks, depth=depth + 1)
        yield from _texts(block.blocks or (), depth=depth + 1)


def _line(block: anydoc.Block) -> str:
    # A placeholder of a number or a date is a lone asterisk.
    text = clean_line(_inline(block.content) or (block.text or ""))
    return "" if text == "*" else text


def _inline(content: Sequence[anydoc.Inline] | None) -> str:
    parts = []
    for part in content or ():
        if part.kind == "text" and part.style is not None and part.style.strike:
            continue
        if part.kind == "line_break":
            parts.append("\n")
        elif part.kind == "checkbox":
            parts.append("[x]" if part.checked else "[ ]")
        elif part.kind == "image":
            parts.append(part.alt or "")
        else:
            parts.append(part.text or _inline(part.content))
    return "".join(parts)
