"""Print one version's part of CHANGELOG.md: python3 infra/release_notes.py 1.0.0"""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


def read_notes(version: str, text: str) -> str:
    """
    Return what stands under the heading of *version*.

    Raises:
        LookupError: There is no such heading, or nothing under it.
    """
    parts = re.split(r"^## \[?([^\]\s]+)\]?.*$", text, flags=re.MULTILINE)
    notes = dict(zip(parts[1::2], parts[2::2], strict=True)).get(version, "").strip()
    if not notes:
        raise LookupError(f"CHANGELOG.md has no notes for {version}")
    return notes


if __name__ == "__main__":
    try:
        print(read_notes(sys.argv[1], CHANGELOG.read_text("utf-8")))
    except (IndexError, LookupError) as error:
        sys.exit(f"release_notes: {error}")
