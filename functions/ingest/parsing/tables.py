"""What the formats with tables share."""

from __future__ import annotations


def looks_like_header(cells: list[str]) -> bool:
    """Tell whether a first row names columns: words in every cell, no numbers."""
    return len(cells) > 1 and all(
        cell and len(cell) <= 100 and not cell[0].isdigit() and not cell.startswith(("-", "+"))
        for cell in cells
    )
