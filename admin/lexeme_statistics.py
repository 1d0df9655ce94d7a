"""How common lexemes are, by a sample: a sweeper takes it, every question reads it."""

from __future__ import annotations

from secrets import randbelow

from psycopg import sql

from shared.store.connection import Connection, fetch_one

_SAMPLED_CHUNKS = 20_000
# With fewer chunks, counting what a question asks for takes no time.
_SAMPLED_FROM_CHUNKS = 1000
# Rarer lexemes are not worth a row: counting them is quick.
_LEAST_COMMON = 100
# These say how common a word is to callers that may not read everything.
_OPEN_TO_ALL = """
    JOIN documents ON documents.active_build = chunks.build_id
    WHERE (
        SELECT bool_and(
            coalesce(
                (
                    SELECT NOT collection_access.closed
                    FROM collection_access
                    WHERE collection_access.collection = its.collection
                ),
                (SELECT NOT collection_default.closed FROM collection_default)
            )
        )
        FROM (VALUES (documents.collection), (documents.latest_collection)) AS its (collection)
        WHERE its.collection IS NOT NULL
    )
        AND documents.readers IS NULL
        AND documents.latest_readers IS NULL
"""
_LOCK = int.from_bytes(b"lexemes")


def refresh_statistics(connection: Connection) -> bool:
    """
    Take a new sample of how common lexemes are, if the chunks have become other ones since.

    Searches are correct without it: lexemes outside the statistics are counted when needed, which
    takes longer. One sample costs about a second, however many chunks there are.

    Returns:
        Whether the statistics were taken; False too where another process is at it.
    """
    with connection.transaction():
        (mine,) = fetch_one(
            connection, "SELECT pg_try_advisory_xact_lock(%(lock)s)", {"lock": _LOCK}
        )
        chunks, due = fetch_one(
            connection,
            """
            SELECT counted.chunks,
                   NOT EXISTS (
                       SELECT
                       FROM search_statistics
                       WHERE abs(counted.chunks - search_statistics.chunks) <= 0.2 * counted.chunks
                           AND refreshed > now() - interval '1 day'
                   )
            FROM (SELECT count(*) AS chunks FROM chunks) AS counted
            """,
            {},
        )
        if not (mine and due):
            return False
        connection.execute("DELETE FROM lexeme_statistics")
        connection.execute("DELETE FROM collection_statistics")
        connection.execute("DELETE FROM search_statistics")
        if chunks < _SAMPLED_FROM_CHUNKS:
            return False
        _sample(connection, percent=min(100.0, 100 * _SAMPLED_CHUNKS / chunks))
        connection.execute(
            """
            INSERT INTO collection_statistics (collection, chunks)
            SELECT documents.collection, sum(builds.chunk_count)
            FROM documents
            JOIN builds ON builds.id = documents.active_build
            WHERE documents.readers IS NULL AND documents.latest_readers IS NULL
            GROUP BY documents.collection
            """
        )
        connection.execute(
            "INSERT INTO search_statistics (chunks) VALUES (%(chunks)s)", {"chunks": chunks}
        )
        return True


def _sample(connection: Connection, *, percent: float) -> None:
    # The same seed draws the same chunks, so that shares are of what was counted.
    sample = f"FROM chunks TABLESAMPLE SYSTEM ({percent:f}) REPEATABLE ({randbelow(2**31)})"
    open_sample = f"{sample} {_OPEN_TO_ALL}"
    sampled, open_sampled = (
        fetch_one(connection, sql.SQL("SELECT count(*) {}").format(sql.SQL(part)))[0]
        for part in (sample, open_sample)
    )
    connection.execute(
        """
        INSERT INTO lexeme_statistics (lexeme, share, open_share)
        SELECT every_one.word,
               every_one.ndoc / %(sampled)s::real,
               open_to_all.ndoc / nullif(%(open_sampled)s, 0)::real
        FROM ts_stat(%(sample)s) AS every_one
        LEFT JOIN ts_stat(%(open_sample)s) AS open_to_all
            ON open_to_all.word = every_one.word AND open_to_all.ndoc >= %(least)s
        WHERE every_one.ndoc >= %(least)s
        """,
        {
            "sample": f"SELECT chunks.search {sample}",
            "sampled": sampled,
            "open_sample": f"SELECT chunks.search {open_sample}",
            "open_sampled": open_sampled,
            "least": max(3.0, _LEAST_COMMON * percent / 100),
        },
    )
