"""
Old Word files (doc): text, lists and tables by anydoc, what stands beside them by word_stories.

Footnotes, comments, page headers and what is not to be read come out as they do of docx.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import anydoc

from shared.errors import Unreadable

from .blocks import Event, Request, Title, clean, clean_line, corrupt, heading, paragraph, read_all
from .compound import COMPOUND_ERRORS, CompoundFile
from .docx import says_more, show_symbols
from .footnotes import with_notes
from .numbering import show_count
from .tables import Below, Beside, TableWriter, cover
from .word_stories import Encrypted, Stories, TooOld, read_stories

_FORMS = {"decimal": "decimal", "lower_alpha": "lowerLetter", "upper_alpha": "upperLetter"} | {
    "lower_roman": "lowerRoman",
    "upper_roman": "upperRoman",
}
_MAX_DEPTH = 50
_MAX_TABLE_CELLS = 1_000_000


def parse_doc(request: Request) -> Iterator[Event]:
    """
    Yield the blocks of an old Word file.

    Raises:
        Unreadable: It is damaged, protected, larger than the limits, or of Word 95 and before.
    """
    data = read_all(request)
    stories = _read_stories(data)
    if title := clean_line(CompoundFile(data).title()):
        yield Title(title)
    for line in dict.fromkeys(filter(says_more, stories.headers)):
        yield from paragraph(line)
    document = _load(stories.data)
    notes = {note.id: " ".join(_texts(note.blocks)) for note in document.notes}
    numbers = {identifier: str(i) for i, identifier in enumerate(notes, start=1)}
    reader = _Reader({one: f"Note {numbers[one]}: {text}" for one, text in notes.items() if text})
    yield from reader.blocks(document.blocks)
    for note in reader.notes.values():
        yield from paragraph(f"[{note}]")
    gap = "\n\n"
    for line in stories.boxes:
        yield from paragraph(line, gap=gap)
        gap = "\n"
    if stories.comments:
        yield from heading("Comments", level=1)
    gap = "\n\n"
    for author, text in stories.comments:
        who = f" by {author}" if author else ""
        yield from paragraph(f"Comment{who}: {text}", kind="item", gap=gap)
        gap = "\n"


def _read_stories(data: bytes) -> Stories:
    try:
        return read_stories(data)
    except Encrypted as error:
        raise _protected() from error
    except TooOld as error:
        raise Unreadable(
            "unsupported_type",
            "The file was written by Word 95 or an older version, which is not supported."
            " Save it as docx.",
        ) from error
    except COMPOUND_ERRORS as error:
        raise _damaged() from error


def _load(data: bytes) -> anydoc.Document:
    try:
        return anydoc.to_document(data, "doc")
    except anydoc.EncryptedError as error:
        raise _protected() from error
    except anydoc.ResourceLimitError as error:
        raise Unreadable(
            "decompression_limit", "The Word file is too large. Split it into smaller files."
        ) from error
    except anydoc.ConvertError as error:
        raise _damaged() from error


def _protected() -> Unreadable:
    return Unreadable(
        "encrypted",
        "The Word file is protected by a password. Remove the password and upload it again.",
    )


def _damaged() -> Unreadable:
    return corrupt(
        "The Word file is damaged. Open it in Word, save it as docx and upload that copy."
    )


class _Reader:
    """
    Turns anydoc's blocks into those of this package.

    Attributes:
        notes: Texts of the notes that no sentence has named yet, by their ids.
    """

    def __init__(self, notes: Mapping[str, str]) -> None:
        self.notes = dict(notes)

    def blocks(self, blocks: Sequence[anydoc.Block], *, depth: int = 0) -> Iterator[Event]:
        if depth > _MAX_DEPTH:
            return
        for block in blocks:
            if block.kind == "heading":
                yield from heading(self.line(block), level=block.level or 1)
            elif block.list is not None:
                yield from self._list(block.list, depth=depth)
            elif block.table is not None:
                yield from self._table(block.table)
            elif inner := _inner(block):
                yield from self.blocks(inner, depth=depth + 1)
            elif block.kind == "code_block" and block.text:
                yield from paragraph(clean(block.text), kind="code")
            elif text := self.line(block):
                yield from paragraph(text)

    def line(self, block: anydoc.Block) -> str:
        """Return what a paragraph says, a note behind the sentence that names it."""
        parts: list[str] = []
        places: list[tuple[int, str]] = []
        _add_inline(block.content or (), parts, places, self.notes)
        text = clean(show_symbols("".join(parts) or block.text or ""))
        lines = [line for part in text.split("\n") if (line := clean_line(part))]
        if not places:
            return "\n".join(lines)
        return clean_line(with_notes(text, [(place, note) for place, note in places]))

    def _list(self, items: anydoc.List, *, depth: int) -> Iterator[Event]:
        level = 0
        waiting: list[tuple[anydoc.List, int, int]] = [(items, 0, 0)]
        gap = "\n\n"
        # Lists in lists in order, without recursion: each entry is a list, its next item and level.
        while waiting:
            current, at, level = waiting.pop()
            if at >= len(current.items):
                continue
            waiting.append((current, at + 1, level))
            item = current.items[at]
            form = _FORMS.get(current.marker)
            default = f"{show_count(current.start + at, form)}." if form else "-"
            mark = clean_line(item.marker_label or default)
            inner: list[tuple[anydoc.List, int, int]] = []
            for block in item.blocks:
                if block.list is not None:
                    inner.append((block.list, 0, level + 1))
                elif block.kind != "paragraph":
                    yield from self.blocks([block], depth=depth + 1)
                elif text := self.line(block):
                    indent = "  " * min(level, _MAX_DEPTH)
                    yield from paragraph(f"{indent}{mark} {text}", kind="item", gap=gap)
                    gap, mark = "\n", " " * len(mark)
            waiting.extend(reversed(inner))

    def _table(self, table: anydoc.Table) -> Iterator[Event]:
        writer = TableWriter()
        cells = 0
        for number, slots in enumerate(table.grid):
            row: list[str] = []
            for column, slot in enumerate(slots):
                if slot.cell is not None:
                    row.append(" ".join(self._cell(slot.cell.blocks)))
                elif slot.origin_row is None or slot.origin_col is None:
                    row.append("")
                elif slot.origin_row < number and slot.origin_col == column:
                    origin = table.grid[slot.origin_row][slot.origin_col].cell
                    text = " ".join(_texts(origin.blocks)) if origin else ""
                    row.append(Below(cover(text, below=True)))
                else:
                    # What a merged cell covers says the same as the place left of it.
                    row.append(Beside(cover(row[-1] if row else "", below=False)))
            cells += len(row)
            if cells > _MAX_TABLE_CELLS:
                raise Unreadable("cell_limit", "The Word file has too many cells. Split it.")
            is_header = number < table.header_rows
            yield from writer.row(row, is_strong=is_header)
        yield from writer.end()

    def _cell(self, blocks: Sequence[anydoc.Block]) -> Iterator[str]:
        for block in blocks:
            if block.content:
                yield clean_line(self.line(block))
            else:
                yield from _texts([block])


def _texts(blocks: Sequence[anydoc.Block], *, depth: int = 0) -> Iterator[str]:
    """Yield the texts of blocks on a line each, whatever is inside of them."""
    if depth > _MAX_DEPTH:
        return
    for block in blocks:
        parts: list[str] = []
        _add_inline(block.content or (), parts, [], {})
        if text := clean_line("".join(parts) or block.text or ""):
            yield text
        for item in block.list.items if block.list else ():
            yield from _texts(item.blocks, depth=depth + 1)
        for slots in block.table.grid if block.table else ():
            for slot in slots:
                if slot.cell:
                    yield from _texts(slot.cell.blocks, depth=depth + 1)
        yield from _texts(_inner(block), depth=depth + 1)


def _inner(block: anydoc.Block) -> Sequence[anydoc.Block]:
    # In the stubs of the library the name of another attribute hides the type of this one.
    return cast("Sequence[anydoc.Block] | None", block.blocks) or ()


def _add_inline(
    content: Sequence[anydoc.Inline],
    parts: list[str],
    places: list[tuple[int, str]],
    notes: dict[str, str],
    *,
    depth: int = 0,
) -> None:
    for part in content:
        if part.kind == "text" and part.style is not None and part.style.strike:
            continue
        if part.kind == "note_ref":
            if note := notes.pop(part.note_id or "", ""):
                places.append((sum(map(len, parts)), note))
        elif part.kind == "line_break":
            parts.append("\n")
        elif part.kind == "checkbox":
            parts.append("[x]" if part.checked else "[ ]")
        elif part.kind == "image":
            parts.append(part.alt or "")
        elif part.content and depth < _MAX_DEPTH:
            _add_inline(part.content, parts, places, notes, depth=depth + 1)
        else:
            parts.append(clean(part.text or ""))
