"""Headings that a reader could ask about."""

from __future__ import annotations

from uuid import UUID

from functions.query.http.suggestions import MAX_HEADINGS, choose_headings

ONE, OTHER = UUID(int=1), UUID(int=2)


def test_headings_that_name_a_subject() -> None:
    """The first of each document; neither its title, its frame, numbers, nor a whole sentence."""
    found = [
        (ONE, "Handbook"),
        (ONE, "Handbook > Contents"),
        (ONE, "Handbook > 2024"),
        (ONE, f"Handbook > {'long ' * 20}"),
        (ONE, "Handbook > 3.1 Paid leave"),
        (ONE, "Handbook > Sick leave"),
        (OTHER, "Guide > Travel > Hotels"),
    ]
    assert choose_headings(found) == ["Paid leave", "Hotels"]


def test_headings_are_few_and_differ() -> None:
    """Many documents may have one heading."""
    same = [(UUID(int=number), "A > Paid leave") for number in range(9)]
    assert choose_headings(same) == ["Paid leave"]
    many = [(UUID(int=number), f"A > Rule {'x' * number}") for number in range(1, 30)]
    assert len(choose_headings(many)) == MAX_HEADINGS
