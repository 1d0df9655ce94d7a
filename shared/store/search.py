"""
Searching: one statement with a vector leg and a text leg, and what surrounds it.

The text leg is BM25: each chunk carries its own part of the score as a sparse vector
(migration 0002), the question brings the rarity of its lexemes, and one inner product joins them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from typing import Any, Literal, LiteralString

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from shared.errors import ModelSwitched
from shared.language import (
    SEARCH_CONFIGS,
    find_file_names,
    find_identifiers,
    find_phrases,
    searchable_text,
)
from shared.models import Filter, Hit
from shared.store.connection import Connection

Mode = Literal["fused", "vector", "text"]

# Candidates of a leg; the scores of a leg are put on one scale by the best and the last of them.
_LEG_SIZE = 50
# Chunks that the text leg scores, about: the rarest lexemes choose up to so many by themselves, and
# others follow, each together with another one, until so many are expected.
_CHOSEN_CHUNKS = 1200
# Of these a filter takes its share.
_CHOSEN_CHUNKS_TO_FILTER = 4800
# How many chunks the lexemes that are looked up may be in, all together.
_MAX_LOOKED_AT = 6000
# A lexeme that is more common says hardly more than the one that it would stand beside.
_MAX_PARTNER_SHARE = 0.1
# Where fewer chunks are expected, lexemes choose by themselves that are not as rare.
_ENOUGH_CHUNKS = 300
# Below this many chunks a filter's documents are searched whole, without any index.
_NARROW_CHUNKS = 5000
# Lexemes without statistics are counted up to here; beyond it their rarity hardly changes.
_MAX_COUNTED = 5000
# Shares of the vector leg in the fused score (docs/retrieval.md, "Fusion"): for questions in
# English, which the models of this size know best, and for all others.
_VECTOR_WEIGHT = 0.6
_VECTOR_WEIGHT_OTHER_LANGUAGE = 0.5
# What two neighbouring words of the question are worth that stand together in a chunk too.
_PROXIMITY_WEIGHT = 0.6
# Words of the question count as neighbours up to this many positions apart, stop words included.
_NEIGHBOUR_POSITIONS = 3
_STOP_WORD_SHARE = 0.2
_OTHER_LANGUAGE_WEIGHT = 0.5
# Documents and chunks of each that a language's common words are told from.
_SAMPLED_DOCUMENTS = 50
_SAMPLED_CHUNKS_A_DOCUMENT = 2
# Words in the documents of a language: the sum of their squared shares of its chunks says that a
# question is in it, from here on ...
_LEAST_FAMILIARITY = 0.02
# ... if it is so many times that of any other language.
_FAMILIARITY_LEAD = 2
# In a handful of chunks every word is rare, and one that is missing says nothing yet.
_FEW_CHUNKS = 1000
# A translation holds the same names and numbers: the document in the question's language is meant.
_OTHER_LANGUAGE_COST = 0.08
# Chunks looked at on each side of a hit.
_EXPANSION_CHUNKS = 1
# How far the graph is searched, to the candidates of a leg, and how well it is built: documents
# that are nearly alike make islands in a graph of pgvector's default, 64 (docs/scaling.md).
_EF_SEARCH_A_CANDIDATE = 4
# Up to here that finds 99 of 100; in ten times as many vectors four times the breadth does, so that
# it grows as their number to this power (docs/scaling.md).
_STEADY_CHUNKS = 100_000
_EF_SEARCH_GROWTH = 0.6
HNSW_EF_CONSTRUCTION = 200
_DEFAULT_EF_CONSTRUCTION = 64  # pgvector's own, of an index that names none
_MAX_EF_SEARCH = 1000  # pgvector's own limit
# From here on an exact scan of all vectors takes longer than a user notices.
INDEX_USEFUL_CHUNKS = 50_000
# Of the graph in memory while it is built, beside the vector (docs/scaling.md).
_GRAPH_BYTES_A_VECTOR = 700
_SAMPLED_CHUNKS = 20_000
# With fewer chunks, counting what a question asks for takes no time.
_SAMPLED_FROM_CHUNKS = 1000
# Rarer lexemes are not worth a row: counting them is quick.
_LEAST_COMMON = 100
_LOCK = int.from_bytes(b"lexemes")
_INDEX_LOCK = int.from_bytes(b"vectors")
# As the text of an array: said with each question, and always the same.
_LANGUAGES = f"{{{','.join(SEARCH_CONFIGS)}}}"
_CONFIGS = f"{{{','.join(SEARCH_CONFIGS.values())}}}"
# Statements kept ready: one for each way to ask, of which a service sees a handful.
_STATEMENTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Term:
    """
    A lexeme of a question.

    Attributes:
        frequency: How often the question has it; half of that where only the configurations of
            other languages than the question's make it of a word.
        document_frequency: How many chunks have it, about.
        rarity: BM25's inverse document frequency: near 0 for a lexeme that every chunk has.
    """

    lexeme: str
    frequency: float
    document_frequency: int
    rarity: float


@dataclass(frozen=True, slots=True)
class Question:
    """
    A question as the index sees it.

    Attributes:
        terms: Rarest first; also those that no chunk has.
        words: For each word that counts, the terms that one or another configuration makes of it.
        neighbours: Pairs of lexemes that stand together in the question.
        languages: ISO 639-1 codes of the configuration whose stop words it has, or else of the
            documents whose common words it has; empty where it has those of none.
        chunks: How many chunks there are, about.
        configs: The text search configurations of the documents that answer.
    """

    terms: list[Term]
    words: list[list[Term]]
    neighbours: list[tuple[Term, Term]]
    languages: list[str]
    chunks: float
    configs: list[str]


@dataclass(frozen=True, slots=True)
class Analysis:
    """
    What is known before the search itself.

    Attributes:
        model_id, model_digest: The model whose vectors answer; None where there is none yet.
        restricted: Some of what answers is closed to the caller.
    """

    question: Question
    model_id: int | None
    model_digest: str | None
    restricted: bool


@dataclass(frozen=True, slots=True)
class Support:
    """
    What speaks for an answer being among some passages.

    Attributes:
        coverage: Share of the question's words, by their rarity, that the best passage holds;
            None where the question has no words that count.
        similarity: The highest cosine of question and passage.
    """

    coverage: float | None
    similarity: float


def search(
    connection: Connection,
    *,
    question: str,
    embedding: NDArray[np.float32] | Future[NDArray[np.float32]],
    model_digest: str | None = None,
    limit: int,
    filter: Filter = Filter(),  # noqa: B008 -- frozen; "filter" is the word of the API
    per_document: int = 3,
    mode: Mode = "fused",
) -> list[Hit]:
    """
    Return the chunks that answer *question* best, best first.

    Args:
        embedding: float32, shape (dimension of the serving model,), unit length; or where it will
            be, so that it can be made while the question is analysed.
        model_digest: The model that made it; None takes it for the one that answers.
        per_document: Chunks of one document before those of the others; further ones follow only
            where there is nothing else.
        mode: "vector" and "text" rank by one leg alone.

    Returns:
        At most *limit* hits; similarity is given for each.

    Raises:
        ModelSwitched: Another model answers by now: embed the question with that one.
    """
    leg_size = max(_LEG_SIZE, limit)
    with _transaction(connection):
        analysis = analyse(connection, question, leg_size=leg_size)
        if analysis.model_id is None or analysis.model_digest is None:
            return []
        if model_digest not in (None, analysis.model_digest):
            raise ModelSwitched(
                f"model {analysis.model_digest[:12]} answers, not {model_digest[:12]}"
            )
        statement, values = _statement(
            connection,
            question,
            analysis.question,
            embedding=embedding.result() if isinstance(embedding, Future) else embedding,
            model_id=analysis.model_id,
            limit=limit,
            leg_size=leg_size,
            filter=filter,
            restricted=analysis.restricted,
            per_document=per_document,
            mode=mode,
        )
        rows = connection.execute(statement, values, prepare=True).fetchall()
    # Each statement sees what is committed when it begins: a switch in between hides every vector
    # of the model that the first one named.
    if rows[0][0] != analysis.model_id:
        raise ModelSwitched(f"model {analysis.model_id} answered when the search began")
    weighed = _weigh_words(analysis.question)
    return [
        Hit(*(*row[2:], _coverage(weighed, held=set(row[1])))) for row in rows if row[1] is not None
    ]


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    """Open a transaction where none is open: a savepoint would be two round trips more."""
    with ExitStack() as stack:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            stack.enter_context(connection.transaction())
        yield


# The question is analysed as the documents were: once for each configuration that is in use. The
# configuration that finds most stop words in it is its language, if they are a fifth of the words;
# its stop words are dropped for all. English is asked in any case, and "simple" shows all words.
_ANALYSIS = sql.SQL(
    """
    WITH configurations AS MATERIALIZED (
        SELECT config::regconfig, bool_or(in_use) AS in_use
        FROM (
            SELECT coalesce(known.config, 'simple') AS config, true AS in_use
            FROM live_languages
            LEFT JOIN unnest(%(languages)s::text[], %(configs)s::text[]) AS known (language, config)
                ON known.language = live_languages.language
            UNION ALL
            VALUES ('english', false), ('simple', false)
        ) AS configs
        GROUP BY config
    ),
    occurrences AS MATERIALIZED (
        SELECT config, in_use, lexeme, position
        FROM configurations,
             unnest(to_tsvector(config, %(searchable)s)),
             unnest(positions) AS position
    ),
    question_language AS MATERIALIZED (
        SELECT config
        FROM (
            SELECT config, count(DISTINCT position) AS kept
            FROM configurations
            LEFT JOIN occurrences USING (config)
            GROUP BY config
        ) AS counts
        CROSS JOIN (SELECT count(DISTINCT position) AS words FROM occurrences) AS total
        WHERE words - kept >= greatest(1, {stop_word_share} * words)
        ORDER BY kept, config
        LIMIT 1
    ),
    lexemes AS MATERIALIZED (
        SELECT config, lexeme, array_agg(position::integer) AS positions
        FROM occurrences
        WHERE in_use
            AND (
                position IN (
                    SELECT position
                    FROM occurrences
                    WHERE config = (SELECT config FROM question_language)
                )
                OR NOT EXISTS (SELECT FROM question_language)
            )
        GROUP BY config, lexeme
    ),
    frequencies AS MATERIALIZED (
        SELECT lexeme,
               coalesce(
                   (
                       SELECT share
                       FROM lexeme_statistics
                       WHERE lexeme_statistics.lexeme = distinct_lexemes.lexeme
                   ) * (SELECT chunks FROM search_statistics),
                   count_chunks_with(lexeme, {max_counted})
               ) AS chunks
        FROM (SELECT DISTINCT lexeme FROM lexemes) AS distinct_lexemes
    )
    SELECT (SELECT id FROM serving_model) AS model_id,
           (SELECT digest FROM serving_model) AS model_digest,
           NOT sees_every_collection() AS restricted,
           set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config(
               'hnsw.ef_search',
               least(
                   {max_ef_search},
                   %(ef_search)s * greatest(
                       1,
                       (SELECT chunks::float8 / {steady_chunks} FROM search_statistics)
                   ) ^ {ef_search_growth}
               )::integer::text,
               true
           ),
           -- Planning takes longer than searching, and no plan here depends on a value.
           set_config('plan_cache_mode', 'force_generic_plan', true),
           (SELECT config::text FROM question_language) AS language,
           coalesce(
               (SELECT chunks FROM search_statistics),
               count_chunks({max_counted} * 10)
           )::double precision AS chunks,
           (
               SELECT coalesce(array_agg(config::text), '{{}}')
               FROM configurations
               WHERE in_use
           ) AS configs,
           coalesce(
               (
                   SELECT jsonb_agg(
                       jsonb_build_array(config::text, lexeme, positions, frequencies.chunks)
                   )
                   FROM lexemes
                   JOIN frequencies USING (lexeme)
               ),
               '[]'
           ) AS lexemes
    """
).format(
    stop_word_share=sql.Literal(_STOP_WORD_SHARE),
    max_counted=sql.Literal(_MAX_COUNTED),
    max_ef_search=sql.Literal(_MAX_EF_SEARCH),
    steady_chunks=sql.Literal(_STEADY_CHUNKS),
    ef_search_growth=sql.Literal(_EF_SEARCH_GROWTH),
)


# Vietnamese, Chinese and most others have no stop words in PostgreSQL. What is in every other chunk
# of a language is known from some of its documents.
_FAMILIARITY = sql.SQL(
    """
    WITH sampled AS MATERIALIZED (
        SELECT live_languages.language, coalesce(config, 'simple') AS config, search
        FROM live_languages
        LEFT JOIN unnest(%(languages)s::text[], %(configs)s::text[]) AS known (language, config)
            ON known.language = live_languages.language
        CROSS JOIN LATERAL (
            SELECT build_id
            FROM live_documents
            WHERE live_documents.language = live_languages.language
            LIMIT {documents}
        ) AS documents
        CROSS JOIN LATERAL (
            SELECT search
            FROM live_lexemes
            WHERE live_lexemes.build_id = documents.build_id
            LIMIT {chunks}
        ) AS some_chunks
        WHERE live_languages.language <> ''
    )
    SELECT language, sum(share * share) AS familiarity
    FROM (
        -- A language of a handful of documents says little: their subjects are in all of them.
        SELECT language, sum((search @@ query)::integer)::float8 / (count(*) + 9) AS share
        FROM sampled
        JOIN unnest(%(term_configs)s::text[], %(queries)s::tsquery[]) AS terms (config, query)
            USING (config)
        GROUP BY language, query
    ) AS shares
    GROUP BY language
    ORDER BY familiarity DESC
    LIMIT 2
    """
).format(documents=sql.Literal(_SAMPLED_DOCUMENTS), chunks=sql.Literal(_SAMPLED_CHUNKS_A_DOCUMENT))


def _find_familiar_language(
    connection: Connection, lexemes: Sequence[tuple[str, str]]
) -> str | None:
    """
    Return the language whose documents have the common words of a question without stop words.

    Names and numbers are the same in all languages, but in few chunks of any.

    Args:
        lexemes: (configuration, lexeme) of the question.

    Returns:
        An ISO 639-1 code, None where no language stands out.
    """
    rows = connection.execute(
        _FAMILIARITY,
        {
            "languages": _LANGUAGES,
            "configs": _CONFIGS,
            "term_configs": [config for config, _ in lexemes],
            "queries": [_quote(lexeme) for _, lexeme in lexemes],
        },
    ).fetchall()
    (first, most), (_, next_most) = [*rows, (None, 0.0), (None, 0.0)][:2]
    return first if most >= max(_LEAST_FAMILIARITY, _FAMILIARITY_LEAD * next_most) else None


def analyse(connection: Connection, question: str, *, leg_size: int = _LEG_SIZE) -> Analysis:
    """Analyse *question* and set this transaction up for the search with it."""
    model_id, model_digest, restricted, _, _, _, *analysis = _one(
        connection,
        _ANALYSIS,
        {
            "searchable": searchable_text(question, language=""),
            "languages": _LANGUAGES,
            "configs": _CONFIGS,
            "ef_search": _EF_SEARCH_A_CANDIDATE * leg_size,
        },
    )
    return Analysis(_read_analysis(connection, *analysis), model_id, model_digest, restricted)


def _read_analysis(
    connection: Connection,
    language: str | None,
    chunks: float,
    configs: list[str],
    lexemes: list[tuple[str, str, list[int], float]],
) -> Question:
    """Return the question as the index sees it: what its words are worth, among these documents."""
    frequencies: dict[str, float] = {}
    holders: dict[str, float] = {}
    words: dict[str, list[tuple[int, str]]] = {}
    for config, lexeme, positions, holding in lexemes:
        counts = 1.0 if config == language or language not in configs else _OTHER_LANGUAGE_WEIGHT
        frequencies[lexeme] = max(frequencies.get(lexeme, 0), counts * len(positions))
        holders[lexeme] = holding
        words.setdefault(config, []).extend((position, lexeme) for position in positions)
    languages = [code for code, config in SEARCH_CONFIGS.items() if config == language]
    if language is None and "simple" in configs:
        familiar = _find_familiar_language(
            connection, [(config, lexeme) for config, lexeme, _, _ in lexemes]
        )
        languages = [familiar] if familiar else []
    terms = {
        lexeme: Term(
            lexeme,
            frequency,
            round(holders[lexeme]),
            _rarity(holders[lexeme], chunks=chunks),
        )
        for lexeme, frequency in frequencies.items()
    }
    variants: dict[int, set[str]] = {}
    for position, lexeme in chain.from_iterable(words.values()):
        variants.setdefault(position, set()).add(lexeme)
    neighbours = {
        (terms[lexeme], terms[following])
        for places in words.values()
        for (position, lexeme), (next_position, following) in pairwise(sorted(places))
        if 1 <= next_position - position <= _NEIGHBOUR_POSITIONS and lexeme != following
    }
    return Question(
        terms=sorted(terms.values(), key=lambda term: (term.document_frequency, term.lexeme)),
        words=[[terms[lexeme] for lexeme in sorted(variants[place])] for place in sorted(variants)],
        neighbours=sorted(neighbours, key=lambda pair: (pair[0].lexeme, pair[1].lexeme)),
        languages=languages,
        chunks=chunks,
        configs=configs,
    )


def _rarity(holders: float, *, chunks: float) -> float:
    """Return BM25's inverse document frequency, in the form that is never negative."""
    return math.log1p((max(chunks - holders, 0) + 0.5) / (holders + 0.5))


def _weigh_words(question: Question) -> list[tuple[float, set[str]]]:
    """
    Return for each word of the question its rarity and the lexemes that stand for it.

    No document holds what the stemmer of another language makes of a word: the most common of its
    forms says how rare the word is, and any of them that it is there.
    """
    chunks = max(question.chunks, _FEW_CHUNKS)
    return [
        (
            min(_rarity(term.document_frequency, chunks=chunks) for term in word),
            {term.lexeme for term in word},
        )
        for word in question.words
    ]


def _coverage(weighed: Sequence[tuple[float, set[str]]], *, held: set[str]) -> float | None:
    """Return the share of the words, by their rarity, that a chunk with the lexemes *held* has."""
    total = sum(weight for weight, _ in weighed)
    return sum(weight for weight, forms in weighed if forms & held) / total if total else None


def measure_support(hits: Sequence[Hit], *, passages: int = 3) -> Support:
    """Return how much of their question the first *passages* of *hits* speak of."""
    covered = [hit.coverage for hit in hits[:passages] if hit.coverage is not None]
    return Support(
        coverage=max(covered, default=None if hits else 0.0),
        similarity=max((hit.similarity for hit in hits), default=0.0),
    )


def choose_candidates(terms: Sequence[Term], *, chunks: float, filtered: bool = False) -> str:
    """
    Return the tsquery of the chunks to score.

    The rarest lexemes choose by themselves. A chunk that holds one of the others and nothing else
    of the question is hardly among the best, so these choose together with another one: that is a
    look into the index, where a score is one into the chunk. Where even the rarest is everywhere,
    chunks must hold several of them at once.

    Args:
        terms: Rarest first.
        filtered: Some of what is chosen will be left out.
    """
    found = [term for term in terms if term.document_frequency > 0]
    most = _CHOSEN_CHUNKS_TO_FILTER if filtered else _CHOSEN_CHUNKS
    if chunks <= most:
        return any_of(found)
    if not found or found[0].document_frequency > _MAX_LOOKED_AT:
        return _all_of(found, chunks=chunks)
    alone: list[Term] = []
    paired: list[tuple[Term, list[Term], float]] = []
    chosen = 0.0
    looked_at = accumulate(term.document_frequency for term in found)
    for place, (term, together) in enumerate(zip(found, looked_at, strict=True), 1):
        if together > _MAX_LOOKED_AT or chosen > most:
            break
        if together <= most:
            alone.append(term)
            chosen = together
        else:
            partners = _choose_partners(found[place:], chunks=chunks)
            expected = _expect_together(term, partners, chunks=chunks)
            paired.append((term, partners, expected))
            chosen += expected
    while paired and chosen < _ENOUGH_CHUNKS:
        term, _, expected = paired.pop(0)
        alone.append(term)
        chosen += term.document_frequency - expected
    pairs = [
        f"{_quote(term.lexeme)}&({any_of(partners)})" for term, partners, _ in paired if partners
    ]
    return "|".join([*(_quote(term.lexeme) for term in alone), *pairs])


def _choose_partners(terms: Sequence[Term], *, chunks: float) -> list[Term]:
    return [term for term in terms if term.document_frequency <= _MAX_PARTNER_SHARE * chunks]


def _expect_together(term: Term, partners: Sequence[Term], *, chunks: float) -> float:
    """Return how many chunks hold *term* and a partner, as if lexemes were independent."""
    without = math.prod(1 - partner.document_frequency / chunks for partner in partners)
    return term.document_frequency * (1 - without)


def any_of(terms: Sequence[Term]) -> str:
    """Return the tsquery of the chunks that hold one of *terms*."""
    return "|".join(_quote(term.lexeme) for term in terms)


def _all_of(terms: Sequence[Term], *, chunks: float) -> str:
    """Return the tsquery of so many of *terms* at once that few enough chunks hold them."""
    expected = chunks
    common = []
    for term in terms:
        common.append(_quote(term.lexeme))
        expected *= term.document_frequency / chunks
        if expected <= _MAX_LOOKED_AT:
            break
    return "&".join(common)


_REQUIRED = sql.SQL(
    """
    SELECT array_agg(DISTINCT lexeme) AS lexemes, NULL AS query
    FROM unnest(%(identifiers)s::text[]) AS identifier
    CROSS JOIN unnest(%(configs)s::regconfig[]) AS config
    CROSS JOIN LATERAL unnest(to_tsvector(config, identifier)) AS parts
    GROUP BY identifier
    UNION ALL
    SELECT NULL, string_agg(DISTINCT '(' || phraseto_tsquery(config, phrase)::text || ')', '|')
    FROM unnest(%(phrases)s::text[]) AS phrase
    CROSS JOIN unnest(%(configs)s::regconfig[]) AS config
    WHERE numnode(phraseto_tsquery(config, phrase)) > 0
    GROUP BY phrase
    """
)


@dataclass(frozen=True, slots=True)
class _Required:
    """
    What a chunk should hold to the letter.

    Attributes:
        query: tsquery of all identifiers of the question that occur anywhere and of all its quoted
            phrases, empty where there are none.
        share: How much that decides, 0 to 1: an identifier that is everywhere decides little.
        chunks: How many chunks hold it, at most: the rarest lexeme of all decides.
    """

    query: str = ""
    share: float = 0.0
    chunks: int = 0


def _required(connection: Connection, question: str, analysed: Question) -> _Required:
    identifiers, phrases = find_identifiers(question), find_phrases(question)
    if not identifiers and not phrases:
        return _Required()
    rows = connection.execute(
        _REQUIRED,
        {
            "identifiers": identifiers,
            "phrases": [searchable_text(phrase, language="") for phrase in phrases],
            "configs": analysed.configs,
        },
    ).fetchall()
    terms = {term.lexeme: term for term in analysed.terms if term.document_frequency > 0}
    rarest = math.log1p(2 * analysed.chunks + 1)
    parts, shares, chunks = [], [], []
    for lexemes, query in rows:
        found = [terms[lexeme] for lexeme in lexemes or () if lexeme in terms]
        if query or found:
            parts.append(query or "|".join(_quote(term.lexeme) for term in found))
            shares.append(1.0 if query else max(term.rarity for term in found) / rarest)
            chunks.append(
                min(
                    (t.document_frequency for t in terms.values() if _quote(t.lexeme) in query),
                    default=0,
                )
                if query
                else sum(term.document_frequency for term in found)
            )
    return _Required(
        query="&".join(f"({part})" for part in parts),
        share=min(shares, default=0.0),
        chunks=min(chunks, default=0),
    )


def _quote(lexeme: str) -> str:
    """Return *lexeme* as it stands in the text of a tsquery."""
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


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
               text, heading, header, page, char_start, char_end, source, language, search,
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
    fused AS MATERIALIZED (
        SELECT scored.*,
               {score} AS score
        FROM scored
        CROSS JOIN (
            SELECT greatest(max(similarity), 1e-6) AS similarity,
                   greatest(max(text_score), 1e-6) AS text_score
            FROM scored
        ) AS best
    ),
    chosen AS MATERIALIZED (
        SELECT fused.*,
               row_number() OVER (
                   PARTITION BY build_id
                   ORDER BY score DESC, ordinal
               ) > {per_document} AS surplus
        FROM fused
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
           vector_leg.rank::integer AS vector_rank, text_leg.rank::integer AS text_rank
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
# Each leg by its best: the cosines of one question lie close together, so that a model which does
# not know the language hardly moves the order of the texts, and one that does decides among equals.
_SCORES: dict[Mode, sql.Composable] = {
    "vector": sql.SQL("scored.similarity"),
    "text": sql.SQL("scored.text_score"),
    "fused": sql.SQL(
        """
        %(vector_weight)s::float8 * scored.similarity / best.similarity
        + (1 - %(vector_weight)s::float8) * scored.text_score / best.text_score
        + scored.exact
        - CASE
            WHEN scored.language <> '' AND scored.language <> ALL (%(question_languages)s::text[])
            THEN {other_language_cost}
            ELSE 0
        END
        """
    ).format(other_language_cost=sql.Literal(_OTHER_LANGUAGE_COST)),
}


def _statement(
    connection: Connection,
    question: str,
    analysed: Question,
    *,
    embedding: NDArray[np.float32],
    model_id: int,
    limit: int,
    leg_size: int,
    filter: Filter,
    restricted: bool,
    per_document: int,
    mode: Mode,
) -> tuple[bytes, dict[str, Any]]:
    required = _required(connection, question, analysed)
    file_names = find_file_names(question)
    conditions, values = _conditions(filter)
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
        # What is everywhere chooses nothing: it decides among what the rarer words have chosen.
        "candidates": "|".join(
            f"({part})"
            for part in (candidates, required.query if required.chunks <= _MAX_LOOKED_AT else "")
            if part
        ),
        "lexemes": [term.lexeme for term in found],
        "lexeme_weights": [term.rarity * term.frequency for term in found],
        "question_languages": analysed.languages or None,
        "pairs": [f"{_quote(a.lexeme)}&{_quote(b.lexeme)}" for a, b in pairs],
        "pair_weights": [min(a.rarity, b.rarity) for a, b in pairs],
        "words": [term.lexeme for term in analysed.terms],
        "word_queries": [_quote(term.lexeme) for term in analysed.terms],
        "languages": _LANGUAGES,
        "configs": _CONFIGS,
        "vector_weight": _VECTOR_WEIGHT
        if "en" in analysed.languages
        else _VECTOR_WEIGHT_OTHER_LANGUAGE,
    }
    values["bonus"] = sum(values["lexeme_weights"], 1.0)
    values["required_share"] = required.share
    values["required"] = required.query
    values["file_names"] = file_names
    statement = _compose(
        conditions,
        required=bool(required.query),
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
        exact=exact,
        score=_SCORES[mode],
        per_document=sql.Literal(per_document),
        limit=sql.Literal(limit),
    )
    return statement.as_bytes(None)


def _exact(
    *,
    required: bool,
    named: bool,
    holds: sql.Composable = sql.SQL("search @@ (SELECT %(required)s::tsquery)"),  # noqa: B008
) -> sql.Composable:
    """
    Return how exactly a chunk is what the question names, 0 to 1.

    Args:
        holds: Whether the chunk holds what is required to the letter.
    """
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
    )
    JOIN live_documents USING (build_id)
    WHERE {condition}
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
# Few documents pass: all their chunks are compared, so that no index has to be lucky.
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
        wide = passes + sql.SQL(" AND NOT (SELECT narrow FROM narrow)")
        nearest = [_NEAREST.format(**parts, condition=wide), _NEAREST_IN_SCOPE.format(**parts)]
        best_texts = [
            _BEST_TEXTS.format(**parts, condition=wide),
            _BEST_TEXTS_IN_SCOPE.format(**parts),
        ]
    if named:
        before += _NAMED.format(condition=passes)
        best_texts.append(_BEST_TEXTS_OF_NAMED.format(**parts))
    return before + _LEGS.format(
        nearest=_union(nearest), best_texts=_union(best_texts), leg_size=parts["leg_size"]
    )


def _union(selects: list[sql.Composed]) -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(sql.SQL("({})").format(select) for select in selects)


def _conditions(filter: Filter) -> tuple[tuple[LiteralString, ...], dict[str, Any]]:
    """Return the conditions on a document's columns, none where all pass, and their values."""
    given: list[tuple[LiteralString, Any]] = [
        ("collection = %(collection)s", filter.collection),
        ("starts_with(name, %(prefix)s)", filter.prefix or None),
        ("content_type = %(content_type)s", filter.content_type),
        ("metadata @> %(metadata)s", Jsonb(filter.metadata) if filter.metadata else None),
        ("object_updated >= %(updated_from)s", filter.updated_from),
        ("object_updated < %(updated_to)s", filter.updated_to),
    ]
    conditions = tuple(condition for condition, value in given if value is not None)
    names = ("collection", "prefix", "content_type", "metadata", "updated_from", "updated_to")
    values = {
        name: value for name, (_, value) in zip(names, given, strict=True) if value is not None
    }
    return conditions, values


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


def create_vector_index(connection: Connection, *, from_chunks: int = INDEX_USEFUL_CHUNKS) -> str:
    """
    Build the HNSW index of the serving model's vectors where it is useful, without stopping writes.

    One that an older release has built less well is replaced; it serves until the new one does.

    Args:
        from_chunks: How many vectors make it useful.

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
    if count < from_chunks:
        return (
            f"{count} vectors are compared one by one, exactly and fast enough; "
            f"an index is useful from {from_chunks} on."
        )
    # For the session: a build goes over several transactions.
    lock = {"lock": _INDEX_LOCK}
    (mine,) = _one(connection, "SELECT pg_try_advisory_lock(%(lock)s)", lock)
    if not mine:
        return f"The index {index} is being built already."
    try:
        return _build_index(
            connection, index, partition=partition, dimension=dimension, vectors=count
        )
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%(lock)s)", lock)


def _build_index(
    connection: Connection, index: str, *, partition: str, dimension: int, vectors: int
) -> str:
    new, old = f"{index}_new", f"{index}_old"
    # What these wait for goes on beside them: neither readers nor writers stand behind their locks.
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET lock_timeout = 0")
    drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
    # Of a run that was cut off: each of them is beside the one that serves, or of no use.
    for left in (new, old):
        connection.execute(drop.format(sql.Identifier(left)))
    valid, ef_construction = connection.execute(
        """
        SELECT indisvalid,
               coalesce((SELECT option_value::integer
                         FROM pg_options_to_table(reloptions)
                         WHERE option_name = 'ef_construction'), %(default)s)
        FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indexrelid = to_regclass(%(index)s)
        """,
        {"index": index, "default": _DEFAULT_EF_CONSTRUCTION},
    ).fetchone() or (None, None)
    if valid and ef_construction >= HNSW_EF_CONSTRUCTION:
        return f"The index {index} over {vectors} vectors is there already."
    advice = _advise_memory(connection, vectors=vectors, dimension=dimension)
    if valid is False:
        connection.execute(drop.format(sql.Identifier(index)))
    connection.execute(
        sql.SQL(
            """
            CREATE INDEX CONCURRENTLY {index}
            ON {partition}
            USING hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops)
            WITH (ef_construction = {ef_construction})
            """
        ).format(
            index=sql.Identifier(new if valid else index),
            partition=sql.Identifier(partition),
            dimension=sql.Literal(dimension),
            ef_construction=sql.Literal(HNSW_EF_CONSTRUCTION),
        )
    )
    if not valid:
        return f"The index {index} over {vectors} vectors is built.{advice}"
    rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
    with connection.transaction():
        connection.execute(rename.format(sql.Identifier(index), sql.Identifier(old)))
        connection.execute(rename.format(sql.Identifier(new), sql.Identifier(index)))
    connection.execute(drop.format(sql.Identifier(old)))
    return (
        f"The index {index} over {vectors} vectors is built anew: ef_construction was"
        f" {ef_construction}, and is {HNSW_EF_CONSTRUCTION}.{advice}"
    )


def _advise_memory(connection: Connection, *, vectors: int, dimension: int) -> str:
    """Return what to say where the graph does not fit into the memory that it is built in."""
    (allowed,) = _one(
        connection, "SELECT pg_size_bytes(current_setting('maintenance_work_mem'))", {}
    )
    needed = vectors * (2 * dimension + _GRAPH_BYTES_A_VECTOR)
    if allowed >= needed:
        return ""
    return (
        f" It would have been quicker with maintenance_work_mem = {math.ceil(needed / 2**20)} MB"
        f" ({allowed // 2**20} MB are set)."
    )


def _one(
    connection: Connection, statement: LiteralString | sql.Composed, values: dict[str, Any]
) -> Any:
    row = connection.execute(statement, values).fetchone()
    assert row is not None  # noqa: S101 -- an aggregate or a bare SELECT has one row
    return row


def expand(connection: Connection, hits: Sequence[Hit], *, max_characters: int) -> list[Hit]:
    """
    Return *hits* with their surroundings: of the same build, page and heading.

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
            SELECT build_id, ordinal, heading, page, char_start, char_end
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
        (build_id, ordinal): _Place(heading, page, start, end)
        for build_id, ordinal, heading, page, start, end in rows
    }
    extents = choose_extents(hits, around, max_characters=max_characters)
    grown = {
        number: _grow(
            hit, around[hit.build_id, extent[0]], around[hit.build_id, extent[-1]], extent
        )
        for number, (hit, extent) in enumerate(extents)
        if len(extent) > 1 and all((hit.build_id, ordinal) in around for ordinal in extent)
    }
    texts = _read_texts(connection, grown)
    # Replaced by a newer generation meanwhile: what was found stands by itself.
    return [
        hit if (text := texts.get(number)) is None else replace(grown[number], text=text)
        for number, (hit, _) in enumerate(extents)
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a chunk stands in its document."""

    heading: str
    page: int | None
    char_start: int
    char_end: int


def choose_extents(
    hits: Sequence[Hit],
    around: Mapping[tuple[int, int], _Place],
    *,
    max_characters: int,
) -> list[tuple[Hit, range]]:
    """Return each hit that stays with the ordinals that its text shall span, best hit first."""
    spans: list[tuple[Hit, range]] = []
    for hit in hits:
        for place, (better, span) in enumerate(spans):
            near = span.start - 1 <= hit.ordinal <= span.stop
            same_place = (better.build_id, better.heading, better.page) == (
                hit.build_id,
                hit.heading,
                hit.page,
            )
            if near and same_place:
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
        # What follows explains more often than what went before.
        for ordinal in (stop, start - 1):
            neighbour = around.get((hit.build_id, ordinal))
            if (
                neighbour is None
                or (neighbour.heading, neighbour.page) != (hit.heading, hit.page)
                or (hit.build_id, ordinal) in taken
                or neighbour.char_end - neighbour.char_start > left
            ):
                continue
            left -= neighbour.char_end - neighbour.char_start
            taken.add((hit.build_id, ordinal))
            start, stop = min(start, ordinal), max(stop, ordinal + 1)
        spans[place] = hit, range(start, stop)
    return spans


def _grow(hit: Hit, first: _Place, last: _Place, extent: range) -> Hit:
    return replace(
        hit,
        ordinal=extent.start,
        page=first.page,
        char_start=first.char_start,
        char_end=last.char_end,
    )


def _read_texts(connection: Connection, hits: Mapping[int, Hit]) -> dict[int, str | None]:
    """Return the characters of each hit, None where its build answers no longer."""
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
