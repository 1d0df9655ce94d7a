"""How common lexemes are, by a sample: a sweeper takes it, every question reads it."""

from __future__ import annotations

from shared.store.connection import Connection, fetch_one

_SAMPLED_CHUNKS = 20_000
# With fewer chunks, counting what a question asks for takes no time.
_SAMPLED_FROM_CHUNKS = 1000
# Rarer lexemes are not worth a row: counting them is quick.
_LEAST_COMMON = 100
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
        connection.execute("DELETE FROM search_statistics")
        if chunks < _SAMPLED_FROM_CHUNKS:
            return False
        percent = min(100.0, 100 * _SAMPLED_CHUNKS / chunks)
        connection.execute(
            """
            INSERT INTO lexeme_statistics (lexeme, share)
            SELECT word, ndoc / %(sampled)s
            FROM ts_stat(format('SELECT search FROM chunks TABLESAMPLE SYSTEM (%%s)', %(percent)s))
            WHERE ndoc >= %(least)s
            """,
            {
                "percent": percent,
                "sampled": chunks * percent / 100,
                "least": max(3.0, _LEAST_COMMON * percent / 100),
            },
        )
        connection.execute(
            "INSERT INTO search_statistics (chunks) VALUES (%(chunks)s)", {"chunks": chunks}
        )
        return True
