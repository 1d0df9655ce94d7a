"""Blocks of texts that are written line by line with marks of their own: roff, LaTeX and others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .blocks import Block, BlockKind, clean, clean_line, heading, paragraph
from .tables import MAX_TITLE_CHARS, Below, Beside, Row, TableWriter

# A term longer than this is a sentence, below which its explanation starts a line of its own.
_MAX_TERM_CHARS = 200


class Prose:
    """
    Gathers lines into paragraphs and items, and gives each out as a block.

    A term stays with its explanation: "term: explanation".
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.lead = ""
        self.kind: BlockKind = "paragraph"
        self.gap = "\n\n"

    @property
    def is_open(self) -> bool:
        """Whether a paragraph or an item has begun."""
        return bool(self.lines or self.lead)

    def add(self, line: str) -> None:
        """Add a line to what is open; a line of "\n" alone is a break."""
        self.lines.append(line)

    def item(self, marker: str) -> Iterator[Block]:
        """Begin an item of a list."""
        yield from self.flush()
        self.kind, self.lead = "item", f"{marker} "

    def term(self, term: str) -> Iterator[Block]:
        """Begin what explains a term, or two in a row, or what answers a question."""
        if self.kind == "item" and self.lead.endswith(": ") and not self.lines:
            self.lead = f"{self.lead[:-2]}, {term}: "
            return
        yield from self.flush()
        if term.rstrip().endswith(("?", "？")):
            yield from paragraph(clean_line(term))
            self.kind, self.gap = "item", "\n\n"
            return
        self.kind, self.lead = "item", f"{clean_line(term)}: "

    def heading(self, text: str, *, level: int) -> Iterator[Block]:
        """Yield a heading, and what was open before it."""
        yield from self.flush()
        yield from heading(clean_line(text), level=min(max(level, 1), 6))
        self.gap = "\n\n"

    def code(self, lines: Sequence[str]) -> Iterator[Block]:
        """Yield lines as they stand, without the margin that all of them have."""
        yield from self.flush()
        text = clean("\n".join(without_margin(lines))).strip("\n").rstrip()
        yield from paragraph(text, kind="code")
        self.gap = "\n\n"

    def table(
        self, rows: Sequence[Row], *, title: str = "", is_said: bool = False
    ) -> Iterator[Block]:
        """Yield the rows of a table under its title, which may have been given out before."""
        yield from self.flush()
        writer = TableWriter()
        if title and not is_said:
            yield from paragraph(title)
        writer.title = title[:MAX_TITLE_CHARS]
        for row in rows:
            cells = [
                cell if isinstance(cell, Beside | Below) else clean_line(cell) for cell in row.cells
            ]
            yield from writer.row(cells, is_header=row.is_header, is_strong=row.is_strong)
        yield from writer.end()
        self.gap = "\n\n"

    def flush(self) -> Iterator[Block]:
        """Yield what is open."""
        lines, self.lines = self.lines, []
        lead, self.lead = self.lead, ""
        kind, self.kind = self.kind, "paragraph"
        parts = (clean_line(part) for part in " ".join(lines).split("\n"))
        text = "\n".join(filter(None, parts))
        if lead.endswith(": ") and (not text or len(lead) > _MAX_TERM_CHARS):
            lead = lead[:-2] + ("\n" if text else "")
        text = f"{lead}{text}".rstrip()
        if not text.strip():
            return
        gap = "\n" if kind == "item" and self.gap == "\n" else "\n\n"
        yield from paragraph(text, kind=kind, gap=gap)
        self.gap = "\n" if kind == "item" else "\n\n"


def indent_of(line: str) -> int:
    """Return how many blanks a line begins with."""
    return len(line) - len(line.lstrip(" "))


def without_margin(lines: Sequence[str]) -> list[str]:
    """Return *lines* without the blanks that all of them begin with."""
    margin = min((indent_of(line) for line in lines if line.strip()), default=0)
    return [line[margin:].rstrip() for line in lines]
