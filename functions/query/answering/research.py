"""The stage that searches in steps: for each part of a question, then for what is missing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest

from shared.errors import DatabaseUnavailable, GenerationUnavailable
from shared.gemini.requests import Usage
from shared.values import Hit

from .generation import Gemini
from .journal import Journal
from .prompt import make_planning_prompt, read_plan
from .query import Query, ResearchStep, Retrieval, RewrittenQuery
from .question_kind import split_question

# Rounds with the first search; what Gemini asks for in one; and what all of them may take.
MAX_ROUNDS = 3
_MAX_SEARCHES = 3
_MAX_SECONDS = 12.0
_MAX_TOKENS = 30_000

Find = Callable[[RewrittenQuery], Retrieval]


def research(
    first: Retrieval, *, query: Query, find: Find, gemini: Gemini | None, journal: Journal
) -> tuple[Retrieval, Usage]:
    """
    Return *first* with the passages of further searches among its own, and the tokens that took.

    Each part of a question with several parts is searched for by itself; then, with effort
    "medium", Gemini, where there is one, names what is still missing. What fails on the way ends
    the search: the passages so far answer.
    """
    parts = split_question(first.question)
    plans = gemini if query.effort == "medium" else None
    if not first.passages or (len(parts) == 1 and plans is None):
        return first, Usage()
    with journal.stage("research"):
        research = _Research(first, limit=query.limit, find=find)
        if len(parts) > 1:
            research.search(parts)
        usage = Usage() if plans is None else _ask_what_is_missing(research, plans)
    journal.explain(question=first.question, research=[asdict(step) for step in research.steps])
    return replace(first, passages=research.passages(), steps=tuple(research.steps)), usage


class _Research:
    """The searches of one question, each with its passages, best first."""

    def __init__(self, first: Retrieval, *, limit: int, find: Find) -> None:
        self.question = first.question
        self.limit = limit
        self.find = find
        self.deadline = time.monotonic() + _MAX_SECONDS
        self.found: list[list[Hit]] = [list(first.passages)]
        self.asked = {first.question.casefold()}
        self.steps = [ResearchStep(first.question, len(first.passages), len(first.passages))]

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self.deadline

    def search(self, questions: Sequence[str]) -> bool:
        """Search for each new question; return whether anything new was found."""
        found_more = False
        for question in questions[:_MAX_SEARCHES]:
            if question.casefold() in self.asked or not self.has_time:
                continue
            self.asked.add(question.casefold())
            try:
                hits = self.find(RewrittenQuery(question)).passages
            except DatabaseUnavailable:
                return False
            known = {_place(hit) for hits in self.found for hit in hits}
            new = sum(_place(hit) not in known for hit in hits)
            self.steps.append(ResearchStep(question, len(hits), new))
            self.found.append(list(hits))
            found_more = found_more or new > 0
        return found_more

    def passages(self) -> list[Hit]:
        """Return the requested number of passages, taking the best of each search in turn."""
        chosen: dict[tuple[int, int], Hit] = {}
        for row in zip_longest(*self.found):
            for hit in row:
                if hit is not None:
                    chosen.setdefault(_place(hit), hit)
        return list(chosen.values())[: self.limit]


def _place(hit: Hit) -> tuple[int, int]:
    return hit.build_id, hit.ordinal


def _ask_what_is_missing(research: _Research, gemini: Gemini) -> Usage:
    usage = Usage()
    for _ in range(MAX_ROUNDS - 1):
        if not research.has_time or usage.total_tokens > _MAX_TOKENS:
            break
        prompt = make_planning_prompt(
            research.question,
            research.passages(),
            searched=[step.question for step in research.steps],
            boundary=secrets.token_hex(12),
        )
        try:
            text, used = gemini.plan(prompt)
        except GenerationUnavailable:
            break  # the answer itself will name the failure
        usage += used
        if not research.search(read_plan(text)):
            break
    return usage
