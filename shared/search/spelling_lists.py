"""
Whether a word is one of its language: a word that stands in no document need not be mistyped.

The lists are pyspellchecker's (MIT). They are searched as they are packed, as JSON: as dictionaries
two of them would take more memory than the embedding model, and seconds to load.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import spellchecker

LISTED = ("en", "de", "es", "fr", "it", "pt")


def is_listed(word: str, languages: Iterable[str]) -> bool:
    """
    Return whether *word* is in the list of one of *languages*; without any, in one of all lists.

    Args:
        languages: ISO 639-1; those without a list list nothing.
    """
    folded = word.casefold()
    return any(_holds(_list(one), folded) for one in languages or LISTED if one in LISTED)


def _holds(words: bytes, word: str) -> bool:
    return json.dumps(word, ensure_ascii=words.isascii()).encode() in words


@cache
def _list(language: str) -> bytes:
    packed = files(spellchecker).joinpath("resources", f"{language}.json.gz").read_bytes()
    return gzip.decompress(packed)
