"""
Compares the bucket with the index, and repairs what lost messages left behind.

The database is read first, then the bucket: an object that is uploaded in between is found twice
(harmless), never taken for one that is gone. Both come in the order of the bytes of their names, a
part at a time, so that neither has to fit into memory and a run that was cut off goes on where it
was. Nothing is held in the database while the bucket is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from admin.terminal import pages
from shared import store
from shared.store import KnownObject
from shared.values import ObjectEvent, ObjectVersion

Kind = Literal["not_indexed", "not_deleted", "unfinished"]

_KNOWN_AT_A_TIME = 1000


class ListedBucket(Protocol):
    """The part of a bucket's interface that the comparison needs."""

    @property
    def name(self) -> str:
        """Return its name."""

    def list(self, *, start: str = "", end: str = "") -> Iterator[ObjectVersion]:
        """Yield the live objects from *start* on and before *end*, by the bytes of their names."""


@dataclass(frozen=True, slots=True)
class Difference:
    """
    An object for which bucket and index differ.

    *event* is what heals it; None for what is only unfinished: the sweeper sees to that.
    """

    kind: Kind
    name: str
    event: ObjectEvent | None


def find_differences(
    connect: Callable[[], AbstractContextManager[store.Connection]],
    bucket: ListedBucket,
    *,
    start: str = "",
) -> Iterator[tuple[list[Difference], str]]:
    """
    Yield the differences between index and bucket in pages, each with where to go on after it.

    Args:
        start: The first name that is compared.

    Returns:
        Pages, which may be empty, each with the first name that is not compared by its end; "" for
        the last page.
    """
    while True:
        with connect() as connection:
            known = store.read_known_objects(
                connection, bucket=bucket.name, start=start, limit=_KNOWN_AT_A_TIME + 1
            )
        end = known[-1].name if len(known) > _KNOWN_AT_A_TIME else ""
        listed = bucket.list(start=start, end=end)
        for page in pages(compare(known[:_KNOWN_AT_A_TIME], listed, bucket=bucket.name)):
            # The last name of a page is compared again after it.
            yield page, page[-1].name
        yield [], end
        if not end:
            return
        start = end


def compare(
    known: Iterable[KnownObject], objects: Iterable[ObjectVersion], *, bucket: str
) -> Iterator[Difference]:
    """
    Yield every difference between index and bucket; both sorted by the bytes of their names.

    A document that has failed with a reason is no difference: that is its final state.
    """
    for document, found in _merge(known, objects):
        if found is None:
            if document is not None and document.state != "deleted":
                gone = ObjectVersion(
                    bucket=bucket, name=document.name, generation=document.generation
                )
                event = ObjectEvent(kind="deleted", object=gone)
                yield Difference("not_deleted", document.name, event)
        elif (
            document is None
            or document.generation != found.generation
            or document.state == "deleted"
        ):
            # Also where a higher generation was recorded, or the object as gone: ingest looks at
            # the bucket, and the bucket is right.
            event = ObjectEvent(kind="finalized", object=found)
            yield Difference("not_indexed", found.name, event)
        elif document.state not in ("ready", "failed"):
            yield Difference("unfinished", found.name, None)


def _merge(
    known: Iterable[KnownObject], objects: Iterable[ObjectVersion]
) -> Iterator[tuple[KnownObject | None, ObjectVersion | None]]:
    left, right = iter(known), iter(objects)
    document, found = next(left, None), next(right, None)
    while document is not None or found is not None:
        if document is None or (found is not None and _key(found) < _key(document)):
            yield None, found
            found = next(right, None)
        elif found is None or _key(document) < _key(found):
            yield document, None
            document = next(left, None)
        else:
            yield document, found
            document, found = next(left, None), next(right, None)


def _key(item: KnownObject | ObjectVersion) -> bytes:
    return item.name.encode()
