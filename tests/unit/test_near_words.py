"""Words that a mistyped one may have been meant to be, and the parts of compounds."""

from __future__ import annotations

import pytest

from shared.language import beginnings_of_compounds, ends_of_compounds, searchable_text
from shared.search.near_words import distance, edits_of, splits_of


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fierwall", "firewall"),
        ("iptabels", "iptables"),
        ("acommodation", "accommodation"),
        ("pasword", "password"),
        ("sytem", "system"),
        ("enviroment", "environment"),
        ("seperate", "separate"),
        ("свтеильник", "светильник"),
    ],
)
def test_edits_when_one_slip(typed: str, meant: str) -> None:
    """One slip is forgiven: letters in the wrong order, one too few, too many or wrong."""
    assert meant in edits_of(typed)


@pytest.mark.parametrize(("typed", "other"), [("lisp", "list"), ("cat", "cats"), ("port", "sort")])
def test_edits_when_short(typed: str, other: str) -> None:
    """Short words keep their letters, and each word its first one: else another is meant."""
    assert other not in edits_of(typed)


def test_edits_when_marks_are_wrong() -> None:
    """A word with marks may have been meant without them, and as the index has it."""
    assert edits_of("café") == {"cafe": 2}
    assert "kundigungsfrist" in edits_of("kündigungsfirst")


def test_edits_when_long() -> None:
    """What is asked of the index is bounded."""
    assert len(edits_of("a" * 24)) < 1500
    assert edits_of("a" * 200) == {}


def test_splits() -> None:
    """A compound is its parts, without what joins them."""
    assert ("halle", "schuhe") in set(splits_of("hallenschuhe"))
    assert ("mietwagen", "vertrag") in set(splits_of("mietwagenvertrag"))
    assert ("arbeit", "beginn") in set(splits_of("arbeitsbeginn"))


@pytest.mark.parametrize(
    ("first", "second", "slips"),
    [("certifacte", "certificate", 2), ("abcd", "abdc", 1), ("same", "same", 0), ("", "ab", 2)],
)
def test_distance(first: str, second: str, slips: int) -> None:
    """Letters that changed places are one slip."""
    assert distance(first, second) == slips


@pytest.mark.parametrize("part", ["Mütze", "Mützen", "Muetze", "mutze"])
def test_compound_is_found_by_its_end(part: str) -> None:
    """However the part is inflected and its umlaut typed."""
    words = searchable_text("Die Kapitänsmütze hängt dort.", language="de").split()
    ends = ends_of_compounds(part.lower())
    assert any(word.startswith(tuple(ends)) for word in words)
    assert not any(word.startswith("r0") for word in searchable_text("mütze", language="").split())


def test_compound_is_found_by_its_beginning() -> None:
    """Words as short as three or four letters begin too many others."""
    assert "kapita" in beginnings_of_compounds("kapitän")
    assert "uberstund" in beginnings_of_compounds("ueberstunden")
    assert beginnings_of_compounds("lange") == []
