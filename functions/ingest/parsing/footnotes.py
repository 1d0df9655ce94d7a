"""Where the text of a footnote goes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SENTENCE_END = re.compile(r"[.!?…]['\")\]’”]*(?=\s|$)|[。！？]|$")


def with_notes(text: str, notes: Sequence[tuple[int, str]]) -> str:
    """
    Return *text* with each note behind the sentence that names it.

    Args:
        notes: (place in the text that names it, what it says), in the order of the places.
    """
    parts: list[str] = []
    done = 0
    for place, note in notes:
        # The number of a note stands before or behind the full stop.
        found = _SENTENCE_END.search(text, max(done, place - 2))
        end = max(done, found.end() if found else len(text))
        parts += [text[done:end], f" [{note}]"]
        done = end
    return "".join(parts) + text[done:]
