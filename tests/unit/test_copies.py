"""Copies of a passage count once."""

from __future__ import annotations

from uuid import UUID

from functions.query.answering.copies import merge_copies
from shared.values import Hit

TEXT = "The key of the cellar hangs in the porter's lodge beside the door. " * 4


def hit(name: str, text: str) -> Hit:
    return Hit(
        document_id=UUID(int=1),
        bucket="documents",
        name=name,
        collection="",
        generation=1,
        build_id=1,
        ordinal=0,
        text=text,
        heading="",
        header="",
        page=None,
        char_start=0,
        char_end=len(text),
        source="text",
        score=1.0,
        similarity=0.5,
        vector_rank=1,
        text_rank=1,
    )


def test_equal_texts_are_one_passage_with_all_its_places() -> None:
    """The best one is kept and names where the others are."""
    hits = [hit("a", TEXT), hit("b", f"{TEXT} "), hit("c", "Another text."), hit("d", TEXT.upper())]
    merged = merge_copies(hits)
    assert [each.name for each in merged] == ["a", "c"]
    assert merged[0].also_in == ("gs://documents/b", "gs://documents/d")


def test_texts_that_differ_in_a_number_or_a_negation_are_two() -> None:
    """What differs may be the answer."""
    number = TEXT.replace("cellar", "cellar 4", 1)
    negated = TEXT.replace("hangs", "not hangs", 1)
    assert len(merge_copies([hit("a", TEXT), hit("b", number), hit("c", negated)])) == 3
