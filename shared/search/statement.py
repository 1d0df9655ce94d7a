"""
Searching: one statement with a vector leg and a text leg, and their fusion.

The text leg is BM25: each chunk carries its own part of the score as a sparse vector
(migration 0002), the question brings the rarity of its lexemes, and one inner product joins them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, LiteralString

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from psycopg.pq import TransactionStatus

from shared.errors import ModelSwitched
from shared.language import find_file_names
from shared.search.filters import compile_filter
from shared.search.fusion import NEIGHBOUR_SHARE, Fusion, Weights, default_fusion
from shared.search.query_analysis import CONFIGS, LANGUAGES, LEG_SIZE, analyse, find_required
from shared.search.query_terms import (
    MAX_LOOKED_AT,
    Question,
    choose_candidates,
    measure_coverage,
    quote_lexeme,
    weigh_words,
)
from shared.store.connection import Connection, execute_prepared
from shared.values import Filter, Hit, ScoreParts, pair_page_starts

Mode = Literal["fused", "vector", "text"]

# Up to this many chunks, a filter's documents are compared completely, without an index.
_NARROW_CHUNKS = 5000
# What two neighbouring words of the question are worth that stand together in a chunk too.
_PROXIMITY_WEIGHT = 0.6
# Statements kept ready: one for each way to ask, of which a service sees a handful.
_STATEMENTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class SearchResult:
    """
    What a search found.

    Attributes:
        hits: Best first.
        question: What the index made of the question; None if no model answers yet.
        weights: What the parts of a fused score weigh; None if no model answers yet.
    """

    hits: list[Hit]
    question: Question | None
    weights: Weights | None = None


@dataclass(frozen=True, slots=True)
class PreparedSearch:
    """
    The search statement for a question, to be run in the transaction that prepared it.

    Attributes:
        statement: With the names of *values* as its parameters.
        weights: What the parts of a fused score weigh.
        candidates: The tsquery of the chunks that the text leg scores.
        required: The tsquery of what a chunk should hold to the letter; empty if nothing is.
        file_names: Closed forms of the files that the question may name.
    """

    statement: bytes
    values: dict[str, Any]
    model_id: int
    question: Question
    weights: Weights

    @property
    def candidates(self) -> str:
        return str(self.values["candidates"])

    @property
    def required(self) -> str:
        return str(self.values["required"])

    @property
    def file_names(self) -> list[str]:
        return list(self.values["file_names"])


def search(
    connection: Connection,
    *,
    question: str,
    embedding: NDArray[np.float32] | Future[NDArray[np.float32]],
    model_digest: str | None = None,
    unrelated_similarity: float = 0.0,
    multilingual: bool = False,
    limit: int,
    filter: Filter = Filter(),  # noqa: B008 -- frozen; "filter" is the word of the API
    per_document: int = 3,
    mode: Mode = "fused",
    fusion: Fusion | None = None,
) -> SearchResult:
    """
    Return the chunks that answer *question* best, and the analysis of the question.

    Args:
        embedding: float32, shape (dimension of the serving model,), unit length; or where it will
            be, so that it can be made while the question is analysed.
        model_digest: The model that made it; None takes it for the one that answers.
        unrelated_similarity: The cosine from which on this model's vectors say something.
        multilingual: Whether this model finds passages in other languages than the question's.
        per_document: Chunks of one document before those of the others; further ones follow only
            where there is nothing else.
        mode: "vector" and "text" rank by one leg alone.
        fusion: What the parts of a score weigh; None takes what is stored with the model, or else
            what suits models of its kind.

    Returns:
        At most *limit* hits; similarity is given for each.

    Raises:
        ModelSwitched: Another model answers by now: embed the question with that one.
    """
    with _transaction(connection):
        prepared = prepare(
            connection,
            question=question,
            embedding=embedding,
            model_digest=model_digest,
            unrelated_similarity=unrelated_similarity,
            multilingual=multilingual,
            limit=limit,
            filter=filter,
            per_document=per_document,
            mode=mode,
            fusion=fusion,
        )
        return SearchResult([], None) if prepared is None else run(connection, prepared)


def prepare(
    connection: Connection,
    *,
    question: str,
    embedding: NDArray[np.float32] | Future[NDArray[np.float32]],
    model_digest: str | None = None,
    unrelated_similarity: float = 0.0,
    multilingual: bool = False,
    limit: int,
    filter: Filter = Filter(),  # noqa: B008 -- frozen; "filter" is the word of the API
    per_document: int = 3,
    mode: Mode = "fused",
    fusion: Fusion | None = None,
) -> PreparedSearch | None:
    """
    Return the statement that search() runs, None if no model answers yet.

    A transaction must be open: this sets it up for the search.

    Raises:
        ModelSwitched: As search().
    """
    leg_size = max(LEG_SIZE, limit)
    analysis = analyse(connection, question, leg_size=leg_size)
    if analysis.model_id is None or analysis.model_digest is None:
        return None
    if model_digest not in (None, analysis.model_digest):
        raise ModelSwitched(f"model {analysis.model_digest[:12]} answers, not {model_digest[:12]}")
    if fusion is None:
        fusion = analysis.fusion or default_fusion(multilingual=multilingual)
    weights = fusion.weights_for(analysis.question.languages, multilingual=multilingual)
    statement, values = _statement(
        connection,
        question,
        analysis.question,
        embedding=embedding.result() if isinstance(embedding, Future) else embedding,
        model_id=analysis.model_id,
        unrelated_similarity=unrelated_similarity,
        weights=weights,
        limit=limit,
        leg_size=leg_size,
        filter=filter,
        restricted=analysis.restricted,
        per_document=per_document,
        mode=mode,
    )
    return PreparedSearch(statement, values, analysis.model_id, analysis.question, weights)


def run(connection: Connection, prepared: PreparedSearch) -> SearchResult:
    """
    Run the statement and return its result.

    Raises:
        ModelSwitched: Another model answers since the statement was prepared.
    """
    rows = execute_prepared(connection, prepared.statement, prepared.values).fetchall()
    # Each statement sees what is committed when it begins: a switch in between hides every vector
    # of the model that the first one named.
    if rows[0][0] != prepared.model_id:
        raise ModelSwitched(f"model {prepared.model_id} answered when the search began")
    weighed = weigh_words(prepared.question)
    hits = [
        Hit(
            *(
                *row[2:-8],
                measure_coverage(weighed, held=set(row[1])),
                pair_page_starts(row[-8]),
                (),
                ScoreParts(*row[-6:]),
                row[-7] or "",
            )
        )
        for row in rows
        if row[1] is not None
    ]
    return SearchResult(hits, prepared.question, prepared.weights)


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    """Open a transaction where none is open: a savepoint would be two round trips more."""
    with ExitStack() as stack:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            stack.enter_context(connection.transaction())
        yield


_STATEMENT = sql.SQL(
    """
    WITH text_query AS MATERIALIZED (
        SELECT %(candidates)s::tsquery AS candidates,
               lexeme_query(%(lexemes)s::text[], %(lexeme_weights)s::float8[]) AS weights
    ),
    pairs AS MATERIALIZED (
        SELECT pair, weight
        FROM unnest(%(pairs)s::tsquery[], %(pair_weights)s::float8[]) AS pairs (pair, weight)
    ),
    {legs},
    keys AS MATERIALIZED (
        {keys}
    ),
    scored AS MATERIALIZED (
        SELECT document_id, bucket, name, collection, generation, build_id, ordinal,
               text, heading, header, page, char_start, char_end, source, page_starts, language,
               search, embedding,
               1 - {distance} AS similarity,
               -(weights <#> (SELECT weights FROM text_query))
                   + {proximity_weight} * coalesce(proximity.sum, 0)
                   + {exact} * %(bonus)s::float8 AS text_score,
               {exact} AS exact
        FROM keys AS keys (key_build_id, key_ordinal)
        -- Each looked up by itself: the planner knows neither how few there are nor that.
        CROSS JOIN LATERAL (
            SELECT *
            FROM live_chunks
            WHERE build_id = key_build_id
                AND ordinal = key_ordinal
                -- The vectors of a model that took over meanwhile may have another dimension.
                AND (SELECT id FROM serving_model) = {model_id}
            OFFSET 0
        ) AS found
        CROSS JOIN LATERAL (
            SELECT sum(least(1, ts_rank_cd('{{1,1,1,1}}', search, pair)) * weight)
            FROM pairs
            WHERE search @@ pair
        ) AS proximity
    ),
    weighed AS MATERIALIZED (
        SELECT scored.*,
               parts.*,
               {score} AS score_alone
        FROM scored
        CROSS JOIN (
            SELECT greatest(max(similarity), 1e-6) AS similarity,
                   greatest(max(text_score), 1e-6) AS text_score
            FROM scored
        ) AS best
        CROSS JOIN LATERAL (
            SELECT {vector_part} AS vector_part,
                   {text_part} AS text_part,
                   {language_part} AS language_part
        ) AS parts
    ),
    fused AS MATERIALIZED (
        SELECT weighed.*,
               feedback_part,
               score_alone + feedback_part AS own_score
        FROM weighed
        -- Once: OFFSET keeps it from being written into both columns.
        CROSS JOIN LATERAL (SELECT {feedback_part} AS feedback_part OFFSET 0) AS likeness
    ),
    chosen AS MATERIALIZED (
        SELECT lifted.*,
               row_number() OVER (
                   PARTITION BY build_id
                   ORDER BY score DESC, ordinal
               ) > {per_document} AS surplus
        FROM (
            SELECT fused.*,
                   own_score + neighbour_part AS score
            FROM (
                SELECT fused.*,
                       {neighbour_part} AS neighbour_part
                FROM fused
                WINDOW document AS (PARTITION BY build_id ORDER BY ordinal)
            ) AS fused
        ) AS lifted
        ORDER BY surplus, score DESC, build_id, ordinal
        LIMIT {limit}
    )
    SELECT (SELECT id FROM serving_model) AS model_id,
           CASE WHEN chosen.build_id IS NOT NULL THEN
               ARRAY(
                   SELECT lexeme
                   FROM (
                       SELECT chosen.search || to_tsvector(
                           coalesce(
                               (
                                   SELECT config
                                   FROM unnest(%(languages)s::text[], %(configs)s::text[])
                                       AS known (language, config)
                                   WHERE known.language = chosen.language
                               ),
                               'simple'
                           )::regconfig,
                           lower(chosen.heading)
                       ) AS lexemes
                       OFFSET 0
                   ) AS own
                   JOIN unnest(%(words)s::text[], %(word_queries)s::tsquery[])
                       AS words (lexeme, query)
                       ON own.lexemes @@ words.query
               )
           END AS held,
           document_id, bucket, name, collection, generation, build_id, ordinal, text, heading,
           header, page, char_start, char_end, source, score, similarity,
           vector_leg.rank::integer AS vector_rank, text_leg.rank::integer AS text_rank,
           page_starts, chosen.language,
           vector_part, text_part, exact::float8 AS exact_part, language_part, feedback_part,
           neighbour_part
    FROM (VALUES (true)) AS always (one_row)
    LEFT JOIN chosen ON true
    LEFT JOIN vector_leg USING (build_id, ordinal)
    LEFT JOIN text_leg USING (build_id, ordinal)
    ORDER BY surplus, score DESC, build_id, ordinal
    """
)
_KEYS: dict[Mode, sql.SQL] = {
    "vector": sql.SQL("SELECT build_id, ordinal FROM vector_leg"),
    "text": sql.SQL("SELECT build_id, ordinal FROM text_leg"),
    "fused": sql.SQL(
        "SELECT build_id, ordinal FROM vector_leg UNION SELECT build_id, ordinal FROM text_leg"
    ),
}
# Each leg by its best, the vectors above what unrelated texts have: some models put all cosines
# within .7 to .9, and divided by the best alone these would decide nothing.
_PARTS: dict[str, sql.Composable] = {
    "vector_part": sql.SQL(
        """
        %(vector_weight)s::float8
            * greatest(scored.similarity - %(unrelated)s::float8, %(least_similarity)s::float8)
            / greatest(best.similarity - %(unrelated)s::float8, 1e-6)
        """
    ),
    "text_part": sql.SQL(
        """
        (1 - %(vector_weight)s::float8)
            * scored.text_score / greatest(best.text_score, %(least_text_score)s::float8)
        """
    ),
    "language_part": sql.SQL(
        """
        CASE
            WHEN scored.language <> '' AND scored.language <> ALL (%(question_languages)s::text[])
            THEN -%(other_language_cost)s::float8
            ELSE 0
        END
        """
    ),
}
# What is like the best passage is likely about the same: questions have words that only one of the
# passages about their subject has. Rocchio's feedback, from the candidates' own vectors.
_FEEDBACK = sql.SQL(
    """
    (
        %(feedback_weight)s::float8
        * greatest(
            1 - (
                embedding::halfvec({0}) <=> (
                    SELECT embedding::halfvec({0})
                    FROM weighed AS best
                    ORDER BY score_alone DESC, build_id, ordinal
                    LIMIT 1
                )
            ) - %(unrelated)s::float8,
            0
        )
        / greatest(1 - %(unrelated)s::float8, 1e-6)
    )
    """
)
# An answer goes on beyond the end of a chunk.
_NEIGHBOUR = sql.SQL(
    """
    {} * (
        greatest(
            own_score,
            CASE
                WHEN lag(ordinal) OVER document = ordinal - 1
                THEN lag(own_score) OVER document
            END,
            CASE
                WHEN lead(ordinal) OVER document = ordinal + 1
                THEN lead(own_score) OVER document
            END
        ) - own_score
    )
    """
).format(sql.Literal(NEIGHBOUR_SHARE))
_SCORES: dict[Mode, sql.Composable] = {
    "vector": sql.SQL("scored.similarity"),
    "text": sql.SQL("scored.text_score"),
    "fused": sql.SQL("vector_part + text_part + scored.exact + language_part"),
}


def _statement(
    connection: Connection,
    question: str,
    analysed: Question,
    *,
    embedding: NDArray[np.float32],
    model_id: int,
    unrelated_similarity: float,
    weights: Weights,
    limit: int,
    leg_size: int,
    filter: Filter,
    restricted: bool,
    per_document: int,
    mode: Mode,
) -> tuple[bytes, dict[str, Any]]:
    required = find_required(connection, question, analysed)
    file_names = find_file_names(question)
    conditions, values = compile_filter(filter)
    if not conditions and restricted:
        # What is closed to the caller is a filter like any other: few documents may pass it.
        conditions = ("true",)
    found = [term for term in analysed.terms if term.document_frequency > 0]
    candidates = choose_candidates(
        analysed.terms, chunks=analysed.chunks, filtered=bool(conditions)
    )
    pairs = [pair for pair in analysed.neighbours if all(t.document_frequency > 0 for t in pair)]
    values |= {
        "embedding": HalfVector(embedding),
        # A word that is everywhere selects nothing; it only ranks what rarer words select.
        "candidates": "|".join(
            f"({part})"
            for part in (candidates, required.query if required.chunks <= MAX_LOOKED_AT else "")
            if part
        ),
        "lexemes": [term.lexeme for term in found],
        "lexeme_weights": [term.rarity * term.frequency for term in found],
        "question_languages": analysed.languages or None,
        "pairs": [f"{quote_lexeme(a.lexeme)}&{quote_lexeme(b.lexeme)}" for a, b in pairs],
        "pair_weights": [min(a.rarity, b.rarity) for a, b in pairs],
        "words": [term.lexeme for term in analysed.terms],
        "word_queries": [quote_lexeme(term.lexeme) for term in analysed.terms],
        "languages": LANGUAGES,
        "configs": CONFIGS,
        "vector_weight": weights.vector,
        "feedback_weight": weights.feedback,
        "other_language_cost": weights.other_language,
        "unrelated": unrelated_similarity,
        # Below it the vectors say nothing. Where none is known, opposite texts count against.
        "least_similarity": 0 if unrelated_similarity > 0 else -1,
    }
    values["bonus"] = sum(values["lexeme_weights"], 1.0)
    values["least_text_score"] = weights.least_words * values["bonus"]
    values["required_share"] = required.share
    values["required"] = required.query
    # In the letters of a database whose locale is C only ASCII has cases.
    values["quoted"] = [
        f"%{form}%"
        for word in required.quoted
        for form in (word, word.lower(), word.upper(), word.capitalize())
    ]
    values["file_names"] = file_names
    statement = _compose(
        conditions,
        required=bool(required.query),
        quoted=bool(required.quoted),
        named=bool(file_names),
        dimension=len(embedding),
        model_id=model_id,
        limit=limit,
        leg_size=leg_size,
        per_document=per_document,
        mode=mode,
    )
    return statement, values


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _compose(
    conditions: tuple[LiteralString, ...],
    *,
    required: bool,
    quoted: bool,
    named: bool,
    dimension: int,
    model_id: int,
    limit: int,
    leg_size: int,
    per_document: int,
    mode: Mode,
) -> bytes:
    """Return the statement, which takes longer to compose than all of its values to send."""
    condition = (
        sql.SQL(" AND ").join(sql.SQL(condition) for condition in conditions)
        if conditions
        else None
    )
    distance = sql.SQL("(embedding::halfvec({0}) <=> %(embedding)s::halfvec({0}))").format(
        sql.Literal(dimension)
    )
    exact = _exact(required=required, named=named)
    statement = _STATEMENT.format(
        legs=_legs(
            condition,
            distance=distance,
            exact=exact,
            exact_match=_exact(required=required, named=named, holds=sql.SQL("exact")),
            named=named,
            model_id=model_id,
            leg_size=leg_size,
        ),
        keys=_KEYS[mode],
        model_id=sql.Literal(model_id),
        distance=distance,
        proximity_weight=sql.Literal(_PROXIMITY_WEIGHT),
        exact=_exact(required=required, named=named, quoted=quoted),
        score=_SCORES[mode],
        feedback_part=_FEEDBACK.format(sql.Literal(dimension))
        if mode == "fused"
        else sql.SQL("0::float8"),
        neighbour_part=_NEIGHBOUR if mode == "fused" else sql.SQL("0::float8"),
        **_PARTS,
        per_document=sql.Literal(per_document),
        limit=sql.Literal(limit),
    )
    return statement.as_bytes(None)


def _exact(
    *,
    required: bool,
    named: bool,
    quoted: bool = False,
    holds: sql.Composable = sql.SQL("search @@ (SELECT %(required)s::tsquery)"),  # noqa: B008
) -> sql.Composable:
    """
    Return how exactly a chunk is what the question names, 0 to 1.

    Args:
        quoted: The text of the chunk must have a single word that is quoted.
        holds: Whether the chunk holds what is required to the letter.
    """
    if quoted:
        holds = sql.SQL("{} AND text LIKE ANY (%(quoted)s::text[])").format(holds)
    cases: list[sql.Composable] = []
    if named:
        cases.append(sql.SQL("WHEN build_id IN (SELECT build_id FROM named) THEN 1"))
    if required:
        cases.append(sql.SQL("WHEN {} THEN %(required_share)s::float8").format(holds))
    return sql.SQL("CASE {} ELSE 0 END").format(sql.SQL(" ").join(cases)) if cases else sql.SQL("0")


_NEAREST = sql.SQL(
    """
    SELECT build_id, ordinal, {distance} AS distance
    FROM live_embeddings
    WHERE model_id = {model_id} AND {condition}
    ORDER BY {distance}
    LIMIT {leg_size}
    """
)
# With a filter that many pass, each candidate is looked up. IS TRUE keeps the planner from reading
# the documents first, as it would for conditions that it takes for rare: beginnings of names, what
# metadata hold.
_PASSING = sql.SQL(
    """
    EXISTS (
        SELECT FROM live_documents
        WHERE live_documents.build_id = {candidates}.build_id AND {condition}
        OFFSET 0
    ) IS TRUE
    """
)
_NEAREST_PASSING = sql.SQL(
    """
    SELECT build_id, ordinal, {distance} AS distance
    FROM embeddings
    WHERE model_id = {model_id} AND NOT (SELECT narrow FROM narrow) AND {passing}
    ORDER BY {distance}
    LIMIT {leg_size}
    """
)
# Without a filter: nearly all embeddings answer, so that twice as many as are wanted are ranked
# first and looked up then; only where too few of those answer is every one looked up.
_RANKED = sql.SQL(
    """
    ranked AS MATERIALIZED (
        SELECT build_id, ordinal, {distance} AS distance
        FROM embeddings
        WHERE model_id = {model_id}
        ORDER BY {distance}
        LIMIT 2 * {leg_size}
    ),
    answering AS MATERIALIZED (
        SELECT ranked.*
        FROM ranked
        JOIN documents ON documents.active_build = ranked.build_id
        ORDER BY distance
        LIMIT {leg_size}
    ),
    enough AS MATERIALIZED (
        SELECT (SELECT count(*) FROM answering) = {leg_size}
            OR (SELECT count(*) FROM ranked) < 2 * {leg_size} AS enough
    ),
    """
)
_NEAREST_ANSWERING = sql.SQL(
    """
    SELECT build_id, ordinal, distance
    FROM answering
    WHERE (SELECT enough FROM enough)
    """
)
# By functions, because the index over the lexemes cannot be used where row-level security holds
# (migration 0004); what they return is what the caller may read.
_BEST_TEXTS_OF_ALL = sql.SQL(
    """
    SELECT build_id, ordinal, distance
    FROM best_chunks_matching(
        (SELECT candidates FROM text_query),
        (SELECT weights FROM text_query),
        %(required)s::tsquery,
        %(bonus)s::float8 * %(required_share)s::float8,
        {leg_size}
    )
    """
)
_BEST_TEXTS = sql.SQL(
    """
    SELECT build_id, ordinal, distance - {exact_match} * %(bonus)s::float8 AS distance
    FROM chunks_matching(
        (SELECT candidates FROM text_query),
        (SELECT weights FROM text_query),
        %(required)s::tsquery
    ) AS matching
    WHERE NOT (SELECT narrow FROM narrow) AND {passing}
    ORDER BY 3
    LIMIT {leg_size}
    """
)
_BEST_TEXTS_OF_NAMED = sql.SQL(
    """
    SELECT build_id, ordinal, {text_distance} AS distance
    FROM live_lexemes
    WHERE build_id IN (SELECT build_id FROM named)
    ORDER BY distance
    LIMIT {leg_size}
    """
)
_NAMED = sql.SQL(
    """
    named AS MATERIALIZED (
        SELECT build_id
        FROM live_documents
        WHERE (closed_name = ANY (%(file_names)s) OR closed_stem = ANY (%(file_names)s))
            AND {condition}
        LIMIT 20
    ),
    """
)
_LEGS = sql.SQL(
    """
    vector_leg AS MATERIALIZED (
        SELECT build_id, ordinal, row_number() OVER (ORDER BY distance) AS rank
        FROM ({nearest}) AS nearest
    ),
    text_leg AS MATERIALIZED (
        SELECT build_id, ordinal, row_number() OVER (ORDER BY min(distance)) AS rank
        FROM ({best_texts}) AS best_texts
        GROUP BY build_id, ordinal
        ORDER BY rank
        LIMIT {leg_size}
    )
    """
)
# Few documents pass, so all their chunks are compared instead of relying on an index.
_SCOPE = sql.SQL(
    """
    scope AS MATERIALIZED (
        SELECT build_id, chunk_count
        FROM live_documents
        WHERE {condition}
        LIMIT {narrow_chunks} + 1
    ),
    narrow AS MATERIALIZED (
        SELECT coalesce(sum(greatest(chunk_count, 1)), 0) <= {narrow_chunks} AS narrow
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
    LIMIT {leg_size}
    """
)
_BEST_TEXTS_IN_SCOPE = sql.SQL(
    """
    SELECT build_id, ordinal, distance
    FROM scope
    CROSS JOIN LATERAL (
        SELECT ordinal, {text_distance} AS distance
        FROM live_lexemes
        WHERE live_lexemes.build_id = scope.build_id
        OFFSET 0
    ) AS distances
    WHERE (SELECT narrow FROM narrow) AND distance < 0
    ORDER BY distance
    LIMIT {leg_size}
    """
)


def _legs(
    condition: sql.Composable | None,
    *,
    distance: sql.Composable,
    exact: sql.Composable,
    exact_match: sql.Composable,
    named: bool,
    model_id: int,
    leg_size: int,
) -> sql.Composed:
    """Return both legs; with a filter each has a second form, for when few documents pass it."""
    parts = {
        "distance": distance,
        "text_distance": sql.SQL(
            "(weights <#> (SELECT weights FROM text_query)) - {} * %(bonus)s::float8"
        ).format(exact),
        "exact_match": exact_match,
        "model_id": sql.Literal(model_id),
        "leg_size": sql.Literal(leg_size),
        "narrow_chunks": sql.Literal(_NARROW_CHUNKS),
    }
    passes = condition or sql.SQL("true")
    if condition is None:
        before = _RANKED.format(**parts)
        rest = sql.SQL("NOT (SELECT enough FROM enough)")
        nearest = [_NEAREST_ANSWERING.format(), _NEAREST.format(**parts, condition=rest)]
        best_texts = [_BEST_TEXTS_OF_ALL.format(**parts)]
    else:
        before = _SCOPE.format(**parts, condition=passes)
        nearest = [
            _NEAREST_PASSING.format(**parts, passing=_passing("embeddings", passes)),
            _NEAREST_IN_SCOPE.format(**parts),
        ]
        best_texts = [
            _BEST_TEXTS.format(**parts, passing=_passing("matching", passes)),
            _BEST_TEXTS_IN_SCOPE.format(**parts),
        ]
    if named:
        before += _NAMED.format(condition=passes)
        best_texts.append(_BEST_TEXTS_OF_NAMED.format(**parts))
    return before + _LEGS.format(
        nearest=_union(nearest), best_texts=_union(best_texts), leg_size=parts["leg_size"]
    )


def _passing(candidates: str, condition: sql.Composable) -> sql.Composed:
    return _PASSING.format(candidates=sql.Identifier(candidates), condition=condition)


def _union(selects: list[sql.Composed]) -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(sql.SQL("({})").format(select) for select in selects)
