"""
The weights of a question's words, and the chunks that they select. Pure: the database counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from shared.values import Hit

# Chunks that the text leg scores, about: the rarest lexemes choose up to so many by themselves, and
# others follow, each together with another one, until so many are expected.
_CHOSEN_CHUNKS = 600
# So many are scored without a choice.
_FEW_ENOUGH_CHUNKS = 1200
# Of these a filter takes its share.
_CHOSEN_CHUNKS_TO_FILTER = 4800
# How many chunks the lexemes that are looked up may be in, all together.
MAX_LOOKED_AT = 6000
# A lexeme that is more common says hardly more than the one that it would stand beside.
_MAX_PARTNER_SHARE = 0.1
# Where fewer chunks are expected, lexemes choose by themselves that are not as rare.
_ENOUGH_CHUNKS = 200
# In a handful of chunks every word is rare, and one that is missing says nothing yet.
_FEW_CHUNKS = 1000


@dataclass(frozen=True, slots=True)
class Term:
    """
    A lexeme of a question.

    Attributes:
        frequency: How often the question has it; half of that where only the configurations of
            other languages than the question's make it of a word.
        document_frequency: How many chunks have it, about.
        rarity: BM25's inverse document frequency: near 0 for a lexeme that every chunk has.
    """

    lexeme: str
    frequency: float
    document_frequency: int
    rarity: float


@dataclass(frozen=True, slots=True)
class Question:
    """
    A question as the index sees it.

    Attributes:
        terms: Rarest first; also those that no chunk has.
        words: For each word that counts, the terms that one or another configuration makes of it.
        neighbours: Pairs of lexemes that stand together in the question.
        languages: ISO 639-1 codes of the configuration whose stop words it has, or else of the
            documents whose common words it has; empty if it has those of none.
        chunks: How many chunks there are, about.
        configs: The text search configurations of the documents that answer.
        config: The one whose stop words it has; None if it has those of none.
        corrections: Words that stand in no document, and those that were likely meant.
    """

    terms: list[Term]
    words: list[list[Term]]
    neighbours: list[tuple[Term, Term]]
    languages: list[str]
    chunks: float
    configs: list[str]
    config: str | None = None
    corrections: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Support:
    """
    Evidence that some passages contain an answer.

    Attributes:
        coverage: Share of the question's words, by their rarity, that the best passage holds;
            None if the question has no words that count.
        similarity: The highest cosine of question and passage, scaled: 0 for unrelated texts.
    """

    coverage: float | None
    similarity: float


def weigh_rarity(holders: float, *, chunks: float) -> float:
    """Return BM25's inverse document frequency, in the form that is never negative."""
    return math.log1p((max(chunks - holders, 0) + 0.5) / (holders + 0.5))


def weigh_words(question: Question) -> list[tuple[float, set[str]]]:
    """
    Return for each word of the question its rarity and the lexemes that stand for it.

    No document holds what the stemmer of another language makes of a word: the most common of its
    forms says how rare the word is, and any of them that it is there.
    """
    chunks = max(question.chunks, _FEW_CHUNKS)
    return [
        (
            min(weigh_rarity(term.document_frequency, chunks=chunks) for term in word),
            {term.lexeme for term in word},
        )
        for word in question.words
    ]


def measure_coverage(weighed: Sequence[tuple[float, set[str]]], *, held: set[str]) -> float | None:
    """Return the share of the words, by their rarity, that a chunk with the lexemes *held* has."""
    total = found = 0.0
    for weight, forms in weighed:
        total += weight
        if not forms.isdisjoint(held):
            found += weight
    return found / total if total else None


def measure_support(
    hits: Sequence[Hit], *, passages: int = 3, unrelated_similarity: float = 0.0
) -> Support:
    """
    Return how well the first *passages* of *hits* support their question.

    Args:
        unrelated_similarity: The cosine that texts without anything in common have with this
            model: 0 on the scale of the support's similarity, so that floors serve all models.
    """
    covered = [hit.coverage for hit in hits[:passages] if hit.coverage is not None]
    nearest = max((hit.similarity for hit in hits), default=unrelated_similarity)
    return Support(
        coverage=max(covered, default=None if hits else 0.0),
        similarity=(nearest - unrelated_similarity) / max(1e-6, 1.0 - unrelated_similarity),
    )


def choose_candidates(terms: Sequence[Term], *, chunks: float, filtered: bool = False) -> str:
    """
    Return the tsquery of the chunks to score.

    The rarest lexemes choose by themselves. A chunk that holds one of the others and nothing else
    of the question is hardly among the best, so these choose together with another one: that is a
    look into the index, where a score is one into the chunk. Where even the rarest is everywhere,
    chunks must hold several of them at once.

    Args:
        terms: Rarest first.
        filtered: Some of what is chosen will be left out.
    """
    found = [term for term in terms if term.document_frequency > 0]
    most = _CHOSEN_CHUNKS_TO_FILTER if filtered else _CHOSEN_CHUNKS
    if chunks <= max(most, _FEW_ENOUGH_CHUNKS):
        return any_of(found)
    if not found or found[0].document_frequency > MAX_LOOKED_AT:
        return _all_of(found, chunks=chunks)
    alone: list[Term] = []
    paired: list[tuple[Term, list[Term], float]] = []
    chosen = 0.0
    looked_at = accumulate(term.document_frequency for term in found)
    for place, (term, together) in enumerate(zip(found, looked_at, strict=True), 1):
        if together > MAX_LOOKED_AT or chosen > most:
            break
        if together <= most:
            alone.append(term)
            chosen = together
        else:
            partners = _choose_partners(found[place:], chunks=chunks)
            expected = _expect_together(term, partners, chunks=chunks)
            paired.append((term, partners, expected))
            chosen += expected
    while paired and chosen < _ENOUGH_CHUNKS:
        term, _, expected = paired.pop(0)
        alone.append(term)
        chosen += term.document_frequency - expected
    pairs = [
        f"{quote_lexeme(term.lexeme)}&({any_of(partners)})"
        for term, partners, _ in paired
        if partners
    ]
    return "|".join([*(quote_lexeme(term.lexeme) for term in alone), *pairs])


def _choose_partners(terms: Sequence[Term], *, chunks: float) -> list[Term]:
    return [term for term in terms if term.document_frequency <= _MAX_PARTNER_SHARE * chunks]


def _expect_together(term: Term, partners: Sequence[Term], *, chunks: float) -> float:
    """Return how many chunks contain *term* and a partner, assuming independent lexemes."""
    without = math.prod(1 - partner.document_frequency / chunks for partner in partners)
    return term.document_frequency * (1 - without)


def any_of(terms: Sequence[Term]) -> str:
    """Return the tsquery of the chunks that hold one of *terms*."""
    return "|".join(quote_lexeme(term.lexeme) for term in terms)


def _all_of(terms: Sequence[Term], *, chunks: float) -> str:
    """Return the tsquery of as many *terms* at once as it takes for few enough chunks."""
    expected = chunks
    common = []
    for term in terms:
        common.append(quote_lexeme(term.lexeme))
        expected *= term.document_frequency / chunks
        if expected <= MAX_LOOKED_AT:
            break
    return "&".join(common)


def quote_lexeme(lexeme: str) -> str:
    """Return *lexeme* as it stands in the text of a tsquery."""
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
