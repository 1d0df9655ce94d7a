"""
Searching: one statement with a vector leg and a text leg, and what surrounds it.

The text leg is BM25: each chunk carries its own part of the score as a sparse vector
(migration 0002), the question brings the rarity of its lexemes, and one inner product joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.language import SEARCH_CONFIGS, searchable_text
from shared.models import Filter, Hit
from shared.store.connection import Connection

Mode = Literal["fused", "vector", "text"]

# Candidates of a leg; the scores of a leg are put on one scale by the best and the last of them.
_LEG_SIZE = 50
# At most about this many chunks are scored by the text leg: the rarest lexemes choose them.
_MAX_SCORED = 5000
# Below this many chunks a filter's documents are searched whole, without any index.
_NARROW_CHUNKS = 5000
# Lexemes without statistics are counted up to here; beyond it their rarity hardly changes.
_MAX_COUNTED = 5000
_VECTOR_WEIGHT = 0.3
# From here on an exact scan of all vectors takes longer than a user notices.
INDEX_USEFUL_CHUNKS = 50_000
_SAMPLED_CHUNKS = 20_000
# Rarer lexemes are not worth a row: counting them is quick.
_LEAST_COMMON = 100
_LOCK = int.from_bytes(b"lexemes")


@dataclass(frozen=True, slots=True)
class Term:
    """
    A lexeme of a question.

    Attributes:
        frequency: How often the question has it.
        document_frequency: How many chunks have it, about.
        rarity: BM25's inverse document frequency, 0 for a lexeme that every chunk has.
    """

    lexeme: str
    frequency: int
    document_frequency: int
    rarity: float


def search(
    connection: Connection,
    *,
    question: str,
    embedding: NDArray[np.float32],
    limit: int,
    filter: Filter = Filter(),  # noqa: A002, B008 -- frozen; "filter" is the word of the API
    per_document: int = 3,
    mode: Mode = "fused",
) -> list[Hit]:
    """
    Return the chunks that answer *question* best, best first.

    Args:
        embedding: float32, shape (dimension of the serving model,), unit length.
        per_document: Chunks of one document before those of the others; further ones follow only
            where there is nothing else.
        mode: "vector" and "text" rank by one leg alone.

    Returns:
        At most *limit* hits; similarity is given for each.
    """
    leg_size = max(_LEG_SIZE, limit)
    with connection.transaction():
        row = connection.execute(
            """
            SELECT id,
                   set_config('hnsw.iterative_scan', 'relaxed_order', true),
                   set_config('hnsw.ef_search', %(ef_search)s, true)
            FROM serving_model
            """,
            {"ef_search": str(min(1000, max(100, leg_size)))},
        ).fetchone()
        if row is None:
            return []
        statement, values = _statement(
            question=question,
            embedding=embedding,
            model_id=row[0],
            limit=limit,
            leg_size=leg_size,
            filter=filter,
            per_document=per_document,
            mode=mode,
        )
        with connection.cursor(row_factory=class_row(Hit)) as cursor:
            return cursor.execute(statement, values).fetchall()


def question_terms(connection: Connection, question: str) -> list[Term]:
    """Return the lexemes of *question* as the documents' languages see them, rarest first."""
    statement = sql.SQL(
        """
        WITH {question}
        SELECT lexeme, frequency, document_frequency, rarity
        FROM terms
        ORDER BY document_frequency, lexeme
        """
    ).format(question=_QUESTION)
    with connection.cursor(row_factory=class_row(Term)) as cursor:
        return cursor.execute(statement, _question_values(question)).fetchall()



# The question is analysed as the documents were: once for each configuration that is in use.
# frequency: repeated words of a long question count.
_QUESTION = sql.SQL(
    """
    configurations AS MATERIALIZED (
        SELECT DISTINCT coalesce(known.config, 'simple')::regconfig AS config
        FROM live_languages
        LEFT JOIN unnest(%(languages)s::text[], %(configs)s::text[]) AS known (language, config)
            ON known.language = live_languages.language
    ),
    lexemes AS MATERIALIZED (
        SELECT lexeme,
               max(cardinality(positions)) AS frequency
        FROM configurations,
             unnest(to_tsvector(config, %(searchable)s))
        GROUP BY lexeme
    ),
    total AS MATERIALIZED (
        SELECT coalesce(
            (SELECT chunks FROM search_statistics),
            count_chunks(%(max_counted)s * 10)
        )::double precision AS chunks
    ),
    terms AS MATERIALIZED (
        SELECT lexeme,
               frequency,
               holders.chunks::bigint AS document_frequency,
               ln(1 + greatest(total.chunks - holders.chunks, 0) / (holders.chunks + 0.5)
                   + 0.5 / (holders.chunks + 0.5)) AS rarity
        FROM lexemes
        CROSS JOIN total
        LEFT JOIN lexeme_statistics USING (lexeme)
        CROSS JOIN LATERAL (
            SELECT coalesce(
                lexeme_statistics.share * total.chunks,
                count_chunks_with(lexeme, %(max_counted)s)
            ) AS chunks
        ) AS holders
    )
    """
)

# What is scored: the chunks that hold one of the rarest lexemes, as many lexemes as keep the work
# bounded; where even the rarest is everywhere, the chunks that hold several of them at once.
_TEXT_QUERY = sql.SQL(
    """
    ranked AS MATERIALIZED (
        SELECT '''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''' AS quoted,
               rarity * frequency AS weight,
               lexeme,
               rarity,
               row_number() OVER by_rarity AS place,
               sum(document_frequency) OVER by_rarity AS together,
               sum(ln(greatest(document_frequency, 1) / greatest(total.chunks, 1))) OVER by_rarity
                   + ln(greatest(total.chunks, 1)) AS log_conjunction
        FROM terms
        CROSS JOIN total
        WHERE document_frequency > 0
        WINDOW by_rarity AS (ORDER BY document_frequency, lexeme)
    ),
    text_query AS MATERIALIZED (
        SELECT coalesce(
                   string_agg(quoted, '|') FILTER (WHERE together <= %(max_scored)s),
                   string_agg(quoted, '&') FILTER (WHERE place <= coalesce(
                       (
                           SELECT min(place)
                           FROM ranked AS longer
                           WHERE log_conjunction <= ln(%(max_scored)s)
                       ),
                       (SELECT max(place) FROM ranked)
                   ))
               )::tsquery AS candidates,
               (
                   SELECT ('{' || string_agg(dimension || ':' || weight, ',') || '}/1000000000')::sparsevec
                   FROM (
                       SELECT lexeme_dimension(lexeme) AS dimension,
                              sum(weight)::real AS weight
                       FROM ranked
                       GROUP BY dimension
                   ) AS dimensions
               ) AS weights,
               sum(weight) AS bonus
        FROM ranked
    )
    """
)


def _question_values(question: str) -> dict[str, Any]:
    return {
        "searchable": searchable_text(question, language=""),
        "languages": list(SEARCH_CONFIGS),
        "configs": list(SEARCH_CONFIGS.values()),
        "max_counted": _MAX_COUNTED,
    }


def _statement(
    *,
    question: str,
    embedding: NDArray[np.float32],
    model_id: int,
    limit: int,
    leg_size: int,
    filter: Filter,  # noqa: A002
    per_document: int,
    mode: Mode,
) -> tuple[sql.Composed, dict[str, Any]]:
    condition, values = _conditions(filter)
    dimension = sql.Literal(len(embedding))
    distance = sql.SQL("embedding::halfvec({}) <=> %(embedding)s::halfvec({})").format(
        dimension, dimension
    )
    values |= _question_values(question) | {
        "embedding": HalfVector(embedding),
        "limit": limit,
        "leg_size": leg_size,
        "scale_size": _LEG_SIZE,
        "per_document": per_document,
        "max_scored": _MAX_SCORED,
        "narrow_chunks": _NARROW_CHUNKS,
        "vector_weight": {"fused": _VECTOR_WEIGHT, "vector": 1.0, "text": 0.0}[mode],
    }
    statement = sql.SQL(
        """
        WITH {question},
        {text_query},
        {legs},
        keys AS (
            SELECT build_id, ordinal FROM vector_leg WHERE %(vector_weight)s > 0
            UNION
            SELECT build_id, ordinal FROM text_leg WHERE %(vector_weight)s < 1
        ),
        scored AS (
            SELECT live_chunks.*,
                   1 - ({distance}) AS similarity,
                   coalesce(-(lexemes.weights <#> text_query.weights), 0) AS text_score,
                   vector_leg.rank AS vector_rank,
                   text_leg.rank AS text_rank
            FROM keys
            JOIN live_chunks USING (build_id, ordinal)
            JOIN live_lexemes AS lexemes USING (build_id, ordinal)
            CROSS JOIN text_query
            LEFT JOIN vector_leg USING (build_id, ordinal)
            LEFT JOIN text_leg USING (build_id, ordinal)
        ),
        scales AS MATERIALIZED (
            SELECT max(similarity) AS best_similarity,
                   min(similarity) FILTER (WHERE vector_rank <= %(scale_size)s) AS last_similarity,
                   max(text_score) AS best_text,
                   min(text_score) FILTER (WHERE text_rank <= %(scale_size)s) AS last_text
            FROM scored
        ),
        fused AS (
            SELECT scored.*,
                   %(vector_weight)s * greatest(0, coalesce((similarity - last_similarity)
                       / nullif(best_similarity - last_similarity, 0), 0))
                   + (1 - %(vector_weight)s) * greatest(0, coalesce((text_score - last_text)
                       / nullif(best_text - last_text, 0), 0)) AS score
            FROM scored
            CROSS JOIN scales
        ),
        placed AS (
            SELECT fused.*,
                   row_number() OVER (
                       PARTITION BY document_id
                       ORDER BY score DESC, ordinal
                   ) > %(per_document)s AS surplus
            FROM fused
        )
        SELECT document_id, bucket, name, collection, generation, build_id, ordinal, text, heading,
               header, page, char_start, char_end, source, score, similarity,
               vector_rank::integer AS vector_rank, text_rank::integer AS text_rank
        FROM placed
        ORDER BY surplus, score DESC, name, ordinal
        LIMIT %(limit)s
        """
    ).format(
        question=_QUESTION,
        text_query=_TEXT_QUERY,
        legs=_legs(condition, distance=distance, model_id=model_id),
        distance=distance,
    )
    return statement, values


_NEAREST = sql.SQL(
    """
    SELECT build_id, ordinal, {distance} AS distance
    FROM live_embeddings
    WHERE model_id = {model_id} AND {condition}
    ORDER BY distance
    LIMIT %(leg_size)s
    """
)
_BEST_TEXTS = sql.SQL(
    """
    SELECT build_id, ordinal, weights <#> (SELECT weights FROM text_query) AS distance
    FROM live_lexemes
    WHERE search @@ (SELECT candidates FROM text_query) AND {condition}
    ORDER BY distance
    LIMIT %(leg_size)s
    """
)
_LEGS = sql.SQL(
    """
    vector_leg AS MATERIALIZED (
        SELECT build_id, ordinal, row_number() OVER (ORDER BY distance) AS rank
        FROM ({nearest}) AS nearest
    ),
    text_leg AS MATERIALIZED (
        SELECT build_id, ordinal, row_number() OVER (ORDER BY distance) AS rank
        FROM ({best_texts}) AS best_texts
    )
    """
)
# Few documents pass: all their chunks are compared, so that no index has to be lucky.
_SCOPE = sql.SQL(
    """
    scope AS MATERIALIZED (
        SELECT build_id, chunk_count
        FROM live_documents
        WHERE {condition}
        LIMIT %(narrow_chunks)s + 1
    ),
    narrow AS MATERIALIZED (
        SELECT coalesce(sum(greatest(chunk_count, 1)), 0) <= %(narrow_chunks)s AS narrow
        FROM scope
    ),
    """
)
_NEAREST_IN_SCOPE = sql.SQL(
    """
    SELECT build_id, ordinal, distance
    FROM scope
    CROSS JOIN LATERAL (
        SELECT ordinal, {distance} AS distance
        FROM live_embeddings
        WHERE model_id = {model_id} AND live_embeddings.build_id = scope.build_id
        OFFSET 0
    ) AS distances
    WHERE (SELECT narrow FROM narrow)
    ORDER BY distance
    LIMIT %(leg_size)s
    """
)
_BEST_TEXTS_IN_SCOPE = sql.SQL(
    """
    SELECT build_id, ordinal, distance
    FROM scope
    CROSS JOIN LATERAL (
        SELECT ordinal, weights <#> (SELECT weights FROM text_query) AS distance
        FROM live_lexemes
        WHERE live_lexemes.build_id = scope.build_id
        OFFSET 0
    ) AS distances
    WHERE (SELECT narrow FROM narrow) AND distance < 0
    ORDER BY distance
    LIMIT %(leg_size)s
    """
)


def _legs(
    condition: sql.Composable | None, *, distance: sql.Composable, model_id: int
) -> sql.Composed:
    """Return both legs; with a filter each has a second form, for when few documents pass it."""
    model = sql.Literal(model_id)
    if condition is None:
        everything = sql.SQL("true")
        return _LEGS.format(
            nearest=_NEAREST.format(distance=distance, model_id=model, condition=everything),
            best_texts=_BEST_TEXTS.format(condition=everything),
        )
    wide = sql.SQL("{} AND NOT (SELECT narrow FROM narrow)").format(condition)
    either = sql.SQL("({}) UNION ALL ({})")
    return _SCOPE.format(condition=condition) + _LEGS.format(
        nearest=either.format(
            _NEAREST.format(distance=distance, model_id=model, condition=wide),
            _NEAREST_IN_SCOPE.format(distance=distance, model_id=model),
        ),
        best_texts=either.format(
            _BEST_TEXTS.format(condition=wide),
            _BEST_TEXTS_IN_SCOPE,
        ),
    )


def _conditions(filter: Filter) -> tuple[sql.Composable | None, dict[str, Any]]:  # noqa: A002
    """Return the condition on a document's columns, None where all pass, and its values."""
    given: list[tuple[LiteralString, Any]] = [
        ("collection = %(collection)s", filter.collection),
        ("starts_with(name, %(prefix)s)", filter.prefix or None),
        ("content_type = %(content_type)s", filter.content_type),
        ("metadata @> %(metadata)s", Jsonb(filter.metadata) if filter.metadata else None),
        ("object_updated >= %(updated_from)s", filter.updated_from),
        ("object_updated < %(updated_to)s", filter.updated_to),
    ]
    conditions = [sql.SQL(condition) for condition, value in given if value is not None]
    names = ("collection", "prefix", "content_type", "metadata", "updated_from", "updated_to")
    values = {
        name: value
        for name, (_, value) in zip(names, given, strict=True)
        if value is not None
    }
    return (sql.SQL(" AND ").join(conditions) if conditions else None), values


def refresh_statistics(connection: Connection) -> bool:
    """
    Take a new sample of how common lexemes are, if the chunks have become other ones since.

    A search is right without: what is not in the statistics is counted when asked for. They keep
    that from taking long. One sample costs about a second, however many chunks there are.

    Returns:
        Whether the statistics were taken; False too where another process is at it.
    """
    with connection.transaction():
        (mine,) = _one(connection, "SELECT pg_try_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
        chunks, due = _one(
            connection,
            """
            SELECT count(*),
                   NOT EXISTS (
                       SELECT
                       FROM search_statistics
                       WHERE abs(count(*) - search_statistics.chunks) <= 0.2 * count(*)
                           AND search_statistics.refreshed > now() - interval '1 day'
                   )
            FROM chunks
            """,
            {},
        )
        if not (mine and due):
            return False
        connection.execute("DELETE FROM lexeme_statistics")
        connection.execute("DELETE FROM search_statistics")
        if chunks <= _MAX_COUNTED:
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


def create_vector_index(connection: Connection) -> str:
    """
    Build the HNSW index of the serving model's vectors where it is useful, without stopping writes.

    Returns:
        A sentence that says what was done, or at which size it will be useful.
    """
    model = connection.execute("SELECT id, dimension FROM serving_model").fetchone()
    if model is None:
        return "There is no model yet: nothing to index."
    model_id, dimension = model
    partition = f"embeddings_{model_id}"
    index = f"{partition}_hnsw"
    (count,) = _one(
        connection,
        "SELECT count(*) FROM embeddings WHERE model_id = %(model_id)s",
        {"model_id": model_id},
    )
    if count < INDEX_USEFUL_CHUNKS:
        return (
            f"{count} vectors are compared one by one, exactly and fast enough; "
            f"an index is useful from {INDEX_USEFUL_CHUNKS} on."
        )
    (valid,) = _one(
        connection,
        "SELECT (SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(index)s))",
        {"index": index},
    )
    if valid:
        return f"The index {index} over {count} vectors is there already."
    connection.execute("SET statement_timeout = 0")
    if valid is False:
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(index))
        )
    connection.execute(
        sql.SQL(
            """
            CREATE INDEX CONCURRENTLY {index}
            ON {partition}
            USING hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops)
            """
        ).format(
            index=sql.Identifier(index),
            partition=sql.Identifier(partition),
            dimension=sql.Literal(dimension),
        )
    )
    return f"The index {index} over {count} vectors is built."


def _one(connection: Connection, statement: LiteralString, values: dict[str, Any]) -> Any:
    row = connection.execute(statement, values).fetchone()
    assert row is not None  # noqa: S101 -- an aggregate or a bare SELECT has one row
    return row
