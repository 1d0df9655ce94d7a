"""What the formats with tables share."""

from __future__ import annotations

from collections.abc import Iterator

from .blocks import Block, paragraph

# A row of more characters is written as a record, a line a column: its cells stay near their names.
_MAX_ROW_CHARS = 600
_MAX_HEADER_CHARS = 400


def looks_like_header(cells: list[str]) -> bool:
    """Tell whether a first row names columns: words in every cell, no numbers."""
    return len(cells) > 1 and all(
        cell and len(cell) <= 100 and not cell[0].isdigit() and not cell.startswith(("-", "+"))
        for cell in cells
    )


class TableWriter:
    """
    Writes the rows of one sheet or file.

    The first row that looks like a header is one; single cells above it are captions.
    """

    def __init__(self, *, page: int | None = None) -> None:
        self.page = page
        self.names: list[str] = []
        self.header = ""
        self.rows = 0
        self.gap = "\n\n"

    def row(self, cells: list[str]) -> Iterator[Block]:
        """Yield a row, or the record it makes with its header."""
        filled = sum(1 for cell in cells if cell)
        if not filled:
            self.gap = "\n\n"
            return
        if filled == 1 and not self.rows:
            yield from paragraph(next(cell for cell in cells if cell), page=self.page)
            return
        self.rows += 1
        if self.rows == 1 and looks_like_header(cells):
            self.names = cells
            text = " | ".join(cells)
            yield from paragraph(text, kind="row", page=self.page, gap="\n\n")
            self.header = text if len(text) <= _MAX_HEADER_CHARS else ""
            self.gap = "\n"
            return
        text = " | ".join(cells) if filled > len(cells) // 4 else self._record(cells, " | ")
        if self.names and (not self.header or len(text) > _MAX_ROW_CHARS):
            text = self._record(cells, "\n")
            yield from paragraph(text, kind="row", page=self.page)
        else:
            yield from paragraph(text, kind="row", page=self.page, gap=self.gap, header=self.header)
        self.gap = "\n"

    def note(self, text: str) -> Iterator[Block]:
        """Yield what stands beside the table."""
        yield from paragraph(text, page=self.page)
        self.gap = "\n\n"

    def _record(self, cells: list[str], separator: str) -> str:
        """Return the filled cells with the names of their columns, where these have one."""
        parts = []
        for i, cell in enumerate(cells):
            if cell:
                name = self.names[i] if i < len(self.names) else ""
                parts.append(f"{name}: {cell}" if name else cell)
        return separator.join(parts)
