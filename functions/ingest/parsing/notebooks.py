"""Jupyter notebooks: the texts as Markdown, the code with its lines, and what it printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .blocks import Event, clean, paragraph
from .figures import Figures, read_data_address
from .markdown import read_markdown

_MAX_OUTPUT_CHARS = 4_000


def is_notebook(value: object) -> bool:
    """Recognise a notebook by the fields that every version has."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("nbformat"), int)
        and (isinstance(value.get("cells"), list) or isinstance(value.get("worksheets"), list))
    )


def notebook_events(notebook: dict[str, Any], *, figures: Figures | None) -> Iterator[Event]:
    """
    Yield the cells of a notebook in order.

    Format: https://nbformat.readthedocs.io/en/latest/format_description.html
    """
    sheets = [notebook, *(s for s in notebook.get("worksheets") or () if isinstance(s, dict))]
    for sheet in sheets:
        cells = sheet.get("cells")
        for cell in cells if isinstance(cells, list) else ():
            if isinstance(cell, dict):
                yield from _cell(cell, figures)


def _cell(cell: dict[str, Any], figures: Figures | None) -> Iterator[Event]:
    text = _joined(cell.get("source") or cell.get("input")).strip("\n").rstrip()
    if cell.get("cell_type") == "heading":
        level = cell.get("level")
        text = f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {text}"
    if cell.get("cell_type") == "code":
        if text.strip():
            yield from paragraph(text, kind="code")
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            if isinstance(output, dict):
                printed = _printed(output)[:_MAX_OUTPUT_CHARS].strip("\n").rstrip()
                if printed.strip():
                    yield from paragraph(printed, kind="code")
                if figures is not None:
                    yield from _picture(output, figures)
    elif text.strip():
        yield from read_markdown(text)


def _picture(output: dict[str, Any], figures: Figures) -> Iterator[Event]:
    data = output.get("data")
    for kind in ("image/png", "image/jpeg"):
        if isinstance(data, dict) and (packed := _joined(data.get(kind))):
            picture = read_data_address(f"data:{kind};base64,{packed}")
            if picture is None:
                figures.leave_out("damaged", None)
            else:
                yield from figures.packed(picture)
            return


def _printed(output: dict[str, Any]) -> str:
    data = output.get("data")
    if isinstance(data, dict):
        # Pictures and programs have a type of their own beside the text.
        return _joined(data.get("text/plain")) if not _is_picture(data) else ""
    if output.get("output_type") in ("error", "pyerr"):
        parts = (output.get("ename"), output.get("evalue"))
        return ": ".join(part for part in map(_joined, parts) if part)
    return _joined(output.get("text"))


def _is_picture(data: dict[str, Any]) -> bool:
    return any(str(kind).startswith("image/") for kind in data)


def _joined(lines: object) -> str:
    if isinstance(lines, list):
        lines = "".join(line for line in lines if isinstance(line, str))
    return clean(lines) if isinstance(lines, str) else ""
