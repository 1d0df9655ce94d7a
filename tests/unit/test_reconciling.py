"""The reconciler finds each difference between bucket and index, and no other."""

from __future__ import annotations

from admin.reconciliation import compare
from shared.store import KnownObject
from shared.values import DocumentState, ObjectVersion


def known(name: str, generation: int, state: DocumentState = "ready") -> KnownObject:
    return KnownObject(name=name, generation=generation, state=state)


def found(name: str, generation: int) -> ObjectVersion:
    return ObjectVersion(bucket="docs", name=name, generation=generation)


def differences(
    left: list[KnownObject], right: list[ObjectVersion]
) -> list[tuple[str, str, str | None]]:
    return [
        (difference.kind, difference.name, difference.event.kind if difference.event else None)
        for difference in compare(left, right, bucket="docs")
    ]


def test_equal_sides_have_no_difference() -> None:
    """Ready, failed with a reason, and deleted are final states."""
    left = [known("a", 1), known("b", 2, "failed"), known("c", 3, "deleted")]
    assert differences(left, [found("a", 1), found("b", 2)]) == []


def test_lost_events_are_found() -> None:
    """A new object, a newer generation, a removed object and one uploaded again."""
    left = [known("b", 1), known("c", 1), known("d", 1, "deleted")]
    # A generation above the bucket's, and a tombstone of a live object.
    left += [known("e", 2**61, "failed"), known("f", 1, "deleted")]
    right = [found("a", 5), found("b", 2), found("d", 2), found("e", 3), found("f", 1)]
    assert differences(left, right) == [
        ("not_indexed", "a", "finalized"),
        ("not_indexed", "b", "finalized"),
        ("not_deleted", "c", "deleted"),
        ("not_indexed", "d", "finalized"),
        ("not_indexed", "e", "finalized"),
        ("not_indexed", "f", "finalized"),
    ]


def test_unfinished_work_is_told_and_left_to_the_sweeper() -> None:
    """Publishing it again would only add duplicates."""
    assert differences([known("a", 1, "indexing")], [found("a", 1)]) == [("unfinished", "a", None)]


def test_names_are_compared_by_their_bytes() -> None:
    """Storage and the database list in that order, whatever the locale says."""
    names = ["A", "Z", "a", "z", "ä", "中", "😀"]
    left = [known(name, 1) for name in names]
    assert differences(left, [found(name, 1) for name in names]) == []
