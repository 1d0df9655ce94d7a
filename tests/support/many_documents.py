"""Many documents at once, inserted as they stand after their flip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.language import detect_language, search_config, searchable_text
from shared.store import Connection


def load(connection: Connection, documents: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Insert documents, (name, texts of its chunks), as they stand after the flip."""
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        "CREATE TEMP TABLE brought"
        " (number bigint, ordinal integer, name text, language text, config text, text text)"
    )
    row = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM builds").fetchone()
    first = int(row[0]) if row else 1
    with connection.cursor().copy("COPY brought FROM STDIN") as copy:
        for number, (name, texts) in enumerate(documents, first):
            language = detect_language(" ".join(texts[:3]))
            for ordinal, text in enumerate(texts):
                searchable = searchable_text(text, language=language)
                config = search_config(language)
                copy.write_row((number, ordinal, name, language, config, searchable))
    connection.execute(
        """
        INSERT INTO builds (id, document_id, generation, epoch, state, chunk_count)
        OVERRIDING SYSTEM VALUE
        SELECT number, gen_random_uuid(), 1, 0, 'ready', count(*) FROM brought GROUP BY number
        """
    )
    connection.execute(
        """
        INSERT INTO documents
            (id, bucket, name, active_build, active_generation, language)
        SELECT document_id, 'benchmark', name, number, 1, brought.language
        FROM brought
        JOIN builds ON builds.id = number
        WHERE ordinal = 0
        """
    )
    connection.execute(
        """
        INSERT INTO chunks
            (build_id, ordinal, text, heading, header, char_start, char_end, content_hash, search)
        SELECT number, ordinal, text, '', '', 0, length(text), '',
               to_tsvector(config::regconfig, text)
        FROM brought
        """
    )
    connection.execute("RESET session_replication_role")
    connection.execute("DROP TABLE brought")
    connection.execute("VACUUM ANALYZE")
