"""Who may read which collection (migration 0004): grants by operators, limits of readers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from shared.store.connection import Connection, Pool, connect, fetch_one
from shared.values import composed

EVERY_COLLECTION = "*"
_CALLERS_KEPT = 256
# Without parameters, so that the server takes both statements in one message.
_BEGIN = sql.SQL(
    """
    BEGIN;
    SELECT set_config('kaydang.principals', {principals}, true),
           set_config('role', 'kaydang_query', true)
    """
)


@dataclass(frozen=True, slots=True)
class CollectionAccess:
    """
    A collection that was closed, opened or granted, or that has documents.

    Attributes:
        principals: Those to whom it was granted, in order; grants of every collection not among
            them.
    """

    collection: str
    closed: bool
    documents: int
    principals: list[str]


@dataclass(frozen=True, slots=True)
class AccessReasons:
    """
    Why a caller may or may not read one generation of a document.

    Attributes:
        generation: "answering", or "newest" where that is another one.
        is_open: Whether every caller reads what has no readers of its own in its collection, or
            this one by a grant.
        granted: Whether the collection, or every collection, was granted to this caller.
        readers: Whom the document names; None if it names none, and its collection decides.
        matching: Those of them that the caller is.
    """

    generation: str
    collection: str
    is_open: bool
    granted: bool
    readers: list[str] | None
    matching: list[str]

    @property
    def allowed(self) -> bool:
        """Return whether the caller may read it."""
        return self.is_open if self.readers is None else self.granted or bool(self.matching)


@contextmanager
def reading(pool: Pool, principals: Sequence[str]) -> Iterator[Connection]:
    """
    Lend a connection, in a transaction that sees what one of *principals* may read.

    Row-level security enforces it. The transaction has the rights of the query role, whatever the
    login; role and principals end with it, so the next borrower starts with no identity.

    Raises:
        DatabaseUnavailable: As connect() does; also if the login is no member of the role.
    """
    begin = _begin(tuple(principals))
    with connect(pool) as connection:
        try:
            connection.execute(begin)
            yield connection
        except BaseException:
            # The first error is raised; the pool discards a connection that cannot be rolled back.
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        connection.commit()


@lru_cache(maxsize=_CALLERS_KEPT)
def _begin(principals: tuple[str, ...]) -> bytes:
    """Return what opens a transaction for a caller; the same callers ask again and again."""
    return _BEGIN.format(principals=sql.Literal(json.dumps(principals))).as_bytes(None)


def caller_rights(connection: Connection) -> str:
    """Return a key that is equal for all callers who see the same collections."""
    rights: str
    (rights,) = fetch_one(connection, "SELECT caller_rights()")
    return rights


def may_write(connection: Connection, *, bucket: str, name: str, collection: str) -> bool:
    """
    Return whether this reader may put an object of that name into *collection*.

    False if the reader could not see the result, or would overwrite an object that it cannot see.
    """
    row = connection.execute(
        "SELECT caller_may_write(%(bucket)s, %(name)s, %(collection)s)",
        {"bucket": bucket, "name": name, "collection": collection},
    ).fetchone()
    return row is not None and row[0] is True


def explain_access(
    connection: Connection, *, principals: Sequence[str], document_id: UUID
) -> list[AccessReasons]:
    """
    Return why a caller may or may not read a document's answering and newest generations.

    The caller must be allowed both; the database decides by the same functions (migration 0018).
    """
    with connection.transaction():
        connection.execute(
            "SELECT set_config('kaydang.principals', %(principals)s, true)",
            {"principals": json.dumps(list(principals))},
        )
        with connection.cursor(row_factory=class_row(AccessReasons)) as cursor:
            return cursor.execute(
                """
                SELECT DISTINCT ON (sides.collection, sides.readers)
                       sides.generation,
                       sides.collection,
                       sees_collections_by_default()
                           <> (sides.collection IN (SELECT collection_exceptions())) AS is_open,
                       EXISTS (
                           SELECT
                           FROM granted_collections() AS granted (collection)
                           WHERE granted.collection IN ('*', sides.collection)
                       ) AS granted,
                       sides.readers,
                       ARRAY(
                           SELECT unnest(sides.readers)
                           INTERSECT
                           SELECT unnest(caller_principals())
                       ) AS matching
                FROM documents
                CROSS JOIN LATERAL (
                    VALUES (1, 'answering', documents.collection, documents.readers),
                           (
                               2,
                               'newest',
                               coalesce(documents.latest_collection, documents.collection),
                               documents.latest_readers
                           )
                ) AS sides (place, generation, collection, readers)
                WHERE documents.id = %(id)s
                ORDER BY sides.collection, sides.readers, place
                """,
                {"id": document_id},
            ).fetchall()


def grant_collection(connection: Connection, *, principal: str, collection: str) -> None:
    """Let *principal* read *collection*; EVERY_COLLECTION stands for all, those to come as well."""
    connection.execute(
        """
        INSERT INTO collection_grants (principal, collection)
        VALUES (%(principal)s, %(collection)s)
        ON CONFLICT DO NOTHING
        """,
        {"principal": principal, "collection": composed(collection)},
    )


def revoke_collection(
    connection: Connection, *, principal: str, collection: str | None = None
) -> int:
    """Take back a grant, or all of *principal*'s; return how many there were."""
    return connection.execute(
        """
        DELETE FROM collection_grants
        WHERE principal = %(principal)s
            AND (%(collection)s::text IS NULL OR collection = %(collection)s)
        """,
        {
            "principal": principal,
            "collection": None if collection is None else composed(collection),
        },
    ).rowcount


def set_collection(connection: Connection, collection: str, *, closed: bool) -> None:
    """Close or open *collection*, regardless of the default."""
    connection.execute(
        """
        INSERT INTO collection_access (collection, closed)
        VALUES (%(collection)s, %(closed)s)
        ON CONFLICT (collection) DO UPDATE
        SET closed = excluded.closed,
            changed = now()
        """,
        {"collection": composed(collection), "closed": closed},
    )


def set_default(connection: Connection, *, closed: bool) -> None:
    """Close or open by default: every collection without a setting of its own."""
    connection.execute("UPDATE collection_default SET closed = %(closed)s", {"closed": closed})


def is_closed_by_default(connection: Connection) -> bool:
    """Return whether collections are closed by default."""
    row = connection.execute("SELECT closed FROM collection_default").fetchone()
    return row is None or row[0] is True


def list_access(connection: Connection) -> list[CollectionAccess]:
    """Return the collections that were named or granted, or that have documents, by name."""
    with connection.cursor(row_factory=class_row(CollectionAccess)) as cursor:
        return cursor.execute(
            """
            SELECT collection,
                   coalesce(
                       (SELECT closed FROM collection_access WHERE collection = known.collection),
                       (SELECT closed FROM collection_default),
                       true
                   ) AS closed,
                   (
                       SELECT count(*)
                       FROM document_status
                       WHERE document_status.collection = known.collection
                           AND state <> 'deleted'
                   ) AS documents,
                   ARRAY(
                       SELECT principal
                       FROM collection_grants
                       WHERE collection = known.collection
                       ORDER BY principal
                   ) AS principals
            FROM (
                SELECT collection FROM collection_access
                UNION
                SELECT collection FROM collection_grants
                UNION
                SELECT collection FROM document_status WHERE state <> 'deleted'
            ) AS known
            ORDER BY collection
            """
        ).fetchall()
