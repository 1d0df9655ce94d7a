"""Which chunks the words of a question choose."""

from __future__ import annotations

import pytest

from shared.store.terms import Term, choose_candidates


def term(lexeme: str, holders: int) -> Term:
    return Term(lexeme, 1.0, holders, 1.0)


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
            [term("a", 700), term("b", 2000), term("c", 3000), term("d", 8000), term("e", 20_000)],
            100_000,
            "'a'|'b'&('c'|'d')|'c'&('d')",
        ),
        (
            [term("a", 1100), term("b", 2000), term("c", 3000), term("d", 8000), term("e", 20_000)],
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
    terms = [term("a", 700), term("b", 2000), term("c", 3000), term("d", 8000)]
    chosen = choose_candidates(terms, chunks=100_000, filtered=True)
    assert chosen == "'a'|'b'|'c'&('d')"
