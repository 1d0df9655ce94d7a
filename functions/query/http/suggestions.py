"""Headings of the documents that a reader could ask about. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

MAX_HEADINGS = 8
_LENGTHS = range(4, 61)
# A number before it ("3.2 Leave") is no part of what it names.
_NUMBER = re.compile(r"^[\s\d.()§#-]+")
# These name no subject, in any document that has them.
_FRAME = frozenset(
    re.split(
        r"\W+",
        """abstract appendix anhang conclusion contents einleitung fazit glossar glossary index
        inhalt introducción introduction literatur overview preface references resumen résumé
        sommaire summary vorwort zusammenfassung índice überblick""",
    )
)


def choose_headings(found: Iterable[tuple[UUID, str]]) -> list[str]:
    """
    Return one heading a document, the first that names a subject.

    Args:
        found: Documents and the paths of headings in them, "Title > Section", in reading order.
    """
    chosen: dict[UUID, str] = {}
    for document_id, path in found:
        # The title says what the document is called; a section, what it is about.
        title, arrow, rest = path.partition(" > ")
        heading = _NUMBER.sub("", (rest if arrow else title).rpartition(" > ")[2]).strip()
        if document_id in chosen or len(heading) not in _LENGTHS or not arrow:
            continue
        if heading.lower() in _FRAME or not re.search(r"[^\W\d_]{3}", heading):
            continue
        chosen[document_id] = heading
    return list(dict.fromkeys(chosen.values()))[:MAX_HEADINGS]
