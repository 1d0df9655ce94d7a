"""The stage that decides whether passages can answer a question, before a model is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shared.search.query_terms import Support, measure_support

from .journal import Journal
from .missing import (
    asks_nothing,
    find_missing,
    find_missing_names,
    find_missing_numbered,
    find_near,
)
from .query import FOREMOST, Refusal, Retrieval
from .scoring import find_foreign


@dataclass(frozen=True, slots=True)
class Floors:
    """
    Thresholds of which passages must reach at least one, as measured by `kaydangpt evaluate SET
    --calibrate` (docs/retrieval.md, "Refusal").

    Attributes:
        coverage: Share of the question's words, weighted by rarity, in the best passage.
        similarity: Cosine of question and nearest passage, scaled: 0 for unrelated texts.
    """

    coverage: float
    similarity: float


# Of what is named and stands in no passage, what stands in no document either.
FindAbsent = Callable[[Sequence[str]], Sequence[str]]

# A model can refuse too, so only hopeless passages are kept from it.
BEFORE_MODEL = Floors(coverage=0.2, similarity=0.5)
# The parts of the passages are scored one by one after this (extractive.py): the same here.
BEFORE_EXTRACT = Floors(coverage=0.12, similarity=0.35)


def choose_floors(
    *, extractive: bool, coverage: float | None = None, similarity: float | None = None
) -> Floors:
    """Return the thresholds that the operator set, or else the measured ones."""
    default = BEFORE_EXTRACT if extractive else BEFORE_MODEL
    return Floors(
        coverage=default.coverage if coverage is None else coverage,
        similarity=default.similarity if similarity is None else similarity,
    )


def should_refuse(support: Support, floors: Floors) -> str | None:
    """Return why passages with *support* cannot answer, None if they may."""
    if support.coverage is None or support.coverage >= floors.coverage:
        return None
    if support.similarity >= floors.similarity:
        return None
    return (
        f"the best passage holds {support.coverage:.0%} of the question's words by rarity, "
        f"and the nearest has similarity {support.similarity:.2f}"
    )


def decide(
    retrieval: Retrieval,
    *,
    floors: Floors,
    extractive: bool,
    find_absent: FindAbsent,
    journal: Journal,
) -> Retrieval:
    """
    Return *retrieval*, with the reason if its passages cannot answer.

    Args:
        extractive: No model will read the passages.
    """
    refusal = _find_refusal(retrieval, floors, find_absent, extractive=extractive)
    journal.explain(
        gate={"refused": refusal is not None, "reason": refusal.reason if refusal else None}
    )
    return replace(retrieval, refusal=refusal)


def _find_refusal(
    retrieval: Retrieval, floors: Floors, find_absent: FindAbsent, *, extractive: bool
) -> Refusal | None:
    question, passages, analysis = retrieval.question, retrieval.passages, retrieval.analysis
    if asks_nothing(question, analysis):
        return Refusal("nothing_asked", "the question has no word to look for")
    if not passages:
        return Refusal("not_found", "nothing was found")
    missing = find_missing(question, passages) + find_missing_numbered(question, passages)
    absent = list(find_absent(missing)) if missing else []
    if retrieval.asked:
        # The questions before it were answered or refused; what they name only has to exist.
        missing = [name for name in missing if name in retrieval.asked or name in absent]
    info = None if retrieval.embedder is None else retrieval.embedder.info
    multilingual = info is not None and info.multilingual
    # Its words, and how it spells a name, cannot be the question's.
    foreign = multilingual and bool(find_foreign(passages[:FOREMOST], analysis))
    if extractive and not foreign:
        absent += find_missing_names(question, analysis, passages)
    if absent:
        near = tuple(find_near(absent, passages))
        return Refusal("missing", "no document holds what the question names", tuple(absent), near)
    if missing:
        return Refusal("not_found", f"no passage holds {', '.join(missing)}")
    if extractive and foreign:
        return None
    support = measure_support(
        passages, unrelated_similarity=0.0 if info is None else info.unrelated_similarity
    )
    reason = should_refuse(support, floors)
    return None if reason is None else Refusal("not_found", reason)
