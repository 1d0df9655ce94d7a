"""docs/reliability.md: each of its parts is written by the command that made its figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from tests.support.emulators import ROOT

REPORT = ROOT / "docs" / "reliability.md"
Part = Literal["faults", "mutants", "mutation"]
_PARTS: tuple[Part, ...] = ("faults", "mutants", "mutation")


def write_part(path: Path, part: Part, text: str) -> None:
    """Write *text* as one part of the report at *path*, and leave the other as it is."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    texts = {name: _read_part(old, name) for name in _PARTS} | {part: text.strip()}
    lines = ["# Reliability\n"]
    for name, written in texts.items():
        if written:
            lines.append(f"<!-- make {name} -->\n\n{written}\n\n<!-- /make {name} -->\n")
    path.write_text("\n".join(lines), encoding="utf-8")


def describe(text: str) -> str:
    """Return *text* as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _read_part(report: str, part: Part) -> str:
    marks = f"<!-- make {part} -->(.*)<!-- /make {part} -->"
    found = re.search(marks, report, re.DOTALL)
    return found[1].strip() if found else ""
