"""Documents in lists: chosen, ordered, counted, and what they have in common (migration 0011)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.store.connection import Connection, fetch_one
from shared.store.status import STATUS_COLUMNS
from shared.values import DocumentState, DocumentStatus, composed, plain_beginning

ListOrder = Literal["name", "updated", "size", "state"]
FacetName = Literal["collection", "content_type", "language", "state", "metadata"]

# Further words choose hardly any further.
_MAX_WORDS = 8
# Up to here documents are looked up by their ids; more are met soon in any order.
_NARROW_DOCUMENTS = 2_000
_SHORTEST_INDEXED = 3
_MAX_COLLECTIONS = 10_000
_MAX_FACET_ROWS = 10_000

# The columns of an order, the id last: no two documents have the same place.
_KEYS: dict[ListOrder, tuple[LiteralString, ...]] = {
    "name": ('name COLLATE "C"', "id"),
    "updated": ("updated", "id"),
    "size": ("size", "id"),
    "state": ("state", 'name COLLATE "C"', "id"),
}
_CASTS: dict[ListOrder, tuple[LiteralString, ...]] = {
    "name": ("text", "uuid"),
    "updated": ("timestamptz", "uuid"),
    "size": ("bigint", "uuid"),
    "state": ("text", "text", "uuid"),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Which documents; what is empty asks nothing.

    Attributes:
        states: One of these; without any all but the deleted.
        search: Words that the name contains, each anywhere in it and in upper or lower case.
        collections: One of these.
        content_types: One of these; "image/*" stands for all that begin so.
        metadata: Each of these equal.
    """

    states: Sequence[DocumentState] = ()
    prefix: str = ""
    search: str = ""
    collections: Sequence[str] = ()
    content_types: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """
    A collection that has documents.

    Attributes:
        states: How many documents are in each state; one without any is left out.
        size: Bytes of all its documents.
        updated: When one of them last changed.
    """

    name: str
    states: dict[DocumentState, int]
    size: int
    updated: datetime


@dataclass(frozen=True, slots=True)
class Facet:
    """
    What documents have in one of their fields.

    Attributes:
        key: The metadata's key; empty for other fields.
        documents: How many have any value.
        distinct: How many values there are.
        values: (value, number of documents), the most common first.
    """

    name: FacetName
    key: str
    documents: int
    distinct: int
    values: list[tuple[str, int]]


def list_documents(
    connection: Connection,
    selection: Selection = Selection(),
    *,
    order: ListOrder = "name",
    descending: bool = False,
    after: Sequence[object] | None = None,
    limit: int = 100,
) -> tuple[list[DocumentStatus], tuple[object, ...] | None]:
    """
    Return a page of the documents of *selection*, and the place in the order where it ends.

    Args:
        order: "state" has those of one state by their names.
        after: The second value of the page before; None for the first page.

    Returns:
        The documents, and None if there are no more.
    """
    conditions, values = _conditions(connection, selection)
    keys = _KEYS[order]
    direction = sql.SQL(" DESC" if descending else "")
    ordered = sql.SQL(", ").join(sql.SQL(key) + direction for key in keys)
    if after is not None:
        names = [f"after_{number}" for number in range(len(keys))]
        values |= dict(zip(names, after, strict=True))
        conditions.append(
            sql.SQL("({}) {} ({})").format(
                sql.SQL(", ").join(map(sql.SQL, keys)),
                sql.SQL("<" if descending else ">"),
                sql.SQL(", ").join(
                    sql.SQL("{}::{}").format(sql.Placeholder(name), sql.SQL(cast))
                    for name, cast in zip(names, _CASTS[order], strict=True)
                ),
            )
        )
    statement = sql.SQL(
        """
        SELECT {columns}
        FROM (
            SELECT id AS listed_id
            FROM listed_documents
            WHERE {conditions}
            ORDER BY {ordered}
            LIMIT %(limit)s + 1
        ) AS page
        CROSS JOIN LATERAL (
            SELECT *
            FROM document_status
            WHERE id = listed_id
            OFFSET 0
        ) AS status
        ORDER BY {ordered}
        """
    ).format(
        columns=sql.SQL(STATUS_COLUMNS),
        conditions=sql.SQL(" AND ").join(conditions),
        ordered=ordered,
    )
    with connection.cursor(row_factory=class_row(DocumentStatus)) as rows:
        page = rows.execute(statement, values | {"limit": limit}).fetchall()
    if len(page) <= limit:
        return page, None
    return page[:limit], _place(page[limit - 1], order)


def count_selected(connection: Connection, selection: Selection, *, ceiling: int) -> int:
    """Return how many documents there are of *selection*, *ceiling* at most."""
    conditions, values = _conditions(connection, selection)
    statement = sql.SQL(
        """
        SELECT count(*)
        FROM (SELECT FROM listed_documents WHERE {} LIMIT %(ceiling)s) AS selected
        """
    ).format(sql.SQL(" AND ").join(conditions))
    counted: int = fetch_one(connection, statement, values | {"ceiling": ceiling})[0]
    return counted


def list_collections(connection: Connection) -> list[CollectionSummary]:
    """Return the collections that have documents, by name; deleted documents do not count."""
    rows = connection.execute(
        """
        SELECT collection, jsonb_object_agg(state, documents), sum(size)::bigint, max(updated)
        FROM (
            SELECT collection, state, count(*) AS documents, sum(size) AS size,
                   max(updated) AS updated
            FROM listed_documents
            WHERE state <> 'deleted'
            GROUP BY collection, state
        ) AS by_state
        GROUP BY collection
        ORDER BY collection COLLATE "C"
        LIMIT %(limit)s
        """,
        {"limit": _MAX_COLLECTIONS},
    ).fetchall()
    return [CollectionSummary(*row) for row in rows]


def read_facets(
    connection: Connection, selection: Selection, *, values: int, ceiling: int
) -> tuple[list[Facet], int]:
    """
    Return what the documents of *selection* have in their fields, and how many were looked at.

    Args:
        values: Of each field, so many at most.
        ceiling: So many documents are looked at.
    """
    conditions, parameters = _conditions(connection, selection)
    statement = sql.SQL(
        """
        WITH selected AS MATERIALIZED (
            SELECT collection, content_type, language, state, metadata
            FROM listed_documents
            WHERE {conditions}
            LIMIT %(ceiling)s
        ),
        pairs AS (
            SELECT 'total' AS facet, '' AS key, '' AS value, count(*) AS documents FROM selected
            UNION ALL
            SELECT 'collection', '', collection, count(*) FROM selected GROUP BY collection
            UNION ALL
            SELECT 'content_type', '', content_type, count(*) FROM selected GROUP BY content_type
            UNION ALL
            SELECT 'language', '', language, count(*) FROM selected GROUP BY language
            UNION ALL
            SELECT 'state', '', state, count(*) FROM selected GROUP BY state
            UNION ALL
            SELECT 'metadata', pair.key, pair.value, count(*)
            FROM selected
            CROSS JOIN LATERAL jsonb_each_text(metadata) AS pair (key, value)
            GROUP BY pair.key, pair.value
        ),
        ranked AS (
            SELECT pairs.*,
                   row_number() OVER (
                       PARTITION BY facet, key ORDER BY documents DESC, value COLLATE "C"
                   ) AS rank,
                   count(*) OVER (PARTITION BY facet, key) AS distinct_values,
                   sum(documents) OVER (PARTITION BY facet, key)::bigint AS holders
            FROM pairs
        )
        SELECT facet, key, holders, distinct_values, value, documents
        FROM ranked
        WHERE rank <= %(values)s
        ORDER BY facet = 'metadata', facet, holders DESC, key COLLATE "C", rank
        LIMIT %(limit)s
        """
    ).format(conditions=sql.SQL(" AND ").join(conditions))
    parameters |= {"ceiling": ceiling, "values": values, "limit": _MAX_FACET_ROWS}
    facets: dict[tuple[str, str], Facet] = {}
    total = 0
    for name, key, holders, distinct, value, documents in connection.execute(statement, parameters):
        if name == "total":
            total = documents
            continue
        facet = facets.setdefault((name, key), Facet(name, key, holders, distinct, []))
        facet.values.append((value, documents))
    return list(facets.values()), total


def _place(document: DocumentStatus, order: ListOrder) -> tuple[object, ...]:
    if order == "state":
        return document.state, document.name, document.id
    key: str | int | datetime = getattr(document, order)
    return key, document.id


def _conditions(
    connection: Connection, selection: Selection
) -> tuple[list[sql.Composable], dict[str, Any]]:
    """Return the conditions on the columns of listed_documents, one at least, and their values."""
    conditions: list[LiteralString] = []
    values: dict[str, Any] = {}
    if not selection.states:
        conditions.append("state <> 'deleted'")
    elif len(selection.states) == 1:
        # An equation, so that an index has the order of what is left.
        conditions.append("state = %(state)s")
        values["state"] = selection.states[0]
    else:
        conditions.append("state = ANY (%(states)s::text[])")
        values["states"] = list(selection.states)
    if selection.prefix:
        conditions += [
            "starts_with(normalize(name, NFC), %(prefix)s)",
            'name COLLATE "C" >= %(beginning)s',
            'name COLLATE "C" <= %(beginning)s || repeat(chr(1114111), 256)',
        ]
        values |= {
            "prefix": composed(selection.prefix),
            "beginning": plain_beginning(selection.prefix),
        }
    if words := selection.search.split()[:_MAX_WORDS]:
        found = _find_by_name(connection, words)
        if found is None:
            conditions.append("folded_name LIKE ALL (name_patterns(%(words)s::text[]))")
            values["words"] = words
        else:
            conditions.append("id = ANY (%(found)s::uuid[])")
            values["found"] = found
    if selection.collections:
        conditions += [
            "collection = ANY (%(collections)s::text[])",
            # By their indexes: the collection itself is made of both.
            """
            (answering_collection = ANY (%(collections)s::text[])
                OR latest_collection = ANY (%(collections)s::text[]))
            """,
        ]
        values["collections"] = [composed(name) for name in selection.collections]
    if selection.content_types:
        conditions.append(
            "(content_type = ANY (%(content_types)s::text[])"
            " OR content_type LIKE ANY (%(content_type_patterns)s::text[]))"
        )
        values |= {
            "content_types": list(selection.content_types),
            "content_type_patterns": [
                name[:-1].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
                for name in selection.content_types
                if name.endswith("/*")
            ],
        }
    if selection.metadata:
        conditions.append("metadata @> %(metadata)s")
        values["metadata"] = Jsonb(dict(selection.metadata))
    return [sql.SQL(condition) for condition in conditions], values


def _find_by_name(connection: Connection, words: Sequence[str]) -> list[UUID] | None:
    """Return the documents whose names hold all *words*; None if a look-up is no use."""
    if max(map(len, words)) < _SHORTEST_INDEXED:
        return None
    found: list[UUID] = fetch_one(
        connection,
        "SELECT ARRAY(SELECT * FROM documents_named(%(words)s::text[], %(ceiling)s))",
        {"words": list(words), "ceiling": _NARROW_DOCUMENTS + 1},
    )[0]
    return None if len(found) > _NARROW_DOCUMENTS else found
