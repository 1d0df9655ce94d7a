"""The stage that decides whether passages can answer a question, before a model is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.search.query_terms import Support, measure_support

from .journal import Journal
from .query import Retrieval


@dataclass(frozen=True, slots=True)
class Floors:
    """
    What passages have to reach, in one or the other; measured by `python -m admin.evaluation
    --calibrate` (docs/retrieval.md, "Refusal").

    Attributes:
        coverage: Share of the question's words, weighted by rarity, in the best passage.
        similarity: Cosine of question and nearest passage.
    """

    coverage: float
    similarity: float


# A model reads the passages and refuses by itself: only the hopeless is kept from it.
BEFORE_MODEL = Floors(coverage=0.2, similarity=0.5)
# Sentences are picked without understanding: what they do not speak of is refused.
BEFORE_EXTRACT = Floors(coverage=0.2, similarity=0.6)


def choose_floors(
    *, extractive: bool, coverage: float | None = None, similarity: float | None = None
) -> Floors:
    """Return the measured floors, or those that an operator calibrated for their documents."""
    default = BEFORE_EXTRACT if extractive else BEFORE_MODEL
    return Floors(
        coverage=default.coverage if coverage is None else coverage,
        similarity=default.similarity if similarity is None else similarity,
    )


def should_refuse(support: Support, floors: Floors) -> str | None:
    """Return why passages with *support* cannot answer, None where they may."""
    if support.coverage is None or support.coverage >= floors.coverage:
        return None
    if support.similarity >= floors.similarity:
        return None
    return (
        f"the best passage holds {support.coverage:.0%} of the question's words by rarity, "
        f"and the nearest has similarity {support.similarity:.2f}"
    )


def decide(retrieval: Retrieval, *, floors: Floors, journal: Journal) -> Retrieval:
    """Return *retrieval* with the reason why its passages cannot answer, if they cannot."""
    if retrieval.passages:
        refusal = should_refuse(measure_support(retrieval.passages), floors)
    else:
        refusal = "nothing was found"
    journal.explain(gate={"refused": refusal is not None, "reason": refusal})
    return replace(retrieval, refusal=refusal)
