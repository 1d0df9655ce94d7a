"""Passages that are copies of each other count once, so that the others are seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from uuid import UUID

from shared.values import Hit

# Searched for beyond what is asked for, because copies fall away.
_SPARE_CANDIDATES = 16
# Of a hundred words, so many may differ between copies; never a number, never a negation.
_DIFFERING_SHARE = 0.02
# Signs count as words: markup tells two texts apart.
_WORD = re.compile(r"\w+|[^\w\s]")
# The same of a text of ASCII alone, in two thirds of the time.
_ASCII_WORD = re.compile(_WORD.pattern, re.ASCII)
_NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "none",
        "without",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "nie",
        "ohne",
        "không",
        "chưa",
        "nunca",
        "sin",
        "ne",
        "pas",
        "jamais",
        "sans",
        "non",
        "mai",
        "senza",
        "não",
        "sem",
    ]
)


def with_spare(limit: int) -> int:
    """Return how many passages to search for, so that *limit* remain without their copies."""
    return limit + _SPARE_CANDIDATES


@dataclass(frozen=True, slots=True)
class _Text:
    """
    What two texts are compared by.

    Attributes:
        vocabulary: Each of *words* once.
    """

    document_id: UUID
    words: Sequence[str]
    vocabulary: frozenset[str]

    @classmethod
    def of(cls, hit: Hit) -> _Text:
        text = f"{hit.header} {hit.text}".casefold()
        words = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
        return cls(hit.document_id, words, frozenset(words))


def merge_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Return *hits* in their order, each text once; the best copy names where the others are."""
    kept: list[tuple[Hit, _Text, list[str]]] = []
    for hit in hits:
        text = _Text.of(hit)
        original = _find_original(text, kept)
        if original is None:
            kept.append((hit, text, []))
        elif hit.uri not in (original[0].uri, *original[2]):
            original[2].append(hit.uri)
    return [replace(hit, also_in=tuple(places)) if places else hit for hit, _, places in kept]


def _find_original(
    text: _Text, kept: Sequence[tuple[Hit, _Text, list[str]]]
) -> tuple[Hit, _Text, list[str]] | None:
    """Return the first of *kept* that *text* is a copy of; None where it is one of none."""
    words, document_id = text.words, text.document_id
    count = len(words)
    allowed = int(count * _DIFFERING_SHARE)
    for each in kept:
        other = each[1]
        # Their lengths tell nearly all pairs apart, before anything is called for them.
        if -allowed <= count - len(other.words) <= allowed and (
            words == other.words
            # Within a document, what differs was written to differ.
            or (allowed and document_id != other.document_id and _is_near(text, other, allowed))
        ):
            return each
    return None


def _is_near(text: _Text, other: _Text, allowed: int) -> bool:
    words, others = text.words, other.words
    # Each word that only one has differs at least once: nearly all pairs end here, and early.
    if len(text.vocabulary - other.vocabulary) > 2 * allowed:
        return False
    counts, other_counts = Counter(words), Counter(others)
    differing = (counts - other_counts) + (other_counts - counts)
    if differing.total() > 2 * allowed or any(
        word in _NEGATIONS or any(map(str.isdigit, word)) for word in differing
    ):
        return False
    # The same words in another order say something else.
    pairs, other_pairs = Counter(pairwise(words)), Counter(pairwise(others))
    return ((pairs - other_pairs) + (other_pairs - pairs)).total() <= 4 * allowed
