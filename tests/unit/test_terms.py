"""What the words of a question are worth, and which chunks they choose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shared.search.query_terms import (
    Question,
    Term,
    choose_candidates,
    measure_coverage,
    measure_support,
    weigh_rarity,
    weigh_words,
)
from tests.unit.test_citing import hit


def term(lexeme: str, holders: int) -> Term:
    return Term(lexeme, 1.0, holders, 1.0)


def question(words: list[list[Term]], *, chunks: float) -> Question:
    return Question(
        terms=[one for word in words for one in word],
        words=words,
        neighbours=[],
        languages=["en"],
        chunks=chunks,
        configs=["english"],
    )


@pytest.mark.parametrize(
    ("terms", "chunks", "query"),
    [
        ([], 10, ""),
        ([term("a", 0)], 10, ""),
        ([term("a", 3), term("b", 9)], 10, "'a'|'b'"),
        ([term("it's", 3)], 10, "'it''s'"),
        ([term("a", 3000), term("b", 90_000)], 100_000, "'a'"),
        ([term("a", 20_000), term("b", 20_000), term("c", 90_000)], 100_000, "'a'&'b'"),
        (
            [term("a", 350), term("b", 2000), term("c", 3000), term("d", 8000), term("e", 20_000)],
            100_000,
            "'a'|'b'&('c'|'d')|'c'&('d')",
        ),
        (
            [term("a", 550), term("b", 2000), term("c", 3000), term("d", 8000), term("e", 20_000)],
            100_000,
            "'a'|'b'&('c'|'d')",
        ),
        ([term("a", 5), term("b", 2000), term("c", 3000)], 100_000, "'a'|'b'"),
    ],
)
def test_choose_candidates_when_common(terms: list[Term], chunks: float, query: str) -> None:
    """The rarest choose what is scored; others only together, unless that leaves too few."""
    assert choose_candidates(terms, chunks=chunks) == query


def test_choose_candidates_when_filtered() -> None:
    """Where only some of what is chosen will pass, common words choose by themselves again."""
    terms = [term("a", 350), term("b", 2000), term("c", 3000), term("d", 8000)]
    chosen = choose_candidates(terms, chunks=100_000, filtered=True)
    assert chosen == "'a'|'b'|'c'&('d')"


@pytest.mark.parametrize(
    ("coverages", "coverage"),
    [
        ([], 0.0),
        ([None, None], None),
        ([0.2, None, 0.5, 0.9], 0.5),
    ],
)
def test_measure_support_when_hits_differ(
    coverages: list[float | None], coverage: float | None
) -> None:
    """The best of the first three passages says how much of the question is spoken of."""
    hits = [
        replace(hit("text"), coverage=value, similarity=0.1 * place)
        for place, value in enumerate(coverages)
    ]
    support = measure_support(hits)
    assert support.coverage == coverage
    assert support.similarity == max((one.similarity for one in hits), default=0.0)


def test_weigh_words_when_forms_differ() -> None:
    """A word is as rare as the most common of its forms, and any of them is the word."""
    common, rare = term("run", 900), term("runn", 0)
    weighed = weigh_words(question([[common, rare], [term("zebra", 1)]], chunks=100_000))
    assert weighed[0] == (weigh_rarity(900, chunks=100_000), {"run", "runn"})
    assert weighed[0][0] < weighed[1][0]
    assert measure_coverage(weighed, held={"runn"}) == pytest.approx(
        weighed[0][0] / (weighed[0][0] + weighed[1][0])
    )
    assert measure_coverage(weighed, held={"run", "runn", "zebra"}) == 1
    assert measure_coverage([], held={"run"}) is None


def test_weigh_words_when_chunks_are_few() -> None:
    """In a handful of chunks a word that half of them have still counts."""
    half, none = weigh_words(question([[term("tower", 2)], [term("moon", 0)]], chunks=4))
    assert half[0] > 0.7 * none[0]


@pytest.mark.parametrize(("holders", "chunks"), [(0, 0), (5, 3), (100, 100)])
def test_weigh_rarity_when_all_have_it(holders: float, chunks: float) -> None:
    """What every chunk has counts little, and never less than nothing."""
    assert 0 <= weigh_rarity(holders, chunks=chunks) <= math.log(2)
    assert weigh_rarity(0, chunks=1000) == pytest.approx(math.log(2002))
