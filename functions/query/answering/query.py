"""The states of a question, from how it was asked to its answer; each stage adds to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid4

from shared.embedding.embedder import TextEmbedder
from shared.errors import GenerationUnavailable
from shared.gemini.requests import Usage
from shared.search.query_terms import Question
from shared.values import Filter, Hit

from .citations import Citation

EXTRACTIVE = "extractive"
# Passages among which one in another language may be what answers.
FOREMOST = 3


@dataclass(frozen=True, slots=True)
class Query:
    """
    A question as it was asked.

    Attributes:
        turns: (role, content) of the conversation before it, oldest first.
        per_document: How many passages of one document at most; None takes the search's own rule.
        effort: How far to search: "medium" searches again for what is missing.
        principals: Who asks; only what one of them may read can answer.
    """

    question: str
    limit: int
    filter: Filter = field(default_factory=Filter)
    turns: tuple[tuple[str, str], ...] = ()
    per_document: int | None = None
    mode: Literal["fused", "vector", "text"] = "fused"
    effort: Literal["low", "medium"] = "low"
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RewrittenQuery:
    """A question that can be understood without its conversation, and the tokens that took."""

    question: str
    rewritten_by: Literal["none", "rule", "gemini"] = "none"
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Why passages cannot answer.

    Attributes:
        reason: For the trace.
        missing: What the question names and no passage holds; for "not_found" its words that
            stand in no document.
        near: Identifiers of the passages that are spelt like those.
    """

    kind: Literal["nothing_asked", "not_found", "missing"]
    reason: str
    missing: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResearchStep:
    """A search for one question: how many passages it found, and how many that were not known."""

    question: str
    found: int
    new: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """
    The passages for a question, best first; number n is passages[n - 1].

    Attributes:
        question: The question as it was searched for.
        asked: The question as it was asked; empty if that is *question*.
        analysis: What the search made of its words; None if there was nothing to search.
        refusal: Why the passages cannot answer it; None if they may.
        embedder: The model that found them; None if the answer was kept from before.
        steps: The searches that found them, where there were several.
        not_embedded: Why passages were found by their words alone; empty if they were not.
        not_reranked: Why the configured reranker gave no order; empty if it did.
    """

    question: str
    passages: list[Hit]
    analysis: Question | None = None
    refusal: Refusal | None = None
    asked: str = ""
    embedder: TextEmbedder | None = None
    steps: tuple[ResearchStep, ...] = ()
    not_embedded: str = ""
    not_reranked: str = ""

    @property
    def found_in_others(self) -> bool:
        """
        Return whether the best passages are in other languages than the question, and the model
        knows one: those that it can compare with the question say nothing near to it.
        """
        knows_all = self.embedder is not None and self.embedder.info.multilingual
        known = {hit.language for hit in self.passages[:FOREMOST]} - {""}
        return bool(self.languages and known and not knows_all and not known & set(self.languages))

    @property
    def languages(self) -> list[str]:
        """Return the languages that the question may be in, by ISO 639-1; empty if unknown."""
        return [] if self.analysis is None else self.analysis.languages


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer that can be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A whole answer.

    Attributes:
        failure: Why it is extractive although Gemini is configured.
        cached: It was given before, to a caller who may read the same.
    """

    text: str
    grounded: bool
    model: str
    citations: list[Citation]
    usage: Usage
    failure: GenerationUnavailable | None = None
    cached: bool = False
    id: UUID = field(default_factory=uuid4)
