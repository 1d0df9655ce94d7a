"""The stage that extends passages by their surroundings in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.store import Connection, Pool, reading
from shared.values import Hit, PageStart, pair_page_starts

from .journal import Journal
from .query import Query, Retrieval

# Chunks looked at on each side of a hit.
_EXPANSION_CHUNKS = 1


def expand_context(
    retrieval: Retrieval, *, query: Query, pool: Pool, max_characters: int, journal: Journal
) -> Retrieval:
    """
    Return *retrieval* with passages extended by the text around them.

    Args:
        max_characters: Of all passages together; 0 leaves them as they were found.

    Raises:
        DatabaseUnavailable: The database is away.
    """
    if not max_characters or not retrieval.passages:
        return retrieval
    with journal.stage("expand"), reading(pool, query.principals) as connection:
        passages = expand(connection, retrieval.passages, max_characters=max_characters)
    return replace(retrieval, passages=passages)


def expand(connection: Connection, hits: Sequence[Hit], *, max_characters: int) -> list[Hit]:
    """
    Return *hits* with their surroundings: of the same build and heading, without a new page, and
    nothing around the description of a picture.

    Hits that touch or overlap then are one, at the place of the better. The text stays exactly the
    characters [char_start, char_end) of the extracted text.

    Args:
        max_characters: Of all texts together; the hits themselves are never cut.
    """
    rows = connection.execute(
        """
        SELECT DISTINCT found.*
        FROM unnest(%(build_ids)s::bigint[], %(ordinals)s::integer[])
            AS hits (hit_build_id, hit_ordinal)
        CROSS JOIN LATERAL (
            SELECT build_id, ordinal, heading, page, char_start, char_end, page_starts, source
            FROM live_chunks
            WHERE build_id = hit_build_id
                AND ordinal BETWEEN hit_ordinal - %(reach)s AND hit_ordinal + %(reach)s
            OFFSET 0
        ) AS found
        """,
        {
            "build_ids": [hit.build_id for hit in hits],
            "ordinals": [hit.ordinal for hit in hits],
            "reach": _EXPANSION_CHUNKS,
        },
    )
    around = {
        (build_id, ordinal): _Place(
            heading, page, start, end, pair_page_starts(page_starts), source == "figure"
        )
        for build_id, ordinal, heading, page, start, end, page_starts, source in rows
    }
    extents = choose_extents(hits, around, max_characters=max_characters)
    grown = {
        number: _grow(hit, [around[hit.build_id, ordinal] for ordinal in extent], extent)
        for number, (hit, extent) in enumerate(extents)
        if len(extent) > 1 and all((hit.build_id, ordinal) in around for ordinal in extent)
    }
    texts = _read_texts(connection, grown)
    # A newer generation has replaced it meanwhile, so the hit stays as it was found.
    return [
        hit if (text := texts.get(number)) is None else replace(grown[number], text=text)
        for number, (hit, _) in enumerate(extents)
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of a chunk in its document, and whether it describes a picture."""

    heading: str
    page: int | None
    char_start: int
    char_end: int
    page_starts: tuple[PageStart, ...] = ()
    is_description: bool = False

    @property
    def last_page(self) -> int | None:
        return self.page_starts[-1].page if self.page_starts else self.page


def choose_extents(
    hits: Sequence[Hit],
    around: Mapping[tuple[int, int], _Place],
    *,
    max_characters: int,
) -> list[tuple[Hit, range]]:
    """Return the hits that remain, best first, with the ordinals that each one's text spans."""
    spans: list[tuple[Hit, range]] = []
    for hit in hits:
        for place, (better, span) in enumerate(spans):
            near = span.start - 1 <= hit.ordinal <= span.stop
            same_place = (better.build_id, better.heading) == (hit.build_id, hit.heading)
            edge = span.start if hit.ordinal < span.start else span.stop - 1
            own, other = (around.get((hit.build_id, n)) for n in (hit.ordinal, edge))
            if near and same_place and own and other and _go_together(own, other):
                start, stop = min(span.start, hit.ordinal), max(span.stop, hit.ordinal + 1)
                spans[place] = better, range(start, stop)
                break
        else:
            spans.append((hit, range(hit.ordinal, hit.ordinal + 1)))
    left = max_characters - sum(
        around[hit.build_id, ordinal].char_end - around[hit.build_id, ordinal].char_start
        for hit, span in spans
        for ordinal in span
        if (hit.build_id, ordinal) in around
    )
    taken = {(hit.build_id, ordinal) for hit, span in spans for ordinal in span}
    for place, (hit, span) in enumerate(spans):
        start, stop = span.start, span.stop
        # Text after a passage explains it more often than text before it.
        for ordinal, edge in ((stop, stop - 1), (start - 1, start)):
            neighbour = around.get((hit.build_id, ordinal))
            beside = around.get((hit.build_id, edge))
            if (
                neighbour is None
                or beside is None
                or neighbour.heading != hit.heading
                or not _go_together(neighbour, beside)
                or (hit.build_id, ordinal) in taken
                or neighbour.char_end - neighbour.char_start > left
            ):
                continue
            left -= neighbour.char_end - neighbour.char_start
            taken.add((hit.build_id, ordinal))
            start, stop = min(start, ordinal), max(stop, ordinal + 1)
        spans[place] = hit, range(start, stop)
    return spans


def _go_together(one: _Place, other: _Place) -> bool:
    """
    Return whether one of two neighbours ends on the page on which the other begins.

    What describes a picture stays apart from the document's own text: only that can be verified.
    """
    if one.is_description or other.is_description:
        return False
    first, second = sorted((one, other), key=lambda place: place.char_start)
    return first.last_page == second.page


def _grow(hit: Hit, places: Sequence[_Place], extent: range) -> Hit:
    page_starts: list[PageStart] = []
    page = places[0].page
    for place in places:
        if place.page is not None and place.page != page:
            page_starts.append(PageStart(place.char_start, place.page))
        page_starts.extend(place.page_starts)
        page = place.last_page
    return replace(
        hit,
        ordinal=extent.start,
        page=places[0].page,
        char_start=places[0].char_start,
        char_end=places[-1].char_end,
        page_starts=tuple(page_starts),
    )


def _read_texts(connection: Connection, hits: Mapping[int, Hit]) -> dict[int, str | None]:
    """Return the characters of each hit, None if its build answers no longer."""
    rows = connection.execute(
        """
        SELECT number, text
        FROM unnest(
            %(numbers)s::integer[], %(build_ids)s::bigint[], %(starts)s::integer[],
            %(ends)s::integer[]
        ) AS wanted (number, wanted_build_id, wanted_start, wanted_end)
        CROSS JOIN LATERAL (
            SELECT string_agg(
                substr(
                    live_texts.text,
                    greatest(wanted_start - char_start, 0) + 1,
                    wanted_end - greatest(wanted_start, char_start)
                ),
                '' ORDER BY segment
            ) AS text
            FROM live_texts
            WHERE build_id = wanted_build_id
                AND char_start < wanted_end
                AND char_start >= (
                    SELECT max(char_start)
                    FROM live_texts
                    WHERE build_id = wanted_build_id AND char_start <= wanted_start
                )
        ) AS cut
        """,
        {
            "numbers": list(hits),
            "build_ids": [hit.build_id for hit in hits.values()],
            "starts": [hit.char_start for hit in hits.values()],
            "ends": [hit.char_end for hit in hits.values()],
        },
    )
    return dict(rows.fetchall())
