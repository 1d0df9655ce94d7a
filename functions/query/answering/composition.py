"""The Markdown of an answer without a model: its parts as what they are, with marks. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared.values import Hit

from .sanitizer import quote_code, quote_line
from .units import ITEM_MARKER, Unit, row_cells

# Where a line ends and the next begins in a text with a frame of stars around it.
_FRAME = re.compile(r"(?<![ \t])[ \t]+\*[ \t]*\n[ \t]*\*[ \t]+")


def compose(units: Sequence[Unit], passages: Sequence[Hit]) -> str:
    """
    Return the answer that shows *units*: paragraphs, list items, rows by their columns, code.

    Sentences that follow one another are one paragraph; all else stands by itself.
    """
    blocks: list[str] = []
    sentences: list[str] = []
    for unit in units:
        passage = passages[unit.number - 1]
        if unit.kind == "sentence" and not unit.term[1]:
            text = _unframe(passage.text[unit.start : unit.end])
            sentences.append(_with_mark(quote_line(text), unit))
            continue
        if sentences:
            blocks.append(" ".join(sentences))
            sentences = []
        blocks.append(_show(unit, passage))
    if sentences:
        blocks.append(" ".join(sentences))
    return "\n\n".join(blocks)


def _show(unit: Unit, passage: Hit) -> str:
    text = passage.text[unit.start : unit.end]
    if unit.kind == "row":
        return _with_mark(_row(text, unit.header, passage.heading), unit)
    if unit.kind == "code":
        head = passage.text[unit.start : unit.head_end]
        if not head.strip():
            return f"{quote_code(text)}\n[{unit.number}]"
        code = passage.text[unit.head_end : unit.code_end or unit.end]
        shown = f"{_with_mark(quote_line(head), unit)}\n{quote_code(_unindent(code))}"
        rest = passage.text[unit.code_end : unit.end] if unit.code_end else ""
        return f"{shown}\n{_with_mark(quote_line(rest), unit)}" if rest.strip() else shown
    if unit.kind == "list":
        head = quote_line(passage.text[unit.start : unit.head_end])
        items = [
            f"- {quote_line(item)}"
            for item in re.split(
                rf"\n[ \t]*(?=(?:{ITEM_MARKER}|o)[ \t])",
                "\n" + passage.text[unit.head_end : unit.end].strip("\n"),
            )
            for item in [re.sub(rf"^(?:{ITEM_MARKER}|o)[ \t]+", "", item)]
            if item.strip()
        ]
        return "\n".join([_with_mark(head, unit), *items])
    term = passage.text[unit.term[0] : unit.term[1]].strip(" \t\n:¶")
    return _with_mark(quote_line(f"{term}: {text}" if term else text), unit)


def _row(row: str, header: str, heading: str) -> str:
    cells = row_cells(row)
    names = row_cells(header) if header else []
    if names:
        # A row is known by its first cell; "part_no: " in front of it begins no sentence.
        if names[0][:1].islower() and cells[0][:1].isupper():
            names[0] = ""
        named = [
            f"{quote_line(name)}: {quote_line(cell)}" if name else quote_line(cell)
            for name, cell in zip([*names, *[""] * len(cells)], cells, strict=False)
            if cell
        ]
        return "; ".join(named)
    shown = ", ".join(quote_line(cell) for cell in cells if cell)
    leaf = heading.rpartition(" > ")[2]
    return f"{quote_line(leaf)} – {shown}" if leaf and not shown[:1].isupper() else shown


def _unframe(text: str) -> str:
    return _FRAME.sub(" ", text)


def _unindent(code: str) -> str:
    lines = code.strip("\n").split("\n")
    lines = [line for line in lines if not re.match(r"[ \t]*(?:```|~~~)", line)]
    while lines and not lines[0].strip():
        lines.pop(0)
    margins = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    return "\n".join(line[min(margins, default=0) :] for line in lines)


def _with_mark(text: str, unit: Unit) -> str:
    return f"{text} [{unit.number}]"
