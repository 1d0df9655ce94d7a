"""How a document writes its numbers, where its tables do not tell. Pure."""

from __future__ import annotations

from shared.tables import DecimalMark

# Unicode CLDR 48, common/main, "symbols/decimal" of each language's default region.
_COMMA_WORDS = """
bg ca cs da de el es et fi fr hr hu id it lt lv nb nl no pl pt ro ru sk sl sr sv tr uk vi
"""
_COMMA = frozenset(_COMMA_WORDS.split())
_POINT = frozenset(["en", "zh", "ja", "ko", "th", "he", "hi", "bn", "ms"])


def decimal_mark(language: str, *, content_type: str) -> DecimalMark | None:
    """
    Return the decimal mark of *language* (ISO 639-1), None if it is not known.

    Excel keeps numbers, not their spelling: the parser writes them with a point.
    """
    if "spreadsheetml" in content_type or "ms-excel" in content_type:
        return "."
    return "," if language in _COMMA else "." if language in _POINT else None
