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
    """Write *text* as one part of the report at *path*, and leave all else as it is."""
    report = path.read_text(encoding="utf-8") if path.exists() else "# Reliability\n"
    written = f"<!-- make {part} -->\n\n{text.strip()}\n\n<!-- /make {part} -->\n"
    if found := re.search(f"<!-- make {part} -->.*<!-- /make {part} -->\n", report, re.DOTALL):
        report = report[: found.start()] + written + report[found.end() :]
    else:
        later = _PARTS[_PARTS.index(part) + 1 :]
        places = [report.find(f"<!-- make {other} -->") for other in later]
        place = min((place for place in places if place >= 0), default=-1)
        if place < 0:
            report = f"{report}\n{written}"
        else:
            report = f"{report[:place]}{written}\n{report[place:]}"
    path.write_text(report, encoding="utf-8")


def describe(text: str) -> str:
    """Return *text* as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
