"""The state of the database, which `kaydangpt doctor` examines."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from admin.vector_index import INDEX_USEFUL_CHUNKS
from shared.settings import DatabaseSettings
from shared.store.connection import Connection, check_server, connect_once, translated_errors


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    The state of the database.

    Attributes:
        roles: Those of kaydang_owner, kaydang_worker and kaydang_query that this login has.
        connections: In use, of all databases of the server.
        max_connections: Without those that are kept for superusers.
        vectors: Of the model that answers.
        indexed: Whether a valid index stands over them.
        expired_leases: Builds and batches whose worker died or is slower than its lease.
    """

    login: str
    roles: list[str]
    connections: int
    max_connections: int
    vectors: int
    indexed: bool
    expired_leases: int

    @property
    def index_useful(self) -> bool:
        """Return whether an index pays off for this many vectors."""
        return self.vectors >= INDEX_USEFUL_CHUNKS


def has_tables(settings: DatabaseSettings) -> bool:
    """
    Return whether the schema exists, by a plain connection that needs no pgvector types.

    Raises:
        DatabaseUnavailable: The database does not answer.
        Misconfigured: The server or its pgvector is too old.
    """
    with (
        translated_errors(),
        connect_once(settings) as connection,
    ):
        check_server(connection)
        row = connection.execute("SELECT to_regclass('migrations') IS NOT NULL").fetchone()
        return bool(row and row[0])


def applied_migrations(connection: Connection) -> dict[int, str] | None:
    """Return number and checksum of the migrations; None if this login may not see them."""
    try:
        return dict(connection.execute("SELECT number, checksum FROM migrations").fetchall())
    except psycopg.errors.InsufficientPrivilege:
        return None


def inspect(connection: Connection) -> Inspection:
    """Return the state of the database; its tables have to exist."""
    with connection.cursor(row_factory=class_row(Inspection)) as cursor:
        row = cursor.execute(
            """
            SELECT current_user::text AS login,
                   ARRAY(
                       SELECT rolname::text
                       FROM pg_roles
                       WHERE rolname IN ('kaydang_owner', 'kaydang_worker', 'kaydang_query')
                           AND pg_has_role(current_user, oid, 'USAGE')
                       ORDER BY rolname
                   ) AS roles,
                   (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
                       AS connections,
                   current_setting('max_connections')::integer
                       - current_setting('superuser_reserved_connections')::integer
                       AS max_connections,
                   (SELECT count(*)
                    FROM embeddings
                    WHERE model_id = (SELECT model_id FROM active_model)) AS vectors,
                   coalesce(
                       (SELECT indisvalid
                        FROM pg_index
                        WHERE indexrelid = to_regclass(
                            'embeddings_' || (SELECT model_id FROM active_model) || '_hnsw')),
                       false
                   ) AS indexed,
                   (SELECT count(*)
                    FROM builds
                    WHERE state = 'parsing' AND lease_until < clock_timestamp())
                   + (SELECT count(*)
                      FROM batches
                      WHERE NOT done AND lease_until < clock_timestamp()) AS expired_leases
            """
        ).fetchone()
    assert row is not None, "a SELECT without FROM has one row"  # noqa: S101
    return row
