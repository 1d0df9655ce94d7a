"""Our tables filled with chunks whose vectors are known already, as they stand after the flip."""

from __future__ import annotations

import hashlib
from collections import Counter

import psycopg
from pgvector.psycopg import register_vector

from admin.lexeme_statistics import refresh_statistics
from admin.vector_index import create_vector_index
from shared import store
from shared.language import searchable_text

from .corpus import EmbeddedCorpus, read_embedded


def fill_ours(url: str, corpus: EmbeddedCorpus) -> None:
    """Copy a corpus into an empty, migrated database, and index it where that is due."""
    rows, vectors = read_embedded(corpus)
    counts = Counter(str(row["document"]) for row in rows)
    numbers = {name: number for number, name in enumerate(counts)}
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        model = store.serving_model(connection)
        if model is None:
            raise RuntimeError("the database has no model: it was migrated without MODEL_DIR")
        # The protocol's own checks are not what is timed.
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            """
            INSERT INTO builds (document_id, generation, epoch, state, chunk_count)
            SELECT gen_random_uuid(), 1, 0, 'ready', count
            FROM unnest(%(counts)s::integer[]) WITH ORDINALITY AS counts (count, number)
            ORDER BY number
            """,
            {"counts": list(counts.values())},
        )
        connection.execute(
            """
            INSERT INTO documents
                (id, bucket, name, seen_generation, active_build, active_generation, language)
            SELECT document_id, 'documents', name, 1, builds.id, 1, 'en'
            FROM (SELECT *, row_number() OVER (ORDER BY id) AS number FROM builds) AS builds
            JOIN unnest(%(names)s::text[]) WITH ORDINALITY AS names (name, number) USING (number)
            """,
            {"names": list(counts)},
        )
        row = connection.execute("SELECT min(id) FROM builds").fetchone()
        first_build = int(row[0]) if row else 1
        connection.execute(
            "CREATE TEMP TABLE copied"
            " (build_id bigint, ordinal integer, text text, hash bytea, searchable text)"
        )
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for values in rows:
                text = str(values["text"])
                build, ordinal = numbers[str(values["document"])], values["ordinal"]
                searchable = searchable_text(text, language="en")
                digest = hashlib.sha256(text.encode()).digest()
                copy.write_row((first_build + build, ordinal, text, digest, searchable))
        connection.execute(
            """
            INSERT INTO chunks (build_id, ordinal, text, heading, header, char_start, char_end,
                                content_hash, search)
            SELECT build_id, ordinal, text, '', '', 0, length(text), hash,
                   to_tsvector('english', searchable)
            FROM copied
            """
        )
        with connection.cursor().copy(
            "COPY embeddings (model_id, build_id, ordinal, embedding) FROM STDIN"
        ) as copy:
            for values, vector in zip(rows, vectors, strict=True):
                build, ordinal = numbers[str(values["document"])], values["ordinal"]
                written = "[" + ",".join(f"{value:.5f}" for value in vector) + "]"
                copy.write_row((model.id, first_build + build, ordinal, written))
        connection.execute("RESET session_replication_role")
        connection.execute("VACUUM ANALYZE")
        refresh_statistics(connection)
        create_vector_index(connection)
